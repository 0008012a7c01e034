package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

const (
	maxWalk    = 10_000                 // instants looked at in one step; what is beyond them comes with the next plan
	settleSoon = 500 * time.Millisecond // how long after its time an instant is first looked at
	pausedLook = time.Hour              // how often the instants of a task that stays paused are looked at
)

// poll is how often a claim's holder is looked for, and what was refused is tried again.
func (s *State) poll() time.Duration { return s.lease / 10 }

// audit looks at the accounts that an event or the time has woken.
func (s *State) audit(now time.Time) []Action {
	if now.Before(s.planned) {
		s.setBack(now)
	}
	s.planned = now
	look := make([]*task, 0, len(s.roused))
	for t := range s.roused {
		s.wakes.sleep(t)
		look = append(look, t)
	}
	clear(s.roused)
	for t := s.wakes.due(now); t != nil; t = s.wakes.due(now) {
		look = append(look, t)
	}
	slices.SortFunc(look, byRef)
	var actions []Action
	for _, t := range look {
		action, wake := s.auditTask(t, now)
		if action != nil {
			actions = append(actions, action)
		}
		if t.account.empty() && action == nil {
			wake = time.Time{}
		}
		s.wakes.at(t, wake)
	}
	return actions
}

// setBack has nothing wait until the time that a clock had shown which was ahead: what came to be under it came to be by now.
func (s *State) setBack(now time.Time) {
	for _, t := range s.wakes {
		s.rouse(t)
	}
	s.began = earliest(s.began, now.Add(s.lease-s.patience()))
	s.heardBy(now)
	for _, t := range s.tasks {
		a := &t.account
		a.ended = earliest(a.ended, now)
		for k := range a.claims {
			a.claims[k].away = earliest(a.claims[k].away, now)
		}
	}
	s.expires, s.givesUp, s.debts.news = time.Time{}, time.Time{}, true
	for _, jobs := range s.debts.of {
		for _, d := range jobs {
			d.wake = time.Time{}
		}
	}
}

// heardBy says that what was heard of the nodes' presence was heard by a time, whatever the clock showed then.
func (s *State) heardBy(now time.Time) {
	for _, n := range s.nodes {
		n.changed = earliest(n.changed, now)
	}
}

// auditTask is one step: at most one action for each task, and the next plan goes on from what came of it. wake is when
// to look again, should no event come before; zero: never.
func (s *State) auditTask(t *task, now time.Time) (action Action, wake time.Time) {
	a := &t.account
	if t.unreadable || t.entry != nil && t.rule == nil {
		return nil, time.Time{}
	}
	if a.floor.IsZero() {
		if t.claimed() {
			return InitFloor{Task: t.ref, At: t.entry.ClaimedSince().UTC().Truncate(time.Second)}, now.Add(s.poll())
		}
		return nil, time.Time{} // claims without a floor are about to go
	}
	lost, held := s.holders(t, now)
	if t.claimed() || !held.IsZero() {
		a.ended = time.Time{}
	}
	switch {
	case lost != nil:
		return lost, now.Add(s.poll())
	case t.entry != nil:
		action, wake = s.walk(t, now)
	case len(t.jobs) == 0 && held.IsZero():
		// What a deleted task still owed, beyond its claims, is gone with it.
		return s.drop(t, now)
	}
	if !held.IsZero() && (wake.IsZero() || held.Before(wake)) {
		wake = held
	}
	return action, wake
}

// floorStays is how long a floor stays that nobody needs. A task of the same name that is made meanwhile by a master whose clock is behind begins above
// it, and not among instants that have their outcome.
const floorStays = time.Hour

// drop removes the floor of what needs none any more, an hour and a lease later: meanwhile its nodes come to know of it, and we of
// the claims that they made before. What was claimed ahead of its time must have passed too, lest a task of the same
// name has it again.
func (s *State) drop(t *task, now time.Time) (Action, time.Time) {
	a := &t.account
	if a.ended.IsZero() {
		a.ended = now
	}
	at := a.ended.Add(s.lease + floorStays)
	if n := len(a.claims); n > 0 {
		at = latest(at, time.Unix(a.claims[n-1].at, 0))
	}
	if now.Before(at) {
		return nil, at
	}
	return DropTask{Task: t.ref, Floor: a.floor}, now.Add(s.poll())
}

