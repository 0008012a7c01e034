package store

import (
	"cmp"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// Op is one conditional write. The functions that make one say what it does and on which condition; whether the
// condition held is the result of [Store.Do] for it. Values are encoded when the Op is made. An Op
// that could not be made, as for a name that cannot stand in a key, is refused with its error by Do.
type Op struct {
	when      []compare // keys are below the store's prefix
	then      []request
	otherwise []request // what to read when the condition does not hold
	serial    string    // two operations of the same series never share a transaction, hence never a revision
	once      bool      // what it makes may be done with before its answer comes: see turn.go
	verdict   int       // of then, how many tell after a lost answer whether the operation has happened; 0: all
	err       error
}

// Err says why the Op could not be made, or nil.
func (op *Op) Err() error { return op.err }

// Any is the revision of a write that replaces whatever is there.
const Any int64 = -1

// putOp writes v where the last write of its key was rev; 0: where it is absent; Any: always.
func putOp[T any](k *kind[T], v *T, rev int64) Op {
	key, data, err := k.marshal(v)
	if err != nil {
		return Op{err: err}
	}
	op := Op{then: []request{{action: put, key: key, value: data}}}
	if rev != Any {
		op.when = []compare{atRevision(key, rev)}
	}
	return op
}

// deleteOp removes a key if its last write was rev, or whatever is there when rev is 0. It is also done where the
// key is absent already.
func deleteOp(l layout, rev int64, parts ...string) Op {
	key, err := l.key(parts...)
	if err != nil {
		return Op{err: err}
	}
	op := Op{then: []request{{action: del, key: key}}}
	if rev != 0 {
		op.when = []compare{{key: key, target: byMod, op: '<', number: rev + 1}}
	}
	return op
}

// PutJob writes a job. rev is the revision of the version that it replaces; 0: there must be none; [Any].
func PutJob(j *job.Job, rev int64) Op { return putOp(jobKind, j, rev) }

// DeleteJob removes a job, of that revision or, when rev is 0, any. It is done also where there is none.
func DeleteJob(node job.NodeID, hash string, rev int64) Op {
	return deleteOp(jobKeys, rev, string(node), hash)
}

// PutTask writes a task in the place of the version that was read (its Revision; 0: there must be none).
func PutTask(e *job.TaskEntry) Op { return putOp(taskKind, e, e.Revision) }

// PutNode writes a node in the place of the version that was read (its Revision; 0: there must be none).
func PutNode(n *job.Node) Op { return putOp(nodeKind, n, n.Revision) }

// PutConfig writes a configuration value. rev is as for [PutJob].
func PutConfig(c *Config, rev int64) Op { return putOp(configKind, c, rev) }

// DeleteConfig removes a configuration value, of that revision or, when rev is 0, any. It is done also where there is none.
func DeleteConfig(group, key string, rev int64) Op { return deleteOp(configKeys, rev, group, key) }

// CreateDispatch asks a node for a run, unless it has been asked.
func CreateDispatch(d *job.Dispatch) Op {
	op := putOp(dispatchKind, d, 0)
	op.once = true
	return op
}

// DeleteDispatch takes a dispatch back, of that revision or, when rev is 0, any. It is done also where
// there is none.
func DeleteDispatch(node job.NodeID, run job.RunID, rev int64) Op {
	return deleteOp(dispatchKeys, rev, string(node), string(run))
}

// FailDispatch replaces a dispatch, as it was read, by a record, in one step: the node has not started
// it and will not.
func FailDispatch(d *job.Dispatch, r *job.ExecutionRecord) Op {
	drop := deleteOp(dispatchKeys, 0, string(d.Node), string(d.Run))
	rec := PutRecord(r)
	if drop.err != nil || rec.err != nil {
		return Op{err: cmp.Or(drop.err, rec.err)}
	}
	return Op{
		when: []compare{{key: drop.then[0].key, target: byMod, op: '=', number: max(d.Revision, 1)}},
		then: append(drop.then, rec.then...),
	}
}

// CreateKill asks a node to end a run, unless it has been asked.
func CreateKill(k *job.Kill) Op { return putOp(killKind, k, 0) }

// DeleteKill removes such a request. It is done also where there is none.
func DeleteKill(node job.NodeID, run job.RunID) Op {
	return deleteOp(killKeys, 0, string(node), string(run))
}

// PutClock writes what the leader's clock shows.
func PutClock(c *job.ClockSample) Op { return putOp(clockKind, c, Any) }

// RecordName names a record on its way to history, among those of its node: by its id. What a node missed has a name of its own beside that. A node
// that came back without its disk takes for missed what it has run, and its earlier word may still be here: history tells which of the two counts.
func RecordName(r *job.ExecutionRecord) string {
	if r.Outcome == job.Missed && r.Trigger == job.TriggerTimer && r.Node != "" {
		return r.ID + "-missed"
	}
	return r.ID
}

// PutRecord writes a record, in the place of any with its node and name ([RecordName]).
func PutRecord(r *job.ExecutionRecord) Op { return putOp(recordKind, r, Any) }

// DeleteRecord removes a record that has been read at that revision. It is not done where a later version has
// taken its place, and done where there is none. An unreadable record is removed by the same names.
func DeleteRecord(node job.NodeID, name string, rev int64) Op {
	return deleteOp(recordKeys, rev, string(node), name)
}

// LoseClaim writes the record of a claim whose holder is gone, as long as the claim stands as it was read and its node has not
// handed over a record itself.
func LoseClaim(c *job.Claim, r *job.ExecutionRecord) Op {
	op := putOp(recordKind, r, 0)
	claim, err := claimKeys.key(c.Task.Group, c.Task.Name, job.FormatInstant(c.Instant))
	if op.err = cmp.Or(op.err, err); op.err != nil {
		return Op{err: op.err}
	}
	op.when = append(op.when, madeAt(claim, c.Fence))
	return op
}

// WhileTask is the op where the task is still the version of that revision.
func (op Op) WhileTask(ref job.TaskRef, rev int64) Op {
	return op.while(taskKeys, rev, ref.Group, ref.Name)
}

// WhileCalendar is the op where the calendar is still the version of that revision.
func (op Op) WhileCalendar(name string, rev int64) Op { return op.while(calendarKeys, rev, name) }

func (op Op) while(l layout, rev int64, parts ...string) Op {
	key, err := l.key(parts...)
	if op.err = cmp.Or(op.err, err); err == nil {
		op.when = append(slices.Clip(op.when), atRevision(key, rev))
	}
	return op
}

// InitFloor sets the first floor of an interval or alone task: instants up to at cannot be claimed, later
// ones can. It is not done where there is a floor already.
func InitFloor(task job.TaskRef, at time.Time) Op {
	if at.IsZero() {
		return Op{err: job.Errorf(job.CodeInvalid, "the first floor of %s has no time", task)}
	}
	return putOp(floorKind, &Floor{Task: task, At: at}, 0)
}

// Settle raises a task's floor from one instant (zero: there must be none) to another, once everything in
// between is in history, or will be by the record that is written with it (nil: none).
//
// With empty, nobody may hold a claim in between: so the leader records instants that nobody ran, and a
// claim that came first wins. Otherwise the claims up to the new floor are removed: the floor
// says that they can't come again. It is not done where the floor or, with empty, a claim is in the way.
func Settle(task job.TaskRef, from, to time.Time, rec *job.ExecutionRecord, empty bool) Op {
	if !to.After(from) {
		return Op{err: job.Errorf(job.CodeInvalid, "the floor of %s cannot go from %s to %s",
			task, job.FormatInstant(from), job.FormatInstant(to))}
	}
	op := putOp(floorKind, &Floor{Task: task, At: to}, 0)
	if op.err != nil {
		return op
	}
	if floor := op.then[0].key; !from.IsZero() {
		op.when = []compare{{key: floor, target: byValue, op: '=', value: []byte(job.FormatInstant(from))}}
	}
	op.verdict = 1 // the record may have been taken to history meanwhile
	first, end, err := claimsUpTo(task, from, to)
	if empty {
		op.when = append(op.when, compare{key: first, end: end, target: byCreate, op: '='})
	} else if err == nil {
		first, end, err = claimsUpTo(task, time.Time{}, to)
		op.then = append(op.then, request{action: del, key: first, end: end})
	}
	if err != nil {
		return Op{err: err}
	}
	if rec != nil {
		put := PutRecord(rec)
		op.then, op.err = append(op.then, put.then...), put.err
	}
	return op
}

// DropFloor removes a task's floor and its claims, when the task itself is gone. It is not done where the
// floor is not at that instant.
func DropFloor(task job.TaskRef, at time.Time) Op {
	floor, err := floorKeys.key(task.Group, task.Name)
	if err != nil {
		return Op{err: err}
	}
	first, end, err := claimKeys.span(task.Group, task.Name)
	return Op{
		when: []compare{{key: floor, target: byValue, op: '=', value: []byte(job.FormatInstant(at))}},
		then: []request{{action: del, key: floor}, {action: del, key: first, end: end}},
		err:  err, verdict: 1,
	}
}

// branch is the operation as a transaction; keys get the prefix.
func (op *Op) branch(prefix string, otherwise []request) *txn {
	t := &txn{when: slices.Clone(op.when), then: prefixed(prefix, op.then), otherwise: prefixed(prefix, otherwise)}
	for i := range t.when {
		t.when[i].key = prefix + t.when[i].key
		if t.when[i].end != "" {
			t.when[i].end = prefix + t.when[i].end
		}
	}
	return t
}

func prefixed(prefix string, requests []request) []request {
	requests = slices.Clone(requests)
	for i := range requests {
		requests[i].key = prefix + requests[i].key
		if requests[i].end != "" {
			requests[i].end = prefix + requests[i].end
		}
	}
	return requests
}

// slots is how many places the operation takes in a transaction's list: one as a nested transaction, one for
// each request where it has no condition and needs no nesting.
func (op *Op) slots() int {
	if len(op.when) == 0 {
		return len(op.then)
	}
	return 1
}

// depth is how much of etcd's limit the operation takes when it is nested.
func (op *Op) depth() int {
	if len(op.when) == 0 {
		return 0
	}
	return max(len(op.when), len(op.then), len(op.otherwise))
}

// frees tells whether the operation only deletes, so that etcd accepts it although its space is used up.
func (op *Op) frees() bool {
	for i := range op.then {
		if op.then[i].action == put {
			return false
		}
	}
	return true
}

// size is about how many bytes the operation takes in a request.
func (op *Op) size() int {
	n := 0
	for i := range op.when {
		n += 2*len(op.when[i].key) + len(op.when[i].value) + 32
	}
	for i := range op.then {
		n += 2*len(op.then[i].key) + len(op.then[i].value) + 32
	}
	return n
}
