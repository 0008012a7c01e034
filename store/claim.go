package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// ErrSettled refuses a claim of an instant that is settled already.
var ErrSettled error = job.Errorf(job.CodeConflict, "the instant is settled already")

// ClaimedError refuses a claim of an instant that somebody else has claimed.
type ClaimedError struct{ By job.Claim }

func (e *ClaimedError) Error() string {
	return fmt.Sprintf("instant %s of %s is claimed by node %s", job.FormatInstant(e.By.Instant), e.By.Task, e.By.Node)
}

// Unwrap gives the error its code.
func (e *ClaimedError) Unwrap() error { return &job.Error{Code: job.CodeConflict, Message: e.Error()} }

// Claim asks for the right to run one instant of an interval or alone task, for this session and the claim's job. The
// right is given once, and never given back: what becomes of the instant is recorded by its holder. The fence grows
// with each claim of a task.
//
// It is [*ClaimedError] where another holds it, and [ErrSettled] where the instant is settled. Whoever holds it already may ask
// again for the same job with the same Try, and gets the same fence; with another Try it is another claim, and refused like any.
// [job.CodeUnavailable] leaves open whether it was given: ask again.
func (ss *Session) Claim(ctx context.Context, c job.Claim) (fence int64, err error) {
	c.Node, c.Session, c.Instant = ss.presence.Node, ss.presence.Session, c.Instant.UTC().Truncate(time.Second)
	op := putOp(claimKind, &c, 0)
	floor, err := floorKeys.key(c.Task.Group, c.Task.Name)
	if err = errors.Join(op.err, err); err != nil {
		return 0, err
	}
	key, at := op.then[0].key, job.FormatInstant(c.Instant)
	op.when = append(op.when, compare{key: floor, target: byValue, op: '<', value: []byte(at)})
	op.otherwise = []request{{key: key}, {key: floor}}
	op.serial = floor // two claims of a task never share a revision: the fence must grow
	r, err := ss.c.do(ctx, &op, nil)
	if err != nil {
		return 0, fmt.Errorf("claim %s of %s: %w", at, c.Task, err)
	}
	if r.ok {
		return r.rev, nil
	}
	if kvs := r.results[0].kvs; len(kvs) > 0 {
		held, err := claimKind.unmarshal(key, &kvs[0])
		if err != nil {
			return 0, err
		}
		if held.Session == c.Session && held.Node == c.Node && held.Job == c.Job && held.Try == c.Try {
			return held.Fence, nil
		}
		return 0, &ClaimedError{By: *held}
	}
	if len(r.results[1].kvs) > 0 {
		return 0, fmt.Errorf("claim %s of %s: %w", at, c.Task, ErrSettled)
	}
	return 0, job.Errorf(job.CodeUnavailable, "claim %s of %s: the leader has not opened the task for claims yet", at, c.Task)
}

// lockSet is the locks that runs of this session hold or are asking for, so that a sweep knows the others.
type lockSet struct {
	mu   sync.Mutex
	held map[string]*heldLock
}

// heldLock is who holds or asks. swept is not nil while the key is being swept; it is closed after that.
type heldLock struct {
	runs  map[job.RunID]struct{}
	swept chan struct{}
}

// hold notes that a run asks for a lock; it waits while the lock is being swept.
func (l *lockSet) hold(ctx context.Context, key string, run job.RunID) error {
	for {
		l.mu.Lock()
		h := l.held[key]
		if h == nil {
			h = &heldLock{runs: map[job.RunID]struct{}{}}
			l.held[key] = h
		}
		if h.swept == nil {
			h.runs[run] = struct{}{}
			l.mu.Unlock()
			return nil
		}
		swept := h.swept
		l.mu.Unlock()
		select {
		case <-swept:
		case <-ctx.Done():
			return job.Errorf(job.CodeUnavailable, "no answer from etcd in time: %w", ctx.Err())
		}
	}
}

// drop notes that a run does not hold a lock, or not any more.
func (l *lockSet) drop(key string, run job.RunID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[key]; h != nil && h.swept == nil {
		if delete(h.runs, run); len(h.runs) == 0 {
			delete(l.held, key)
		}
	}
}

// sweep begins to sweep a lock, unless somebody holds it or asks for it; end must be called after it.
func (l *lockSet) sweep(key string) (end func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[key] != nil {
		return nil, false
	}
	h := &heldLock{swept: make(chan struct{})}
	l.held[key] = h
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, key)
		close(h.swept)
	}, true
}

// Lock takes the lock of an alone task for a run, under the session's lease: when that is lost the lock is
// free, so the run must be over by [Session.Left]. holder is who has it where it is taken. Asking again for the
// same run gives the same fence. [job.CodeUnavailable] leaves open whether it was taken: ask again, or Unlock.
func (ss *Session) Lock(ctx context.Context, l job.Lock) (fence int64, holder *job.Lock, err error) {
	l.Node, l.Session = ss.presence.Node, ss.presence.Session
	op := putOp(lockKind, &l, 0)
	if op.err != nil {
		return 0, nil, op.err
	}
	key := op.then[0].key
	op.otherwise = []request{{key: key}}
	if err := ss.locks.hold(ctx, key, l.Run); err != nil {
		return 0, nil, fmt.Errorf("lock %s: %w", l.Task, err)
	}
	keep := false
	defer func() {
		if !keep {
			ss.locks.drop(key, l.Run)
		}
	}()
	k := ss.t.use()
	op.then[0].lease = k.id
	r, err := ss.c.do(ctx, &op, k.users.Done)
	if err != nil {
		return 0, nil, fmt.Errorf("lock %s: %w", l.Task, err)
	}
	if r.ok {
		keep = true
		return r.rev, nil, nil
	}
	if len(r.results[0].kvs) == 0 {
		return 0, nil, job.Errorf(job.CodeInternal, "lock %s: it is neither free nor taken", l.Task)
	}
	held, err := lockKind.unmarshal(key, &r.results[0].kvs[0])
	if err != nil {
		return 0, nil, err
	}
	if held.Session == l.Session && held.Run == l.Run {
		keep = true
		return held.Fence, nil, nil
	}
	return 0, held, nil
}

