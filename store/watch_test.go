package store

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// mirror follows a watch of the configuration.
type mirror struct {
	t      *testing.T
	w      *Watch[Config]
	has    map[string]string
	synced int
	puts   int
}

func follow(t *testing.T, w *Watch[Config]) *mirror {
	return &mirror{t: t, w: w, has: map[string]string{}}
}

func (m *mirror) take(batch []Event[Config]) {
	m.t.Helper()
	for _, e := range batch {
		switch e.Type {
		case Put:
			m.has[e.Value.Key], m.puts = e.Value.Value, m.puts+1
		case Delete:
			if e.Value == nil {
				m.t.Errorf("deleted without its last value: %+v", e)
				continue
			}
			if _, ok := m.has[e.Value.Key]; !ok {
				m.t.Errorf("deleted without a put: %+v", e)
			}
			delete(m.has, e.Value.Key)
		case Synced:
			m.synced++
		}
	}
}

func (m *mirror) until(what string, f func() bool) {
	m.t.Helper()
	timeout := time.After(time.Minute)
	for !f() {
		select {
		case batch, ok := <-m.w.Events():
			if !ok {
				m.t.Fatalf("%s: the watch has ended", what)
			}
			m.take(batch)
		case <-timeout:
			m.t.Fatalf("not in time: %s; has %v, synced %d", what, m.has, m.synced)
		}
	}
}

func put1(t *testing.T, s *Store, key, value string) {
	t.Helper()
	if _, err := s.Do(context.Background(), PutConfig(&Config{Key: key, Value: value}, Any)); err != nil {
		t.Fatal(err)
	}
}

func TestWatchListsThenStreamsWithoutAGap(t *testing.T) { // ancestor 20
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := fx.client()
		put1(t, s, "A", "0")
		stop, stopped := context.WithCancel(ctx)
		written := make(chan map[string]string)
		go func() { // writes go on while the watch begins, each to a key of its own: what is missed is not made up for by the next
			last := map[string]string{}
			for i := 0; stop.Err() == nil; i++ {
				k, v := fmt.Sprintf("K%d", i), fmt.Sprint(i)
				put1(t, s, k, v)
				last[k] = v
			}
			written <- last
		}()
		eventually(t, "writes", func() bool { return must(s.Config().Count(ctx)) >= 8 })
		m := follow(t, s.Config().Watch(ctx))
		m.until("synced", func() bool { return m.synced > 0 && m.puts > 50 })
		stopped()
		want := <-written
		want["A"] = "0"
		m.until("the last state", func() bool { return maps.Equal(m.has, want) })
		if err := s.Config().Delete(ctx, 0, "", "A"); err != nil {
			t.Fatal(err)
		}
		m.until("the deletion", func() bool { return len(m.has) == len(want)-1 })
		if m.synced != 1 {
			t.Errorf("synced %d times", m.synced)
		}
		cancel()
		for range m.w.Events() { //nolint:revive // it ends with its context
		}
	})
}

// However long it was away: it finds what was compacted when it goes on where it was, or lists again because it failed before.
func TestWatchSurvivesCompaction(t *testing.T) { // ancestor 53
	t.Parallel()
	for _, away := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			m := NewMemory(MemoryOptions{})
			defer m.Close()
			s, writer := m.Client("watcher"), m.Client("writer")
			defer s.Close()
			defer writer.Close()
			put1(t, writer, "A", "1")
			put1(t, writer, "B", "1")
			w := follow(t, s.Config().Watch(t.Context()))
			w.until("synced", func() bool { return w.synced == 1 })
			m.Cut("watcher")
			put1(t, writer, "A", "2")
			must(writer.Do(t.Context(), Op{then: []request{{action: del, key: "config/global/B"}}}))
			put1(t, writer, "C", "1")
			if err := m.Compact(0); err != nil {
				t.Fatal(err)
			}
			if away > 0 {
				time.Sleep(away)
			}
			start := time.Now()
			m.Heal("watcher")
			before := w.puts
			w.until("synced again", func() bool { return w.synced == 2 })
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("converged after %s", took)
			}
			if !maps.Equal(w.has, map[string]string{"A": "2", "C": "1"}) || w.puts != before+2 {
				t.Errorf("has %v after %d puts", w.has, w.puts-before)
			}
		})
	}
}

func TestWatchResumesWithoutListing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s, writer := m.Client("watcher"), m.Client("writer")
		defer s.Close()
		defer writer.Close()
		put1(t, writer, "A", "1")
		w := follow(t, s.Config().Watch(t.Context()))
		w.until("synced", func() bool { return w.synced == 1 })
		// What others write moves the watch along, so that it does not depend on what is compacted meanwhile.
		for range 100 {
			put1(t, writer, "A", "1")
			must(writer.Do(t.Context(), PutTask(testTask(fmt.Sprint("t", m.Revision())))))
		}
		m.Progress()
		synctest.Wait()
		w.until("the progress", func() bool { return w.puts > 1 })
		if err := m.Compact(0); err != nil {
			t.Fatal(err)
		}
		m.Cut("watcher")
		m.Heal("watcher") // a short break
		put1(t, writer, "A", "last")
		w.until("the change", func() bool { return w.has["A"] == "last" })
		if w.synced != 1 {
			t.Error("it listed again")
		}
	})
}

