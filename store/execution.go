package store

import "github.com/rota-dev/rota/job"

var (
	executionKeys  = layout{"executions", []part{name("group"), name("execution")}}
	groupStateKeys = layout{"groupstates", []part{name("group")}}

	groupKind     = documentKind[job.Group]("groups", "group")
	executionKind = &kind[job.GroupExecution]{
		layout: executionKeys, sort: "execution", encode: encodeJSON[job.GroupExecution],
		parts:    func(e *job.GroupExecution) []string { return []string{e.Group, e.ID} },
		revision: func(e *job.GroupExecution) *int64 { return &e.Revision },
		decode:   decodeJSON((*job.GroupExecution).Valid),
	}
	groupStateKind = &kind[job.GroupState]{
		layout: groupStateKeys, sort: "state of a group", encode: encodeJSON[job.GroupState],
		parts:    func(s *job.GroupState) []string { return []string{s.Group} },
		revision: func(s *job.GroupState) *int64 { return &s.Revision },
		decode:   decodeJSON((*job.GroupState).Valid),
	}
)

// Groups are what is said of groups of tasks that are run as one: name.
func (s *Store) Groups() *Collection[job.Entry[job.Group]] {
	return &Collection[job.Entry[job.Group]]{s, groupKind}
}

// GroupStates are how far the timers of groups came: group. The leader writes them by [FireGroup]; who pauses a group does too.
func (s *Store) GroupStates() *Collection[job.GroupState] {
	return &Collection[job.GroupState]{s, groupStateKind}
}

// Executions are those of groups, until they are in history: group, id. The leader advances them by [AdvanceExecution].
func (s *Store) Executions() *Collection[job.GroupExecution] {
	return &Collection[job.GroupExecution]{s, executionKind}
}

// CreateExecution begins an execution, unless it was begun before and still stands.
func CreateExecution(e *job.GroupExecution) Op {
	op := putOp(executionKind, e, 0)
	op.once = true
	return op
}

// DeleteExecution removes an execution as it was read. It is done also where there is none.
func DeleteExecution(e *job.GroupExecution) Op {
	return deleteOp(executionKeys, e.Revision, e.Group, e.ID)
}

// AdvanceExecution writes an execution in the place of the version that was read (its Revision), creates the dispatches that it counts as
// asked for, and writes the facts of what runs only once in the place of those that were read, in one step: a run that is asked for is never
// asked for again.
func AdvanceExecution(e *job.GroupExecution, dispatches []*job.Dispatch, facts []*job.Fact) Op {
	op := putOp(executionKind, e, max(e.Revision, 1))
	op.verdict = 1 // its dispatches may have ended meanwhile
	for _, d := range dispatches {
		op = op.with(CreateDispatch(d))
	}
	for _, f := range facts {
		op = op.with(PutFact(f))
	}
	return op
}

// FireGroup writes the state of a group in the place of the version that was read (its Revision; 0: there must be none) while the group is
// still of a revision, and begins the executions of the instants that the state counts as fired, in one step.
func FireGroup(s *job.GroupState, rev int64, executions []*job.GroupExecution) Op {
	op := putOp(groupStateKind, s, s.Revision)
	op.verdict = 1 // the executions may have ended meanwhile
	for _, e := range executions {
		op = op.with(CreateExecution(e))
	}
	return op.while(groupKind.layout, rev, s.Group)
}

// DropGroupState removes the state of a group, as it was read, while there is no such group.
func DropGroupState(s *job.GroupState) Op {
	op := deleteOp(groupStateKeys, s.Revision, s.Group)
	return op.while(groupKind.layout, 0, s.Group)
}
