//go:build linux

package runner

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// orphans buries dead processes that the agent adopted as a sub-reaper. It must not take the exit status of
// somebody else's child: not of a run's main process, nor of one that another part of the program started. So it goes by
// where a dead child of ours stands:
//
//   - in our own process group: only we ourselves start such; left alone
//   - in the group of another process: that was a run's, and this is one of its descendants; buried
//   - at the head of a group of its own: most likely a daemon that a run left behind, but whoever starts a
//     child with Setpgid or Setsid has such a one too; buried when it is still there at the next visit
type orphans struct {
	r       *Runner
	armed   atomic.Bool
	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}
	pgrp    int
	before  map[int]uint64 // heads of groups that were seen dead at the last visit, with their start
}

const (
	orphanPeek = time.Second      // between two looks whether any child has died
	orphanRest = 30 * time.Second // at most between two visits when there is nothing to bury
)

func startOrphans(r *Runner) *orphans {
	o := &orphans{r: r, pgrp: unix.Getpgrp(), wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	go o.run()
	return o
}

func (o *orphans) close() {
	close(o.stop)
	<-o.stopped
}

// expect is told that there may be children. It is called after a fork.
func (o *orphans) expect() {
	if !o.armed.Load() && !o.armed.Swap(true) {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
}

func (o *orphans) run() {
	defer close(o.stopped)
	tick := time.NewTimer(orphanPeek)
	defer tick.Stop()
	rest, due := orphanPeek, time.Now()
	for {
		select {
		case <-o.stop:
			return
		case <-o.wake:
		case <-tick.C:
			dead, children := peek()
			if !children {
				o.armed.Store(false)
				if _, children = peek(); !children {
					continue // until expect
				}
				o.armed.Store(true)
			}
			// The kernel shows one dead child, and it may hide others: then all are looked at, but not each second.
			if now := time.Now(); dead && !now.Before(due) {
				if o.visit() {
					rest = orphanPeek
				} else {
					rest = min(2*rest, orphanRest)
				}
				due = now.Add(rest)
			}
		}
		tick.Reset(orphanPeek)
	}
}

// peek tells whether a child has died that nobody waited for yet, and whether there are any children at all.
func peek() (dead, children bool) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0, err != unix.ECHILD
}

// visit buries whom it may, and tells whether there was or will be somebody.
func (o *orphans) visit() bool {
	list, err := o.r.scans.fresh()
	if err != nil {
		o.r.log.Error("adopted processes can't be buried", "error", err)
		return false
	}
	heads, found := map[int]uint64{}, false
	for _, p := range list {
		if p.ppid != os.Getpid() || !p.dead() || p.pgrp == o.pgrp || o.r.main(p.pid) {
			continue
		}
		found = true
		if p.pgrp == p.pid && o.before[p.pid] != p.start {
			heads[p.pid] = p.start
			continue
		}
		_, _ = syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
	}
	o.before = heads
	return found
}
