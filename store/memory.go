package store

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// MemoryOptions configure a [Memory].
type MemoryOptions struct {
	// Now is the clock by which leases run out; nil: time.Now.
	Now func() time.Time
	// History is how many revisions are kept before the oldest are compacted away; 0: 100,000.
	History int
	// Relist is how often watches check themselves; 0: [DefaultRelist].
	Relist time.Duration
	Logger *slog.Logger
}

// Memory is an etcd in memory, for tests: one state with revisions, history, leases and watches, and any number of
// clients, each a [Store] of its own. It can be made to fail: see [Memory.OnCall], [Memory.Cut],
// [Memory.Expire], [Memory.Compact], [Memory.SetAlarm], [Memory.OnTell], [Call.Later].
type Memory struct {
	opts MemoryOptions

	mu        sync.Mutex
	index     index
	rev       int64
	compacted int64
	log       []commit // of the revisions after compacted
	leases    map[int64]*memoryLease
	lastLease int64
	// nextExpiry is not after the first expiry of a lease; keepalives make it early, never late.
	nextExpiry time.Time
	expiry     *time.Timer
	watchers   watchers
	alarm      string
	cut        map[string]bool
	held       map[string]chan struct{} // clients whose watches are held; closed when they are not any more
	onCall     func(context.Context, Call) error
	onTell     func(context.Context, Told) error
	tampered   *Tampering
	closed     bool
}

// commit is what one revision changed.
type commit struct {
	rev     int64
	changes []change
}

type memoryLease struct {
	seconds int64
	expires time.Time
	keys    map[string]struct{}
}

// Call is one request of a client, as [Memory.OnCall] sees it.
type Call struct {
	Client string   // the name given to [Memory.Client]
	Op     string   // range, txn, watch, grant, keepalive, revoke, keys, alarm
	Keys   []string // with their prefix; of a transaction all that it may write
	After  bool     // it has been done; an error now is a lost answer
	Err    error    // of what has been done
	// Later has a transaction carried out after a time, whatever the client hears meanwhile: a request that comes late, or once more.
	// What comes of it nobody hears. It is nil where nothing is written.
	Later func(time.Duration)
}

// ErrCut is the error of a client that is cut off, and a fit one for [Memory.OnCall] to return.
var ErrCut = errors.New("the connection is cut")

// NewMemory returns an empty one.
func NewMemory(o MemoryOptions) *Memory {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.History <= 0 {
		o.History = 100_000
	}
	return &Memory{opts: o, rev: 1, leases: map[int64]*memoryLease{}, cut: map[string]bool{}}
}

// Store is a client without a name.
func (m *Memory) Store() *Store { return m.Client("") }

// Client is a store that can be told from others by the faults below.
func (m *Memory) Client(name string) *Store {
	start := m.opts.Now()
	s := newStore(&memoryClient{m: m, name: name, clock: clock{
		now:     m.opts.Now,
		elapsed: func() time.Duration { return m.opts.Now().Sub(start) },
	}}, "", m.opts.Logger)
	s.relist = cmp.Or(m.opts.Relist, s.relist)
	return s
}

// OnCall has f called before and after each request, without any lock. What it returns becomes the request's error: before
// it, nothing is done; after it, the answer is lost.
func (m *Memory) OnCall(f func(ctx context.Context, c Call) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onCall = f
}

// Cut lets every request of a client fail with [ErrCut], and ends its watches with it, until [Memory.Heal].
func (m *Memory) Cut(client string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut[client] = true
	m.watchers.fail(ErrCut, func(w *watcher) bool { return w.client == client })
}

// Heal ends Cut.
func (m *Memory) Heal(client string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.cut, client)
}

// Expire lets the lease run out under which a key stands, given with or without the default prefix. It tells
// whether there was one.
func (m *Memory) Expire(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, l := range m.leases {
		_, with := l.keys[DefaultPrefix+key]
		_, bare := l.keys[key]
		if with || bare {
			m.revoke(id)
			return true
		}
	}
	return false
}

// Compact forgets what was before a revision; 0: before the newest.
func (m *Memory) Compact(rev int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.compact(cmp.Or(rev, m.rev))
}

// Progress tells every watch how far it is, as etcd does now and then.
func (m *Memory) Progress() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watchers.all {
		w.queue(watchResult{rev: m.rev})
	}
}

// SetAlarm raises an alarm; NOSPACE refuses leases and plain puts, as etcd does. Empty: none.
func (m *Memory) SetAlarm(alarm string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alarm = alarm
}

// Revision is that of the last change.
func (m *Memory) Revision() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rev
}

// Leases is how many there are.
func (m *Memory) Leases() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	return len(m.leases)
}

// Write puts a raw value under a key below the default prefix, whatever it is.
func (m *Memory) Write(key, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apply([]request{{action: put, key: DefaultPrefix + key, value: []byte(value)}})
}

// Close stops the clock of the leases. Stores are closed by themselves.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.expiry != nil {
		m.expiry.Stop()
	}
	return nil
}

