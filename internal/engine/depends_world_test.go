package engine_test

import (
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

// What the store and the master do about dependencies.

func factKey(ref job.TaskRef, node job.NodeID) string { return ref.String() + "/" + string(node) }

// factsAre tells whether facts are still those that were read.
func (w *world) factsAre(list []*job.Fact) bool {
	for _, f := range list {
		rev := int64(0)
		if old := w.facts[factKey(f.Task, f.Node)]; old != nil {
			rev = old.Revision
		}
		if rev != f.Revision {
			return false
		}
	}
	return true
}

func (w *world) putFact(f *job.Fact) {
	c := *f
	c.Revision = w.next()
	w.facts[factKey(f.Task, f.Node)] = &c
	w.tell(facts, factKey(f.Task, f.Node), engine.FactPut{Fact: &c})
}

func (w *world) putWaiting(r *job.Waiting) {
	c := r.Clone()
	c.Revision = w.next()
	w.waiting[r.Run] = c
	w.tell(waitings, string(r.Run), engine.WaitingPut{Waiting: c})
}

func (w *world) endWaiting(r *job.Waiting) {
	delete(w.waiting, r.Run)
	w.tell(waitings, string(r.Run), engine.WaitingDeleted{Task: r.Ref(), Run: r.Run})
}

// starts creates dispatches with the facts that say so, or nothing.
func (w *world) starts(list []*job.Fact, dispatches ...*job.Dispatch) bool {
	for _, d := range dispatches {
		if w.dispatches[string(d.Node)+"/"+string(d.Run)] != nil {
			return false
		}
	}
	if !w.factsAre(list) {
		return false
	}
	for _, d := range dispatches {
		w.putDispatch(d)
		w.checks.dispatched(w, d)
	}
	if w.bug != forgetsStarts {
		for _, f := range list {
			w.putFact(f)
		}
	}
	return true
}

func (w *world) doDepends(a engine.Action) bool {
	stands := func(r *job.Waiting) bool { return w.waiting[r.Run] != nil && w.waiting[r.Run].Revision == r.Revision }
	switch a := a.(type) {
	case engine.Start:
		return w.starts(a.Facts, a.Dispatches...)
	case engine.Release:
		if !stands(a.Waiting) || !w.starts(a.Facts, a.Dispatch) {
			return false
		}
		if w.bug != keepsWaiting {
			w.endWaiting(a.Waiting)
		}
	case engine.AdvanceWaiting:
		if !stands(a.Waiting) || !w.starts(a.Facts, a.Dispatches...) {
			return false
		}
		w.putWaiting(a.Waiting)
	case engine.FailWaiting:
		if !stands(a.Waiting) {
			return false
		}
		w.endWaiting(a.Waiting)
		w.handOver(a.Record)
	case engine.CreateWaiting:
		if w.waiting[a.Waiting.Run] != nil {
			return false
		}
		w.putWaiting(a.Waiting)
	case engine.DropFacts:
		rev := int64(0)
		if e := w.tasks[a.Task]; e != nil {
			rev = e.Revision
		}
		if rev != a.Revision {
			return false
		}
		for key, f := range w.facts {
			if f.Task == a.Task {
				delete(w.facts, key)
				w.tell(facts, key, engine.FactDeleted{Task: f.Task, Node: f.Node})
			}
		}
	case engine.Ended:
		for _, node := range []job.NodeID{a.Node, ""} {
			f := &job.Fact{Task: a.Task, Node: node}
			if old := w.facts[factKey(a.Task, node)]; old != nil {
				c := *old
				f = &c
			} else if node == "" {
				continue
			}
			if a.Change(f) && w.bug != forgetsSuccess {
				w.putFact(f)
			}
		}
	}
	return true
}

// learn looks history through as a master does.
func (w *world) learn() {
	for _, ref := range w.leader().Unlearned() {
		e := w.tasks[ref]
		if e == nil {
			continue
		}
		claimed := e.Task.Kind.Kind().Claimed()
		marker := &job.Fact{Task: ref}
		if old := w.facts[factKey(ref, "")]; old != nil {
			continue // the watch is behind
		}
		for _, id := range []job.NodeID{"n1", "n2", "n3"} {
			f := &job.Fact{Task: ref, Node: id}
			if old := w.facts[factKey(ref, id)]; old != nil {
				c := *old
				f = &c
			}
			found := false
			for _, rec := range w.history {
				if rec.Ref() == ref && rec.Node == id && rec.Outcome == job.Success {
					f.Succeed(rec.EndTime)
					found = true
					if claimed {
						marker.Succeed(rec.EndTime)
					}
				}
			}
			if found {
				w.putFact(f)
			}
		}
		w.putFact(marker)
	}
	w.hear(w.masters[0], facts, 1<<30)
}

// Bugs of dependencies.
const (
	forgetsStarts  bug = "what was started by itself is not noted"
	keepsWaiting   bug = "a waiting run stays when it is dispatched"
	forgetsSuccess bug = "a success is not remembered"
)

// dispatched looks at what was started: once, and not before what it depends on.
func (c *checks) dispatched(w *world, d *job.Dispatch) {
	if c.runs == nil {
		c.runs = map[job.RunID]int{}
	}
	if c.runs[d.Run]++; c.runs[d.Run] > 1 {
		c.fail("run %s of %s was dispatched %d times", w.runName(string(d.Run)), d.Job.Ref(), c.runs[d.Run])
	}
	e := w.tasks[d.Job.Ref()]
	if e == nil || e.Generation != d.Job.Generation {
		return // the watch is behind
	}
	for _, dep := range e.Task.Depends {
		if !c.succeeded(w, dep.Ref("default"), d.Node, dep.Strategy) {
			c.fail("%s was started on %s without %s", d.Job.Ref(), d.Node, dep.Text("default"))
		}
	}
	if e.Task.Mode == job.OnlyOnce && d.Trigger == job.TriggerDispatch && w.done[factKey(e.Ref(), d.Node)] {
		c.fail("%s has succeeded on %s, and starts there again", e.Ref(), d.Node)
	}
}

func (c *checks) succeeded(w *world, ref job.TaskRef, node job.NodeID, s job.DependStrategy) bool {
	return c.succeededSince(ref, node, s, time.Time{})
}

func (c *checks) succeededSince(ref job.TaskRef, node job.NodeID, s job.DependStrategy, since time.Time) bool {
	for _, rec := range c.w.history {
		if rec.Ref() == ref && rec.Outcome == job.Success && !rec.EndTime.Before(since) && (s != job.SameNode || rec.Node == node) {
			return true
		}
	}
	return false
}

// begun looks, when everything is at rest and everybody is there, whether what could start did. While another run of the task is asked for or alive on a
// node, perhaps from before it was one that runs once, another is not due there.
func (c *checks) begun() {
	w := c.w
	for ref, e := range w.tasks {
		t := &e.Task
		if t.Mode != job.OnlyOnce || t.Passive || e.Paused || t.Kind.Kind().Claimed() || len(t.Depends) > 0 {
			continue
		}
		for _, j := range w.jobs {
			if j.job.Ref() != ref || w.online[j.job.NodeID] == nil || w.done[factKey(ref, j.job.NodeID)] {
				continue
			}
			alive := false
			for _, d := range w.dispatches {
				alive = alive || d.Node == j.job.NodeID && d.Job.Ref() == ref && d.Cause != "mode onlyonce"
			}
			if alive {
				continue
			}
			if f := w.facts[factKey(ref, j.job.NodeID)]; f == nil || f.Asked == "" && f.Success.IsZero() && f.Run == "" {
				c.fail("%s did not start on %s", ref, j.job.NodeID)
			}
		}
	}
	for _, j := range w.jobs {
		e := w.tasks[j.job.Ref()]
		if e == nil || e.Task.Mode != job.Cycle || len(e.Task.Depends) != 1 || e.Task.Depends[0].Within > 0 {
			continue
		}
		d := e.Task.Depends[0]
		x := w.tasks[d.Ref("default")]
		met := x != nil && c.succeededSince(x.Ref(), j.job.NodeID, d.Strategy, x.CreatedAt)
		if met != (len(j.job.Waits) == 0) {
			c.fail("the job of %s on %s waits for %q; that it has is %t", j.job.Ref(), j.job.NodeID, j.job.Waits, met)
		}
	}
	for _, r := range w.waiting {
		e := w.tasks[r.Ref()]
		if e == nil {
			c.fail("run %s waits for a task that is gone", w.runName(string(r.Run)))
			continue
		}
		met := r.Node != ""
		for _, d := range e.Task.Depends {
			x := w.tasks[d.Ref("default")]
			met = met && x != nil && d.Within == 0 && c.succeededSince(d.Ref("default"), r.Node, d.Strategy, x.CreatedAt)
		}
		if _, bound := w.jobs[string(r.Node)+"/"+job.JobHash(r.Ref(), r.Node)]; met && bound && w.online[r.Node] != nil && (e.Task.Mode != job.OnlyOnce || r.Force) {
			c.fail("run %s of %s waits on %s for nothing", w.runName(string(r.Run)), r.Ref(), r.Node)
		}
	}
}
