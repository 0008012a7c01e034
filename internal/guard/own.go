//go:build linux

package guard

import (
	"context"
	"time"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

const (
	// leastTimeout is how long the timeout of a run must be that the agent executes: it counts when the guard has the run.
	leastTimeout = 250 * time.Millisecond
	// handAfter is how old a run is when it is handed over, or up to lookEvery older. It is as much older than moment as is needed for a run of
	// some 10 ms to end here.
	handAfter = 40 * time.Millisecond
	lookEvery = 10 * time.Millisecond
	// slotPatience is how long a run waits for a slot when it is its turn, before it is the guard's.
	slotPatience = 10 * time.Millisecond
)

// own is what an execution has that the agent itself executes. The link's mu guards what is not said otherwise.
type own struct {
	lent *runner.Lent // nil: it has not begun
	at   slot
	held bool // the slot is the execution's
	away bool // the guard goes on with it
	born time.Time
	wait *time.Timer // for the guard's word that it goes on with it

	// The execution's mu guards these.
	reaped bool
	used   job.Usage
	exit   *job.Exit // as the guard told it, before it was known here what the run used
}

// ordinary tells whether nothing has to be seen to in the first moments of an execution, so that the agent may execute it. One that is tied to the
// lease is not: it must end also if the agent is stopped.
func ordinary(e *job.Exec) bool {
	return e.Tied == 0 && e.Limits.IsZero() && (e.Timeout <= 0 || e.Timeout >= leastTimeout) && len(e.Note) <= maxDeposit/2 && e.Way == nil
}

// start begins an execution in this process. It is [runner.ErrElsewhere] where the guard has to. It returns when the execution has ended, or has lived for
// a moment, as the guard's does: nobody need hear of a process that is gone.
func (s *stash) start(ctx context.Context, e job.Exec) (job.Execution, error) {
	x, err := s.enter(&e)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx, x, e, keeper{x, s, &e}); err != nil {
		return nil, err
	}
	select {
	case <-x.begun:
	case <-ctx.Done():
		x.identify(x.own.lent.Pid(), x.own.lent.StartTicks())
	}
	return x, nil
}

// enter notes that an execution waits for its turn. begin must follow.
func (s *stash) enter(e *job.Exec) (*execution, error) {
	l := s.l
	x := newExecution(l, l.c.id(), e.Run, time.Now())
	x.own = &own{}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.takesRuns() {
		return nil, errGone
	}
	s.starts.Add(1)
	return x, nil
}

// begin executes the command of an execution when it is its turn.
func (s *stash) begin(ctx context.Context, x *execution, e job.Exec, k runner.Keeper) error {
	defer s.starts.Done()
	lent, err := s.run.Lend(ctx, e, k)
	if err == nil {
		s.begun(x, lent)
		return nil
	}
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if x.own.held {
		delete(s.l.execs, x.id)
		s.l.drained()
		x.own.at.empty()
		x.own.held = false
		s.back(x.own.at)
	}
	return err
}

// admit gives an execution a slot when it is its turn: one that still waits for that holds none. It is false where there is none, or the guard gets
// no further runs.
func (s *stash) admit(x *execution) bool {
	at, ok := s.take()
	if !ok {
		return false
	}
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if !s.l.takesRuns() {
		s.back(at)
		return false
	}
	x.own.at, x.own.held = at, true
	s.l.execs[x.id] = x
	return true
}

// begun notes that an execution has begun, and has it looked at when it is older.
func (s *stash) begun(x *execution, lent *runner.Lent) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	x.own.lent = lent
	switch {
	case s.l.dead: // the guard did not see it
		s.forsake(x)
	case !x.own.away:
		s.grow(x)
	}
}

// grow has an execution looked at when it is older. l.mu is held.
func (s *stash) grow(x *execution) {
	x.own.born = time.Now()
	s.young = append(s.young, x)
	if s.armed {
		return
	}
	s.armed = true
	if s.timer == nil {
		s.timer = time.AfterFunc(lookEvery, s.look)
	} else {
		s.timer.Reset(lookEvery)
	}
}

// look tells of executions that live on, and hands over those that are no more young, or that ended and are still not released.
func (s *stash) look() {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	kept, now := s.young[:0], time.Now()
	for _, x := range s.young {
		age := now.Sub(x.own.born)
		switch {
		case x.own.away || !x.own.held:
			continue
		case age >= handAfter:
			s.handOver(x)
			continue
		case age >= moment && !x.hasBegun():
			x.identify(x.own.lent.Pid(), x.own.lent.StartTicks())
		}
		kept = append(kept, x)
	}
	clear(s.young[len(kept):])
	s.young = kept
	if s.armed = len(kept) > 0; s.armed {
		s.timer.Reset(lookEvery)
	}
}

// handOver hands an execution over, unless that was done. Whatever is said of it after that is said to the guard. l.mu is held.
func (s *stash) handOver(x *execution) {
	o := x.own
	if o.away || !o.held || o.lent == nil {
		return
	}
	parts, n, ok := o.lent.HandOver()
	if !ok {
		return
	}
	o.away = true
	x.identify(o.lent.Pid(), o.lent.StartTicks())
	if s.l.dead || s.l.closed { // it is lost, or is found by the guard as it is
		return
	}
	s.l.n.send(&message{Kind: kindTake, ID: x.id, Slot: o.at.number, Parts: parts, Bytes: n})
	heard := s.l.heard
	o.wait = time.AfterFunc(s.l.c.o.Patience, func() { s.silent(x, heard) })
}

// silent is told that the guard has not answered for long. One that has said nothing meanwhile gets no further runs.
func (s *stash) silent(x *execution, heard uint64) {
	l := s.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.own.held && l.heard == heard && !l.dead && !l.closed && !l.drains {
		l.c.log.Error("the guard does not answer; further runs get another", "guard", l.process())
		l.drains = true
	}
}

// forsake lets an execution go of which the guard is dead: what is left of it is ended, and it is lost. l.mu is held.
func (s *stash) forsake(x *execution) {
	x.own.away = true
	x.identify(x.own.lent.Pid(), x.own.lent.StartTicks())
	x.own.lent.HandOver()
	x.taken()
	go s.l.lose(map[uint64]*execution{x.id: x}, "it died while the run began")
}

// taken is told that an execution's slot is the guard's affair, which has emptied it, or is dead, or finds what is in it. l.mu is held.
func (x *execution) taken() {
	o := x.own
	if o == nil || !o.held {
		return
	}
	o.held = false
	if o.wait != nil {
		o.wait.Stop()
	}
	x.l.stash.back(o.at)
}

// letGo releases an execution of the agent's own; false where the guard has it. l.mu is held.
func (x *execution) letGo() bool {
	o := x.own
	if o == nil || o.away || o.lent == nil {
		return false
	}
	o.at.empty()
	o.held = false
	o.lent.Release()
	x.l.stash.back(o.at)
	return true
}
