//go:build linux

package guard

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// server is the guard: a runner, what it holds, and the agent that it serves just now.
type server struct {
	run   *runner.Runner
	log   *slog.Logger
	build string
	dir   string // the guard's folder
	ticks uint64

	mu      sync.Mutex
	agent   *conn                 // nil: none
	token   uint64                // of the latest agent
	inboxes map[uint64]*inbox     // by the agent's token
	waiting map[uint64][]*message // what the agent said of a run that can't be taken over yet, from that word on, by the run's ID
	left    chan struct{}         // closed when everything that the agent ever said has been read
	held    map[uint64]*held
	fresh   [2][]*held // that began and were not told yet: since the latest moment, and since the one before
	moment  *time.Timer
	idle    int           // goroutines that wait for a start
	over    bool          // it takes no agent any more
	ending  bool          // it was asked to end
	end     chan struct{} // closed with over
	starts  chan *starter
	wg      sync.WaitGroup
}

// held is an execution, from the moment at which its start was read until it is released.
type held struct {
	holding
	id       uint64
	exec     job.Execution // nil: it has not begun
	told     bool          // that it has begun
	exit     *job.Exit
	cancel   context.CancelFunc // of the wait for its start
	killed   string             // who killed it before it began
	released bool               // its agent has no more need of it
	from     *inbox             // nil: it was started here
}

// firstPatience is how long a new guard waits for its agent.
const firstPatience = 20 * time.Second

func newServer(r *runner.Runner, log *slog.Logger, build string) (*server, error) {
	ticks, err := runner.StartTicks(os.Getpid())
	if err != nil {
		return nil, err
	}
	return &server{run: r, log: log, build: build, ticks: ticks, held: map[uint64]*held{}, inboxes: map[uint64]*inbox{}, waiting: map[uint64][]*message{}, end: make(chan struct{}), starts: make(chan *starter)}, nil
}

// serve takes agents, of which the latest counts, until there is none and nothing is held.
func (s *server) serve(l *net.UnixListener, dir string) {
	s.dir = dir
	stop := make(chan struct{})
	defer close(stop)
	go s.mind(dir, stop)
	first := time.AfterFunc(firstPatience, s.look)
	defer first.Stop()
	s.wg.Go(func() {
		<-s.end
		_ = l.Close()
	})
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			s.log.Error("an agent can't be taken", "error", err)
			time.Sleep(acceptPause) // descriptors are short, most likely
			continue
		}
		if err := samePeer(c); err != nil {
			s.log.Error("a stranger is refused", "error", err)
			_ = c.Close()
			continue
		}
		s.wg.Go(func() { s.talk(c) })
	}
	s.wg.Wait()
}

const acceptPause = 50 * time.Millisecond

// mindEvery is how often a guard looks whether its folder is still there.
const mindEvery = 5 * time.Second

// mind forgets what has ended where the guard's folder was removed: no agent will ever come for it. So it does where the guard
// was asked to end, if no agent comes soon.
func (s *server) mind(dir string, stop <-chan struct{}) {
	t := time.NewTicker(mindEvery)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		_, err := os.Stat(dir)
		s.mu.Lock()
		if !s.ending && !errors.Is(err, os.ErrNotExist) {
			s.mu.Unlock()
			continue
		}
		for _, h := range s.held {
			if h.exit != nil && s.agent == nil {
				s.drop(h)
			}
		}
		s.mu.Unlock()
		s.look()
	}
}

// look ends the guard if nobody needs it.
func (s *server) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent == nil && len(s.held) == 0 && len(s.inboxes) == 0 && !s.over {
		s.over = true
		close(s.end)
	}
}

// helloPatience is how long an agent has to say who it is.
const helloPatience = 10 * time.Second

// talk serves one agent until its connection ends.
func (s *server) talk(c *net.UnixConn) {
	n, err := newConn(c)
	if err != nil {
		s.log.Error("an agent can't be served", "error", err)
		return
	}
	defer n.close()
	_ = n.ep.SetReadDeadline(time.Now().Add(helloPatience))
	hello, err := n.receive()
	if err == nil && hello.Kind == kindStash {
		s.keep(n, hello)
	}
	if err != nil || hello.Kind != kindHello {
		return
	}
	_ = n.ep.SetReadDeadline(time.Time{})
	s.last()
	left := make(chan struct{})
	defer close(left)
	if !s.welcome(n, hello.ID, left) {
		return
	}
	for {
		m, err := n.receive()
		if err != nil {
			s.leave(n, err)
			return
		}
		s.take(n, m)
	}
}

