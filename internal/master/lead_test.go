package master_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Of two masters one leads; when it dies the other one does within a lease and a second. ancestor 51, ancestor 50
func TestTheOtherTakesOver(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.leader("twin")
		b := w.unservedAs("twin", "twin's twin") // the same id: they are told apart all the same
		b.serve()
		w.node("n1")
		time.Sleep(3 * lease)
		if !a.Leads() || b.Leads() {
			t.Fatalf("the first leads: %v, its twin: %v", a.Leads(), b.Leads())
		}
		died := time.Now()
		a.die()
		w.until("the other one leads", b.Leads)
		if took := time.Since(died); took > lease+time.Second {
			t.Errorf("that took %s", took)
		}
		w.until("the dead one knows", func() bool { return !a.Leads() })
		b.apply(task("a", "@hourly"))
		if j, _, err := w.admin.Jobs().List(w.ctx); err != nil || len(j) != 1 {
			t.Errorf("jobs %v, %v", j, err)
		}
		// It comes back, and leads again when the other one stops: at once, and once.
		w.mem.Heal("twin")
		a.hist.set(nil)
		b.end()
		stopped := time.Now()
		w.until("the first one leads again", a.Leads)
		if took := time.Since(stopped); took > 3*time.Second {
			t.Errorf("after a good-bye that took %s", took)
		}
		a.apply(task("b", "@hourly"))
		w.until("it decides again", func() bool { n, err := w.admin.Jobs().Count(w.ctx); return err == nil && n == 2 })
	})
}

// A leader that was stopped and wakes up when another one leads changes nothing any more. ancestor 49, ancestor 50: scenario 6
func TestStaleLeaderIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.leader("m1")
		b := w.master("m2")
		n := w.node("n1")
		a.apply(task("a", "", func(t *job.Task) { t.Allow = job.Allow{Config: []string{"*"}} }))
		// It stops in the middle of handling a record: what it is about to write hangs, and arrives late.
		woken := make(chan struct{})
		var stopped atomic.Bool
		var late atomic.Int64
		w.mem.OnCall(func(_ context.Context, c store.Call) error {
			if c.Client != "m1" {
				return nil
			}
			if c.Op == "keepalive" && stopped.Load() {
				return store.ErrCut
			}
			if c.Op == "txn" && slices.ContainsFunc(c.Keys, func(k string) bool { return strings.HasSuffix(k, "config/global/A") }) {
				if !c.After {
					stopped.Store(true)
					<-woken
				} else {
					late.Add(1)
				}
			}
			return nil
		})
		n.result["a"] = job.Result{Global: map[string]string{"A": "1"}}
		n.works()
		a.run("a")
		w.until("it is stopped", stopped.Load)
		w.until("the other one leads", b.Leads)
		w.recorded(1)
		w.until("the record is handled", func() bool { return w.recorded(1)[0].IsHandle })
		if err := b.SetConfig(w.ctx, "", "A", "2"); err != nil {
			t.Fatal(err)
		}
		close(woken)
		w.until("what was written arrives, or is given up", func() bool { return late.Load() > 0 || !a.Leads() })
		time.Sleep(3 * lease)
		if c, err := w.admin.Config().Get(w.ctx, "", "A"); err != nil || c.Value != "2" {
			t.Errorf("the configuration is %+v, %v", c, err)
		}
		if a.Leads() {
			t.Error("it still leads")
		}
	})
}

