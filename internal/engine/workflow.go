package engine

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// Executions of groups. How far one came stands in its document, which is written in one transaction with each dispatch that it counts as
// asked for. So whoever leads knows what was asked for. What became of that is told by the records as they arrive; of a run that this
// engine has not asked for itself, or of which it does not know whether it has, history is looked through once.

type execution struct {
	spec    *job.GroupExecution   // as it was last read; it is never changed
	asked   map[job.RunID]lane    // the runs that are asked for and have not ended, by the document
	news    map[job.RunID]StepEnd // what history has and the document does not say yet
	unknown map[job.RunID]bool    // the runs of which history was not looked through
	killed  map[job.RunID]bool    // those that were asked to end
	writing bool                  // the answer to our last write has come, but the watch has not told of it yet
	dirty   bool                  // something is new
	look    time.Time             // when to look again although nothing is
}

type lane struct{ step, at int }

// The events of executions.
type (
	ExecutionPut     struct{ Execution *job.GroupExecution }
	ExecutionDeleted struct{ ID string }
	// StepEnd tells that history has the record of a run, perhaps of a step.
	StepEnd struct {
		Run     job.RunID
		Node    job.NodeID
		Outcome job.Outcome
		Reason  string
		Result  json.RawMessage
	}
	// StepUnsure tells that history has a record of a run, and that it must be read.
	StepUnsure struct{ Run job.RunID }
	// StepsLearned tells that history was looked through for runs, and what was found has been told.
	StepsLearned struct{ Runs []job.RunID }
)

// The actions of executions.
type (
	// AdvanceExecution writes an execution in the place of the version of its Revision, and creates the dispatches that it counts as
	// asked for and writes the facts that say so, in one transaction.
	AdvanceExecution struct {
		Execution  *job.GroupExecution
		Dispatches []*job.Dispatch
		Facts      []*job.Fact
	}
	// StartExecution begins an execution, unless it was begun before.
	StartExecution struct{ Execution *job.GroupExecution }
	// KillStep asks a node to end a run of an execution that was ended.
	KillStep struct {
		Execution string
		Kill      *job.Kill
	}
)

func (AdvanceExecution) isAction() {}
func (StartExecution) isAction()   {}
func (KillStep) isAction()         {}

func (e ExecutionPut) apply(s *State) {
	x := s.executions[e.Execution.ID]
	switch {
	case x == nil:
		x = &execution{news: map[job.RunID]StepEnd{}, unknown: map[job.RunID]bool{}, killed: map[job.RunID]bool{}}
		s.executions[e.Execution.ID] = x
	case x.spec.Revision >= e.Execution.Revision:
		return
	}
	before := x.asked
	x.spec, x.writing, x.dirty, x.asked = e.Execution, false, true, map[job.RunID]lane{}
	e.Execution.Asked(func(step, at int, run job.RunID) {
		x.asked[run] = lane{step, at}
		if _, known := s.stepRuns[run]; !known {
			s.stepRuns[run] = x
			x.unknown[run] = true
		}
	})
	for run := range before {
		if _, still := x.asked[run]; !still {
			s.forgetRun(x, run)
		}
	}
	s.rouseGroup(e.Execution.Group)
}

func (s *State) forgetRun(x *execution, run job.RunID) {
	if s.stepRuns[run] == x {
		delete(s.stepRuns, run)
	}
	delete(x.news, run)
	delete(x.unknown, run)
	delete(x.killed, run)
}

func (e ExecutionDeleted) apply(s *State) {
	x := s.executions[e.ID]
	if x == nil {
		return
	}
	delete(s.executions, e.ID)
	for run, of := range s.stepRuns {
		if of == x {
			delete(s.stepRuns, run)
		}
	}
	s.rouseGroup(x.spec.Group)
}

func (e StepEnd) apply(s *State) {
	if x := s.stepRuns[e.Run]; x != nil {
		if old, told := x.news[e.Run]; told && !e.Outcome.Supersedes(old.Outcome) {
			return
		}
		x.news[e.Run] = e
		x.dirty = true
		delete(x.unknown, e.Run)
	}
}