// Unlock gives a lock back. It is given back only if it is still the one with that fence (0: any of the
// run's), and done also where it is lost already.
func (ss *Session) Unlock(ctx context.Context, l job.Lock) error {
	key, err := lockKeys.key(l.Task.Group, l.Task.Name)
	if err != nil {
		return err
	}
	if l.Fence == 0 {
		held, err := ss.s.Locks().Get(ctx, l.Task.Group, l.Task.Name)
		if job.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if held.Session != ss.presence.Session || held.Run != l.Run {
			return nil
		}
		l.Fence = held.Fence
	}
	op := Op{when: []compare{madeAt(key, l.Fence)}, then: []request{{action: del, key: key}}}
	if _, err = ss.c.do(ctx, &op, nil); err != nil {
		return fmt.Errorf("unlock %s: %w", l.Task, err)
	}
	ss.locks.drop(key, l.Run)
	return nil
}

// sweepLock removes a lock under the session's lease that nobody holds: its request was given up, and happened
// after that. Whoever asks for the lock meanwhile waits.
func (ss *Session) sweepLock(ctx context.Context, key string, leaseID int64) {
	end, ok := ss.locks.sweep(key)
	if !ok {
		return
	}
	defer end()
	op := Op{
		when: []compare{{key: key, target: byLease, op: '=', number: leaseID}},
		then: []request{{action: del, key: key}},
	}
	<-ss.c.submit(ctx, false, &op, nil).done
}

// StartDispatch marks a dispatch, as it was read, as started by this session. Only then may it run, so that it
// starts at most once; on success d carries the mark and the revision that now stand. A dispatch that this session
// has marked already is given again, with the same fence: the caller knows what it runs. It is
// [job.CodeConflict] where the dispatch was deleted, changed, or started by another session.
// [job.CodeUnavailable] leaves open whether it was marked: ask again.
func (ss *Session) StartDispatch(ctx context.Context, d *job.Dispatch) (fence int64, err error) {
	if d.Started != nil && d.Started.Session != ss.presence.Session {
		return 0, job.Errorf(job.CodeConflict, "start %s: session %s has started it", d.Run, d.Started.Session)
	}
	marked := *d
	marked.Started = &job.Started{Session: ss.presence.Session, At: ss.s.clock.now().UTC()}
	op := putOp(dispatchKind, &marked, max(d.Revision, 1))
	if op.err != nil {
		return 0, op.err
	}
	key := op.then[0].key
	op.otherwise = []request{{key: key}}
	r, err := ss.c.do(ctx, &op, nil)
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", d.Run, err)
	}
	if r.ok {
		d.Started, d.Revision = marked.Started, r.rev
		return r.rev, nil
	}
	if len(r.results[0].kvs) == 0 {
		return 0, job.Errorf(job.CodeConflict, "start %s: the dispatch was taken back", d.Run)
	}
	now, err := dispatchKind.unmarshal(key, &r.results[0].kvs[0])
	switch {
	case err != nil:
		return 0, err
	case now.Started == nil:
		return 0, job.Errorf(job.CodeConflict, "start %s: the dispatch has changed since it was read", d.Run)
	case now.Started.Session != ss.presence.Session:
		return 0, job.Errorf(job.CodeConflict, "start %s: session %s has started it", d.Run, now.Started.Session)
	}
	d.Started, d.Revision = now.Started, now.Revision
	return now.Revision, nil
}

// HandOver puts finished records into etcd, from where the leader takes them to history, and removes the dispatches
// that are finished. A record that ends a dispatch goes together with it. It may be repeated. When it
// returns nil everything is there; until then the caller keeps its own copies.
func (ss *Session) HandOver(ctx context.Context, recs []job.ExecutionRecord, dispatches []job.RunID) error {
	ended := make(map[string]bool, len(dispatches))
	for _, run := range dispatches {
		ended[string(run)] = true
	}
	works := make([]*work, 0, len(recs)+len(dispatches))
	for i := range recs {
		op := PutRecord(&recs[i])
		if ended[recs[i].ID] && op.err == nil {
			delete(ended, recs[i].ID)
			drop := DeleteDispatch(ss.presence.Node, job.RunID(recs[i].ID), 0)
			op.then, op.err = append(op.then, drop.then...), drop.err
		}
		works = append(works, ss.c.submit(ctx, false, &op, nil))
	}
	for _, run := range dispatches {
		if ended[string(run)] {
			op := DeleteDispatch(ss.presence.Node, run, 0)
			works = append(works, ss.c.submit(ctx, false, &op, nil))
		}
	}
	var errs []error
	for _, w := range works {
		select {
		case <-w.done:
			if w.err != nil {
				errs = append(errs, w.err)
			}
		case <-ctx.Done():
			return job.Errorf(job.CodeUnavailable, "hand over %d records: no answer from etcd in time: %w", len(recs), ctx.Err())
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("hand over %d records: %w", len(recs), errs[0])
	}
	return nil
}
