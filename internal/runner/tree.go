//go:build linux

package runner

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/cgroup"
)

// opaquePatience is how long a process may take to execute a program (its file may be on a network's disk) before it is passed over.
const opaquePatience = 3 * time.Second

// tree is what is known of the processes of a run that is being ended.
type tree struct {
	log    *slog.Logger
	root   proc                   // the main process
	held   bool                   // it is an unreaped child of ours, so that its number and its group's can't be another's
	parent int                    // where root is not our child: who adopts what it leaves behind, as we would; 0: nobody known
	group  func(int) bool         // signals root's process group at once, so that no member can fork past it, where it can; nil: nobody can say whose it is
	marker string                 // the entry in the environment of the run's processes
	list   func() ([]proc, error) // every process, as of now
	other  func(pid int) bool     // the main process of another run
	leaf   *cgroup.Leaf           // its control group; nil: none
	stir   chan struct{}          // told when the group may have become empty

	members map[int]uint64 // every process ever seen in it, with its start
	alive   []proc         // at the last look, but for those beyond reach
	beyond  map[int]uint64 // those that the agent may not signal
	died    map[int]bool   // those of the last list that were dead in it, or have died since
	opaque  map[int]uint64 // those of whom it could not be found out whether they are members
	blind   bool           // the last look failed
	reused  bool           // the number of root, and so of its group and session, is another process's by now
}

// look finds the members that are alive. It also buries adopted ones that are dead.
func (t *tree) look() {
	t.alive = t.alive[:0]
	var all []proc
	var mine map[int]bool
	for again := 0; again < maxLooks; again++ {
		var err error
		all, err = t.list()
		if t.blind = err != nil; t.blind {
			t.log.Error("the processes of a run can't be listed; only its process group is ended", "pid", t.root.pid, "error", err)
			return
		}
		if mine = t.among(all); !t.orphaned(all, mine) {
			break
		}
	}
	for _, p := range all {
		switch {
		case !mine[p.pid]:
		case p.dead():
			if p.pid != t.root.pid && p.ppid == os.Getpid() {
				_, _ = syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
			}
		case t.beyond[p.pid] != p.start:
			t.alive = append(t.alive, p)
		}
	}
}

// maxLooks is how often the processes are listed anew because some lost their parents meanwhile.
const maxLooks = 20

// among tells which of the listed processes are members.
func (t *tree) among(all []proc) map[int]bool {
	mine := make(map[int]bool, len(t.members)+8)
	inside := map[int]bool{}
	t.died = map[int]bool{}
	for _, p := range all {
		if p.dead() {
			t.died[p.pid] = true
		}
		if p.pid == t.root.pid && !t.held && p.start != t.root.start {
			t.reused = true
		}
	}
	for _, pid := range t.leaf.Processes() { // after the list, so that a number that changed its owner meanwhile comes with the start of the old one
		inside[pid] = true
	}
	for grown := true; grown; { // children may come before their parents
		grown = false
		for _, p := range all {
			if !mine[p.pid] && (mine[p.ppid] || inside[p.pid] || t.owns(p)) {
				mine[p.pid], grown = true, true
				t.members[p.pid] = p.start
			}
		}
	}
	return mine
}

// orphaned tells whether a process was listed as the child of one that died before it could be asked whose it was: the child may be a member, and
// can't be known by its parent any more.
func (t *tree) orphaned(all []proc, mine map[int]bool) bool {
	for _, p := range all {
		if !mine[p.pid] && !p.dead() && t.died[p.ppid] {
			return true
		}
	}
	return false
}

// owns tells whether a process is of the tree by what it is itself; its children are then too.
func (t *tree) owns(p proc) bool {
	if start, ok := t.members[p.pid]; ok && start == p.start {
		return true
	}
	if p.pid == t.root.pid {
		return t.held || p.start == t.root.start
	}
	if !t.reused && (p.sid == t.root.pid || p.pgrp == t.root.pid) {
		return true
	}
	// What a run left behind was adopted by us or, where we are not the agent that ran it, by whoever it may be.
	ours := p.ppid == os.Getpid() || !t.held && (t.parent == 0 || p.ppid == t.parent)
	return ours && !p.dead() && !t.other(p.pid) && t.marked(p)
}

// marked tells whether a process carries the run's marker. One that executes a program at this moment shows nothing, and would be
// overlooked: it is waited for, once.
func (t *tree) marked(p proc) bool {
	for until := time.Now().Add(opaquePatience); ; time.Sleep(time.Millisecond) {
		has, sure := carries(p.pid, t.marker)
		if has {
			return true
		}
		if now, err := readProc(p.pid, make([]byte, 0, statSize)); err != nil || now.start != p.start || now.dead() {
			t.died[p.pid] = true
			return false
		}
		if sure || t.opaque[p.pid] == p.start {
			return false
		}
		if time.Now().After(until) {
			if t.opaque == nil {
				t.opaque = map[int]uint64{}
			}
			t.opaque[p.pid] = p.start
		}
	}
}

// signal sends sig to every living member.
func (t *tree) signal(sig syscall.Signal) {
	grouped := t.group != nil && t.group(int(sig))
	for _, p := range t.alive {
		if grouped && p.pgrp == t.root.pid && sig != syscall.SIGKILL {
			continue
		}
		if err := signalProcess(p, sig); errors.Is(err, unix.EPERM) {
			t.beyond[p.pid] = p.start
			t.log.Error("a process of a run belongs to another user and can't be ended", "run", t.marker, "pid", p.pid)
		}
	}
}

