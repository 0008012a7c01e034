//go:build linux

package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// statusOf is how the process of a pidfd ended. It is not done before its parent has waited for it, unless the kernel shows us its zombie.
func statusOf(pidfd, pid int) (status syscall.WaitStatus, done bool, err error) {
	if status, done, err = toldBy(pidfd); done || err != nil {
		return status, done, err
	}
	shown, ok := zombieStatus(pid)
	if status, done, err = toldBy(pidfd); done || err != nil || !ok { // then it was its zombie, and nobody's who has its number now
		return status, done, err
	}
	return shown, true, nil
}

func toldBy(pidfd int) (status syscall.WaitStatus, done bool, err error) {
	ask := func() (info unix.PidfdInfo, err error) {
		info.Mask = unix.PIDFD_INFO_EXIT
		err = unix.IoctlPidfdInfo(pidfd, &info)
		return info, err
	}
	info, err := ask()
	if errors.Is(err, unix.ESRCH) { // the kernel looked for the status before it was there, and for the process when it was gone
		info, err = ask()
	}
	if err != nil {
		return 0, false, fmt.Errorf("ask a pidfd for the exit status: %w", err)
	}
	return syscall.WaitStatus(info.Exit_code), info.Mask&unix.PIDFD_INFO_EXIT != 0, nil
}

// zombieStatus is the exit status of a process for which its parent has not waited. Where we are not allowed to know, the kernel shows 0: so it is seen first
// whether we are, by whether it says that there is no program any more, or nothing.
func zombieStatus(pid int) (status syscall.WaitStatus, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	if _, err := os.Readlink(dir + "/exe"); !errors.Is(err, unix.ENOENT) {
		return 0, false
	}
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0, false
	}
	const state, threads, code = 0, 20 - 3, 52 - 3 // as in proc_pid_stat(5), counted from the state
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) <= code || f[state][0] != 'Z' {
		return 0, false
	}
	if n, ok := number(f[threads]); !ok || n > 1 {
		return 0, false
	}
	n, ok := number(f[code])
	return syscall.WaitStatus(n), ok
}

func reaped(pidfd int) bool {
	_, done, err := toldBy(pidfd)
	return done || err != nil
}

// TellsStatus tells whether the kernel tells the exit status of a process to whoever holds its pidfd (since Linux 6.15). It forks program, with arguments that
// must end it soon whatever happens, and kills it at once.
func TellsStatus(program string, args, env []string) (bool, error) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(null)
	fd := -1
	pid, err := syscall.ForkExec(program, args, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: []uintptr{uintptr(null), uintptr(null), uintptr(null)}, Sys: &syscall.SysProcAttr{PidFD: &fd, Setpgid: true},
	})
	if err != nil {
		return false, err
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	var status syscall.WaitStatus
	_, err = syscall.Wait4(pid, &status, 0, nil)
	for errors.Is(err, syscall.EINTR) {
		_, err = syscall.Wait4(pid, &status, 0, nil)
	}
	if fd < 0 {
		return false, nil
	}
	defer unix.Close(fd)
	if err != nil {
		return false, err
	}
	told, done, err := toldBy(fd)
	if err != nil { // the kernel does not know the question
		return false, nil
	}
	p := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p, 0)
	return done && told == status && err == nil && n == 1 && p[0].Revents&unix.POLLHUP != 0, nil
}
