package job

import (
	"encoding/json"
	"time"
)

// Dispatch asks one node to run a job once. Its run id is derived from its cause, so that asking
// twice is asking once, and the node marks it as started before it executes anything, so that it
// starts at most once.
type Dispatch struct {
	Run         RunID             `json:"run"`
	Node        NodeID            `json:"node"`
	Job         *Job              `json:"job"` // a copy: later edits don't change what was asked for
	Trigger     Trigger           `json:"trigger"`
	Instant     time.Time         `json:"instant,omitzero"` // of a catch-up, backfill or retry
	Params      map[string]string `json:"params,omitempty"`
	Cause       string            `json:"cause,omitempty"` // who or what asked
	Attempt     int               `json:"attempt,omitempty"`
	RequestedAt time.Time         `json:"requested_at"`
	NotAfter    time.Time         `json:"not_after,omitzero"`  // it does not start later than this
	Backfill    string            `json:"backfill,omitempty"`  // the one that it is a run of
	Execution   string            `json:"execution,omitempty"` // of its group, of which it is a step's run
	// Listed says that it is one of many that were asked for at once: they wait for each other, whatever the task's overlap says of instants
	// that are due, and the job's Parallel, where it is set, are alive at a time.
	Listed bool `json:"listed,omitempty"`
	// Data are the values of steps.… and item that the job names, see [Scope].
	Data     map[string]json.RawMessage `json:"data,omitempty"`
	Started  *Started                   `json:"started,omitempty"`
	Revision int64                      `json:"revision,omitempty"` // the store's, of the version that was read
}

// Started is the mark that a node sets on a dispatch before it executes it.
type Started struct {
	Session string    `json:"session"`
	At      time.Time `json:"at"`
}

// Valid reports every fault of the dispatch.
func (d *Dispatch) Valid() error {
	var f Faults
	if err := CheckName("run", string(d.Run)); err != nil {
		f.AddError("run", err)
	}
	if err := CheckName("node", string(d.Node)); err != nil {
		f.AddError("node", err)
	}
	if d.Job == nil {
		f.Add("job", "there is none")
	} else if err := d.Job.Check(); err != nil {
		f.AddError("job", err)
	}
	return f.Err("dispatch " + string(d.Run) + " is not valid")
}

// Kill asks a node to end a run.
type Kill struct {
	Run  RunID     `json:"run"`
	Node NodeID    `json:"node"`
	By   string    `json:"by"`
	At   time.Time `json:"at"`
}

// Claim is the right of one node to run one instant of an interval or alone task. It is never given back: the
// instant is settled by whoever holds it.
type Claim struct {
	Task    TaskRef   `json:"task"`
	Instant time.Time `json:"instant"`
	Node    NodeID    `json:"node"`
	Session string    `json:"session"`
	Job     string    `json:"job"`
	At      time.Time `json:"at"`
	// Try is which of the session's claims it is. The same instant may be claimed by a session twice: for a task that was deleted, and for
	// the one that was made again under its name. The second claim is refused, for the first one has been told of.
	Try   int64 `json:"try,omitempty"`
	Fence int64 `json:"-"` // the store's revision at which it was made
}

// Lock is held while a run of an alone task is alive.
type Lock struct {
	Task    TaskRef   `json:"task"`
	Node    NodeID    `json:"node"`
	Session string    `json:"session"`
	Run     RunID     `json:"run"`
	At      time.Time `json:"at"`
	// Due is when the run was due: its instant, or when it was asked for. Of two runs the later one may replace the other.
	Due   time.Time `json:"due,omitzero"`
	Fence int64     `json:"-"` // the store's revision at which it was taken
}

// Result is the structured data that a run hands back in the file named by ROTA_RESULT.
type Result struct {
	Type       string                       `json:"type,omitempty"`        // check, install or common
	ExecStatus string                       `json:"exec_status,omitempty"` // what the program says of itself
	Global     map[string]string            `json:"global,omitempty"`      // configuration to set
	Config     map[string]map[string]string `json:"config,omitempty"`      // the same of groups
	Conditions []Condition                  `json:"conditions,omitempty"`
	NextTasks  []string                     `json:"next_tasks,omitempty"` // run on the same node
	NextGroups []string                     `json:"next_groups,omitempty"`
	Body       json.RawMessage              `json:"body,omitempty"`
}

// Condition is a fact about a node that a run found out.
type Condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}
