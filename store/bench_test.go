package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchServer(b *testing.B) *Server {
	b.Helper()
	srv, err := Embed(context.Background(), EmbedOptions{Dir: b.TempDir(), Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = srv.Close() })
	return srv
}

// share runs f(0..n-1) on so many goroutines.
func share(n, workers int, f func(i int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

func report(b *testing.B, start time.Time, used time.Duration) {
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "per-s")
	b.ReportMetric(float64((cpu()-used).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkClaims is 64 callers on one node that claim instants of many tasks.
func BenchmarkClaims(b *testing.B) {
	for _, workers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			ctx, s := context.Background(), benchServer(b).Store()
			ss := join(b, s, presence("n1", "s1"), 10*time.Second)
			ops := make([]Op, 500)
			for i := range ops {
				ops[i] = InitFloor(job.Ref("", fmt.Sprint("t", i)), day)
			}
			must(s.Do(ctx, ops...))
			b.ResetTimer()
			start, used := time.Now(), cpu()
			share(b.N, workers, func(i int) {
				at := day.Add(time.Duration(i/500+1) * time.Second)
				if _, err := ss.Claim(ctx, job.Claim{Task: job.Ref("", fmt.Sprint("t", i%500)), Instant: at, Job: "h"}); err != nil {
					b.Error(err)
				}
			})
			report(b, start, used)
		})
	}
}

// BenchmarkOneOffRun is everything that a run that was asked for costs etcd and its clients in one process: created
// and taken out by the leader in batches, started and handed over by the node, its process shown if it lives.
// It is paced at the rate in its name, or not at all.
func BenchmarkOneOffRun(b *testing.B) {
	for _, rate := range []int{2000, 0} {
		b.Run(fmt.Sprint(rate), func(b *testing.B) {
			ctx, s := context.Background(), benchServer(b).Store()
			ss := join(b, s, presence("n1", "s1"), 10*time.Second)
			l, err := s.Campaign(ctx, "m1", 10*time.Second)
			if err != nil {
				b.Fatal(err)
			}
			dispatches, drop := make([]*job.Dispatch, b.N), make([]Op, b.N)
			j := testJob("backup", "n1")
			for i := range dispatches {
				dispatches[i] = &job.Dispatch{Run: job.RunID(fmt.Sprint("r", i)), Node: "n1", Job: j, Trigger: job.TriggerRun, RequestedAt: day}
				drop[i] = DeleteRecord("n1", fmt.Sprint("r", i), 0)
			}
			b.ResetTimer()
			start, used := time.Now(), cpu()
			const burst = 50 // what the leader gathers in a moment
			for i := 0; i < b.N; i += burst {
				n := min(burst, b.N-i)
				ops := make([]Op, n)
				for k := range ops {
					ops[k] = CreateDispatch(dispatches[i+k])
				}
				must(l.Do(ctx, ops...))
				rev := must(s.Dispatches().Get(ctx, "n1", string(dispatches[i].Run))).Revision
				recs := make([]job.ExecutionRecord, n)
				runs := make([]job.RunID, n)
				share(n, 8, func(k int) {
					d := dispatches[i+k]
					d.Revision = rev
					if _, err := ss.StartDispatch(ctx, d); err != nil {
						b.Error(err)
					}
					recs[k], runs[k] = *testRecord(string(d.Run), "n1"), d.Run
				})
				if err := ss.HandOver(ctx, recs, runs); err != nil {
					b.Fatal(err)
				}
				must(l.Do(ctx, drop[i:i+n]...))
				if rate > 0 {
					time.Sleep(time.Until(start.Add(time.Duration(i+n) * time.Second / time.Duration(rate))))
				}
			}
			report(b, start, used)
		})
	}
}
