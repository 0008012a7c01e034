package store

import (
	"cmp"

	"github.com/rota-dev/rota/job"
)

var backfillKeys = layout{"backfills", []part{name("group"), name("task"), name("backfill")}}

var backfillKind = &kind[job.Backfill]{
	layout: backfillKeys, sort: "backfill", encode: encodeJSON[job.Backfill],
	parts:    func(b *job.Backfill) []string { return []string{b.Ref().Group, b.Name, b.ID} },
	revision: func(b *job.Backfill) *int64 { return &b.Revision },
	decode:   decodeJSON((*job.Backfill).Valid),
}

// Backfills are those under way, and those that finished a while ago: group, task, id. The leader advances them by
// [AdvanceBackfill].
func (s *Store) Backfills() *Collection[job.Backfill] {
	return &Collection[job.Backfill]{s, backfillKind}
}

// AdvanceBackfill writes a backfill in the place of the version that was read (its Revision), and creates the dispatches
// that it counts as asked for, in one step: a run that is asked for is never asked for again.
func AdvanceBackfill(b *job.Backfill, dispatches []*job.Dispatch) Op {
	op := putOp(backfillKind, b, max(b.Revision, 1))
	op.verdict = 1 // its dispatches may have ended meanwhile
	for _, d := range dispatches {
		create := CreateDispatch(d)
		op.when, op.then = append(op.when, create.when...), append(op.then, create.then...)
		op.err = cmp.Or(op.err, create.err)
	}
	return op
}

// DeleteBackfill removes a backfill as it was read. It is done also where there is none.
func DeleteBackfill(b *job.Backfill) Op {
	return deleteOp(backfillKeys, b.Revision, b.Ref().Group, b.Name, b.ID)
}

// MoveDispatch takes a dispatch, as it was read, from its node and gives it to another one, in one step: the first
// has not started it and will not.
func MoveDispatch(d, to *job.Dispatch) Op {
	drop := deleteOp(dispatchKeys, 0, string(d.Node), string(d.Run))
	create := CreateDispatch(to)
	if drop.err != nil || create.err != nil {
		return Op{err: cmp.Or(drop.err, create.err)}
	}
	return Op{
		when: append([]compare{{key: drop.then[0].key, target: byMod, op: '=', number: max(d.Revision, 1)}}, create.when...),
		then: append(drop.then, create.then...),
	}
}