// last waits until the last words of the agent before are read: it is dead, for its folder is another's now.
func (s *server) last() {
	s.mu.Lock()
	left := s.left
	s.mu.Unlock()
	if left == nil {
		return
	}
	select {
	case <-left:
	case <-time.After(helloPatience / 10):
	}
}

// welcome makes an agent the one that is served, and tells it what is held.
func (s *server) welcome(n *conn, token uint64, left chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	if s.agent != nil {
		s.agent.fail()
	}
	s.agent = nil // what is taken over is told with the rest
	s.takeOver()
	s.agent, s.token, s.left = n, token, left
	n.send(&message{Kind: kindWelcome, Build: s.build, Pid: os.Getpid(), Ticks: s.ticks})
	for id, h := range s.held {
		if h.exec == nil {
			continue // the one that asked for it is gone; what becomes of it is told when it has begun
		}
		n.send(h.tell())
		if h.exit != nil {
			n.send(&message{Kind: kindEnded, ID: id, Exit: h.exit})
		}
	}
	for _, h := range s.held {
		if h.exec == nil { // it is about to begin, or not to: it counts as held
			n.send(h.tell())
		}
	}
	n.send(&message{Kind: kindListed})
	return true
}

func (h *held) tell() *message {
	m := &message{Kind: kindHeld, ID: h.id, Held: &h.holding}
	if h.exec != nil {
		m.Pid, m.Ticks = h.exec.Pid(), h.exec.StartTicks()
	}
	return m
}

// leave is told that an agent's connection has ended.
func (s *server) leave(n *conn, err error) {
	s.mu.Lock()
	mine := s.agent == n
	if mine {
		s.agent = nil
		s.takeOver()
	}
	holds := len(s.held)
	s.mu.Unlock()
	if mine && holds > 0 {
		s.log.Info("the agent is gone, and its runs go on", "runs", holds, "because", describe(err))
	}
	s.look()
}

// tell sends to the agent, if there is one. mu is held.
func (s *server) tell(list ...*message) {
	if s.agent != nil {
		s.agent.send(list...)
	}
}

// take carries out what the agent asks for. It never waits.
func (s *server) take(n *conn, m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.obey(n, m)
}

// obey is take. mu is held.
func (s *server) obey(n *conn, m *message) {
	if list := s.waiting[m.ID]; list != nil {
		s.waiting[m.ID] = append(list, m)
		return
	}
	h := s.held[m.ID]
	switch {
	case m.Kind == kindHold:
		s.run.Hold(m.Until)
	case m.Kind == kindTake && h == nil:
		s.handOver(n, m)
	case m.Kind == kindPing:
		n.send(&message{Kind: kindPong})
	case m.Kind == kindStart && h == nil && m.Exec != nil:
		s.start(n, m)
	case h == nil: // it was released, or never began
	case m.Kind == kindRelease:
		if h.released = true; h.exit != nil {
			s.drop(h)
		} // else it ended with its agent, which need not be told when that is seen here too
	case m.Kind == kindCancel:
		h.cancel()
	case m.Kind == kindKill && h.exec != nil:
		h.exec.Kill(m.By)
	case m.Kind == kindKillNow && h.exec != nil:
		h.exec.KillNow(m.By)
	case m.Kind == kindKill || m.Kind == kindKillNow:
		h.killed = m.By
		h.cancel()
	case m.Kind == kindPublish && h.exec != nil:
		s.wg.Go(func() {
			h.exec.Publish()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.tell(&message{Kind: kindPublished, ID: m.ID})
		})
	}
}

// starter is a start that a goroutine carries out.
type starter struct {
	ctx  context.Context
	h    *held
	exec job.Exec
}

