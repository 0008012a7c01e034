//go:build linux

package cgroup

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Whole tells whether everybody of a run is in the leaf from the first instruction on, without anything to be done to the thread that forks or to
// the child: it is one of version 2, and of nothing else. So another process can see and end the run by Dir alone.
func (l *Leaf) Whole() bool { return l != nil && l.fd >= 0 && len(l.v1) == 0 }

// Dir is its directory of version 2; empty where it has none.
func (l *Leaf) Dir() string {
	if l == nil {
		return ""
	}
	return l.v2
}

// Charge notes what a run in it has used, as its parent was told. So a later run's part can be told from that of those before it.
func (l *Leaf) Charge(user, system time.Duration) {
	if l != nil {
		l.spent.User, l.spent.System = l.spent.User+user, l.spent.System+system
	}
}

// Charged is what was noted so far.
func (l *Leaf) Charged() Usage {
	if l == nil {
		return Usage{}
	}
	return l.spent
}

// Give leaves it to another process, which takes it by Inherit. It must not be used any more, nor released.
func (l *Leaf) Give() {
	if l != nil {
		l.close()
	}
}

// Inherit is the leaf of a run that another process began, which has or had a Tree of its own, and has given it up or has ended. What was used
// before, by others, is not counted as the run's. Released, it is removed when it is empty, with what its process left, if that has ended.
func (t *Tree) Inherit(dir string, before Usage) *Leaf {
	if t == nil || dir == "" {
		return nil
	}
	t.mu.Lock()
	t.recover(2)
	t.mu.Unlock()
	l := &Leaf{t: t, v2: dir, fd: -1, events: -1, v1: map[string]string{}, base: before, inherited: true}
	if fd, err := unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		l.events = fd
	}
	return l
}

// time reads the processor time of an inherited leaf, which without limits is all that can be told from what others used.
func (l *Leaf) time() (u Usage) {
	stat := read(l.v2, "cpu.stat")
	u.User = max(time.Duration(counter(stat, "user_usec"))*time.Microsecond-l.base.User, 0)
	u.System = max(time.Duration(counter(stat, "system_usec"))*time.Microsecond-l.base.System, 0)
	return u
}
