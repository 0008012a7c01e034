//go:build linux

package runner

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/cgroup"
	"github.com/rota-dev/rota/job"
)

// Facts say what control groups can do on this machine, and which limits they enforce here.
func (r *Runner) Facts() cgroup.Facts { return r.groups.Facts() }

// GroupFacts are those of a runner that this process could make, for an agent whose runner is in another process.
func GroupFacts() cgroup.Facts { return cgroup.Look() }

// birth is what is special about how a command is born.
//
// What only control groups of version 2 have to know needs nothing: the kernel forks into them. Nice, umask and groups of version 1 belong to the
// thread that forks, and are inherited: so a thread is locked, changed, used once, and thrown away. Limits of open files and
// file sizes are set from outside, while the child is held before its first instruction by ptrace.
type birth struct {
	limits job.Limits
	leaf   *cgroup.Leaf
}

// thread tells whether the forking thread is changed.
func (b birth) thread() bool {
	return b.limits.Nice != 0 || b.limits.Umask != "" || b.leaf.NeedsThread()
}

// stop tells whether the child is held before its first instruction.
func (b birth) stop() bool {
	return b.limits.OpenFiles != 0 || b.limits.FileSize != 0 || b.leaf.NeedsStop()
}

// spawnWith is spawn for a command that is born in a special way. Errors that carry a code are complete; others are the kernel's answer to fork
// and exec.
func (c *command) spawnWith(b birth, fork func(trace bool) (pid, pidfd int, err error)) (pid, pidfd int, err error) {
	if b.stop() {
		if err := c.mayStop(); err != nil {
			return 0, -1, err
		}
	}
	done := make(chan struct{})
	go onThread(func() {
		defer close(done)
		if err = b.changeThread(); err != nil {
			return
		}
		if pid, pidfd, err = fork(b.stop()); err != nil {
			if b.stop() && errors.Is(err, unix.EPERM) {
				err = job.Errorf(job.CodeUnavailable, "hold the command before its first instruction, to set its limits: %w", err).
					WithHint("this node's kernel or container forbids ptrace: allow it, or leave out open_files and file_size")
			}
			return
		}
		if !b.stop() {
			if b.leaf.NeedsThread() {
				_ = b.leaf.LeaveThread() // it does so at its end, too, which may come after the run's
			}
			return
		}
		if err = b.limit(pid, c.acc.cred); err != nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			for _, e := syscall.Wait4(pid, nil, 0, nil); e == syscall.EINTR; _, e = syscall.Wait4(pid, nil, 0, nil) {
			}
			if pidfd >= 0 {
				unix.Close(pidfd)
			}
			pid, pidfd = 0, -1
		}
	}, b.thread() || c.acc.cred != nil)
	<-done
	return pid, pidfd, err
}

// onThread calls f on a locked thread, which ends thereafter if it is used up. That can't be the main thread: it would not
// end, and what it became would be taken for the agent's own.
func onThread(f func(), usedUp bool) {
	runtime.LockOSThread()
	if usedUp && unix.Gettid() == unix.Getpid() {
		done := make(chan struct{})
		go func() { // on another thread, for this one is taken
			defer close(done)
			onThread(f, usedUp)
		}()
		<-done
		usedUp = false
	} else {
		f()
	}
	if !usedUp {
		runtime.UnlockOSThread()
	}
}

// changeThread makes the calling thread what the child is to inherit.
func (b birth) changeThread() error {
	if n := b.limits.Nice; n != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, n); err != nil {
			return job.Errorf(job.CodeForbidden, "set nice to %d: %w", n, err).
				WithHint("only root, or an agent with CAP_SYS_NICE, may go below its own; raise it, or leave it out")
		}
	}
	if mask, ok := b.limits.Umask.Mode(); ok {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return job.Errorf(job.CodeUnavailable, "set the umask: %w", err).
				WithHint("this node's container forbids unshare: allow it, or set the umask in a shell line")
		}
		unix.Umask(mask)
	}
	if b.leaf.NeedsThread() {
		if err := b.leaf.EnterThread(); err != nil {
			return job.Errorf(job.CodeUnavailable, "set the limits of a run: %w", err)
		}
	}
	return nil
}

