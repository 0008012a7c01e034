package client

import (
	"cmp"
	"context"
	"time"

	"github.com/rota-dev/rota/job"
)

// Why tells what became of the instant of a task at a time, or of the last one before it, and why. A zero time is now.
func (c *Client) Why(ctx context.Context, ref job.TaskRef, at time.Time) (*Why, error) {
	return one[Why](ctx, c, get(nil, "tasks", ref.Group, ref.Name, "why").set("at", stamp(at)))
}

// WhyCode sorts the reason of a [WhyAnswer], for programs; what Reason says is for people, and its words may change. Where a record tells, it
// is [WhyRan], or the record's own [job.ReasonCode]. More codes may come: treat one that you don't know as its state.
type WhyCode string

// The codes of what no record in history tells.
const (
	WhyRecordInTransit   WhyCode = "record_in_transit"    // it ended, and its record is on its way to history
	WhyRunAlive          WhyCode = "run_alive"            // its run is alive
	WhyClaimHeld         WhyCode = "claimed"              // a node that is online has claimed it
	WhyClaimantAway      WhyCode = "claimant_away"        // a node claimed it and is away; it is recorded as lost before long
	WhyRecordRemoved     WhyCode = "record_removed"       // it is settled, and history does not keep its record any more
	WhyTaskPaused        WhyCode = "task_paused"          // the task is paused
	WhySkipPending       WhyCode = "skip_pending"         // the task was paused; the record that says so is about to be written
	WhyNoNode            WhyCode = "no_node"              // no node is bound to the task
	WhyJitter            WhyCode = "jitter"               // its jitter delays it
	WhyAllAway           WhyCode = "all_away"             // no node of the task is online
	WhyNotClaimed        WhyCode = "not_claimed"          // nodes of the task are online, and none has claimed it yet
	WhyBoundLater        WhyCode = "bound_later"          // the node has the task only since a time after it
	WhyNodeOffline       WhyCode = "node_offline"         // the node is offline, and tells of it when it is back
	WhyDueNow            WhyCode = "due_now"              // it has been due for moments only
	WhyQueuedOrInTransit WhyCode = "queued_or_in_transit" // it waits for its turn on the node, or its record is on its way
	WhyNotTold           WhyCode = "not_told"             // the node is online and has not told of it; nothing else is known
)

// WhyRan is the code of a record of something that ran and was not lost.
const WhyRan WhyCode = "ran"

// WhyCodes are all of them, those of records included.
func WhyCodes() []WhyCode {
	codes := []WhyCode{
		WhyRan, WhyRecordInTransit, WhyRunAlive, WhyClaimHeld, WhyClaimantAway, WhyRecordRemoved, WhyTaskPaused, WhySkipPending, WhyNoNode, WhyJitter,
		WhyAllAway, WhyNotClaimed, WhyBoundLater, WhyNodeOffline, WhyDueNow, WhyQueuedOrInTransit, WhyNotTold,
	}
	for _, c := range job.ReasonCodes {
		codes = append(codes, WhyCode(c))
	}
	return codes
}

// CodeOfRecord is the code of what a record tells.
func CodeOfRecord(r *job.ExecutionRecord) WhyCode {
	return cmp.Or(WhyCode(r.Code()), WhyRan)
}
