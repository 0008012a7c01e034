package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
)

func testProcess(node job.NodeID, pid int, run job.RunID) *job.Process {
	return &job.Process{ID: fmt.Sprint(pid), JobID: "h1", Group: "default", NodeID: node, Time: day, Run: run, Name: "backup", StartTicks: uint64(pid)}
}

func TestOneClaimOfManyWins(t *testing.T) { // ancestors 1, 2
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s, task := t.Context(), fx.client(), job.Ref("", "nightly")
		var sessions []*Session
		for i := range 5 {
			sessions = append(sessions, join(t, fx.client(), presence(job.NodeID(fmt.Sprint("n", i)), fmt.Sprint("s", i)), 10*time.Second))
		}
		if _, err := sessions[0].Claim(ctx, job.Claim{Task: task, Instant: day, Job: "h"}); job.CodeOf(err) != job.CodeUnavailable {
			t.Errorf("a claim before the task is open: %v", err)
		}
		must(s.Do(ctx, InitFloor(task, day)))
		var mu sync.Mutex
		var wg sync.WaitGroup
		var last int64
		for instant := 1; instant <= 4; instant++ {
			at, won := day.Add(time.Duration(instant)*time.Minute), []int64{}
			for i := range 50 {
				wg.Go(func() {
					fence, err := sessions[i%5].Claim(ctx, job.Claim{Task: task, Instant: at, Job: fmt.Sprint("h", i)})
					var taken *ClaimedError
					switch {
					case err == nil:
						mu.Lock()
						won = append(won, fence)
						mu.Unlock()
					case !errors.As(err, &taken), taken.By.Task != task, !taken.By.Instant.Equal(at), taken.By.Node == "", !job.IsConflict(err):
						t.Errorf("%v", err)
					}
				})
			}
			wg.Wait()
			if len(won) != 1 || won[0] <= last {
				t.Fatalf("fences %v after %d", won, last)
			}
			last = won[0]
			if c := must(s.Claims().Get(ctx, task.Group, task.Name, job.FormatInstant(at))); c.Fence != last {
				t.Errorf("the claim's fence is %d, not %d", c.Fence, last)
			}
		}
	})
}

func TestClaimsAtOrBelowTheFloorAreRefused(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s, task := t.Context(), fx.client(), job.Ref("", "nightly")
		must(s.Do(ctx, InitFloor(task, day)))
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		for _, at := range []time.Time{day, day.Add(-time.Second), day.AddDate(-1, 0, 0)} {
			if _, err := ss.Claim(ctx, job.Claim{Task: task, Instant: at, Job: "h"}); !errors.Is(err, ErrSettled) {
				t.Errorf("%s: %v", at, err)
			}
		}
		c := job.Claim{Task: task, Instant: day.Add(time.Second), Job: "h"}
		fence, err := ss.Claim(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ss.Claim(ctx, c); err != nil || again != fence {
			t.Errorf("asked again: %d after %d, %v", again, fence, err)
		}
		c.Try++
		var taken *ClaimedError
		if _, err := ss.Claim(ctx, c); !errors.As(err, &taken) || taken.By.Fence != fence || taken.By.Try != c.Try-1 {
			t.Errorf("another claim of the same job: %v", err)
		}
		c.Try--
		c.Job = "another"
		if _, err := ss.Claim(ctx, c); !job.IsConflict(err) {
			t.Errorf("another job of the node: %v", err)
		}
	})
}

func TestFencesOfATaskNeverRepeat(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s, task := t.Context(), fx.client(), job.Ref("", "catchup")
		must(s.Do(ctx, InitFloor(task, day)))
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		fences := make([]int64, 40)
		var wg sync.WaitGroup
		for i := range fences { // at once, so that they travel together
			wg.Go(func() {
				fences[i] = must(ss.Claim(ctx, job.Claim{Task: task, Instant: day.Add(time.Duration(i+1) * time.Minute), Job: "h"}))
			})
		}
		wg.Wait()
		seen := map[int64]bool{}
		for _, f := range fences {
			if seen[f] || f == 0 {
				t.Fatalf("fence %d twice", f)
			}
			seen[f] = true
		}
	})
}

