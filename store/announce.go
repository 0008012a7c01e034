package store

import (
	"bytes"
	"context"
	"time"

	"github.com/rota-dev/rota/job"
)

// Announcement is a master's presence: it stands until it is closed.
type Announcement struct {
	t    *tenure
	lost chan struct{}
}

// Announce registers a master under a lease of its own and keeps it registered until Close. It is
// [job.CodeConflict] where another master of that id is alive for longer than a ttl and a second.
func (s *Store) Announce(ctx context.Context, m Master, ttl time.Duration) (*Announcement, error) {
	key, data, err := masterKind.marshal(&m)
	if err != nil {
		return nil, err
	}
	lost := make(chan struct{}, 1)
	t := &tenure{
		s: s, key: s.full(key), what: "master " + m.ID, value: data,
		renewed: func() {
			select {
			case lost <- struct{}{}:
			default:
			}
		},
		mine: func(value []byte) bool { return bytes.Equal(value, data) },
	}
	if err := t.take(ctx, ttl); err != nil {
		return nil, err
	}
	return &Announcement{t, lost}, nil
}

// Err says why the master is not registered just now; nil while it is.
func (a *Announcement) Err() error {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	return a.t.err
}

// Lost receives when the lease was lost and has been replaced: the master's name stands again, what it asked of nodes does not.
// It has room for one signal; a second one before the first is taken says nothing more.
func (a *Announcement) Lost() <-chan struct{} { return a.lost }

// Follow asks a node for a log, for as long as the master is announced or until [Announcement.Unfollow]. Asking again
// replaces what was asked under the same id.
func (a *Announcement) Follow(ctx context.Context, f *job.Follow) error {
	op := putOp(followKind, f, Any)
	if op.err != nil {
		return op.err
	}
	k := a.t.use()
	defer k.users.Done()
	op.then[0].lease = k.id
	_, err := a.t.s.Do(ctx, op)
	return err
}

// Unfollow takes back what was asked. It is done also where nothing was.
func (a *Announcement) Unfollow(ctx context.Context, f *job.Follow) error {
	_, err := a.t.s.Do(ctx, deleteOp(followKeys, 0, string(f.Node), f.ID))
	return err
}

// Close removes the master at once, with what it asked of nodes.
func (a *Announcement) Close(ctx context.Context) error { return a.t.end(ctx) }
