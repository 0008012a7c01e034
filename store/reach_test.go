package store

import (
	"context"
	"testing"
)

// told reads a watch until a mark says that everything up to a revision was told, and counts what was put before it.
func told[T any](t *testing.T, w *Watch[T], rev int64) (puts int) {
	t.Helper()
	for batch := range w.Events() {
		for _, e := range batch {
			switch {
			case e.Type == Put:
				puts++
			case e.Type.mark() && e.Revision >= rev:
				return puts
			}
		}
	}
	t.Fatal("the watch has ended")
	return puts
}

// Who asks how far a watch is hears of everything up to there first: where there were changes and where there were none.
func TestReach(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := fx.client()
		if _, err := s.Tasks().Put(ctx, testTask("a")); err != nil {
			t.Fatal(err)
		}
		now := func() int64 {
			rev, err := s.Revision(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return rev
		}
		tasks, calendars := s.Tasks().WatchApart(ctx), s.Calendars().WatchApart(ctx)
		if n := told(t, tasks, 1); n != 1 {
			t.Errorf("%d tasks at the beginning", n)
		}
		told(t, calendars, 1)
		for round := range 20 {
			for _, name := range []string{"a", "b", "c"} {
				e := testTask(name)
				if old, err := s.Tasks().Get(ctx, "default", name); err == nil {
					e.Revision, e.Generation = old.Revision, old.Generation+1
				}
				if _, err := s.Tasks().Put(ctx, e); err != nil {
					t.Fatal(err)
				}
			}
			// A watch that begins at the newest revision is ahead of it: etcd tells nothing to its stream until there is a later one.
			late := s.Nodes().WatchApart(ctx)
			told(t, late, 1)
			rev := now()
			tasks.Reach(rev)
			calendars.Reach(rev)
			tasks.Reach(rev - 1) // it says nothing new
			if n := told(t, tasks, rev); n != 3 {
				t.Errorf("round %d: %d changes before the mark, want 3", round, n)
			}
			told(t, calendars, rev)
		}
	})
}

// A watch that is held up, or cut off, is not told to be further than it is; it gets there when it can.
func TestReachWaits(t *testing.T) {
	t.Parallel()
	m := NewMemory(MemoryOptions{})
	defer m.Close()
	s, other := m.Client("slow"), m.Client("other")
	defer other.Close()
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := s.Tasks().WatchApart(ctx)
	told(t, w, 1)
	for _, f := range []struct{ stop, goOn func(string) }{{m.HoldWatches, m.ReleaseWatches}, {m.Cut, m.Heal}} {
		f.stop("slow")
		e := testTask("a")
		if old, err := other.Tasks().Get(ctx, "default", "a"); err == nil {
			e.Revision = old.Revision
		}
		rev, err := other.Tasks().Put(ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		w.Reach(rev)
		select {
		case batch := <-w.Events():
			t.Errorf("told while it was held up: %+v", batch)
		default:
		}
		f.goOn("slow")
		if n := told(t, w, rev); n != 1 {
			t.Errorf("%d changes before the mark", n)
		}
	}
}