// Who comes to lead while history is away places tasks all the same, and says of nothing that it was missed until it
// knows what history has. ancestor 49
func TestTakingOverWithoutHistory(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.leader("m1")
		n := w.node("n1")
		ref := job.Ref("", "a")
		a.apply(task("a", "@every 1m", func(t *job.Task) { t.Kind = "interval" }))
		w.until("there is a floor", func() bool { f, err := w.admin.Settled().Count(w.ctx); return err == nil && f == 1 })
		e, err := w.admin.Tasks().Get(w.ctx, "default", "a")
		if err != nil {
			t.Fatal(err)
		}
		at := e.Task.Rule()
		if err := at.Valid(); err != nil {
			t.Fatal(err)
		}
		first := at.Next(e.Since)
		time.Sleep(time.Until(first))
		// Three instants are in history, in one record, and the leader dies before it can raise the floor.
		a.die()
		rec := firing(ref, "n1", first)
		rec.ID, rec.Until, rec.Count = string(job.FiringID(ref, "", first)), first.Add(2*time.Minute), 3
		if _, err := w.db.Insert(w.ctx, []job.ExecutionRecord{rec}); err != nil {
			t.Fatal(err)
		}
		n.leave()
		b := w.unserved("m2")
		b.hist.set(away)
		b.serve()
		w.until("the other one leads", b.Leads)
		b.apply(task("b", "@hourly"))
		if _, err := w.admin.Jobs().Get(w.ctx, "n1", job.JobHash(job.Ref("", "b"), "n1")); err != nil {
			t.Errorf("without history nothing is placed: %v", err)
		}
		time.Sleep(5 * time.Minute)
		if f, err := w.admin.Settled().Get(w.ctx, "default", "a"); err != nil || !f.At.Before(first) {
			t.Errorf("the floor is %v, %v", f, err)
		}
		b.hist.set(nil)
		w.until("the floor has passed what is due", func() bool {
			f, err := w.admin.Settled().Get(w.ctx, "default", "a")
			return err == nil && f.At.After(first.Add(3*time.Minute))
		})
		recs, err := w.db.Settled(w.ctx, ref, e.Since, time.Now())
		if err != nil || len(recs) < 2 || recs[0].Outcome != job.Success || !recs[1].Instant.Equal(first.Add(3*time.Minute)) {
			t.Errorf("history has %v, %v", recs, err)
		}
	})
}

// A holder of a claim that died leaves its word to the leader. ancestor 22
func TestHolderOfAClaimDies(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		ref := job.Ref("", "a")
		m.apply(task("a", "@every 1h", func(t *job.Task) { t.Kind = "interval" }))
		v, err := m.Task(w.ctx, ref)
		if err != nil || len(v.Next) == 0 {
			t.Fatalf("%v, %v", v, err)
		}
		time.Sleep(time.Until(v.Next[0]))
		if _, err := n.ss.Claim(w.ctx, job.Claim{Task: ref, Instant: v.Next[0], Job: job.JobHash(ref, "n1"), At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		died := time.Now()
		w.mem.Cut("n1")
		if r := w.recorded(1)[0]; r.Outcome != job.Lost || r.Node != "n1" || !r.Instant.Equal(v.Next[0]) {
			t.Errorf("the record is %+v", r)
		}
		if took := time.Since(died); took > 2*lease {
			t.Errorf("that took %s", took)
		}
	})
}

// A task that can't be read keeps its jobs, also with a new leader; a job that can't be read makes way for what it should be.
func TestUnreadableDocuments(t *testing.T) { // ancestor 24
	inWorld(t, func(w *world) {
		a := w.leader("m1")
		w.node("n1")
		a.apply(task("a", "@hourly", func(t *job.Task) { t.Kind = "alone" }), task("b", "@hourly"))
		good, err := w.admin.Tasks().Get(w.ctx, "default", "a")
		if err != nil {
			t.Fatal(err)
		}
		w.until("there is a floor", func() bool { f, err := w.admin.Settled().Count(w.ctx); return err == nil && f == 1 })
		w.mem.Write("tasks/default/a", `{"task":{"name":"a","mode":"later"}}`)
		told := func(m *life) func() bool {
			return func() bool {
				return strings.Contains(strings.Join(m.Status(w.ctx).Reasons, "\n"), "tasks/default/a can't be read")
			}
		}
		w.until("it is reported", told(a))
		a.end()
		b := w.leader("m2")
		w.until("it is reported by the next one", told(b))
		b.apply(task("c", "@hourly"))
		time.Sleep(3 * lease)
		if j, err := b.Jobs(w.ctx, master.JobFilter{}); err != nil || len(j) != 3 {
			t.Errorf("%d jobs, %v", len(j), err)
		}
		if f, err := w.admin.Settled().Count(w.ctx); err != nil || f != 1 {
			t.Errorf("%d floors, %v", f, err)
		}
		// Its next version can be read.
		entries, err := w.admin.Tasks().First(w.ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		good.Revision = entries[0].Revision
		if _, err := w.admin.Tasks().Put(w.ctx, good); err != nil {
			t.Fatal(err)
		}
		w.until("nothing is reported", func() bool { return len(b.Status(w.ctx).Reasons) == 0 })

		hash := job.JobHash(job.Ref("", "b"), "n1")
		w.mem.Write("jobs/n1/"+hash, "{")
		w.mem.Write("jobs/n1/stray", "{")
		w.until("the job is as it should be", func() bool { j, err := w.admin.Jobs().Get(w.ctx, "n1", hash); return err == nil && j.Name == "b" })
		if n, err := w.admin.Jobs().Count(w.ctx); err != nil || n != 4 {
			t.Errorf("%d jobs with the stray one, %v", n, err)
		}
	})
}
