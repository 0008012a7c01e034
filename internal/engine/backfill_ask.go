package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// Which runs of a backfill are asked for next, and where.

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

// rescue finds another node for a backfilled run, or that of a step, whose node went away before it started, where the engine chose it.
func (s *State) rescue(d *job.Dispatch, now time.Time) *job.Dispatch {
	if d.Execution != "" {
		return s.rescueStep(d, now)
	}
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
