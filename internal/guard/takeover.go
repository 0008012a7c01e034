//go:build linux

package guard

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// inbox is the guard's end of an agent's stash.
type inbox struct {
	dir   string // where the agent's runs leave their results
	slots []int
	runs  int  // of those that were taken from it, how many are not released
	gone  bool // the agent is, and what it left is taken
}

// keep takes an agent's stash. The agent waits for an answer before it sends the descriptors, so that nothing of them is read before.
func (s *server) keep(n *conn, m *message) {
	defer n.close()
	if m.ID == 0 {
		return
	}
	n.send(&message{Kind: kindStashed})
	var fds []int
	var err error
	if e := n.raw.Control(func(fd uintptr) {
		limit := unix.NsecToTimeval(int64(helloPatience))
		if err = unix.SetsockoptTimeval(int(fd), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err == nil {
			_, fds, err = receiveFDs(int(fd), make([]byte, 1), slots, 0)
		}
	}); e != nil {
		err = e
	}
	c := &inbox{dir: resultsOf(s.dir, m.ID), slots: fds}
	if err == nil && len(fds) != slots {
		err = fmt.Errorf("it has %d slots, and not %d", len(fds), slots)
	}
	if err != nil {
		c.close()
		s.log.Error("an agent's stash can't be taken", "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.agent == nil || s.token != m.ID || s.inboxes[m.ID] != nil {
		c.close()
		return
	}
	s.inboxes[m.ID] = c
	n.send(&message{Kind: kindStashed})
}

func (c *inbox) close() {
	for _, fd := range c.slots {
		unix.Close(fd)
	}
	c.slots = nil
}

// receiveFDs receives a message and up to n descriptors. After an error none is left open.
func receiveFDs(fd int, buf []byte, n, flags int) (got int, fds []int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*n))
	got, m, rf, _, err := unix.Recvmsg(fd, buf, oob, flags|unix.MSG_CMSG_CLOEXEC)
	for errors.Is(err, unix.EINTR) {
		got, m, rf, _, err = unix.Recvmsg(fd, buf, oob, flags|unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return 0, nil, err
	}
	list, err := unix.ParseSocketControlMessage(oob[:m])
	for _, one := range list {
		more, e := unix.ParseUnixRights(&one)
		fds, err = append(fds, more...), errors.Join(err, e)
	}
	if err == nil && rf&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("a message is too long, or descriptors are short")
	}
	if err != nil {
		closeAll(fds)
		return 0, nil, err
	}
	return got, fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

var (
	errEmpty = errors.New("the slot is empty")
	errShort = errors.New("descriptors are short")
)

// read takes out what is in a slot. Where this process may not have as many descriptors as a run needs, it is errShort, and all stays there.
func (c *inbox) read(number int) (d deposit, i runner.Inherited, err error) {
	if number < 0 || number >= len(c.slots) {
		return d, i, fmt.Errorf("there is no slot %d", number)
	}
	if !spare() {
		return d, i, errShort
	}
	fd := c.slots[number]
	buf := make([]byte, maxDeposit)
	n, pipes, err := receiveFDs(fd, buf, 2, unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) || err == nil && n == 0 {
		return d, i, errEmpty
	}
	if err != nil {
		return d, i, err
	}
	if err = cbor.Unmarshal(buf[:n], &d); err == nil && len(pipes) != 2 {
		err = errors.New("the pipes of a run are missing")
	}
	i.Pid, i.Pidfd = readPid(fd)
	if err != nil {
		closeAll(pipes)
		if i.Pidfd >= 0 {
			unix.Close(i.Pidfd)
		}
		return d, i, err
	}
	i.Legacy, i.Exec, i.Stdout, i.Stderr = d.Legacy, d.Exec, pipes[0], pipes[1]
	return d, i, nil
}

// readPid takes a process out of a slot; its pidfd is -1 where it was not noted.
func readPid(slot int) (pid, pidfd int) {
	var buf [32]byte
	n, fds, err := receiveFDs(slot, buf[:], 1, unix.MSG_DONTWAIT)
	if err == nil && len(fds) == 1 {
		if pid, err = strconv.Atoi(string(buf[:n])); err == nil {
			return pid, fds[0]
		}
	}
	closeAll(fds)
	return 0, -1
}

// perRun is how many descriptors a run needs at most, with some to spare.
const perRun = 8

// spare tells whether this process may have as many descriptors more as a run needs.
func spare() bool {
	var fds []int
	defer func() { closeAll(fds) }()
	for range perRun {
		fd, err := unix.FcntlInt(uintptr(unix.Stderr), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return false
		}
		fds = append(fds, fd)
	}
	return true
}

// inherit goes on with the run of a slot. m is the agent's word; nil: the agent is gone. mu is held.
func (s *server) inherit(c *inbox, number int, m *message) error {
	d, i, err := c.read(number)
	if err != nil {
		return err
	}
	if m != nil {
		i.Parts, i.Bytes = m.Parts, m.Bytes
	}
	h := &held{
		holding: holding{Run: d.Exec.Run, Attempt: d.Exec.Attempt, Begin: d.Legacy.Begin, Note: d.Exec.Note}, id: d.ID, cancel: func() {}, told: true, from: c,
	}
	i.Exec.Note = nil
	s.held[d.ID] = h
	c.runs++
	h.exec = s.run.Inherit(i, func(x job.Execution) { s.ended(h, x) })
	if h.exec.Pid() != 0 {
		s.tell(&message{Kind: kindStarted, ID: h.id, Pid: h.exec.Pid(), Ticks: h.exec.StartTicks()})
	}
	if s.ending {
		h.exec.Kill(stopCause)
	}
	x := h.exec
	s.wg.Go(func() { s.follow(h.id, x) })
	return nil
}

// shortPause is how long a guard that is short of descriptors waits before it tries again to go on with a run.
const shortPause = 100 * time.Millisecond

// handOver is told that the agent hands a run over. mu is held.
func (s *server) handOver(n *conn, m *message) {
	err := errors.New("this agent has no stash")
	if c := s.inboxes[s.token]; c != nil && n == s.agent {
		err = s.inherit(c, m.Slot, m)
	}
	switch {
	case errors.Is(err, errShort):
		s.log.Error("a run can't be taken over yet; its output waits", "error", err)
		s.waiting[m.ID] = []*message{m}
		time.AfterFunc(shortPause, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			list := s.waiting[m.ID]
			delete(s.waiting, m.ID)
			for _, one := range list {
				if n == s.agent {
					s.obey(n, one)
				}
			}
		})
	case err != nil:
		s.log.Error("a run can't be taken over", "error", err)
		n.send(&message{Kind: kindRefused, ID: m.ID, Error: newFailure(err)})
	}
}

