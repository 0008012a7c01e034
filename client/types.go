package client

import (
	"encoding/json"
	"time"

	"github.com/rota-dev/rota/job"
)

// Change says what applying a task did, or would do.
type Change string

// The changes.
const (
	Created    Change = "created"
	Configured Change = "configured"
	Unchanged  Change = "unchanged"
	Deleted    Change = "deleted"
)

// Applied is what became of one document of an apply: of a task, or, where Kind says so, of something else under Name.
type Applied struct {
	Kind   string      `json:"kind,omitempty"` // empty: a task; else such as template
	Name   string      `json:"name,omitempty"`
	Task   job.TaskRef `json:"task,omitzero"`
	Change Change      `json:"change"`
	// Old and New are the task before and after; Old is nil for a new one, New for a pruned one.
	Old *job.Task `json:"old,omitempty"`
	New *job.Task `json:"new,omitempty"`
	// OldDocument and NewDocument are the same of what is no task, where it changes: a template, a group, a receiver, a monitor.
	OldDocument json.RawMessage `json:"old_document,omitempty"`
	NewDocument json.RawMessage `json:"new_document,omitempty"`
	// NextBefore and NextAfter are the next firings, five at most.
	NextBefore []time.Time `json:"next_before,omitempty"`
	NextAfter  []time.Time `json:"next_after,omitempty"`
	// Nodes are those on which it would run; Warnings what a person should look at.
	Nodes    []job.NodeID `json:"nodes"`
	Warnings []string     `json:"warnings,omitempty"`
}

// What names the document for a person, such as "task default/backup".
func (a *Applied) What() string {
	if a.Kind != "" {
		return a.Kind + " " + a.Name
	}
	return "task " + a.Task.String()
}

// ApplyOptions say how to apply.
type ApplyOptions struct {
	DryRun bool // change nothing, but say what would
	// Prune deletes the tasks of these groups that were not among the applied.
	Prune []string
}

// TaskView is a task with what the system derives of it.
type TaskView struct {
	job.TaskEntry
	Nodes   []job.NodeID         `json:"nodes"`          // to which it is bound
	Next    []time.Time          `json:"next"`           // firings, soonest first; with jitter left out
	Running int                  `json:"running"`        // runs alive now
	Last    *job.ExecutionRecord `json:"last,omitempty"` // the newest record, without its output
	// LastUnknown says why nobody can tell now what is the newest record: history is away.
	LastUnknown string          `json:"last_unknown,omitempty"`
	Placing     []job.Placement `json:"placing,omitempty"` // in the answer about one task alone
	Stats       *job.Stats      `json:"stats,omitempty"`   // in the answer about one task alone
	Timer       string          `json:"timer_text,omitempty"`
}

// NodeView is a node with what the system derives of it.
type NodeView struct {
	job.Node
	Online  bool      `json:"online"`
	Since   time.Time `json:"since,omitzero"` // since when it is online
	Session string    `json:"session,omitempty"`
	Running int       `json:"running"`
	Jobs    int       `json:"jobs"`
	// Skew is by how many seconds its clock is ahead of the leader's; nil while that is not known.
	Skew *float64 `json:"clock_skew_seconds,omitempty"`
}

// CalendarView is a calendar with what the system derives of it.
type CalendarView struct {
	job.CalendarEntry
	Tasks []job.TaskRef `json:"tasks"` // that name it
	// Groups are those whose timers name it.
	Groups []string `json:"groups,omitempty"`
	// Change is what setting it did, or would do; empty in other answers.
	Change Change `json:"change,omitempty"`
}

// JobFilter selects jobs and processes. Zero fields select everything.
type JobFilter struct {
	Group string
	Task  string // the name, within Group or in any
	Node  job.NodeID
}

// Group is a group of tasks, counted.
type Group struct {
	Name    string `json:"name"`
	Tasks   int    `json:"tasks"`
	Paused  int    `json:"paused"`
	Running int    `json:"running"`
}

// RunRequest asks for a run of a task now.
type RunRequest struct {
	Task   job.TaskRef
	Nodes  []job.NodeID // empty: where the task is bound
	Params map[string]string
	// Key makes the request idempotent: the same key asks for the same runs. Empty: a new request.
	Key   string
	Force bool   // an onlyonce task runs although it has succeeded
	By    string // who asks; the server sets it
}

// MaxListed is how many sets of values one request may ask for runs of.
const MaxListed = 1000

