package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/seed"
)

var _ = seed.Fix()

// The double against etcd itself: whatever is asked, both answer alike.
func TestMemoryIsEtcd(t *testing.T) {
	t.Parallel()
	srv := embedded(t, t.TempDir())
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Store()
		defer s.Close()
		pair := &twins{ctx: context.Background(), prefix: fmt.Sprintf("/%d/", n), kv: [2]kv{s.kv, srv.store.kv}}
		pair.base[0], pair.base[1] = m.Revision(), must(srv.store.kv.Range(pair.ctx, request{key: "x"})).rev
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			pair.step(t)
		}
		if n%8 == 0 { // etcd catches up with watches of the past ten times a second
			pair.compareAll(t)
		}
	})
}

// twins are two implementations, whose revisions and leases differ by what was before.
type twins struct {
	ctx    context.Context
	prefix string
	kv     [2]kv
	base   [2]int64
	leases [2][]int64
	last   int64 // relative revision
}

func (tw *twins) key(t *rapid.T) string {
	return tw.prefix + rapid.SampledFrom([]string{"a", "b", "b/c", "b/d", "e"}).Draw(t, "key")
}

func (tw *twins) span(t *rapid.T) (string, string) {
	key := tw.key(t)
	if rapid.IntRange(0, 3).Draw(t, "range") == 0 {
		return key, tw.prefix + "b/z"
	}
	return key, ""
}

// request draws one operation; revisions and leases in it are relative.
func (tw *twins) request(t *rapid.T, depth int) request {
	kinds := []action{get, put, put, put, del}
	if depth > 0 {
		kinds = append(kinds, nest, nest)
	}
	r := request{action: rapid.SampledFrom(kinds).Draw(t, "action")}
	switch r.action {
	case get, del:
		r.key, r.end = tw.span(t)
	case put:
		r.key, r.value = tw.key(t), []byte(rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "value"))
		if n := len(tw.leases[0]); n > 0 {
			r.lease = int64(rapid.IntRange(0, n).Draw(t, "lease"))
		}
		if rapid.IntRange(0, 7).Draw(t, "keep") == 0 {
			r.value, r.keepValue = nil, true
		}
	case nest:
		r.txn = tw.txn(t, depth-1)
	}
	return r
}

func (tw *twins) txn(t *rapid.T, depth int) *txn {
	x := &txn{}
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		c := compare{
			target: rapid.SampledFrom([]target{byCreate, byMod, byVersion, byValue, byLease}).Draw(t, "target"),
			op:     rapid.SampledFrom([]byte{'=', '!', '<', '>'}).Draw(t, "op"),
			number: int64(rapid.IntRange(0, int(tw.last)+1).Draw(t, "number")),
			value:  []byte(rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "value")),
		}
		c.key, c.end = tw.span(t)
		if c.target == byLease || c.target == byVersion {
			c.number = int64(rapid.IntRange(0, 2).Draw(t, "small"))
		}
		x.when = append(x.when, c)
	}
	for range rapid.IntRange(0, 3).Draw(t, "then") {
		x.then = append(x.then, tw.request(t, depth))
	}
	for range rapid.IntRange(0, 2).Draw(t, "otherwise") {
		x.otherwise = append(x.otherwise, tw.request(t, depth))
	}
	return x
}

// absolute turns relative revisions and leases into those of one twin.
func (tw *twins) absolute(i int, x *txn) *txn {
	c := &txn{when: slices.Clone(x.when), then: slices.Clone(x.then), otherwise: slices.Clone(x.otherwise)}
	for j := range c.when {
		switch w := &c.when[j]; {
		case (w.target == byCreate || w.target == byMod) && w.number > 0:
			w.number += tw.base[i]
		case w.target == byLease:
			w.number = tw.lease(i, w.number)
		}
	}
	for _, branch := range [...][]request{c.then, c.otherwise} {
		for j := range branch {
			branch[j].lease = tw.lease(i, branch[j].lease)
			if branch[j].txn != nil {
				branch[j].txn = tw.absolute(i, branch[j].txn)
			}
		}
	}
	return c
}

func (tw *twins) lease(i int, n int64) int64 {
	if n == 0 || int(n) > len(tw.leases[i]) {
		return 0
	}
	return tw.leases[i][n-1]
}

func (tw *twins) relative(i int, rev int64) int64 {
	if rev == 0 {
		return 0
	}
	return rev - tw.base[i]
}

func (tw *twins) show(i int, kvs []keyValue) string {
	var b strings.Builder
	for _, kv := range kvs {
		fmt.Fprintf(&b, "%s=%q create %d mod %d version %d lease %d; ", kv.key, kv.value,
			tw.relative(i, kv.create), tw.relative(i, kv.mod), kv.version, slices.Index(tw.leases[i], kv.lease)+1)
	}
	return b.String()
}

