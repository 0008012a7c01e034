package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rota-dev/rota/job"
)

// PutClaimed writes an entry, as Put of [Store.Tasks] does, whose rule makes instants due from its Since on that must be claimed. It is
// [ErrSettled] where the task's floor is above that: nobody could claim those up to the floor, and the leader, who has passed them, would not
// tell of them. Then floor is where it is, and the entry must begin there. Whose clock is behind that of the leader learns so what is past.
func (s *Store) PutClaimed(ctx context.Context, e *job.TaskEntry) (rev int64, floor time.Time, err error) {
	key, err := floorKeys.key(e.Task.Group, e.Task.Name)
	if err != nil {
		return 0, time.Time{}, err
	}
	key = s.full(key)
	next := e.Since.UTC().Truncate(time.Second).Add(time.Second)
	there := compare{key: key, target: byValue, op: '<', value: []byte(job.FormatInstant(next))}
	where := there
	if e.Revision == 0 { // a new task has none, unless one of its name was deleted just now
		where = absent(key)
	}
	for {
		rev, err := s.Tasks().putWhere(ctx, e, where)
		if !errors.Is(err, errBesides) {
			return rev, time.Time{}, err
		}
		switch f, err := s.Settled().Get(ctx, e.Task.Group, e.Task.Name); {
		case job.IsNotFound(err):
			where = absent(key)
		case err != nil:
			return 0, time.Time{}, err
		case !f.At.Before(next):
			return 0, f.At, fmt.Errorf("write task %s, which counts from %s: %w up to %s", e.Ref(), job.FormatInstant(e.Since), ErrSettled, job.FormatInstant(f.At))
		default:
			where = there
		}
	}
}