// signalProcess signals the process that p was read from, and no other that has its number now.
func signalProcess(p proc, sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err == unix.ENOSYS {
		if now, err := readProc(p.pid, make([]byte, 0, statSize)); err != nil || now.start != p.start {
			return unix.ESRCH
		}
		return syscall.Kill(p.pid, sig)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if now, err := readProc(p.pid, make([]byte, 0, statSize)); err != nil || now.start != p.start {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// groupOf signals the process group that the process of a pidfd leads, or led, and no other that has its number now (since Linux 6.9).
func groupOf(pidfd int) func(sig int) bool {
	const processGroup = 1 << 2 // PIDFD_SIGNAL_PROCESS_GROUP
	return func(sig int) bool { return unix.PidfdSendSignal(pidfd, unix.Signal(sig), nil, processGroup) == nil }
}

// terminate ends the tree: SIGTERM, grace, SIGKILL. When it returns nobody is left, and the run has ended.
func (x *execution) terminate() {
	t := &tree{
		log: x.r.log, root: proc{pid: x.pid}, held: true, marker: x.marker, list: x.r.scans.fresh, other: x.r.main,
		leaf: x.leaf, stir: make(chan struct{}, 1),
		members: map[int]uint64{}, beyond: map[int]uint64{},
		group: func(sig int) bool { _ = syscall.Kill(-x.pid, syscall.Signal(sig)); return true },
	}
	if h := x.heir; h != nil {
		t.root.start, t.held = x.StartTicks(), false
		t.group = groupOf(x.pidfd)
		if now, err := StartTicks(h.parent); err == nil && now == h.ticks {
			t.parent = h.parent
		}
	}
	grace := time.NewTimer(x.grace)
	defer grace.Stop()
	events := t.leaf.Events()
	if events >= 0 && x.r.loop.watchFor(events, stirrer{t.stir}, unix.EPOLLPRI|unix.EPOLLET) != nil {
		events = -1 // then it is looked for from time to time
	}
	t.look()
	select {
	case <-x.now:
	default:
		t.signal(syscall.SIGTERM)
		t.signal(syscall.SIGCONT) // one that is stopped could not obey
	}
	gone := false
	select {
	case <-x.exited:
		gone = t.wait(grace.C, x.now, func() {})
	case <-x.now:
	case <-grace.C:
	}
	if !gone {
		t.look()
		t.kill(nil)
	}
	<-x.exited
	if events >= 0 {
		x.r.loop.pause(events)
	}
	defer x.tell()
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := t.left(); n > 0 {
		x.cause += fmt.Sprintf("; %d of its processes belong to another user and could not be ended", n)
	}
	x.reap(make([]byte, chunkSize), 0)
}

// stirrer passes on that a control group may have become empty.
type stirrer struct{ stir chan struct{} }

func (s stirrer) ready(int, []byte) {
	select {
	case s.stir <- struct{}{}:
	default:
	}
}

// left counts the processes beyond reach that are alive; a control group may have ended them all the same.
func (t *tree) left() (n int) {
	for pid, start := range t.beyond {
		if p, err := readProc(pid, make([]byte, 0, statSize)); err == nil && p.start == start && !p.dead() {
			n++
		}
	}
	return n
}

// kill stops everybody before it kills anybody: a process that is stopped can't fork, and its children can't lose
// the parent by which they are known. It tells whether nobody is left, which it waits for until stop is closed.
//
// A control group is killed at once by the kernel, and then it is only about those who were moved out of it.
func (t *tree) kill(stop <-chan struct{}) bool {
	if t.leaf.Kill() {
		t.look()
	}
	for seen := -1; len(t.members) > seen; t.look() {
		seen = len(t.members)
		t.signal(syscall.SIGSTOP)
	}
	t.leaf.Kill()
	t.signal(syscall.SIGKILL)
	looks := 0
	return t.wait(nil, stop, func() {
		t.leaf.Kill()
		t.signal(syscall.SIGKILL)
		if looks++; looks == 20 && len(t.alive) > 0 {
			t.log.Error("processes of a run do not die of SIGKILL; the run goes on", "run", t.marker, "pid", t.alive[0].pid, "count", len(t.alive))
		}
	})
}

// wait looks, ever less often, until nobody is alive, the deadline has come or now is closed. again is called after each look
// that found somebody. It tells whether nobody is alive, as far as can be seen.
func (t *tree) wait(deadline <-chan time.Time, now <-chan struct{}, again func()) bool {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for delay := time.Millisecond; ; delay = min(2*delay, 500*time.Millisecond) {
		select {
		case <-deadline:
			return false
		case <-now:
			return false
		case <-t.stir:
		case <-pause.C:
		}
		if t.look(); len(t.alive) == 0 && !t.leaf.Populated() {
			return true
		}
		again()
		pause.Reset(delay)
	}
}

// scans lists the processes of the machine, once for all who ask at the same time.
type scans struct {
	begun atomic.Uint64 // how many listings have begun

	mu   sync.Mutex
	last uint64 // the number of the listing that list is
	list []proc
	err  error
}

// fresh lists the processes not earlier than it was called. The list is shared: it must not be changed.
func (s *scans) fresh() ([]proc, error) {
	arrived := s.begun.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last <= arrived {
		s.last = s.begun.Add(1)
		s.list, s.err = processes()
	}
	return s.list, s.err
}
