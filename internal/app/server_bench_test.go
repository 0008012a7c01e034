package app

import (
	"context"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func BenchmarkOneOff(b *testing.B) {
	ref := job.Ref("", "true")
	b.Run("one", func(b *testing.B) {
		benchmarkOneOff(b, ref, func(ctx context.Context, s *Server, n int) error {
			for range n {
				if _, err := s.master.Run(ctx, client.RunRequest{Task: ref}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	b.Run("http", func(b *testing.B) {
		benchmarkOneOff(b, ref, func(ctx context.Context, s *Server, n int) error {
			token, err := os.ReadFile(s.data.join("admin.token"))
			if err != nil {
				return err
			}
			cl, err := client.New(client.Options{Server: s.URL(), Token: strings.TrimSpace(string(token))})
			if err != nil {
				return err
			}
			for range n {
				if _, err := cl.Run(ctx, client.RunRequest{Task: ref}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	b.Run("list", func(b *testing.B) {
		benchmarkOneOff(b, ref, func(ctx context.Context, s *Server, n int) error {
			for left := n; left > 0; left -= 100 {
				if _, err := s.master.RunList(ctx, client.RunListRequest{Task: ref, Each: make([]client.ListedRun, min(left, 100))}); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// benchmarkOneOff measures runs that are asked for, each caller its part, until history has them.
func benchmarkOneOff(b *testing.B, ref job.TaskRef, ask func(ctx context.Context, s *Server, n int) error) {
	ctx := context.Background()
	s, err := Start(ctx, ServerConfig{Role: RoleUp, Data: b.TempDir(), Listen: "127.0.0.1:0", Name: "n1"}, b.Output())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	if _, err := s.apply(ctx, job.Documents{Tasks: []job.Task{{Name: "true", Command: job.Args("/bin/true"), Overlap: job.OverlapAllow, Concurrency: 1000}}}); err != nil {
		b.Fatal(err)
	}
	before := counted(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	const callers = 16
	for w := range callers {
		wg.Go(func() {
			if err := ask(ctx, s, (b.N+w)/callers); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	for !b.Failed() {
		totals, err := s.history.Totals(ctx, ref)
		if err != nil {
			b.Fatal(err)
		}
		st := totals[ref]
		if st.Count[job.Success] >= int64(b.N) {
			break
		}
		if n := st.Count[job.Failed] + st.Count[job.Missed] + st.Count[job.Lost] + st.Count[job.Skipped]; n > 0 {
			page, _ := s.history.Records(ctx, job.RecordFilter{Limit: 1})
			b.Fatalf("%v: %v", st.Count, page.Records)
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.StopTimer()
	for name, after := range counted(b) {
		b.ReportMetric((after-before[name])/float64(b.N), name+"/run")
	}
}

// counted is what this process has used until now: processor time with that of the commands, and what its etcd was asked to do.
func counted(b *testing.B) map[string]float64 {
	list := map[string]float64{}
	for who, name := range map[int]string{syscall.RUSAGE_SELF: "server-µs", syscall.RUSAGE_CHILDREN: "commands-µs"} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		list[name] = float64(u.Utime.Nano()+u.Stime.Nano()) / 1000
	}
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		b.Fatal(err)
	}
	names := map[string]string{
		"etcd_server_proposals_applied_total":       "proposals",
		"etcd_mvcc_put_total":                       "puts",
		"etcd_mvcc_delete_total":                    "deletes",
		"etcd_mvcc_events_total":                    "watched",
		"etcd_debugging_mvcc_events_total":          "watched",
		"etcd_mvcc_range_total":                     "ranges",
		"etcd_disk_wal_fsync_duration_seconds":      "etcd-syncs",
		"etcd_disk_backend_commit_duration_seconds": "etcd-commits",
	}
	for _, f := range families {
		name, ok := names[f.GetName()]
		if !ok {
			continue
		}
		for _, m := range f.GetMetric() {
			list[name] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return list
}
