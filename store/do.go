package store

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/rota-dev/rota/job"
)

// What one transaction takes. etcd allows 128 operations (the largest list of a transaction counts, and what is left is
// for those nested in it) and 1.5 MiB.
const (
	maxTxnOps   = 100
	maxTxnDepth = 126 // a turn (turn.go) takes one place more
	maxTxnBytes = 1 << 20
)

// batch is a set of operations that may share a transaction: none of them writes what another one writes, nor
// looks at what an earlier one writes, since all conditions are judged before anything is written.
type batch struct {
	ops     []*Op
	slots   int
	depth   int // the longest list of a nested transaction
	size    int
	points  map[string]struct{}
	spans   [][2]string
	serials map[string]struct{}
}

// fits tells whether op can join.
func (b *batch) fits(op *Op, limitBytes int) bool {
	if len(b.ops) == 0 {
		return true
	}
	slots := b.slots + op.slots()
	if slots > maxTxnOps || slots+max(b.depth, op.depth()) > maxTxnDepth || b.size+op.size() > limitBytes {
		return false
	}
	if _, taken := b.serials[op.serial]; taken && op.serial != "" {
		return false
	}
	for i := range op.when {
		if b.writes(op.when[i].key, op.when[i].end) {
			return false
		}
	}
	for i := range op.then {
		if b.writes(op.then[i].key, op.then[i].end) {
			return false
		}
	}
	return true
}

func (b *batch) writes(key, end string) bool {
	if end == "" {
		if _, ok := b.points[key]; ok {
			return true
		}
		return slices.ContainsFunc(b.spans, func(s [2]string) bool { return s[0] <= key && key < s[1] })
	}
	for p := range b.points {
		if key <= p && p < end {
			return true
		}
	}
	return slices.ContainsFunc(b.spans, func(s [2]string) bool { return s[0] < end && key < s[1] })
}

func (b *batch) add(op *Op) {
	if b.points == nil {
		b.points, b.serials = map[string]struct{}{}, map[string]struct{}{}
	}
	b.depth = max(b.depth, op.depth())
	b.ops, b.slots, b.size = append(b.ops, op), b.slots+op.slots(), b.size+op.size()
	if op.serial != "" {
		b.serials[op.serial] = struct{}{}
	}
	for i := range op.then {
		if r := &op.then[i]; r.end == "" {
			b.points[r.key] = struct{}{}
		} else {
			b.spans = append(b.spans, [2]string{r.key, r.end})
		}
	}
}

// Do runs operations in their order, in transactions of at most 100 operations and 1 MiB, and tells for each whether
// its condition held. It asks again while etcd is away, until ctx ends; an error says that
// the rest is not done, or not known to be.
//
// Where an answer was lost, and somebody else has replaced since what was written, the condition seems not to have held although it did: then
// false means that nothing of it is there any more, not that it never was.
func (s *Store) Do(ctx context.Context, ops ...Op) (done []bool, err error) {
	return s.do(ctx, nil, ops)
}

// errGuard says that the condition of a whole transaction did not hold.
var errGuard = errors.New("the guard of the transaction does not hold")

func (s *Store) do(ctx context.Context, guards []compare, ops []Op) (done []bool, err error) {
	for i := range ops {
		if ops[i].err != nil {
			return make([]bool, len(ops)), ops[i].err
		}
	}
	done = make([]bool, len(ops))
	for i := 0; i < len(ops); {
		var b batch
		for j := i; j < len(ops) && b.fits(&ops[j], maxTxnBytes); j++ {
			b.add(&ops[j])
		}
		if err := s.doBatch(ctx, guards, b.ops, done[i:i+len(b.ops)]); err != nil {
			return done, err
		}
		i += len(b.ops)
	}
	return done, nil
}