func (tw *twins) result(i int, r *txnResult) string {
	if r == nil {
		return "-"
	}
	s := fmt.Sprintf("ok %v [", r.ok)
	for _, one := range r.results {
		s += fmt.Sprintf("{%s count %d deleted %d %s}", tw.show(i, one.kvs), one.count, one.deleted, tw.result(i, one.txn))
	}
	return s + "]"
}

func (tw *twins) step(t *rapid.T) {
	var got [2]string
	switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
	case what < 7:
		x := tw.txn(t, 2)
		for i, k := range tw.kv {
			r, err := k.Txn(tw.ctx, tw.absolute(i, x))
			got[i] = fmt.Sprint(tw.result(i, r), err)
			if err == nil {
				tw.last = tw.relative(i, r.rev)
				got[i] += fmt.Sprint(" at ", tw.last)
			}
		}
	case what == 7:
		for i, k := range tw.kv {
			id, _, err := k.Grant(tw.ctx, 600)
			if err != nil {
				t.Fatal(err)
			}
			tw.leases[i] = append(tw.leases[i], id)
		}
	case what == 8 && len(tw.leases[0]) > 0:
		n := int64(rapid.IntRange(1, len(tw.leases[0])).Draw(t, "revoked"))
		for i, k := range tw.kv {
			keys, err := k.LeaseKeys(tw.ctx, tw.lease(i, n))
			got[i] = fmt.Sprint(keys, err, k.Revoke(tw.ctx, tw.lease(i, n)))
		}
	default:
		key, end := tw.span(t)
		rev := int64(rapid.IntRange(0, int(tw.last)).Draw(t, "rev"))
		limit := int64(rapid.IntRange(0, 3).Draw(t, "limit"))
		for i, k := range tw.kv {
			r := request{key: key, end: end, limit: limit}
			if rev > 0 {
				r.rev = tw.base[i] + rev
			}
			out, err := k.Range(tw.ctx, r)
			if got[i] = fmt.Sprint(err); err == nil {
				got[i] = fmt.Sprint(tw.show(i, out.kvs), out.more)
			}
		}
	}
	if got[0] != got[1] {
		t.Fatalf("memory: %s\netcd:   %s", got[0], got[1])
	}
}

// compareAll compares what stands and what watches tell.
func (tw *twins) compareAll(t *rapid.T) {
	var got [2]string
	for i, k := range tw.kv {
		all := must(k.Range(tw.ctx, request{key: tw.prefix, end: prefixEnd(tw.prefix)}))
		must(k.Txn(tw.ctx, &txn{then: []request{{action: put, key: tw.prefix + "~"}}}))
		got[i] = tw.show(i, all.kvs) + "\n"
		ctx, cancel := context.WithTimeout(tw.ctx, 10*time.Second)
		for end := false; !end; {
			end = ctx.Err() != nil
			for r := range k.Watch(ctx, tw.prefix, prefixEnd(tw.prefix), tw.base[i]+1) {
				for _, c := range r.changes {
					got[i] += fmt.Sprintf("%v %s", c.deleted, tw.show(i, []keyValue{c.kv}))
					end = end || c.kv.key == tw.prefix+"~"
				}
				if got[i] += fmt.Sprint("| ", r.err); end || r.err != nil {
					break
				}
			}
		}
		cancel()
	}
	// A watch of the past may bring several revisions in one result; the order is the same.
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], "| <nil>", "")
	}
	if got[0] != got[1] {
		t.Fatalf("memory: %s\netcd:   %s", got[0], got[1])
	}
}

// Claims, floors and locks against a naive model, with answers lost all the while.
func TestRightsAgainstAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var failed any
		synctest.Test(t, func(*testing.T) {
			defer func() { failed = recover() }() // rapid ends a test by a panic, which must not leave the bubble
			checkRights(rt)
		})
		if failed != nil {
			panic(failed)
		}
	})
}

