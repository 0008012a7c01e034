//go:build linux

package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

func TestMain(m *testing.M) {
	if dir, ok := Asked(); ok {
		if Main(dir) != nil {
			os.Exit(1)
		}
		return
	}
	if args := os.Getenv(mortal); args != "" {
		if err := die(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// newClient makes an agent's end; "" is a folder of its own. At the end of the test its guards must be gone.
func newClient(t testing.TB, dir string, change ...func(*Options)) *Client {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	o := Options{Dir: dir, Program: "/proc/self/exe", Args: []string{"guard"}, Build: "one", Own: true, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, x := range c.executions() {
			x.KillNow("the end of the test")
			ended(t, x)
			x.Release()
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		eventually(t, "no guard is left in "+dir, func() bool { return len(folders(t, dir)) == 0 })
		c.children.Wait() // the detector of races keeps a process a second longer
	})
	return c
}

// executions are those that were not released.
func (c *Client) executions() (list []*execution) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.links {
		l.mu.Lock()
		for _, x := range l.execs {
			list = append(list, x)
		}
		l.mu.Unlock()
	}
	return list
}

// folders are those of the guards that live, or were not tidied up.
func folders(t testing.TB, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			list = append(list, e.Name())
		}
	}
	return list
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never happened: %s", what)
		}
	}
}

// run1 names a run. What a dead guard left is known by that name, so that it must be no name that the tests of another package give at the same
// time on this machine.
var run1 = func() job.RunID {
	pid := os.Getpid()
	if os.Getenv(mortal) != "" { // an agent of the tests' process
		pid = os.Getppid()
	}
	return job.RunID(fmt.Sprintf("guard-test-%d", pid))
}()

func sh(line string) job.Exec {
	return job.Exec{Run: run1, Attempt: 1, Argv: []string{"/bin/sh", "-c", line}, Dir: "/", Env: []string{"ROTA_RUN=" + string(run1)}}
}

// ways does a test of what both promise: runs that the agent executes itself while they are young, where this machine can do that, and runs that all go to
// the guard.
func ways(t *testing.T, test func(t *testing.T, way func(*Options))) {
	for name, own := range map[string]bool{"by the agent": true, "by the guard": false} {
		t.Run(name, func(t *testing.T) { test(t, func(o *Options) { o.Own = own }) })
	}
}

func start(t testing.TB, c job.Runner, e job.Exec) job.Execution {
	t.Helper()
	x, err := c.Start(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func ended(t testing.TB, x job.Execution) job.Exit {
	t.Helper()
	select {
	case <-x.Done():
		return x.Exit()
	case <-time.After(time.Minute):
		t.Fatal("the run does not end")
		return job.Exit{}
	}
}

// adopt takes up what earlier lives left.
func adopt(t testing.TB, c *Client) map[job.RunID]job.Adopted {
	t.Helper()
	list, err := c.Adopt(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[job.RunID]job.Adopted{}
	for _, a := range list {
		found[a.Run] = a
	}
	return found
}

// guardOf is the process that a client's runs go to.
func guardOf(c *Client) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current.pid
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// suspend stops a process, and returns when each of its threads stands: until then one of them may still answer.
func suspend(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all its threads stand", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(threads) == 0 {
			t.Fatalf("process %d has no threads: %v", pid, err)
		}
		for _, file := range threads {
			b, err := os.ReadFile(file)
			if err != nil || !bytes.HasPrefix(b[bytes.LastIndexByte(b, ')')+1:], []byte(" T ")) {
				return false
			}
		}
		return true
	})
}

func TestARun(t *testing.T) { ways(t, aRun) }

