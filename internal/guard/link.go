//go:build linux

package guard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// link is the agent's connection to one guard.
type link struct {
	c     *Client
	dir   string
	n     *conn
	own   *child // nil: an earlier life of the agent started it
	token uint64 // by which the guard knows this connection
	peer  int    // the guard's process, as the kernel tells; 0 until it has taken its socket over

	// From the welcome.
	build string
	pid   int
	ticks uint64
	ready chan struct{} // closed when everything that it holds is known

	mu      sync.Mutex
	execs   map[uint64]*execution // that were not released
	adopted []job.Adopted
	starts  map[uint64]*starting
	heard   uint64 // how often the guard said something
	drains  bool   // it gets no further runs
	closed  bool   // by us
	dead    bool
	stash   *stash        // nil: all runs are the guard's
	gone    chan struct{} // closed when everything about its end is settled
}

// child is the process of a guard that this agent started.
type child struct {
	ended chan struct{}
	state string
}

// starting is a start that waits for its answer, which is an execution or an error.
type starting struct {
	run   job.RunID
	begin time.Time
	reply chan started
}

type started struct {
	x   *execution
	err error
}

var errGone = errors.New("the guard is gone")

// start begins an execution, here or in the guard. It is errGone where the guard has heard nothing of it.
func (l *link) start(ctx context.Context, e job.Exec) (job.Execution, error) {
	l.mu.Lock()
	own := l.stash
	l.mu.Unlock()
	if own != nil && ordinary(&e) {
		if x, err := own.start(ctx, e); !errors.Is(err, runner.ErrElsewhere) {
			return x, err
		}
	}
	id, s := l.c.id(), &starting{run: e.Run, begin: time.Now(), reply: make(chan started, 1)}
	until := runner.SinceBoot() + l.c.o.Patience
	l.mu.Lock()
	if !l.takesRuns() {
		l.mu.Unlock()
		return nil, errGone
	}
	l.starts[id] = s
	l.n.send(&message{Kind: kindStart, ID: id, Exec: &e, Until: until})
	l.mu.Unlock()

	look := time.NewTimer(l.c.o.Patience / 2)
	defer look.Stop()
	over := ctx.Done()
	heard, quiet := l.words(), 0 // looks in which the guard had said nothing
	for {
		select {
		case got := <-s.reply:
			switch {
			case got.err == nil:
				return got.x, nil
			case ctx.Err() != nil:
				return nil, fmt.Errorf("start %s: %w", e.Run, context.Cause(ctx))
			}
			return nil, got.err
		case <-over: // it may have begun: the answer says
			over = nil
			l.n.send(&message{Kind: kindCancel, ID: id})
		case <-look.C:
			quiet++
			if now := l.words(); now != heard {
				heard, quiet = now, 0
			}
			if quiet < 2 {
				l.n.send(&message{Kind: kindPing})
				look.Reset(l.c.o.Patience / 2)
				continue
			}
			if got, ok := l.giveUp(id, s); ok {
				return got.x, got.err
			}
			return nil, job.Errorf(job.CodeUnavailable, "the guard (process %d), which runs the commands, has not answered for %s; the run was not started",
				l.process(), l.c.o.Patience).WithHint("is it stopped, or the machine overloaded? further runs get another guard; see %s", l.c.logPath())
		}
	}
}

// words is how often the guard has said something.
func (l *link) words() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard
}

// giveUp stops waiting for the answer to a start, unless it is there. The guard gets no further runs; should it come round, it refuses
// what it reads so late, and what it had begun already is ended.
func (l *link) giveUp(id uint64, s *starting) (got started, answered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case got = <-s.reply:
		return got, true
	default:
	}
	delete(l.starts, id)
	l.drains = true
	l.n.send(&message{Kind: kindCancel, ID: id})
	return started{}, false
}

// process is the guard's pid, as far as it is known.
func (l *link) process() int {
	if l.pid != 0 {
		return l.pid
	}
	return l.peer
}

// read takes what the guard says, until the connection ends.
func (l *link) read() {
	for {
		m, err := l.n.receive()
		if err != nil {
			l.over(err)
			return
		}
		l.take(m)
	}
}

func (l *link) take(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard++
	x := l.execs[m.ID]
	switch m.Kind {
	case kindWelcome:
		l.build, l.pid, l.ticks = m.Build, m.Pid, m.Ticks
	case kindHeld:
		if m.Held == nil {
			return
		}
		x = newExecution(l, m.ID, m.Held.Run, m.Held.Begin)
		if m.Pid != 0 {
			x.identify(m.Pid, m.Ticks)
		}
		l.execs[m.ID] = x
		l.adopted = append(l.adopted, job.Adopted{Run: m.Held.Run, Attempt: m.Held.Attempt, Begin: m.Held.Begin, Note: m.Held.Note, Execution: x})
	case kindListed:
		close(l.ready)
	case kindStarted:
		l.started(m, x)
	case kindRefused:
		if s := l.starts[m.ID]; s != nil {
			delete(l.starts, m.ID)
			s.reply <- started{err: m.Error.err()}
		} else if x != nil && x.own != nil { // it could not be handed over
			x.taken()
			go l.lose(map[uint64]*execution{x.id: x}, "it did not take the run over: "+m.Error.err().Error())
		} else if x != nil { // an earlier life asked for it
			delete(l.execs, m.ID)
			x.finish(job.Exit{Outcome: job.Failed, Reason: m.Error.err().Error(), Begin: x.begin, End: time.Now()})
		}
		l.drained()
	case kindEnded:
		if x == nil && m.Pid != 0 {
			x = l.started(m, nil)
		}
		if x == nil || m.Exit == nil {
			return
		}
		x.taken()
		x.told(*m.Exit)
		if x.unwanted {
			l.forget(x)
		}
	case kindProgress:
		if x != nil && m.Progress != nil {
			x.tell(*m.Progress)
		}
	case kindPublished:
		if x != nil {
			x.show()
		}
	}
}