func TestLostLeaseIsReplaced(t *testing.T) { // ancestors 39, 40
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		ss := join(t, s, presence("n1", "s1"), time.Second)
		other := join(t, fx.client(), presence("n2", "s2"), 10*time.Second)
		for pid := range 5 {
			ss.SetProcess(testProcess("n1", 100+pid, "r"))
		}
		l := job.Lock{Task: job.Ref("", "alone"), Run: "r1"}
		epoch := ss.Epoch()
		first, holder, err := ss.Lock(ctx, l)
		if err != nil || holder != nil || ss.Left() <= 0 {
			t.Fatal(first, holder, err, ss.Left())
		}
		if again, _, err := ss.Lock(ctx, l); again != first || err != nil {
			t.Errorf("asked again: %d, %v", again, err)
		}
		if _, holder, err := other.Lock(ctx, job.Lock{Task: l.Task, Run: "r2"}); err != nil || holder == nil || holder.Run != "r1" || holder.Fence != first {
			t.Errorf("%+v, %v", holder, err)
		}
		count := func() int64 { return must(s.Processes().Count(ctx, "n1", "default", "h1")) }
		eventually(t, "processes", func() bool { return count() == 5 })
		fx.expire("online/n1")
		select {
		case <-ss.Lost():
		case <-time.After(5 * time.Second):
			t.Fatal("the loss is not told")
		}
		if ss.Epoch() == epoch {
			t.Error("the epoch is the same")
		}
		eventually(t, "processes again", func() bool { return count() == 5 }) // ancestor 37, 39: what is counted is what is written, also after a lost lease
		if p := must(s.Online().Get(ctx, "n1")); p.Session != "s1" {
			t.Errorf("%+v", p)
		}
		if fx.read("locks/default/alone") != nil {
			t.Error("the lock was taken again by itself")
		}
		second, holder, err := other.Lock(ctx, job.Lock{Task: l.Task, Run: "r2"})
		if err != nil || holder != nil || second <= first {
			t.Errorf("fence %d after %d, %v, %v", second, first, holder, err)
		}
		l.Fence = first
		if err := ss.Unlock(ctx, l); err != nil || fx.read("locks/default/alone") == nil {
			t.Errorf("the former holder gave back what is another's: %v", err)
		}
		for pid := range 5 {
			ss.UnsetProcess(testProcess("n1", 100+pid, "r"))
		}
		eventually(t, "no processes", func() bool { return count() == 0 })
		if ss.Err() != nil || ss.CountProcesses("") != 0 {
			t.Error(ss.Err(), ss.CountProcesses(""))
		}
	})
}

func TestProcessesThatReuseAPid(t *testing.T) { // ancestor 38
	t.Parallel()
	m := NewMemory(MemoryOptions{})
	defer m.Close()
	s := m.Store()
	defer s.Close()
	ss := join(t, s, presence("n1", "s1"), 10*time.Second)
	first, later := testProcess("n1", 7, "r1"), testProcess("n1", 7, "r2")
	later.StartTicks = 99
	ss.SetProcess(first)
	ss.SetProcess(later)
	ss.UnsetProcess(first)
	if ss.CountProcesses("h1") != 1 || ss.CountProcesses("other") != 0 {
		t.Error("the end of one process ended another with its pid")
	}
	eventually(t, "the process", func() bool {
		p, err := s.Processes().Get(t.Context(), "n1", "default", "h1", "7")
		return err == nil && p.Run == "r2"
	})
}

func TestShortRunsCostNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Store()
		defer s.Close()
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		before := m.Revision()
		for i := range 1000 {
			ss.SetProcess(testProcess("n1", i, "r"))
			time.Sleep(time.Millisecond)
			ss.UnsetProcess(testProcess("n1", i, "r"))
		}
		time.Sleep(time.Second)
		if m.Revision() != before {
			t.Errorf("%d writes", m.Revision()-before)
		}
	})
}

func TestDeletesOfProcessesAreRetried(t *testing.T) { // ancestor 40
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Client("n1")
		defer s.Close()
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		ss.SetProcess(testProcess("n1", 1, "r"))
		time.Sleep(time.Second)
		m.Cut("n1")
		ss.UnsetProcess(testProcess("n1", 1, "r"))
		time.Sleep(5 * time.Second)
		m.Heal("n1")
		time.Sleep(3 * time.Second)
		if n := must(s.Processes().Count(t.Context())); n != 0 {
			t.Errorf("%d ghosts", n)
		}
	})
}

