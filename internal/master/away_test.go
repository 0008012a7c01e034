package master_test

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rota-dev/rota/job"
)

// A node that does not come back: the instants of its common tasks are told as missed once the oldest is as old as may be, in one
// record, from a cursor that outlives the leader. What the node did meanwhile, cut off, is its own word when it comes. ancestor 21, ancestor 22
func TestNodeThatDoesNotComeBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.away = 2 * time.Hour
		m := w.leader("m1")
		n := w.node("n1")
		ref := job.Ref("", "a")
		m.apply(task("a", "@every 1m"))
		e, err := w.admin.Tasks().Get(w.ctx, "default", "a")
		if err != nil {
			t.Fatal(err)
		}
		rule := e.Task.Rule()
		if err := rule.Valid(); err != nil {
			t.Fatal(err)
		}
		var due []time.Time
		for i := rule.Next(e.Since); len(due) < 20; i = rule.Next(i) {
			due = append(due, i)
		}
		time.Sleep(time.Until(due[2]))
		n.handOver(firing(ref, "n1", due[0]), firing(ref, "n1", due[2]))
		w.recorded(2)
		n.leave()
		left := time.Now()
		time.Sleep(time.Hour)
		w.recorded(2) // not before it is that old
		m.die()
		m = w.leader("m2")
		time.Sleep(65 * time.Minute)
		recs := w.recorded(4)
		missed := slices.DeleteFunc(recs, func(r job.ExecutionRecord) bool { return r.Outcome != job.Missed })
		slices.SortFunc(missed, func(a, b job.ExecutionRecord) int { return a.Instant.Compare(b.Instant) })
		if len(missed) != 2 || missed[0].Count != 1 || !missed[0].Instant.Equal(due[1]) || !missed[1].Instant.Equal(due[3]) || missed[1].Node != "n1" {
			t.Fatalf("told is %v", missed)
		}
		if d := missed[1].Until.Sub(due[1]); d < w.away || d > w.away+3*time.Minute {
			t.Errorf("told up to %s after the first", d)
		}
		if left.After(missed[1].EndTime) {
			t.Error("told before it went")
		}
		told := missed[1]
		j, err := w.admin.Jobs().Get(w.ctx, "n1", job.JobHash(ref, "n1"))
		if err != nil || !j.Since.Equal(told.Until) {
			t.Fatalf("the job begins at %s, %v, want %s", j.Since, err, told.Until)
		}
		// It was cut off from etcd alone and went on: its word arrives, late.
		n.join("s2")
		n.handOver(firing(ref, "n1", due[10]), firing(ref, "n1", due[11]))
		w.recorded(6)
		got, err := w.db.Record(w.ctx, told.ID)
		if err != nil || got.Count != told.Count-2 || got.Covers(due[10]) || !got.Covers(due[9]) {
			t.Errorf("%d of %d instants are left, %v", got.Count, told.Count, err)
		}
		for i, want := range map[int]string{1: "missed", 5: "missed", 10: "success"} {
			if why, err := m.Why(w.ctx, ref, due[i]); err != nil || len(why.Answers) != 1 || why.Answers[0].State != want || why.Answers[0].Node != "n1" {
				t.Errorf("why of instant %d: %+v, %v, want %s", i, why.Answers, err, want)
			}
		}
		if got := instants(t, m, "missed", "away"); got != float64(told.Count+1) {
			t.Errorf("%v instants are counted as missed because of an absent node, want %d", got, told.Count+1)
		}
		n.leave()
		w.until("it is gone again", func() bool { v, err := m.Node(w.ctx, "n1"); return err == nil && !v.Online })
		// Removed for good, it is told at once what it owed, and the job goes.
		if err := m.DeleteNode(w.ctx, "n1"); err != nil {
			t.Fatal(err)
		}
		w.until("the job is gone", func() bool { n, err := w.admin.Jobs().Count(w.ctx); return err == nil && n == 0 })
		last := w.recorded(7)
		if r := last[slices.IndexFunc(last, func(r job.ExecutionRecord) bool { return r.Instant.After(told.Until) })]; r.Outcome != job.Missed || time.Since(r.Until) > 2*time.Minute || r.Reason != "node n1 was removed and has told nothing of it" {
			t.Errorf("at the end: %s", r)
		}
	})
}

// What is told of a node that loses a task while it is away, and what is not: instants of a pause were skipped, and while history is
// away nobody says anything.
func TestAwayNodeLosesATask(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		ref := job.Ref("", "a")
		m.apply(task("a", "@every 1m"))
		n.leave()
		time.Sleep(10 * time.Minute)
		if _, err := m.Pause(w.ctx, ref, "alice"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if _, err := m.Resume(w.ctx, ref, "alice"); err != nil {
			t.Fatal(err)
		}
		m.hist.set(away)
		m.apply(task("a", "@every 1m", func(t *job.Task) { t.Nodes = []job.NodeID{"n2"} }))
		time.Sleep(10 * time.Minute)
		if n, err := w.admin.Jobs().Count(w.ctx); err != nil || n != 1 {
			t.Errorf("%d jobs, %v: what it owes is not told yet", n, err)
		}
		m.hist.set(nil)
		w.until("the job is gone", func() bool { n, err := w.admin.Jobs().Count(w.ctx); return err == nil && n == 0 })
		var counts []int
		recs := w.recorded(3)
		slices.SortFunc(recs, func(a, b job.ExecutionRecord) int { return a.Instant.Compare(b.Instant) })
		for _, r := range recs {
			counts = append(counts, r.Count)
		}
		if recs[0].Outcome != job.Missed || recs[1].Outcome != job.Skipped || recs[1].Reason != "the task was paused" || recs[2].Outcome != job.Missed {
			t.Errorf("told is %v", recs)
		}
		if counts[0] < 9 || counts[1] < 9 || counts[2] < 9 {
			t.Errorf("of %v instants", counts)
		}
	})
}

// instants is what a master has counted of an outcome and a reason.
func instants(t *testing.T, m *life, outcome, reason string) float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(m.Metrics())
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			if l := s.GetLabel(); f.GetName() == "rota_instants_total" && l[0].GetValue() == outcome && l[1].GetValue() == reason {
				return s.GetCounter().GetValue()
			}
		}
	}
	return 0
}
