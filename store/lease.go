package store

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rota-dev/rota/job"
)

// keeper keeps one lease alive.
type keeper struct {
	s   *Store
	id  int64
	ttl time.Duration
	// sent is when the last keepalive that etcd confirmed was sent, on the store's elapsed clock. From then
	// on etcd holds the lease for a whole ttl, whenever it received it.
	sent  atomic.Int64
	users sync.WaitGroup // requests under way that put keys under the lease
}

// grant makes a lease. It does not try twice.
func (s *Store) grant(ctx context.Context, ttl time.Duration) (*keeper, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	sent := s.clock.elapsed()
	id, seconds, err := s.kv.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
	if err != nil {
		return nil, err
	}
	k := &keeper{s: s, id: id, ttl: time.Duration(seconds) * time.Second}
	k.sent.Store(int64(sent))
	return k, nil
}

// left is how long the lease is certain to live.
func (k *keeper) left() time.Duration {
	return max(0, time.Duration(k.sent.Load())+k.ttl-k.s.clock.elapsed())
}

// beat renews the lease once.
func (k *keeper) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(attemptTimeout, max(k.ttl/3, 500*time.Millisecond)))
	defer cancel()
	sent := k.s.clock.elapsed()
	if _, err := k.s.kv.KeepAlive(ctx, k.id); err != nil {
		return err
	}
	k.sent.Store(int64(sent))
	return nil
}

// keep renews the lease three times in its life, and again at once where that fails, until ctx ends or etcd
// says that the lease is gone: that alone is errLeaseNotFound.
func (k *keeper) keep(ctx context.Context) error {
	b := backoff{min: 50 * time.Millisecond, max: max(k.ttl/10, 100*time.Millisecond)}
	for {
		due := time.Duration(k.sent.Load()) + k.ttl/3 - k.s.clock.elapsed()
		if due > 0 && !sleep(ctx, due) {
			return ctx.Err()
		}
		err := k.beat(ctx)
		switch {
		case err == nil:
			b.reset()
		case errors.Is(err, errLeaseNotFound):
			return err
		case ctx.Err() != nil || !b.wait(ctx):
			return ctx.Err()
		}
	}
}

// release gives the lease back, with all that stands under it. If etcd is away the lease runs out by itself.
func (k *keeper) release(ctx context.Context) error {
	err := k.s.attempt(ctx, func(ctx context.Context) error { return k.s.kv.Revoke(ctx, k.id) })
	if errors.Is(err, errLeaseNotFound) {
		return nil
	}
	return coded(err, "give a lease back")
}

// tenure holds one key under a lease for as long as it lasts, whatever happens to the lease: a node's
// presence, a master's. The key is never taken from somebody else who lives.
type tenure struct {
	s    *Store
	key  string // as etcd has it
	what string // for messages, such as "node db1"
	// value is what stands under the key, mine tells whether a value is of this holder.
	value []byte
	mine  func(value []byte) bool
	// renewed is called after a lease that was lost has been replaced and the key stands again.
	renewed func()

	mu    sync.Mutex
	cur   *keeper
	old   *keeper // while keys move from it to cur
	ttl   time.Duration
	holds bool  // the key stands under cur
	err   error // why it does not
	// losses counts the leases that were lost with what stood under them.
	losses int64

	retune chan retune
	ctx    context.Context // ends with the tenure
	cancel context.CancelFunc
	wg     sync.WaitGroup
	over   chan struct{} // closed when nothing of it runs any more
}

// retune asks for a lease of another length.
type retune struct {
	ttl  time.Duration
	done chan error // has room for the answer
}

