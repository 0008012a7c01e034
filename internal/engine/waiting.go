package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// Runs that were asked for and wait for what their task depends on. A waiting run is a document that is written once; it
// is looked at when something that it waits for has happened, and costs nothing in between.

// The events and the actions of waiting runs.
type (
	WaitingPut     struct{ Waiting *job.Waiting }
	WaitingDeleted struct {
		Task job.TaskRef
		Run  job.RunID
	}
	// Release makes a dispatch of a waiting run, in one transaction; Facts are as for Start.
	Release struct {
		Waiting  *job.Waiting
		Facts    []*job.Fact
		Dispatch *job.Dispatch
	}
	// AdvanceWaiting starts a passive task for a waiting run and notes it there, in one transaction.
	AdvanceWaiting struct {
		Waiting    *job.Waiting
		Facts      []*job.Fact
		Dispatches []*job.Dispatch
	}
	// FailWaiting makes a record of a waiting run that will not run, in one transaction.
	FailWaiting struct {
		Waiting *job.Waiting
		Record  *job.ExecutionRecord
	}
	// CreateWaiting keeps a run that was asked for until it can be dispatched.
	CreateWaiting struct{ Waiting *job.Waiting }
)

func (Release) isAction()        {}
func (AdvanceWaiting) isAction() {}
func (FailWaiting) isAction()    {}
func (CreateWaiting) isAction()  {}

// WaitWithin is how long a run that was asked for may wait for what its task depends on.
const WaitWithin = 24 * time.Hour

func (e WaitingPut) apply(s *State) {
	t := s.task(e.Waiting.Ref())
	if old := t.requests[e.Waiting.Run]; old != nil && old.Revision >= e.Waiting.Revision {
		return
	}
	if t.requests == nil {
		t.requests = map[job.RunID]*job.Waiting{}
	}
	t.requests[e.Waiting.Run] = e.Waiting
	s.queued[t] = struct{}{}
	s.givesUp = time.Time{}
	s.stir(t)
}

// isAsKnown tells whether a request waits in the version that an action was planned on.
func (s *State) isAsKnown(w *job.Waiting) bool {
	t := s.tasks[w.Ref()]
	return t != nil && t.requests[w.Run] != nil && t.requests[w.Run].Revision == w.Revision
}

// waitsNoMore forgets a request that an action has ended.
func (s *State) waitsNoMore(w *job.Waiting) {
	if s.isAsKnown(w) {
		WaitingDeleted{Task: w.Ref(), Run: w.Run}.apply(s)
	}
}

func (e WaitingDeleted) apply(s *State) {
	t := s.tasks[e.Task]
	if t == nil || t.requests[e.Run] == nil {
		return
	}
	if delete(t.requests, e.Run); len(t.requests) == 0 {
		delete(s.queued, t)
	}
	s.forget(t)
}

// Asked is what came of a request.
type Asked struct {
	Dispatches []*job.Dispatch
	Waiting    []*job.Waiting // those that wait for what the task depends on
	NotRun     []NotRun
}

// Ask is [State.Dispatch] of a request whose runs may wait for what the task depends on.
func (s *State) Ask(r Request, now time.Time) (Asked, error) {
	list, not, err := s.Dispatch(r, now)
	a := Asked{Dispatches: list}
	t := s.tasks[r.Task]
	if t == nil || t.entry == nil || t.chooses(r) && err == nil {
		a.NotRun = not
		return a, err
	}
	for _, n := range not {
		if !n.Waits {
			a.NotRun = append(a.NotRun, n)
			continue
		}
		w := &job.Waiting{
			Run: job.CauseID(r.Key, job.JobHash(t.ref, n.Node)), Group: t.ref.Group, Name: t.ref.Name, Node: n.Node, Trigger: r.Trigger,
			Key: r.Key, Params: r.Params, Cause: r.Cause, Attempt: r.Attempt, Force: r.Force, RequestedAt: now.UTC(), NotAfter: now.UTC().Add(WaitWithin),
			Listed: r.Listed, Parallel: r.Parallel,
		}
		if t.chooses(r) {
			if w.Run, w.Node = t.runOf(r), ""; len(a.Waiting) > 0 {
				continue
			}
		}
		a.Waiting = append(a.Waiting, w)
	}
	if len(a.Waiting) > 0 {
		err = nil
	}
	return a, err
}

// Effects are the actions that carry a request out that follows from a record.
func (a Asked) effects(s *State, r Request) (actions []Action) {
	t := s.tasks[r.Task]
	for _, d := range a.Dispatches {
		if facts := t.marks(r, []*job.Dispatch{d}); facts != nil {
			actions = append(actions, Start{Task: t.ref, Facts: facts, Dispatches: []*job.Dispatch{d}})
		} else {
			actions = append(actions, CreateDispatch{Dispatch: d})
		}
	}
	for _, w := range a.Waiting {
		actions = append(actions, CreateWaiting{Waiting: w})
	}
	return actions
}

// requests looks at the waiting runs of a task.
func (p *starting) requests(t *task) {
	if len(t.requests) == 0 || t.unreadable {
		return
	}
	list := make([]*job.Waiting, 0, len(t.requests))
	for _, w := range t.requests {
		list = append(list, w)
	}
	slices.SortFunc(list, byRun)
	for _, w := range list {
		p.request(t, w)
	}
}

