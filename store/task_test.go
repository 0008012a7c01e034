package store

import (
	"errors"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// A task whose instants are claimed never begins below its floor.
func TestPutClaimed(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		e := testTask("a")
		ref := e.Ref()
		put := func(since time.Time, refusedAt time.Time) {
			t.Helper()
			e.Since = since
			rev, floor, err := s.PutClaimed(ctx, e)
			switch {
			case refusedAt.IsZero() && err == nil:
				e.Revision = rev
			case refusedAt.IsZero():
				t.Errorf("since %s: %v", since, err)
			case !errors.Is(err, ErrSettled) || !job.IsConflict(err) || !floor.Equal(refusedAt):
				t.Errorf("since %s: %v, floor %s, want a refusal because of %s", since, err, floor, refusedAt)
			}
		}
		never := time.Time{}
		put(day, never) // there is no floor
		put(day.Add(time.Second), never)
		must(s.Do(ctx, InitFloor(ref, day.Add(2*time.Second))))
		put(day.Add(time.Second), day.Add(2*time.Second))
		put(day.Add(1999*time.Millisecond), day.Add(2*time.Second))
		put(day.Add(2*time.Second), never)
		put(day.Add(2500*time.Millisecond), never)
		must(s.Do(ctx, Settle(ref, day.Add(2*time.Second), day.Add(3*time.Second), nil, false)))
		put(day.Add(2500*time.Millisecond), day.Add(3*time.Second))

		// Another version, and no version, are conflicts as ever.
		old := *e
		put(day.Add(4*time.Second), never)
		old.Since = day.Add(5 * time.Second)
		if _, _, err := s.PutClaimed(ctx, &old); !job.IsConflict(err) || errors.Is(err, ErrSettled) {
			t.Errorf("of an old version: %v", err)
		}
		if err := s.Tasks().Delete(ctx, 0, ref.Group, ref.Name); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.PutClaimed(ctx, e); !job.IsConflict(err) || errors.Is(err, ErrSettled) {
			t.Errorf("of a deleted one: %v", err)
		}

		// A new one under its name, while the floor is there yet, and when it is gone.
		e.Revision = 0
		put(day, day.Add(3*time.Second))
		put(day.Add(3*time.Second), never)
		if err := s.Tasks().Delete(ctx, 0, ref.Group, ref.Name); err != nil {
			t.Fatal(err)
		}
		must(s.Do(ctx, DropFloor(ref, day.Add(3*time.Second))))
		e.Revision = 0
		put(day, never)
		put(day.Add(time.Second), never)
	})
}