// take begins a tenure. Where somebody else holds the key it waits until their lease must have run out, a
// ttl and a second, then it is [job.CodeConflict]. What is given with it runs until the tenure ends.
func (t *tenure) take(ctx context.Context, ttl time.Duration, with ...func(context.Context)) error {
	k, inherited := t.cur, t.cur != nil
	if !inherited {
		var err error
		if k, err = t.s.grant(ctx, ttl); err != nil {
			return coded(err, "register %s", t.what)
		}
	}
	patience, cancel := context.WithTimeout(ctx, k.ttl+time.Second)
	defer cancel()
	b := backoff{min: 20 * time.Millisecond, max: 250 * time.Millisecond}
	var err error
	for {
		err = t.place(ctx, k)
		if err == nil || !job.IsConflict(err) || !b.wait(patience) {
			break
		}
		if beat := k.beat(ctx); beat != nil {
			err = coded(beat, "register %s", t.what)
			break
		}
	}
	if err != nil {
		if inherited {
			return err // what stands under it lives on until then
		}
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = k.release(cleanup) // it runs out by itself
		return err
	}
	t.cur, t.ttl, t.holds = k, ttl, true
	t.over = make(chan struct{})
	t.retune = make(chan retune)
	t.ctx, t.cancel = context.WithCancel(t.s.ctx)
	t.wg.Go(t.run)
	for _, f := range with {
		t.wg.Go(func() { f(t.ctx) })
	}
	if !t.s.spawn(func() {
		<-t.ctx.Done()
		t.wg.Wait()
		close(t.over)
	}) {
		return errClosed
	}
	return nil
}

// place puts the key under a lease, if it is free or this holder's own.
func (t *tenure) place(ctx context.Context, k *keeper) error {
	holder := keyValue{}
	for {
		var r *txnResult
		err := t.s.attempt(ctx, func(ctx context.Context) (err error) {
			r, err = t.s.kv.Txn(ctx, &txn{
				when:      []compare{atRevision(t.key, holder.mod)},
				then:      []request{{action: put, key: t.key, value: t.value, lease: k.id}},
				otherwise: []request{{key: t.key}},
			})
			return err
		})
		if err != nil {
			return coded(err, "register %s", t.what)
		}
		if r.ok {
			return nil
		}
		holder = keyValue{}
		if kvs := r.results[0].kvs; len(kvs) > 0 {
			if holder = kvs[0]; !t.mine(holder.value) {
				return job.Errorf(job.CodeConflict, "%s is registered by another process that is alive: %s", t.what, bytes.TrimSpace(holder.value)).
					WithHint("stop the other one, or give this one a name of its own")
			}
			if holder.lease == k.id && bytes.Equal(holder.value, t.value) {
				return nil // the answer was lost
			}
		}
	}
}

// run keeps the lease, and replaces it when it is lost, until the tenure ends.
func (t *tenure) run() {
	for t.ctx.Err() == nil {
		k := t.current()
		ctx, cancel := context.WithCancel(t.ctx)
		var err error
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			err = k.keep(ctx)
		}()
		select {
		case <-ended:
			cancel()
			if errors.Is(err, errLeaseNotFound) {
				t.s.log.Warn("a lease was lost and is replaced", "holder", t.what)
				t.replace()
			}
		case r := <-t.retune:
			cancel()
			<-ended // if it is gone, move finds that out
			r.done <- t.change(r.ttl)
		}
		cancel()
	}
}

func (t *tenure) current() *keeper {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cur
}

// use is the lease under which keys can be put; the caller calls users.Done when what it sent is settled.
func (t *tenure) use() *keeper {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cur.users.Add(1)
	return t.cur
}

// replace makes a new lease and puts the key under it, until that works or the tenure ends. While somebody
// else holds the key there is no lease.
func (t *tenure) replace() {
	t.mu.Lock()
	t.losses++
	t.holds, t.err = false, job.Errorf(job.CodeUnavailable, "the lease of %s was lost", t.what)
	ttl := t.ttl
	t.mu.Unlock()
	b := backoff{min: 50 * time.Millisecond, max: max(ttl/3, time.Second)}
	for {
		k, err := t.s.grant(t.ctx, ttl)
		if err == nil {
			if err = t.place(t.ctx, k); err == nil {
				t.mu.Lock()
				t.cur, t.holds, t.err = k, true, nil
				t.mu.Unlock()
				t.renewed()
				return
			}
			cleanup, cancel := context.WithTimeout(t.ctx, time.Second)
			_ = k.release(cleanup) // it runs out by itself
			cancel()
		}
		t.mu.Lock()
		t.err = coded(err, "register %s", t.what)
		t.mu.Unlock()
		if !b.wait(t.ctx) {
			return
		}
	}
}

