//go:build linux

package runner

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func TestTenThousandRunsLeaveNothing(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 500
	}
	r := newRunner(t, Options{})
	run(t, r, job.Exec{Argv: []string{"true"}, Tied: SinceBoot() + time.Hour})
	run(t, r, sh("echo 1 >$ROTA_RESULT"))
	limits, other := job.Limits{OpenFiles: 64, Nice: 19}, ""
	if slices.Contains(r.Facts().Limits, "memory") {
		limits.Memory = 64 << 20
	}
	if slices.Contains(r.Facts().Limits, "processes") {
		limits.Processes = 10
	}
	if os.Geteuid() == 0 {
		other = "nobody"
	}
	run(t, r, job.Exec{Argv: []string{"true"}, User: other}) // makes a directory for the results of that user, which stays
	list, err := filepath.Glob(r.results.dir + "/*/*")
	if err != nil {
		t.Fatal(err)
	}
	files := len(list)
	fds, goroutines := descriptors(t)-2*r.groups.Kept(), runtime.NumGoroutine()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range n / 4 {
				e := job.Exec{Argv: []string{"/bin/true"}, Dir: "/", Tied: SinceBoot() + time.Hour}
				switch (i + w) % 20 {
				case 0:
					e = sh("echo 1 >$ROTA_RESULT")
				case 1:
					e = sh("sleep 0.01 &")
				case 2:
					e.Stdin = []byte("x")
				case 3:
					e.Argv[0] = "/no/such"
				case 4:
					e.Limits = limits
				case 5:
					e.Limits, e.Argv[0] = limits, "/no/such"
				case 6:
					e.User = other
				case 7:
					e = sh("(setsid sleep 0.02 &)")
				}
				x, err := r.Start(t.Context(), e)
				if err != nil {
					continue
				}
				if i%100 == 7 {
					x.Kill("the test")
				}
				<-x.Done()
			}
		})
	}
	wg.Wait()
	eventually(t, "descriptors are closed", func() bool { return descriptors(t)-2*r.groups.Kept() <= fds })
	eventually(t, "goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	eventually(t, "nobody is a zombie", func() bool {
		all, err := processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			if p.ppid == os.Getpid() && p.dead() {
				return false
			}
		}
		return true
	})
	if dir := r.Facts().Dir; dir != "" {
		eventually(t, "control groups are removed", func() bool {
			kept := r.groups.Kept()
			groups, err := filepath.Glob(dir + "/*/cgroup.procs")
			return err == nil && len(groups) == kept && kept <= 128
		})
		own := string(filepath.Separator) + filepath.Base(dir) + string(filepath.Separator)
		// Those of version 1 that are kept are parts of leaves with limits that are kept; the memory's never are.
		eventually(t, "control groups of version 1 are removed", func() bool {
			kept, left, memory := r.groups.Kept(), map[string]bool{}, 0
			err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() && strings.Contains(path, own) && !strings.HasPrefix(path, dir) {
					left[filepath.Base(path)] = true
					if strings.HasPrefix(path, "/sys/fs/cgroup/memory/") {
						memory++
					}
				}
				return nil
			})
			return err == nil && memory == 0 && len(left) <= min(kept, 4*2) // by as many as run at a time, and are on their way out
		})
	}
	if left, err := filepath.Glob(r.results.dir + "/*/*"); err != nil || len(left) > files {
		t.Errorf("left behind: %v, %v", left, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loop.mu.Lock()
	defer r.loop.mu.Unlock()
	if len(r.running) > 0 || len(r.loop.watchers) > 1 { // the guard's
		t.Errorf("still known: %d executions, %d descriptors", len(r.running), len(r.loop.watchers))
	}
}

// A run that is alive is watched by the loop, which needs no thread for it: the Go runtime would die of the 10,000th.
func TestRunsAtOnceNeedNoThreads(t *testing.T) {
	r := newRunner(t, Options{})
	before, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	var all []job.Execution
	for range 300 {
		all = append(all, start(t, r, job.Exec{Argv: []string{"sleep", "600"}, Dir: "/"}))
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) > len(before)+60 {
		t.Errorf("%d threads for %d runs, %d before, %v", len(tasks), len(all), len(before), err)
	}
	r.KillAll("the test")
	for _, x := range all {
		if e := ended(t, x); e.Outcome != job.Killed {
			t.Fatalf("got %+v", e)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("11193 (st) R 11164 11156 6982 0 -1 4194304 214 0 0 0 0 0 0 0 20 0 4 0 174919 1256628224 514"))
	f.Add([]byte("1 (a) b) S (x) Z 1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := parseStat(b); ok && (p.pid < 1 || p.state == 0) {
			t.Errorf("%q became %+v", b, p)
		}
	})
}

func TestParseStat(t *testing.T) {
	p, ok := parseStat([]byte("7 (a) b) S (x) Z 1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 4 0 99 0\n"))
	if want := (proc{pid: 7, ppid: 1, pgrp: 2, sid: 3, threads: 4, state: 'Z', start: 99}); !ok || p != want {
		t.Errorf("got %+v, %v", p, ok)
	}
	me, err := StartTicks(os.Getpid())
	if err != nil || me == 0 || len(BootID()) != 36 || SinceBoot() <= 0 {
		t.Errorf("%d, %v, %q, %v", me, err, BootID(), SinceBoot())
	}
	if _, err := StartTicks(1 << 30); err == nil {
		t.Error("a process that can't exist has a start")
	}
}
