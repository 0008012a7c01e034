package store

import (
	"context"
	"slices"
	"time"
)

// Told is one step of a watch, as [Memory.OnTell] sees it.
type Told struct {
	Client   string // the name given to [Memory.Client]
	Key      string // where the watch begins, with its prefix
	Revision int64
}

// OnTell has f called before a watch is told of something, without any lock: the watch hears of it, and of what follows, when f
// returns. An error ends the watch with it, as a broken connection does.
func (m *Memory) OnTell(f func(ctx context.Context, w Told) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onTell = f
}

func (c *memoryClient) told(ctx context.Context, w *watcher, rev int64) error {
	c.m.mu.Lock()
	hook := c.m.onTell
	c.m.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(ctx, Told{Client: c.name, Key: w.key, Revision: rev})
}

// later is what [Call.Later] is for a transaction.
func (c *memoryClient) later(t *txn) func(time.Duration) {
	return func(d time.Duration) {
		own := copyTxn(t)
		time.AfterFunc(d, func() {
			c.m.mu.Lock()
			defer c.m.mu.Unlock()
			if !c.m.closed {
				c.m.expire()
				_, _ = c.m.txn(c.m.tampered.with(c.name, own))
			}
		})
	}
}

func copyTxn(t *txn) *txn {
	c := txn{when: slices.Clone(t.when), then: slices.Clone(t.then), otherwise: slices.Clone(t.otherwise)}
	for _, branch := range [...][]request{c.then, c.otherwise} {
		for i := range branch {
			if branch[i].action == nest {
				branch[i].txn = copyTxn(branch[i].txn)
			}
		}
	}
	return &c
}

// Tampering is what an etcd does that is not to be relied upon. It shows that a test sees: a promise that holds all the same was
// not looked at. Keys are given with their prefix.
type Tampering struct {
	Ignore func(client, key string) bool                // a condition on the key counts as true
	Drop   func(client, key string, deletion bool) bool // a write of the key is answered and not carried out
	Change func(client, key string, value []byte) []byte
}

// Tamper has all transactions from now on tampered with; nil: none.
func (m *Memory) Tamper(t *Tampering) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tampered = t
}

// with is a transaction as it is carried out.
func (f *Tampering) with(client string, t *txn) *txn {
	if f == nil {
		return t
	}
	c := copyTxn(t)
	f.tamper(client, c)
	return c
}

func (f *Tampering) tamper(client string, t *txn) {
	if f.Ignore != nil {
		t.when = slices.DeleteFunc(t.when, func(c compare) bool { return f.Ignore(client, c.key) })
	}
	for _, branch := range [...][]request{t.then, t.otherwise} {
		for i := range branch {
			switch r := &branch[i]; {
			case r.action == nest:
				f.tamper(client, r.txn)
			case r.action != put && r.action != del:
			case f.Drop != nil && f.Drop(client, r.key, r.action == del):
				*r = request{action: get, key: r.key, countOnly: true}
			case f.Change != nil && r.action == put:
				r.value = f.Change(client, r.key, r.value)
			}
		}
	}
}
