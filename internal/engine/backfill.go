package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// Backfills. How far one came stands in its document, which is written in one transaction with each dispatch that it
// counts as asked for. So whoever leads knows what was asked for, also of what is neither a dispatch nor in history
// because its record is on the way: the run of an instant that is asked for and not settled holds one of the places.

type backfill struct {
	spec     *job.Backfill // as it was last read; it is never changed
	instants []time.Time
	news     map[place]job.Outcome // what history has and the document does not say yet
	writing  bool                  // the answer to our last write has come, but the watch has not told of it yet
}

// place is a run of a backfill: the number of its lane, and of its instant.
type place struct{ lane, at int }

// The events of backfills.
type (
	BackfillPut     struct{ Backfill *job.Backfill }
	BackfillDeleted struct{ ID string }
	// Backfilled tells that history has the record of a run that a backfill asked for.
	Backfilled struct {
		Task    job.TaskRef
		Run     job.RunID
		Node    job.NodeID
		Instant time.Time
		Outcome job.Outcome
	}
)

// The actions of backfills.
type (
	// AdvanceBackfill writes a backfill in the place of the version of its Revision, and creates the dispatches that it
	// counts as asked for, in one transaction.
	AdvanceBackfill struct {
		Backfill   *job.Backfill
		Dispatches []*job.Dispatch
	}
	// DropBackfill removes a backfill that finished long ago.
	DropBackfill struct{ Backfill *job.Backfill }
	// MoveDispatch gives a dispatch that has not started to another node.
	MoveDispatch struct{ Dispatch, To *job.Dispatch }
)

func (AdvanceBackfill) isAction() {}
func (DropBackfill) isAction()    {}
func (MoveDispatch) isAction()    {}

func (e BackfillPut) apply(s *State) {
	b := s.backfills[e.Backfill.ID]
	switch {
	case b == nil:
		b = &backfill{}
		s.backfills[e.Backfill.ID] = b
	case b.spec.Revision >= e.Backfill.Revision:
		return
	}
	if b.spec == nil || !b.spec.CreatedAt.Equal(e.Backfill.CreatedAt) {
		b.instants, b.news = e.Backfill.Instants(), map[place]job.Outcome{}
	}
	b.spec, b.writing = e.Backfill, false
	for p := range b.news {
		if b.settled(p) {
			delete(b.news, p)
		}
	}
}

func (b *backfill) settled(p place) bool {
	return p.lane >= len(b.spec.Lanes) || b.spec.Lanes[p.lane].Settled.Has(p.at)
}

func (e BackfillDeleted) apply(s *State) { delete(s.backfills, e.ID) }

func (e Backfilled) apply(s *State) {
	for _, b := range s.backfills {
		if b.spec.Ref() != e.Task {
			continue
		}
		at, found := slices.BinarySearchFunc(b.instants, e.Instant, time.Time.Compare)
		if !found {
			continue
		}
		for i, l := range b.spec.Lanes {
			p := place{i, at}
			if (l.Node == "" || l.Node == e.Node) && !b.settled(p) && b.spec.Run(l.Node, e.Instant) == e.Run {
				b.news[p] = e.Outcome
			}
		}
	}
}

// Unfinished lists the backfills of which there may be more in history than they say, which must be read once when a
// master begins to lead.
func (s *State) Unfinished() []*job.Backfill {
	var list []*job.Backfill
	for _, b := range s.backfills {
		if !b.spec.Finished() {
			list = append(list, b.spec)
		}
	}
	return list
}

// advanced notes that the watch will tell of a write.
func (s *State) advanced(spec *job.Backfill) {
	if b := s.backfills[spec.ID]; b != nil && b.spec.Revision == spec.Revision {
		b.writing = true
	}
}

const (
	// BackfillWithin is how long a backfilled run may wait for its start: it does not hurry.
	BackfillWithin = 24 * time.Hour
	// KeepBackfill is how long a finished backfill is kept for people to see.
	KeepBackfill = 7 * 24 * time.Hour

	maxAdvance      = 32 // runs that one action asks for
	maxAdvanceBytes = 256 << 10
)

