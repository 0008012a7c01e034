package engine

import (
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
	// their claims are removed. What is due is said by the task and its calendars, which must still be of those revisions.
	Settle struct {
		Task      job.TaskRef
		From, To  time.Time
		Record    *job.ExecutionRecord
		Revision  int64
		Calendars map[string]int64
	}
	// PutRecord hands over the record of a claim whose holder is gone, while the claim stands and there is no other record of it.
	PutRecord struct {
		Record *job.ExecutionRecord
		Claim  *job.Claim
	}
	// DropTask removes the claims and the floor of a task that was deleted, or whose instants are not claimed any more.
	DropTask struct {
		Task  job.TaskRef
		Floor time.Time
	}
	// CreateKill asks a node to end a run, for one that waits for its end.
	CreateKill struct {
		Kill *job.Kill
		For  job.RunID
		On   job.NodeID
	}
	// SetConfig and SetCondition are what a result asked for.
	SetConfig    struct{ Group, Key, Value, Record string }
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
func (CreateKill) isAction()     {}
func (SetConfig) isAction()      {}
func (SetCondition) isAction()   {}

// maxPlaced is about how many jobs one plan writes. A job is a kilobyte or two, and a new task on many nodes must not
// make others wait for long.
const maxPlaced = 10_000

// Plan says what should be done now. Every action must be carried out, and what came of it applied, before the
// next plan is asked for. It is bounded; when it is empty there is nothing left to do at this time.
func (s *State) Plan(now time.Time) []Action {
	actions := s.place(now)
	actions = append(actions, s.failDispatches(now)...)
	actions = append(actions, s.starts(now)...)
	actions = append(actions, s.replacements(now)...)
	actions = append(actions, s.advanceBackfills(now)...)
	actions = append(actions, s.fireGroups(now)...)
	actions = append(actions, s.advanceExecutions(now)...)
	actions = append(actions, s.tellAway(now)...)
	return append(actions, s.audit(now)...)
}

// place brings the jobs in line with the tasks and the nodes that changed.
func (s *State) place(now time.Time) []Action {
	if len(s.limited) > 0 {
		s.picked, s.placedNow = map[*task][]job.NodeID{}, map[*task]bool{}
		defer func() { s.picked, s.placedNow = nil, nil }()
	}
	s.departures(now)
	s.expire(now)
	if len(s.dirtyNodes) > 0 {
		for _, t := range s.tasks {
			if _, dirty := s.dirtyTasks[t]; !dirty && s.touched(t) {
				s.dirty(t)
			}
		}
		clear(s.dirtyNodes)
	}
	var actions []Action
	for len(s.dirtyTasks) > 0 && len(actions) < maxPlaced {
		if len(s.queue) == 0 {
			for t := range s.dirtyTasks {
				s.queue = append(s.queue, t)
			}
			slices.SortFunc(s.queue, byRef)
		}
		t := s.queue[0]
		s.queue = s.queue[1:]
		if _, dirty := s.dirtyTasks[t]; dirty {
			delete(s.dirtyTasks, t)
			actions = append(actions, s.placeTask(t, now)...)
		}
	}
	if len(s.dirtyTasks) == 0 {
		s.queue = nil
	}
	return actions
}