// compose makes one transaction of operations. Where there is one alone, or an operation has no condition, nothing is
// nested: that is cheaper, and etcd minds its quota only for writes that are not.
func compose(prefix string, guards []compare, ops []*Op, otherwise func(*Op) []request) *txn {
	if len(ops) == 1 && len(guards) == 0 {
		return ops[0].branch(prefix, otherwise(ops[0]))
	}
	t := &txn{when: guards, then: make([]request, 0, len(ops)+1)}
	for _, op := range ops {
		if len(op.when) == 0 {
			t.then = append(t.then, prefixed(prefix, op.then)...)
			continue
		}
		t.then = append(t.then, request{action: nest, txn: op.branch(prefix, otherwise(op))})
	}
	return t
}

// outcomes takes the result of a composed transaction apart, one for each operation; nil where a guard
// did not hold.
func outcomes(r *txnResult, guards []compare, ops []*Op) []txnResult {
	if len(ops) == 1 && len(guards) == 0 {
		return []txnResult{*r}
	}
	if !r.ok {
		return nil
	}
	all, at := make([]txnResult, len(ops)), 0
	for i, op := range ops {
		if len(op.when) == 0 {
			all[i] = txnResult{ok: true, results: r.results[at : at+len(op.then)]}
		} else {
			all[i] = *r.results[at].txn
		}
		all[i].rev = r.rev
		at += op.slots()
	}
	return all
}

// doBatch runs one transaction. Where an answer was lost, an operation whose condition does not hold any
// more has happened if what it wanted is so.
func (s *Store) doBatch(ctx context.Context, guards []compare, ops []*Op, done []bool) error {
	if slices.ContainsFunc(ops, func(op *Op) bool { return op.once }) {
		return s.doOnce(ctx, guards, ops, done)
	}
	unsure, refused := false, false
	err := s.attempt(ctx, func(ctx context.Context) error {
		r, err := s.kv.Txn(ctx, compose(s.prefix, guards, ops, func(op *Op) []request {
			if unsure {
				return op.probe()
			}
			return nil
		}))
		if err != nil {
			unsure = unsure || !definite(err)
			return err
		}
		all := outcomes(r, guards, ops)
		refused = all == nil
		for i := range all {
			done[i] = all[i].ok || unsure && ops[i].happened(all[i].results)
		}
		return nil
	})
	if refused {
		return errGuard
	}
	if errors.Is(err, errNoSpace) && len(ops) > 1 {
		return s.doFreeing(ctx, guards, ops, done)
	}
	return coded(err, "write %d changes", len(ops))
}

// doFreeing runs those operations that make room, which etcd accepts when it is full, and fails for the others.
func (s *Store) doFreeing(ctx context.Context, guards []compare, ops []*Op, done []bool) error {
	var freeing []*Op
	var index []int
	for i, op := range ops {
		if op.frees() {
			freeing, index = append(freeing, op), append(index, i)
		}
	}
	if len(freeing) > 0 && len(freeing) < len(ops) {
		freed := make([]bool, len(freeing))
		if err := s.doBatch(ctx, guards, freeing, freed); err != nil {
			return err
		}
		for j, i := range index {
			done[i] = freed[j]
		}
	}
	return coded(errNoSpace, "write %d changes", len(ops)-len(freeing))
}

// deciding are the writes by which happened judges.
func (op *Op) deciding() []request {
	if op.verdict > 0 {
		return op.then[:op.verdict]
	}
	return op.then
}

// probe reads what the operation would write.
func (op *Op) probe() []request {
	writes := op.deciding()
	reads := make([]request, len(writes))
	for i := range writes {
		reads[i] = request{action: get, key: writes[i].key, end: writes[i].end}
	}
	return reads
}

// happened tells whether everything is as the operation would have left it.
func (op *Op) happened(probed []result) bool {
	for i, w := range op.deciding() {
		kvs := probed[i].kvs
		switch w.action {
		case put:
			if len(kvs) != 1 || !bytes.Equal(kvs[0].value, w.value) {
				return false
			}
		case del:
			if len(kvs) > 0 {
				return false
			}
		}
	}
	return true
}

// ErrNotLeader refuses a write of a master that does not lead, or not any more.
var ErrNotLeader error = job.Errorf(job.CodeConflict, "this master does not lead any more")
