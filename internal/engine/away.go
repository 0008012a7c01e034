package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// The instants of common tasks are accounted for by their nodes. Of a node that does not come back the leader tells them: when the
// oldest that it owes is as old as Options.Away, all up to then are told in one record, and the job begins behind them from
// then on, so that the node, should it come back, neither runs nor tells them again. The beginning of the job is the cursor: it is
// written in one transaction with the record, as long as the node is away. A node that loses a task while it is away (deleted,
// or another label) owes what was due until then, which is told at once, before the job is removed.
//
// What the node has told before it went, history knows: the leader asks for that ([State.Unknown], [Told]). What it does while it
// is cut off from etcd nobody knows; its own word, when it arrives, takes its instants out of such a record.

// The event and the action of nodes that are away.
type (
	// Told tells what history has of a task's instants on a node that is away: records, without which there is none after Since.
	Told struct {
		Task    job.TaskRef
		Node    job.NodeID
		Since   time.Time
		Records []job.ExecutionRecord
	}
	// TellAway puts the record of instants that a node which is away owes, and moves the beginning of its job behind them, if the job
	// is of that revision, and the node still away. The task and its calendars must be of theirs.
	TellAway struct {
		Job       *job.Job
		Revision  int64
		Record    *job.ExecutionRecord
		Task      int64
		Calendars map[string]int64
	}
)

func (TellAway) isAction() {}

const (
	maxStretches = 64              // of instants in one record
	maxTold      = 256             // records in one plan
	awayLook     = time.Minute     // how often nodes are looked at that have been away for long
	untoldAsked  = 256             // of how many jobs history is asked at once
	awayFirst    = 1 * time.Minute // how long a node is away before history is asked; less where Options.Away is
	awayStale    = 5 * time.Minute // how long it may be since history was asked
)

// debts are the jobs of nodes that are away.
type debts struct {
	of     map[job.NodeID]map[*task]*debt
	looked time.Time // when the nodes were looked at
	walked time.Time // when the debts were
	news   bool      // since then
}

// debt is what is known of a common task on a node that is away.
type debt struct {
	known   bool // what history has
	asked   time.Time
	since   time.Time
	records []job.ExecutionRecord
	leaving bool      // the job is to be removed
	wake    time.Time // when to look again
}

// told tells whether history has an instant.
func (d *debt) told(i time.Time) bool {
	return slices.ContainsFunc(d.records, func(r job.ExecutionRecord) bool { return !r.Instant.IsZero() && r.Covers(i) })
}

// wait puts a debt off. What history has must be asked for again by then, and takes no room meanwhile.
func (d *debt) wait(until time.Time) { d.wake, d.records, d.asked = until, nil, time.Time{} }

// owes tells whether a task has, or had, instants that are its nodes' to account for.
func (t *task) owes() bool {
	if t.entry == nil || t.rule == nil || t.unreadable {
		return false
	}
	common := func(kind job.KindName) bool { return !kind.Kind().Claimed() }
	return t.rule.Mode == job.Cycle && common(t.entry.Task.Kind) ||
		slices.ContainsFunc(t.entry.Past, func(e job.Era) bool { return e.Rule != nil && common(e.Kind) })
}

// owe notes that a job's debts are to be told.
func (s *State) owe(t *task, id job.NodeID) *debt {
	if s.debts.of == nil {
		s.debts.of = map[job.NodeID]map[*task]*debt{}
	}
	if s.debts.of[id] == nil {
		s.debts.of[id] = map[*task]*debt{}
	}
	d := s.debts.of[id][t]
	if d == nil {
		d = &debt{}
		s.debts.of[id][t] = d
	}
	return d
}

func (s *State) forgetDebt(t *task, id job.NodeID) {
	if delete(s.debts.of[id], t); len(s.debts.of[id]) == 0 {
		delete(s.debts.of, id)
	}
}

