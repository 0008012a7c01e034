package store

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Two lives of one master carry one name: it was restarted and the old one was only paused, or two were started with one
// configuration. Only their leases and their terms tell them apart. // ancestor 51
func TestTwoLivesOfOneMaster(t *testing.T) {
	const ttl = 10 * time.Second
	type lives struct {
		t        *testing.T
		m        *Memory
		old, new *Store
	}
	world := func(t *testing.T, f func(ctx context.Context, w lives)) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := lives{t: t, m: NewMemory(MemoryOptions{})}
			defer w.m.Close()
			w.old, w.new = w.m.Client("old"), w.m.Client("new")
			defer w.old.Close()
			defer w.new.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f(ctx, w)
			cancel()
			synctest.Wait()
		})
	}
	stands := func(ctx context.Context, s *Store) <-chan *Leadership {
		won := make(chan *Leadership, 1)
		go func() {
			if l, err := s.Campaign(ctx, "m1", ttl); err == nil {
				won <- l
			}
		}()
		return won
	}
	writes := func(ctx context.Context, l *Leadership, value string) error {
		done, err := l.Do(ctx, PutConfig(&Config{Key: "A", Value: value}, Any))
		if err == nil && !done[0] {
			err = errors.New("not done")
		}
		return err
	}
	leads := func(ctx context.Context, w lives, l *Leadership, value string) {
		t := w.t
		t.Helper()
		if id, term, err := w.new.Leader(ctx); id != "m1" || term != l.Term() || err != nil {
			t.Errorf("%s leads with term %d, not %d; %v", id, term, l.Term(), err)
		}
		if over(l) {
			t.Error("the new life leads no more")
		}
		if c, err := w.new.Config().Get(ctx, "", "A"); err != nil || c.Value != value {
			t.Errorf("what it wrote is now %+v, %v", c, err)
		}
	}

	// Both see that nobody leads; the other one is quicker.
	t.Run("they stand at the same moment", func(t *testing.T) {
		world(t, func(ctx context.Context, w lives) {
			var once atomic.Bool
			var first *Leadership
			w.m.OnCall(func(_ context.Context, c Call) error {
				if c.Client == "new" && c.Op == "grant" && !c.After && once.CompareAndSwap(false, true) {
					first = campaign(t, w.old, "m1", ttl)
				}
				return nil
			})
			won := stands(ctx, w.new)
			time.Sleep(time.Hour)
			if !once.Load() || over(first) || len(won) > 0 {
				w.t.Fatal("both lead")
			}
			if err := first.Resign(ctx); err != nil {
				w.t.Error(err)
			}
			if second := <-won; second.Term() <= first.Term() {
				w.t.Errorf("term %d after %d", second.Term(), first.Term())
			}
		})
	})

	// The old life is stopped like a process, with a write under way, and goes on when the new one leads.
	t.Run("the old one was paused", func(t *testing.T) {
		world(t, func(ctx context.Context, w lives) {
			first := campaign(t, w.old, "m1", ttl)
			if err := writes(ctx, first, "1"); err != nil {
				w.t.Fatal(err)
			}
			won := stands(ctx, w.new)
			goesOn := make(chan struct{})
			w.m.OnCall(func(_ context.Context, c Call) error {
				if c.Client == "old" && !c.After {
					<-goesOn
				}
				return nil
			})
			late := make(chan error, 1)
			go func() { late <- writes(context.WithoutCancel(ctx), first, "late") }()
			second := <-won
			if second.Term() <= first.Term() {
				w.t.Fatalf("term %d after %d", second.Term(), first.Term())
			}
			if err := writes(ctx, second, "2"); err != nil {
				w.t.Fatal(err)
			}
			close(goesOn)
			if err := <-late; !errors.Is(err, ErrNotLeader) {
				w.t.Errorf("what it was about to write: %v", err)
			}
			leads(ctx, w, second, "2")
			if err := first.Resign(ctx); err != nil || !over(first) {
				w.t.Error(err)
			}
			time.Sleep(time.Hour)
			leads(ctx, w, second, "2")
		})
	})

	// The old life's lease lives, but its writes don't pass: it is deposed, and then they come, late.
	t.Run("the old one was deposed", func(t *testing.T) {
		world(t, func(ctx context.Context, w lives) {
			first := campaign(t, w.old, "m1", ttl)
			won := stands(ctx, w.new)
			time.Sleep(time.Minute)
			var came atomic.Int64
			w.m.OnCall(func(_ context.Context, c Call) error {
				if c.Client == "old" && c.Op == "txn" && !c.After {
					if slices.Contains(c.Keys, DefaultPrefix+leaderKey) {
						came.Add(1)
					}
					c.Later(3 * ttl)
					return ErrCut
				}
				return nil
			})
			second := <-won
			go func() { // as a process that holds on to its lease
				for sleep(ctx, time.Second) {
					_, _ = w.old.kv.KeepAlive(ctx, first.k.id)
				}
			}()
			if err := writes(ctx, second, "2"); err != nil {
				w.t.Fatal(err)
			}
			if !over(first) || came.Load() == 0 {
				w.t.Errorf("the old life leads: %t; %d writes of it are under way", !over(first), came.Load())
			}
			for range 4 * ttl / (100 * time.Millisecond) { // a leader would soon take back the key that it was robbed of
				time.Sleep(100 * time.Millisecond)
				r, err := w.new.kv.Range(ctx, request{key: DefaultPrefix + leaderKey})
				if err != nil || len(r.kvs) != 1 || r.kvs[0].lease != second.k.id {
					w.t.Fatalf("the key is not under the lease of the new life: %+v, %v", r, err)
				}
			}
			leads(ctx, w, second, "2")
			if err := first.Resign(ctx); err != nil {
				w.t.Error(err)
			}
			time.Sleep(time.Hour)
			leads(ctx, w, second, "2")
		})
	})
}
