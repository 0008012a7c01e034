//go:build linux

package cgroup

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// Facts say what groups can do on this machine, for people.
type Facts struct {
	Version string   // v2, hybrid (v2 keeps the tree, v1 sets limits), v1, or none
	Dir     string   // of the agent's subtree
	Limits  []string // those that can be enforced: of memory, cpu, cpu_weight, processes
	Why     string   // what stands in the way of the others; empty where nothing does
}

// Tree is this process's subtree of the machine's groups. It is safe for concurrent use. A nil Tree is that of a machine without
// groups.
type Tree struct {
	log  *slog.Logger
	v2   *branch            // nil: none
	v1   map[string]*branch // by controller, those that v2 doesn't have
	have map[string]string  // the version of the controllers that can be used
	why  map[string]string  // why the others can't, by controller

	off atomic.Bool

	mu      sync.Mutex
	made    int
	free    []*Leaf // empty, without limits
	limited []*Leaf // empty, with limits, oldest first
	strayed []*Leaf // released while somebody was in them
}

// branch is the part of the subtree in one hierarchy.
type branch struct {
	dir  string
	lock *os.File
}

// maxFree bounds how many unused leaves are kept.
const maxFree = 128

// Open makes the subtree of this process and removes what ended ones left. It never fails: a machine without groups,
// or one that lets this process make none, gives a Tree that says so in its Facts.
func Open(log *slog.Logger) *Tree {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	own, err2 := os.ReadFile("/proc/self/cgroup")
	if err := errors.Join(err, err2); err != nil {
		return &Tree{log: log, why: allWhy("control groups can't be looked for: " + err.Error())}
	}
	return open(log, locate(string(mounts), string(own)), controllers)
}

// Look tells what a Tree of this process could do, and leaves none.
func Look() Facts {
	t := Open(slog.New(slog.DiscardHandler))
	defer t.Close()
	return t.Facts()
}

func allWhy(reason string) map[string]string {
	why := map[string]string{}
	for _, c := range controllers {
		why[c] = reason
	}
	return why
}

func open(log *slog.Logger, l layout, wanted []string) *Tree {
	t := &Tree{log: log, v1: map[string]*branch{}, have: map[string]string{}, why: allWhy("no control groups are mounted")}
	if l.v2 != nil {
		t.openV2(*l.v2, wanted)
	}
	for c, p := range l.v1 {
		if t.have[c] != "" || !slices.Contains(wanted, c) {
			continue
		}
		b, err := newBranch(p.own)
		if err != nil {
			t.why[c] = err.Error()
			continue
		}
		t.v1[c], t.have[c] = b, "v1"
		delete(t.why, c)
	}
	return t
}

// Facts are what this machine can do.
func (t *Tree) Facts() Facts {
	f := Facts{Version: "none"}
	if t == nil {
		f.Why = "no control groups"
		return f
	}
	switch {
	case t.v2 != nil && len(t.v1) > 0:
		f.Version, f.Dir = "hybrid", t.v2.dir
	case t.v2 != nil:
		f.Version, f.Dir = "v2", t.v2.dir
	case len(t.v1) > 0:
		f.Version, f.Dir = "v1", t.v1[slices.Sorted(maps.Keys(t.v1))[0]].dir
	}
	var reasons []string
	names := map[string][]string{} // by reason: mostly there is one for all
	for _, name := range limitsOf {
		reason, ok := t.can(controllerOf[name])
		if ok {
			f.Limits = append(f.Limits, name)
			continue
		}
		if names[reason] == nil {
			reasons = append(reasons, reason)
		}
		names[reason] = append(names[reason], name)
	}
	for i, reason := range reasons {
		reasons[i] = strings.Join(names[reason], ", ") + ": " + reason
	}
	f.Why = strings.Join(reasons, "; ")
	return f
}

// Check tells, as an error with a code, which of the limits that groups enforce this machine can't.
func (t *Tree) Check(l job.Limits) error {
	for _, name := range l.Names() {
		c := controllerOf[name]
		why, ok := t.can(c)
		if c == "" || ok {
			continue
		}
		return job.Errorf(job.CodeUnavailable, "limit %s can't be enforced on this node: %s", name, why).WithHint(
			"give the agent a control group of its own (in its systemd unit: Delegate=yes and DelegateSubgroup=agent), run it as root, or leave the limit out")
	}
	return nil
}

// Disable stops the use of groups for runs to come: the kernel, or what the agent is contained in, refuses to start processes in them.
func (t *Tree) Disable() { t.off.Store(true) }

// can tells whether a controller can be used, and if not, why.
func (t *Tree) can(controller string) (why string, ok bool) {
	switch {
	case t == nil:
		return "this agent uses no control groups", false
	case t.off.Load():
		return "the kernel refuses to start processes in control groups", false
	case t.have[controller] != "":
		return "", true
	}
	return t.why[controller], false
}

// newBranch makes a directory of our own below parent, after it removed what is left there of processes that have ended.
func newBranch(parent string) (*branch, error) {
	sweep(parent)
	for n := 0; n < 1000; n++ {
		dir := filepath.Join(parent, fmt.Sprintf("rota-%d-%d", os.Getpid(), n))
		err := os.Mkdir(dir, 0o755)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("no group can be made: %w", err)
		}
		if kind := strings.TrimSpace(read(dir, "cgroup.type")); kind != "" && kind != "domain" {
			_ = unix.Rmdir(dir)
			return nil, fmt.Errorf("group %s is threaded, or belongs to one that is: no process can be started below it", parent)
		}
		lock, err := lockDir(dir, unix.LOCK_EX)
		if errors.Is(err, os.ErrNotExist) { // somebody's sweep came between
			continue
		}
		if err != nil {
			_ = unix.Rmdir(dir)
			return nil, err
		}
		var held, now unix.Stat_t // somebody's sweep may have come between
		if unix.Fstat(int(lock.Fd()), &held) == nil && unix.Stat(dir, &now) == nil && held.Ino == now.Ino {
			return &branch{dir: dir, lock: lock}, nil
		}
		lock.Close()
	}
	return nil, fmt.Errorf("no group can be made in %s: there are too many", parent)
}

func lockDir(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock group: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock group %s: %w", dir, err)
		}
	}
}

// sweep removes the empty groups of processes that have ended.
func sweep(parent string) {
	list, err := filepath.Glob(parent + "/rota-*-*")
	if err != nil {
		return
	}
	for _, dir := range list {
		if lock, err := lockDir(dir, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			remove(dir)
			lock.Close()
		}
	}
}

// remove removes a group and those below it, as far as they are empty.
func remove(dir string) {
	if unix.Rmdir(dir) == nil {
		return
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range list {
		if e.IsDir() {
			remove(filepath.Join(dir, e.Name()))
		}
	}
	_ = unix.Rmdir(dir)
}

// Close removes the subtree but for groups in which somebody is left; those are removed when a later process opens its own.
func (t *Tree) Close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range slices.Concat(t.free, t.limited, t.strayed) {
		l.close()
	}
	t.free, t.limited, t.strayed = nil, nil, nil
	branches := slices.Collect(maps.Values(t.v1))
	if t.v2 != nil {
		branches = append(branches, t.v2)
	}
	for _, b := range branches {
		remove(b.dir)
		b.lock.Close()
	}
}
