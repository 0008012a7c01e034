package store

import (
	"errors"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func testWaiting(run job.RunID) *job.Waiting {
	return &job.Waiting{
		Run: run, Group: "default", Name: "backup", Node: "n1", Trigger: job.TriggerRun, Key: "k-" + string(run), RequestedAt: day, NotAfter: day.Add(time.Hour),
	}
}

// What waits is kept once, and ends once: as a dispatch or as a record, from the version that was read, together with the facts
// that say so, or not at all. ancestor 18, ancestor 26, ancestor 45
func TestWaitingOps(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		do := func(op Op) bool {
			t.Helper()
			done, err := s.Do(ctx, op)
			if err != nil {
				t.Fatal(err)
			}
			return done[0]
		}
		waiting := func(run string) *job.Waiting {
			t.Helper()
			return must(s.Waiting().Get(ctx, "default", "backup", run))
		}
		count := func() (dispatches, left, records int64) {
			return must(s.Dispatches().Count(ctx)), must(s.Waiting().Count(ctx)), must(s.Records().Count(ctx))
		}
		expect := func(what string, dispatches, left, records int64) {
			t.Helper()
			if d, w, r := count(); d != dispatches || w != left || r != records {
				t.Errorf("%s: %d dispatches, %d wait, %d records; want %d, %d, %d", what, d, w, r, dispatches, left, records)
			}
		}
		fact := func(run job.RunID) *job.Fact {
			f := &job.Fact{Task: job.Ref("", "backup"), Node: "n1"}
			if old, err := s.Facts().Get(ctx, "default", "backup", "n1"); err == nil {
				f = old
			}
			f.Run = run
			return f
		}

		if !do(CreateWaiting(testWaiting("r1"))) || do(CreateWaiting(testWaiting("r1"))) {
			t.Error("it is kept twice, or not at all")
		}
		// It advances from what was read, with what it needs; a passive task is not started twice.
		stale, next := waiting("r1"), waiting("r1")
		next.Triggered = []string{"mount"}
		if !do(AdvanceWaiting(next, []*job.Fact{fact("d1")}, testDispatch("d1", "n1"))) {
			t.Error("it has not advanced")
		}
		stale.Triggered = []string{"other"}
		if do(AdvanceWaiting(stale, nil, testDispatch("d2", "n1"))) {
			t.Error("it advanced from where it does not stand any more")
		}
		if next = waiting("r1"); do(AdvanceWaiting(next, nil, testDispatch("d1", "n1"))) {
			t.Error("what it needs was started twice")
		}
		expect("advanced once", 1, 1, 0)

		// A start minds the facts that it was decided by.
		old := fact("d3")
		if !do(PutFact(fact("other"))) {
			t.Error("a fact was not written")
		}
		if do(Start([]*job.Fact{old}, testDispatch("d3", "n1"))) || do(PutFact(old)) {
			t.Error("started by a fact that is not so any more")
		}
		if do(Release(waiting("r1"), []*job.Fact{old}, testDispatch("r1", "n1"))) || do(AdvanceWaiting(waiting("r1"), []*job.Fact{old})) {
			t.Error("released by a fact that is not so any more")
		}
		expect("refused by its facts", 1, 1, 0)
		if !do(Start([]*job.Fact{fact("d3")}, testDispatch("d3", "n1"))) || do(Start([]*job.Fact{fact("d3")}, testDispatch("d3", "n1"))) {
			t.Error("it starts twice, or not at all")
		}
		expect("started", 2, 1, 0)

		// It ends once, whoever comes first.
		if do(Release(stale, nil, testDispatch("r1", "n1"))) || do(FailWaiting(stale, testRecord("r1", "n1"))) {
			t.Error("ended as it does not stand any more")
		}
		read := waiting("r1")
		if !do(Release(read, nil, testDispatch("r1", "n1"))) || do(Release(read, nil, testDispatch("r1", "n1"))) || do(FailWaiting(read, testRecord("r1", "n1"))) {
			t.Error("released twice, or not at all, or failed after it was released")
		}
		expect("released", 3, 0, 0)
		do(CreateWaiting(testWaiting("r2")))
		read = waiting("r2")
		if !do(FailWaiting(read, testRecord("r2", "n1"))) || do(FailWaiting(read, testRecord("r2", "n1"))) || do(Release(read, nil, testDispatch("r2", "n1"))) {
			t.Error("failed twice, or not at all, or released after it has failed")
		}
		expect("failed", 3, 0, 1)

		// Facts are forgotten with their task, those of another one never.
		ref := job.Ref("", "backup")
		must(s.Tasks().Put(ctx, testTask("backup")))
		rev := must(s.Tasks().Get(ctx, "default", "backup")).Revision
		if !do(PutFact(&job.Fact{Task: job.Ref("", "backup1"), Node: "n1", Run: "x"})) || !do(PutFact(&job.Fact{Task: ref, Run: "y"})) {
			t.Error("facts were not written")
		}
		if do(DropFacts(ref, 0)) || do(DropFacts(ref, rev+1)) || must(s.Facts().Count(ctx, "default", "backup")) != 2 {
			t.Error("forgotten although the task is another one")
		}
		if !do(DropFacts(ref, rev)) || must(s.Facts().Count(ctx, "default", "backup")) != 0 || must(s.Facts().Count(ctx)) != 1 { // ancestor 55
			t.Error("not forgotten, or more than that")
		}
	})
}

