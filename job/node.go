package job

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Node is a machine that runs jobs. Its own agent registers it; people label and cordon it. That it
// is alive is told by its [Presence] alone.
type Node struct {
	ID         NodeID            `json:"id"`
	Labels     map[string]string `json:"labels,omitempty"`
	Conditions map[string]string `json:"conditions,omitempty"` // type to status
	Cordoned   bool              `json:"cordoned,omitempty"`   // gets no new jobs and no runs that are asked for
	Draining   bool              `json:"draining,omitempty"`   // cordoned, and its timers start nothing: work goes elsewhere
	Drained    bool              `json:"drained,omitempty"`    // its agent's word that it is so, and that nothing runs any more
	Lease      Duration          `json:"lease,omitempty"`      // how long its lease lives; 0: as its agent was started
	Facts      Facts             `json:"facts,omitzero"`
	CreatedAt  time.Time         `json:"created_at,omitzero"`
	Revision   int64             `json:"revision,omitempty"` // the store's, of the version that was read

	// ConditionsAsOf are the revisions of the records whose results set the conditions, as they came from the node.
	ConditionsAsOf map[string]int64 `json:"conditions_as_of,omitempty"`
}

// Bounds of a lease. A shorter one lapses on any hiccup; with a longer one a dead node is noticed too late.
const (
	MinLease = 2 * time.Second
	MaxLease = 5 * time.Minute
)

// Facts is what an agent tells of its machine.
type Facts struct {
	Hostname string `json:"hostname,omitempty"`
	OS       string `json:"os,omitempty"`
	Arch     string `json:"arch,omitempty"`
	CPUs     int    `json:"cpus,omitempty"`
	Version  string `json:"version,omitempty"` // of Rota
	// Handlers are the functions that the program offers to jobs, sorted.
	Handlers []string `json:"handlers,omitempty"`
	// Groups says by which control groups runs are contained there: v2, hybrid (v2 keeps the tree, v1 sets limits), v1, or none.
	Groups string `json:"groups,omitempty"`
	// Limits are those of memory, cpu, cpu_weight and processes that the machine can enforce, and LimitsWhy is what stands in the way of the others.
	Limits    []string `json:"limits,omitempty"`
	LimitsWhy string   `json:"limits_why,omitempty"`
}

// Presence is what a live node keeps under its lease.
type Presence struct {
	Node NodeID `json:"node"`
	// Session names one life of an agent: a new one with each start of the process, the same over a
	// lease that had to be renewed.
	Session string    `json:"session"`
	Since   time.Time `json:"since"`
	BootID  string    `json:"boot_id,omitempty"`
	// Replaces is the session of an earlier life of the agent that is known to be dead; its lease need not be waited for.
	Replaces string `json:"-"`
	// Keeps are the locks of that session whose runs go on: they stand with its lease, which is taken over.
	Keeps []Lock `json:"-"`
	// Carries are the runs of instants that earlier sessions claimed and this one goes on with.
	Carries []RunID `json:"carries,omitempty"`
}

// Clone copies the node deeply.
func (n *Node) Clone() *Node {
	c := *n
	c.Labels, c.Conditions, c.ConditionsAsOf = maps.Clone(n.Labels), maps.Clone(n.Conditions), maps.Clone(n.ConditionsAsOf)
	return &c
}

// Valid reports every fault of the node.
func (n *Node) Valid() error {
	var f Faults
	if err := CheckName("node", string(n.ID)); err != nil {
		f.AddError("id", err)
	}
	for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
		if err := CheckName("label", k); err != nil {
			f.AddError("labels", err)
		}
	}
	if n.Lease != 0 && (n.Lease.Std() < MinLease || n.Lease.Std() > MaxLease) {
		f.Add("lease", "%s is not between %s and %s", n.Lease, Duration(MinLease), Duration(MaxLease))
	}
	return f.Err("the node is not valid")
}

// Process is a run that is alive now. It stands under its node's lease, so that it is gone when the node is.
// The first block of fields is the seed's.
type Process struct {
	ID     string    `json:"id"` // the pid
	JobID  string    `json:"jobId"`
	Group  string    `json:"group"`
	NodeID NodeID    `json:"nodeId"`
	Time   time.Time `json:"time"` // when it began

	Run     RunID     `json:"run"`
	Name    string    `json:"name"` // of the task
	Instant time.Time `json:"instant,omitzero"`
	Trigger Trigger   `json:"trigger,omitempty"`
	Attempt int       `json:"attempt,omitempty"`
	User    string    `json:"user,omitempty"`
	Command string    `json:"command,omitempty"`
	Fence   int64     `json:"fence,omitempty"`
	// BootID and StartTicks tell the process from a later one with the same pid.
	BootID     string `json:"boot_id,omitempty"`
	StartTicks uint64 `json:"start_ticks,omitempty"`
	Session    string `json:"session,omitempty"`
	// Progress is the latest word of the run about how far it is; nil where it says nothing.
	Progress *Progress `json:"progress,omitempty"`
}

// Pid is the process id, or 0 where ID is not a number.
func (p *Process) Pid() int {
	n, err := strconv.Atoi(p.ID)
	if err != nil {
		return 0
	}
	return n
}

// Val is the value of the process's key.
func (p *Process) Val() string {
	b, err := json.Marshal(p)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Key is the process's key below the store's prefix.
func (p *Process) Key() string {
	return "proc/" + strings.Join([]string{string(p.NodeID), p.Group, p.JobID, p.ID}, "/")
}

// GetProcFromKey reads node, group, job and pid from a key, whatever prefix stands before them.
func GetProcFromKey(key string) (*Process, error) {
	_, rest, ok := strings.Cut("/"+key, "/proc/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 4 || slices.Contains(parts, "") {
		return nil, Errorf(CodeInvalid, "key %q is not of the form …/proc/NODE/GROUP/JOB/PID", key)
	}
	return &Process{NodeID: NodeID(parts[0]), Group: parts[1], JobID: parts[2], ID: parts[3]}, nil
}

// CreateJobKey is the key of a job below the store's prefix.
func CreateJobKey(node NodeID, hash string) string { return "jobs/" + string(node) + "/" + hash }

// GetIDFromKey is the last part of a key.
func GetIDFromKey(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// Key is the job's key below the store's prefix.
func (j *Job) Key() string { return CreateJobKey(j.NodeID, j.Hash) }
