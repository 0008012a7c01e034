package master_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// The leader is killed at each step of handling a record, before and after it, be it one of history or of etcd: in the end what
// follows from the record has happened once. ancestor 42, ancestor 45, ancestor 46, ancestor 49: scenario 5
func TestKilledWhileHandling(t *testing.T) {
	t.Parallel()
	const most = 200
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after %v", after), func(t *testing.T) {
			t.Parallel()
			var steps []string
			for step := 1; ; step++ {
				var at string
				if ok := t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
					synctestWorld(t, func(w *world) { at = killedAt(w, step, after) })
				}); !ok {
					t.Fatalf("killed at %s", at)
				}
				if at == "" {
					break // it was through before that
				}
				if steps = append(steps, at); step == most {
					t.Fatalf("no end after %d steps: %v", most, steps)
				}
			}
			for _, must := range []string{"insert", "effects", "mark", "delete"} {
				if !slices.Contains(steps, must) {
					t.Errorf("it was never killed at %s, but at %v", must, steps)
				}
			}
		})
	}
}

// killedAt kills the leader at a step, and tells which one that was, "" where there were fewer.
func killedAt(w *world, step int, after bool) (at string) {
	t := w.t
	first := w.leader("m1")
	second := w.master("m2")
	n := w.node("n1")
	n.result["first"] = job.Result{
		Global: map[string]string{"A": "1", "B": "1", "C": "1"}, NextTasks: []string{"second"},
		Conditions: []job.Condition{{Type: "Fresh", Status: "yes"}, {Type: "Clean", Status: "no"}},
	}
	n.works()
	first.apply(task("second", ""), task("first", "", func(t *job.Task) {
		t.Allow = job.Allow{Config: []string{"A", "B", "C"}, Next: []string{"second"}, Conditions: []string{"*"}}
	}))
	w.until("both know of it", func() bool {
		list, err := second.Tasks(w.ctx, "", "")
		return err == nil && len(list) == 2 && len(list[0].Nodes) == 1
	})
	var mu sync.Mutex
	var handling, died, over bool
	count := 0
	die := func(what string, is bool) error {
		mu.Lock()
		defer mu.Unlock()
		if what == "insert" && !is {
			handling = true
		}
		if !handling || died || over || is != after {
			return nil
		}
		if count++; count < step {
			return nil
		}
		at, died = what, true
		first.die()
		return store.ErrCut
	}
	first.hist.set(die)
	w.mem.OnCall(func(_ context.Context, c store.Call) error {
		if c.Client != "m1" || c.Op != "txn" && c.Op != "range" {
			return nil
		}
		what := c.Op
		has := func(part string) bool {
			return slices.ContainsFunc(c.Keys, func(k string) bool { return strings.Contains(k, part) })
		}
		switch {
		case c.Op == "range":
		case has("/config/global/A"):
			what = "effects"
		case has("/records/n1/"):
			what = "delete"
		}
		return die(what, c.After)
	})
	second.run("first")
	handled := func() bool {
		p, err := w.db.Records(w.ctx, job.RecordFilter{})
		left, _ := w.admin.Records().Count(w.ctx)
		return err == nil && len(p.Records) == 2 && p.Records[0].IsHandle && p.Records[1].IsHandle && left == 0
	}
	w.until("the first master is dead, or through", func() bool {
		mu.Lock()
		defer mu.Unlock()
		over = !died && handled()
		return died || over
	})
	code(t, second.SetConfig(w.ctx, "", "B", "a person's, who is quicker than the next leader"), "")
	deleted := second.DeleteConfig(w.ctx, "", "C")
	if over {
		return ""
	}
	w.until("the second one leads", second.Leads)
	w.until("everything is handled", handled)
	if got := n.started(); !slices.Equal(got, []int{1, 1}) {
		t.Errorf("the two runs were started %v times", got)
	}
	if c, err := w.admin.Config().Get(w.ctx, "", "A"); err != nil || c.Value != "1" {
		t.Errorf("the configuration is %v, %v", c, err)
	}
	if c, err := w.admin.Config().Get(w.ctx, "", "B"); err != nil || !strings.HasPrefix(c.Value, "a person's") {
		t.Errorf("what a person wrote later is overwritten: %v, %v", c, err)
	}
	list, err := second.Config(w.ctx, "")
	if there := slices.ContainsFunc(list, func(c store.Config) bool { return c.Key == "C" }); err != nil || there != (deleted != nil) {
		t.Errorf("deleted with %v, the configuration is %v, %v", deleted, list, err)
	}
	if n, err := w.admin.Nodes().Get(w.ctx, "n1"); err != nil || n.Conditions["Fresh"] != "yes" || n.Conditions["Clean"] != "no" {
		t.Errorf("the conditions are %v, %v", n.Conditions, err)
	}
	return at
}