// What a deposed leader decided of runs that wait is refused by its term. ancestor 50
func TestStaleLeaderAndWaitingRuns(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		first := campaign(t, s, "m1", 10*time.Second)
		if done, err := first.Do(ctx, CreateWaiting(testWaiting("r1"))); err != nil || !done[0] {
			t.Fatal(done, err)
		}
		w := must(s.Waiting().Get(ctx, "default", "backup", "r1"))
		fx.expire(leaderKey)
		second := campaign(t, fx.client(), "m2", 10*time.Second)
		for what, op := range map[string]Op{
			"release": Release(w, nil, testDispatch("r1", "n1")), "fail": FailWaiting(w, testRecord("r1", "n1")),
			"advance": AdvanceWaiting(w, nil, testDispatch("d1", "n1")), "create": CreateWaiting(testWaiting("r2")),
			"start": Start(nil, testDispatch("d2", "n1")), "a fact": PutFact(&job.Fact{Task: w.Ref(), Node: "n1"}),
		} {
			if done, err := first.Do(ctx, op); !errors.Is(err, ErrNotLeader) || done[0] {
				t.Errorf("%s: %v, %v", what, done, err)
			}
		}
		if n := must(s.Dispatches().Count(ctx)) + must(s.Records().Count(ctx)) + must(s.Facts().Count(ctx)); n != 0 || must(s.Waiting().Count(ctx)) != 1 {
			t.Errorf("%d writes of a leader that is none", n)
		}
		if done, err := second.Do(ctx, Release(w, nil, testDispatch("r1", "n1"))); err != nil || !done[0] {
			t.Error(done, err)
		}
	})
}

