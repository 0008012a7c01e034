//go:build linux

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openV2 finds the best parent for our subtree, and makes it. Best is where most controllers can be had; of
// equals, what comes first.
func (t *Tree) openV2(p place, wanted []string) {
	wanted = slices.DeleteFunc(slices.Clone(wanted), func(c string) bool { return !slices.Contains(words(p.mount, "cgroup.controllers"), c) })
	type parent struct {
		dir  string
		move bool // the agent moves out of it, if nobody else is in it
	}
	var parents []parent
	if above := filepath.Dir(p.own); p.own != p.mount && delegated(above) {
		parents = append(parents, parent{dir: above})
	}
	parents = append(parents, parent{p.own, moves(p, os.Geteuid() == 0)})
	if p.own != p.mount && os.Geteuid() == 0 {
		parents = append(parents, parent{dir: p.mount})
	}
	var best *branch
	var have []string
	var problem error
	for _, at := range parents {
		b, err := newBranch(at.dir)
		if err != nil {
			problem = errors.Join(problem, err)
			continue
		}
		if missing(at.dir, wanted) && at.move {
			problem = errors.Join(problem, settle(at.dir))
		}
		got, err := enable(at.dir, b.dir, wanted)
		if err != nil && !at.move && unit(at.dir) {
			err = fmt.Errorf("systemd starts the agent in %s itself, and so that can't hand controllers on: its unit lacks DelegateSubgroup=agent (systemd 254)", at.dir)
		}
		problem = errors.Join(problem, err)
		if best != nil && len(got) <= len(have) {
			_ = unix.Rmdir(b.dir)
			b.lock.Close()
			continue
		}
		if best != nil {
			_ = unix.Rmdir(best.dir)
			best.lock.Close()
		}
		if best, have = b, got; len(have) == len(wanted) {
			break
		}
	}
	t.v2 = best
	for _, c := range have {
		t.have[c] = "v2"
		delete(t.why, c)
	}
	for _, c := range controllers {
		switch {
		case slices.Contains(have, c):
		case slices.Contains(wanted, c) && problem != nil:
			t.why[c] = strings.ReplaceAll(problem.Error(), "\n", ", ")
		default:
			t.why[c] = fmt.Sprintf("controller %s is not in %s/cgroup.controllers", c, p.mount)
		}
	}
}

// moves tells whether the agent may move out of its own group, so that this can hand controllers on. Root has a better place, at the top. Where
// systemd started the agent in the group, it must be able to do so again while runs of the agent that ended live on below, and the kernel lets nobody into a
// group that hands controllers on.
func moves(p place, root bool) bool { return p.own == p.mount || !root && !unit(p.own) }

// unit tells whether a group is that of a service of systemd, in which its processes are started.
func unit(dir string) bool { return strings.HasSuffix(dir, ".service") }

// enable hands controllers on from parent to its child dir and from that to its leaves, and tells which could be.
func enable(parent, dir string, wanted []string) (got []string, problem error) {
	// The kernel refuses some controllers where a group holds processes. Others (cpu, pids) it hands on even so, and makes all that is below the
	// group threaded: no process could be started there any more.
	if len(wanted) > 0 && inhabited(parent) {
		return nil, fmt.Errorf("group %s holds processes of its own and so can't hand controllers on", parent)
	}
	for _, c := range wanted {
		err := write(parent, "cgroup.subtree_control", "+"+c)
		if err == nil {
			err = write(dir, "cgroup.subtree_control", "+"+c)
		}
		switch {
		case err == nil:
			got = append(got, c)
		case errors.Is(err, unix.EBUSY):
			problem = fmt.Errorf("group %s holds processes of its own and so can't hand controllers on", parent)
		default:
			problem = err
		}
	}
	return got, problem
}

// inhabited tells whether a group, other than that at the top of all, holds processes itself.
func inhabited(dir string) bool {
	return unix.Access(filepath.Join(dir, "cgroup.type"), unix.F_OK) == nil && len(numbers(dir, "cgroup.procs")) > 0
}

// missing tells whether dir hands less on than wanted.
func missing(dir string, wanted []string) bool {
	on := words(dir, "cgroup.subtree_control")
	return slices.ContainsFunc(wanted, func(c string) bool { return !slices.Contains(on, c) })
}

// settle moves the processes of a group into a child of it, if all of them are ours: the agent's and its guards'.
func settle(dir string) error {
	pids := numbers(dir, "cgroup.procs")
	own := program(os.Getpid())
	for _, pid := range pids {
		if other := program(pid); other != own {
			return fmt.Errorf("group %s holds processes of others (%d, %s)", dir, pid, other)
		}
	}
	child := filepath.Join(dir, "rota-agent")
	if err := os.Mkdir(child, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("move the agent into a group below its own: %w", err)
	}
	for _, pid := range pids {
		if err := write(child, "cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("move the agent into a group below its own: %w", err)
		}
	}
	return nil
}

// program is the base name of what a process executes, also after a newer version took its place.
func program(pid int) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	return filepath.Base(strings.TrimSuffix(path, " (deleted)"))
}

// delegated tells whether systemd gave a group to us (Delegate=yes).
func delegated(dir string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		var value [8]byte
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && string(value[:n]) == "1" {
			return len(numbers(dir, "cgroup.procs")) == 0
		}
	}
	return false
}

func write(dir, file, text string) error {
	fd, err := unix.Open(filepath.Join(dir, file), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(text))
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("write %s to %s/%s: %w", text, dir, file, err)
	}
	return nil
}

// read reads a file; empty where it can't be. Go's own way would have its poller watch it meanwhile, as files of groups can be.
func read(dir, file string) string {
	fd, err := unix.Open(filepath.Join(dir, file), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var text []byte
	for buf := make([]byte, 4096); ; {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return ""
		case n == 0:
			return string(text)
		default:
			text = append(text, buf[:n]...)
		}
	}
}

func words(dir, file string) []string { return strings.Fields(read(dir, file)) }

func numbers(dir, file string) (list []int) {
	for _, w := range words(dir, file) {
		if n, err := strconv.Atoi(w); err == nil {
			list = append(list, n)
		}
	}
	return list
}
