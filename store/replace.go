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
	err = s.attempt(ctx, func(ctx context.Context) error { return s.kv.Revoke(ctx, r.kvs[0].lease) })
	if errors.Is(err, errLeaseNotFound) {
		return nil
	}
	return coded(err, "end the earlier session %s", session)
}