func checkRights(t *rapid.T) {
	m := NewMemory(MemoryOptions{})
	defer m.Close()
	var faults atomic.Bool
	var calls atomic.Uint64
	m.OnCall(func(_ context.Context, c Call) error {
		if faults.Load() && c.Op == "txn" && seed.Rand(calls.Add(1)).IntN(6) == 0 {
			return ErrCut
		}
		return nil
	})
	ctx, task := context.Background(), job.Ref("", "t")
	var sessions [3]*Session
	for i := range sessions {
		s := m.Store()
		defer s.Close()
		sessions[i] = must(s.Join(ctx, presence(job.NodeID(fmt.Sprint("n", i)), fmt.Sprint("s", i)), time.Hour))
	}
	faults.Store(true)
	s := sessions[0].s
	var floor, fence int64 = -1, 0
	claimed, holder, fences := map[int64]int{}, -1, map[int64]int64{}
	at := func(n int64) time.Time { return day.Add(time.Duration(n) * time.Minute) }
	floorAt := func() time.Time {
		if floor < 0 {
			return time.Time{}
		}
		return at(floor)
	}
	for range rapid.IntRange(1, 30).Draw(t, "steps") {
		i := rapid.IntRange(0, 2).Draw(t, "session")
		n := int64(rapid.IntRange(1, 8).Draw(t, "instant"))
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0, 1:
			got, err := sessions[i].Claim(ctx, job.Claim{Task: task, Instant: at(n), Job: "h"})
			by, taken := claimed[n]
			switch {
			case floor < 0 || n <= floor || taken && by != i:
				if err == nil {
					t.Fatalf("%d claimed %d: floor %d, claimed by %v", i, n, floor, claimed)
				}
			case err != nil:
				t.Fatalf("%d could not claim %d: %v; floor %d, claimed by %v", i, n, err, floor, claimed)
			case taken && got != fences[n]:
				t.Fatalf("fence %d is now %d", fences[n], got)
			case !taken:
				if got <= fence {
					t.Fatalf("fence %d after %d", got, fence)
				}
				fence, claimed[n], fences[n] = got, i, got
			}
		case 2:
			done := must(s.Do(ctx, InitFloor(task, at(0))))
			// With an answer lost, what stands as it was wanted counts as done.
			if floor < 0 && !done[0] || floor > 0 && done[0] {
				t.Fatalf("opened %v at floor %d", done, floor)
			}
			floor = max(floor, 0)
		case 3:
			empty := rapid.Bool().Draw(t, "empty")
			if n <= floor {
				continue
			}
			want := true
			for c := range claimed {
				want = want && !(empty && c > floor && c <= n)
			}
			if floor < 0 {
				want = want && len(claimed) == 0
			}
			done := must(s.Do(ctx, Settle(task, floorAt(), at(n), nil, empty)))
			if done[0] != want {
				t.Fatalf("settled %v to %d, empty %v: floor %d, claimed by %v", done[0], n, empty, floor, claimed)
			}
			if done[0] {
				floor = n
				for c := range claimed {
					if c <= n {
						delete(claimed, c)
					}
				}
			}
		case 4:
			got, by, err := sessions[i].Lock(ctx, job.Lock{Task: task, Run: job.RunID(fmt.Sprint("r", i))})
			if err != nil || (by == nil) != (holder < 0 || holder == i) || by == nil && got == 0 {
				t.Fatalf("%d locked: %d, %v, %v; held by %d", i, got, by, err, holder)
			}
			if by == nil {
				holder = i
			}
		case 5:
			if err := sessions[i].Unlock(ctx, job.Lock{Task: task, Run: job.RunID(fmt.Sprint("r", i))}); err != nil {
				t.Fatal(err)
			}
			if holder == i {
				holder = -1
			}
		}
	}
	faults.Store(false)
	if n := must(s.Claims().Count(ctx)); n != int64(len(claimed)) {
		t.Fatalf("%d claims stand, %d should", n, len(claimed))
	}
}

func FuzzKeys(f *testing.F) {
	for _, s := range []string{
		"tasks/default/backup", "config/global/K", "config/group/g/K", "config/group/K", "claims/g/t/2026-11-22T00:00:00Z",
		"claims/g/t/2026-11-22T00:00:00.5Z", "records/-/r", "proc/n/g/j/1", "tasks//x", "tasks/a/../b", "settled/g/t/", "nodes/\x00", "jobs/n/é",
	} {
		f.Add(s)
	}
	layouts := []layout{taskKeys, nodeKeys, jobKeys, processKeys, recordKeys, claimKeys, configKeys, floorKeys}
	f.Fuzz(func(t *testing.T, key string) {
		for _, l := range layouts {
			parts, err := l.parse(key)
			if err != nil {
				continue
			}
			if again, err := l.key(parts...); err != nil || again != key {
				t.Errorf("%q is %q, and that %q, %v", key, parts, again, err)
			}
			from, end, err := l.span(parts[:len(parts)-1]...)
			if err != nil || key < from || key >= end {
				t.Errorf("%q is not in [%q, %q), %v", key, from, end, err)
			}
		}
		parts := strings.Split(key, "/")
		for _, l := range layouts {
			if k, err := l.key(parts...); err == nil {
				if again, err := l.parse(k); err != nil || !slices.Equal(again, parts) {
					t.Errorf("%q has the key %q, and that has %q, %v", parts, k, again, err)
				}
			}
		}
	})
}
