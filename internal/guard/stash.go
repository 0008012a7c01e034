//go:build linux

package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/runner"
)

// stash is the agent's end of where it keeps, with its guard, what that needs to go on with the runs that the agent executes itself. It is a row of slots,
// each a pair of sockets. The guard has a descriptor of the end where each can be read and does not look at it while the agent lives. The agent puts in,
// by the other end, what is known of a run with its pipes (a deposit) before the fork, and the pidfd after it; it takes both out, and thereby releases the
// run, when the record is safe. Nobody is woken for that. What is in a slot when the agent is gone is the guard's.
//
// A run that has lived for a moment, or is asked something, is handed over before: the guard is told to look at its slot.
type stash struct {
	l      *link
	run    *runner.Runner
	encode cbor.EncMode
	starts sync.WaitGroup // those that are under way
	free   chan slot      // has room for all of them
	shut   chan struct{}  // closed by close

	// l.mu guards these.
	young []*execution // that began a moment ago
	timer *time.Timer
	armed bool
	over  <-chan struct{} // closed when the runner is gone; nil: the link is alive
}

var statusProbe struct {
	sync.Once
	ok bool
}

// tellsStatus tells, once for this process, whether the kernel can do what the stash needs.
func (c *Client) tellsStatus() bool {
	statusProbe.Do(func() {
		// The program becomes a guard in no folder, and ends, should it live so long.
		ok, err := runner.TellsStatus(c.o.Program, c.o.Args, []string{marker + "=" + os.DevNull + "/none"})
		if statusProbe.ok = ok; err != nil {
			c.log.Warn("it can't be found out whether the kernel tells of exits; all runs are the guard's", "error", err)
		}
	})
	return statusProbe.ok
}

// openStash makes a stash where the machine can have one. Without one all runs go to the guard.
func (l *link) openStash(ctx context.Context) {
	if !l.c.o.Own || l.c.o.Runner.NoGroups || signal.Ignored(syscall.SIGHUP) || signal.Ignored(syscall.SIGINT) || !l.c.tellsStatus() {
		return // what this process ignores its children would ignore too
	}
	s, err := l.newStash(ctx)
	if err != nil {
		l.c.log.Warn("short runs are the guard's too", "error", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead || l.closed {
		s.close()
		s.over = s.run.Leave()
		return
	}
	l.stash = s
}

// resultsOf is the folder, in a guard's, of the results of an agent's own runs.
func resultsOf(dir string, token uint64) string {
	return filepath.Join(dir, runsName+"-"+strconv.FormatUint(token, 36))
}

func (l *link) newStash(ctx context.Context) (_ *stash, err error) {
	encode, err := cbor.EncOptions{Time: cbor.TimeRFC3339Nano, TimeTag: cbor.EncTagNone}.EncMode()
	if err != nil {
		return nil, err
	}
	dir := resultsOf(l.dir, l.token)
	r, err := runner.New(runner.Options{Dir: dir, Logger: l.c.log, Starts: l.c.o.Runner.Starts})
	if err != nil {
		return nil, fmt.Errorf("make a runner: %w", err)
	}
	s := &stash{l: l, run: r, encode: encode, free: make(chan slot, slots), shut: make(chan struct{})}
	defer func() {
		if err != nil {
			s.close()
			err = errors.Join(err, r.Close(), os.Remove(dir))
		}
	}()
	if v := r.Facts().Version; v != "v2" && v != "hybrid" {
		return nil, errors.New("there are no control groups of version 2")
	}
	fds := make([]int, slots)
	for n := range slots {
		p, err := newSlot(n)
		if err != nil {
			return nil, err
		}
		s.free <- p
		fds[n] = p.r
	}
	return s, s.introduce(ctx, fds)
}

// introduce gives the guard the ends of the slots that are read, over a connection of its own.
func (s *stash) introduce(ctx context.Context, fds []int) error {
	u, err := dial(s.l.dir)
	if err != nil {
		return err
	}
	n, err := newConn(u)
	if err != nil {
		return err
	}
	defer n.close()
	stop := context.AfterFunc(ctx, n.fail)
	defer stop()
	_ = n.ep.SetReadDeadline(time.Now().Add(s.l.c.o.Patience))
	said := func() error {
		m, err := n.receive()
		if err == nil && m.Kind != kindStashed {
			err = fmt.Errorf("it answered %d", m.Kind)
		}
		if err != nil {
			return fmt.Errorf("give the guard a stash: %w", err)
		}
		return nil
	}
	n.send(&message{Kind: kindStash, ID: s.l.token})
	if err := said(); err != nil { // it expects the descriptors
		return err
	}
	var sent error
	if err := n.raw.Control(func(fd uintptr) {
		sent = unix.Sendmsg(int(fd), []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
	}); err != nil {
		return err
	}
	if sent != nil {
		return fmt.Errorf("give the guard a stash: %w", sent)
	}
	return said()
}

// take takes a slot, for which it waits, as each comes back soon; but not for long.
func (s *stash) take() (slot, bool) {
	select {
	case p := <-s.free:
		return p, true
	default:
	}
	t := time.NewTimer(slotPatience)
	defer t.Stop()
	select {
	case p := <-s.free:
		return p, true
	case <-s.shut:
	case <-t.C:
	}
	return slot{}, false
}

// back takes an empty slot back. l.mu is held.
func (s *stash) back(p slot) {
	select {
	case <-s.shut:
		p.close()
	default:
		s.free <- p
	}
}

// close closes the slots, those in use when they come back. l.mu is held, once others know the stash.
func (s *stash) close() {
	close(s.shut)
	for {
		select {
		case p := <-s.free:
			p.close()
		default:
			return
		}
	}
}

// abandon is told that the connection has ended. Where we have not closed it, the guard is dead, and what lives is lost: it is let go of. l.mu is held.
func (s *stash) abandon(execs map[uint64]*execution) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.young = nil
	s.close()
	for id, x := range execs {
		o := x.own
		switch {
		case o == nil:
		case o.lent == nil: // it is just beginning, and looks for itself
			delete(execs, id)
		default:
			s.handOver(x)
			x.taken()
		}
	}
	s.over = s.run.Leave()
}
