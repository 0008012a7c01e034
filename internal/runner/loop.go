//go:build linux

package runner

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// chunkSize is how much the loop reads at once: what a pipe holds.
const chunkSize = 64 << 10

// loop watches the descriptors of all runs in one goroutine. A watcher is called when its descriptor is ready, and
// must bear being called when it isn't: the descriptor's number may have been another's a moment ago.
type loop struct {
	ep   int
	file *os.File // ep, known to the Go runtime, so that waiting takes no thread
	buf  []byte   // for watchers to read into
	done chan struct{}

	mu       sync.Mutex
	watchers map[int32]watcher
}

type watcher interface {
	// ready is told the descriptor and lent a buffer.
	ready(fd int, buf []byte)
}

func newLoop() (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create an epoll set: %w", err)
	}
	if err := unix.SetNonblock(ep, true); err != nil {
		unix.Close(ep)
		return nil, fmt.Errorf("create an epoll set: %w", err)
	}
	l := &loop{
		ep: ep, file: os.NewFile(uintptr(ep), "epoll"), buf: make([]byte, chunkSize),
		done: make(chan struct{}), watchers: map[int32]watcher{},
	}
	conn, err := l.file.SyscallConn()
	if err != nil {
		l.file.Close()
		return nil, fmt.Errorf("watch an epoll set: %w", err)
	}
	go l.run(conn)
	return l, nil
}

// close ends the loop and waits for it.
func (l *loop) close() {
	l.file.Close()
	<-l.done
	for fd := range l.watchers { // what background children still write into
		unix.Close(int(fd))
	}
}

func (l *loop) run(conn syscall.RawConn) {
	defer close(l.done)
	var events [128]unix.EpollEvent
	// The runtime tells of edges, so the set is asked until it is empty.
	_ = conn.Read(func(fd uintptr) bool {
		for {
			// It does not wait, so that the scheduler need not be told: where the process is idle but for this, that costs more than the call.
			n, _, no := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0) //nolint:gosec // G103: the array above
			if no == unix.EINTR {
				continue
			}
			if no != 0 || n == 0 {
				return false
			}
			for _, ev := range events[:n] {
				l.mu.Lock()
				w := l.watchers[ev.Fd]
				l.mu.Unlock()
				if w != nil {
					w.ready(int(ev.Fd), l.buf)
				}
			}
		}
	})
}

// watch calls w whenever fd can be read; once means that it is enough to do so once.
func (l *loop) watch(fd int, w watcher, once bool) error {
	events := uint32(unix.EPOLLIN)
	if once {
		events |= unix.EPOLLONESHOT
	}
	return l.watchFor(fd, w, events)
}

// watchFor calls w on events of epoll.
func (l *loop) watchFor(fd int, w watcher, events uint32) error {
	l.mu.Lock()
	l.watchers[int32(fd)] = w
	l.mu.Unlock()
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		l.forget(fd)
		return fmt.Errorf("watch a descriptor: %w", err)
	}
	return nil
}

func (l *loop) forget(fd int) {
	l.mu.Lock()
	delete(l.watchers, int32(fd))
	l.mu.Unlock()
}

// drop stops watching fd and closes it. Closing alone would not do: while another thread forks, its child has a copy.
func (l *loop) drop(fd int) {
	l.forget(fd)
	_ = unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, fd, nil)
	unix.Close(fd)
}

// pause stops watching fd, which stays open.
func (l *loop) pause(fd int) {
	l.forget(fd)
	_ = unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, fd, nil)
}

// discard reads and throws away what comes from fd, and closes it at its end. The loop owns it from now on. A descriptor
// that was paused is watched again.
func (l *loop) discard(fd int, paused bool) {
	if paused {
		if err := l.watch(fd, discarder{l}, false); err != nil {
			unix.Close(fd)
		}
		return
	}
	l.mu.Lock()
	l.watchers[int32(fd)] = discarder{l}
	l.mu.Unlock()
}

type discarder struct{ l *loop }

func (d discarder) ready(fd int, buf []byte) {
	if n, err := unix.Read(fd, buf); n <= 0 && err != unix.EAGAIN && err != unix.EINTR {
		d.l.drop(fd)
	}
}

// readable tells whether fd can be read now.
func readable(fd int) bool {
	if fd < 0 {
		return false
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1
}
