package store

import (
	"bytes"
	"context"
	"time"
)

// Announcement is a master's presence: it stands until it is closed.
type Announcement struct{ t *tenure }

// Announce registers a master under a lease of its own and keeps it registered until Close. It is
// [job.CodeConflict] where another master of that id is alive for longer than a ttl and a second.
func (s *Store) Announce(ctx context.Context, m Master, ttl time.Duration) (*Announcement, error) {
	key, data, err := masterKind.marshal(&m)
	if err != nil {
		return nil, err
	}
	t := &tenure{
		s: s, key: s.full(key), what: "master " + m.ID, value: data, renewed: func() {},
		mine: func(value []byte) bool { return bytes.Equal(value, data) },
	}
	if err := t.take(ctx, ttl); err != nil {
		return nil, err
	}
	return &Announcement{t}, nil
}

// Err says why the master is not registered just now; nil while it is.
func (a *Announcement) Err() error {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	return a.t.err
}

// Close removes the master at once.
func (a *Announcement) Close(ctx context.Context) error { return a.t.end(ctx) }
