package engine

import (
	"fmt"
	"time"

	"github.com/rota-dev/rota/job"
)

// account is what the audit knows of a claimed task's instants above its floor.
type account struct {
	floor    time.Time // zero: none yet
	claims   map[time.Time]*job.Claim
	recorded map[time.Time]time.Time // instant to until, as history has them
	next     time.Time               // nothing can change by time alone before this
}

func (a *account) empty() bool { return a.floor.IsZero() && len(a.claims) == 0 }

func (a *account) covered(i time.Time) bool {
	if _, ok := a.recorded[i]; ok {
		return true
	}
	for from, until := range a.recorded {
		if !i.Before(from) && !i.After(until) {
			return true
		}
	}
	return false
}

func (e ClaimPut) apply(s *State) {
	a := &s.task(e.Claim.Task).account
	if a.claims == nil {
		a.claims = map[time.Time]*job.Claim{}
	}
	a.claims[e.Claim.Instant.UTC()] = e.Claim
	a.next = time.Time{}
}

func (e ClaimDeleted) apply(s *State) {
	if t := s.tasks[e.Task]; t != nil {
		delete(t.account.claims, e.Instant.UTC())
		t.account.next = time.Time{}
		s.forget(t)
	}
}

func (e FloorPut) apply(s *State) {
	a := &s.task(e.Task).account
	if !e.At.After(a.floor) {
		return
	}
	a.floor, a.next = e.At.UTC(), time.Time{}
	for i, until := range a.recorded {
		if !until.After(a.floor) {
			delete(a.recorded, i)
		}
	}
}

func (e FloorDeleted) apply(s *State) {
	if t := s.tasks[e.Task]; t != nil {
		t.account.floor, t.account.next = time.Time{}, time.Time{}
		s.forget(t)
	}
}

func (e Recorded) apply(s *State) {
	t := s.tasks[e.Task]
	if t == nil || e.Instant.IsZero() {
		return
	}
	a := &t.account
	if a.floor.IsZero() {
		return // a common task's, for whose instants its nodes account
	}
	until := e.Until.UTC()
	if until.Before(e.Instant) {
		until = e.Instant.UTC()
	}
	if !until.After(a.floor) {
		return
	}
	if a.recorded == nil {
		a.recorded = map[time.Time]time.Time{}
	}
	a.recorded[e.Instant.UTC()] = until
	a.next = time.Time{}
}

// Bounds of one step of the audit; what is beyond them comes with the next plan.
const (
	maxWalk    = 2000                   // instants looked at
	settleSoon = 500 * time.Millisecond // how long after its time an instant is first looked at
)

// Floors lists the claimed tasks and the instants up to which they are settled: what lies above must be
// read from history once, when a master begins to lead.
func (s *State) Floors() map[job.TaskRef]time.Time {
	floors := map[job.TaskRef]time.Time{}
	for ref, t := range s.tasks {
		if !t.account.floor.IsZero() {
			floors[ref] = t.account.floor
		}
	}
	return floors
}

func (s *State) audit(now time.Time) []Action {
	var actions []Action
	for _, ref := range sortedRefs(s.tasks) {
		t := s.tasks[ref]
		if !t.account.next.IsZero() && now.Before(t.account.next) {
			continue
		}
		if a := s.auditTask(t, now); a != nil {
			actions = append(actions, a)
		}
	}
	return actions
}

// auditTask is one step: at most one action for each task, and the next plan goes on from what came of it.
func (s *State) auditTask(t *task, now time.Time) Action {
	a := &t.account
	a.next = now.Add(time.Second)
	claimed := t.entry != nil && t.rule != nil && t.rule.Mode == job.Cycle && t.entry.Task.Kind.Kind().Claimed()
	switch {
	case t.entry == nil && len(t.jobs) == 0 && !a.empty():
		return s.drop(t, now)
	case !claimed && len(a.claims) == 0:
		a.next = now.Add(time.Hour) // an event wakes it
		return nil
	case a.floor.IsZero() && claimed:
		return InitFloor{Task: t.ref, At: t.entry.Since.UTC().Truncate(time.Second)}
	case a.floor.IsZero():
		return nil
	}
	return s.walk(t, now)
}

// drop removes what is left of a deleted task once no claim of it waits for its record.
func (s *State) drop(t *task, now time.Time) Action {
	for _, i := range claimInstants(&t.account) {
		if t.account.covered(i) || !i.After(t.account.floor) {
			continue
		}
		if c := t.account.claims[i]; s.absent(c.Node, c.Session, now) {
			return PutRecord{Record: lostRecord(t, c, now)}
		}
		return nil
	}
	return DropTask{Task: t.ref, Floor: t.account.floor}
}

