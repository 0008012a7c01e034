//go:build linux

package guard

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// canOwn tells whether this machine lets an agent execute runs itself: a kernel that tells exits to others, and control groups.
func canOwn(t testing.TB) bool {
	t.Helper()
	c := newClient(t, "")
	adopt(t, c)
	return stashOf(c) != nil
}

func stashOf(c *Client) *stash {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current.mu.Lock()
	defer c.current.mu.Unlock()
	return c.current.stash
}

// newOwner makes an agent's end that executes runs itself.
func newOwner(t testing.TB, dir string, change ...func(*Options)) *Client {
	t.Helper()
	c := newClient(t, dir, change...)
	adopt(t, c)
	if stashOf(c) == nil {
		t.Skip("this machine's runs are all the guard's: it takes Linux 6.15, and control groups of version 2")
	}
	return c
}

// A run for which there is no slot goes to the guard, and the slots come back.
func TestAFullStash(t *testing.T) {
	c := newOwner(t, "")
	s := stashOf(c)
	var taken []slot
	for p, ok := s.take(); ok; p, ok = s.take() {
		taken = append(taken, p)
	}
	back := func(all ...slot) {
		s.l.mu.Lock()
		defer s.l.mu.Unlock()
		for _, p := range all {
			s.back(p)
		}
	}
	if len(taken) != slots {
		t.Errorf("%d slots", len(taken))
	}
	one := func(owned bool) {
		t.Helper()
		x := start(t, c, sh("echo here; exit 3"))
		if exit := ended(t, x); exit.ExitCode == nil || *exit.ExitCode != 3 || string(exit.Output) != "here\n" {
			t.Errorf("%q %+v", exit.Output, exit)
		}
		if x.(*execution).own != nil != owned {
			t.Errorf("executed by the agent itself: %v", !owned)
		}
		x.Release()
	}
	one(false)
	back(taken[0])
	for range 3 {
		one(true)
	}
	back(taken[1:]...)
}

// stuckKeeper keeps the turn to start until it is told to go on.
type stuckKeeper struct {
	keeper
	stuck, on chan struct{}
}

func (k stuckKeeper) Admit() bool {
	close(k.stuck)
	<-k.on
	return k.keeper.Admit()
}

// Who waits for a turn to start holds no slot: however many are due at once, the agent executes them itself.
func TestACrowdHoldsNoSlots(t *testing.T) {
	c := newOwner(t, "", func(o *Options) { o.Runner.Starts = 1 })
	s := stashOf(c)
	e := sh("exit 3")
	x, err := s.enter(&e)
	if err != nil {
		t.Fatal(err)
	}
	k := stuckKeeper{keeper{x, s, &e}, make(chan struct{}), make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.begin(t.Context(), x, e, k); err != nil {
			t.Error(err)
			return
		}
		<-x.Done()
		x.Release()
	})
	<-k.stuck
	var begun atomic.Int64
	for range 2 * slots {
		wg.Go(func() {
			x, err := c.Start(t.Context(), sh("exit 3"))
			if err != nil {
				t.Error(err)
				return
			}
			begun.Add(1)
			<-x.Done()
			if exit := x.Exit(); exit.ExitCode == nil || *exit.ExitCode != 3 {
				t.Errorf("%+v", exit)
			}
			x.Release()
		})
	}
	time.Sleep(200 * time.Millisecond) // for who would not wait
	if n := len(s.free); n != slots {
		t.Errorf("%d of %d slots are free while nothing has begun", n, slots)
	}
	if n := begun.Load(); n > 0 {
		t.Errorf("%d have begun elsewhere", n)
	}
	close(k.on)
	wg.Wait()
	eventually(t, "all slots are free", func() bool { return len(s.free) == slots })
}

