package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
)

// losing makes every nth answer of a sort of request get lost, and every mth request fail.
func losing(m *Memory, op string, n, mth int64) {
	var calls atomic.Int64
	m.OnCall(func(_ context.Context, c Call) error {
		if c.Op != op {
			return nil
		}
		if i := calls.Add(1); c.After && i%n == 0 || !c.After && i%mth == 0 {
			return ErrCut
		}
		return nil
	})
}

func TestLostAnswersAreNoRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s, ctx, task := m.Store(), t.Context(), job.Ref("", "nightly")
		defer s.Close()
		must(s.Do(ctx, InitFloor(task, day)))
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		before := func(what string) { // the next transaction happens, its answer is lost
			t.Helper()
			var lost atomic.Bool
			m.OnCall(func(_ context.Context, c Call) error {
				if c.Op == "txn" && c.After && lost.CompareAndSwap(false, true) {
					return fmt.Errorf("%s: %w", what, ErrCut)
				}
				return nil
			})
		}
		ok := func(what string, err error) {
			t.Helper()
			m.OnCall(nil)
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		at := day.Add(time.Minute)

		before("claim")
		rev := m.Revision() + 1
		fence, err := ss.Claim(ctx, job.Claim{Task: task, Instant: at, Job: "h"})
		if ok("claim", err); fence != rev {
			t.Errorf("fence %d, made at %d", fence, rev)
		}
		before("lock")
		rev = m.Revision() + 1
		l := job.Lock{Task: task, Run: "r1"}
		fence, holder, err := ss.Lock(ctx, l)
		if ok("lock", err); fence != rev || holder != nil {
			t.Errorf("fence %d, made at %d; %v", fence, rev, holder)
		}
		before("unlock")
		l.Fence = fence
		ok("unlock", ss.Unlock(ctx, l))

		e := testTask("backup")
		before("create")
		rev, err = s.Tasks().Put(ctx, e)
		ok("create", err)
		e.Revision, e.Paused = rev, true
		before("edit")
		_, err = s.Tasks().Put(ctx, e)
		ok("edit", err)
		before("delete")
		ok("delete", s.Tasks().Delete(ctx, 0, "default", "backup"))

		d, j := testDispatch("r1", "n1"), testJob("backup", "n1")
		record := testRecord("r9", "")
		ops := []Op{PutJob(j, 0), CreateDispatch(d), InitFloor(job.Ref("", "other"), day), PutRecord(testRecord("r8", "n1"))}
		before("do")
		done, err := s.Do(ctx, ops...)
		if ok("do", err); fmt.Sprint(done) != "[true true true true]" {
			t.Errorf("%v", done)
		}
		if done, err = s.Do(ctx, ops[0], ops[1], ops[2]); fmt.Sprint(done, err) != "[false false false] <nil>" {
			t.Errorf("with every answer: %v, %v", done, err)
		}
		before("start")
		d = must(s.Dispatches().Get(ctx, "n1", "r1"))
		_, err = ss.StartDispatch(ctx, d)
		ok("start", err)
		d = must(s.Dispatches().Get(ctx, "n1", "r1"))
		before("settle")
		done, err = s.Do(ctx, Settle(task, day, at, record, false), FailDispatch(d, testRecord("r1", "n1")), DeleteJob("n1", j.Hash, 0))
		if ok("settle", err); fmt.Sprint(done) != "[true true true]" {
			t.Errorf("%v", done)
		}
		before("hand over")
		ok("hand over", ss.HandOver(ctx, []job.ExecutionRecord{*testRecord("r7", "n1")}, nil))
		if n := must(s.Records().Count(ctx)); n != 4 {
			t.Errorf("%d records", n)
		}

		// A refusal stays one, however often the answer is lost.
		other := join(t, m.Client("other"), presence("n2", "s2"), 10*time.Second)
		defer other.s.Close()
		must(ss.Claim(ctx, job.Claim{Task: task, Instant: at.Add(time.Minute), Job: "h"}))
		before("another's claim")
		if _, err := other.Claim(ctx, job.Claim{Task: task, Instant: at.Add(time.Minute), Job: "h"}); !job.IsConflict(err) {
			t.Errorf("%v", err)
		}
		m.OnCall(nil)
	})
}

func TestEveryWriteArrivesThroughAFlakyNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s, ctx, task := m.Store(), t.Context(), job.Ref("", "nightly")
		defer s.Close()
		must(s.Do(ctx, InitFloor(task, day)))
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		losing(m, "txn", 4, 5)
		var fences []int64
		for i := range 200 {
			at := day.Add(time.Duration(i+1) * time.Minute)
			fence, err := ss.Claim(ctx, job.Claim{Task: task, Instant: at, Job: "h"})
			if err != nil {
				t.Fatal(err)
			}
			if len(fences) > 0 && fence <= fences[len(fences)-1] {
				t.Errorf("fence %d after %v", fence, fences)
			}
			fences = append(fences, fence)
			done := must(s.Do(ctx, Settle(task, at.Add(-time.Minute), at, testRecord(fmt.Sprint("r", i), ""), false)))
			if !done[0] {
				t.Fatal("not settled")
			}
		}
		m.OnCall(nil)
		if n := must(s.Claims().Count(ctx)); n != 0 || must(s.Records().Count(ctx)) != 200 {
			t.Errorf("%d claims are left", n)
		}
	})
}

