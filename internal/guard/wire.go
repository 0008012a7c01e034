//go:build linux

package guard

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// kind says what a message is. Numbers are never used again for something else.
type kind uint8

const (
	// From the agent.
	kindHello   kind = 1 // who it is; answered with what the guard holds
	kindStart   kind = 2
	kindCancel  kind = 3 // of a start that is not wanted any more
	kindKill    kind = 4
	kindKillNow kind = 5
	kindRelease kind = 6
	kindHold    kind = 7
	kindPublish kind = 8
	kindPing    kind = 9
	kindTake    kind = 10 // what is in a slot of the stash is handed over
	kindStash   kind = 11 // instead of a hello: what follows is a stash of the agent that said hello with this ID
	// From the guard.
	kindWelcome   kind = 20
	kindHeld      kind = 21 // an execution that an earlier agent started
	kindListed    kind = 22 // that was all
	kindStarted   kind = 23
	kindRefused   kind = 24
	kindEnded     kind = 25
	kindProgress  kind = 26
	kindPublished kind = 27
	kindPong      kind = 28
	kindStashed   kind = 29 // the descriptors may come, or have come
)

// message is what goes over the socket.
type message struct {
	Kind kind   `cbor:"0,keyasint"`
	ID   uint64 `cbor:"1,keyasint,omitempty"` // of the execution; the agent that starts it chooses; of a hello: the agent's

	Exec     *job.Exec     `cbor:"2,keyasint,omitempty"`  // of a start
	Until    time.Duration `cbor:"3,keyasint,omitempty"`  // of hold; of a start: until when it may be read
	By       string        `cbor:"4,keyasint,omitempty"`  // of a kill
	Pid      int           `cbor:"5,keyasint,omitempty"`  // of a welcome: the guard's; of an end: its start was not told before
	Ticks    uint64        `cbor:"6,keyasint,omitempty"`  // when that process started
	Exit     *job.Exit     `cbor:"7,keyasint,omitempty"`  // of what ended
	Error    *failure      `cbor:"8,keyasint,omitempty"`  // of what was refused
	Build    string        `cbor:"9,keyasint,omitempty"`  // of a welcome
	Held     *holding      `cbor:"10,keyasint,omitempty"` // of what is held
	Progress *job.Progress `cbor:"11,keyasint,omitempty"`

	Slot  int              `cbor:"12,keyasint,omitempty"` // of a take
	Parts []job.OutputPart `cbor:"13,keyasint,omitempty"` // of a take: what is known of the output so far
	Bytes int              `cbor:"14,keyasint,omitempty"` // and how long that is
}

// holding is an execution as its agent started it.
type holding struct {
	Run     job.RunID `cbor:"0,keyasint,omitempty"`
	Attempt int       `cbor:"1,keyasint,omitempty"`
	Begin   time.Time `cbor:"2,keyasint"`
	Note    []byte    `cbor:"3,keyasint,omitempty"`
}

// failure is an error on its way.
type failure struct {
	Code    job.Code `cbor:"0,keyasint,omitempty"`
	Message string   `cbor:"1,keyasint"`
	Hint    string   `cbor:"2,keyasint,omitempty"`
}

func newFailure(err error) *failure {
	f := &failure{Code: job.CodeOf(err), Message: err.Error()}
	var e *job.Error
	if errors.As(err, &e) {
		if text, ok := strings.CutSuffix(f.Message, "; "+e.Hint); ok && e.Hint != "" { // else it stands within, and is told with it
			f.Message, f.Hint = text, e.Hint
		}
	}
	return f
}

func (f *failure) err() error {
	if f == nil {
		return job.Errorf(job.CodeInternal, "the guard refused the run and did not say why")
	}
	err := job.Errorf(f.Code, "%s", f.Message)
	if f.Hint != "" {
		return err.WithHint("%s", f.Hint)
	}
	return err
}

// conn is one end of a socket. Sending never waits: what the socket does not take at once is queued for a goroutine that does. Where
// it does take it, nobody is woken here, which is most of what a message would cost.
//
// Go's poller watches for what can be read and for what can be written, and the latter comes with each message that the other end has
// taken: a wakeup for nothing. So it is not shown the socket, but an epoll set that watches what can be read alone.
type conn struct {
	sock *os.File // blocks; who must not wait says so with each call
	raw  syscall.RawConn
	ep   *os.File
	dec  *cbor.Decoder
	enc  cbor.UserBufferEncMode

	mu     sync.Mutex
	more   sync.Cond
	buf    bytes.Buffer // of what is encoded and not written
	busy   bool         // the writer has something
	later  *time.Timer  // for what has time
	late   bool         // it is set
	closed bool
	done   chan struct{} // closed when the writer is gone
}

// lazy is how long a message that has time waits for another to go with.
const lazy = 10 * time.Millisecond

// newConn takes a connection over.
func newConn(c *net.UnixConn) (*conn, error) {
	encode, err := cbor.EncOptions{Time: cbor.TimeRFC3339Nano, TimeTag: cbor.EncTagNone}.UserBufferEncMode()
	if err != nil {
		return nil, err
	}
	decode, err := cbor.DecOptions{}.DecMode()
	if err != nil {
		return nil, err
	}
	n := &conn{enc: encode, done: make(chan struct{})}
	n.more.L = &n.mu
	if err := n.open(c); err != nil {
		return nil, fmt.Errorf("take a connection over: %w", err)
	}
	wait, err := n.ep.SyscallConn()
	if err != nil {
		n.hangUp()
		return nil, err
	}
	n.dec = decode.NewDecoder(bufio.NewReaderSize(reader{wait, n.raw}, 64<<10))
	go n.write()
	return n, nil
}

