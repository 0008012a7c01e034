//go:build unix

package history

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/rota-dev/rota/job"
)

// fileLock is what tells a second master that an SQLite file has one. It is a lock on a file beside it:
// on the database itself it could meddle with SQLite's own. The system releases it when the process ends, however.
type fileLock struct {
	lock   *os.File
	path   string
	opened os.FileInfo
}

func lockFile(path string) (*fileLock, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, pathFault(path+".lock", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 20)
		n, _ := f.ReadAt(holder, 0)
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, job.Errorf(job.CodeUnavailable, "lock %s.lock: %w", path, err).WithHint("the file system must support flock; PostgreSQL needs no file")
		}
		who := "another master"
		if pid := strings.TrimSpace(string(holder[:n])); pid != "" {
			who += " (pid " + pid + ")"
		}
		return nil, job.Errorf(job.CodeConflict, "history file %s is in use by %s: SQLite serves a single one", path, who).
			WithHint("stop the other master, or give several masters one PostgreSQL with --db postgres://…")
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &fileLock{lock: f}, nil
}

// remember notes which file was opened.
func (l *fileLock) remember(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return pathFault(path, err)
	}
	l.path, l.opened = path, st
	return nil
}

// check tells whether the path still leads to the file that was opened. Where it was removed or
// replaced, commits would go to a file that nobody will find again.
func (l *fileLock) check() error {
	if l == nil || l.opened == nil {
		return nil
	}
	st, err := os.Stat(l.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(st, l.opened) {
		return job.Errorf(job.CodeUnavailable, "history file %s was removed or replaced while it was open", l.path).WithHint("restart the master")
	}
	return nil
}

// release unlocks before it closes: a process that is being forked holds a copy of the descriptor until it executes its program, and the lock
// with it.
func (l *fileLock) release() {
	if l != nil {
		_ = syscall.Flock(int(l.lock.Fd()), syscall.LOCK_UN)
		l.lock.Close()
	}
}
