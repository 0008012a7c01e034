package engine

import (
	"time"

	"github.com/rota-dev/rota/job"
)

// Event is something that happened: a key that changed, or a record that history took in.
type Event interface{ apply(s *State) }

// The events. Those of keys carry what the store now has; the deletions name what is gone.
type (
	// Began tells that the state is whole from here on; who is absent now has a whole lease to come back.
	Began       struct{ At time.Time }
	TaskPut     struct{ Entry *job.TaskEntry }
	TaskDeleted struct{ Task job.TaskRef }
	// TaskUnreadable tells that a task's document is there and can't be read: its jobs, its floor and its claims are left
	// as they are until it can, or is deleted.
	TaskUnreadable struct{ Task job.TaskRef }
	NodePut        struct{ Node *job.Node }
	NodeDeleted    struct{ Node job.NodeID }
	// NodeUnreadable tells that a node's document is there and can't be read: what is bound to it stays so until it can.
	NodeUnreadable struct{ Node job.NodeID }
	// NodeClock tells how far a node's clock is behind that of whoever plans.
	NodeClock struct {
		Node   job.NodeID
		Behind time.Duration
	}
	// NodeOnline and NodeOffline tell of a node's presence, and when it was seen to change.
	NodeOnline struct {
		Presence *job.Presence
		At       time.Time
	}
	NodeOffline struct {
		Node job.NodeID
		At   time.Time
	}
	JobPut struct {
		Job      *job.Job
		Revision int64
	}
	JobDeleted struct {
		Node job.NodeID
		Hash string
	}
	DispatchPut     struct{ Dispatch *job.Dispatch }
	DispatchDeleted struct {
		Node job.NodeID
		Run  job.RunID
	}
	ConfigPut struct {
		Group, Key, Value string // group "": global
	}
	ConfigDeleted   struct{ Group, Key string }
	CalendarPut     struct{ Entry *job.CalendarEntry }
	CalendarDeleted struct{ Name string }
	// ReplacementPut tells of a run that waits for the end of another; see replace.go.
	ReplacementPut     struct{ Replacement *job.Replacement }
	ReplacementDeleted struct {
		Node job.NodeID
		Run  job.RunID
	}
	ClaimPut     struct{ Claim *job.Claim }
	ClaimDeleted struct {
		Task    job.TaskRef
		Instant time.Time
	}
	// FloorPut tells up to which instant everything of a claimed task is settled.
	FloorPut struct {
		Task job.TaskRef
		At   time.Time
	}
	FloorDeleted struct{ Task job.TaskRef }
	// Recorded tells that history accounts for an instant, or for the instants up to Until.
	Recorded struct {
		Task           job.TaskRef
		Instant, Until time.Time
	}
	// Done and Refused tell what came of an action. Nothing else tells of a write before the watch does.
	Done    struct{ Action Action }
	Refused struct{ Action Action }
)

// Apply takes events in. Those of one key come in the order in which they happened, some perhaps left out where
// later ones follow; those of different keys in any. Applying one twice is applying it once. What the events carry is not
// changed by the engine, and must not be changed by others.
func (s *State) Apply(events ...Event) {
	for _, e := range events {
		e.apply(s)
	}
}

func (e Began) apply(s *State) {
	s.began = e.At.Add(s.lease - s.patience())
	s.judged, s.planned = time.Time{}, time.Time{}
	s.heardBy(e.At)
	s.arrived = true
	s.beginExecutions()
	for id, n := range s.nodes {
		if n.presence == nil {
			s.departed[id] = struct{}{}
		}
	}
	for _, t := range s.tasks { // who led before may have planned what was never carried out
		s.dirty(t)
		s.rouse(t)
		s.stir(t)
	}
}

func (e DispatchPut) apply(s *State) {
	k := dispatchKey{e.Dispatch.Node, e.Dispatch.Run}
	old := s.dispatches[k]
	if old != nil && old.Revision >= e.Dispatch.Revision && e.Dispatch.Revision > 0 {
		return
	}
	if old == nil {
		s.waiting[k.node]++
		s.alive[e.Dispatch.Job.Hash]++
	}
	s.dispatches[k] = e.Dispatch
}

func (e DispatchDeleted) apply(s *State) {
	k := dispatchKey{e.Node, e.Run}
	if s.dispatches[k] == nil {
		return
	}
	s.notAlive(s.dispatches[k].Job)
	delete(s.dispatches, k)
	if s.waiting[k.node]--; s.waiting[k.node] == 0 {
		delete(s.waiting, k.node)
	}
}

