package store

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
)

// A request that its sender has given up happens all the same, when it arrives.
func TestMemoryLateRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s, ctx := m.Client("n1"), t.Context()
		defer s.Close()
		var late atomic.Bool
		m.OnCall(func(_ context.Context, c Call) error {
			if c.Op == "txn" && !c.After && late.CompareAndSwap(false, true) {
				c.Later(time.Minute)
				return ErrCut
			}
			return nil
		})
		once, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := s.Do(once, InitFloor(job.Ref("", "a"), day)); err == nil {
			t.Fatal("it was answered")
		}
		time.Sleep(30 * time.Second)
		if n := m.Revision(); n != 1 {
			t.Fatalf("it has happened before it arrived: revision %d", n)
		}
		time.Sleep(time.Minute)
		if n := m.Revision(); n != 2 {
			t.Fatalf("it has not happened: revision %d", n)
		}
	})
}

// A watch hears of something when the hook lets it, and goes on after an error of it.
func TestMemoryWatchesThatWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s, ctx := m.Client("n1"), t.Context()
		defer s.Close()
		var broken atomic.Bool
		m.OnTell(func(ctx context.Context, w Told) error {
			if w.Client != "n1" {
				t.Errorf("client %q", w.Client)
			}
			sleep(ctx, time.Minute)
			if broken.CompareAndSwap(true, false) {
				return ErrCut
			}
			return nil
		})
		events := s.Nodes().Watch(ctx).Events()
		<-events // synced
		for _, breaks := range []bool{false, true} {
			broken.Store(breaks)
			began := time.Now()
			n := &job.Node{ID: "n1", Labels: map[string]string{"at": began.Format("150405")}, CreatedAt: day}
			if old, err := s.Nodes().Get(ctx, "n1"); err == nil {
				n.Revision = old.Revision
			}
			if _, err := s.Nodes().Put(ctx, n); err != nil {
				t.Fatal(err)
			}
			if e := (<-events)[0]; e.Value.Labels["at"] != n.Labels["at"] || time.Since(began) < time.Minute {
				t.Errorf("%+v after %s", e.Value, time.Since(began))
			}
		}
	})
}

// An etcd that is tampered with does what it is told to, and nothing else.
func TestMemoryTampering(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s, ctx, task := m.Client("n1"), t.Context(), job.Ref("", "a")
		defer s.Close()
		do := func(op Op) bool {
			t.Helper()
			done, err := s.Do(ctx, op)
			if err != nil {
				t.Fatal(err)
			}
			return done[0]
		}
		if !do(InitFloor(task, day)) || do(InitFloor(task, day.Add(time.Hour))) {
			t.Fatal("a floor is made once")
		}
		floor := DefaultPrefix + "settled/default/a"
		m.Tamper(&Tampering{Ignore: func(client, key string) bool { return client == "n1" && key == floor }})
		if rev := m.Revision(); !do(InitFloor(task, day.Add(time.Hour))) || m.Revision() != rev+1 {
			t.Error("the condition was looked at")
		}
		m.Tamper(&Tampering{
			Ignore: func(string, string) bool { return true },
			Drop:   func(_, key string, deletion bool) bool { return key == floor && !deletion },
		})
		if rev := m.Revision(); !do(InitFloor(task, day.Add(2*time.Hour))) || m.Revision() != rev {
			t.Error("the write was carried out")
		}
		m.Tamper(&Tampering{
			Ignore: func(string, string) bool { return true },
			Change: func(_, key string, value []byte) []byte { return []byte(job.FormatInstant(day.Add(-time.Hour))) },
		})
		do(InitFloor(task, day.Add(3*time.Hour)))
		m.Tamper(nil)
		if _, err := s.Do(ctx, InitFloor(task, day)); err != nil {
			t.Fatal(err)
		}
		floors, _, err := s.Settled().List(ctx)
		if err != nil || len(floors) != 1 || !floors[0].At.Equal(day.Add(-time.Hour)) {
			t.Errorf("%+v %v", floors, err)
		}
	})
}