// oneServer makes a guard in this process, with an agent's stash in which there is a run of a process, which may be nil.
func oneServer(t *testing.T, process *os.Process, pidfd int) *server {
	t.Helper()
	newOwner(t, "") // or there are no such stashes here
	r, err := runner.New(runner.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := newServer(r, slog.New(slog.DiscardHandler), "one")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.wg.Wait)
	at, err := newSlot(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(at.w) }) // the other end is the server's
	out, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	defer to.Close()
	if _, err := to.WriteString("said"); err != nil {
		t.Fatal(err)
	}
	b, err := cbor.Marshal(deposit{
		ID: 7, Exec: job.Exec{Run: run1, Attempt: 2, Note: []byte("note")},
		Legacy: runner.Legacy{Begin: time.Now(), Parent: os.Getpid(), Ticks: s.ticks},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !at.put(b, int(out.Fd()), int(out.Fd())) || process != nil && !at.put([]byte(strconv.Itoa(process.Pid)), pidfd) {
		t.Fatal("nothing was put in")
	}
	s.inboxes[1], s.token = &inbox{dir: t.TempDir(), slots: []int{at.r}}, 1
	return s
}

// welcomes takes the next agent, and returns what it is told of the run that the one before left.
func welcomes(t *testing.T, s *server) (holding, job.Execution) {
	t.Helper()
	n, f := pipe(t)
	defer n.close()
	defer f.Close()
	left := make(chan struct{})
	close(left)
	if !s.welcome(n, 2, left) {
		t.Fatal("the next agent is not welcome")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[7] == nil {
		t.Fatal("the run is not held")
	}
	return s.held[7].holding, s.held[7].exec
}

// An agent whose connection has not been seen to end is succeeded by another: what it left is told to that one with the rest.
func TestAStashOfAPredecessor(t *testing.T) {
	h, x := welcomes(t, oneServer(t, nil, -1))
	if h.Run != run1 || h.Attempt != 2 || string(h.Note) != "note" {
		t.Fatalf("%+v", h)
	}
	if exit := ended(t, x); exit.Outcome != job.Lost || string(exit.Output) != "said" {
		t.Errorf("%q %+v", exit.Output, exit)
	}
}

// A guard that was asked to end ends also what it takes over after that.
func TestWhatAnEndingGuardTakesOver(t *testing.T) {
	pidfd := -1
	cmd := exec.Command("/bin/sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd, Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	s := oneServer(t, cmd.Process, pidfd)
	s.endAll()
	_, x := welcomes(t, s)
	if exit := ended(t, x); exit.Outcome != job.Killed || exit.Signal != "SIGTERM" || !strings.Contains(exit.Reason, stopCause) {
		t.Errorf("%+v", exit)
	}
}

// A stash that is not whole, because its agent died while it gave it away, is not taken.
func TestAStashThatIsNotWhole(t *testing.T) {
	c := newClient(t, "", func(o *Options) { o.Own = false })
	adopt(t, c)
	c.mu.Lock()
	l := c.current
	c.mu.Unlock()
	p, err := newSlot(0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	s := &stash{l: l}
	if err := s.introduce(t.Context(), []int{p.r}); err == nil {
		t.Error("one slot is a stash")
	}
	if exit := ended(t, start(t, c, sh("exit 6"))); *exit.ExitCode != 6 {
		t.Errorf("%+v", exit)
	}
}

// A guard without descriptors goes on with a run as soon as it has some, whether its agent lives or has gone, and then obeys what was said meanwhile.
func TestAGuardShortOfDescriptors(t *testing.T) {
	for name, gone := range map[string]bool{"the agent lives": false, "the agent is gone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c := newOwner(t, dir)
			l, guard := stashOf(c).l, guardOf(c)
			x := startSlowly(t, c, sh("trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.01; done"))
			eventually(t, "it is up", func() bool { return x.own.lent.Seen() == len("up\n") })
			var limit unix.Rlimit
			if err := unix.Prlimit(guard, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 1 << 10}, &limit); err != nil {
				t.Fatal(err)
			}
			enough := unix.Rlimit{Cur: 1 << 10, Max: 1 << 10}
			before := look(t, guard).fds
			if gone {
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the guard has noticed", func() bool { return look(t, guard).fds < before })
			} else {
				x.Kill("the test")
				l.mu.Lock()
				heard := l.heard
				l.mu.Unlock()
				l.n.send(&message{Kind: kindPing})
				eventually(t, "the guard has read it", func() bool { return l.words() > heard })
			}
			if err := unix.Prlimit(guard, unix.RLIMIT_NOFILE, &enough, nil); err != nil {
				t.Fatal(err)
			}
			var its job.Execution = x
			if gone {
				its = adopt(t, newClient(t, dir))[run1].Execution
				its.Kill("the test")
			}
			if exit := ended(t, its); exit.Outcome != job.Killed || exit.ExitCode == nil || *exit.ExitCode != 7 ||
				!strings.HasPrefix(string(exit.Output), "up\n") || !strings.HasSuffix(string(exit.Output), "asked\n") { // a shell may say what was ended
				t.Errorf("%q %+v", exit.Output, exit)
			}
			its.Release()
		})
	}
}

// footprint is what runs could leave in an agent's or guard's process, its control groups, and the guard's folder.
type footprint struct{ fds, goroutines, groups, files, children, rssKB int }

func footprintOf(t testing.TB, c *Client, pid int) (f footprint) {
	t.Helper()
	now := look(t, pid)
	f.fds, f.children, f.rssKB = now.fds, now.children, now.rssKB
	groups, err := filepath.Glob(fmt.Sprintf("%s/rota-%d-*/*/cgroup.procs", filepath.Dir(runner.GroupFacts().Dir), pid))
	if err != nil {
		t.Fatal(err)
	}
	f.groups = len(groups)
	f.fds -= 2 * f.groups // each that is kept has two, and is used again
	c.mu.Lock()
	dir := c.current.dir
	c.mu.Unlock()
	files, err := filepath.Glob(dir + "/" + runsName + "*/*/*")
	if err != nil {
		t.Fatal(err)
	}
	f.files = len(files)
	if pid == os.Getpid() {
		f.goroutines = runtime.NumGoroutine()
	}
	return f
}

// within tells whether nothing has come on top, but for control groups that are kept for other runs.
func (f footprint) within(before footprint) bool {
	return f.fds <= before.fds && f.goroutines <= before.goroutines && f.groups <= 128 && f.files <= before.files && f.children <= before.children
}