func (e ConfigPut) apply(s *State) {
	k := configKey{e.Group, e.Key}
	if old, ok := s.config[k]; !ok || old != e.Value {
		s.config[k] = e.Value
		s.configChanged(k)
	}
}

func (e ConfigDeleted) apply(s *State) {
	k := configKey{e.Group, e.Key}
	if _, ok := s.config[k]; ok {
		delete(s.config, k)
		s.configChanged(k)
	}
}

func (s *State) configChanged(k configKey) {
	for t := range s.naming[k.key] {
		if k.group == "" || k.group == t.ref.Group {
			s.dirty(t)
		}
	}
}

// The watch may have told of a write, and of what followed it, before its answer came: what is known then is newer than the action.
func (e Done) apply(s *State) {
	switch a := e.Action.(type) {
	case PutJob:
		// Its revision comes with the watch. Until then a further write is refused, and planned anew.
		t := s.task(a.Job.Ref())
		if old := t.jobs[a.Job.NodeID]; old.rev == a.Revision {
			s.bind(t, a.Job, old.rev)
		}
	case TellAway:
		t := s.task(a.Job.Ref())
		if old := t.jobs[a.Job.NodeID]; old.rev == a.Revision {
			s.bind(t, a.Job, old.rev)
		}
		if d := s.debts.of[a.Job.NodeID][t]; d != nil {
			d.wake, s.debts.news = time.Time{}, true
		}
	case DeleteJob:
		if t := s.byHash[a.Hash]; t != nil && t.jobs[a.Node].rev == a.Revision {
			JobDeleted{Node: a.Node, Hash: a.Hash}.apply(s)
		}
	case CreateKill:
		s.killed(a)
	case FailDispatch:
		DispatchDeleted{Node: a.Dispatch.Node, Run: a.Dispatch.Run}.apply(s)
	case MoveDispatch:
		DispatchDeleted{Node: a.Dispatch.Node, Run: a.Dispatch.Run}.apply(s)
	case AdvanceBackfill:
		s.advanced(a.Backfill)
	case AdvanceExecution:
		s.started(a.Facts)
		s.advancedExecution(a)
	case FireGroup:
		s.fired(a.State)
	case DropGroupState:
		if g := s.groups[a.State.Group]; g != nil && g.revision() == a.State.Revision {
			GroupStateDeleted{Name: a.State.Group}.apply(s)
		}
	case DropBackfill:
		if b := s.backfills[a.Backfill.ID]; b != nil && b.spec.Revision == a.Backfill.Revision {
			delete(s.backfills, a.Backfill.ID)
		}
	case Start:
		s.started(a.Facts)
	case Release:
		s.started(a.Facts)
		s.waitsNoMore(a.Waiting)
	case AdvanceWaiting:
		s.started(a.Facts)
		if s.isAsKnown(a.Waiting) {
			s.tasks[a.Waiting.Ref()].requests[a.Waiting.Run] = a.Waiting
		}
	case FailWaiting:
		s.waitsNoMore(a.Waiting)
	case DropFacts:
		s.dropped(a.Task)
	case InitFloor:
		FloorPut(a).apply(s)
	case Settle:
		FloorPut{Task: a.Task, At: a.To}.apply(s)
	case DropTask:
		if t := s.tasks[a.Task]; t != nil {
			t.account.clear()
			s.rouse(t)
			s.forget(t)
		}
	}
}

// Refused places a task anew; what else was refused is looked at again in a moment, see audit.go and dispatch.go.
func (e Refused) apply(s *State) {
	switch a := e.Action.(type) {
	case AdvanceExecution: // whether it was carried out may not be known
		if x := s.executions[a.Execution.ID]; x != nil {
			x.dirty = true
		}
	case FireGroup:
		if g := s.groups[a.State.Group]; g != nil {
			g.dirty = true
		}
	case DropGroupState:
		if g := s.groups[a.State.Group]; g != nil {
			g.dirty = true
		}
	case CreateKill:
		s.refusedKill(a)
	case Start:
		s.refusedStart(a.Task)
	case Release:
		s.refusedStart(a.Waiting.Ref())
	case AdvanceWaiting:
		s.refusedStart(a.Waiting.Ref())
	case FailWaiting:
		s.refusedStart(a.Waiting.Ref())
	case DropFacts:
		if t := s.tasks[a.Task]; t != nil {
			s.learning(t)
		}
	case PutJob:
		if t := s.tasks[a.Job.Ref()]; t != nil {
			s.dirty(t)
		}
	case DeleteJob:
		if t := s.byHash[a.Hash]; t != nil {
			s.dirty(t)
		}
	}
}
