package store

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// Session is one life of a node's agent: its presence, its processes and its locks stand under one
// lease, which is kept alive, and replaced when it is lost. It is safe for concurrent use.
type Session struct {
	s        *Store
	presence job.Presence
	t        *tenure
	c        *committer
	p        *processes
	locks    lockSet

	lost chan struct{}
	end  sync.Once
	err  error
}

// Join registers a node's agent and keeps it registered until Close. Where another agent is alive under
// the node's name, it waits until that one's lease must have run out (a ttl and a second), then it is
// [job.CodeConflict]. It does not wait for an etcd that is away.
func (s *Store) Join(ctx context.Context, p job.Presence, ttl time.Duration) (*Session, error) {
	if err := job.CheckName("session", p.Session); err != nil {
		return nil, err
	}
	key, data, err := onlineKind.marshal(&p)
	if err != nil {
		return nil, err
	}
	ss := &Session{s: s, presence: p, c: newCommitter(s), lost: make(chan struct{}, 1)}
	ss.p = newProcesses(ss)
	ss.locks.held = map[string]*heldLock{}
	ss.t = &tenure{
		s: s, key: s.full(key), what: "node " + string(p.Node), value: data, renewed: ss.renewed,
		mine: func(value []byte) bool {
			var other job.Presence
			return bytes.Equal(value, data) || json.Unmarshal(value, &other) == nil && other.Session == p.Session
		},
	}
	if p.Replaces != "" {
		if ss.t.cur, err = s.replaced(ctx, ss.t.key, p.Replaces, p.Keeps); err != nil {
			return nil, err
		}
	}
	if old := p.Replaces; ss.t.cur != nil {
		mine := ss.t.mine
		ss.t.mine = func(value []byte) bool {
			var other job.Presence
			return mine(value) || json.Unmarshal(value, &other) == nil && other.Session == old
		}
	}
	if err := ss.t.take(ctx, ttl, ss.c.run, ss.p.run); err != nil {
		return nil, err
	}
	return ss, nil
}

// renewed tells the others that everything under the lease was lost.
func (ss *Session) renewed() {
	ss.p.forget()
	select {
	case ss.lost <- struct{}{}:
	default:
	}
}

// Left is how long the session's keys are certain to stand, as far as is known now: counted from the moment at
// which the last confirmed keepalive was sent, on a clock that goes on while the machine is suspended. It is 0 once
// that cannot be said any more; whoever holds a lock must have ended what it protects by then.
func (ss *Session) Left() time.Duration { return ss.t.left() }

// Err says why the node is not registered: [job.CodeConflict] while another agent has its name,
// [job.CodeUnavailable] while the lease cannot be confirmed. It is nil while all is well.
func (ss *Session) Err() error {
	ss.t.mu.Lock()
	err := ss.t.err
	ss.t.mu.Unlock()
	if err == nil && ss.Left() == 0 {
		err = job.Errorf(job.CodeUnavailable, "the lease of %s cannot be confirmed", ss.t.what)
	}
	return err
}

// Lost receives when the lease has been replaced. Presence and processes stand again; locks do not and
// are never taken again by themselves. It has room for one signal; a second one before the first is taken says
// nothing more.
func (ss *Session) Lost() <-chan struct{} { return ss.lost }

// Epoch counts how often the lease was lost. A lock that was taken in an earlier epoch (read before [Session.Lock])
// is lost.
func (ss *Session) Epoch() int64 {
	ss.t.mu.Lock()
	defer ss.t.mu.Unlock()
	return ss.t.losses
}

// Done is closed when the session is over: by Close, or with its store.
func (ss *Session) Done() <-chan struct{} { return ss.t.over }

// Presence is what the session registered.
func (ss *Session) Presence() job.Presence { return ss.presence }

// SetTTL changes the length of the lease. Everything stays as it is: presence, processes and locks move to
// the new lease before the old one is given back, and until then Left is that of the one that ends first.
func (ss *Session) SetTTL(ctx context.Context, ttl time.Duration) error { return ss.t.setTTL(ctx, ttl) }

// SetProcess says that a process is alive. It does not wait: what is alive is brought to etcd a moment later,
// and again whenever the lease is replaced, so that what ends at once never gets there.
func (ss *Session) SetProcess(p *job.Process) { ss.p.set(p) }

// UnsetProcess says that a process has ended. It does not wait: its key is removed as soon as etcd allows.
func (ss *Session) UnsetProcess(p *job.Process) { ss.p.unset(p) }

// CountProcesses is how many processes of a job are alive here; of all jobs when hash is empty.
func (ss *Session) CountProcesses(hash string) int { return ss.p.count(hash) }

// Leave ends the session and lets its lease, with all that stands under it, live on for its length: the next life of the agent takes it
// over ([job.Presence] Replaces and Keeps). Left tells still how long it is certain to stand.
func (ss *Session) Leave(ctx context.Context) { ss.end.Do(func() { ss.t.leave(ctx) }) }

// Close gives the lease back, so that the node is gone at once, with its processes and locks. If etcd is away
// until ctx ends, the lease runs out by itself.
func (ss *Session) Close(ctx context.Context) error {
	ss.end.Do(func() { ss.err = ss.t.end(ctx) })
	return ss.err
}