func (e StepUnsure) apply(s *State) {
	if x := s.stepRuns[e.Run]; x != nil {
		if _, told := x.news[e.Run]; !told {
			x.unknown[e.Run] = true
		}
	}
}

func (e StepsLearned) apply(s *State) {
	for _, run := range e.Runs {
		if x := s.stepRuns[run]; x != nil {
			delete(x.unknown, run)
		}
	}
}

// UnknownSteps lists runs of steps of which history must be looked through: it may have had their records before anybody told
// of them here.
func (s *State) UnknownSteps() []job.RunID {
	var runs []job.RunID
	for _, x := range s.executions {
		for run := range x.unknown {
			runs = append(runs, run)
		}
	}
	slices.Sort(runs)
	return runs
}

// Executions lists those that are kept, the oldest first.
func (s *State) Executions() []*job.GroupExecution {
	list := make([]*job.GroupExecution, 0, len(s.executions))
	for _, x := range s.executions {
		list = append(list, x.spec)
	}
	slices.SortFunc(list, func(a, b *job.GroupExecution) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// beginExecutions has every execution looked at, by a master that begins to lead.
func (s *State) beginExecutions() {
	for _, x := range s.executions {
		x.dirty, x.writing = true, false
		for run := range x.asked {
			x.unknown[run] = true // what was told to who led before may not have been told here
		}
		clear(x.killed)
	}
	for _, g := range s.groups {
		g.dirty, g.writing = true, false
	}
}

// advancedExecution notes that the watch will tell of a write. Its runs are our own: nobody else has heard of their ends.
func (s *State) advancedExecution(a AdvanceExecution) {
	x := s.executions[a.Execution.ID]
	if x == nil || x.spec.Revision != a.Execution.Revision {
		return
	}
	x.writing = true
	for _, d := range a.Dispatches {
		if s.stepRuns[d.Run] == nil {
			s.stepRuns[d.Run] = x
		}
	}
}

// advanceExecutions works on every execution of which something is new, or whose time has come.
func (s *State) advanceExecutions(now time.Time) []Action {
	var list []*execution
	for _, x := range s.executions {
		if x.spec.Ended() || x.writing || !x.dirty && (x.look.IsZero() || now.Before(x.look)) {
			continue
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *execution) int {
		return cmp.Or(a.spec.CreatedAt.Compare(b.spec.CreatedAt), cmp.Compare(a.spec.ID, b.spec.ID))
	})
	var actions []Action
	for _, x := range list {
		x.dirty, x.look = false, time.Time{}
		adv := &advance{s: s, x: x, next: x.spec.Clone(), now: now}
		actions = append(actions, adv.kills()...)
		if a := adv.step(); a != nil {
			actions = append(actions, *a)
			x.dirty = true // until the watch tells what came of it; a plan that finds nothing new does nothing
		}
	}
	return actions
}

// halted tells whether nothing more of an execution may start.
func (s *State) halted(id string) bool {
	x := s.executions[id]
	return x != nil && x.spec.Halted()
}

// kills asks for the ends of what still runs of an execution that was ended.
func (v *advance) kills() []Action {
	e := v.x.spec
	if !e.Halted() {
		return nil
	}
	var actions []Action
	by := "the end of execution " + e.ID + ", which took longer than " + e.Timeout.String()
	if !e.CancelledAt.IsZero() {
		by = cmp.Or(e.CancelledBy, "somebody") + ", who cancelled execution " + e.ID
	}
	waits := false
	for _, d := range v.s.dispatches {
		if d.Execution != e.ID || v.x.killed[d.Run] {
			continue
		}
		if d.Started == nil { // it is taken back, see fate
			waits = true
			continue
		}
		v.x.killed[d.Run] = true
		actions = append(actions, KillStep{Execution: e.ID, Kill: &job.Kill{Run: d.Run, Node: d.Node, At: v.now.UTC(), By: by}})
	}
	if waits {
		v.again(v.s.poll())
	}
	slices.SortFunc(actions, func(a, b Action) int { return cmp.Compare(a.(KillStep).Kill.Run, b.(KillStep).Kill.Run) })
	return actions
}
