package store

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/rota-dev/rota/job"
)

// replaced gives the lease of a dead session back, with its presence, its processes and its locks: whoever names the session
// has ended what it ran. Where the session is not the one that stands there is nothing to do.
func (s *Store) replaced(ctx context.Context, key, session string) error {
	var r *rangeResult
	err := s.attempt(ctx, func(ctx context.Context) (err error) {
		r, err = s.kv.Range(ctx, request{key: key})
		return err
	})
	if err != nil {
		return coded(err, "look for an earlier session")
	}
	var p job.Presence
	if len(r.kvs) > 0 {
		err = json.Unmarshal(r.kvs[0].value, &p)
	}
	if err != nil || p.Session != session {
		return nil //nolint:nilerr // what is not the session's own is left alone
	}
	return coded(s.revoke(ctx, r.kvs[0].lease), "end the earlier session %s", session)
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
