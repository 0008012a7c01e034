package engine_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

// checks look over the world's shoulder. They know from what people wrote which instants are due, and collect in
// wrong whatever breaks a promise.
type checks struct {
	w     *world
	lives map[job.TaskRef]*life
	runs  map[job.RunID]int
	wrong []string
}

// life is a task from its creation to its deletion.
type life struct {
	rules  []inForce
	starts map[int64]int
}

// inForce is a time in which one rule and one kind were in force.
type inForce struct {
	rule        *job.Rule
	claimed     bool
	from, until time.Time // from is exclusive; a zero until: still
	open        time.Time // instants up to it were not open for claims; zero: none is, yet
}

func (c *checks) begin(w *world) { c.w, c.lives = w, map[job.TaskRef]*life{} }

func (c *checks) fail(format string, args ...any) {
	c.wrong = append(c.wrong, c.w.now.Format(time.TimeOnly)+" "+fmt.Sprintf(format, args...))
}

func (c *checks) wrote(w *world, e *job.TaskEntry) {
	l := c.lives[e.Ref()]
	e, rule, err := w.people.Resolved(e)
	if err != nil {
		panic(err)
	}
	if l == nil {
		l = &life{starts: map[int64]int{}}
		c.lives[e.Ref()] = l
	}
	if n := len(l.rules); n > 0 {
		l.rules[n-1].until = e.Since
		if l.rules[n-1].from.Equal(e.Since) {
			l.rules = l.rules[:n-1]
		}
	}
	r := inForce{rule: rule, claimed: e.Task.Mode == job.Cycle && e.Task.Kind.Kind().Claimed(), from: e.Since}
	if _, ok := w.floors[e.Ref()]; ok && r.claimed {
		r.open = e.Since
	}
	l.rules = append(l.rules, r)
}

func (c *checks) deleted(_ *world, ref job.TaskRef) { delete(c.lives, ref) }

func (c *checks) opened(_ *world, ref job.TaskRef, at time.Time) {
	if l := c.lives[ref]; l != nil {
		for i := range l.rules {
			if r := &l.rules[i]; r.claimed && r.open.IsZero() {
				r.open = at
			}
		}
	}
}

func (c *checks) started(_ *world, claim *job.Claim) {
	if l := c.lives[claim.Task]; l != nil {
		if l.starts[claim.Instant.Unix()]++; l.starts[claim.Instant.Unix()] > 1 {
			c.fail("%s of %s was started twice", claim.Instant.Format(time.TimeOnly), claim.Task)
		}
	}
}

