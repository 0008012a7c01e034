//go:build linux

package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// Leaf is the group of one run. Its methods but Usage and Release may be called concurrently; a nil Leaf is empty.
type Leaf struct {
	t      *Tree
	v2     string            // its directory; empty where there is no version 2
	fd     int               // of that directory; -1: none
	events int               // cgroup.events, -1: none
	v1     map[string]string // its directories in version 1, by controller
	limits job.Limits
	base   Usage  // what it had counted when it was taken
	last   *Usage // what it had counted at the last look; nil: somebody was in it after that
	spent  Usage  // by the runs that were in it
	// inherited says that another process's Tree made it.
	inherited bool
	killed    atomic.Bool // then it is not used again: some kernels kill at once what is forked into it later
}

// Take gives an empty leaf, with limits where any are set that groups enforce. Where there is nothing to give (no version 2, and
// no such limits) it is nil. The error has a code.
func (t *Tree) Take(l job.Limits) (*Leaf, error) {
	if t == nil {
		return nil, t.Check(l)
	}
	t.mu.Lock()
	t.recover(2)
	t.mu.Unlock()
	if len(needed(l)) == 0 {
		if t.v2 == nil || t.off.Load() {
			return nil, nil
		}
		return t.plain()
	}
	if err := t.Check(l); err != nil {
		return nil, err
	}
	if leaf := t.again(l); leaf != nil {
		return leaf, nil
	}
	leaf, err := t.create(l)
	if err != nil {
		return nil, job.Errorf(job.CodeUnavailable, "make a control group for the limits of a run: %w", err).
			WithHint("see that nobody else changes %s", t.Facts().Dir)
	}
	return leaf, nil
}

// plain is a leaf without limits.
func (t *Tree) plain() (*Leaf, error) {
	t.mu.Lock()
	if n := len(t.free); n > 0 {
		l := t.free[n-1]
		t.free = t.free[:n-1]
		t.mu.Unlock()
		return l, nil
	}
	t.mu.Unlock()
	l, err := t.create(job.Limits{})
	if err != nil {
		return nil, job.Errorf(job.CodeUnavailable, "make a control group for a run: %w", err)
	}
	return l, nil
}

// recover looks at up to n leaves that were left with somebody in them. t.mu is held.
func (t *Tree) recover(n int) {
	for range min(n, len(t.strayed)) {
		l := t.strayed[0]
		t.strayed = t.strayed[1:]
		if l.Populated() {
			t.strayed = append(t.strayed, l)
		} else {
			t.keep(l)
		}
	}
}

// Kept is how many leaves nobody has at the moment: those that can be taken again, and those that were left with somebody in them. Each has two
// descriptors.
func (t *Tree) Kept() int {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recover(len(t.strayed))
	return len(t.free) + len(t.limited) + len(t.strayed)
}

// keep puts an empty leaf where it can be taken again, or removes it. t.mu is held.
func (t *Tree) keep(l *Leaf) {
	if len(t.free) < maxFree && l.limits.IsZero() && l.fd >= 0 && !l.killed.Load() {
		t.free = append(t.free, l)
		return
	}
	ready, later := false, false
	if !l.limits.IsZero() {
		ready, later = l.spare()
	}
	switch {
	case ready:
		t.keepLimited(l)
	case later:
		t.strayed = append(t.strayed, l)
	default:
		t.discard(l)
	}
}

func (t *Tree) create(limits job.Limits) (leaf *Leaf, err error) {
	t.mu.Lock()
	t.made++
	name := strconv.Itoa(t.made)
	t.mu.Unlock()
	l := &Leaf{t: t, fd: -1, events: -1, v1: map[string]string{}, limits: limits}
	defer func() {
		if err != nil {
			l.close()
			l.remove()
		}
	}()
	if t.v2 != nil {
		l.v2 = filepath.Join(t.v2.dir, name)
		if err := os.Mkdir(l.v2, 0o755); err != nil {
			return nil, err
		}
		if l.fd, err = unix.Open(l.v2, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return nil, fmt.Errorf("open %s: %w", l.v2, err)
		}
		if l.events, err = unix.Openat(l.fd, "cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return nil, fmt.Errorf("open %s/cgroup.events: %w", l.v2, err)
		}
	}
	if err := l.enforce(name); err != nil {
		return nil, err
	}
	return l, nil
}