// walk looks at the instants above the floor: those in history raise it, a claim whose holder died is recorded
// as lost, and what nobody can claim any more is settled with a record that says why.
func (s *State) walk(t *task, now time.Time) Action {
	a := &t.account
	due, more := s.due(t, now)
	if len(due) == 0 {
		if n := t.rule.Next(latest(now, a.floor)); !n.IsZero() {
			a.next = n.Add(settleSoon)
		} else {
			a.next = now.Add(time.Hour)
		}
		return nil
	}
	settled := time.Time{}
	for _, i := range due {
		if !a.covered(i) {
			break
		}
		settled = i
	}
	if !settled.IsZero() {
		return Settle{Task: t.ref, From: a.floor, To: settled}
	}
	// A holder that died leaves its word to us, wherever among the instants its claim stands.
	for _, i := range due {
		if c := a.claims[i]; c != nil && !a.covered(i) && s.absent(c.Node, c.Session, now) {
			return PutRecord{Record: lostRecord(t, c, now)}
		}
	}
	return s.settleGap(t, due, more, now)
}

// due are the instants above the floor whose time has come, claimed ones whatever the rule says now.
func (s *State) due(t *task, now time.Time) (list []time.Time, more bool) {
	a := &t.account
	if t.entry != nil && t.rule != nil && t.rule.Mode == job.Cycle {
		from := a.floor
		to := now.Add(-settleSoon)
		list, more = job.Instants(t.rule, t.entry.Prior, t.entry.Since, from, to, maxWalk)
	}
	return mergeInstants(list, claimInstants(a), a.floor, more), more
}

// settleGap closes the unclaimed instants at the head of due, as far as nobody may claim them any more.
func (s *State) settleGap(t *task, due []time.Time, more bool, now time.Time) Action {
	a := &t.account
	first := due[0]
	if a.claims[first] != nil || t.entry == nil {
		return nil // it runs, or its record is on the way
	}
	paused := t.entry.PausedFor(first)
	if paused && t.entry.Paused && !more {
		return nil // told in one record when it resumes
	}
	last, count := time.Time{}, 0
	for _, i := range due {
		if a.claims[i] != nil || a.covered(i) || t.entry.PausedFor(i) != paused || !s.closed(t, i, paused, now) {
			break
		}
		last, count = i, count+1
	}
	if count == 0 {
		return nil
	}
	outcome, reason := job.Missed, s.whyMissed(t, first)
	if paused {
		outcome, reason = job.Skipped, "the task was paused"
	}
	rec := &job.ExecutionRecord{
		ID: string(job.FiringID(t.ref, "", first)), TaskID: t.ref.String(), Group: t.ref.Group, Name: t.ref.Name,
		Command: t.entry.Task.Command.String(), User: t.entry.Task.User, Instant: first, Trigger: job.TriggerTimer,
		Outcome: outcome, Reason: reason, BeginTime: now.UTC(), EndTime: now.UTC(), Generation: t.entry.Generation,
	}
	if count > 1 {
		rec.Count, rec.Until = count, last
	}
	return Settle{Task: t.ref, From: a.floor, To: last, Record: rec}
}

// closed tells whether an unclaimed instant can be given up: its deadline has passed, or, without one, the nodes have
// had their time. A task that catches up waits for a node that can, and gives it time when it comes.
func (s *State) closed(t *task, i time.Time, paused bool, now time.Time) bool {
	if paused {
		return true
	}
	spec := &t.entry.Task
	age := now.Sub(i) - spec.Jitter.Std()
	if d := spec.Deadline.Std(); d > 0 && age > d+s.lease {
		return true
	}
	if spec.Catchup == job.CatchupNone {
		return age > s.lease
	}
	for id := range t.jobs {
		if n := s.nodes[id]; n != nil && n.presence != nil && now.Sub(n.changed) > 2*s.lease {
			return age > 2*s.lease
		}
	}
	return false
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
		Node: c.Node, Instant: c.Instant.UTC(), Trigger: job.TriggerTimer, Outcome: job.Lost,
		Reason:    fmt.Sprintf("node %s claimed it and went away", c.Node),
		BeginTime: c.At.UTC(), EndTime: now.UTC(), Fence: c.Fence, Session: c.Session,
	}
	if t.entry != nil {
		rec.Command, rec.User, rec.Generation = t.entry.Task.Command.String(), t.entry.Task.User, t.entry.Generation
	}
	return rec
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