// expire lets go the leases that have run out, and sets the alarm clock for the next.
func (m *Memory) expire() {
	now := m.opts.Now()
	if m.nextExpiry.IsZero() || now.Before(m.nextExpiry) {
		return
	}
	m.nextExpiry = time.Time{}
	var gone []int64
	for id, l := range m.leases {
		if !now.Before(l.expires) {
			gone = append(gone, id)
		} else if m.nextExpiry.IsZero() || l.expires.Before(m.nextExpiry) {
			m.nextExpiry = l.expires
		}
	}
	slices.Sort(gone)
	for _, id := range gone {
		m.revoke(id)
	}
	m.arm()
}

// arm sets the alarm clock for the next expiry.
func (m *Memory) arm() {
	if m.expiry != nil {
		m.expiry.Stop()
	}
	if m.closed || m.nextExpiry.IsZero() {
		return
	}
	m.expiry = time.AfterFunc(max(m.nextExpiry.Sub(m.opts.Now()), time.Millisecond), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.closed {
			m.expire()
			m.arm()
		}
	})
}

// revoke removes a lease and, in one revision, all that stands under it.
func (m *Memory) revoke(id int64) {
	l := m.leases[id]
	delete(m.leases, id)
	keys := make([]string, 0, len(l.keys))
	for k := range l.keys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	requests := make([]request, len(keys))
	for i, k := range keys {
		requests[i] = request{action: del, key: k}
	}
	m.apply(requests)
}

// apply runs requests that need no check at the next revision and tells the watches.
func (m *Memory) apply(requests []request) []result {
	rev := m.rev + 1
	var changes []change
	results := m.execute(requests, rev, &changes)
	if len(changes) > 0 {
		m.rev = rev
		m.log = append(m.log, commit{rev, changes})
		m.watchers.tell(rev, changes)
		if len(m.log) > m.opts.History+m.opts.History/4 {
			_ = m.compact(m.rev - int64(m.opts.History))
		}
	}
	return results
}

func (m *Memory) execute(requests []request, rev int64, changes *[]change) []result {
	results := make([]result, len(requests))
	for i := range requests {
		switch r := &requests[i]; r.action {
		case get:
			got := m.read(r, 0)
			results[i] = result{kvs: got.kvs, count: got.count}
		case put:
			*changes = append(*changes, change{kv: m.put(r, rev)})
		case del:
			for _, it := range m.index.between(r.key, r.end) {
				if it.live() == nil {
					continue
				}
				results[i].deleted++
				m.detach(it.live())
				gone := change{kv: keyValue{key: it.key, mod: rev}, deleted: true}
				it.versions = append(it.versions, gone)
				*changes = append(*changes, gone)
			}
		case nest:
			// The path was chosen before anything was applied.
			branch := r.txn.then
			if !r.txn.chosen {
				branch = r.txn.otherwise
			}
			results[i].txn = &txnResult{ok: r.txn.chosen, results: m.execute(branch, rev, changes)}
		}
	}
	return results
}

func (m *Memory) put(r *request, rev int64) keyValue {
	it := m.index.at(r.key)
	kv := keyValue{key: r.key, value: r.value, create: rev, mod: rev, version: 1, lease: r.lease}
	if old := it.live(); old != nil {
		m.detach(old)
		kv.create, kv.version = old.create, old.version+1
		if r.keepValue {
			kv.value = old.value
		}
	}
	if l := m.leases[r.lease]; l != nil {
		l.keys[r.key] = struct{}{}
	}
	it.versions = append(it.versions, change{kv: kv})
	return kv
}

func (m *Memory) detach(kv *keyValue) {
	if l := m.leases[kv.lease]; l != nil {
		delete(l.keys, kv.key)
	}
}

// read reads a range at a revision; 0: as it is now, within a transaction too.
func (m *Memory) read(r *request, rev int64) *rangeResult {
	got := &rangeResult{rev: m.rev}
	for it := range m.index.ascend(r.key, r.end) {
		kv := it.live()
		if rev > 0 {
			kv = it.asOf(rev)
		}
		if kv == nil {
			continue
		}
		if r.limit > 0 && int64(len(got.kvs)) == r.limit {
			got.more = true
			return got
		}
		got.count++
		if r.countOnly {
			continue
		}
		c := *kv
		if r.keysOnly {
			c.value = nil
		}
		got.kvs = append(got.kvs, c)
	}
	return got
}

func (m *Memory) compact(rev int64) error {
	if rev <= m.compacted {
		return errCompacted
	}
	if rev > m.rev {
		return errFutureRev
	}
	m.compacted = rev
	n, _ := slices.BinarySearchFunc(m.log, rev+1, func(c commit, rev int64) int { return cmp.Compare(c.rev, rev) })
	changed := map[string]struct{}{} // once each: one that changes all the time has as many versions
	for _, c := range m.log[:n] {
		for i := range c.changes {
			changed[c.changes[i].kv.key] = struct{}{}
		}
	}
	for key := range changed {
		m.index.trim(key, rev)
	}
	m.log = slices.Clone(m.log[n:])
	return nil
}
