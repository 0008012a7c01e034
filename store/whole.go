package store

import (
	"bytes"
	"cmp"
	"time"

	"github.com/rota-dev/rota/job"
)

// All is what several operations do, as one: it is done where the conditions of all of them hold, else nothing of it is. What two
// of them write alike is written once; where they write one key in different ways it can't be made. It is refused with
// [job.CodeInvalid] where it is more than one transaction takes, see [Op.Err].
func All(ops ...Op) Op {
	var all Op
	written := map[string]*request{}
	for i := range ops {
		op := &ops[i]
		if op.err != nil {
			return Op{err: op.err}
		}
		all.when = append(all.when, op.when...)
		for j := range op.then {
			w := &op.then[j]
			if old := written[w.key+"\x00"+w.end]; old != nil {
				if old.action != w.action || !bytes.Equal(old.value, w.value) {
					return Op{err: job.Errorf(job.CodeInvalid, "key %s is to be written in two ways at once", w.key)}
				}
				continue
			}
			written[w.key+"\x00"+w.end] = w
			all.then = append(all.then, *w)
		}
	}
	if all.slots() > maxTxnOps || all.depth() > maxTxnOps || all.size() > maxTxnBytes {
		return Op{err: job.Errorf(job.CodeInvalid, "%d writes are more than one transaction takes", len(all.then))}
	}
	return all
}

// MarkRecord notes at a record on its way to history, as it was read at a revision, that what follows from it has happened. It belongs
// into one operation with that ([All]). History has the record by then: of its texts only the names stay.
func MarkRecord(r *job.ExecutionRecord, rev int64, at time.Time) Op {
	c := *r
	c.IsHandle, c.HandleTime = true, at.UTC()
	c.Output, c.OutputParts, c.OutputBase64, c.Attempts, c.Result = "", nil, nil, nil, nil
	return putOp(recordKind, &c, max(rev, 1))
}

// TellAway puts the record of instants that a node which is away owes, and writes its job so that it begins behind them, in one
// step, as long as the job is of that revision and the node is not there: when it comes back it finds that they are told.
func TellAway(j *job.Job, rev int64, r *job.ExecutionRecord) Op {
	op := All(PutJob(j, max(rev, 1)), PutRecord(r))
	there, err := onlineKeys.key(string(j.NodeID))
	if op.err = cmp.Or(op.err, err); op.err != nil {
		return Op{err: op.err}
	}
	op.when = append(op.when, compare{key: there, target: byCreate, op: '='})
	op.verdict = 1 // the record may have been taken to history meanwhile
	return op
}