// The state of a monitor advances together with its records, from what was read, as long as there is the monitor.
func TestMonitorOps(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		do := func(op Op) bool {
			t.Helper()
			done, err := s.Do(ctx, op)
			if err != nil {
				t.Fatal(err)
			}
			return done[0]
		}
		m := &job.Monitor{Name: "nas", Timer: "@hourly"}
		if do(AdvanceMonitor(job.NewMonitorState(m, "key", day), nil)) || must(s.Pings().Count(ctx)) != 0 {
			t.Error("a state of a monitor that there is not")
		}
		e := &job.Entry[job.Monitor]{Document: *m, CreatedAt: day, UpdatedAt: day, Generation: 1}
		must(s.Monitors().Put(ctx, e))
		if !do(AdvanceMonitor(job.NewMonitorState(m, "key", day), nil)) || do(AdvanceMonitor(job.NewMonitorState(m, "other", day), nil)) {
			t.Error("made twice, or not at all")
		}
		stale, next := must(s.Pings().Get(ctx, "nas")), must(s.Pings().Get(ctx, "nas"))
		next.Cursor, next.Count = day.Add(time.Hour), 1
		if !do(AdvanceMonitor(next, []job.ExecutionRecord{*testRecord("p1", "")})) {
			t.Error("it has not advanced")
		}
		stale.Count = 7
		if do(AdvanceMonitor(stale, []job.ExecutionRecord{*testRecord("p2", "")})) || do(DropMonitor("nas", stale.Revision)) || do(DropMonitor("nas", next.Revision+1)) {
			t.Error("it advanced from where it does not stand any more, or was dropped although the monitor is there")
		}
		if now := must(s.Pings().Get(ctx, "nas")); now.Key != "key" || now.Count != 1 || must(s.Records().Count(ctx)) != 1 {
			t.Errorf("%+v", now)
		}
		now := must(s.Pings().Get(ctx, "nas"))
		if err := s.Monitors().Delete(ctx, 0, "nas"); err != nil {
			t.Fatal(err)
		}
		if do(AdvanceMonitor(now, []job.ExecutionRecord{*testRecord("p3", "")})) || must(s.Records().Count(ctx)) != 1 {
			t.Error("it advanced without its monitor")
		}
		if !do(DropMonitor("nas", now.Revision)) || must(s.Pings().Count(ctx)) != 0 {
			t.Error("the state of a monitor that is gone stays")
		}
	})
}

// The next life of an agent takes over the lease of the last one with the locks of the runs that live on; everything else that stood
// under it goes. Nobody can take such a lock in between, and a lock that is not kept is free at once.
func TestLeaseIsTakenOver(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx := t.Context()
		old := join(t, fx.client(), presence("n1", "s1"), 60*time.Second)
		lock := func(ss *Session, task string, run job.RunID) (int64, *job.Lock) {
			t.Helper()
			fence, holder, err := ss.Lock(ctx, job.Lock{Task: job.Ref("", task), Run: run})
			if err != nil {
				t.Fatal(err)
			}
			return fence, holder
		}
		kept, _ := lock(old, "kept", "r1")
		lock(old, "free", "r2")
		lease := fx.read("online/n1").lease
		old.Leave(ctx)

		p := presence("n1", "s2")
		p.Replaces, p.Keeps = "s1", []job.Lock{{Task: job.Ref("", "kept"), Run: "r1", Fence: kept}}
		ss := join(t, fx.client(), p, 60*time.Second)
		if at := fx.read("online/n1"); at.lease != lease || must(fx.client().Online().Get(ctx, "n1")).Session != "s2" {
			t.Errorf("%+v, want it under lease %d", at, lease)
		}
		if at := fx.read("locks/default/kept"); at == nil || at.create != kept || at.lease != lease {
			t.Errorf("the lock of a run that lives on: %+v", at)
		}
		if at := fx.read("locks/default/free"); at != nil {
			t.Errorf("the lock of a run that has ended: %+v", at)
		}
		other := join(t, fx.client(), presence("n2", "s1"), 60*time.Second)
		if fence, holder := lock(other, "kept", "r9"); fence != 0 || holder == nil {
			t.Errorf("another node took the lock of a run that is alive, with fence %d", fence)
		}
		if ok, err := ss.KeepLock(ctx, p.Keeps[0]); !ok || err != nil {
			t.Errorf("%v, %v", ok, err)
		}
		if ok, err := ss.KeepLock(ctx, job.Lock{Task: job.Ref("", "kept"), Run: "r1", Fence: kept - 1}); ok || err != nil {
			t.Errorf("a lock of another fence: %v, %v", ok, err)
		}
		// A third life that knows of another session than the one that stands takes nothing over.
		if err := ss.Unlock(ctx, p.Keeps[0]); err != nil {
			t.Fatal(err)
		}
		if fence, holder := lock(other, "kept", "r9"); fence <= kept || holder != nil {
			t.Errorf("fence %d, held by %+v", fence, holder)
		}
		if ok, err := ss.KeepLock(ctx, p.Keeps[0]); ok || err != nil {
			t.Errorf("a lock that is another's: %v, %v", ok, err)
		}
	})
}