// RunListRequest asks for runs of a task now, one for each set of values.
type RunListRequest struct {
	Task  job.TaskRef
	Nodes []job.NodeID // as in [RunRequest], of each
	Each  []ListedRun  // at most [MaxListed]
	// Parallel is how many of them a node has at a time; 0: as many as the task says.
	Parallel int
	By       string // who asks; the server sets it
}

// ListedRun is one of the runs of a list.
type ListedRun struct {
	Params map[string]string `json:"params,omitempty"`
	// Key makes it idempotent, as that of a [RunRequest].
	Key string `json:"key,omitempty"`
}

// RunListAnswer names the runs of a list.
type RunListAnswer struct {
	Answers []RunAnswer `json:"answers"` // one for each set of values, in their order
}

// RunAnswer names the runs that were asked for.
type RunAnswer struct {
	Runs   []RunHandle  `json:"runs"`
	NotRun []job.NotRun `json:"not_run,omitempty"` // nodes that were meant and can't
}

// RunHandle names one run.
type RunHandle struct {
	Run  job.RunID   `json:"run"`
	Task job.TaskRef `json:"task"`
	Node job.NodeID  `json:"node"`
}

// RunView is where a run stands: waiting, alive, or ended with its record.
type RunView struct {
	Run     job.RunID            `json:"run"`
	State   job.RunState         `json:"state"`
	Task    job.TaskRef          `json:"task"`
	Node    job.NodeID           `json:"node,omitempty"`
	Process *job.Process         `json:"process,omitempty"`
	Record  *job.ExecutionRecord `json:"record,omitempty"`
	Since   time.Time            `json:"since,omitzero"`  // when it was asked for, or began; of what has not ended
	Waits   []string             `json:"waits,omitempty"` // what it waits for, of what its task depends on
}

// Ended tells whether the run is over: its state is an outcome.
func (v *RunView) Ended() bool { return job.Outcome(v.State).Valid() }

// Upcoming is a firing to come, and how the one before it ended.
type Upcoming struct {
	Task job.TaskRef `json:"task,omitzero"`
	// Group is the group of which an execution begins; Task is zero then.
	Group string               `json:"group,omitempty"`
	Next  time.Time            `json:"next"`
	Last  *job.ExecutionRecord `json:"last,omitempty"`
}

// Status is the state of the whole as a master sees it.
type Status struct {
	Ready   bool          `json:"ready"`
	Reasons []string      `json:"reasons,omitempty"` // why it is not ready, or what needs attention
	Master  string        `json:"master"`
	Leader  string        `json:"leader"`
	Version string        `json:"version"`
	Tasks   int           `json:"tasks"`
	Nodes   int           `json:"nodes"`
	Online  int           `json:"online"`
	Jobs    int           `json:"jobs"`
	Running int           `json:"running"`
	Uptime  time.Duration `json:"uptime_ns"`
}

// Why says what became of an instant of a task, and why.
type Why struct {
	Task     job.TaskRef  `json:"task"`
	Kind     job.KindName `json:"kind"`
	Timezone string       `json:"timezone"`
	Timer    string       `json:"timer,omitempty"` // the one in force at the instant
	At       time.Time    `json:"at"`              // what was asked about
	// Instant is the one that was due at that time, or the last before it; zero: there is none. Exact tells which.
	Instant  time.Time `json:"instant,omitzero"`
	Exact    bool      `json:"exact"`
	Previous time.Time `json:"previous,omitzero"` // the instant before that
	Next     time.Time `json:"next,omitzero"`     // the first after the time that was asked about
	// Answers say what became of it: one for each node of a common task, one for the task of the other kinds.
	Answers []WhyAnswer `json:"answers"`
	// Candidates are the nodes of an interval or alone task, in the order in which they try the instant.
	Candidates []WhyCandidate `json:"candidates,omitempty"`
	// Elsewhere are the nodes to which the task is not bound, and why.
	Elsewhere  []job.Placement       `json:"elsewhere,omitempty"`
	Notes      []string              `json:"notes"`                // what else explains it, a sentence each
	Backfilled []job.ExecutionRecord `json:"backfilled,omitempty"` // further runs of the instant, by backfills
}