// takeOver goes on with whatever agents before the present one have left in their stashes. They are dead, or have closed their connection and put
// nothing in any more. mu is held.
func (s *server) takeOver() {
	if s.agent == nil {
		clear(s.waiting)
	}
	for token, c := range s.inboxes {
		if c.gone || s.agent != nil && token == s.token {
			continue
		}
		for number := range c.slots {
			err := s.inherit(c, number, nil)
			if errors.Is(err, errShort) {
				s.log.Error("runs that an agent left can't be taken over yet; their output waits", "error", err)
				time.AfterFunc(shortPause, func() {
					defer s.look()
					s.mu.Lock()
					defer s.mu.Unlock()
					s.takeOver()
				})
				return
			}
			if err != nil && !errors.Is(err, errEmpty) {
				s.log.Error("a run that an agent left can't be taken over", "error", err)
			}
		}
		c.gone = true
		c.close()
		s.tidy(token, c)
	}
}

// drop forgets what is held. mu is held.
func (s *server) drop(h *held) {
	delete(s.held, h.id)
	if c := h.from; c != nil {
		c.runs--
		for token, one := range s.inboxes {
			if one == c {
				s.tidy(token, c)
			}
		}
	}
}

// tidy removes the results of an agent that is gone, when none of its runs is held. mu is held.
func (s *server) tidy(token uint64, c *inbox) {
	if !c.gone || c.runs > 0 {
		return
	}
	delete(s.inboxes, token)
	if err := errors.Join(runner.RemoveResults(c.dir), os.RemoveAll(c.dir)); err != nil {
		s.log.Warn("results that an agent left can't be removed", "error", err)
	}
}
