package app

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// As PID 1, in a container, a program is init: whatever loses its parent becomes its child, and nobody else buries it.
// To bury everybody a process must wait for any child, which takes the exit statuses of the runs away from whoever
// started them. So PID 1 does nothing else: it starts the server as its child, hands signals on, buries, and ends as its
// child did. The kernel then ends what is left.

// underInit tells the child of an init that it is one.
const underInit = "ROTA_UNDER_INIT"

// initGrace is how long what the server leaves behind has to end by itself.
const initGrace = 3 * time.Second

// asInit runs the same command as a child, if this process is PID 1, and returns how that ended. Where it isn't, ok is false.
func asInit() (err error, ok bool) { //nolint:revive // the error is the answer
	if os.Getpid() != 1 {
		return nil, false
	}
	code, err := superviseChild()
	if err != nil {
		return err, true
	}
	if code != exitDone {
		return &exitError{code}, true
	}
	return nil, true
}

func superviseChild() (code int, err error) {
	died := make(chan os.Signal, 1) // one that waits says as much as many
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	asked := make(chan os.Signal, 8)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(asked)
	pid, err := startServer()
	if err != nil {
		return 0, err
	}
	for {
		select {
		case <-died:
			if status, ended := bury(pid); ended {
				buryTheRest(died)
				return exitCode(status), nil
			}
		case s := <-asked:
			sig := s.(syscall.Signal)
			if sig == syscall.SIGQUIT { // some engines stop a container by it
				sig = syscall.SIGTERM
			}
			_ = syscall.Kill(pid, sig)
		}
	}
}

// startServer starts the server in a group of its own, so that a key pressed at a terminal reaches it once.
func startServer() (pid int, err error) {
	attr := &syscall.ProcAttr{
		Env:   append(withoutVariable(os.Environ(), underInit), underInit+"=1"),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	}
	if _, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err == nil {
		attr.Sys.Foreground = true
	}
	exe, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find the program of PID 1: %w", err)
	}
	if pid, err = syscall.ForkExec(exe, os.Args, attr); err != nil { //nolint:gosec // this program, as it was called
		return 0, fmt.Errorf("start the server as a child of PID 1: %w", err)
	}
	return pid, nil
}

func withoutVariable(env []string, name string) (rest []string) {
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			rest = append(rest, e)
		}
	}
	return rest
}

// bury waits for all children that are dead, and tells whether one of them was the server.
func bury(server int) (status syscall.WaitStatus, ended bool) {
	for {
		var s syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &s, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || pid <= 0:
			return status, ended
		case pid == server:
			status, ended = s, true
		}
	}
}

// buryTheRest gives what is left the time to end.
func buryTheRest(died <-chan os.Signal) {
	_ = syscall.Kill(-1, syscall.SIGTERM)
	over := time.NewTimer(initGrace)
	defer over.Stop()
	for {
		bury(0)
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); errors.Is(err, unix.ECHILD) {
			return
		}
		select {
		case <-died:
		case <-over.C:
			return
		}
	}
}

// exitCode is that of a shell: of a process that a signal ended, 128 and its number.
func exitCode(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