func aRun(t *testing.T, way func(*Options)) {
	c := newClient(t, "", way)
	e := sh("cat; echo err >&2; echo '{\"a\":1}' >$ROTA_RESULT; exit 3")
	e.Stdin = []byte("in\x00\xff\n")
	x := start(t, c, e)
	if x.Pid() <= 1 {
		t.Errorf("process %d", x.Pid())
	}
	exit := ended(t, x)
	if exit.Outcome != job.Failed || exit.ExitCode == nil || *exit.ExitCode != 3 || !bytes.Contains(exit.Output, e.Stdin) || string(exit.Result) != `{"a":1}` ||
		exit.Begin.IsZero() || exit.End.Before(exit.Begin) {
		t.Errorf("%q: %+v", exit.Output, exit)
	}
	x.Release()
	if x.Exit().Outcome != job.Failed {
		t.Error("the exit is forgotten with the release")
	}
	for name, bad := range map[string]job.Exec{"CodeInvalid": {Argv: []string{"/no/such/program"}}} {
		_, err := c.Start(t.Context(), bad)
		var e *job.Error
		if job.CodeOf(err) != job.CodeInvalid || !errors.As(err, &e) || e.Hint == "" || strings.Count(err.Error(), e.Hint) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKillsReachTheRun(t *testing.T) { ways(t, killsReachTheRun) }

func killsReachTheRun(t *testing.T, way func(*Options)) {
	c := newClient(t, "", way)
	x := start(t, c, sh("sleep 600"))
	x.Kill("ann")
	if exit := ended(t, x); exit.Outcome != job.Killed || exit.Reason != "killed by ann" {
		t.Errorf("%+v", exit)
	}
	x.Release()
	up := filepath.Join(t.TempDir(), "up")
	y := start(t, c, sh("trap '' TERM; touch "+up+"; while :; do sleep 600; done"))
	eventually(t, "it is up", func() bool { _, err := os.Stat(up); return err == nil })
	y.Kill("ann")
	y.KillNow("bob")
	if exit := ended(t, y); exit.Outcome != job.Killed || exit.Signal != "SIGKILL" || exit.Reason != "killed by ann" {
		t.Errorf("%+v", exit)
	}
	y.Release()
}

// The agent is gone: what runs goes on, and the next life has the real end of everything that was not released.
func TestAdoption(t *testing.T) { ways(t, adoption) }

func adoption(t *testing.T, way func(*Options)) {
	dir := t.TempDir()
	a := newClient(t, dir, way)
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	long := sh("echo before; read x <" + gate + "; echo after; exit 7")
	long.Run, long.Attempt, long.Note = "long", 3, []byte("a note\x00")
	short, done := sh("echo short; exit 4"), sh("true")
	short.Run, done.Run = "short", "done"
	x := start(t, a, long)
	ended(t, start(t, a, short))
	z := start(t, a, done)
	ended(t, z)
	z.Release()
	guard := guardOf(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if !alive(guard) {
		t.Fatal("the guard ended with runs in its hands")
	}

	b := newClient(t, dir, way)
	found := adopt(t, b)
	if len(found) != 2 || guardOf(b) != guard {
		t.Fatalf("%d runs found, guard %d of %d", len(found), guardOf(b), guard)
	}
	if l := found["long"]; l.Attempt != 3 || string(l.Note) != "a note\x00" || l.Pid() != x.Pid() || l.StartTicks() != x.StartTicks() || l.Begin.IsZero() {
		t.Errorf("%+v", l)
	}
	if exit := ended(t, found["short"]); *exit.ExitCode != 4 || string(exit.Output) != "short\n" {
		t.Errorf("%+v", exit)
	}
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if exit := ended(t, found["long"]); exit.ExitCode == nil || *exit.ExitCode != 7 || string(exit.Output) != "before\nafter\n" {
		t.Errorf("%q %+v", exit.Output, exit)
	}
	for _, f := range found {
		f.Release()
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the guard ends when it holds nothing", func() bool { return !alive(guard) })
}

// ancestor 38: the trees of a guard that was killed are ended and its runs told to be lost; the next ones run.
func TestDeathOfTheGuard(t *testing.T) { ways(t, deathOfTheGuard) }

func deathOfTheGuard(t *testing.T, way func(*Options)) {
	c := newClient(t, "", way)
	up := filepath.Join(t.TempDir(), "up")
	e := sh("trap '' TERM; setsid sleep 600 & touch " + up + "; wait")
	e.Run, e.Env = job.RunID(t.Name()), []string{"ROTA_RUN=" + t.Name()}
	x := start(t, c, e)
	eventually(t, "it is up", func() bool { _, err := os.Stat(up); return err == nil })
	y := start(t, c, sh("exit 5"))
	ended(t, y)
	if err := syscall.Kill(guardOf(c), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := ended(t, x); exit.Outcome != job.Lost || !strings.Contains(exit.Reason, "signal: killed") {
		t.Errorf("%+v", exit)
	}
	if left := carriers(t, "ROTA_RUN="+t.Name()); len(left) > 0 {
		t.Errorf("processes %v live on", left)
	}
	if exit := ended(t, y); exit.ExitCode == nil || *exit.ExitCode != 5 {
		t.Errorf("what is known is forgotten: %+v", exit)
	}
	if exit := ended(t, start(t, c, sh("exit 6"))); *exit.ExitCode != 6 {
		t.Errorf("%+v", exit)
	}
}

// carriers are the processes with an entry in their environment.
func carriers(t testing.TB, entry string) (pids []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if env, err := os.ReadFile(f); err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00"+entry+"\x00")) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

// A guard that is stopped makes one start fail, in words, and no further one. When it comes round it does not start what was given up.
func TestASilentGuard(t *testing.T) {
	t.Parallel()
	c := newClient(t, "", func(o *Options) { o.Patience, o.Own = 4*time.Second, false })
	x := start(t, c, sh("sleep 600"))
	first := guardOf(c)
	suspend(t, first)
	trace := filepath.Join(t.TempDir(), "trace")
	_, err := c.Start(t.Context(), sh("touch "+trace))
	if job.CodeOf(err) != job.CodeUnavailable || !strings.Contains(err.Error(), "has not answered for 4s") || !strings.Contains(err.Error(), strconv.Itoa(first)) {
		t.Errorf("%v", err)
	}
	if exit := ended(t, start(t, c, sh("exit 6"))); *exit.ExitCode != 6 || guardOf(c) == first {
		t.Errorf("%+v", exit)
	}
	if err := syscall.Kill(first, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	x.Kill("the test") // the guard reads in order: it has refused the other one when this is done
	if exit := ended(t, x); exit.Outcome != job.Killed {
		t.Errorf("%+v", exit)
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("what was given up was started")
	}
	x.Release()
	eventually(t, "the silent guard gets nothing more, and ends", func() bool { return !alive(first) })
}

// A guard that was stopped when its agent died is woken by the next life.
func TestAdoptionFromAStoppedGuard(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	short := func(o *Options) { o.Patience = 4 * time.Second }
	a := newClient(t, dir, short)
	start(t, a, sh("sleep 600"))
	guard := guardOf(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	suspend(t, guard)
	found := adopt(t, newClient(t, dir, short))
	if len(found) != 1 {
		t.Fatalf("%v", found)
	}
	found[run1].Kill("the test")
	ended(t, found[run1])
	found[run1].Release()
}

// An agent of another build leaves the old guard its runs.
func TestAnotherBuild(t *testing.T) {
	dir := t.TempDir()
	a := newClient(t, dir)
	x := start(t, a, sh("sleep 600"))
	old := guardOf(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := newClient(t, dir, func(o *Options) { o.Build = "two" })
	found := adopt(t, b)
	if len(found) != 1 || guardOf(b) == old || found[run1].Pid() != x.Pid() {
		t.Fatalf("%v, guard %d", found, guardOf(b))
	}
	if exit := ended(t, start(t, b, sh("exit 6"))); *exit.ExitCode != 6 {
		t.Errorf("%+v", exit)
	}
	if !alive(old) {
		t.Error("the old guard ended with a run in its hands")
	}
	found[run1].Kill("the test")
	ended(t, found[run1])
	found[run1].Release()
	eventually(t, "the old guard ends with its last run", func() bool { return !alive(old) })
}

// What is tied ends by its time without a word of the agent's, and lives as long as the agent says a later one.
func TestTied(t *testing.T) {
	t.Parallel()
	c := newClient(t, "")
	ended(t, start(t, c, sh("true"))) // the guard is up
	trap := "trap 'echo term' TERM; while :; do sleep 0.01; done"
	e := sh(trap)
	began := runner.SinceBoot()
	e.Tied, e.TiedGrace = began+3*time.Second, 300*time.Millisecond
	x := start(t, c, e)
	c.Hold(began + 5*time.Second)
	exit := ended(t, x)
	if at := runner.SinceBoot() - began; at < 4*time.Second {
		t.Errorf("it ended after %s, although held", at)
	}
	if exit.Outcome != job.Killed || exit.Signal != "SIGKILL" || exit.Reason != "killed by the end of the node's lease" || !bytes.Contains(exit.Output, []byte("term\n")) {
		t.Errorf("%q %+v", exit.Output, exit)
	}
	x.Release()
	e.Tied = began
	if _, err := c.Start(t.Context(), e); job.CodeOf(err) != job.CodeUnavailable { // held until before now
		t.Error(err)
	}
}

// A folder may be deeper than a socket's path can be, and nobody else may enter it.
func TestDeepFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 60))
	c := newClient(t, dir)
	if exit := ended(t, start(t, c, sh("exit 6"))); *exit.ExitCode != 6 {
		t.Errorf("%+v", exit)
	}
	for _, d := range append([]string{dir}, filepath.Join(dir, folders(t, dir)[0])) {
		if st, err := os.Stat(d); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, st.Mode(), err)
		}
	}
}

func TestAGuardThatCantStart(t *testing.T) {
	c := newClient(t, "", func(o *Options) { o.Program = "/no/such/program" })
	if _, err := c.Start(t.Context(), sh("true")); job.CodeOf(err) != job.CodeUnavailable || !strings.Contains(err.Error(), "/no/such/program") {
		t.Error(err)
	}
	d := newClient(t, "", func(o *Options) { o.Program, o.Args = "/bin/false", []string{"false"} })
	if _, err := d.Start(t.Context(), sh("true")); job.CodeOf(err) != job.CodeUnavailable {
		t.Error(err)
	}
}

// A start that is cancelled is not carried out, or is known.
func TestCancelledStarts(t *testing.T) { ways(t, cancelledStarts) }

func cancelledStarts(t *testing.T, way func(*Options)) {
	c := newClient(t, "", way)
	if _, err := c.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
			defer cancel()
			file := filepath.Join(dir, strconv.Itoa(i))
			x, err := c.Start(ctx, sh("touch "+file))
			if err == nil {
				ended(t, x)
				x.Release()
			}
			if _, none := os.Stat(file); (none == nil) != (err == nil) {
				t.Errorf("start %d: %v, and its trace: %v", i, err, none)
			}
		})
	}
	wg.Wait()
}

// Ten thousand runs leave nothing in the agent and nothing in the guard.
func TestManyRunsLeaveNothing(t *testing.T) { ways(t, manyRunsLeaveNothing) }

func manyRunsLeaveNothing(t *testing.T, way func(*Options)) {
	n := 10_000
	if testing.Short() {
		n = 500
	}
	c := newClient(t, "", way)
	runs := func(n int) {
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for i := range n / 4 {
					e, want := job.Exec{Argv: []string{"/bin/true"}, Dir: "/"}, job.Success
					switch (i + worker) % 50 {
					case 0:
						e = sh("echo 1 >$ROTA_RESULT")
					case 1:
						e = sh("sleep 0.01 &")
					case 2:
						e.Stdin = []byte("x")
					case 3:
						e.Argv[0] = "/no/such"
					case 4:
						e = sh("(setsid sleep 0.02 &)")
					case 5:
						e = sh("echo out; echo err >&2")
					case 6:
						e = sh("head -c 100000 /dev/zero")
					case 7:
						e = sh("sleep 0.06")
					case 8:
						e, want = sh("sleep 600"), job.Killed
					}
					e.Run, e.Note = job.RunID(fmt.Sprint(worker)), make([]byte, 2000)
					x, err := c.Start(t.Context(), e)
					if err != nil {
						if e.Argv[0] != "/no/such" {
							t.Error(err)
						}
						continue
					}
					if want == job.Killed {
						x.Kill("the test")
					}
					if exit := ended(t, x); exit.Outcome != want {
						t.Errorf("%q: %s, %s", e.Argv, exit.Outcome, exit.Reason)
					}
					x.Release()
				}
			})
		}
		wg.Wait()
	}
	runs(400)
	guard := guardOf(c)
	eventually(t, "the first ones are gone", func() bool { return look(t, guard).children == 0 })
	pids := [2]int{os.Getpid(), guard}
	var before [2]footprint
	for i, pid := range pids {
		before[i] = footprintOf(t, c, pid)
	}
	runs(n)
	for i, pid := range pids {
		var now footprint
		ok := func() bool { now = footprintOf(t, c, pid); return now.within(before[i]) }
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
				for _, l := range links {
					to, _ := os.Readlink(l)
					t.Log(to)
				}
				t.Fatalf("process %d had %+v and has %+v", i, before[i], now)
			}
		}
		t.Logf("process %d had %+v and has %+v", i, before[i], now)
	}
	after := look(t, guard)
	if after.rssKB > before[1].rssKB+20<<10 {
		t.Errorf("the guard grew from %d to %d KiB", before[1].rssKB, after.rssKB)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current.mu.Lock()
	defer c.current.mu.Unlock()
	if len(c.current.execs)+len(c.current.starts) > 0 {
		t.Errorf("%d executions and %d starts are left", len(c.current.execs), len(c.current.starts))
	}
	if s := c.current.stash; s != nil && len(s.free) != slots {
		t.Errorf("%d slots are free", len(s.free))
	}
}

// sight is what a process shows.
type sight struct{ fds, children, rssKB int }

func look(t testing.TB, pid int) (s sight) {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	s.fds = len(fds)
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		s.children += len(strings.Fields(string(b)))
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &s.rssKB); err == nil {
			return s
		}
	}
	t.Fatal("no VmRSS")
	return s
}

// A guard that is asked to end ends its runs, and waits no longer than a moment for an agent; one whose folder was removed likewise
// ends with its last run.
func TestAGuardThatNobodyComesFor(t *testing.T) {
	for name, asked := range map[string]bool{"asked to end": true, "its folder is gone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := New(Options{Dir: t.TempDir(), Build: "one"})
			if err != nil {
				t.Fatal(err)
			}
			line := "sleep 0.1"
			if asked {
				line = "sleep 600"
			}
			start(t, c, sh(line))
			guard := guardOf(c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if asked {
				err = syscall.Kill(guard, syscall.SIGTERM)
			} else {
				err = os.RemoveAll(c.o.Dir)
			}
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "it ends", func() bool { return !alive(guard) })
		})
	}
}
