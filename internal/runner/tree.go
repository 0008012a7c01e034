//go:build linux

package runner

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tree is what is known of the processes of a run that is being ended.
type tree struct {
	x       *execution
	members map[int]uint64 // every process ever seen in it, with its start
	alive   []proc         // at the last look, but for those beyond reach
	beyond  map[int]uint64 // those that the agent may not signal
	blind   bool           // the last look failed
}

// look finds the members that are alive. It also buries adopted ones that are dead.
func (t *tree) look() {
	t.alive = t.alive[:0]
	all, err := t.x.r.scans.fresh()
	if t.blind = err != nil; t.blind {
		t.x.r.log.Error("the processes of a run can't be listed; only its process group is ended", "pid", t.x.pid, "error", err)
		return
	}
	mine := make(map[int]bool, len(t.members)+8)
	for grown := true; grown; { // children may come before their parents
		grown = false
		for _, p := range all {
			if !mine[p.pid] && (mine[p.ppid] || t.owns(p)) {
				mine[p.pid], grown = true, true
				t.members[p.pid] = p.start
			}
		}
	}
	for _, p := range all {
		switch {
		case !mine[p.pid]:
		case p.dead():
			if p.pid != t.x.pid && p.ppid == os.Getpid() {
				_, _ = syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
			}
		case t.beyond[p.pid] != p.start:
			t.alive = append(t.alive, p)
		}
	}
}

// owns tells whether a process is of the tree by what it is itself; its children are then too.
func (t *tree) owns(p proc) bool {
	if start, ok := t.members[p.pid]; ok && start == p.start {
		return true
	}
	// The main process is not reaped before its tree is gone, so that its number stays its own.
	if p.pid == t.x.pid || p.sid == t.x.pid || p.pgrp == t.x.pid {
		return true
	}
	return p.ppid == os.Getpid() && !p.dead() && !t.x.r.main(p.pid) && carries(p.pid, t.x.marker)
}

// signal sends sig to every living member.
func (t *tree) signal(sig syscall.Signal) {
	_ = syscall.Kill(-t.x.pid, sig) // at once, so that no member can fork past it
	for _, p := range t.alive {
		if p.pid == t.x.pid || p.pgrp == t.x.pid && sig != syscall.SIGKILL {
			continue
		}
		if err := signalProcess(p, sig); err == unix.EPERM {
			t.beyond[p.pid] = p.start
			t.x.r.log.Error("a process of a run belongs to another user and can't be ended", "run", t.x.marker, "pid", p.pid)
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

// terminate ends the tree: SIGTERM, grace, SIGKILL. When it returns nobody is left, and the run has ended.
func (x *execution) terminate() {
	t := &tree{x: x, members: map[int]uint64{}, beyond: map[int]uint64{}}
	grace := time.NewTimer(x.grace)
	defer grace.Stop()
	t.look()
	t.signal(syscall.SIGTERM)
	t.signal(syscall.SIGCONT) // one that is stopped could not obey
	select {
	case <-x.exited:
		t.wait(grace.C, func() {})
	case <-grace.C:
	}
	if t.look(); len(t.alive) > 0 || t.blind {
		t.kill()
	}
	<-x.exited
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := len(t.beyond); n > 0 {
		x.cause += fmt.Sprintf("; %d of its processes belong to another user and could not be ended", n)
	}
	x.reap(make([]byte, chunkSize), 0)
}

// kill stops everybody before it kills anybody: a process that is stopped can't fork, and its children can't lose
// the parent by which they are known.
func (t *tree) kill() {
	for seen := -1; len(t.members) > seen; t.look() {
		seen = len(t.members)
		t.signal(syscall.SIGSTOP)
	}
	t.signal(syscall.SIGKILL)
	looks := 0
	t.wait(nil, func() {
		t.signal(syscall.SIGKILL)
		if looks++; looks == 20 {
			t.x.r.log.Error("processes of a run do not die of SIGKILL; the run goes on", "run", t.x.marker, "pid", t.alive[0].pid, "count", len(t.alive))
		}
	})
}

// wait looks, ever less often, until nobody is alive or the deadline has come. again is called after each look
// that found somebody.
func (t *tree) wait(deadline <-chan time.Time, again func()) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for delay := time.Millisecond; ; delay = min(2*delay, 250*time.Millisecond) {
		select {
		case <-deadline:
			return
		case <-pause.C:
		}
		if t.look(); len(t.alive) == 0 {
			return
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
