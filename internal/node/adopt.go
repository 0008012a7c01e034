package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A runner in a process of its own goes on with what runs while the agent is away. What the next life of the agent needs to go on
// with a run goes to that runner with each attempt, as its note; the runner keeps an attempt that has ended until the
// next one is in its hands, or the record is in the spool. So whatever moment the agent dies at, it is known how each attempt ended.

// legacy is the note of an attempt.
type legacy struct {
	Job      *job.Job      `json:"job,omitempty"` // nil: the dispatch has it
	Dispatch *job.Dispatch `json:"dispatch,omitempty"`
	Run      job.RunID     `json:"run"`
	Trigger  job.Trigger   `json:"trigger"`
	Instant  time.Time     `json:"instant,omitzero"`
	Begin    time.Time     `json:"begin"` // of the first attempt
	Fence    int64         `json:"fence,omitempty"`
	Lock     *job.Lock     `json:"lock,omitempty"`
	LockedAt int64         `json:"locked_at,omitempty"` // the lock's fence
	Attempts []job.Attempt `json:"attempts,omitempty"`  // those before
	Session  string        `json:"session"`             // of the life that began the run
}

// legacy is what a later life goes on with.
func (r *run) legacy(attempts []job.Attempt) []byte {
	l := legacy{
		Run: r.id, Trigger: r.trigger, Instant: r.instant, Begin: r.begin, Fence: r.fence, Attempts: bounded(attempts), Session: r.session,
	}
	if r.dispatch != nil {
		l.Dispatch = r.dispatch
	} else {
		l.Job = r.job
	}
	if r.lock.Fence > 0 {
		l.Lock, l.LockedAt = &r.lock, r.lock.Fence
	}
	b, err := json.Marshal(&l)
	if err != nil {
		r.a.Logger.Error("a run could not be gone on with, should the agent die", "run", r.id, "error", err)
	}
	return b
}

// heir makes the run again that a note tells of.
func (a *Agent) heir(note []byte) (*run, []job.Attempt, error) {
	var l legacy
	if err := json.Unmarshal(note, &l); err != nil {
		return nil, nil, fmt.Errorf("read what an earlier life noted: %w", err)
	}
	j := l.Job
	if l.Dispatch != nil {
		j = l.Dispatch.Job
	}
	if j == nil || l.Run == "" {
		return nil, nil, fmt.Errorf("an earlier life noted no job, or no run")
	}
	if err := j.Check(); err != nil {
		return nil, nil, fmt.Errorf("the job that an earlier life noted: %w", err)
	}
	r := newRun(context.Background(), a, j, l.Run, l.Trigger)
	r.instant, r.dispatch, r.fence, r.begin, r.session, r.started = l.Instant, l.Dispatch, l.Fence, l.Begin, l.Session, true
	if l.Lock != nil {
		r.lock = *l.Lock
		r.lock.Fence = l.LockedAt
	}
	if j.Kind == job.KindAlone {
		r.regained = make(chan struct{})
	}
	return r, l.Attempts, nil
}

// heritage is a run that an earlier life began, and the attempt that the runner holds.
type heritage struct {
	*run
	attempts []job.Attempt // before that one
	taken    job.Adopted
}

// adoptPatience is how long the runner has to say what it holds.
const adoptPatience = time.Minute

// adopt takes up the runs that earlier lives left with the runner.
func (a *Agent) adopt(ctx context.Context) {
	runner, ok := a.Runner.(job.Adopter)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, adoptPatience)
	defer cancel()
	found, err := runner.Adopt(ctx)
	if err != nil {
		a.Logger.Error("runs of an earlier life could not be taken up", "error", err)
	}
	slices.SortStableFunc(found, func(x, y job.Adopted) int { return y.Attempt - x.Attempt }) // the latest first
	a.heirs = map[job.RunID]*heritage{}
	for _, x := range found {
		switch {
		case a.spool.ended(x.Run), a.heirs[x.Run] != nil: // its record is safe, or the note of a later attempt has it
			a.dismiss(x)
			continue
		}
		r, attempts, err := a.heir(x.Note)
		if err != nil {
			a.Logger.Error("a run of an earlier life can't be gone on with, and is ended", "run", x.Run, "pid", x.Pid(), "error", err)
			a.dismiss(x)
			continue
		}
		if !a.spool.inherit(x.Run) {
			// The earlier life died before its disk took the begin.
			rec := r.record(r.begin, job.Lost, "")
			rec.Attempt, rec.Session = x.Attempt, r.session
			if err := a.spool.begin(&rec); err != nil {
				a.Logger.Error("the spool's disk refuses the begin of a run", "run", r.id, "error", err)
			}
		}
		r.open = true
		a.heirs[x.Run] = &heritage{run: r, attempts: attempts, taken: x}
	}
	if len(a.heirs) > 0 {
		a.Logger.Info("runs of an earlier life go on", "runs", len(a.heirs))
	}
}