// start begins an execution, in a goroutine that waits for one, or in another. mu is held.
func (s *server) start(n *conn, m *message) {
	if m.Until > 0 && runner.SinceBoot() > m.Until {
		n.send(&message{Kind: kindRefused, ID: m.ID, Error: newFailure(errLate)})
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &held{
		holding: holding{Run: m.Exec.Run, Attempt: m.Exec.Attempt, Begin: time.Now(), Note: m.Exec.Note}, id: m.ID, cancel: cancel,
	}
	s.held[m.ID] = h
	m.Exec.Note = nil
	next := &starter{ctx, h, *m.Exec}
	select {
	case s.starts <- next:
	default:
		s.wg.Go(func() { s.work(next) })
	}
}

// maxIdle is how many goroutines wait for a start at most.
const maxIdle = 16

// work carries starts out, as long as there are some to come.
func (s *server) work(next *starter) {
	for {
		s.begin(next)
		s.mu.Lock()
		if s.idle >= maxIdle {
			s.mu.Unlock()
			return
		}
		s.idle++
		s.mu.Unlock()
		select {
		case next = <-s.starts:
		case <-s.end:
			return
		}
		s.mu.Lock()
		s.idle--
		s.mu.Unlock()
	}
}

// begin carries a start out. Of an execution that ends within a moment, its start and its end are told in one.
func (s *server) begin(b *starter) {
	h := b.h
	x, err := s.run.StartThen(b.ctx, b.exec, func(x job.Execution) { s.ended(h, x) })
	h.cancel()
	if err != nil {
		s.refused(h, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.exec != nil {
		return // it has ended
	}
	h.exec = x
	if h.killed != "" {
		x.Kill(h.killed)
	}
	s.fresh[0] = append(s.fresh[0], h)
	if len(s.fresh[0])+len(s.fresh[1]) > 1 {
		return
	}
	if s.moment == nil {
		s.moment = time.AfterFunc(moment, s.tellFresh)
	} else {
		s.moment.Reset(moment)
	}
}

// moment is by how much the word of a start may be late, and not by twice as much.
const moment = 10 * time.Millisecond

// tellFresh tells of the executions that began a moment ago and are still alive, and looks again while there are others.
func (s *server) tellFresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*message
	for _, h := range s.fresh[1] {
		if h.told {
			continue
		}
		h.told = true
		x := h.exec
		list = append(list, &message{Kind: kindStarted, ID: h.id, Pid: x.Pid(), Ticks: x.StartTicks()})
		s.wg.Go(func() { s.follow(h.id, x) })
	}
	s.tell(list...)
	clear(s.fresh[1])
	s.fresh[0], s.fresh[1] = s.fresh[1][:0], s.fresh[0]
	if len(s.fresh[1]) > 0 {
		s.moment.Reset(moment)
	}
}

// ended is told of the end of an execution.
func (s *server) ended(h *held, x job.Execution) {
	exit := x.Exit()
	defer s.look()
	s.mu.Lock()
	defer s.mu.Unlock()
	h.exec, h.exit = x, &exit
	if h.released {
		s.drop(h)
		return
	}
	m := &message{Kind: kindEnded, ID: h.id, Exit: h.exit}
	if !h.told {
		h.told, m.Pid = true, x.Pid() // that it began is told in one
	}
	s.tell(m)
}

var errLate = job.Errorf(job.CodeUnavailable, "the guard came to it too late: the agent had given it up")

func (s *server) refused(h *held, err error) {
	s.mu.Lock()
	delete(s.held, h.id)
	s.tell(&message{Kind: kindRefused, ID: h.id, Error: newFailure(err)})
	s.mu.Unlock()
	s.look()
}

// follow passes the progress of an execution on, until it has ended.
func (s *server) follow(id uint64, x job.Execution) {
	progress := x.Progress()
	for {
		select {
		case p := <-progress:
			s.mu.Lock()
			s.tell(&message{Kind: kindProgress, ID: id, Progress: &p})
			s.mu.Unlock()
		case <-x.Done():
			return
		}
	}
}

// endAll ends all runs, and with them the guard: somebody has asked its process to end.
func (s *server) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	for _, h := range s.held {
		h.cancel()
		if h.exec != nil {
			h.exec.Kill(stopCause)
		} else {
			h.killed = stopCause
		}
	}
}

const stopCause = "the stop of the guard"

// samePeer refuses an end that belongs to another user. root may be either.
func samePeer(c *net.UnixConn) error {
	cred, err := peer(c)
	if err != nil {
		return err
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return job.Errorf(job.CodeForbidden, "the other end of the socket belongs to uid %d", cred.Uid)
	}
	return nil
}

func peer(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var got error
	if err := raw.Control(func(fd uintptr) { cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	return cred, got
}
