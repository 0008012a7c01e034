//go:build linux

package guard

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/runner"
)

// endPatience is how long a guard that was killed has to be gone.
const endPatience = 10 * time.Second

// bury sees to it that a guard whose connection has ended is dead: one that lives on without obeying anybody would start what
// others take for lost. It says how it ended.
func (l *link) bury(why error) (state string) {
	if l.own != nil {
		select {
		case <-l.own.ended:
			return l.own.state
		case <-time.After(endGrace): // its last descriptor is closed a moment before its end can be seen
		}
	}
	state = describe(why).Error()
	pid, ticks := l.pid, l.ticks
	if pid == 0 {
		pid = l.peer
	}
	if pid <= 1 || pid == os.Getpid() {
		return state
	}
	if err := end(pid, ticks); err != nil {
		l.c.log.Error("a guard that lost its connection can't be ended", "guard", pid, "error", err)
	}
	if l.own != nil {
		select {
		case <-l.own.ended:
			return l.own.state
		case <-time.After(endPatience):
		}
	}
	return state
}

const endGrace = 200 * time.Millisecond

// end kills a process, unless the number is another's by now, and waits until it is gone. ticks are 0 where they are not known.
func end(pid int, ticks uint64) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if now, err := runner.StartTicks(pid); err != nil || ticks != 0 && now != ticks {
		return nil // it is gone
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return err
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(endPatience); ; {
		n, err := unix.Poll(p, int(max(time.Until(deadline).Milliseconds(), 0)))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = errors.New("it does not die of SIGKILL")
		}
		return err
	}
}

// wake lets a process go on that somebody has stopped.
func wake(pid int) {
	if pid > 1 {
		_ = unix.Kill(pid, unix.SIGCONT)
	}
}

// ownFolder tells whether a folder belongs to this user, and to nobody else.
func ownFolder(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Geteuid()
}

// removeFolder removes what a dead guard left, also the results of other users' runs, which may lie elsewhere.
func removeFolder(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), runsName) { // the guard's, and those of the agents that it had
			err = errors.Join(err, runner.RemoveResults(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, os.RemoveAll(dir))
}