// limit sets the limits of a child that is about to stop at its exec, and lets it go.
func (b birth) limit(pid int, cred *syscall.Credential) error {
	var status syscall.WaitStatus
	_, err := syscall.Wait4(pid, &status, syscall.WALL, nil)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(pid, &status, syscall.WALL, nil)
	}
	if err != nil || !status.Stopped() {
		return job.Errorf(job.CodeUnavailable, "hold the command before its first instruction: status %x, %v", uint32(status), err)
	}
	if b.leaf.NeedsThread() {
		if err := b.leaf.LeaveThread(); err != nil {
			return job.Errorf(job.CodeUnavailable, "set the limits of a run: %w", err)
		}
	}
	for _, l := range [...]struct {
		name     string
		resource int
		value    uint64
	}{{"open_files", unix.RLIMIT_NOFILE, uint64(b.limits.OpenFiles)}, {"file_size", unix.RLIMIT_FSIZE, uint64(b.limits.FileSize)}} {
		if l.value == 0 {
			continue
		}
		limit := unix.Rlimit{Cur: l.value, Max: l.value}
		err := unix.Prlimit(pid, l.resource, &limit, nil)
		if errors.Is(err, unix.EPERM) && cred != nil && becomeThread(cred) == nil {
			err = unix.Prlimit(pid, l.resource, &limit, nil)
		}
		if err != nil {
			e := job.Errorf(job.CodeForbidden, "set %s to %d: %w", l.name, l.value, err)
			if errors.Is(err, unix.EPERM) {
				return e.WithHint("it is more than the agent itself is allowed: lower it, or raise the agent's own (systemd: LimitNOFILE=, LimitFSIZE=)")
			}
			return e
		}
	}
	if err := syscall.PtraceDetach(pid); err != nil {
		return job.Errorf(job.CodeUnavailable, "let the command go after its limits were set: %w", err)
	}
	return nil
}

// becomeThread makes the calling thread, and no other, one of a user. In containers root mostly lacks the right to limit the processes of others
// (CAP_SYS_RESOURCE), which those themselves have.
func becomeThread(cred *syscall.Credential) error {
	uid, gid := uintptr(cred.Uid), uintptr(cred.Gid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return errno
	}
	return nil
}

// mayStop refuses a program that would lose its rights: the kernel grants those of a file only where the tracer could have them too.
func (c *command) mayStop() error {
	if unix.Geteuid() == 0 {
		return nil
	}
	path := from(c.dir, c.path)
	var st unix.Stat_t
	_ = unix.Stat(path, &st) // exec will say what is wrong
	caps, _ := unix.Getxattr(path, "security.capability", nil)
	if st.Mode&(unix.S_ISUID|unix.S_ISGID) == 0 && caps <= 0 {
		return nil
	}
	return job.Errorf(job.CodeUnavailable, "limits open_files and file_size can't be set for %s: it brings rights of its own (setuid), which "+
		"it would lose under an agent that is not root", path).WithHint("run it by a shell line, or set the limits there (ulimit)")
}

// causeOf tells what ended an execution that nobody here ended, and explains it where a limit had a part.
func (x *execution) causeOf(status syscall.WaitStatus, used cgroup.Usage) (by job.EndedBy, why string) {
	by = job.EndedByExit
	if status.Signaled() {
		by = job.EndedBySignal
	}
	switch {
	case used.OOMKills > 0 && (status.Signaled() || status.ExitStatus() != 0):
		by, why = job.EndedByOOM, "out of memory: "
		if used.OOMKills > 1 {
			why = fmt.Sprintf("out of memory: %d of its processes, ", used.OOMKills)
		}
		why += fmt.Sprintf("the kernel ended it at its limit of %s", x.limits.Memory)
		if x.limits.Memory == 0 || used.Memory > 0 && used.Memory < int64(x.limits.Memory)*9/10 {
			why = "out of memory: the machine had no more, and the kernel ended it"
		}
	case status.Signaled() && status.Signal() == syscall.SIGXFSZ && x.limits.FileSize > 0:
		why = fmt.Sprintf("it wrote a file beyond its limit of %s (file_size)", x.limits.FileSize)
	case status.Exited() && status.ExitStatus() == 128+int(syscall.SIGXFSZ) && x.limits.FileSize > 0: // so a shell tells what ended its child
		why = fmt.Sprintf("a process of it wrote a file beyond its limit of %s (file_size)", x.limits.FileSize)
	case used.Refused > 0 && (status.Signaled() || status.ExitStatus() != 0):
		why = fmt.Sprintf("it reached its limit of processes (%d)", x.limits.Processes)
	}
	return by, why
}