// The states of an instant without an outcome.
const (
	WhyRunning  = "running" // it is alive
	WhyClaimed  = "claimed" // a node has taken it and not told of it yet
	WhyEnded    = "ended"   // its record is on its way to history
	WhyWaiting  = "waiting" // it may still start
	WhyPaused   = "paused"  // the task was paused; that is recorded when it is resumed
	WhyUnbound  = "unbound" // no node has the task
	WhyNotDue   = "not due" // not on this node
	WhyNotKnown = "unknown" // there is no trace of it
)

// WhyAnswer is what became of an instant, on a node or of the task.
type WhyAnswer struct {
	Node   job.NodeID           `json:"node,omitempty"`
	State  string               `json:"state"` // an outcome, or one of the states above
	Code   WhyCode              `json:"code"`  // sorts the reason, for programs
	Reason string               `json:"reason"`
	Since  time.Time            `json:"since,omitzero"`   // of a run that is alive, or a claim
	Until  time.Time            `json:"until,omitzero"`   // when it is settled at the latest
	Record *job.ExecutionRecord `json:"record,omitempty"` // without its output
}

// WhyCandidate is a node that may run an instant.
type WhyCandidate struct {
	Node   job.NodeID `json:"node"`
	Rank   int        `json:"rank"` // from 1
	Online bool       `json:"online"`
}

// Config is one value of the configuration, of all groups where Group is empty.
type Config struct {
	Group    string `json:"group,omitempty"`
	Key      string `json:"key"`
	Value    string `json:"value"`
	Revision int64  `json:"revision,omitempty"`
}

// Cron is what a timer says: its normal form, its sentence, its next firings.
type Cron struct {
	Expression  string   `json:"expression"`
	Description string   `json:"description"`
	Timezone    string   `json:"timezone"`
	Next        []string `json:"next"` // RFC 3339, in the timer's zone
	Warnings    []string `json:"warnings"`
}

// The types of events.
const (
	EventTask     = "task"
	EventNode     = "node"
	EventJob      = "job"
	EventProcess  = "process"
	EventDispatch = "dispatch"
	EventRecord   = "record"
	// EventExecution tells of an execution of a group; its object is an [ExecutionView] without its runs.
	EventExecution = "execution"
	// EventGap tells that events were missed: whoever keeps a picture must read it anew.
	EventGap = "gap"
)

// Event tells of something that changed, for those who watch.
type Event struct {
	// Type is task, node, job, process, dispatch, record, execution or gap.
	Type string `json:"type"`
	// Change is put or deleted.
	Change string    `json:"change"`
	Key    string    `json:"key"`
	At     time.Time `json:"at"`
	// Object is a pointer to what the type names (*job.TaskEntry, *job.Node, *job.Job, *job.Process, *job.Dispatch,
	// *job.ExecutionRecord, *ExecutionView), where the event carries it; of an unknown type, what JSON gives.
	Object any `json:"object,omitempty"`
}

// UnmarshalJSON reads the object as what the type names.
func (e *Event) UnmarshalJSON(b []byte) error {
	type plain Event
	v := struct {
		*plain
		Object json.RawMessage `json:"object"`
	}{plain: (*plain)(e)}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	e.Object = nil
	if len(v.Object) == 0 || string(v.Object) == "null" {
		return nil
	}
	var into any
	switch e.Type {
	case EventTask:
		into = new(job.TaskEntry)
	case EventNode:
		into = new(job.Node)
	case EventJob:
		into = new(job.Job)
	case EventProcess:
		into = new(job.Process)
	case EventDispatch:
		into = new(job.Dispatch)
	case EventRecord:
		into = new(job.ExecutionRecord)
	case EventExecution:
		into = new(ExecutionView)
	default:
		return json.Unmarshal(v.Object, &e.Object)
	}
	if err := json.Unmarshal(v.Object, into); err != nil {
		return err
	}
	e.Object = into
	return nil
}

// MonitorView is a monitor with how it stands.
type MonitorView struct {
	job.Entry[job.Monitor]
	Key      string               `json:"key,omitempty"` // what its pings must know; for editors alone
	URL      string               `json:"url,omitempty"` // where its pings go; for editors alone
	Next     time.Time            `json:"next,omitzero"` // when it is expected next
	Until    time.Time            `json:"until,omitzero"`
	LastPing time.Time            `json:"last_ping,omitzero"`
	Pings    int64                `json:"pings"`             // how many came
	Running  *job.PingRun         `json:"running,omitempty"` // began, and has not told of its end
	Last     *job.ExecutionRecord `json:"last,omitempty"`    // the newest record
}
