package master_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// Scenario 4: etcd is out of reach of everybody for ten minutes while 500 runs end. Their leases lapse; all of them are in history once, as they
// ended, within 30 s of its return, whoever leads then. ancestor 42, ancestor 53
func TestEtcdAway(t *testing.T) {
	inWorld(t, func(w *world) {
		const many = 500
		m := w.leader("m1")
		w.master("m2")
		n := w.node("n1")
		m.apply(task("a", "", func(t *job.Task) { t.Overlap, t.Concurrency = job.OverlapAllow, many }))
		var recs []job.ExecutionRecord
		var runs []job.RunID
		for range many {
			run := m.run("a").Runs[0].Run
			d, err := w.admin.Dispatches().Get(w.ctx, "n1", string(run))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := n.ss.StartDispatch(w.ctx, d); err != nil {
				t.Fatal(err)
			}
			runs = append(runs, run)
			recs = append(recs, ended(d.Job, run, job.Success))
		}
		for _, name := range []string{"m1", "m2", "n1"} {
			w.mem.Cut(name)
		}
		var wg sync.WaitGroup
		for batch := range slices.Chunk(recs, 50) {
			wg.Go(func() { n.handOver(batch...) })
		}
		time.Sleep(10 * time.Minute)
		for _, name := range []string{"n1", "m2", "m1"} {
			w.mem.Heal(name)
		}
		back := time.Now()
		wg.Wait()
		w.until("all succeeded", func() bool {
			all, err := w.db.Totals(w.ctx)
			return err == nil && all[job.Ref("", "a")].Count[job.Success] == many
		})
		if took := time.Since(back); took > 30*time.Second {
			t.Errorf("that took %s", took)
		}
		time.Sleep(5 * time.Minute) // and it stays so
		got := map[string]bool{}
		for _, r := range w.recorded(many) {
			if got[r.ID] = true; r.Outcome != job.Success {
				t.Errorf("run %s is %s: %s", r.ID, r.Outcome, r.Reason)
			}
		}
		for _, run := range runs {
			if !got[string(run)] {
				t.Errorf("run %s is not in history", run)
			}
		}
	})
}

// The record of an earlier run that arrives after that of a later one says nothing of how the task and its job stand now; nor does
// the word on a run that was lost, when its node comes back with how it ended. ancestor 48
func TestLateRecordOfAnEarlierRun(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		m.apply(task("a", "@hourly"))
		ref, at := job.Ref("", "a"), time.Now().Add(-time.Hour).Truncate(time.Second)
		rec := func(i int, o job.Outcome) job.ExecutionRecord {
			return outcome("a", "n1", o, at.Add(time.Duration(i)*time.Minute))
		}
		stands := func(when string, want job.ExecutionRecord, o job.Outcome) {
			t.Helper()
			v, err := m.Task(w.ctx, ref)
			if err != nil || v.Last == nil || v.Last.ID != want.ID || v.Last.Outcome != o {
				t.Errorf("%s the task stands at %+v, %v; want %s", when, v.Last, err, want.ID)
			}
			jobs, err := m.Jobs(w.ctx, master.JobFilter{Task: "a"})
			if err != nil || len(jobs) != 1 || jobs[0].RunStatus == nil || jobs[0].RunStatus.RecordID != want.ID || jobs[0].RunStatus.Status != string(o) {
				t.Errorf("%s the job stands at %+v, %v; want %s", when, jobs[0].RunStatus, err, want.ID)
			}
		}
		first, lost, newest := rec(0, job.Failed), rec(1, job.Lost), rec(2, job.Success)
		n.handOver(lost)
		w.recorded(1)
		stands("with one record", lost, job.Lost)
		n.handOver(newest)
		w.recorded(2)
		stands("after the newer run", newest, job.Success)
		n.handOver(first)
		w.recorded(3)
		stands("after the late record", newest, job.Success)
		known := rec(1, job.Failed)
		n.handOver(known)
		w.until("the lost run has its end", func() bool {
			r, err := m.Record(w.ctx, known.ID)
			return err == nil && r.Outcome == job.Failed
		})
		w.recorded(3)
		stands("after the end of the lost run", newest, job.Success)
		for i := range 5 { // in any order
			n.handOver(rec(10-i, []job.Outcome{job.Failed, job.Success}[i%2]))
		}
		w.recorded(8)
		stands("after records from the newest to the oldest", rec(10, job.Failed), job.Failed)
	})
}