// open makes the descriptors.
func (n *conn) open(c *net.UnixConn) error {
	defer func() { _ = c.Close() }() // with it goes Go's poller's interest in the socket
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var fd int
	if e := raw.Control(func(s uintptr) {
		if fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.SetNonblock(fd, false)
		}
	}); e != nil || err != nil {
		return cmp.Or(e, err)
	}
	n.sock = os.NewFile(uintptr(fd), socketName)
	if n.raw, err = n.sock.SyscallConn(); err != nil {
		return errors.Join(err, n.sock.Close())
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return errors.Join(err, n.sock.Close())
	}
	err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)})
	if err == nil {
		err = unix.SetNonblock(ep, true)
	}
	n.ep = os.NewFile(uintptr(ep), "epoll")
	if err != nil {
		return errors.Join(err, n.ep.Close(), n.sock.Close())
	}
	return nil
}

// hangUp ends the connection for both ends, and wakes who reads or writes.
func (n *conn) hangUp() {
	_ = n.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	_ = n.ep.Close()
	_ = n.sock.Close()
}

// send sends messages. After close they go nowhere.
func (n *conn) send(list ...*message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.encode(list) {
		n.push()
	}
}

// sendLater sends a message with the next one, or in a moment.
func (n *conn) sendLater(m *message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.encode([]*message{m}) || n.late {
		return
	}
	n.late = true
	if n.later == nil {
		n.later = time.AfterFunc(lazy, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.late = false
			n.push()
		})
	} else {
		n.later.Reset(lazy)
	}
}

// encode puts messages behind what waits to be written. mu is held.
func (n *conn) encode(list []*message) bool {
	for _, m := range list {
		if n.closed {
			return false
		}
		if err := n.enc.MarshalToBuffer(m, &n.buf); err != nil {
			n.closed = true
			n.more.Signal()
			n.hangUp()
		}
	}
	return !n.closed
}

// push writes what the socket takes at once, and leaves the rest to the writer. mu is held.
func (n *conn) push() {
	if n.busy || n.buf.Len() == 0 || n.closed {
		return
	}
	_ = n.raw.Control(func(fd uintptr) {
		if done, no := swift(unix.SYS_SENDTO, fd, n.buf.Bytes()); no == 0 {
			n.buf.Next(done)
		} // errors are the writer's: it tries again
	})
	if n.buf.Len() > 0 {
		n.more.Signal()
	}
}

// receive reads the next message.
func (n *conn) receive() (*message, error) {
	m := &message{}
	if err := n.dec.Decode(m); err != nil {
		return nil, err
	}
	return m, nil
}

// write writes what the socket did not take at once, until the connection is closed.
func (n *conn) write() {
	defer close(n.done)
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		for (n.buf.Len() == 0 || n.late) && !n.closed {
			n.more.Wait()
		}
		if n.buf.Len() == 0 {
			return
		}
		rest := n.buf
		n.buf, n.busy = bytes.Buffer{}, true
		n.mu.Unlock()
		_, err := n.sock.Write(rest.Bytes())
		n.mu.Lock()
		n.busy = false
		if err != nil {
			n.closed, n.buf = true, bytes.Buffer{}
			if !errors.Is(err, unix.EPIPE) { // else the other end has hung up, and what it said before is still to be read
				n.hangUp()
			}
			return
		}
	}
}

// swift sends or receives what can be at once, so that the Go scheduler need not be told: where a process is idle but for this, telling it costs
// more than the call.
func swift(call, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, no := unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0) //nolint:gosec // G103: the bytes that p holds
		if no != unix.EINTR {
			return int(n), no
		}
	}
}

// reader reads a socket, and waits where there is nothing yet.
type reader struct{ wait, raw syscall.RawConn }

func (r reader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	var no syscall.Errno
	var gone error
	err = r.wait.Read(func(uintptr) bool {
		gone = r.raw.Control(func(fd uintptr) { n, no = swift(unix.SYS_RECVFROM, fd, p) })
		return gone != nil || no != unix.EAGAIN
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, err
	case err != nil || gone != nil:
		return 0, os.ErrClosed
	case no != 0:
		return 0, os.NewSyscallError("recvfrom", no)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// fail ends the connection, of which the reader then learns.
func (n *conn) fail() {
	n.mu.Lock()
	n.closed, n.buf = true, bytes.Buffer{}
	n.more.Signal()
	n.mu.Unlock()
	n.hangUp()
}

// close writes what is queued, as far as the other end takes it within a moment, and ends the connection.
func (n *conn) close() {
	n.mu.Lock()
	n.closed = true
	n.more.Signal()
	n.mu.Unlock()
	patience := time.AfterFunc(closePatience, n.hangUp)
	<-n.done
	patience.Stop()
	n.mu.Lock()
	if n.later != nil {
		n.later.Stop()
	}
	n.mu.Unlock()
	n.hangUp()
}

// closePatience is how long a connection that is closed waits for the other end to take what is queued.
const closePatience = 2 * time.Second

// over tells whether an error of receive is the plain end of the connection.
func over(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.ECONNRESET)
}

// describe is an error of receive in words.
func describe(err error) error {
	if over(err) {
		return errors.New("its socket was closed")
	}
	return fmt.Errorf("its socket: %w", err)
}
