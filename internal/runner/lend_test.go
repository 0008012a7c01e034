//go:build linux

package runner

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// shelf is a keeper: what it is given is inherited by another runner of this process.
type shelf struct {
	t     *testing.T
	i     Inherited
	ended chan struct{}
	full  bool
}

func (s *shelf) dup(fd int) int {
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		s.t.Error(err)
	}
	return fd
}

func (s *shelf) Admit() bool { return !s.full }

func (s *shelf) Keep(l Legacy, stdout, stderr int) bool {
	s.i.Legacy, s.i.Stdout, s.i.Stderr = l, s.dup(stdout), s.dup(stderr)
	return true
}

func (s *shelf) Born(pid, pidfd int) { s.i.Pid, s.i.Pidfd = pid, s.dup(pidfd) }
func (s *shelf) Outgrown(x *Lent)    { s.t.Error("it is outgrown") }
func (s *shelf) Ended(*Lent)         { close(s.ended) }
func (s *shelf) Reaped(job.Usage)    {}

// lend begins an execution that another runner can go on with.
func lend(t *testing.T, r *Runner, e job.Exec) (*Lent, *shelf) {
	t.Helper()
	if ok, err := TellsStatus("/bin/sleep", []string{"sleep", "1"}, nil); err != nil || !ok {
		t.Skip("this kernel tells nobody but its parent how a process ended: ", err)
	}
	s := &shelf{t: t, i: Inherited{Exec: e}, ended: make(chan struct{})}
	l, err := r.Lend(t.Context(), e, s)
	if errors.Is(err, ErrElsewhere) {
		t.Skip("there are no control groups of version 2 alone")
	}
	if err != nil {
		t.Fatal(err)
	}
	return l, s
}

// drop closes what nobody inherits.
func (s *shelf) drop() {
	for _, fd := range []int{s.i.Stdout, s.i.Stderr, s.i.Pidfd} {
		unix.Close(fd)
	}
}

// leave ends a runner whose executions another one has.
func leave(t *testing.T, r *Runner) {
	t.Helper()
	<-r.Leave()
	if err := RemoveResults(r.results.dir); err != nil {
		t.Error(err)
	}
}

// What its keeper has no room for is not executed, and leaves nothing open.
func TestNoRoomForALentExecution(t *testing.T) {
	r := newRunner(t, Options{})
	trace := filepath.Join(t.TempDir(), "trace")
	if l, err := r.Lend(t.Context(), sh("touch "+trace), &shelf{t: t, full: true}); !errors.Is(err, ErrElsewhere) {
		t.Fatal(l, err)
	}
	if _, err := os.Stat(trace); err == nil || len(r.gate) > 0 {
		t.Error("it was executed, or keeps the turn: ", err, len(r.gate))
	}
}

// Who still writes to the output of a lent execution that has ended and was released is left alone, as after any other.
func TestStrangersOfALentExecution(t *testing.T) {
	r := newRunner(t, Options{})
	dir := t.TempDir()
	gate, done := filepath.Join(dir, "gate"), filepath.Join(dir, "done")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds.
	l, s := lend(t, r, sh("(read x <"+gate+"; head -c 300000 /dev/zero && touch "+done+") & echo out; exit 3"))
	<-s.ended
	if exit := l.Exit(); exit.ExitCode == nil || *exit.ExitCode != 3 || string(exit.Output) != "out\n" {
		t.Errorf("%q %+v", exit.Output, exit)
	}
	s.drop()
	l.Release()
	if err := os.WriteFile(gate, []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	ready(t, done)
}

// The timeout of an execution that is inherited counts from its begin on a clock that nobody sets.
func TestTimeoutOfAnInheritedExecution(t *testing.T) {
	one, other := newRunner(t, Options{}), newRunner(t, Options{})
	e := sh("sleep 600")
	e.Timeout = 30 * time.Minute
	l, s := lend(t, one, e)
	if _, _, ok := l.HandOver(); !ok {
		t.Fatal("it was not handed over")
	}
	s.i.Begin = s.i.Begin.Add(time.Hour) // the clock was set back
	s.i.Born -= time.Hour
	x := other.Inherit(s.i, nil)
	if exit := ended(t, x); exit.Outcome != job.Timeout || exit.Signal != "SIGTERM" {
		t.Errorf("%+v", exit)
	}
	leave(t, one)
}

// Of an execution whose process was not noted the main process is found, and not another that leads a group.
func TestAnInheritedExecutionIsLookedFor(t *testing.T) {
	one, other := newRunner(t, Options{}), newRunner(t, Options{})
	up := t.TempDir() + "/up"
	l, s := lend(t, one, sh("setsid sh -c 'touch "+up+"; exec sleep 600' & exec sleep 600"))
	ready(t, up)
	pid := s.i.Pid
	if _, _, ok := l.HandOver(); !ok {
		t.Fatal("it was not handed over")
	}
	unix.Close(s.i.Pidfd)
	s.i.Pid, s.i.Pidfd = 0, -1
	x := other.Inherit(s.i, nil)
	if x.Pid() != pid || x.StartTicks() == 0 {
		t.Errorf("process %d was found, and not %d", x.Pid(), pid)
	}
	x.Kill("the test")
	if exit := ended(t, x); exit.Outcome != job.Killed || exit.Signal != "SIGTERM" {
		t.Errorf("%+v", exit)
	}
	leave(t, one)
}

// The group of an inherited execution is signalled at once, also those in it that were not seen, and after its head has gone.
func TestGroupOfAPidfd(t *testing.T) {
	if ok, err := TellsStatus("/bin/sleep", []string{"sleep", "1"}, nil); err != nil || !ok {
		t.Skip("this kernel is too old")
	}
	pidfd := -1
	head := exec.Command("/bin/cat")
	head.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd}
	in, err := head.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := head.Start(); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	member := exec.Command("/bin/sleep", "600")
	member.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: head.Process.Pid}
	if err := member.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	if err := head.Wait(); err != nil {
		t.Error(err)
	}
	tr := &tree{root: proc{pid: head.Process.Pid}, group: groupOf(pidfd)}
	tr.signal(syscall.SIGTERM)
	_ = member.Wait()
	if s := member.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGTERM {
		t.Error(member.ProcessState)
	}
}

// Where the number of a tree's main process is another's by now, those in the group and the session of that number are strangers.
func TestAReusedNumberOfATree(t *testing.T) {
	const root, child, stranger = 1 << 29, 1<<29 + 1, 1<<29 + 2
	var list []proc
	tr := &tree{
		root: proc{pid: root, start: 5}, marker: "ROTA_RESULT=none", list: func() ([]proc, error) { return list, nil },
		other: func(int) bool { return false }, members: map[int]uint64{}, beyond: map[int]uint64{},
	}
	list = []proc{{pid: child, ppid: 1, pgrp: root, sid: root, state: 'S', start: 6}}
	if tr.look(); len(tr.alive) != 1 {
		t.Fatalf("%+v", tr.alive)
	}
	list = []proc{
		{pid: root, ppid: 1, pgrp: root, sid: root, state: 'S', start: 7},
		{pid: stranger, ppid: 1, pgrp: root, sid: root, state: 'S', start: 8},
	}
	if tr.look(); len(tr.alive) != 0 {
		t.Errorf("%+v", tr.alive)
	}
}
