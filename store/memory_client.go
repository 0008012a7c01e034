package store

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// memoryClient is one client of a [Memory].
type memoryClient struct {
	m     *Memory
	name  string
	clock clock
	wg    sync.WaitGroup // of watches
}

// etcd's default limits.
const (
	etcdMaxTxnOps     = 128
	etcdMaxRequest    = 3 << 19 // 1.5 MiB
	requestOverheadOp = 16
)

// call surrounds what a client asks for with the faults.
func (c *memoryClient) call(ctx context.Context, what Call, f func() error) error {
	what.Client = c.name
	before := func() error {
		c.m.mu.Lock()
		hook, cut := c.m.onCall, c.m.cut[c.name]
		c.m.mu.Unlock()
		if cut {
			return ErrCut
		}
		if hook != nil {
			return hook(ctx, what)
		}
		return nil
	}
	if err := cmp.Or(ctx.Err(), before()); err != nil {
		return err
	}
	c.m.mu.Lock()
	c.m.expire()
	err := f()
	c.m.mu.Unlock()
	what.After, what.Err = true, err
	if lost := before(); lost != nil {
		return lost
	}
	return err
}

func (c *memoryClient) Range(ctx context.Context, r request) (got *rangeResult, err error) {
	err = c.call(ctx, Call{Op: "range", Keys: []string{r.key}}, func() error {
		if r.rev > c.m.rev {
			return errFutureRev
		}
		if r.rev > 0 && r.rev < c.m.compacted {
			return errCompacted
		}
		got = c.m.read(&r, r.rev)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

func (c *memoryClient) Txn(ctx context.Context, t *txn) (done *txnResult, err error) {
	what := Call{Op: "txn"}
	written(t, func(r *request) { what.Keys = append(what.Keys, r.key) })
	what.Later = c.later(t)
	err = c.call(ctx, what, func() error {
		done, err = c.m.txn(c.m.tampered.with(c.name, t))
		return err
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// written visits everything that a transaction may write.
func written(t *txn, visit func(*request)) {
	for _, branch := range [...][]request{t.then, t.otherwise} {
		for i := range branch {
			switch r := &branch[i]; r.action {
			case put, del:
				visit(r)
			case nest:
				written(r.txn, visit)
			}
		}
	}
}

func (m *Memory) txn(t *txn) (*txnResult, error) {
	if !countOps(t, etcdMaxTxnOps) {
		return nil, errTooManyOps
	}
	if _, _, err := intervals([]request{{action: nest, txn: t}}); err != nil {
		return nil, err
	}
	bytes := 0
	written(t, func(r *request) { bytes += len(r.key) + len(r.end) + len(r.value) + requestOverheadOp })
	if bytes > etcdMaxRequest {
		return nil, errTooLarge
	}
	plainPut := func(r request) bool { return r.action == put }
	if m.alarm == "NOSPACE" && (slices.ContainsFunc(t.then, plainPut) || slices.ContainsFunc(t.otherwise, plainPut)) {
		return nil, errNoSpace
	}
	m.choose(t)
	if err := m.check(t); err != nil {
		return nil, err
	}
	branch := t.then
	if !t.chosen {
		branch = t.otherwise
	}
	results := m.apply(branch)
	return &txnResult{rev: m.rev, ok: t.chosen, results: results}, nil
}

// countOps is etcd's rule: the longest list of a transaction counts, and leaves the rest to those nested in it.
func countOps(t *txn, limit int) bool {
	n := max(len(t.when), len(t.then), len(t.otherwise))
	if n > limit {
		return false
	}
	for _, branch := range [...][]request{t.then, t.otherwise} {
		for i := range branch {
			if branch[i].action == nest && !countOps(branch[i].txn, limit-n) {
				return false
			}
		}
	}
	return true
}

// intervals is etcd's check that no key is written twice: it collects puts and deletions, those of nested transactions
// first, and refuses a put of what another one puts or an earlier one deletes.
func intervals(requests []request) (puts map[string]struct{}, dels [][2]string, err error) {
	puts = map[string]struct{}{}
	deleted := func(k string) bool {
		return slices.ContainsFunc(dels, func(d [2]string) bool { return d[1] == "" && k == d[0] || d[0] <= k && k < d[1] })
	}
	for i := range requests {
		if requests[i].action == del {
			dels = append(dels, [2]string{requests[i].key, requests[i].end})
		}
	}
	for i := range requests {
		if requests[i].action != nest {
			continue
		}
		thenPuts, thenDels, err := intervals(requests[i].txn.then)
		if err != nil {
			return nil, nil, err
		}
		elsePuts, elseDels, err := intervals(requests[i].txn.otherwise)
		if err != nil {
			return nil, nil, err
		}
		for k := range thenPuts {
			if _, ok := puts[k]; ok || deleted(k) {
				return nil, nil, errDuplicateKey
			}
			puts[k] = struct{}{}
		}
		for k := range elsePuts {
			_, ok := puts[k]
			_, safe := thenPuts[k]
			if ok && !safe || deleted(k) {
				return nil, nil, errDuplicateKey
			}
			puts[k] = struct{}{}
		}
		dels = append(append(dels, thenDels...), elseDels...)
	}
	for i := range requests {
		if requests[i].action != put {
			continue
		}
		if _, ok := puts[requests[i].key]; ok || deleted(requests[i].key) {
			return nil, nil, errDuplicateKey
		}
		puts[requests[i].key] = struct{}{}
	}
	return puts, dels, nil
}

// choose judges all conditions on the state as it is.
func (m *Memory) choose(t *txn) {
	t.chosen = !slices.ContainsFunc(t.when, func(c compare) bool { return !m.holds(&c) })
	branch := t.then
	if !t.chosen {
		branch = t.otherwise
	}
	for i := range branch {
		if branch[i].action == nest {
			m.choose(branch[i].txn)
		}
	}
}

// check refuses what could not be applied: puts under leases that are gone, and of values that are.
func (m *Memory) check(t *txn) error {
	branch := t.then
	if !t.chosen {
		branch = t.otherwise
	}
	for i := range branch {
		switch r := &branch[i]; r.action {
		case put:
			if _, ok := m.leases[r.lease]; !ok && r.lease != 0 {
				return errLeaseNotFound
			}
			if it := m.index.find(r.key); r.keepValue && (it == nil || it.live() == nil) {
				return errKeyNotFound
			}
		case nest:
			if err := m.check(r.txn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Memory) holds(c *compare) bool {
	found := false
	for it := range m.index.ascend(c.key, c.end) {
		if kv := it.live(); kv != nil {
			if found = true; !c.holds(kv) {
				return false
			}
		}
	}
	return found || c.target != byValue && c.holds(&keyValue{})
}

func (c *compare) holds(kv *keyValue) bool {
	var sign int
	switch c.target {
	case byValue:
		sign = bytes.Compare(kv.value, c.value)
	case byCreate:
		sign = cmp.Compare(kv.create, c.number)
	case byMod:
		sign = cmp.Compare(kv.mod, c.number)
	case byVersion:
		sign = cmp.Compare(kv.version, c.number)
	case byLease:
		sign = cmp.Compare(kv.lease, c.number)
	}
	switch c.op {
	case '<':
		return sign < 0
	case '>':
		return sign > 0
	case '!':
		return sign != 0
	}
	return sign == 0
}

func (c *memoryClient) Grant(ctx context.Context, seconds int64) (id, granted int64, err error) {
	err = c.call(ctx, Call{Op: "grant"}, func() error {
		if c.m.alarm == "NOSPACE" {
			return errNoSpace
		}
		granted = max(seconds, 1)
		c.m.lastLease++
		id = c.m.lastLease
		expires := c.m.opts.Now().Add(time.Duration(granted) * time.Second)
		c.m.leases[id] = &memoryLease{seconds: granted, keys: map[string]struct{}{}, expires: expires}
		if c.m.nextExpiry.IsZero() || expires.Before(c.m.nextExpiry) {
			c.m.nextExpiry = expires
			c.m.arm()
		}
		return nil
	})
	return id, granted, err
}

func (c *memoryClient) KeepAlive(ctx context.Context, id int64) (seconds int64, err error) {
	err = c.call(ctx, Call{Op: "keepalive"}, func() error {
		l := c.m.leases[id]
		if l == nil {
			return errLeaseNotFound
		}
		seconds = l.seconds
		l.expires = c.m.opts.Now().Add(time.Duration(l.seconds) * time.Second)
		return nil
	})
	return seconds, err
}

func (c *memoryClient) Revoke(ctx context.Context, id int64) error {
	return c.call(ctx, Call{Op: "revoke"}, func() error {
		if c.m.leases[id] == nil {
			return errLeaseNotFound
		}
		c.m.revoke(id)
		return nil
	})
}

func (c *memoryClient) LeaseKeys(ctx context.Context, id int64) (keys []string, err error) {
	err = c.call(ctx, Call{Op: "keys"}, func() error {
		l := c.m.leases[id]
		if l == nil {
			return errLeaseNotFound
		}
		for k := range l.keys {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		return nil
	})
	return keys, err
}

func (c *memoryClient) Alarm(ctx context.Context) (alarm string, err error) {
	err = c.call(ctx, Call{Op: "alarm"}, func() error {
		alarm = c.m.alarm
		return nil
	})
	return alarm, err
}

func (c *memoryClient) Compact(ctx context.Context, rev int64) error {
	return c.call(ctx, Call{Op: "compact"}, func() error { return c.m.compact(rev) })
}

func (c *memoryClient) Clock() clock { return c.clock }

func (c *memoryClient) Close() error {
	c.m.mu.Lock()
	c.m.watchers.fail(ErrCut, func(w *watcher) bool { return w.owner == c })
	c.m.mu.Unlock()
	c.wg.Wait()
	return nil
}