// due are the instants in (from, to] that a claimed task owes.
func (l *life) due(from, to time.Time) (list []time.Time) {
	for _, r := range l.rules {
		if !r.claimed || r.open.IsZero() {
			continue
		}
		i, end := later(from, later(r.from, r.open)), to
		if !r.until.IsZero() && r.until.Before(end) {
			end = r.until
		}
		for i = r.rule.Next(i); !i.IsZero() && !i.After(end); i = r.rule.Next(i) {
			list = append(list, i)
		}
	}
	return list
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// accounts are the records that account for an instant, of some.
func accounts(of map[string]*job.ExecutionRecord, ref job.TaskRef, i time.Time) (n int) {
	for _, rec := range of {
		if rec.Ref() == ref && rec.Trigger == job.TriggerTimer && !rec.Instant.IsZero() && rec.Covers(i) {
			n++
		}
	}
	return n
}

func (c *checks) settled(w *world, a engine.Settle) {
	if a.To.After(w.now) {
		c.fail("the floor of %s is set into the future", a.Task)
	}
	l := c.lives[a.Task]
	if l == nil {
		return
	}
	for _, i := range l.due(a.From, a.To) {
		if accounts(w.history, a.Task, i)+accounts(w.transit, a.Task, i) == 0 {
			c.fail("the floor of %s passes %s, of which there is no record", a.Task, i.Format(time.TimeOnly))
		}
	}
	for at := range w.claims[a.Task] {
		i := time.Unix(at, 0).UTC()
		if at <= a.To.Unix() && w.heard(a.Task, i) && accounts(w.history, a.Task, i)+accounts(w.transit, a.Task, i) == 0 {
			c.fail("the floor of %s removes the claim of %s, of which there is no record", a.Task, i.Format(time.TimeOnly))
		}
	}
}

// heard tells whether the leader's watch has told it of a claim. One that it has not heard of yet may be overtaken, by a
// rule that has just ended or the end of the task: its node, which lives, tells of it.
func (w *world) heard(ref job.TaskRef, i time.Time) bool {
	return !slices.ContainsFunc(w.masters[0].behind[claims], func(c change) bool {
		e, ok := c.event.(engine.ClaimPut)
		return ok && e.Claim.Task == ref && e.Claim.Instant.Equal(i)
	})
}

func (c *checks) dropped(w *world, ref job.TaskRef) {
	for at := range w.claims[ref] {
		if i := time.Unix(at, 0).UTC(); w.heard(ref, i) && accounts(w.history, ref, i) == 0 {
			c.fail("the claim of %s of %s is dropped without its record", i.Format(time.TimeOnly), ref)
		}
	}
}

// planned looks for actions of one plan that contradict each other.
func (c *checks) planned(actions []engine.Action) {
	seen := map[string]bool{}
	for _, a := range actions {
		key := ""
		switch a := a.(type) {
		case engine.PutJob:
			key = "job " + string(a.Job.NodeID) + "/" + a.Job.Hash
		case engine.DeleteJob:
			key = "job " + string(a.Node) + "/" + a.Hash
		case engine.FailDispatch:
			key = "dispatch " + string(a.Dispatch.Node) + "/" + string(a.Dispatch.Run)
		case engine.InitFloor:
			key = "account " + a.Task.String()
		case engine.Settle:
			key = "account " + a.Task.String()
		case engine.DropTask:
			key = "account " + a.Task.String()
		case engine.PutRecord:
			key = "account " + a.Record.TaskID
		}
		if key != "" && seen[key] {
			c.fail("one plan has two actions on %s", key)
		}
		seen[key] = true
	}
}

// placedAt is placed where the leader has heard everything.
func (c *checks) placedAt(m *master) {
	for s := range streams {
		if len(m.behind[s]) > 0 {
			return
		}
	}
	c.placed()
}

// placed looks at the jobs when everything is at rest.
func (c *checks) placed() {
	w := c.w
	perTask := map[job.TaskRef][]*job.Job{}
	for _, j := range w.jobs {
		ref, n := j.job.Ref(), w.nodes[j.job.NodeID]
		e := w.tasks[ref]
		if e == nil {
			c.fail("there is a job of the deleted task %s on %s", ref, j.job.NodeID)
			continue
		}
		if n == nil || !selects(&e.Task, n) {
			c.fail("there is a job of %s on %s, which does not match", ref, j.job.NodeID)
		}
		if j.job.Generation != e.Generation || j.job.Pause != e.Paused || j.job.RuleSince().Before(e.Since) {
			c.fail("the job of %s on %s is stale", ref, j.job.NodeID)
		}
		perTask[ref] = append(perTask[ref], j.job)
	}
	for ref, e := range w.tasks {
		var on []job.NodeID
		for _, j := range perTask[ref] {
			on = append(on, j.NodeID)
		}
		slices.Sort(on)
		for _, j := range perTask[ref] {
			if j.Kind.Claimed() && !slices.Equal(j.Candidates, on) {
				c.fail("the job of %s on %s has candidates %v, bound are %v", ref, j.NodeID, j.Candidates, on)
			}
		}
		var without []job.NodeID
		for id, n := range w.nodes {
			if !n.Cordoned && !w.unreadable[id] && selects(&e.Task, n) && !slices.Contains(on, id) {
				without = append(without, id)
			}
		}
		slices.Sort(without)
		switch limit := e.Task.MaxNodes; {
		case limit > 0 && len(on) > limit:
			c.fail("%s is on %v, which is more than %d", ref, on, limit)
		case len(without) > 0 && (limit == 0 || len(on) < limit):
			c.fail("there is no job of %s on %v", ref, without)
		}
	}
}

// selects tells whether a task may be on a node.
func selects(t *job.Task, n *job.Node) bool {
	where, err := job.ParseSelector(t.Where)
	return err == nil && t.Rule().Matches(n) && where.Matches(n) && job.NamesNode(t.Nodes, n.ID)
}

// replaced looks whether limited tasks are on nodes that can run them, when everybody is there. One that depends on another has no better
// place where that is not.
func (c *checks) replaced() {
	for _, j := range c.w.jobs {
		e, n := c.w.tasks[j.job.Ref()], c.w.nodes[j.job.NodeID]
		if e == nil || n == nil || e.Task.MaxNodes == 0 {
			continue
		}
		others := 0
		for id, o := range c.w.nodes {
			if _, there := c.w.jobs[string(id)+"/"+job.JobHash(j.job.Ref(), id)]; !there && c.w.online[id] != nil && !o.Cordoned && selects(&e.Task, o) && c.runsOn(e, id, c.isOn) {
				others++
			}
		}
		if others > 0 && (n.Cordoned || c.w.online[n.ID] == nil && e.Task.Kind.Kind().Claimed()) {
			c.fail("%s stays on %s, which can't run it, and others could", j.job.Ref(), n.ID)
		}
	}
}

// accounted looks at every instant up to a time: each is in history once.
func (c *checks) accounted(to time.Time) {
	for ref, l := range c.lives {
		for _, i := range l.due(time.Time{}, to) {
			if n := accounts(c.w.history, ref, i); n != 1 {
				c.fail("%s of %s has %d records", i.Format(time.DateTime), ref, n)
			}
		}
	}
}

// bug is a fault that is planted to show that the checks see it.
type bug string

const (
	settleIgnoresClaims  bug = "Settle does not look for claims"
	settleDropsTheRecord bug = "Settle raises the floor and loses its record"
	floorTooHigh         bug = "the floor rises over what is not recorded"
	claimsBelowTheFloor  bug = "claims do not look at the floor"
	forgetsHistory       bug = "the leader is not told what history has"
	forgetsLost          bug = "the lost are not recorded"
	forgetsJobs          bug = "a job's write is lost, and the engine is not told"
	forgetsDeletions     bug = "a job's deletion is lost, and the engine is not told"
	cutsCandidates       bug = "a job's candidates are cut short"
	forgetsEras          bug = "a task remembers the last of its rules alone"
	forgetsKinds         bug = "a task does not remember its kinds"
	forgetsRanges        bug = "a calendar does not remember what it said"
)

var bugs = []bug{
	settleIgnoresClaims, settleDropsTheRecord, floorTooHigh, claimsBelowTheFloor, forgetsHistory, forgetsLost, forgetsJobs,
	forgetsDeletions, cutsCandidates, forgetsEras, forgetsKinds, forgetsRanges,
	forgetsStarts, keepsWaiting, forgetsSuccess,
}

// bend changes an action as the bug would; nil: it is not carried out.
func (b bug) bend(w *world, a engine.Action) engine.Action {
	switch x := a.(type) {
	case engine.Settle:
		if b == floorTooHigh && x.Record == nil {
			x.To = x.To.Add(time.Minute)
			return x
		}
	case engine.PutRecord:
		if b == forgetsLost {
			return nil
		}
	case engine.PutJob:
		if b == forgetsJobs && x.Job.NodeID == "n2" {
			return nil
		}
		if b == cutsCandidates && len(x.Job.Candidates) > 1 && x.Job.NodeID == x.Job.Candidates[0] {
			x.Job = x.Job.Clone()
			x.Job.Candidates = x.Job.Candidates[1:]
			return x
		}
	case engine.DeleteJob:
		if b == forgetsDeletions {
			return nil
		}
	}
	return a
}
