package runlog

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// tryLock takes a lock on a file, for as long as it is open; a shared one is only a question, and let go at once.
func tryLock(f *os.File, shared bool) bool {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if err == nil && shared {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	}
	// A file system without locks can't tell that a writer died; that nobody is locked out is what matters.
	return err == nil || !errors.Is(err, unix.EWOULDBLOCK)
}

// watch hears of changes in a folder.
type watch struct{ f *os.File } // nil: the kernel has no watch to spare

func newWatch(path string) *watch {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return &watch{}
	}
	// A writer that dies closes its file, which is told too.
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY|unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_DELETE_SELF); err != nil {
		unix.Close(fd)
		return &watch{}
	}
	return &watch{os.NewFile(uintptr(fd), "inotify")}
}

// wait returns when something has changed, or may have; its error is that of ctx.
func (w *watch) wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if w.f == nil {
		return sleep(ctx, lookAgainOld)
	}
	_ = w.f.SetReadDeadline(time.Now().Add(lookAgain))
	stop := context.AfterFunc(ctx, func() { _ = w.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var buf [4096]byte
	if _, err := w.f.Read(buf[:]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		w.close()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (w *watch) close() {
	if w.f != nil {
		w.f.Close()
		w.f = nil
	}
}
