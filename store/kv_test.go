package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// The contract of kv: what both implementations do alike.

func write(key, v string) request { return request{action: put, key: key, value: []byte(v)} }

func remove(key, end string) request { return request{action: del, key: key, end: end} }

func (fx *fixture) txn(t *txn) *txnResult {
	fx.t.Helper()
	return must(fx.kv.Txn(fx.t.Context(), t))
}

func TestKVRevisions(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, p := t.Context(), fx.prefix
		first := fx.txn(&txn{then: []request{write(p+"a", "1"), write(p+"b", "1")}}).rev
		second := fx.txn(&txn{then: []request{write(p+"a", "2")}}).rev
		if second <= first {
			t.Fatalf("revision %d after %d", second, first)
		}
		a := fx.read("a")
		if a.create != first || a.mod != second || a.version != 2 || string(a.value) != "2" {
			t.Errorf("a is %+v", a)
		}
		old := must(fx.kv.Range(ctx, request{key: p, end: prefixEnd(p), rev: first}))
		if len(old.kvs) != 2 || string(old.kvs[0].value) != "1" || old.more {
			t.Errorf("at %d: %+v", first, old)
		}
		fx.txn(&txn{then: []request{remove(p+"a", "")}})
		fx.txn(&txn{then: []request{write(p+"a", "3")}})
		if a := fx.read("a"); a.version != 1 || a.create <= second {
			t.Errorf("made again: %+v", a)
		}
		if got := must(fx.kv.Range(ctx, request{key: p, end: prefixEnd(p), limit: 1})); !got.more || len(got.kvs) != 1 || got.kvs[0].key != p+"a" {
			t.Errorf("a page: %+v", got)
		}
		if got := must(fx.kv.Range(ctx, request{key: p, end: prefixEnd(p), countOnly: true})); got.count != 2 || len(got.kvs) != 0 {
			t.Errorf("a count: %+v", got)
		}
		if got := must(fx.kv.Range(ctx, request{key: p, end: prefixEnd(p), keysOnly: true})); len(got.kvs) != 2 || len(got.kvs[0].value) != 0 {
			t.Errorf("keys: %+v", got)
		}
		if _, err := fx.kv.Range(ctx, request{key: p + "a", rev: second + 1_000_000}); !errors.Is(err, errFutureRev) {
			t.Errorf("the future: %v", err)
		}
	})
}

func TestKVTransactions(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, p := t.Context(), fx.prefix
		// All conditions are judged on the state before anything is written, also those of nested transactions.
		r := fx.txn(&txn{then: []request{
			write(p+"a", "1"),
			{action: nest, txn: &txn{when: []compare{absent(p + "a")}, then: []request{write(p+"b", "1")}, otherwise: []request{{key: p + "a"}}}},
			{action: get, key: p, end: prefixEnd(p)},
		}})
		if n := r.results[1].txn; n == nil || !n.ok {
			t.Errorf("the nested condition saw what was written beside it: %+v", n)
		}
		if got := r.results[2]; len(got.kvs) != 2 {
			t.Errorf("a read sees what was written before it: %+v", got)
		}
		for _, c := range []struct {
			what string
			c    compare
			want bool
		}{
			{"absent", absent(p + "x"), true},
			{"present", absent(p + "a"), false},
			{"revision 0 of nothing", atRevision(p+"x", 0), true},
			{"an older revision", atRevision(p+"a", r.rev-1), false},
			{"the revision", atRevision(p+"a", r.rev), true},
			{"made at", madeAt(p+"a", r.rev), true},
			{"at most, of nothing", compare{key: p + "x", target: byMod, op: '<', number: 5}, true},
			{"value", compare{key: p + "a", target: byValue, op: '=', value: []byte("1")}, true},
			{"value less", compare{key: p + "a", target: byValue, op: '<', value: []byte("2")}, true},
			{"value of nothing", compare{key: p + "x", target: byValue, op: '<', value: []byte("2")}, false},
			{"no value of nothing", compare{key: p + "x", target: byValue, op: '!', value: []byte("2")}, false},
			{"an empty range", compare{key: p + "x", end: p + "y", target: byCreate, op: '='}, true},
			{"a range with keys", compare{key: p, end: prefixEnd(p), target: byCreate, op: '='}, false},
			{"every key of a range", compare{key: p, end: prefixEnd(p), target: byCreate, op: '=', number: r.rev}, true},
			{"no lease", compare{key: p + "a", target: byLease, op: '='}, true},
			{"version", compare{key: p + "a", target: byVersion, op: '=', number: 1}, true},
		} {
			if got := fx.txn(&txn{when: []compare{c.c}}).ok; got != c.want {
				t.Errorf("%s: %v", c.what, got)
			}
		}
		before := fx.read("a").mod
		if rev := fx.txn(&txn{then: []request{remove(p+"x", "")}}).rev; fx.read("a").mod != before || rev < before {
			t.Errorf("deleting nothing made a revision: %d", rev)
		}
		nested := func(rs ...request) request { return request{action: nest, txn: &txn{then: rs}} }
		for what, c := range map[string]struct {
			rs  []request
			err error
		}{
			"twice":                {[]request{write(p+"d", "1"), write(p+"d", "2")}, errDuplicateKey},
			"twice, nested":        {[]request{nested(write(p+"d", "1")), nested(write(p+"d", "2"))}, errDuplicateKey},
			"deleted, then put":    {[]request{remove(p+"a", p+"z"), write(p+"d", "2")}, errDuplicateKey},
			"deleted, put, nested": {[]request{nested(remove(p+"a", p+"z")), nested(write(p+"d", "2"))}, errDuplicateKey},
			"no lease":             {[]request{write(p+"e", "1"), {action: put, key: p + "f", lease: 4711}}, errLeaseNotFound},
			"no value":             {[]request{write(p+"e", "1"), {action: put, key: p + "f", keepValue: true}}, errKeyNotFound},
			"too large":            {[]request{write(p+"e", string(make([]byte, 2<<20)))}, errTooLarge},
			"too many":             {slices.Repeat([]request{{key: p + "a"}}, 129), errTooManyOps},
			"too many, nested":     {slices.Repeat([]request{nested(request{key: p + "a"})}, 128), errTooManyOps},
		} {
			if _, err := fx.kv.Txn(ctx, &txn{then: c.rs}); !errors.Is(err, c.err) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if fx.read("e") != nil {
			t.Error("a refused transaction has written")
		}
		if _, err := fx.kv.Txn(ctx, &txn{then: slices.Repeat([]request{nested(request{key: p + "a"})}, maxTxnOps)}); err != nil {
			t.Errorf("%d nested: %v", maxTxnOps, err)
		}
	})
}