// leaves tells whether a job that is to be removed must wait until its debts are told.
func (s *State) leaves(t *task, id job.NodeID) bool {
	if s.away <= 0 || s.online(id) || !t.owes() {
		return false
	}
	d := s.owe(t, id)
	if !d.leaving {
		d.leaving, d.wake, s.debts.news = true, time.Time{}, true
	}
	return true
}

// stays notes that a job is not to be removed any more.
func (s *State) stays(t *task, id job.NodeID) {
	if d := s.debts.of[id][t]; d != nil {
		d.leaving = false
	}
}

// Unknown lists the jobs of nodes that are away of which it must be told what history has: their tasks, nodes, and from when on.
func (s *State) Unknown() []Told {
	var list []Told
	for id, jobs := range s.debts.of {
		for t, d := range jobs {
			if j, bound := t.jobs[id]; bound && !d.known {
				list = append(list, Told{Task: t.ref, Node: id, Since: j.sinceTime()})
			}
		}
	}
	slices.SortFunc(list, func(a, b Told) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Task.Group, b.Task.Group), cmp.Compare(a.Task.Name, b.Task.Name))
	})
	return list[:min(len(list), untoldAsked)]
}

func (e Told) apply(s *State) {
	t := s.tasks[e.Task]
	if t == nil {
		return
	}
	if d := s.debts.of[e.Node][t]; d != nil {
		d.known, d.since, d.records, d.wake = true, e.Since, e.Records, time.Time{}
		d.asked, s.debts.news = s.planned, true
	}
}

// findDebts finds the jobs of nodes that have been away for a while.
func (s *State) findDebts(now time.Time) {
	if d := now.Sub(s.debts.looked); d >= 0 && d < min(awayLook, s.away) {
		return
	}
	s.debts.looked = now
	first := min(s.away, awayFirst)
	gone := func(id job.NodeID) bool {
		n := s.nodes[id]
		return n != nil && n.presence == nil && now.Sub(latest(n.changed, s.began)) >= max(first, s.patience())
	}
	any := false
	for id := range s.nodes {
		if any = any || gone(id); any {
			break
		}
	}
	if !any {
		return
	}
	for _, t := range s.tasks {
		if !t.owes() {
			continue
		}
		for id := range t.jobs {
			if gone(id) {
				s.owe(t, id)
			}
		}
	}
}

// tellAway tells what nodes owe that are away for long, or have lost a task.
func (s *State) tellAway(now time.Time) []Action {
	if s.away <= 0 {
		return nil
	}
	s.findDebts(now)
	if d := now.Sub(s.debts.walked); !s.debts.news && d >= 0 && d < s.poll() {
		return nil
	}
	s.debts.walked, s.debts.news = now, false
	type place struct {
		id job.NodeID
		t  *task
	}
	var look []place
	for id, jobs := range s.debts.of {
		for t, d := range jobs {
			if _, bound := t.jobs[id]; !bound || s.online(id) || !t.owes() {
				s.forgetDebt(t, id)
				if d.leaving {
					s.dirty(t)
				}
				continue
			}
			if d.known && !now.Before(d.wake) {
				look = append(look, place{id, t})
			}
		}
	}
	slices.SortFunc(look, func(a, b place) int { return cmp.Or(cmp.Compare(a.id, b.id), byRef(a.t, b.t)) })
	var actions []Action
	for _, p := range look {
		if len(actions) == maxTold {
			s.debts.news = true
			break
		}
		d := s.debts.of[p.id][p.t]
		if a := s.tellDebt(p.t, p.id, d, now); a != nil {
			d.wake = now.Add(s.poll()) // should it be refused
			actions = append(actions, a)
		}
	}
	return actions
}

