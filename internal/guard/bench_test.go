//go:build linux

package guard

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// BenchmarkGuard measures what the guard costs a run: a bare loop that forks, execs, captures and waits, the runner in process,
// and the runner in a guard do the same number of runs with as many workers, in short turns, so that the machine's moods hit all alike:
//
//	go test -run '^$' -bench Guard -benchtime 3000x ./internal/guard
//
// It reports runs per second, the CPU that each run costs agent, guard and children together, and how often the threads of agent and guard
// were switched for it. On a machine that has other things to do the latter two say more than the rates.
func BenchmarkGuard(b *testing.B) {
	for _, workers := range []int{1, 4} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) { benchGuard(b, workers) })
	}
}

func benchGuard(b *testing.B, workers int) {
	r, err := runner.New(runner.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	forks, own := newClient(b, "", func(o *Options) { o.Own = false }), newClient(b, "")
	for _, c := range []*Client{forks, own} {
		if _, err := c.Adopt(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	e := job.Exec{Run: "r", Attempt: 1, Argv: []string{"/bin/true"}, Dir: "/", Note: make([]byte, 1500)}
	e.Env = []string{"PATH=" + runner.DefaultPath, "HOME=/", "ROTA_RUN=x", "ROTA_TASK=x", "ROTA_GROUP=default", "ROTA_NODE=x"}
	with := func(r job.Runner) func() error {
		return func() error {
			x, err := r.Start(context.Background(), e)
			if err != nil {
				return err
			}
			x.StartTicks()
			<-x.Done()
			if e := x.Exit(); e.Outcome != job.Success {
				return fmt.Errorf("%+v", e)
			}
			x.Release()
			return nil
		}
	}
	bare := func() error {
		cmd := exec.Command("/bin/true")
		cmd.Env, cmd.Dir = e.Env, "/"
		_, err := cmd.CombinedOutput()
		return err
	}
	var of [4]spent
	const turn = 100
	for left := b.N; left > 0; left -= turn {
		for i, run := range []func() error{bare, with(r), with(forks), with(own)} {
			of[i].add(b, workers, min(left, turn), []int{guardOf(forks), guardOf(own)}, run)
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, name := range []string{"bare", "process", "guard", "own"} {
		b.ReportMetric(of[i].rate(), name+"/s")
		b.ReportMetric(float64(of[i].cpu.Microseconds())/float64(of[i].runs), name+"-µs-cpu/run")
		b.ReportMetric(float64(of[i].switches)/float64(of[i].runs), name+"-switches/run")
	}
	for i, name := range []string{"process", "guard", "own"} {
		b.ReportMetric(100*of[i+1].rate()/of[0].rate(), name+"-%of-bare")
	}
}

// spent is what runs took.
type spent struct {
	runs      int
	wall, cpu time.Duration
	switches  int
}

func (s *spent) rate() float64 { return float64(s.runs) / s.wall.Seconds() }

func (s *spent) add(b *testing.B, workers, n int, guards []int, run func() error) {
	switched := func() (sum int) {
		for _, pid := range append(guards, os.Getpid()) {
			sum += switchesOf(b, pid)
		}
		return sum
	}
	used := func() time.Duration {
		sum := ownTime()
		for _, pid := range guards {
			sum += timeOf(b, pid)
		}
		return sum
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	wall, cpu, switches := time.Now(), used(), switched()
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
	s.runs, s.wall, s.cpu = s.runs+n, s.wall+time.Since(wall), s.cpu+used()-cpu
	s.switches += switched() - switches
}

// switchesOf is how often the threads of a process were switched, of those that are alive.
func switchesOf(b *testing.B, pid int) (sum int) {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && strings.HasSuffix(name, "voluntary_ctxt_switches") {
				sum += n
			}
		}
	}
	return sum
}

// ownTime is what this process and its children have used.
func ownTime() time.Duration {
	var sum int64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += u.Utime.Nano() + u.Stime.Nano()
		}
	}
	return time.Duration(sum)
}

// timeOf is what another process and its children have used, in steps of a clock tick.
func timeOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		b.Fatal(err)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	fields, sum := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:])), time.Duration(0)
	for _, f := range fields[11:15] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(n) * tick
	}
	return sum
}