// advanceBackfills works on every backfill.
func (s *State) advanceBackfills(now time.Time) []Action {
	var actions []Action
	for _, b := range s.backfills {
		if b.writing {
			continue
		}
		if a := s.advance(b, now); a != nil {
			actions = append(actions, a)
		}
	}
	slices.SortFunc(actions, func(a, b Action) int { return cmp.Compare(backfillOf(a), backfillOf(b)) })
	return actions
}

func backfillOf(a Action) string {
	switch a := a.(type) {
	case AdvanceBackfill:
		return a.Backfill.ID
	case DropBackfill:
		return a.Backfill.ID
	}
	return ""
}

// advance is the next step of a backfill, or nil.
func (s *State) advance(b *backfill, now time.Time) Action {
	if b.spec.Finished() {
		if now.Sub(b.spec.FinishedAt) >= KeepBackfill {
			return DropBackfill{Backfill: b.spec}
		}
		return nil
	}
	next := b.spec.Clone()
	for p, outcome := range b.news {
		next.Lanes[p.lane].Settled.Add(p.at)
		if next.Outcomes == nil {
			next.Outcomes = map[job.Outcome]int{}
		}
		next.Outcomes[outcome]++
	}
	if why := s.hopeless(b, now); why != "" && !next.Cancelled() {
		next.CancelledAt, next.CancelledBy = now.UTC(), why
	}
	dispatches, _ := s.ask(b, next, now)
	left, running := 0, 0
	for i := range next.Lanes {
		l := &next.Lanes[i]
		left, running = left+next.Count-l.Next, running+l.Running()
	}
	if running == 0 && (left == 0 || next.Cancelled()) {
		next.FinishedAt = now.UTC()
	}
	if len(b.news) == 0 && len(dispatches) == 0 && next.Finished() == b.spec.Finished() && next.Cancelled() == b.spec.Cancelled() {
		return nil
	}
	return AdvanceBackfill{Backfill: next, Dispatches: dispatches}
}

// hopeless says why nothing more of a backfill can run, ever.
func (s *State) hopeless(b *backfill, now time.Time) string {
	t := s.tasks[b.spec.Ref()]
	switch {
	case t != nil && t.unreadable:
		return ""
	case len(b.instants) != b.spec.Count:
		return "another version of the program, which reads the timer otherwise"
	case (t == nil || t.entry == nil) && now.Sub(latest(b.spec.CreatedAt, s.began)) > s.lease: // else its watch may be behind
		return "the deletion of the task"
	case t != nil && t.entry != nil && len(b.spec.Lanes) > 0 && b.spec.Lanes[0].Node == "" && !t.entry.Task.Kind.Kind().Claimed():
		return "the change of the task's kind"
	}
	return ""
}

// ask makes the dispatches for which there are places, and counts them in next as asked for. Where there are places and
// nothing is asked for, waits says what for.
func (s *State) ask(b *backfill, next *job.Backfill, now time.Time) (dispatches []*job.Dispatch, waits string) {
	if next.Cancelled() {
		return nil, ""
	}
	places, bytes := next.Parallel, 0
	for i := range next.Lanes {
		places -= next.Lanes[i].Running()
	}
	if places <= 0 {
		return nil, ""
	}
	for order := inOrder(next); len(order) > 0 && places > 0 && len(dispatches) < maxAdvance && bytes < maxAdvanceBytes; {
		l := order[0]
		order = order[1:]
		lane := &next.Lanes[l]
		d, why := s.backfillRun(b.spec, lane.Node, b.instants[lane.Next], now)
		if d == nil {
			waits = why
			continue
		}
		dispatches, places, bytes = append(dispatches, d), places-1, bytes+len(d.Job.String())
		lane.Next++
		if passOver(lane, next.Count) {
			at, _ := slices.BinarySearchFunc(order, l, compareLanes(next))
			order = slices.Insert(order, at, l)
		}
	}
	if len(dispatches) > 0 {
		waits = ""
	}
	return dispatches, waits
}

