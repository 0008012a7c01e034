package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
)

func campaign(t *testing.T, s *Store, id string, ttl time.Duration) *Leadership {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	l, err := s.Campaign(ctx, id, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func over(l *Leadership) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

func TestStaleLeaderIsRefused(t *testing.T) { // ancestors 44, 49, 50, 51; scenario 6
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		first := campaign(t, s, "m1", 10*time.Second)
		if done, err := first.Do(ctx, PutConfig(&Config{Key: "A", Value: "1"}, Any)); err != nil || !done[0] {
			t.Fatal(done, err)
		}
		waiting := make(chan *Leadership)
		go func() { waiting <- campaign(t, fx.client(), "m1", 10*time.Second) }() // a twin by name
		if id, term, err := s.Leader(ctx); id != "m1" || term != first.Term() || err != nil {
			t.Error(id, term, err)
		}
		fx.expire("leader")
		second := <-waiting
		if second.Term() <= first.Term() {
			t.Errorf("term %d after %d", second.Term(), first.Term())
		}
		if _, err := first.Do(ctx, PutConfig(&Config{Key: "A", Value: "2"}, Any)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a stale leader has written: %v", err)
		}
		if c := must(s.Config().Get(ctx, "", "A")); c.Value != "1" {
			t.Errorf("%+v", c)
		}
		eventually(t, "the first knows", func() bool { return over(first) })
		if err := first.Resign(ctx); err != nil || over(second) {
			t.Error("the first took the second down", err)
		}
		if _, err := second.Do(ctx, PutConfig(&Config{Key: "A", Value: "2"}, Any)); err != nil {
			t.Error(err)
		}
		if err := second.Resign(ctx); err != nil || !over(second) || fx.read("leader") != nil {
			t.Error("resigned, but", err)
		}
	})
}

// A leader that died is replaced although its lease lives: as when it died together with etcd's own leader, whose successor gives each lease
// its whole length again, and more. One that lives is not, whatever stands for election; nor is one that cannot write because
// etcd's space is used up, for then nobody else could lead.
func TestDeadLeaderWhoseLeaseLives(t *testing.T) { // ancestor 50
	const ttl = 10 * time.Second
	world := func(t *testing.T, f func(ctx context.Context, m *Memory, first *Leadership, next <-chan *Leadership)) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			m := NewMemory(MemoryOptions{})
			defer m.Close()
			a, b := m.Client("a"), m.Client("b")
			defer a.Close()
			defer b.Close()
			first := campaign(t, a, "m1", ttl)
			next := make(chan *Leadership, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				if l, err := b.Campaign(ctx, "m2", ttl); err == nil {
					next <- l
				}
			}()
			time.Sleep(time.Hour)
			if over(first) || len(next) > 0 {
				t.Fatal("a leader that lives was deposed")
			}
			f(ctx, m, first, next)
			cancel()
			synctest.Wait()
		})
	}
	// immortal keeps the lease of a leader that is dead.
	immortal := func(ctx context.Context, m *Memory, first *Leadership) {
		other := m.Client("etcd")
		go func() {
			defer other.Close()
			for sleep(ctx, time.Second) {
				_, _ = other.kv.KeepAlive(ctx, first.k.id)
			}
		}()
	}
	t.Run("it is dead", func(t *testing.T) {
		world(t, func(ctx context.Context, m *Memory, first *Leadership, next <-chan *Leadership) {
			immortal(ctx, m, first)
			m.Cut("a")
			var l *Leadership
			select {
			case l = <-next:
			case <-time.After(ttl + grace(ttl) + time.Second):
				t.Error("nobody leads in its place")
				return
			}
			if !over(first) || l.Term() <= first.Term() {
				t.Errorf("two lead, with the terms %d and %d", first.Term(), l.Term())
			}
			m.Heal("a")
			if done, err := first.Do(ctx, PutConfig(&Config{Key: "A", Value: "1"}, Any)); !errors.Is(err, ErrNotLeader) || done[0] {
				t.Errorf("its writes are taken: %v, %v", done, err)
			}
		})
	})
	// The leader is cut off from writing, but its keepalives pass: it ends by itself before the other one leads.
	t.Run("it can't write", func(t *testing.T) {
		world(t, func(ctx context.Context, m *Memory, first *Leadership, next <-chan *Leadership) {
			m.OnCall(func(_ context.Context, c Call) error {
				if c.Client == "a" && c.Op == "txn" && !c.After {
					return ErrCut
				}
				return nil
			})
			var ended time.Time
			select {
			case <-first.Done():
				ended = time.Now()
			case <-next:
				t.Error("another one leads while it thinks that it does")
				return
			}
			<-next
			if time.Since(ended) < time.Second {
				t.Errorf("only %s between the two", time.Since(ended))
			}
		})
	})
	t.Run("no space", func(t *testing.T) {
		world(t, func(ctx context.Context, m *Memory, first *Leadership, next <-chan *Leadership) {
			m.SetAlarm("NOSPACE")
			time.Sleep(time.Hour)
			if over(first) || len(next) > 0 {
				t.Error("deposed by who can't lead")
			}
			m.SetAlarm("")
			time.Sleep(time.Hour)
			if l, term, err := first.s.Leader(ctx); err != nil || l == "" || term < first.Term() {
				t.Error(l, term, err)
			}
		})
	})
	// The watch of who stands is broken without a word: what etcd says counts.
	t.Run("nothing is heard", func(t *testing.T) {
		world(t, func(ctx context.Context, m *Memory, first *Leadership, next <-chan *Leadership) {
			m.HoldWatches("b")
			time.Sleep(time.Hour)
			if over(first) || len(next) > 0 {
				t.Error("a leader that lives was deposed")
			}
			m.ReleaseWatches("b")
		})
	})
}