// holders looks at the claims that wait for their record. A holder that died leaves its word to us, wherever among
// the instants its claim stands. next is when to look again, zero where no claim waits.
func (s *State) holders(t *task, now time.Time) (lost Action, next time.Time) {
	a := &t.account
	for k := range a.claims {
		c := &a.claims[k]
		if a.covered(c.at) {
			continue
		}
		look := now.Add(s.poll())
		if !s.present(c.by.Node, c.by.Session) && !s.carries(c.by.Node, job.FiringID(t.ref, "", c.by.Instant)) {
			if c.away.IsZero() {
				c.away = now
				if n := s.nodes[c.by.Node]; n != nil && n.changed.Before(now) {
					c.away = n.changed
				}
			}
			dead := latest(c.away, s.began).Add(s.patience())
			if !now.Before(dead) {
				return PutRecord{Record: lostRecord(t, c.by, now), Claim: c.by}, time.Time{}
			}
			if dead.Before(look) {
				look = dead
			}
		} else {
			c.away = time.Time{}
		}
		if next.IsZero() || look.Before(next) {
			next = look
		}
	}
	return nil, next
}

// walk looks at the instants above the floor: those in history raise it, and what nobody can claim any more is
// settled with a record that says why. The floor never rises above the present, whatever was claimed ahead of
// its time by a node whose clock is wrong, for others may still claim what lies before that.
func (s *State) walk(t *task, now time.Time) (Action, time.Time) {
	a := &t.account
	to := now.Add(-settleSoon)
	first := t.after(a.floor)
	switch {
	case first.IsZero() && !t.claimed():
		// It is no claimed task any more and owes nothing. Becoming one again it starts with a new floor.
		return s.drop(t, now)
	case first.IsZero():
		return nil, time.Time{}
	case first.After(to):
		return nil, first.Add(settleSoon)
	}
	settled, i := time.Time{}, first
	for n := 0; n < maxWalk && !i.IsZero() && !i.After(to) && a.covered(i.Unix()); n++ {
		settled, i = i, t.after(i)
	}
	if !settled.IsZero() {
		return s.settle(t, settled, nil), now.Add(s.poll())
	}
	return s.settleGap(t, first, to, now)
}

func (s *State) settle(t *task, to time.Time, rec *job.ExecutionRecord) Settle {
	a := Settle{Task: t.ref, From: t.account.floor, To: to, Record: rec, Revision: t.written.Revision}
	for _, name := range t.calendars {
		if c := s.calendars[name]; c != nil {
			if a.Calendars == nil {
				a.Calendars = map[string]int64{}
			}
			a.Calendars[name] = c.Revision
		}
	}
	return a
}

// settleGap closes the unclaimed instants at the head of those above the floor, as far as nobody may claim them.
func (s *State) settleGap(t *task, first, to, now time.Time) (Action, time.Time) {
	a := &t.account
	if a.claimedAt(first.Unix()) {
		return nil, time.Time{} // it runs, or its record is on the way
	}
	paused, still := t.entry.PausedFor(first), t.entry.Paused
	waited := s.waitedFor(t, first)
	c := s.closing(t)
	last, wake, count := time.Time{}, time.Time{}, 0
	for i := first; count < maxWalk && !i.IsZero() && !i.After(to); i = t.after(i) {
		if t.entry.PausedFor(i) != paused || a.claimedAt(i.Unix()) || a.covered(i.Unix()) || !i.Equal(first) && s.waitedFor(t, i) != waited {
			break
		}
		if !paused {
			if wake = c.of(i); wake.IsZero() || now.Before(wake) {
				break
			}
		}
		last, count = i, count+1
	}
	switch {
	case paused && still && count < maxWalk:
		return nil, now.Add(pausedLook) // told in one record when it resumes
	case count == 0 && wake.IsZero():
		return nil, now.Add(s.lease) // until a node comes
	case count == 0:
		return nil, wake
	}
	rec := s.gapRecord(t, first, paused, now)
	if !paused && waited != "" {
		rec.Outcome, rec.Reason = job.Skipped, waited
	}
	if count > 1 {
		// The id is not that of the first instant's own record, which could take the place of all the others.
		rec.ID = string(job.CauseID("instants "+job.FormatInstant(first)+" "+job.FormatInstant(last), t.ref.String()))
		rec.Count, rec.Until = count, last
	}
	return s.settle(t, last, rec), now.Add(s.poll())
}