func TestKVLeases(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, p := t.Context(), fx.prefix
		one, ttl, err := fx.kv.Grant(ctx, 60)
		if err != nil || ttl != 60 {
			t.Fatal(ttl, err)
		}
		two, _, _ := fx.kv.Grant(ctx, 60)
		under := func(key string, lease int64) request {
			return request{action: put, key: p + key, value: []byte("v"), lease: lease}
		}
		fx.txn(&txn{then: []request{under("a", one), under("b", one), under("c", one), under("d", two)}})
		fx.txn(&txn{then: []request{{action: put, key: p + "b", keepValue: true, lease: two}, write(p+"c", "free")}})
		if b := fx.read("b"); b.lease != two || string(b.value) != "v" {
			t.Errorf("moved: %+v", b)
		}
		if keys := must(fx.kv.LeaseKeys(ctx, two)); !slices.Equal(keys, []string{p + "b", p + "d"}) {
			t.Errorf("keys: %q", keys)
		}
		if left, err := fx.kv.KeepAlive(ctx, one); left != 60 || err != nil {
			t.Errorf("keepalive: %d, %v", left, err)
		}
		if err := fx.kv.Revoke(ctx, one); err != nil {
			t.Fatal(err)
		}
		if fx.read("a") != nil || fx.read("b") == nil || fx.read("c") == nil {
			t.Errorf("exactly a should be gone: %+v %+v %+v", fx.read("a"), fx.read("b"), fx.read("c"))
		}
		for what, err := range map[string]error{
			"revoke": fx.kv.Revoke(ctx, one), "keepalive": second(fx.kv.KeepAlive(ctx, one)), "keys": second(fx.kv.LeaseKeys(ctx, one)),
		} {
			if !errors.Is(err, errLeaseNotFound) {
				t.Errorf("%s of a lease that is gone: %v", what, err)
			}
		}
		rev := fx.read("b").mod
		in := fx.kv.Watch(ctx, p, prefixEnd(p), rev+1)
		must(0, fx.kv.Revoke(ctx, two))
		var gone []string
		for _, c := range changes(t, in, 2) {
			if c.deleted {
				gone = append(gone, c.kv.key)
			}
		}
		slices.Sort(gone)
		if !slices.Contains(gone, p+"b") || !slices.Contains(gone, p+"d") {
			t.Errorf("told as gone: %q", gone)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// changes reads at least n changes.
func changes(t *testing.T, in <-chan watchResult, n int) (all []change) {
	t.Helper()
	for len(all) < n {
		select {
		case r := <-in:
			if r.err != nil {
				t.Fatal(r.err)
			}
			all = append(all, r.changes...)
		case <-time.After(time.Minute):
			t.Fatalf("%d changes of %d", len(all), n)
		}
	}
	return all
}

func TestKVWatch(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		if fx.m == nil { // the others need their past
			fx.kv = embedded(t, t.TempDir()).store.kv
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := fx.prefix
		first := fx.txn(&txn{then: []request{write(p+"a", "1"), write(p+"b", "1")}}).rev
		fx.txn(&txn{then: []request{write(p+"a", "2")}})
		past := fx.kv.Watch(ctx, p, prefixEnd(p), first)
		exact := fx.kv.Watch(ctx, p+"a", "", first)
		other := fx.kv.Watch(ctx, p+"a", p+"b", first)
		fx.txn(&txn{then: []request{remove(p, prefixEnd(p))}})
		shown := func(in <-chan watchResult, n int) (s []string) {
			for _, c := range changes(t, in, n) {
				s = append(s, fmt.Sprintf("%s=%s %v", c.kv.key[len(p):], c.kv.value, c.deleted))
			}
			return s
		}
		if got, want := shown(past, 5), []string{"a=1 false", "b=1 false", "a=2 false", "a= true", "b= true"}; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		for _, in := range []<-chan watchResult{exact, other} {
			if got, want := shown(in, 3), []string{"a=1 false", "a=2 false", "a= true"}; !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
		}
		fx.txn(&txn{then: []request{write(p+"c", "1"), write(p+"d", "1")}})
		if r := <-past; len(r.changes) != 2 || r.rev != r.changes[1].kv.mod {
			t.Errorf("one revision, one result: %+v", r)
		}
		fx.compact()
		if r := <-fx.kv.Watch(ctx, p, prefixEnd(p), first); !errors.Is(r.err, errCompacted) {
			t.Errorf("from a compacted revision: %+v", r)
		}
		if _, err := fx.kv.Range(ctx, request{key: p, end: prefixEnd(p), rev: first}); !errors.Is(err, errCompacted) {
			t.Errorf("at a compacted revision: %v", err)
		}
		cancel()
		for _, in := range []<-chan watchResult{past, exact, other} {
			for range in { //nolint:revive // it ends, that is what is asked
			}
		}
	})
}
