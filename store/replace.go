package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// replaced ends a dead session: whoever names it knows what became of what it ran. Its lease is given back, with its presence, its
// processes and its locks; or, where it holds locks that are to be kept, it is taken over with those alone. Where the session is
// not the one that stands there is nothing to do.
func (s *Store) replaced(ctx context.Context, key, session string, keep []job.Lock) (*keeper, error) {
	var r *rangeResult
	err := s.attempt(ctx, func(ctx context.Context) (err error) {
		r, err = s.kv.Range(ctx, request{key: key})
		return err
	})
	if err != nil {
		return nil, coded(err, "look for an earlier session")
	}
	var p job.Presence
	if len(r.kvs) > 0 {
		err = json.Unmarshal(r.kvs[0].value, &p)
	}
	if err != nil || p.Session != session {
		return nil, nil //nolint:nilerr // what is not the session's own is left alone
	}
	if len(keep) == 0 {
		return nil, coded(s.revoke(ctx, r.kvs[0].lease), "end the earlier session %s", session)
	}
	k, err := s.takeOver(ctx, r.kvs[0].lease)
	if errors.Is(err, errLeaseNotFound) {
		return nil, nil // it has just lapsed
	}
	if err == nil {
		err = s.strip(ctx, k, key, keep)
	}
	if err != nil {
		return nil, coded(err, "take over from the earlier session %s", session)
	}
	return k, nil
}

// takeOver keeps a lease alive that another process made.
func (s *Store) takeOver(ctx context.Context, lease int64) (*keeper, error) {
	k := &keeper{s: s, id: lease}
	err := s.attempt(ctx, func(ctx context.Context) error {
		sent := s.clock.elapsed()
		seconds, err := s.kv.KeepAlive(ctx, lease)
		if err == nil {
			k.ttl = time.Duration(seconds) * time.Second
			k.sent.Store(int64(sent))
		}
		return err
	})
	return k, err
}

// strip removes what stands under a lease, but for a presence and locks.
func (s *Store) strip(ctx context.Context, k *keeper, presence string, keep []job.Lock) error {
	stays := map[string]bool{presence: true}
	for _, l := range keep {
		key, err := lockKeys.key(l.Task.Group, l.Task.Name)
		if err != nil {
			return err
		}
		stays[s.full(key)] = true
	}
	var keys []string
	err := s.attempt(ctx, func(ctx context.Context) (err error) {
		keys, err = s.kv.LeaseKeys(ctx, k.id)
		return err
	})
	keys = slices.DeleteFunc(keys, func(key string) bool { return stays[key] })
	for batch := range slices.Chunk(keys, maxTxnOps/2) {
		if err != nil {
			break
		}
		all := &txn{}
		for _, key := range batch {
			all.then = append(all.then, request{action: nest, txn: &txn{
				when: []compare{{key: key, target: byLease, op: '=', number: k.id}},
				then: []request{{action: del, key: key}},
			}})
		}
		err = s.attempt(ctx, func(ctx context.Context) error {
			_, err := s.kv.Txn(ctx, all)
			return err
		})
	}
	return err
}

// KeepLock takes up a lock that an earlier session took ([job.Presence] Keeps), and tells whether it still stands under the
// lease of this one. [job.CodeUnavailable] leaves that open: ask again.
func (ss *Session) KeepLock(ctx context.Context, l job.Lock) (kept bool, err error) {
	key, err := lockKeys.key(l.Task.Group, l.Task.Name)
	if err != nil {
		return false, err
	}
	if err := ss.locks.hold(ctx, key, l.Run); err != nil {
		return false, fmt.Errorf("keep the lock of %s: %w", l.Task, err)
	}
	var r *rangeResult
	err = ss.s.attempt(ctx, func(ctx context.Context) (err error) {
		r, err = ss.s.kv.Range(ctx, request{key: ss.s.full(key)})
		return err
	})
	if err == nil && len(r.kvs) > 0 && r.kvs[0].create == l.Fence && r.kvs[0].lease == ss.t.current().id {
		return true, nil
	}
	ss.locks.drop(key, l.Run)
	return false, coded(err, "keep the lock of %s", l.Task)
}

// ReplaceMaster gives the leases of a dead master back, so that nobody waits for them to lapse: its name's, and the
// leader's where it led. Whoever names it has proof that its process is gone; were it alive after all, it would
// find that its term is over. Where nothing of it stands there is nothing to do.
func (s *Store) ReplaceMaster(ctx context.Context, id string) error {
	name, err := masterKeys.key(id)
	if err != nil {
		return err
	}
	var r *txnResult
	err = s.attempt(ctx, func(ctx context.Context) (err error) {
		r, err = s.kv.Txn(ctx, &txn{then: []request{{key: s.full(name)}, {key: s.full(leaderKey)}}})
		return err
	})
	if err != nil {
		return coded(err, "look for an earlier master")
	}
	var leases []int64
	for _, kv := range r.results[0].kvs {
		leases = append(leases, kv.lease)
	}
	for _, kv := range r.results[1].kvs {
		if string(kv.value) == id {
			leases = append(leases, kv.lease)
		}
	}
	for _, lease := range leases {
		if err := s.revoke(ctx, lease); err != nil {
			return coded(err, "end the earlier master %s", id)
		}
	}
	return nil
}

// revoke ends a lease, if it lives.
func (s *Store) revoke(ctx context.Context, lease int64) error {
	err := s.attempt(ctx, func(ctx context.Context) error { return s.kv.Revoke(ctx, lease) })
	if errors.Is(err, errLeaseNotFound) {
		return nil
	}
	return err
}