// gapRecord says why an instant did not run.
func (s *State) gapRecord(t *task, first time.Time, paused bool, now time.Time) *job.ExecutionRecord {
	outcome, reason := job.Missed, s.whyMissed(t, first)
	if paused {
		outcome, reason = job.Skipped, "the task was paused"
	}
	return &job.ExecutionRecord{
		ID: string(job.FiringID(t.ref, "", first)), TaskID: t.ref.String(), Group: t.ref.Group, Name: t.ref.Name,
		Command: t.entry.Task.What(), User: t.entry.Task.User, Instant: first, Trigger: job.TriggerTimer,
		Outcome: outcome, Reason: reason, BeginTime: now.UTC(), EndTime: now.UTC(), Generation: t.entry.Generation,
	}
}

// closing says when an unclaimed instant can be given up.
type closing struct {
	began    time.Time     // not before this
	deadline time.Duration // after the instant, whatever else; 0: none
	grace    time.Duration // after the instant, as long as nobody says that it may still come
	able     time.Time     // and not before this: a node of the task has had its time; zero: none is there
	waits    bool          // for able
}

// closing is made of the task's policy. Where nothing says how late an instant may start, it must be claimed on time,
// within a lease. A task that catches up waits for a node that can, and gives it time when it comes; so does one with a
// deadline, whose nodes try to claim until then. A deadline ends all waiting.
func (s *State) closing(t *task) closing {
	spec := &t.entry.Task
	behind := s.behind(t)
	c := closing{began: s.began.Add(s.patience()), grace: behind + spec.Jitter.Std() + s.lease}
	if spec.Deadline > 0 {
		c.deadline = behind + spec.Jitter.Std() + spec.Deadline.Std() + s.lease
	}
	if spec.Deadline == 0 && (spec.Catchup == job.CatchupNone || spec.Catchup == "") {
		return c
	}
	c.waits, c.grace = true, c.grace+s.lease
	for id := range t.jobs {
		if n := s.nodes[id]; n != nil && n.presence != nil {
			if able := latest(n.changed, s.began).Add(2 * s.lease); c.able.IsZero() || able.Before(c.able) {
				c.able = able
			}
		}
	}
	return c
}

// of is when an instant can be given up; zero: nobody knows yet.
func (c closing) of(i time.Time) time.Time {
	at := time.Time{}
	if !c.waits || !c.able.IsZero() {
		at = latest(i.Add(c.grace), c.able)
	}
	if d := i.Add(c.deadline); c.deadline > 0 && (at.IsZero() || d.Before(at)) {
		at = d
	}
	if at.IsZero() {
		return at
	}
	return latest(at, c.began)
}

// whyMissed says why nobody ran an instant, as far as the present state tells.
func (s *State) whyMissed(t *task, i time.Time) string {
	if len(t.jobs) == 0 {
		return "no node is bound to the task"
	}
	for id := range t.jobs {
		if n := s.nodes[id]; n != nil && n.presence != nil && n.changed.Before(i) {
			return "no node claimed it in time"
		}
	}
	return "no node of the task was online"
}

// lostRecord says that the holder of a claim died with it.
func lostRecord(t *task, c *job.Claim, now time.Time) *job.ExecutionRecord {
	rec := &job.ExecutionRecord{
		ID: string(job.FiringID(t.ref, "", c.Instant)), JobID: c.Job, TaskID: t.ref.String(), Group: t.ref.Group, Name: t.ref.Name,
		Node: c.Node, Instant: c.Instant.UTC(), Trigger: job.TriggerTimer, Outcome: job.Lost, EndedBy: job.EndedByLoss,
		Reason:    fmt.Sprintf("node %s claimed it and went away", c.Node),
		BeginTime: c.At.UTC(), EndTime: now.UTC(), Fence: c.Fence, Session: c.Session,
	}
	if t.entry != nil {
		rec.Command, rec.User, rec.Generation = t.entry.Task.What(), t.entry.Task.User, t.entry.Generation
	}
	return rec
}