// What a record says of a node that a later one has told of, and of configuration that was deleted after it came, comes too late.
// ancestor 48, ancestor 49
func TestLateEffects(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		m.apply(task("a", "@daily", func(t *job.Task) { t.Allow = job.Allow{Config: []string{"*"}, Conditions: []string{"*"}} }))
		code(t, m.SetConfig(w.ctx, "", "A", "a person's"), "")
		m.hist.set(away)
		r := firing(job.Ref("", "a"), "n1", time.Now().Truncate(time.Second))
		r.Result = []byte(`{"global":{"A":"1","B":"1"},"conditions":[{"type":"Old","status":"1"},{"type":"New","status":"1"}]}`)
		n.handOver(r)
		code(t, m.DeleteConfig(w.ctx, "", "A"), "")
		node, err := w.admin.Nodes().Get(w.ctx, "n1")
		if err != nil {
			t.Fatal(err)
		}
		node.Conditions = map[string]string{"Old": "2"}
		node.ConditionsAsOf = map[string]int64{"Old": 1 << 40}
		if _, err := w.admin.Nodes().Put(w.ctx, node); err != nil {
			t.Fatal(err)
		}
		m.hist.set(nil)
		w.until("it is handled", func() bool { return w.recorded(1)[0].IsHandle })
		list, err := m.Config(w.ctx, "")
		if err != nil || len(list) != 1 || list[0].Key != "B" {
			t.Errorf("the configuration is %v, %v", list, err)
		}
		node, err = w.admin.Nodes().Get(w.ctx, "n1")
		if err != nil || node.Conditions["Old"] != "2" || node.Conditions["New"] != "1" {
			t.Errorf("the conditions are %v, %v", node.Conditions, err)
		}
		// What was deleted is forgotten in the end, and can be set anew.
		w.until("nothing waits", func() bool { n, err := w.admin.Records().Count(w.ctx); return err == nil && n == 0 })
		time.Sleep(26 * time.Hour)
		if _, err := w.admin.Config().Get(w.ctx, "", "A"); !job.IsNotFound(err) {
			t.Errorf("it is remembered for ever: %v", err)
		}
		code(t, m.DeleteConfig(w.ctx, "", "A"), job.CodeNotFound)
		code(t, m.SetConfig(w.ctx, "", "A", "2"), "")
	})
}

// A leader that died between the effects of a record and history's note of them has left its mark: the next one only notes them.
// ancestor 45
func TestEffectsAreMarkedWithThem(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.leader("m1")
		n := w.node("n1")
		first.apply(task("a", "@daily", func(t *job.Task) { t.Allow = job.Allow{Config: []string{"*"}} }))
		r := firing(job.Ref("", "a"), "n1", time.Now().Truncate(time.Second))
		r.Result = []byte(`{"global":{"A":"1"}}`)
		first.hist.set(func(op string, _ bool) error {
			if op == "mark" {
				return store.ErrCut
			}
			return nil
		})
		n.handOver(r)
		w.until("the effects have happened", func() bool { _, err := w.admin.Config().Get(w.ctx, "", "A"); return err == nil })
		first.die()
		if _, err := w.admin.Do(w.ctx, store.DeleteConfig("", "A", 0)); err != nil { // without a trace
			t.Fatal(err)
		}
		w.leader("m2")
		w.until("it is handled", func() bool { return w.recorded(1)[0].IsHandle })
		if c, err := w.admin.Config().Get(w.ctx, "", "A"); !job.IsNotFound(err) {
			t.Errorf("it happened again: %v, %v", c, err)
		}
		if got, err := w.db.Record(w.ctx, r.ID); err != nil || string(got.Result) != string(r.Result) {
			t.Errorf("history has %s, %v", got.Result, err)
		}
	})
}

// A result that asks for more than one transaction takes gets it all the same, once.
func TestManyEffects(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		m.apply(task("b", ""), task("a", "@daily", func(t *job.Task) { t.Allow = job.Allow{Config: []string{"*"}, Next: []string{"*"}} }))
		r := firing(job.Ref("", "a"), "n1", time.Now().Truncate(time.Second))
		res := job.Result{Global: map[string]string{}, NextTasks: []string{"b", "b"}}
		for i := range 300 {
			res.Global[fmt.Sprint("K", i)] = "v"
		}
		var err error
		if r.Result, err = json.Marshal(res); err != nil {
			t.Fatal(err)
		}
		n.works()
		n.handOver(r)
		w.until("both are handled", func() bool { rs := w.recorded(2); return rs[0].IsHandle && rs[1].IsHandle })
		if list, err := m.Config(w.ctx, ""); err != nil || len(list) != 300 {
			t.Errorf("%d values, %v", len(list), err)
		}
		if got := n.started(); !slices.Equal(got, []int{1}) {
			t.Errorf("the next run was started %v times", got)
		}
	})
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
		lost.Outcome, lost.Success, lost.Params = job.Lost, false, map[string]string{"DB": "x"}
		n.handOver(lost)
		w.recorded(1)
		w.until("it is asked for", func() bool { n, err := w.admin.Dispatches().Count(w.ctx, "n1"); return err == nil && n == 1 })
		list, _, err := w.admin.Dispatches().List(w.ctx, "n1")
		if err != nil {
			t.Fatal(err)
		}
		if d := list[0]; d.Trigger != job.TriggerRetry || d.Attempt != 2 || !d.Instant.Equal(lost.Instant) || d.Cause != "lost run "+lost.ID || d.Params["DB"] != "x" {
			t.Errorf("it is asked for as %+v", d)
		}
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