// inOrder lists the lanes on which something is still to be asked for, that with the earliest instant first.
func inOrder(b *job.Backfill) []int {
	var order []int
	for i := range b.Lanes {
		if passOver(&b.Lanes[i], b.Count) {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, compareLanes(b))
	return order
}

// compareLanes orders the lanes of a backfill by their next instants.
func compareLanes(b *job.Backfill) func(i, j int) int {
	return func(i, j int) int { return cmp.Or(cmp.Compare(b.Lanes[i].Next, b.Lanes[j].Next), cmp.Compare(i, j)) }
}

// passOver passes over what needs no run, and tells whether there is more.
func passOver(l *job.Lane, count int) bool {
	for l.Next < count && l.Settled.Has(l.Next) {
		l.Next++
	}
	return l.Next < count
}

// backfillRun makes the dispatch for an instant on a node, or on one of the engine's choice; or says why that can't be now.
func (s *State) backfillRun(b *job.Backfill, node job.NodeID, instant, now time.Time) (*job.Dispatch, string) {
	if n := s.nodes[node]; node != "" && n != nil && n.presence == nil { // said without much ado: there may be many
		return nil, string(node) + ": it is offline"
	}
	r := Request{
		Task: b.Ref(), Params: b.Params, Key: b.RunKey(instant), Trigger: job.TriggerBackfill, Cause: "backfill " + b.ID, Force: true,
	}
	if b.By != "" {
		r.Cause += " by " + b.By
	}
	if node != "" {
		r.Nodes = []job.NodeID{node}
		if n := s.nodes[node]; len(b.Nodes) == 0 && n != nil && n.node != nil && n.node.Cordoned {
			return nil, fmt.Sprintf("%s: it is cordoned", node)
		}
	}
	list, not, err := s.Dispatch(r, now)
	switch {
	case err != nil && len(not) > 0:
		return nil, fmt.Sprintf("%s: %s", not[0].Node, not[0].Reason)
	case err != nil:
		return nil, err.Error()
	}
	d := list[0]
	d.Instant, d.Backfill, d.NotAfter = instant, b.ID, now.UTC().Add(BackfillWithin)
	return d, ""
}

// cancelled tells whether a backfill was cancelled.
func (s *State) cancelled(id string) bool {
	b := s.backfills[id]
	return b != nil && b.spec.Cancelled()
}

// BackfillWaits says what a backfill waits for that has places for runs and asks for none, or "".
func (s *State) BackfillWaits(id string, now time.Time) string {
	b := s.backfills[id]
	if b == nil || b.writing || b.spec.Finished() || len(b.instants) != b.spec.Count {
		return ""
	}
	_, waits := s.ask(b, b.spec.Clone(), now)
	return waits
}

// rescue finds another node for a backfilled run whose node went away before it started, where the engine chose it.
func (s *State) rescue(d *job.Dispatch, now time.Time) *job.Dispatch {
	b := s.backfills[d.Backfill]
	if b == nil || d.Backfill == "" || d.Started != nil || len(b.spec.Lanes) != 1 || b.spec.Lanes[0].Node != "" || b.spec.Cancelled() || !s.gone(d.Node, now) {
		return nil
	}
	t := s.tasks[b.spec.Ref()]
	if t == nil || t.entry == nil || !t.entry.Task.Kind.Kind().Claimed() {
		return nil
	}
	to, _, err := s.Dispatch(Request{
		Task: t.ref, Params: d.Params, Key: b.spec.RunKey(d.Instant), Trigger: d.Trigger, Cause: d.Cause, Force: true, anew: true,
	}, now)
	if err != nil || to[0].Node == d.Node {
		return nil
	}
	to[0].Instant, to[0].Backfill, to[0].NotAfter = d.Instant, d.Backfill, d.NotAfter
	return to[0]
}