func TestWatchBacksOff(t *testing.T) { // ancestor 52
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Client("n1")
		defer s.Close()
		w := follow(t, s.Config().Watch(t.Context()))
		w.until("synced", func() bool { return w.synced == 1 })
		var calls atomic.Int64
		m.OnCall(func(_ context.Context, c Call) error {
			if c.Client == "n1" && !c.After {
				calls.Add(1)
				return ErrCut
			}
			return nil
		})
		m.Cut("n1")
		m.Heal("n1")
		time.Sleep(10 * time.Minute)
		if n := calls.Load(); n == 0 || n > 300 {
			t.Errorf("%d attempts in ten minutes", n)
		}
	})
}

func TestWatchChecksItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{Relist: 2 * time.Second})
		defer m.Close()
		s := m.Store()
		defer s.Close()
		put1(t, s, "A", "1")
		w := follow(t, s.Config().Watch(t.Context()))
		w.until("relisted", func() bool { return w.synced == 4 })
		if w.puts != 1 {
			t.Errorf("%d puts: what is known was told again", w.puts)
		}
	})
}

func TestSlowWatcherLosesNothing(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := fx.client()
		for i := range 10 {
			put1(t, s, fmt.Sprint("K", i), "0")
		}
		m := follow(t, s.Config().Watch(ctx))
		m.until("synced", func() bool { return m.synced == 1 })
		for i := range 2000 { // nobody receives
			switch {
			case i%10 == 3 && i%20 == 3:
				must(s.Do(ctx, Op{then: []request{{action: del, key: "config/global/K3"}}}))
			case i%10 == 4:
				put1(t, s, "SHORT", fmt.Sprint(i))
				must(s.Do(ctx, Op{then: []request{{action: del, key: "config/global/SHORT"}}}))
			default:
				put1(t, s, fmt.Sprint("K", i%10), fmt.Sprint(i))
			}
		}
		put1(t, s, "LAST", "1")
		m.until("the last change", func() bool { return m.has["LAST"] == "1" })
		want := map[string]string{"LAST": "1", "K4": "0", "K3": "1993"}
		for _, k := range []int{0, 1, 2, 5, 6, 7, 8, 9} {
			want[fmt.Sprint("K", k)] = fmt.Sprint(1990 + k)
		}
		if !maps.Equal(m.has, want) {
			t.Errorf("has %v", m.has)
		}
	})
}

func TestSlowWatcherKeepsOneEventAKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Store()
		defer s.Close()
		w := follow(t, s.Config().Watch(t.Context()))
		w.until("synced", func() bool { return w.synced == 1 })
		for i := range 20_000 {
			put1(t, s, fmt.Sprint("K", i%10), fmt.Sprint(i))
			if i%1000 == 0 {
				synctest.Wait() // the watch has seen it, the receiver has not
			}
		}
		synctest.Wait()
		w.until("the last change", func() bool { return w.has["K9"] == "19999" })
		if w.puts > 10 {
			t.Errorf("%d events were kept for a receiver that was away", w.puts)
		}
	})
}

func TestQueueKeepsMarksTrue(t *testing.T) {
	t.Parallel()
	var q queue[Config]
	push := func(typ EventType, key string, rev int64, fresh bool) {
		q.push(Event[Config]{Type: typ, Key: key, Revision: rev}, fresh)
	}
	push(Put, "a", 1, true)
	push(Put, "b", 2, true)
	push(Synced, "", 3, false)
	push(Put, "a", 4, false) // what the mark vouches for stays before it
	push(Delete, "b", 5, false)
	push(Put, "c", 6, true)
	push(Put, "d", 7, true)
	push(Put, "c", 8, false) // later changes keep their order
	var got []string
	for _, e := range q.head() {
		got = append(got, fmt.Sprint(e.Type, e.Key, e.Revision))
	}
	if want := "[puta4 synced3 putd7 putc8]"; fmt.Sprint(got) != want {
		t.Errorf("%v", got)
	}
	q.sent()
	if len(q.head()) != 0 || q.live != 0 || len(q.at) != 0 {
		t.Errorf("%+v", q)
	}
	for i := range 100_000 { // one key, never received
		push(Put, "x", int64(10+i), i == 0)
	}
	if len(q.slots) > 4*batchSize || q.live != 1 {
		t.Errorf("%d slots for one event", len(q.slots))
	}
}

func TestWatchOfNothingThatCanExist(t *testing.T) {
	t.Parallel()
	m := NewMemory(MemoryOptions{})
	defer m.Close()
	s := m.Store()
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	w := s.Jobs().Watch(ctx, "../n1")
	if b := <-w.Events(); len(b) != 1 || b[0].Type != Synced {
		t.Errorf("%+v", b)
	}
	cancel()
	if _, ok := <-w.Events(); ok {
		t.Error("it goes on")
	}
}