// FD is the directory to clone into (SysProcAttr.CgroupFD), or -1 where there is none.
func (l *Leaf) FD() int {
	if l == nil {
		return -1
	}
	return l.fd
}

// NeedsThread tells whether the run's first process must be forked by a thread that has called EnterThread.
func (l *Leaf) NeedsThread() bool { return l != nil && len(l.v1) > 0 }

// EnterThread moves the calling thread into the groups of version 1, where what it forks is born. The thread must be
// locked (runtime.LockOSThread) and not be the main one. LeaveThread must follow.
func (l *Leaf) EnterThread() error {
	for _, dir := range l.v1 {
		if err := write(dir, "tasks", "0"); err != nil {
			return fmt.Errorf("enter a control group: %w", err)
		}
	}
	return nil
}

// NeedsStop tells whether the run's first process must be held at its first instruction until LeaveThread has been called: the
// thread counts as a process of the leaf.
func (l *Leaf) NeedsStop() bool { return l != nil && l.v1["pids"] != "" }

// LeaveThread moves the calling thread out again.
func (l *Leaf) LeaveThread() error {
	for c, dir := range l.v1 {
		if err := write(filepath.Dir(l.t.v1[c].dir), "tasks", "0"); err != nil {
			return fmt.Errorf("leave a control group: %w", err)
		}
		if c == "pids" {
			if err := write(dir, "pids.max", strconv.Itoa(l.limits.Processes)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Kill sends SIGKILL to everybody in the leaf at once, so that nobody can fork past it, whoever they belong to. It tells
// whether the kernel can.
func (l *Leaf) Kill() bool {
	if l == nil || l.v2 == "" {
		return false
	}
	l.killed.Store(true)
	return write(l.v2, "cgroup.kill", "1") == nil // since Linux 5.14
}

// Populated tells whether anybody is alive in it, or in groups below it.
func (l *Leaf) Populated() bool {
	if l == nil {
		return false
	}
	if l.events < 0 {
		if l.v2 != "" {
			return strings.Contains(read(l.v2, "cgroup.events"), "populated 1")
		}
		return len(l.Processes()) > 0
	}
	var buf [128]byte
	n, err := unix.Pread(l.events, buf[:], 0)
	if errors.Is(err, unix.ENODEV) { // who made it has removed it, which the kernel allows where nobody is left
		return false
	}
	return err != nil || !bytes.Contains(buf[:n], []byte("populated 0"))
}

// Events is a descriptor that is ready (EPOLLPRI) when Populated may have changed, or -1. Reading it, as Populated does, arms
// it again. It is open until Release.
func (l *Leaf) Events() int {
	if l == nil {
		return -1
	}
	return l.events
}

// Processes lists who is in it, and in groups below it.
func (l *Leaf) Processes() (pids []int) {
	if l == nil {
		return nil
	}
	if l.v2 != "" {
		return below(l.v2)
	}
	for _, dir := range l.v1 {
		pids = append(pids, below(dir)...)
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

func below(dir string) []int {
	pids := numbers(dir, "cgroup.procs")
	list, err := os.ReadDir(dir)
	if err != nil {
		return pids
	}
	for _, e := range list {
		if e.IsDir() {
			pids = append(pids, below(filepath.Join(dir, e.Name()))...)
		}
	}
	return pids
}

// Usage is what the processes of a leaf with limits have used, as far as it was counted.
type Usage struct {
	User, System time.Duration // CPU time
	Memory       int64         // the most bytes at a time, file cache and all
	OOMKills     int64         // processes that were killed for want of memory
	Refused      int64         // forks that the limit of processes refused
}

// Usage reads the counters, of what was used since the leaf was taken. Those of a leaf without limits are zero.
func (l *Leaf) Usage() (u Usage) {
	switch {
	case l == nil:
		return u
	case l.inherited:
		return l.time()
	case l.limits.IsZero():
		return u
	}
	u = l.count()
	l.last = &Usage{User: u.User, System: u.System, Refused: u.Refused}
	u.User, u.System, u.Refused = u.User-l.base.User, u.System-l.base.System, u.Refused-l.base.Refused
	return u
}

// count reads the counters, of what was ever used. Those of memory have begun with the run.
func (l *Leaf) count() (u Usage) {
	if l.v2 != "" {
		stat := read(l.v2, "cpu.stat")
		u.User = time.Duration(counter(stat, "user_usec")) * time.Microsecond
		u.System = time.Duration(counter(stat, "system_usec")) * time.Microsecond
		if l.t.have["memory"] == "v2" {
			u.Memory = counter("peak "+read(l.v2, "memory.peak"), "peak")
			u.OOMKills = counter(read(l.v2, "memory.events"), "oom_kill")
			if l.limits.Memory > 0 { // all were ended as one, and whom that began with may be counted twice
				u.OOMKills = min(u.OOMKills, 1)
			}
		}
		if l.t.have["pids"] == "v2" {
			u.Refused = counter(read(l.v2, "pids.events"), "max")
		}
	}
	if dir := l.v1["pids"]; dir != "" {
		u.Refused = counter(read(dir, "pids.events"), "max")
	}
	if dir := l.v1["memory"]; dir != "" {
		u.Memory = counter("peak "+read(dir, "memory.max_usage_in_bytes"), "peak")
		u.OOMKills = counter(read(dir, "memory.oom_control"), "oom_kill")
	}
	return u
}

// Settings reads files of the leaf, as far as there are such: what a limit has become.
func (l *Leaf) Settings(files ...string) (texts []string) {
	if l == nil {
		return nil
	}
	for _, file := range files {
		for _, dir := range append(slices.Collect(maps.Values(l.v1)), l.v2) {
			if b, err := os.ReadFile(filepath.Join(dir, file)); err == nil && dir != "" {
				texts = append(texts, strings.TrimSpace(string(b)))
			}
		}
	}
	return texts
}

// Release gives the leaf back. Somebody may still be in it: then it is used again, or removed, when they have ended.
func (l *Leaf) Release() {
	if l == nil {
		return
	}
	t := l.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.Populated() {
		l.last = nil
		if l.inherited {
			l.close()
		}
		t.strayed = append(t.strayed, l)
		return
	}
	t.keep(l)
}

func (l *Leaf) close() {
	if l.events >= 0 {
		unix.Close(l.events)
	}
	if l.fd >= 0 {
		unix.Close(l.fd)
	}
	l.fd, l.events = -1, -1
}

// remove removes its directories. It tells whether all are gone: the kernel refuses while a thread is on its way out.
func (l *Leaf) remove() bool {
	gone := l.v2 == "" || removed(l.v2)
	for _, dir := range l.v1 {
		gone = removed(dir) && gone
	}
	return gone
}

// removed removes a group and those that the run made below it.
func removed(dir string) bool {
	if err := unix.Rmdir(dir); err == nil || errors.Is(err, unix.ENOENT) {
		return true
	}
	remove(dir)
	return errors.Is(unix.Access(dir, unix.F_OK), unix.ENOENT)
}

// LeafOf is the leaf of a process of a run that an earlier life of the agent, or another agent, started; nil where it has none, or shares it with
// the caller. It serves to see who is in it and to end them, and need not be released.
func LeafOf(pid int) *Leaf {
	mounts := read("/proc/self", "mountinfo")
	own := locate(mounts, read("/proc/self", "cgroup")).v2
	its := locate(mounts, read("/proc", strconv.Itoa(pid)+"/cgroup")).v2
	if own == nil || its == nil {
		return nil
	}
	for dir := its.own; dir != its.mount && dir != "/"; dir = filepath.Dir(dir) {
		if tree := filepath.Base(filepath.Dir(dir)); strings.HasPrefix(tree, "rota-") && tree != "rota-agent" {
			if own.own == dir || strings.HasPrefix(own.own, dir+"/") {
				return nil
			}
			return &Leaf{v2: dir, fd: -1, events: -1}
		}
	}
	return nil
}
