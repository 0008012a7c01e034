package master_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// The leader is killed at each step of handling a record: in the end what follows from it has happened once.
// ancestor 42, ancestor 45, ancestor 46: scenario 5
func TestKilledWhileHandling(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"insert", "effect", "condition", "mark", "delete"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after %v", step, after), func(t *testing.T) {
				inWorld(t, func(w *world) { killedAt(w, step, after) })
			})
		}
	}
}

func killedAt(w *world, step string, after bool) {
	t := w.t
	first := w.leader("m1")
	second := w.master("m2")
	n := w.node("n1")
	n.result["first"] = job.Result{
		Global: map[string]string{"A": "1", "B": "1"}, NextTasks: []string{"second"},
		Conditions: []job.Condition{{Type: "Fresh", Status: "yes"}, {Type: "Clean", Status: "no"}},
	}
	n.works()
	first.apply(task("second", ""), task("first", "", func(t *job.Task) {
		t.Allow = job.Allow{Config: []string{"A", "B"}, Next: []string{"second"}, Conditions: []string{"*"}}
	}))
	w.until("both know of it", func() bool {
		list, err := second.Tasks(w.ctx, "", "")
		return err == nil && len(list) == 2 && len(list[0].Nodes) == 1
	})
	var died atomic.Bool
	die := func(at string, is bool) error {
		if at == step && is == after && died.CompareAndSwap(false, true) {
			first.die()
			return store.ErrCut
		}
		return nil
	}
	first.hist.set(die)
	w.mem.OnCall(func(_ context.Context, c store.Call) error {
		if c.Client != "m1" || c.Op != "txn" {
			return nil
		}
		for at, part := range map[string]string{"effect": "/dispatch/n1/", "condition": "/nodes/n1", "delete": "/records/n1/"} {
			if slices.ContainsFunc(c.Keys, func(k string) bool { return strings.Contains(k, part) }) {
				if err := die(at, c.After); err != nil {
					return err
				}
			}
		}
		return nil
	})
	second.run("first")
	w.until("the first master is dead", died.Load)
	code(t, second.SetConfig(w.ctx, "", "B", "a person's, who is quicker than the next leader"), "")
	w.until("the second one leads", second.Leads)
	w.recorded(2)
	w.until("everything is handled", func() bool {
		for _, r := range w.recorded(2) {
			if !r.IsHandle {
				return false
			}
		}
		return true
	})
	if got := n.started(); !slices.Equal(got, []int{1, 1}) {
		t.Errorf("the two runs were started %v times", got)
	}
	if c, err := w.admin.Config().Get(w.ctx, "", "A"); err != nil || c.Value != "1" {
		t.Errorf("the configuration is %v, %v", c, err)
	}
	if c, err := w.admin.Config().Get(w.ctx, "", "B"); err != nil || !strings.HasPrefix(c.Value, "a person's") {
		t.Errorf("what a person wrote later is overwritten: %v, %v", c, err)
	}
	if n, err := w.admin.Nodes().Get(w.ctx, "n1"); err != nil || n.Conditions["Fresh"] != "yes" || n.Conditions["Clean"] != "no" {
		t.Errorf("the conditions are %v, %v", n.Conditions, err)
	}
}

// ancestor 42, ancestor 43: history is away for minutes; records wait in etcd, and all arrive, once.
func TestHistoryAway(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		m.hist.set(away)
		at := time.Now().Truncate(time.Second)
		var recs []job.ExecutionRecord
		for i := range 1200 {
			recs = append(recs, firing(job.Ref("", "ticker"), "n1", at.Add(time.Duration(i)*time.Second)))
		}
		n.handOver(recs...)
		time.Sleep(5 * time.Minute)
		if left, err := w.admin.Records().Count(w.ctx); err != nil || left != 1200 {
			t.Errorf("%d records wait (%v), want 1200", left, err)
		}
		// What needs no history goes on meanwhile.
		m.apply(task("other", "@daily"))
		if jobs, _, err := w.admin.Jobs().List(w.ctx); err != nil || len(jobs) != 1 {
			t.Errorf("jobs %v, %v", jobs, err)
		}
		m.hist.set(nil)
		w.until("all records are in history", func() bool {
			all, err := w.db.Totals(w.ctx)
			s := all[job.Ref("", "ticker")] // ancestor 46: of a task that nobody knows
			left, _ := w.admin.Records().Count(w.ctx)
			return err == nil && left == 0 && s.Count[job.Success] == 1200
		})
	})
}

