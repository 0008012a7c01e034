//go:build linux

package runner

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
)

// BenchmarkRuns measures how near the runner comes to a bare loop that forks, execs, captures and waits. Both do the same
// number of runs with as many workers, in short turns, so that the machine's moods hit both alike:
//
//	go test -run '^$' -bench Runs -benchtime 4000x ./internal/runner
//
// It reports runs per second, CPU per run of the agent and its children, and the ratio of the rates.
func BenchmarkRuns(b *testing.B) {
	for _, workers := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			compare(b, workers, Options{}, job.Exec{})
		})
	}
}

// BenchmarkRun measures in the same way what each feature costs: runner is the runner without control groups, cgroup with them, as it
// is by default; the others come on top of that.
func BenchmarkRun(b *testing.B) {
	b.Run("runner", func(b *testing.B) { compare(b, 4, Options{NoGroups: true}, job.Exec{}) })
	b.Run("cgroup", func(b *testing.B) { compare(b, 4, Options{}, job.Exec{}) })
	b.Run("stdin", func(b *testing.B) { compare(b, 4, Options{}, job.Exec{Stdin: []byte("input")}) })
	b.Run("timeout", func(b *testing.B) { compare(b, 4, Options{}, job.Exec{Timeout: time.Hour}) })
	b.Run("tied", func(b *testing.B) { compare(b, 4, Options{}, job.Exec{Tied: SinceBoot() + time.Hour}) })
	b.Run("logs", func(b *testing.B) {
		logs, err := runlog.Open(runlog.Options{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		compare(b, 4, Options{Logs: logs}, job.Exec{Run: "x", Attempt: 1})
	})
	b.Run("user", func(b *testing.B) {
		if os.Geteuid() != 0 {
			b.Skip("only root may become another user")
		}
		compare(b, 4, Options{}, job.Exec{User: "nobody"})
	})
	for _, c := range []struct {
		name   string
		limits job.Limits
	}{
		{"nice", job.Limits{Nice: 1}}, {"umask", job.Limits{Umask: "0027"}}, {"open_files", job.Limits{OpenFiles: 1024}}, {"memory", job.Limits{Memory: 64 << 20}},
		{"processes", job.Limits{Processes: 10}}, {"limits", job.Limits{Memory: 64 << 20, CPU: 1, Processes: 10, OpenFiles: 1024, Nice: 1, Umask: "0027"}},
	} {
		b.Run(c.name, func(b *testing.B) { compare(b, 4, Options{}, job.Exec{Limits: c.limits}) })
	}
}

func compare(b *testing.B, workers int, o Options, e job.Exec) {
	o.Dir = b.TempDir()
	r, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	if err := r.groups.Check(e.Limits); err != nil {
		b.Skip(err)
	}
	e.Argv, e.Dir = []string{"/bin/true"}, "/"
	e.Env = []string{"PATH=" + DefaultPath, "HOME=/", "ROTA_RUN=x", "ROTA_TASK=x", "ROTA_GROUP=default", "ROTA_NODE=x"}
	bare := func() error {
		cmd := exec.Command("/bin/true")
		cmd.Env, cmd.Dir = e.Env, "/"
		_, err := cmd.CombinedOutput()
		return err
	}
	ours := func() error {
		x, err := r.Start(context.Background(), e)
		if err != nil {
			return err
		}
		<-x.Done()
		if e := x.Exit(); e.Outcome != job.Success {
			return fmt.Errorf("%+v", e)
		}
		return nil
	}
	var of [2]cost
	const turn = 100
	for left := b.N; left > 0; left -= turn {
		n := min(left, turn)
		of[0].add(b, workers, n, bare)
		of[1].add(b, workers, n, ours)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(of[0].rate(), "bare/s")
	b.ReportMetric(of[1].rate(), "rota/s")
	b.ReportMetric(of[0].cpuEach(), "bare-µs-cpu/run")
	b.ReportMetric(of[1].cpuEach(), "rota-µs-cpu/run")
	b.ReportMetric(100*of[1].rate()/of[0].rate(), "%ofbare")
}

type cost struct {
	runs      int
	wall, cpu time.Duration
}

func (c *cost) rate() float64    { return float64(c.runs) / c.wall.Seconds() }
func (c *cost) cpuEach() float64 { return float64(c.cpu.Microseconds()) / float64(c.runs) }

// add does n runs with so many workers.
func (c *cost) add(b *testing.B, workers, n int, run func() error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	wall, cpu := time.Now(), cpuTime()
	for range workers {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if err := run(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	c.runs, c.wall, c.cpu = c.runs+n, c.wall+time.Since(wall), c.cpu+cpuTime()-cpu
}

// cpuTime is what this process and its children have used.
func cpuTime() time.Duration {
	var sum int64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += u.Utime.Nano() + u.Stime.Nano()
		}
	}
	return time.Duration(sum)
}
