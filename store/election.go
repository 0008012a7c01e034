package store

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/rota-dev/rota/job"
)

// Leadership is one master's term as the leader. Its term is the revision at which it began: terms only grow, and
// a write that carries one is refused once it is over.
type Leadership struct {
	s    *Store
	k    *keeper
	id   string
	term int64

	ctx    context.Context // ends with the leadership
	cancel context.CancelFunc
	ended  chan struct{} // closed when the goroutine that keeps the lease is gone
}

// Campaign waits until this master leads, or ctx ends. It goes on through every outage. id names the process,
// for people; twins with one id are told apart by their leases.
func (s *Store) Campaign(ctx context.Context, id string, ttl time.Duration) (*Leadership, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	b := backoff{min: 50 * time.Millisecond, max: 2 * time.Second}
	for dead := int64(0); ; {
		l, holder, err := s.stand(ctx, id, ttl, dead)
		if l != nil {
			return l, nil
		}
		dead = 0
		if err == nil {
			b.reset()
			dead, err = s.awaitVacancy(ctx, holder, ttl)
		}
		if ctx.Err() != nil {
			return nil, job.Errorf(job.CodeUnavailable, "campaign as %s: %w", id, ctx.Err())
		}
		if err != nil {
			s.log.Debug("the campaign goes on", "master", id, "error", err)
			b.wait(ctx)
		}
	}
}