func (p *starting) request(t *task, w *job.Waiting) {
	s := p.s
	if why := s.hopelessWait(t, w, p.now); why != "" {
		p.actions = append(p.actions, FailWaiting{Waiting: w, Record: waitingRecord(w, p.now, job.Missed, why)})
		return
	}
	if t.entry == nil || t.rule == nil {
		return
	}
	r := Request{
		Task: t.ref, Params: w.Params, Key: w.Key, Trigger: w.Trigger, Cause: w.Cause, Attempt: w.Attempt, Force: w.Force, wait: waits(w.Trigger),
		Listed: w.Listed, Parallel: w.Parallel,
	}
	if w.Node != "" {
		r.Nodes = []job.NodeID{w.Node}
	}
	list, not, err := s.Dispatch(r, p.now)
	if err == nil {
		d := list[0]
		d.Instant, d.RequestedAt = w.Instant, w.RequestedAt
		if facts := t.marks(r, list); p.take(facts...) {
			p.actions = append(p.actions, Release{Waiting: w, Facts: facts, Dispatch: d})
		} else {
			s.stir(t)
		}
		return
	}
	waits := false
	for _, n := range not { // what is lacking may be where only some of its nodes are
		if waits = waits || n.Waits; n.Waits && p.trigger(t, w, n.Node) {
			return
		}
	}
	if waits {
		return
	}
	if len(not) == 1 && w.Node != "" && !w.Force && t.entry.Task.Mode == job.OnlyOnce && t.facts[t.scope(w.Node)] != nil && !t.facts[t.scope(w.Node)].Success.IsZero() {
		p.actions = append(p.actions, FailWaiting{Waiting: w, Record: waitingRecord(w, p.now, job.Skipped, not[0].Reason)})
	}
}

// trigger starts the passive tasks that a waiting run lacks on a node, each once, and tells whether any is on its way there.
func (p *starting) trigger(t *task, w *job.Waiting, id job.NodeID) (found bool) {
	for _, n := range p.lacking(t, id, map[*task]bool{}) {
		x := n.task
		if p.s.busy(x, n) {
			found = true
			continue
		}
		if slices.Contains(w.Triggered, x.ref.String()) {
			continue
		}
		r := Request{
			Task: x.ref, Nodes: []job.NodeID{n.node}, Key: fmt.Sprintf("depend/%s/%s", w.Run, x.ref), Trigger: job.TriggerDepend,
			Cause: fmt.Sprintf("run %s of %s, which waits for it", w.Run, t.ref),
		}
		list, _, err := p.s.Dispatch(r, p.now)
		if err != nil {
			continue
		}
		p.s.stir(t) // for what else it lacks
		facts := x.marks(r, list)
		if !p.take(facts...) {
			continue
		}
		next := w.Clone()
		next.Triggered = append(next.Triggered, x.ref.String())
		p.actions = append(p.actions, AdvanceWaiting{Waiting: next, Facts: facts, Dispatches: list})
		return true
	}
	return found
}

// hopelessWait says why a waiting run will never run, or "".
func (s *State) hopelessWait(t *task, w *job.Waiting, now time.Time) string {
	switch {
	case now.After(w.NotAfter):
		why := "it did not start by " + w.NotAfter.Format(time.RFC3339)
		if t.entry == nil {
			return why
		}
		if unmet := s.unmetThere(t, w.Node, now); len(unmet) > 0 {
			why += ": it " + waitsFor(unmet)
		}
		return why
	case t.written == nil && !t.unreadable && now.Sub(latest(w.RequestedAt, s.began)) > s.lease: // else its watch may be behind
		return "the task was deleted while it waited"
	}
	return ""
}

// giveUps has the runs looked at that have waited for too long.
func (s *State) giveUps(now time.Time) {
	if len(s.queued) == 0 || now.Before(s.givesUp) {
		return
	}
	s.givesUp = now.Add(time.Hour)
	for t := range s.queued {
		for _, w := range t.requests {
			at := w.NotAfter.Add(1)
			if t.written == nil && !t.unreadable {
				at = latest(w.RequestedAt, s.began).Add(s.lease + 1)
			}
			if !at.After(now) {
				s.stir(t)
				at = now.Add(s.poll())
			}
			if at.Before(s.givesUp) {
				s.givesUp = at
			}
		}
	}
}

// WaitsFor says what a waiting run waits for.
func (s *State) WaitsFor(w *job.Waiting, now time.Time) []string {
	t := s.tasks[w.Ref()]
	if t == nil || t.entry == nil {
		return []string{w.Ref().String() + ", which is gone"}
	}
	on := w.Node
	if on == "" {
		for _, id := range sortedJobs(t) { // where it can come to run, if that is anywhere
			if on == "" {
				on = id
			}
			if len(s.stranded(t, id, now)) == 0 {
				on = id
				break
			}
		}
	}
	if unmet := s.unmetThere(t, on, now); len(unmet) > 0 {
		return unmet
	}
	_, not, err := s.Dispatch(Request{Task: t.ref, Nodes: []job.NodeID{on}, Key: w.Key, Force: w.Force}, now)
	if err != nil && len(not) > 0 {
		return []string{string(not[0].Node) + ": " + not[0].Reason}
	}
	return nil
}

// WaitingRecord is the record of a run that waited and will not run.
func WaitingRecord(w *job.Waiting, now time.Time, outcome job.Outcome, reason string) *job.ExecutionRecord {
	return waitingRecord(w, now, outcome, reason)
}

func waitingRecord(w *job.Waiting, now time.Time, outcome job.Outcome, reason string) *job.ExecutionRecord {
	rec := &job.ExecutionRecord{
		ID: string(w.Run), TaskID: w.Ref().String(), Group: w.Ref().Group, Name: w.Name, Node: w.Node, Instant: w.Instant, Trigger: w.Trigger,
		Cause: w.Cause, Outcome: outcome, Reason: reason, BeginTime: now.UTC(), EndTime: now.UTC(), Params: w.Params,
	}
	if w.Node != "" {
		rec.JobID = job.JobHash(w.Ref(), w.Node)
	}
	return rec
}