// dismiss ends an execution that nobody goes on with, and lets the runner forget it.
func (a *Agent) dismiss(x job.Adopted) {
	select {
	case <-x.Done():
		x.Release()
		return
	default:
	}
	x.KillNow("the agent, which does not know it")
	a.wg.Go(func() {
		select {
		case <-x.Done():
			x.Release()
		case <-a.stopping:
		}
	})
}

// carried are the runs of instants that were claimed by earlier lives and go on in this one.
func (a *Agent) carried() (runs []job.RunID) {
	for id, h := range a.heirs {
		if h.dispatch == nil && h.job.Kind.Claimed() {
			runs = append(runs, id)
		}
	}
	slices.Sort(runs)
	return runs
}

// keptLocks are the locks that runs of earlier lives hold.
func (a *Agent) keptLocks() (locks []job.Lock) {
	for _, h := range a.heirs {
		if h.lock.Fence > 0 {
			locks = append(locks, h.lock)
		}
	}
	return locks
}

// takeUp gives the runs of earlier lives their places.
func (c *core) takeUp(ctx context.Context) {
	for id, h := range c.a.heirs {
		r := h.run
		r.cancel()
		r.bind(ctx)
		c.runs[id] = r
		c.alive[r.job.Hash] = append(c.alive[r.job.Hash], r)
		c.a.wg.Go(func() {
			r.resume(h)
			c.a.tell(func() { c.ended(r) })
		})
	}
}

// resume goes on with a run of an earlier life.
func (r *run) resume(h *heritage) {
	if r.job.Kind == job.KindAlone {
		defer r.releaseLock()
		r.a.wg.Go(func() { r.regain(h.taken.Execution) })
	}
	r.pursue(h.taken.Attempt-r.firstAttempt()+1, h.attempts, &h.taken)
}

// regain takes up the lock that an earlier life took for a run. The run ends if it does not stand any more: its runner has seen to
// that already, unless the lock was taken away before its time.
func (r *run) regain(x job.Execution) {
	for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
		s := r.a.leaseSession(r.ctx)
		if s == nil {
			return
		}
		epoch := s.Epoch()
		ctx, cancel := context.WithTimeout(r.ctx, lastBackoff)
		kept, err := s.KeepLock(ctx, r.lock)
		cancel()
		switch {
		case err == nil && kept:
			r.mu.Lock()
			r.epoch = epoch
			r.mu.Unlock()
			close(r.regained)
			return
		case err == nil:
			r.killNow(leaseCause)
			return
		}
		select {
		case <-x.Done():
			return
		default:
		}
		if !sleep(r.ctx, wait) {
			return
		}
	}
}

// leaveRuns lets what runs go on without the agent: the next life takes it up.
func (c *core) leaveRuns() {
	close(c.a.leaving)
	for _, r := range c.runs {
		r.mu.Lock()
		stays := r.started // what has no process ends with this one: see watch
		r.mu.Unlock()
		if !stays {
			r.kill(stopCause)
		}
	}
}

// LeaveRuns makes the stop of Run one after which what runs goes on, for the next life of the agent to take up. The
// runner must be one that outlives this process.
func (a *Agent) LeaveRuns() { a.leave.Store(true) }

// hold tells the runner until when its tied executions may live, as often as that changes, until ctx ends.
func (a *Agent) hold(ctx context.Context) {
	s := a.leaseSession(ctx)
	if s == nil {
		return
	}
	for {
		a.holdOnce(s)
		if !sleep(ctx, a.ttl()/10) {
			return
		}
	}
}

func (a *Agent) holdOnce(s *store.Session) {
	now := a.SinceBoot() // first: should the agent be stopped in between, the end is too early, and not too late
	if left := s.Left() - a.ttl()/10; left > 0 {
		a.Runner.Hold(now + left)
	}
}