func TestFullEtcdLosesNothing(t *testing.T) { // scenario 12
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Store()
		defer s.Close()
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		must(s.Do(t.Context(), PutRecord(testRecord("old", "n1")), CreateDispatch(testDispatch("r5", "n1"))))
		m.SetAlarm("NOSPACE")
		if alarm := must(s.Alarm(t.Context())); alarm != "NOSPACE" {
			t.Errorf("%q", alarm)
		}
		handed := make(chan error)
		recs := make([]job.ExecutionRecord, 50)
		for i := range recs {
			recs[i] = *testRecord(fmt.Sprint("r", i), "n1")
		}
		go func() { handed <- ss.HandOver(t.Context(), recs, nil) }()
		time.Sleep(time.Minute)
		// What makes room goes on, also among what does not.
		done, err := s.Do(t.Context(), PutRecord(testRecord("new", "n1")), DeleteRecord("n1", "old", 0), DeleteDispatch("n1", "r5", 0))
		if job.CodeOf(err) != job.CodeExhausted || fmt.Sprint(done) != "[false true true]" {
			t.Errorf("%v, %v", done, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := ss.HandOver(ctx, recs[:1], nil); job.CodeOf(err) != job.CodeUnavailable {
			t.Errorf("%v", err)
		}
		cancel()
		if err := ss.HandOver(t.Context(), nil, []job.RunID{"r6"}); err != nil {
			t.Errorf("a deletion waits for space: %v", err)
		}
		m.SetAlarm("")
		if err := <-handed; err != nil || must(s.Records().Count(t.Context())) != 50 {
			t.Errorf("%v", err)
		}
	})
}

func TestOneRefusalSparesTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Store()
		defer s.Close()
		c := newCommitter(s)
		dead := Op{then: []request{{action: put, key: "x", lease: 4711}}}
		var works []*work
		for i := range 5 {
			op := PutConfig(&Config{Key: fmt.Sprint("K", i), Value: "v"}, 0)
			works = append(works, c.submit(t.Context(), true, &op, nil))
			if i == 2 {
				works = append(works, c.submit(t.Context(), true, &dead, nil))
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go c.run(ctx)
		for i, w := range works {
			<-w.done
			if (w.err != nil) != (i == 3) {
				t.Errorf("%d: %v", i, w.err)
			}
		}
		cancel()
	})
}

func TestGhostsUnderTheLeaseAreSwept(t *testing.T) { // ancestor 40
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Store()
		defer s.Close()
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		ss.SetProcess(testProcess("n1", 1, "r"))
		if _, _, err := ss.Lock(t.Context(), job.Lock{Task: job.Ref("", "held"), Run: "r1"}); err != nil {
			t.Fatal(err)
		}
		// What was given up long ago arrives at last.
		k := ss.t.current()
		must(s.kv.Txn(t.Context(), &txn{then: []request{
			{action: put, key: DefaultPrefix + "locks/default/ghost", value: []byte("{}"), lease: k.id},
			{action: put, key: DefaultPrefix + "proc/n1/default/h1/2", value: []byte("{}"), lease: k.id},
		}}))
		time.Sleep(3 * sweepEvery)
		if n := must(s.Locks().Count(t.Context())); n != 1 {
			t.Errorf("%d locks", n)
		}
		if n := must(s.Processes().Count(t.Context())); n != 1 {
			t.Errorf("%d processes", n)
		}
		if _, holder, err := ss.Lock(t.Context(), job.Lock{Task: job.Ref("", "ghost"), Run: "r2"}); holder != nil || err != nil {
			t.Error(holder, err)
		}
	})
}

func TestAnswersBeyondPatienceAreOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s, task := m.Client("n1"), job.Ref("", "nightly")
		defer s.Close()
		must(s.Do(t.Context(), InitFloor(task, day)))
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		m.Cut("n1")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := ss.Claim(ctx, job.Claim{Task: task, Instant: day.Add(time.Minute), Job: "h"}); job.CodeOf(err) != job.CodeUnavailable {
			t.Errorf("%v", err)
		}
		if err := s.Ping(t.Context()); job.CodeOf(err) != job.CodeUnavailable {
			t.Errorf("%v", err)
		}
		if _, _, err := s.Tasks().List(t.Context()); job.CodeOf(err) != job.CodeUnavailable {
			t.Errorf("%v", err)
		}
		m.Heal("n1")
		if _, err := ss.Claim(t.Context(), job.Claim{Task: task, Instant: day.Add(time.Minute), Job: "h"}); err != nil {
			t.Errorf("%v", err)
		}
	})
}

func TestLeaseLostWhileItIsChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Store()
		defer s.Close()
		ss := join(t, s, presence("n1", "s1"), 9*time.Second)
		ss.SetProcess(testProcess("n1", 1, "r"))
		if _, _, err := ss.Lock(t.Context(), job.Lock{Task: job.Ref("", "alone"), Run: "r1"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		m.OnCall(func(_ context.Context, c Call) error {
			if c.Op == "keys" && !c.After {
				m.OnCall(nil)
				m.Expire("online/n1")
			}
			return nil
		})
		if err := ss.SetTTL(t.Context(), 30*time.Second); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if ss.Left() != 0 || ss.Epoch() == 0 {
			t.Errorf("left %s, epoch %d, although everything was lost", ss.Left(), ss.Epoch())
		}
		<-ss.Lost()
		time.Sleep(time.Second)
		if must(s.Online().Get(t.Context(), "n1")).Session != "s1" || must(s.Processes().Count(t.Context())) != 1 || ss.Left() < 15*time.Second {
			t.Errorf("not all stands again; left %s", ss.Left())
		}
		if m.Leases() != 1 || must(s.Locks().Count(t.Context())) != 0 {
			t.Errorf("%d leases", m.Leases())
		}
	})
}