func TestLeaseOutlivesHiccups(t *testing.T) { // ancestors 4, 54
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Client("n1")
		defer s.Close()
		ss := join(t, s, presence("n1", "s1"), 9*time.Second)
		time.Sleep(time.Hour)
		if ss.Left() < 5*time.Second || m.Leases() != 1 {
			t.Fatalf("left %s, %d leases", ss.Left(), m.Leases())
		}
		for range 300 { // two keepalives in a row may be lost, whenever that begins
			time.Sleep(100 * time.Millisecond)
			if left := ss.Left(); left < 5900*time.Millisecond {
				t.Fatalf("only %s of 9 s are left while all is well", left)
			}
		}
		m.Cut("n1")
		time.Sleep(5 * time.Second)
		if left := ss.Left(); left <= 0 || left > 4*time.Second {
			t.Errorf("left %s after 5 s without etcd", left)
		}
		m.Heal("n1")
		time.Sleep(time.Second)
		if ss.Left() < 5*time.Second || ss.Epoch() != 0 {
			t.Errorf("left %s, epoch %d", ss.Left(), ss.Epoch())
		}
		m.Cut("n1")
		time.Sleep(10 * time.Second)
		if ss.Left() != 0 || job.CodeOf(ss.Err()) != job.CodeUnavailable {
			t.Errorf("left %s although the lease must have run out; %v", ss.Left(), ss.Err())
		}
		m.Heal("n1")
		<-ss.Lost()
		if ss.Left() < 5*time.Second || m.Leases() != 1 {
			t.Errorf("left %s, %d leases", ss.Left(), m.Leases())
		}
		if err := ss.Close(t.Context()); err != nil || m.Leases() != 0 {
			t.Errorf("%d leases after leaving, %v", m.Leases(), err)
		}
		<-ss.Done()
	})
}

func TestTwoAgentsWithOneName(t *testing.T) { // ancestor 51
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		one, two := m.Client("one"), m.Client("two")
		defer one.Close()
		defer two.Close()
		ss := join(t, one, presence("n1", "s1"), 9*time.Second)
		start := time.Now()
		_, err := two.Join(t.Context(), presence("n1", "s2"), 9*time.Second)
		if !job.IsConflict(err) || !strings.Contains(err.Error(), "s1") {
			t.Errorf("%v", err)
		}
		if took := time.Since(start); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("refused after %s", took)
		}
		if m.Leases() != 1 {
			t.Errorf("%d leases", m.Leases()) // ancestor 6
		}
		m.Cut("one") // it dies, or is cut off
		second := join(t, two, presence("n1", "s2"), 9*time.Second)
		m.Heal("one")
		time.Sleep(30 * time.Second)
		if !job.IsConflict(ss.Err()) || ss.Left() != 0 {
			t.Errorf("the twin that came back: %v, left %s", ss.Err(), ss.Left())
		}
		if second.Err() != nil || must(two.Online().Get(t.Context(), "n1")).Session != "s2" {
			t.Error("the twin that lives was displaced")
		}
		if err := second.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if ss.Err() != nil || ss.Left() == 0 {
			t.Errorf("the name is free, but %v", ss.Err())
		}
	})
}

func TestRestartReplacesTheDeadSession(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx := t.Context()
		dead := fx.client()
		const lease = 10 * time.Minute
		must(dead.Join(ctx, presence("n1", "s1"), lease))
		_ = dead.Close() // as by kill -9: the lease lives on
		p := presence("n1", "s2")
		p.Replaces = "s1"
		start := time.Now()
		ss := join(t, fx.client(), p, 10*time.Second)
		if took := time.Since(start); took > lease/2 || ss.Err() != nil {
			t.Errorf("joined after %s, %v", took, ss.Err())
		}
		if got := must(fx.client().Online().Get(ctx, "n1")); got.Session != "s2" {
			t.Errorf("%+v", got)
		}
	})
}

func TestChangingTheLeaseKeepsEverything(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		ss := join(t, s, presence("n1", "s1"), 30*time.Second)
		ss.SetProcess(testProcess("n1", 1, "r"))
		l := job.Lock{Task: job.Ref("", "alone"), Run: "r1"}
		fence, _, err := ss.Lock(ctx, l)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the process", func() bool { return fx.read("proc/n1/default/h1/1") != nil })
		old := fx.read("online/n1").lease
		if err := ss.SetTTL(ctx, 60*time.Second); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the old lease is gone", func() bool {
			_, err := fx.kv.LeaseKeys(ctx, old)
			return errors.Is(err, errLeaseNotFound)
		})
		for _, key := range []string{"online/n1", "proc/n1/default/h1/1", "locks/default/alone"} {
			if kv := fx.read(key); kv == nil || kv.lease == old {
				t.Errorf("%s: %+v", key, kv)
			}
		}
		eventually(t, "the new length", func() bool { return ss.Left() > 30*time.Second })
		if again, _, err := ss.Lock(ctx, l); again != fence || err != nil || ss.Epoch() != 0 {
			t.Errorf("fence %d is now %d, %v", fence, again, err)
		}
		l.Fence = fence
		if err := ss.Unlock(ctx, l); err != nil || fx.read("locks/default/alone") != nil {
			t.Error(err)
		}
	})
}

