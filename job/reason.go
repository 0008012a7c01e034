package job

import "strings"

// ReasonCode sorts the reasons of records into a few, for counting.
type ReasonCode string

// The codes. Those of what was missed or skipped come first, then those of what was lost.
const (
	ReasonAway        ReasonCode = "away"           // missed: the node was away, or its clock jumped over it
	ReasonDown        ReasonCode = "down"           // missed: no node that could have run it was there
	ReasonUnbound     ReasonCode = "unbound"        // missed: no node is bound to the task
	ReasonUnclaimed   ReasonCode = "unclaimed"      // missed: nodes were there, and none claimed it in time
	ReasonCoordinator ReasonCode = "no_coordinator" // missed: etcd could not be reached for a claim, a lock or a mark
	ReasonLate        ReasonCode = "late"           // missed: it was past its deadline, or the time in which it had to start
	ReasonStopped     ReasonCode = "stopped"        // missed: the agent stopped before its turn came
	ReasonPaused      ReasonCode = "paused"         // skipped
	ReasonWaits       ReasonCode = "waits"          // missed or skipped: what the task depends on was not there
	ReasonOverlap     ReasonCode = "overlap"        // skipped: another run was alive, or waited
	ReasonDeleted     ReasonCode = "deleted"        // skipped: the task was deleted or moved
	ReasonDraining    ReasonCode = "draining"       // skipped: the node is drained
	ReasonCancelled   ReasonCode = "cancelled"      // skipped: who had asked for it does not want it any more
	ReasonNodeLost    ReasonCode = "node_lost"      // lost: the node went away with it
	ReasonAgentLost   ReasonCode = "agent_lost"     // lost: the agent, or what ran its commands, ended and could not tell
	ReasonOther       ReasonCode = "other"
)

// ReasonCodes are all of them.
var ReasonCodes = []ReasonCode{
	ReasonAway, ReasonDown, ReasonUnbound, ReasonUnclaimed, ReasonCoordinator, ReasonLate, ReasonStopped, ReasonPaused, ReasonWaits, ReasonOverlap,
	ReasonDeleted, ReasonDraining, ReasonCancelled, ReasonNodeLost, ReasonAgentLost, ReasonOther,
}

// reasons are the words by which the reasons of each code are known. The first that fits counts.
var reasons = []struct {
	words string
	code  ReasonCode
}{
	{"waits for", ReasonWaits},
	{"waiting for", ReasonWaits},
	{"paused", ReasonPaused},
	{"drain", ReasonDraining},
	{"deleted, or moved", ReasonDeleted},
	{"the coordinator", ReasonCoordinator},
	{"past its deadline", ReasonLate},
	{"not start by", ReasonLate},
	{"did not come by", ReasonLate},
	{"the agent stopped before", ReasonStopped},
	{"no node is bound", ReasonUnbound},
	{"no node claimed it", ReasonUnclaimed},
	{"was online", ReasonDown},
	{"went away before it started", ReasonDown},
	{"told nothing of it", ReasonAway},
	{"was away", ReasonAway},
	{"cancelled", ReasonCancelled},
	{"still alive", ReasonOverlap},
	{"waiting already", ReasonOverlap},
	{"replace", ReasonOverlap},
	{"it waited for run", ReasonOverlap},
}

// Code is the code of the record's reason; empty where it ran and was not lost.
func (r *ExecutionRecord) Code() ReasonCode {
	switch {
	case r.Outcome == Lost && strings.Contains(r.Reason, "went away"):
		return ReasonNodeLost
	case r.Outcome == Lost:
		return ReasonAgentLost
	case r.Outcome.Ran():
		return ""
	}
	for _, k := range reasons {
		if strings.Contains(r.Reason, k.words) {
			return k.code
		}
	}
	return ReasonOther
}
