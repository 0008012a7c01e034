package master_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// Whoever lists tasks or jobs while history is away gets all but what history knows, and is told so.
func TestListsWithoutHistory(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		n.works()
		m.apply(task("a", ""), task("b", "@hourly"))
		m.run("a")
		w.recorded(1)
		views, err := m.Tasks(w.ctx, "", "a")
		if err != nil || len(views) != 1 || views[0].Last == nil || views[0].LastUnknown != "" {
			t.Fatalf("while history is there: %+v, %v", views, err)
		}
		m.hist.set(away)
		views, err = m.Tasks(w.ctx, "", "")
		if err != nil || len(views) != 2 || len(views[1].Next) == 0 {
			t.Fatalf("while history is away: %+v, %v", views, err)
		}
		for _, v := range views {
			if v.Last != nil || v.LastUnknown == "" {
				t.Errorf("%s: the last record is %v, unknown because %q", v.Ref(), v.Last, v.LastUnknown)
			}
		}
		one, err := m.Task(w.ctx, job.Ref("", "a"))
		if err != nil || one.Stats != nil || one.LastUnknown == "" || len(one.Nodes) != 1 {
			t.Errorf("one task: %+v, %v", one, err)
		}
		jobs, err := m.Jobs(w.ctx, master.JobFilter{})
		if err != nil || len(jobs) != 2 || jobs[0].RunStatus == nil || jobs[0].RunStatus.Status != "unknown" {
			t.Errorf("jobs: %v, %v", jobs, err)
		}
		if next, err := m.Next(w.ctx, "", "", 0); err != nil || len(next) != 1 {
			t.Errorf("next: %v, %v", next, err)
		}
		_, err = m.Stats(w.ctx, job.StatsFilter{})
		code(t, err, job.CodeUnavailable)
		m.hist.set(nil)
		if views, err = m.Tasks(w.ctx, "", "a"); err != nil || views[0].Last == nil || views[0].LastUnknown != "" {
			t.Errorf("when history is back: %+v, %v", views, err)
		}
	})
}

// pruner notes what it is told to keep.
type pruner struct {
	job.History
	last atomic.Pointer[job.Retention]
}

func (p *pruner) Prune(_ context.Context, r job.Retention, _ time.Time) (int, error) {
	p.last.Store(&r)
	return 0, nil
}

// What is still needed to account for instants is held when history is pruned: see the contract of history, by which a held
// record stays.
func TestPruningHoldsWhatIsAccountedFor(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.unserved("m1")
		p := &pruner{History: w.db}
		m.hist.History = p
		m.Retention = job.Retention{MaxPerTask: 1}
		m.serve()
		w.until("it leads", m.Leads)
		w.until("it is ready", func() bool { return m.Ready(w.ctx) == nil })
		w.node("n1")
		m.apply(task("claimed", "@hourly", func(t *job.Task) { t.Kind = "interval" }), task("everywhere", "@hourly"))
		begin := time.Now()
		claimed := job.Ref("", "claimed")
		w.until("the floor is known to who prunes", func() bool {
			time.Sleep(time.Minute)
			r := p.last.Load()
			return r != nil && !r.Hold[claimed].IsZero()
		})
		r := p.last.Load()
		if at := r.Hold[claimed]; at.Before(begin.Add(-2*time.Hour)) || at.After(time.Now()) {
			t.Errorf("held is what is after %s, now is %s", at, time.Now())
		}
		if _, held := r.Hold[job.Ref("", "everywhere")]; held || r.MaxPerTask != 1 {
			t.Errorf("kept is %+v", r)
		}
	})
}