func TestFailover(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		dying, cut, _ := fx.cuttable()
		failOver(t, dying, cut, fx.client())
	})
}

// What it takes is told in virtual time; in that of the world it is measured (docs/benchmarks.md).
func TestFailoverTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		dying, other := m.Client("m1"), m.Client("m2")
		defer dying.Close()
		defer other.Close()
		sure, vacant := failOver(t, dying, func() { m.Cut("m1") }, other)
		if sure >= failOverLease {
			t.Errorf("the first leader was sure of itself for %s", sure)
		}
		if vacant > failOverLease+time.Second {
			t.Errorf("the second leader came after %s", vacant)
		}
	})
}

const failOverLease = 2 * time.Second

// failOver cuts off a leader while somebody else stands for election. It says for how long the first one was sure of itself, and
// when the second one led.
func failOver(t *testing.T, dying *Store, cut func(), other *Store) (sure, vacant time.Duration) {
	t.Helper()
	first := campaign(t, dying, "m1", failOverLease)
	elected := make(chan *Leadership)
	go func() { elected <- campaign(t, other, "m2", failOverLease) }()
	start := time.Now()
	cut()
	<-first.Done()
	sure = time.Since(start)
	second := <-elected
	vacant = time.Since(start)
	if over(second) || second.Term() <= first.Term() {
		t.Error("there is no second leader")
	}
	return sure, vacant
}

func TestOneLeaderAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		// Answers are lost and requests fail in the midst of every step.
		var n atomic.Int64
		m.OnCall(func(_ context.Context, c Call) error {
			if n.Add(1)%41 == 3 {
				return ErrCut
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var leading, terms atomic.Int64
		var wg sync.WaitGroup
		var stores []*Store
		for i := range 3 {
			s := m.Client(fmt.Sprint("m", i))
			stores = append(stores, s)
			wg.Go(func() {
				for ctx.Err() == nil {
					l, err := s.Campaign(ctx, fmt.Sprint("m", i), 9*time.Second)
					if err != nil {
						return
					}
					if leading.Add(1) > 1 {
						t.Error("two leaders at once")
					}
					if before := terms.Swap(l.Term()); before >= l.Term() {
						t.Errorf("term %d after %d", l.Term(), before)
					}
					select {
					case <-l.Done():
					case <-time.After(time.Duration(5+i) * time.Second):
					}
					leading.Add(-1)
					_ = l.Resign(ctx)
				}
			})
		}
		wg.Wait()
		m.OnCall(nil)
		for _, s := range stores {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(10 * time.Second)
		if terms.Load() == 0 || m.Leases() != 0 { // ancestor 6
			t.Errorf("%d leases are left after term %d", m.Leases(), terms.Load())
		}
	})
}

func TestCampaignOutlastsOutages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Client("m1")
		defer s.Close()
		m.Cut("m1")
		elected := make(chan *Leadership)
		go func() {
			l, err := s.Campaign(t.Context(), "m1", 10*time.Second)
			if err != nil {
				t.Error(err)
			}
			elected <- l
		}()
		time.Sleep(10 * time.Minute)
		m.Heal("m1")
		start := time.Now()
		l := <-elected
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("elected after %s", took)
		}
		time.Sleep(time.Hour)
		if over(l) {
			t.Error("leadership was lost without a reason")
		}
		if !m.Expire("leader") {
			t.Fatal("there is no leader's lease")
		}
		time.Sleep(4 * time.Second)
		if !over(l) {
			t.Error("a lease that is gone goes unnoticed")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		m.Cut("m1")
		if _, err := s.Campaign(ctx, "m1", 10*time.Second); job.CodeOf(err) != job.CodeUnavailable {
			t.Errorf("%v", err)
		}
	})
}

func TestAnnounce(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		a, err := s.Announce(ctx, Master{ID: "m1", URL: "https://m1:7682", Version: "1", Since: day}, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if m := must(s.Masters().Get(ctx, "m1")); m.URL != "https://m1:7682" || a.Err() != nil {
			t.Errorf("%+v, %v", m, a.Err())
		}
		fx.expire("masters/m1")
		if err := a.Close(ctx); err != nil || must(s.Masters().Count(ctx)) != 0 {
			t.Error("still there", err)
		}
	})
}
