package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// Action is something to be done. The revisions in it are those that the engine has seen: whoever carries it out
// compares and swaps on them.
type Action interface{ isAction() }

// The actions.
type (
	// PutJob binds a task to a node, or renews the binding. Revision 0 creates it.
	PutJob struct {
		Job      *job.Job
		Revision int64
	}
	// DeleteJob removes a binding.
	DeleteJob struct {
		Node     job.NodeID
		Hash     string
		Revision int64
	}
	// CreateDispatch asks a node for a run, unless it was asked before.
	CreateDispatch struct{ Dispatch *job.Dispatch }
	// FailDispatch removes a dispatch that will not run, or whose run is lost, and puts its record in one transaction.
	FailDispatch struct {
		Dispatch *job.Dispatch
		Record   *job.ExecutionRecord
	}
	// InitFloor sets a claimed task's floor where it has none.
	InitFloor struct {
		Task job.TaskRef
		At   time.Time
	}
	// Settle raises a task's floor. With a record, the instants up to To did not run: there must be no claim between
	// From and To, and the record is put in the same transaction. Without one, they are in history, and
	// their claims are removed.
	Settle struct {
		Task     job.TaskRef
		From, To time.Time
		Record   *job.ExecutionRecord
	}
	// PutRecord hands a record to history.
	PutRecord struct{ Record *job.ExecutionRecord }
	// DropTask removes the claims and the floor of a task that was deleted.
	DropTask struct {
		Task  job.TaskRef
		Floor time.Time
	}
	// SetConfig and SetCondition are what a result asked for.
	SetConfig    struct{ Group, Key, Value string }
	SetCondition struct {
		Node   job.NodeID
		Type   string
		Status string
	}
)

func (PutJob) isAction()         {}
func (DeleteJob) isAction()      {}
func (CreateDispatch) isAction() {}
func (FailDispatch) isAction()   {}
func (InitFloor) isAction()      {}
func (Settle) isAction()         {}
func (PutRecord) isAction()      {}
func (DropTask) isAction()       {}
func (SetConfig) isAction()      {}
func (SetCondition) isAction()   {}

// Plan says what should be done now. Every action must be carried out, and what came of it applied, before the
// next plan is asked for; a refused one needs no event, for the change that refused it brings its own.
func (s *State) Plan(now time.Time) []Action {
	actions := s.place(now)
	actions = append(actions, s.failDispatches(now)...)
	return append(actions, s.audit(now)...)
}

// place brings the jobs in line with the tasks and the nodes that changed.
func (s *State) place(now time.Time) []Action {
	var actions []Action
	if len(s.dirtyNodes) > 0 {
		for ref, t := range s.tasks {
			if !s.dirtyTasks[ref] && s.touched(t) {
				s.dirtyTasks[ref] = true
			}
		}
		clear(s.dirtyNodes)
	}
	for _, ref := range sortedRefs(s.dirtyTasks) {
		if t := s.tasks[ref]; t != nil {
			actions = append(actions, s.placeTask(t, now)...)
		}
	}
	clear(s.dirtyTasks)
	return actions
}

// touched tells whether a node that changed gains or loses the task.
func (s *State) touched(t *task) bool {
	for id := range s.dirtyNodes {
		_, bound := t.jobs[id]
		if bound != s.matches(t, id, bound) {
			return true
		}
	}
	return false
}

// matches tells whether a task belongs on a node. A cordoned node keeps what it has and gets nothing new.
func (s *State) matches(t *task, id job.NodeID, bound bool) bool {
	ok, _ := s.fits(t, id)
	if n := s.nodes[id]; ok && n.node.Cordoned && !bound {
		return false
	}
	return ok
}

// fits tells whether a task's names and labels select a node, and if not, why.
func (s *State) fits(t *task, id job.NodeID) (bool, string) {
	n := s.nodes[id]
	if t.entry == nil || t.rule == nil {
		return false, "the task is gone"
	}
	if n == nil || n.node == nil {
		return false, "the node is not registered"
	}
	if names := t.entry.Task.Nodes; len(names) > 0 && !slices.Contains(names, id) {
		return false, "the task names other nodes"
	}
	for _, k := range slices.Sorted(maps.Keys(t.rule.Labels)) {
		if v, ok := n.node.Labels[k]; !ok || v != t.rule.Labels[k] {
			return false, fmt.Sprintf("the task wants label %s=%s", k, t.rule.Labels[k])
		}
	}
	return true, ""
}