func TestDispatchStartsAtMostOnce(t *testing.T) { // ancestors 14, 15
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		must(s.Do(ctx, CreateDispatch(testDispatch("r1", "n1")), CreateDispatch(testDispatch("r2", "n1"))))
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		d := must(s.Dispatches().Get(ctx, "n1", "r1"))
		early, unseen := *d, *d
		fence, err := ss.StartDispatch(ctx, d)
		if err != nil || d.Started == nil || d.Started.Session != "s1" || d.Revision != fence {
			t.Fatalf("%d, %v, %+v", fence, err, d)
		}
		if again, err := ss.StartDispatch(ctx, &early); again != fence || err != nil {
			t.Errorf("asked again: %d, %v", again, err)
		}
		if err := ss.Close(ctx); err != nil {
			t.Fatal(err)
		}
		next := join(t, s, presence("n1", "s2"), 10*time.Second)
		for _, stale := range []*job.Dispatch{&unseen, d, must(s.Dispatches().Get(ctx, "n1", "r1"))} {
			if _, err := next.StartDispatch(ctx, stale); !job.IsConflict(err) {
				t.Errorf("started twice: %v", err)
			}
		}
		taken := must(s.Dispatches().Get(ctx, "n1", "r2"))
		must(s.Do(ctx, FailDispatch(taken, testRecord("r2", "n1"))))
		if _, err := next.StartDispatch(ctx, taken); !job.IsConflict(err) {
			t.Errorf("started what was taken back: %v", err)
		}
	})
}

func TestHandOverOfManyLargeRecords(t *testing.T) { // ancestors 42, 43; scenario 12
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		n := 1000
		if raceEnabled { // which makes it ten times as long
			n = 100
		}
		recs, runs, ops := make([]job.ExecutionRecord, n), make([]job.RunID, n), make([]Op, n)
		output := strings.Repeat("x", 64<<10)
		for i := range recs {
			recs[i] = *testRecord(fmt.Sprintf("r%04d", i), "n1")
			recs[i].Output, runs[i] = output, job.RunID(recs[i].ID)
			ops[i] = CreateDispatch(testDispatch(runs[i], "n1"))
		}
		must(s.Do(ctx, ops...))
		for range 2 { // it may be repeated
			if err := ss.HandOver(ctx, recs, slices.Concat(runs, []job.RunID{"unknown"})); err != nil {
				t.Fatal(err)
			}
		}
		if r, d := must(s.Records().Count(ctx, "n1")), must(s.Dispatches().Count(ctx)); r != int64(n) || d != 0 {
			t.Errorf("%d records, %d dispatches", r, d)
		}
		list, drop := must(s.Records().First(ctx, n)), []Op{}
		for _, e := range list {
			drop = append(drop, DeleteRecord(e.Value.Node, e.Value.ID, e.Revision))
		}
		must(s.Do(ctx, drop...))
		if n := must(s.Records().Count(ctx)); n != 0 {
			t.Errorf("%d records are left", n)
		}
		big := testRecord("big", "n1")
		big.Output = strings.Repeat("x", 2<<20)
		if err := ss.HandOver(ctx, []job.ExecutionRecord{*big}, nil); job.CodeOf(err) != job.CodeExhausted {
			t.Errorf("a record beyond every limit: %v", err)
		}
	})
}

func TestSessionsEndWithTheirStore(t *testing.T) {
	t.Parallel()
	m := NewMemory(MemoryOptions{})
	defer m.Close()
	s := m.Store()
	ss := join(t, s, presence("n1", "s1"), 10*time.Second)
	w := s.Nodes().Watch(context.Background())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-ss.Done()
	for range w.Events() { //nolint:revive // it ends
	}
	if _, err := ss.Claim(t.Context(), job.Claim{Task: job.Ref("", "x"), Instant: day, Job: "h"}); job.CodeOf(err) != job.CodeUnavailable {
		t.Errorf("%v", err)
	}
}