// started notes an execution that has begun, and returns it. One that nobody waits for any more is ended. mu is held.
func (l *link) started(m *message, x *execution) *execution {
	s := l.starts[m.ID]
	delete(l.starts, m.ID)
	if x == nil {
		x = newExecution(l, m.ID, "", time.Now())
		l.execs[m.ID] = x
		if s != nil {
			x.run, x.begin = s.run, s.begin
		} else {
			x.unwanted = true
			l.n.send(&message{Kind: kindKillNow, ID: m.ID, By: "the agent, which had given up waiting for its start"})
		}
	}
	x.taken()
	if x.own != nil && x.unwanted { // released before the guard had it
		delete(l.execs, x.id)
		l.drained()
	}
	x.identify(m.Pid, m.Ticks)
	if s != nil {
		s.reply <- started{x: x}
	}
	return x
}

// release forgets an execution.
func (l *link) release(x *execution) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.own != nil && !x.hasEnded() {
		l.stash.handOver(x)
	}
	if x.letGo() {
		delete(l.execs, x.id)
		l.drained()
		return
	}
	if x.own != nil && x.own.held && l.execs[x.id] == x { // the guard is just told to go on with it, and answers once more
		x.unwanted = true
		l.n.sendLater(&message{Kind: kindRelease, ID: x.id})
		return
	}
	l.forget(x)
}

func (l *link) forget(x *execution) {
	if l.execs[x.id] != x {
		return
	}
	delete(l.execs, x.id)
	l.n.sendLater(&message{Kind: kindRelease, ID: x.id}) // the agent has all it needs
	l.drained()
}

// drained leaves a guard that gets no further runs and holds none. mu is held.
func (l *link) drained() {
	if l.drains && len(l.execs) == 0 && len(l.starts) == 0 {
		l.leave()
	}
}

// leave ends the connection: the guard goes on while it holds anything, and ends when it doesn't. mu is held.
func (l *link) leave() {
	if !l.closed {
		l.closed = true
		go l.n.close()
	}
}

// over is told that the connection has ended: by us, or with the guard.
func (l *link) over(err error) {
	defer close(l.gone)
	l.mu.Lock()
	l.dead = true
	execs, starts := l.execs, l.starts
	l.execs, l.starts = map[uint64]*execution{}, map[uint64]*starting{}
	closed := l.closed
	if l.stash != nil {
		l.stash.abandon(execs)
	}
	l.mu.Unlock()
	l.n.close()
	l.c.drop(l)
	if closed {
		for _, s := range starts { // none, unless the agent ends in the middle of a start
			s.reply <- started{err: job.Errorf(job.CodeUnavailable, "the runner is closed")}
		}
		return
	}
	state := l.bury(err)
	if len(execs)+len(starts) > 0 {
		l.c.log.Error("the guard died; its runs are ended and lost", "guard", l.process(), "how", state, "runs", len(execs)+len(starts))
	} else {
		l.c.log.Warn("the guard died; another takes its place", "guard", l.process(), "how", state)
	}
	for _, s := range starts {
		x := newExecution(l, 0, s.run, s.begin)
		execs[uint64(len(execs))] = x // no number of an execution is as small
		s.reply <- started{x: x}
	}
	l.lose(execs, state)
	if err := removeFolder(l.dir); err != nil {
		l.c.log.Warn("a dead guard's folder can't be removed", "error", err)
	}
}

// lose ends what a dead guard left of its executions.
func (l *link) lose(execs map[uint64]*execution, state string) {
	var wg sync.WaitGroup
	turns := make(chan struct{}, 8) // each of them lists the machine's processes
	for _, x := range execs {
		select {
		case <-x.done:
			continue // how it ended is known
		default:
		}
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			reason := "the guard that ran it died (" + state + ")"
			if x.Pid() == 0 {
				reason = "the guard died (" + state + ") while it started the run, and nobody can say whether it had begun"
			}
			if err := l.c.o.Leftover(x.Pid(), x.StartTicks(), string(x.run)); err != nil {
				l.c.log.Error("processes of a dead guard's run live on", "run", x.run, "error", err)
				reason += "; some of its processes may still be alive"
			}
			x.finish(job.Exit{Outcome: job.Lost, Reason: reason, Begin: x.begin, End: time.Now()})
		})
	}
	wg.Wait()
}