// A record that history refuses, and one that can't be read, are set aside: reported, left in etcd, and in nobody's way.
func TestRecordsSetAside(t *testing.T) { // ancestor 46
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		at := time.Now().Truncate(time.Second)
		good, bad, best := firing(job.Ref("", "a"), "n1", at), firing(job.Ref("", "b"), "n1", at), firing(job.Ref("", "c"), "n1", at)
		bad.Name, bad.JobID = "b", strings.Repeat("x", 10_000)
		w.mem.Write("records/n1/garbage", "{")
		n.handOver(good, bad, best)
		w.until("the others are in history", func() bool {
			p, err := w.db.Records(w.ctx, job.RecordFilter{})
			left, _ := w.admin.Records().Count(w.ctx)
			return err == nil && len(p.Records) == 2 && left == 2
		})
		reasons := func() string { return strings.Join(m.Status(w.ctx).Reasons, "\n") }
		w.until("both are reported", func() bool {
			return strings.Contains(reasons(), "records/n1/garbage can't be read") && strings.Contains(reasons(), "records/n1/"+bad.ID+" can't be kept")
		})
		if !m.Status(w.ctx).Ready {
			t.Error("the master is not ready because of them")
		}
		// Somebody mends one and removes the other.
		bad.JobID = job.JobHash(bad.Ref(), "n1")
		n.handOver(bad)
		if err := w.admin.Records().Delete(w.ctx, 0, "n1", "garbage"); err != nil {
			t.Fatal(err)
		}
		w.recorded(3)
		w.until("nothing is reported any more", func() bool { return reasons() == "" })
	})
}

// A record that the database chokes on for another reason does not hold up the others either.
func TestPoisonedRecord(t *testing.T) { // ancestor 42
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		poison := firing(job.Ref("", "poison"), "n1", time.Now().Truncate(time.Second))
		m.hist.History = choking{w.db, poison.ID}
		recs := []job.ExecutionRecord{poison}
		for i := range 50 {
			recs = append(recs, firing(job.Ref("", "fine"), "n1", time.Now().Truncate(time.Second).Add(time.Duration(i)*time.Second)))
		}
		n.handOver(recs...)
		w.until("the others are in history", func() bool {
			all, err := w.db.Totals(w.ctx)
			s := all[job.Ref("", "fine")]
			left, _ := w.admin.Records().Count(w.ctx)
			return err == nil && s.Count[job.Success] == 50 && left == 1
		})
	})
}

type choking struct {
	job.History
	id string
}

func (c choking) Insert(ctx context.Context, recs []job.ExecutionRecord) ([]bool, error) {
	if slices.ContainsFunc(recs, func(r job.ExecutionRecord) bool { return r.ID == c.id }) {
		return nil, job.Errorf(job.CodeInternal, "the database chokes")
	}
	return c.History.Insert(ctx, recs)
}

// ancestor 48: a record that knows more takes the place of one that knows less, never the other way round.
func TestSupersedingRecords(t *testing.T) {
	inWorld(t, func(w *world) {
		w.leader("m1")
		n := w.node("n1")
		lost := firing(job.Ref("", "a"), "n1", time.Now().Truncate(time.Second))
		won := lost
		lost.Outcome, lost.Success = job.Lost, false
		for _, r := range []job.ExecutionRecord{lost, won, lost} {
			n.handOver(r)
			w.recorded(1)
		}
		n.handOver(lost)
		if r := w.recorded(1)[0]; r.Outcome != job.Success {
			t.Errorf("in the end it was %s", r.Outcome)
		}
	})
}

// A lost run that is to run again does, once, although its record comes twice.
func TestRerunOfALostRun(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		m.apply(task("a", "@daily", func(t *job.Task) { t.OnLost = job.LostRerun }))
		lost := firing(job.Ref("", "a"), "n1", time.Now().Truncate(time.Second))
		lost.Outcome, lost.Success = job.Lost, false
		n.handOver(lost)
		w.recorded(1)
		n.works()
		w.recorded(2)
		n.handOver(lost)
		w.recorded(2)
		if got := n.started(); !slices.Equal(got, []int{1}) {
			t.Errorf("it was run again %v times", got)
		}
	})
}

// A slow reader is told at once that it missed something, and what comes after it has read that it gets again.
func TestSlowReaderIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		ctx, cancel := context.WithCancel(w.ctx)
		events := m.Subscribe(ctx)
		var recs []job.ExecutionRecord
		for i := range 1100 {
			recs = append(recs, firing(job.Ref("", "ticker"), "n1", time.Unix(int64(1_000_000_000+i), 0)))
		}
		n.handOver(recs...)
		w.until("nothing waits", func() bool {
			all, err := w.db.Totals(w.ctx)
			s := all[job.Ref("", "ticker")]
			left, _ := w.admin.Records().Count(w.ctx)
			return err == nil && left == 0 && s.Count[job.Success] == 1100
		})
		var last master.Event
		count := 0
		for len(events) > 0 {
			last = <-events
			count++
		}
		if last.Type != master.EventGap || count != 1025 {
			t.Errorf("after %d events the last one is %q", count, last.Type)
		}
		m.apply(task("a", ""))
		if e := <-events; e.Type != "task" {
			t.Errorf("after the gap comes %q", e.Type)
		}
		cancel()
		w.until("the channel is closed", func() bool {
			select {
			case _, open := <-events:
				return !open
			default:
				return false
			}
		})
	})
}
