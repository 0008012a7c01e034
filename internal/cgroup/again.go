//go:build linux

package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// To make and to remove groups costs more than to execute a short command. So those of leaves with limits are used again, by runs with the same
// limits. Not where memory is counted: what one run left in the cache would count as the next one's, and not every kernel can forget the most that
// was used. In version 1 that is a group beside the others, which is made for each run; in version 2 it is the leaf itself.

// maxLimited bounds how many unused leaves with limits are kept. The oldest go first.
const maxLimited = 32

// group is the part of limits that groups enforce.
func group(l job.Limits) job.Limits {
	return job.Limits{Memory: l.Memory, CPU: l.CPU, CPUWeight: l.CPUWeight, Processes: l.Processes}
}

// again takes a leaf that had the same limits before; nil where there is none.
func (t *Tree) again(limits job.Limits) *Leaf {
	t.mu.Lock()
	var l *Leaf
	for i := len(t.limited) - 1; i >= 0 && l == nil; i-- {
		if group(t.limited[i].limits) == group(limits) {
			l = t.limited[i]
			t.limited = slices.Delete(t.limited, i, i+1)
		}
	}
	t.mu.Unlock()
	if l == nil {
		return nil
	}
	l.limits = limits
	if l.renew() == nil {
		return l
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.discard(l)
	return nil
}

// renew sets the limits anew, for the run before may have been root's and have changed them, and counts from now on.
func (l *Leaf) renew() error {
	if err := l.enforce(filepath.Base(l.v2)); err != nil {
		return err
	}
	if l.base = (Usage{}); l.last != nil {
		l.base = *l.last
	} else {
		l.base = l.count()
	}
	return nil
}

// enforce makes the groups of version 1 that are not there yet, and sets the limits.
func (l *Leaf) enforce(name string) error {
	for _, c := range needed(l.limits) {
		dir, list := l.v2, settings2(l.limits)
		if l.t.have[c] == "v1" {
			dir, list = filepath.Join(l.t.v1[c].dir, name), settings1(l.limits)
			if l.v1[c] == "" {
				if err := os.Mkdir(dir, 0o755); err != nil {
					return err
				}
				l.v1[c] = dir
			}
		}
		for _, s := range list {
			if s.controller != c {
				continue
			}
			if err := write(dir, s.file, s.text); err != nil && !s.optional {
				return err
			}
		}
	}
	return nil
}

// spare makes an empty leaf with limits ready to be used again, and tells whether it can be, or may be later: while the thread that forked the run
// is on its way out of a group, or a process is counted that waits to be buried. It can't be where a run has made groups below it. t.mu is held.
func (l *Leaf) spare() (ready, later bool) {
	if l.fd < 0 || l.killed.Load() || l.t.have["memory"] == "v2" || !childless(l.v2) {
		return false, false
	}
	for _, dir := range l.v1 {
		if !childless(dir) {
			return false, false
		}
		if len(words(dir, "tasks")) > 0 {
			return false, true
		}
	}
	if dir := l.v1["memory"]; dir != "" {
		if unix.Rmdir(dir) != nil {
			return false, true
		}
		delete(l.v1, "memory")
	}
	if l.limits.Processes == 0 {
		return true, false
	}
	dir := l.v2
	if l.v1["pids"] != "" {
		dir = l.v1["pids"]
	}
	ready = strings.TrimSpace(read(dir, "pids.current")) == "0"
	return ready, !ready
}

// childless tells whether a group has none below it.
func childless(dir string) bool {
	var st unix.Stat_t
	return unix.Stat(dir, &st) == nil && st.Nlink == 2
}

// keepLimited puts a leaf that is spare where it can be taken again. t.mu is held.
func (t *Tree) keepLimited(l *Leaf) {
	t.limited = append(t.limited, l)
	if len(t.limited) <= maxLimited {
		return
	}
	oldest := t.limited[0]
	t.limited = slices.Delete(t.limited, 0, 1)
	t.discard(oldest)
}

// discard removes a leaf, or puts it where that is tried again. t.mu is held.
func (t *Tree) discard(l *Leaf) {
	l.close()
	if !l.remove() {
		t.strayed = append(t.strayed, l)
		return
	}
	if l.inherited {
		sweep(filepath.Dir(filepath.Dir(l.v2)))
	}
}
