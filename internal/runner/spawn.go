//go:build linux

package runner

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// pipe is one way out of a child: it writes w, we read r, which never blocks.
type pipe struct {
	r, w   int
	stream job.Stream
}

// newPipe makes a pipe. Its owner is uid, so that a child that opens /dev/stdout anew may.
func newPipe(stream job.Stream, acc *account) (pipe, error) {
	var fd [2]int
	if err := unix.Pipe2(fd[:], unix.O_CLOEXEC); err != nil {
		return pipe{}, fmt.Errorf("make a pipe for the output: %w", err)
	}
	p := pipe{r: fd[0], w: fd[1], stream: stream}
	_, err := unix.FcntlInt(uintptr(p.r), unix.F_SETFL, unix.O_NONBLOCK)
	if err == nil && acc.foreign() {
		if err = unix.Fchown(p.w, acc.uid, acc.gid); err != nil && acc.cred != nil {
			err = nil // becoming that user will say what is wrong, or it can do without
		}
	}
	if err != nil {
		p.close()
		return pipe{}, fmt.Errorf("make a pipe for the output: %w", err)
	}
	return p, nil
}

func (p pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

// newInput puts the input of a child into a file of memory that nobody can change. Unlike a pipe it takes any amount
// at once, and a child that doesn't read it disturbs nobody.
func newInput(data []byte) (fd int, err error) {
	fd, err = unix.MemfdCreate("stdin", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("stdin", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, fmt.Errorf("make a file for stdin: %w", err)
	}
	for off := 0; off < len(data) && err == nil; {
		var n int
		n, err = unix.Pwrite(fd, data[off:], int64(off))
		off += n
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("fill the file for stdin: %w", err)
	}
	return fd, nil
}

// spawn forks and executes, in a process group of its own or, if session is set, in a session, which is one too. pidfd is -1 on
// kernels that have none (before 5.3).
func (c *command) spawn(stdin, stdout, stderr int, session bool, b birth) (pid, pidfd int, err error) {
	// Descriptors that another part of the program opened without close-on-exec, or that the agent itself inherited,
	// are no business of the child's. The kernel marks them all at once; before 5.11 New has marked the inherited ones.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	fork := func(trace bool) (pid, pidfd int, err error) {
		pidfd = -1
		attr := syscall.ProcAttr{
			Dir:   c.dir,
			Env:   c.env,
			Files: []uintptr{uintptr(stdin), uintptr(stdout), uintptr(stderr)},
			Sys: &syscall.SysProcAttr{
				Setpgid: !session, Setsid: session, Credential: c.acc.cred, PidFD: &pidfd, Ptrace: trace,
				UseCgroupFD: b.leaf.FD() >= 0, CgroupFD: b.leaf.FD(),
			},
		}
		pid, err = syscall.ForkExec(c.path, c.argv, &attr)
		return pid, pidfd, err
	}
	if b.thread() || b.stop() {
		return c.spawnWith(b, fork)
	}
	return fork(false)
}

// closeInherited marks every open descriptor but 0, 1 and 2 close-on-exec.
func closeInherited() error {
	err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("close descriptors to children: %w", err)
	}
	for fd := 3; fd < int(min(limit.Cur, 1<<16)); fd++ {
		unix.CloseOnExec(fd)
	}
	return nil
}

// hasTerminal tells whether the agent was started from a terminal. Then its children need sessions of their own: one that
// asked the terminal for a password, say, would be stopped and never end. Elsewhere a process group does, which
// spares the kernel 40 µs a run (a session brings a scheduling group with it).
func hasTerminal() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}
