package store

import (
	"cmp"

	"github.com/rota-dev/rota/job"
)

var (
	waitingKeys = layout{"waiting", []part{name("group"), name("task"), name("run")}}
	factKeys    = layout{"facts", []part{name("group"), name("task"), nodeOrNone()}}

	waitingKind = &kind[job.Waiting]{
		layout: waitingKeys, sort: "waiting run", encode: encodeJSON[job.Waiting],
		parts:    func(w *job.Waiting) []string { return []string{w.Ref().Group, w.Name, string(w.Run)} },
		revision: func(w *job.Waiting) *int64 { return &w.Revision },
		decode:   decodeJSON((*job.Waiting).Valid),
	}
	factKind = &kind[job.Fact]{
		layout: factKeys, sort: "fact", encode: encodeJSON[job.Fact],
		parts:    func(f *job.Fact) []string { return []string{f.Task.Group, f.Task.Name, string(f.Node)} },
		revision: func(f *job.Fact) *int64 { return &f.Revision },
		decode: func(data []byte, parts []string) (*job.Fact, error) {
			return job.DecodeFact(data, job.Ref(parts[0], parts[1]), job.NodeID(parts[2]))
		},
	}
)

// Waiting are the runs that were asked for and wait for what their task depends on: group, task, run.
func (s *Store) Waiting() *Collection[job.Waiting] { return &Collection[job.Waiting]{s, waitingKind} }

// Facts are what is known for ever of a task on a node: group, task, node.
func (s *Store) Facts() *Collection[job.Fact] { return &Collection[job.Fact]{s, factKind} }

// CreateWaiting keeps a request for a run until it can be dispatched, unless it is kept already.
func CreateWaiting(w *job.Waiting) Op { return putOp(waitingKind, w, 0) }

// PutFact writes a fact in the place of the version that was read (its Revision; 0: there must be none).
func PutFact(f *job.Fact) Op { return putOp(factKind, f, f.Revision) }

// Start creates dispatches, and writes the facts that are to say so in the place of the versions that were read, in one
// step: where somebody else was first, or the run was asked for before, nothing is done.
func Start(facts []*job.Fact, dispatches ...*job.Dispatch) Op {
	var op Op
	for _, d := range dispatches {
		op = op.with(CreateDispatch(d))
	}
	for _, f := range facts {
		op = op.with(PutFact(f))
	}
	op.verdict = len(dispatches)
	return op
}

// AdvanceWaiting writes a waiting run in the place of the version that was read, and starts what it needs, in one step.
func AdvanceWaiting(w *job.Waiting, facts []*job.Fact, dispatches ...*job.Dispatch) Op {
	op := putOp(waitingKind, w, max(w.Revision, 1)).with(Start(facts, dispatches...))
	op.verdict = 1 // what it needs may have ended meanwhile
	return op
}

// Release makes a dispatch of a waiting run as it was read, in one step.
func Release(w *job.Waiting, facts []*job.Fact, d *job.Dispatch) Op {
	op := endWaiting(w).with(Start(facts, d))
	op.verdict = 1
	return op
}

// FailWaiting replaces a waiting run, as it was read, by a record, in one step: it will not run.
func FailWaiting(w *job.Waiting, r *job.ExecutionRecord) Op {
	op := endWaiting(w).with(PutRecord(r))
	op.verdict = 1 // the record may have been taken to history meanwhile
	return op
}

func endWaiting(w *job.Waiting) Op {
	op := deleteOp(waitingKeys, 0, w.Ref().Group, w.Name, string(w.Run))
	if op.err == nil {
		op.when = []compare{{key: op.then[0].key, target: byMod, op: '=', number: max(w.Revision, 1)}}
	}
	return op
}

// DropFacts removes everything that is known of a task, as long as the task is the version of that revision; 0: as long as there
// is none.
func DropFacts(task job.TaskRef, rev int64) Op {
	first, end, err := factKeys.span(task.Group, task.Name)
	return Op{then: []request{{action: del, key: first, end: end}}, err: err}.WhileTask(task, rev)
}

// with is both operations in one step.
func (op Op) with(o Op) Op {
	op.when, op.then = append(op.when, o.when...), append(op.then, o.then...)
	op.err = cmp.Or(op.err, o.err)
	return op
}
