package engine

import (
	"cmp"
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
