package engine_test

import (
	"maps"
	"slices"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

// master drives an engine as package master does.
type master struct {
	state  *engine.State
	behind [streams][]change // what its watches have not told yet
}

// online and offline get their time as they are told: a master notes when it sees a presence change.
type (
	online  struct{ *job.Presence }
	offline struct{ node job.NodeID }
)

// hear lets a master's watch tell the next n changes.
func (w *world) hear(m *master, s stream, n int) {
	n = min(n, len(m.behind[s]))
	for _, c := range m.behind[s][:n] {
		m.state.Apply(w.timed(c.event))
		if w.twice {
			m.state.Apply(w.timed(c.event))
		}
	}
	m.behind[s] = slices.Delete(m.behind[s], 0, n)
}

func (w *world) timed(e any) engine.Event {
	switch e := e.(type) {
	case online:
		return engine.NodeOnline{Presence: e.Presence, At: w.now}
	case offline:
		return engine.NodeOffline{Node: e.node, At: w.now}
	}
	return e.(engine.Event)
}

// coalesce lets a watch forget what later changes make up for, as one that had to list anew.
func (m *master) coalesce(s stream) {
	last := map[string]int{}
	for i, c := range m.behind[s] {
		last[c.key] = i
	}
	kept := m.behind[s][:0:0]
	for i, c := range m.behind[s] {
		if last[c.key] == i {
			kept = append(kept, c)
		}
	}
	m.behind[s] = kept
}

func (w *world) hearAll(m *master) {
	for s := range streams {
		w.hear(m, s, len(m.behind[s]))
	}
}

// lead makes the first master the leader: its view is whole, and it reads from history what lies above the floors.
func (w *world) lead() {
	w.note("another leader")
	m := w.masters[0]
	w.hearAll(m)
	m.state.Apply(engine.Began{At: w.now})
	for ref, floor := range m.state.Floors() {
		for _, rec := range w.history {
			if rec.Ref() == ref && (rec.Instant.After(floor) || rec.Until.After(floor)) {
				w.recorded(rec)
			}
		}
	}
	w.learnBackfills()
}

// learnBackfills reads from history what the backfills may not know of.
func (w *world) learnBackfills() {
	for _, b := range w.leader().Unfinished() {
		for _, rec := range w.history {
			if rec.Ref() == b.Ref() && rec.Trigger == job.TriggerBackfill {
				w.recorded(rec)
			}
		}
	}
}

// relist puts in the place of the leader a master that has just started.
func (w *world) relist() {
	m := &master{state: engine.New(engine.Options{Lease: lease})}
	w.masters[0] = m
	for _, c := range w.calendars {
		m.state.Apply(engine.CalendarPut{Entry: c})
	}
	for _, ref := range slices.Collect(maps.Keys(w.tasks)) {
		m.state.Apply(engine.TaskPut{Entry: w.tasks[ref]})
	}
	for _, n := range w.nodes {
		if w.unreadable[n.ID] {
			m.state.Apply(engine.NodeUnreadable{Node: n.ID})
		} else {
			m.state.Apply(engine.NodePut{Node: n})
		}
	}
	for _, p := range w.online {
		m.state.Apply(engine.NodeOnline{Presence: p, At: w.now})
	}
	for _, j := range w.jobs {
		m.state.Apply(engine.JobPut{Job: j.job, Revision: j.rev})
	}
	for _, d := range w.dispatches {
		m.state.Apply(engine.DispatchPut{Dispatch: d})
	}
	for _, b := range w.backfills {
		m.state.Apply(engine.BackfillPut{Backfill: b})
	}
	w.relistFlows(m)
	for _, r := range w.waiting {
		m.state.Apply(engine.WaitingPut{Waiting: r})
	}
	for _, f := range w.facts {
		m.state.Apply(engine.FactPut{Fact: f})
	}
	for k, v := range w.config {
		m.state.Apply(engine.ConfigPut{Group: k[0], Key: k[1], Value: v})
	}
	for _, of := range w.claims {
		for _, c := range of {
			m.state.Apply(engine.ClaimPut{Claim: c})
		}
	}
	for ref, at := range w.floors {
		m.state.Apply(engine.FloorPut{Task: ref, At: at})
	}
	w.lead()
}

func (w *world) leader() *engine.State { return w.masters[0].state }

// plan asks the leader for a plan and carries its first n actions out; the leader dies with the others.
func (w *world) plan(n int) (actions []engine.Action, refused int) {
	actions = w.leader().Plan(w.now)
	w.checks.planned(actions)
	for i, a := range actions {
		if i >= n {
			break
		}
		if a = w.bug.bend(w, a); a == nil {
			continue
		}
		done := w.do(a)
		refusal := ""
		if !done {
			refusal = ": refused"
		}
		w.act("%s%s", w.describe(a), refusal)
		if w.answer(a, done); !done {
			refused++
		}
	}
	return actions, refused
}

// answer tells the leader what became of what it did. Its watch may have told it before.
func (w *world) answer(a engine.Action, done bool) {
	if w.sooner != nil && w.sooner() {
		w.hearAll(w.masters[0])
	}
	if done {
		w.leader().Apply(engine.Done{Action: a})
	} else {
		w.leader().Apply(engine.Refused{Action: a})
	}
}

// drain takes what is in transit to history.
func (w *world) drain() {
	for _, id := range slices.Sorted(maps.Keys(w.transit)) {
		w.handle(w.transit[id])
		delete(w.transit, id)
	}
}

// handle brings a record into history and lets its effects happen once.
func (w *world) handle(rec *job.ExecutionRecord) {
	w.insert(rec)
	w.recorded(rec)
	now := w.history[rec.ID]
	if now.IsHandle {
		return
	}
	if now.Outcome == job.Success {
		w.done[factKey(now.Ref(), now.Node)] = true
	}
	actions, refused := w.leader().React(now, w.now)
	for _, a := range actions {
		w.act("%s", w.describe(a))
		w.do(a)
	}
	for _, why := range refused {
		w.act("refuse %s", why)
	}
	now.IsHandle = true
}

func (w *world) recorded(rec *job.ExecutionRecord) {
	w.stepEnded(rec)
	if rec.Trigger == job.TriggerBackfill {
		w.leader().Apply(engine.Backfilled{Task: rec.Ref(), Run: job.RunID(rec.ID), Node: rec.Node, Instant: rec.Instant, Outcome: rec.Outcome})
		return
	}
	if !rec.Instant.IsZero() && w.bug != forgetsHistory {
		w.leader().Apply(engine.Recorded{Task: rec.Ref(), Instant: rec.Instant, Until: rec.Until})
	}
}

// rest plans, carries out and listens until there is nothing more to do at this time, and tells whether that came.
func (w *world) rest(rounds int) bool {
	for range rounds {
		w.drain()
		w.hearAll(w.masters[0])
		w.learn()
		w.keepFlows()
		actions, refused := w.plan(1 << 30)
		if refused > 0 {
			w.checks.fail("%d of %d actions are refused to one who has heard everything", refused, len(actions))
		}
		if len(actions) == 0 && len(w.transit) == 0 {
			return true
		}
	}
	return false
}

// pass lets time pass in steps, with a plan after each.
func (w *world) pass(d, step time.Duration) bool {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(min(step, end.Sub(w.now)))
		if !w.rest(1000) {
			return false
		}
	}
	return true
}