// tellDebt is one step: a record of the first instants that a job owes and that end alike, or the removal of a job that owes nothing.
func (s *State) tellDebt(t *task, id job.NodeID, d *debt, now time.Time) Action {
	if age := now.Sub(d.asked); age < 0 || age > awayStale {
		d.known = false // its word may have come meanwhile
		return nil
	}
	jobIs := t.jobs[id]
	j := t.bind(id, slices.Sorted(maps.Keys(t.jobs)), jobIs.sinceTime())
	from := latest(jobIs.sinceTime(), d.since)
	var owed []job.Stretch
	var first, last time.Time
	paused := false
	walked := 0
	i := s.dueOn(t, from)
	for ; !i.IsZero() && !i.After(now) && walked < maxWalk; i = s.dueOn(t, i) {
		walked++
		if j.At(i).Kind.Claimed() || d.told(i) {
			if len(owed) > 0 && d.told(i) {
				break
			}
			continue
		}
		if first.IsZero() {
			first, paused = i, t.entry.PausedFor(i)
			if paused && t.entry.Paused && !d.leaving { // told in one record when it resumes
				d.wait(now.Add(pausedLook))
				return nil
			}
			if !d.leaving && now.Sub(i) < s.away {
				d.wait(i.Add(s.away))
				return nil
			}
		}
		if t.entry.PausedFor(i) != paused {
			break
		}
		if more := job.AddInstant(slices.Clone(owed), i); len(more) > maxStretches {
			break
		} else {
			owed, last = more, i
		}
	}
	switch {
	case len(owed) > 0:
	case walked == maxWalk: // all of that is told: the job may begin behind it
		d.since = latest(d.since, i.Add(-time.Second))
		d.wake, s.debts.news = time.Time{}, true
		return nil
	case d.leaving:
		return DeleteJob{Node: id, Hash: job.JobHash(t.ref, id), Revision: jobIs.rev}
	default:
		wake := now.Add(awayLook)
		if !i.IsZero() {
			wake = latest(wake, i.Add(s.away))
		}
		d.wait(wake)
		return nil
	}
	moved := t.bind(id, slices.Sorted(maps.Keys(t.jobs)), last)
	moved.Config, moved.Waits = s.configFor(t), s.waitsOn(t, id, now)
	moved.Stamp = formatStamp(jobIs.stamp)
	moved.Scheduler = &job.Scheduler{NodeID: id, SchedulerTime: now.UTC(), CanRun: true, SchedulerStatus: "placed"}
	a := TellAway{Job: moved, Revision: jobIs.rev, Record: s.awayRecord(t, j, owed, paused, now), Task: t.written.Revision}
	a.Calendars = s.settle(t, last, nil).Calendars
	return a
}

// dueOn is the first instant after another that is due on the nodes of a task.
func (s *State) dueOn(t *task, i time.Time) time.Time {
	return job.NextDue(t.rule, t.entry.Past, t.entry.CreatedAt, i)
}

// awayRecord tells of instants that a node owes.
func (s *State) awayRecord(t *task, j *job.Job, owed []job.Stretch, paused bool, now time.Time) *job.ExecutionRecord {
	id := j.NodeID
	first, last := owed[0].First, owed[len(owed)-1].Last()
	outcome, reason := job.Missed, fmt.Sprintf("node %s is away and has told nothing of it", id)
	switch n := s.nodes[id]; {
	case paused:
		outcome, reason = job.Skipped, "the task was paused"
	case n == nil || n.node == nil:
		reason = fmt.Sprintf("node %s was removed and has told nothing of it", id)
	case n.presence == nil && !n.changed.IsZero():
		reason = fmt.Sprintf("node %s is away since %s and has told nothing of it", id, n.changed.UTC().Format(time.RFC3339))
	}
	rec := job.CreateExecutionRecord(j, job.CauseID("away "+job.FormatInstant(first)+" "+job.FormatInstant(last), j.Hash), now, now, outcome, reason)
	rec.Instant, rec.Until, rec.Count, rec.Trigger = first, last, job.CountInstants(owed), job.TriggerTimer
	rec.Owed = owed
	return &rec
}
