package job

import (
	"fmt"
	"testing"
)

// Every reason that is written into a record has its code.
func TestReasonCodes(t *testing.T) {
	t.Parallel()
	covered := map[ReasonCode]bool{}
	for _, c := range []struct {
		outcome Outcome
		reason  string
		want    ReasonCode
	}{
		{Success, "", ""},
		{Failed, "exit 1", ""},
		{Lost, "node n1 claimed it and went away", ReasonNodeLost},
		{Lost, "node n1 went away while it ran", ReasonNodeLost},
		{Lost, "the agent ended before it could tell how the run went", ReasonAgentLost},
		{Missed, "node n1 is away since 2026-03-01T00:00:00Z and has told nothing of it", ReasonAway},
		{Missed, "node n1 was removed and has told nothing of it", ReasonAway},
		{Missed, "the node was away, or its clock jumped over it", ReasonAway},
		{Missed, "no node of the task was online", ReasonDown},
		{Missed, "node n1 went away before it started", ReasonDown},
		{Missed, "no node is bound to the task", ReasonUnbound},
		{Missed, "no node claimed it in time", ReasonUnclaimed},
		{Missed, "the coordinator could not be reached for the task's lock: no answer", ReasonCoordinator},
		{Missed, "the coordinator did not answer in time whether it was this node's to run", ReasonCoordinator},
		{Missed, "it was past its deadline when the node came to it", ReasonLate},
		{Missed, "it could not start by 2026-03-01T00:00:00Z", ReasonLate},
		{Missed, "it did not start by 2026-03-01T00:00:00Z", ReasonLate},
		{Missed, "its turn did not come by 2026-03-01T00:00:00Z", ReasonLate},
		{Missed, "the agent stopped before its turn came", ReasonStopped},
		{Skipped, "the task was paused", ReasonPaused},
		{Skipped, "the task was paused before its turn came", ReasonPaused},
		{Skipped, "waits for default/mount on this node", ReasonWaits},
		{Skipped, "run r1 was still alive", ReasonOverlap},
		{Skipped, "run r1 on node n2, which is due later, replaced it before it started", ReasonOverlap},
		{Skipped, "it waited for run r1 on node n2 until its time was over", ReasonOverlap},
		{Skipped, "100 runs were waiting already", ReasonOverlap},
		{Skipped, "replaced by a later run before it started", ReasonOverlap},
		{Skipped, "the task was deleted, or moved, before its turn came", ReasonDeleted},
		{Skipped, "the node is being drained", ReasonDraining},
		{Skipped, "its backfill was cancelled before it started", ReasonCancelled},
		{Missed, "something new", ReasonOther},
	} {
		covered[c.want] = true
		t.Run(fmt.Sprint(c.outcome, " ", c.reason), func(t *testing.T) {
			t.Parallel()
			if got := (&ExecutionRecord{Outcome: c.outcome, Reason: c.reason}).Code(); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
	for _, c := range ReasonCodes {
		if !covered[c] {
			t.Errorf("no reason has the code %q", c)
		}
	}
}