// left is how long everything that stands under the tenure's leases is certain to stand.
func (t *tenure) left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.holds {
		return 0
	}
	left := t.cur.left()
	if t.old != nil {
		left = min(left, t.old.left())
	}
	return left
}

// end stops the tenure and gives its lease back.
func (t *tenure) end(ctx context.Context) error {
	t.cancel()
	<-t.over
	err := t.cur.release(ctx)
	if t.old != nil {
		return errors.Join(err, t.old.release(ctx))
	}
	return err
}

// leave stops the tenure and lets its lease stand: for a whole ttl more, if etcd answers.
func (t *tenure) leave(ctx context.Context) {
	t.cancel()
	<-t.over
	_ = t.cur.beat(ctx)
}

// setTTL goes over to a lease of another length.
func (t *tenure) setTTL(ctx context.Context, ttl time.Duration) error {
	r := retune{ttl: ttl, done: make(chan error, 1)}
	select {
	case t.retune <- r:
		return <-r.done
	case <-ctx.Done():
	case <-t.ctx.Done():
	}
	return job.Errorf(job.CodeUnavailable, "the lease of %s keeps its length for now: it is not alive", t.what)
}

// change makes the new lease the present one. What stands under the old one moves, keeping its revisions, before
// that is given back.
func (t *tenure) change(ttl time.Duration) error {
	t.mu.Lock()
	moving := t.old != nil
	t.mu.Unlock()
	if moving {
		return job.Errorf(job.CodeUnavailable, "the lease of %s is being changed already", t.what)
	}
	k, err := t.s.grant(t.ctx, ttl)
	if err != nil {
		return coded(err, "change the lease of %s", t.what)
	}
	t.mu.Lock()
	t.old, t.cur, t.ttl = t.cur, k, ttl
	t.mu.Unlock()
	t.wg.Go(t.move)
	return nil
}

// move empties the old lease while it is kept alive, and gives it back. If it is lost before that, so are keys: then
// everything begins again, as after any loss.
func (t *tenure) move() {
	old := t.old
	ctx, stop := context.WithCancel(t.ctx)
	kept := make(chan struct{})
	t.wg.Go(func() {
		defer close(kept)
		_ = old.keep(ctx) // empty sees what it sees
	})
	old.users.Wait()
	err := t.empty(ctx, old)
	stop()
	<-kept
	if t.ctx.Err() != nil {
		return // end releases both
	}
	t.mu.Lock()
	t.old = nil
	if err != nil {
		old = t.cur // run finds it gone and replaces it, with all that should stand under it
		t.losses++
		t.holds, t.err = false, job.Errorf(job.CodeUnavailable, "the lease of %s was lost", t.what)
	}
	t.mu.Unlock()
	_ = old.release(t.ctx) // else it runs out by itself
}

// empty moves everything from a lease to the present one. It is errLeaseNotFound where the lease was lost.
func (t *tenure) empty(ctx context.Context, old *keeper) error {
	b := backoff{min: 20 * time.Millisecond, max: time.Second}
	for {
		once, cancel := context.WithTimeout(ctx, attemptTimeout)
		keys, err := t.s.kv.LeaseKeys(once, old.id)
		switch {
		case errors.Is(err, errLeaseNotFound), err == nil && len(keys) == 0:
			cancel()
			return err
		case err == nil:
			err = t.moveKeys(once, keys[:min(len(keys), maxTxnOps)], old.id)
		}
		cancel()
		if err != nil && !b.wait(ctx) {
			return ctx.Err()
		}
	}
}

// moveKeys moves those of the keys that still stand under the old lease.
func (t *tenure) moveKeys(ctx context.Context, keys []string, old int64) error {
	to, all := t.current(), &txn{}
	for _, key := range keys {
		all.then = append(all.then, request{action: nest, txn: &txn{
			when: []compare{{key: key, target: byLease, op: '=', number: old}},
			then: []request{{action: put, key: key, keepValue: true, lease: to.id}},
		}})
	}
	_, err := t.s.kv.Txn(ctx, all)
	return err
}