func (s *State) placeTask(t *task, now time.Time) []Action {
	var on []job.NodeID
	for id := range s.nodes {
		if _, bound := t.jobs[id]; s.matches(t, id, bound) {
			on = append(on, id)
		}
	}
	slices.Sort(on)

	var actions []Action
	config := s.configFor(t)
	t.stamp = t.stampFor(on, config)
	first := len(t.jobs) == 0
	for _, id := range on {
		old, bound := t.jobs[id]
		since := s.since(t, id, old, bound, first, now)
		if bound && old.stamp == t.stamp && old.since.Equal(since) {
			continue
		}
		j := job.Bind(t.entry, id, on, since)
		j.Stamp, j.Config = t.stamp, config
		j.Scheduler = &job.Scheduler{NodeID: id, SchedulerTime: now.UTC(), CanRun: true, SchedulerStatus: "placed"}
		actions = append(actions, PutJob{Job: j, Revision: old.rev})
	}
	for _, id := range slices.Sorted(maps.Keys(t.jobs)) {
		if _, found := slices.BinarySearch(on, id); !found {
			actions = append(actions, DeleteJob{Node: id, Hash: job.JobHash(t.ref, id), Revision: t.jobs[id].rev})
		}
	}
	return actions
}

// since is the instant from which a binding counts: that of the rule for a node that has the task, or gets it as
// it is first placed; now for a node that gains it later.
func (s *State) since(t *task, id job.NodeID, old jobState, bound, first bool, now time.Time) time.Time {
	since := t.entry.Since
	switch {
	case bound:
		if old.since.After(since) {
			return old.since
		}
		return since
	case first && !s.nodes[id].node.CreatedAt.After(since):
		return since
	case now.After(since):
		return now.UTC().Truncate(time.Millisecond)
	}
	return since
}

// stampVersion changes when the same inputs come to give another job.
const stampVersion = 1

// stampFor sums up everything that the task's jobs are made from, but their node and since.
func (t *task) stampFor(on []job.NodeID, config map[string]string) string {
	if t.entry == nil {
		return ""
	}
	in := struct {
		Version    int
		Generation int64
		Created    time.Time
		Paused     bool
		PausedAt   time.Time
		ResumedAt  time.Time
		Candidates []job.NodeID
		Config     map[string]string
	}{stampVersion, t.entry.Generation, t.entry.CreatedAt, t.entry.Paused, t.entry.PausedAt, t.entry.ResumedAt, nil, config}
	if t.entry.Task.Kind.Kind().Claimed() {
		in.Candidates = on
	}
	b, err := json.Marshal(in)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// Bound lists the nodes to which a task is bound.
func (s *State) Bound(ref job.TaskRef) []job.NodeID {
	t := s.tasks[ref]
	if t == nil {
		return []job.NodeID{}
	}
	return slices.AppendSeq([]job.NodeID{}, slices.Values(slices.Sorted(maps.Keys(t.jobs))))
}

// WouldPlace lists the nodes on which a task would be, were it this one.
func (s *State) WouldPlace(e *job.TaskEntry) []job.NodeID {
	t := &task{ref: e.Ref(), entry: e, rule: e.Task.Rule()}
	if known := s.tasks[t.ref]; known != nil {
		t.jobs = known.jobs
	}
	var on []job.NodeID
	for id := range s.nodes {
		if _, bound := t.jobs[id]; s.matches(t, id, bound) {
			on = append(on, id)
		}
	}
	slices.Sort(on)
	return on
}

// Placement says where a task is, and of every other node why it is not there.
type Placement = job.Placement

// Explain says of each node whether the task is bound to it, and why not.
func (s *State) Explain(ref job.TaskRef) []Placement {
	t := s.tasks[ref]
	if t == nil {
		return nil
	}
	var list []Placement
	for _, id := range slices.Sorted(maps.Keys(s.nodes)) {
		p := Placement{Node: id, Online: s.online(id)}
		_, p.Bound = t.jobs[id]
		if ok, why := s.fits(t, id); !ok {
			p.Reason = why
		} else if !p.Bound && s.nodes[id].node.Cordoned {
			p.Reason = "the node is cordoned"
		}
		list = append(list, p)
	}
	return list
}
