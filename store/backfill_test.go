package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// A backfill advances together with the dispatches that it counts, or not at all; a dispatch moves as long as nobody
// has started it.
func TestBackfillOps(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		rule := &job.Rule{Mode: job.Cycle, Timer: "@hourly"}
		b := &job.Backfill{
			ID: "bf-1", Group: "g", Name: "a", From: day, To: day.Add(3 * time.Hour), Parallel: 2, Key: "k", CreatedAt: day, Rule: rule, Count: 3,
			Lanes: []job.Lane{{}},
		}
		must(s.Backfills().Put(ctx, b))
		read := func() *job.Backfill {
			t.Helper()
			return must(s.Backfills().Get(ctx, "g", "a", "bf-1"))
		}
		do := func(op Op) bool {
			t.Helper()
			done, err := s.Do(ctx, op)
			if err != nil {
				t.Fatal(err)
			}
			return done[0]
		}
		dispatch := func(i int, node job.NodeID) *job.Dispatch {
			j := &job.Job{NodeID: node, Group: "g", Name: "a", Command: "true"}
			return &job.Dispatch{Run: job.RunID(fmt.Sprint("r", i)), Node: node, Job: j, Trigger: job.TriggerBackfill, Instant: day, Backfill: "bf-1"}
		}
		asked := func() int64 { return must(s.Dispatches().Count(ctx, "n1")) }

		stale := read()
		next := read()
		next.Lanes[0].Next = 2
		if !do(AdvanceBackfill(next, []*job.Dispatch{dispatch(0, "n1"), dispatch(1, "n1")})) || asked() != 2 || read().Lanes[0].Next != 2 {
			t.Errorf("it has not advanced: %+v", read())
		}
		stale.Lanes[0].Next = 1
		if do(AdvanceBackfill(stale, []*job.Dispatch{dispatch(2, "n1")})) || asked() != 2 {
			t.Error("it advanced from where it does not stand any more")
		}
		next = read()
		next.Lanes[0].Next = 3
		if do(AdvanceBackfill(next, []*job.Dispatch{dispatch(1, "n1")})) || read().Lanes[0].Next != 2 {
			t.Error("a run was asked for twice")
		}

		one, two := must(s.Dispatches().Get(ctx, "n1", "r0")), must(s.Dispatches().Get(ctx, "n1", "r1"))
		if !do(MoveDispatch(one, dispatch(0, "n2"))) || asked() != 1 || must(s.Dispatches().Count(ctx, "n2")) != 1 {
			t.Error("it has not moved")
		}
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		started := *two
		must(ss.StartDispatch(ctx, &started))
		if do(MoveDispatch(two, dispatch(1, "n2"))) || asked() != 1 {
			t.Error("a run that has started was moved")
		}

		if do(DeleteBackfill(stale)) || !do(DeleteBackfill(read())) || !do(DeleteBackfill(stale)) {
			t.Error("deleted")
		}
	})
}