// stand tries once to become the leader. Where another leads it returns that one's key, unless it is as it was last written at the revision
// dead: then that leader is deposed.
func (s *Store) stand(ctx context.Context, id string, ttl time.Duration, dead int64) (l *Leadership, holder keyValue, err error) {
	key := s.full(leaderKey)
	once, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	now, err := s.kv.Range(once, request{key: key})
	if err != nil {
		return nil, holder, err
	}
	if len(now.kvs) > 0 && now.kvs[0].mod != dead {
		return nil, now.kvs[0], nil
	}
	k, err := s.grant(ctx, ttl)
	if err != nil {
		return nil, holder, err
	}
	defer func() {
		if l == nil {
			cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = k.release(cleanup) // else it runs out by itself
		}
	}()
	if len(now.kvs) > 0 { // whoever deposes must be able to lead: it has its lease
		r, err := s.kv.Txn(once, &txn{when: []compare{atRevision(key, dead)}, then: []request{{action: del, key: key}}})
		if err != nil && definite(err) {
			return nil, holder, err
		}
		if err == nil && r.ok {
			s.log.Warn("a leader that does not renew its key any more is deposed", "leader", string(now.kvs[0].value), "by", id)
		}
	}
	_, err = s.kv.Txn(once, &txn{
		when: []compare{absent(key)},
		then: []request{{action: put, key: key, value: []byte(id), lease: k.id}},
	})
	if err != nil && definite(err) {
		return nil, holder, err
	}
	// The answer may be lost, and a lease may end while its key is being put: the key itself tells, and a
	// keepalive that the lease lives.
	if err := k.beat(ctx); err != nil {
		return nil, holder, err
	}
	now, err = s.kv.Range(once, request{key: key})
	if err != nil {
		return nil, holder, err
	}
	if len(now.kvs) == 0 {
		return nil, holder, errLeaseNotFound
	}
	if now.kvs[0].lease != k.id {
		return nil, now.kvs[0], nil
	}
	l = &Leadership{s: s, k: k, id: id, term: now.kvs[0].create, ended: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(s.ctx)
	if !s.spawn(l.run) {
		l.cancel()
		return nil, holder, errClosed
	}
	return l, holder, nil
}

// A leader writes its key anew after each keepalive, three times in a ttl. Whoever sees that for a ttl no more asks etcd whether it is
// so, and waits for another half before it deposes the leader; one that can't write its key for a ttl and a quarter has ended its
// leadership by then. Mostly the lease has ended before. But when the leader dies together with etcd's own, the next one of etcd
// gives every lease its whole length again, and more.
func silence(ttl time.Duration) time.Duration { return ttl }
func grace(ttl time.Duration) time.Duration   { return ttl / 2 }
func unheard(ttl time.Duration) time.Duration { return ttl + ttl/4 }

// awaitVacancy returns when the leader's key is gone, or has to be looked at again; or, as dead, the revision at which a leader wrote it last
// who does so no more.
func (s *Store) awaitVacancy(ctx context.Context, holder keyValue, ttl time.Duration) (dead int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := s.kv.Watch(ctx, holder.key, "", holder.mod+1)
	last, doubted := holder.mod, false
	b := backoff{min: 50 * time.Millisecond, max: time.Second}
	quiet := time.NewTimer(silence(ttl))
	defer quiet.Stop()
	for {
		select {
		case r, ok := <-in:
			if !ok || errors.Is(r.err, errCompacted) {
				return 0, cmp.Or(r.err, ctx.Err())
			}
			if r.err != nil { // what was silent stays so
				if !b.wait(ctx) {
					return 0, ctx.Err()
				}
				in = s.kv.Watch(ctx, holder.key, "", last+1)
				continue
			}
			b.reset()
			for _, c := range r.changes {
				if c.deleted {
					return 0, nil
				}
				last, doubted = c.kv.mod, false
				quiet.Reset(silence(ttl))
			}
		case <-quiet.C:
			if doubted {
				return last, nil
			}
			// Nothing may come because etcd is away, or because the watch is broken.
			once, stop := context.WithTimeout(ctx, attemptTimeout)
			now, err := s.kv.Range(once, request{key: holder.key})
			stop()
			switch {
			case err != nil:
				quiet.Reset(b.delay())
			case len(now.kvs) == 0 || now.kvs[0].mod != last:
				return 0, nil // look at it anew
			case now.kvs[0].version == 1:
				quiet.Reset(silence(ttl)) // it has not written it a second time yet: the lease alone tells
			default:
				doubted = true
				quiet.Reset(grace(ttl))
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Leader tells who leads, and since which term; empty: nobody.
func (s *Store) Leader(ctx context.Context) (id string, term int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	r, err := s.kv.Range(ctx, request{key: s.full(leaderKey)})
	if err != nil {
		return "", 0, coded(err, "read who leads")
	}
	if len(r.kvs) == 0 {
		return "", 0, nil
	}
	return string(r.kvs[0].value), r.kvs[0].create, nil
}

// run keeps the lease, and ends the leadership when the lease or the key is lost, or can't be proven any more.
func (l *Leadership) run() {
	defer close(l.ended)
	margin := l.k.ttl / 10
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		defer l.cancel()
		_ = l.k.keep(l.ctx) // gone, or over: the end of ctx says both
	}()
	defer func() {
		l.cancel()
		<-kept
	}()
	check := time.NewTicker(max(l.k.ttl/40, 20*time.Millisecond))
	defer check.Stop()
	touched := time.Duration(l.k.sent.Load())
	for seen := l.k.sent.Load(); ; {
		select {
		case <-check.C:
		case <-l.ctx.Done():
			return
		}
		if l.k.left() <= margin || l.s.clock.elapsed()-touched > unheard(l.k.ttl) {
			l.s.log.Warn("the leadership cannot be proven any more", "master", l.id, "term", l.term)
			return
		}
		if sent := l.k.sent.Load(); sent != seen { // after each keepalive: the key could be gone without the lease
			at := l.s.clock.elapsed()
			done, deposed := l.touch(max(min(l.k.ttl/3, l.k.left()-margin), time.Millisecond))
			if deposed {
				l.s.log.Warn("the leader's key is lost", "master", l.id, "term", l.term)
				return
			}
			if done {
				seen, touched = sent, at
			}
		}
	}
}

// touch writes the leader's key as it is, so that others see that the leader lives, and tells whether the key is certainly another's, or
// nobody's. Where etcd's space is used up nothing can be written, but nobody else can take a lease either.
func (l *Leadership) touch(within time.Duration) (done, deposed bool) {
	ctx, cancel := context.WithTimeout(l.ctx, within)
	defer cancel()
	key := l.s.full(leaderKey)
	r, err := l.s.kv.Txn(ctx, &txn{
		when: []compare{madeAt(key, l.term)},
		then: []request{{action: put, key: key, value: []byte(l.id), lease: l.k.id}},
	})
	switch {
	case err == nil:
		return r.ok, !r.ok
	case errors.Is(err, errLeaseNotFound):
		return false, true
	case errors.Is(err, errNoSpace):
		now, err := l.s.kv.Range(ctx, request{key: key, keysOnly: true})
		return err == nil, err == nil && (len(now.kvs) == 0 || now.kvs[0].create != l.term)
	}
	return false, false
}

// Term is the number of the leadership. It only grows from one leader to the next.
func (l *Leadership) Term() int64 { return l.term }

// Done is closed when the leadership is lost, or cannot be proven any more: a keepalive has not been
// confirmed for nearly a ttl. Another may lead from then on.
func (l *Leadership) Done() <-chan struct{} { return l.ctx.Done() }

// Do is [Store.Do] for the leader: each transaction is refused with [ErrNotLeader] when the term is over.
// What was done before stays done.
func (l *Leadership) Do(ctx context.Context, ops ...Op) (done []bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	done, err = l.s.do(ctx, []compare{madeAt(l.s.full(leaderKey), l.term)}, ops)
	if errors.Is(err, errGuard) {
		l.cancel()
		return done, ErrNotLeader
	}
	if err != nil && l.ctx.Err() != nil {
		return done, ErrNotLeader
	}
	return done, err
}

// Resign ends the leadership, so that another can lead at once.
func (l *Leadership) Resign(ctx context.Context) error {
	l.cancel()
	<-l.ended
	return l.k.release(ctx)
}
