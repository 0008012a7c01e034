package history

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// model is a history without a database: what testTally compares with.
type model struct {
	order []string
	recs  map[string]job.ExecutionRecord
	gone  map[string]bool
}

func (m *model) insert(r job.ExecutionRecord) {
	old, there := m.recs[r.ID]
	if !there {
		m.order = append(m.order, r.ID)
	} else if !r.Outcome.Supersedes(old.Outcome) {
		return
	}
	m.recs[r.ID] = r
}

// latest is the newest record that is there, of those that ended together the one stored last.
func (m *model) latest() (id string) {
	for _, k := range m.order {
		if !m.gone[k] && (id == "" || !m.recs[k].EndTime.Before(m.recs[id].EndTime)) {
			id = k
		}
	}
	return id
}

// testTally does random things to a task, and compares what is kept beside the records with a recount.
func testTally(t *testing.T, d *DB) {
	ctx := context.Background()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		ref := job.Ref("tally", fmt.Sprint("task-", run))
		m := &model{recs: map[string]job.ExecutionRecord{}, gone: map[string]bool{}}
		for range rapid.IntRange(1, 6).Draw(rt, "rounds") {
			var batch []job.ExecutionRecord
			for range rapid.IntRange(1, 8).Draw(rt, "batch") {
				id := fmt.Sprintf("%d-%d", run, rapid.IntRange(0, 15).Draw(rt, "id"))
				r := record(ref, id, rapid.SampledFrom(job.Outcomes).Draw(rt, "outcome"), epoch.Add(time.Duration(rapid.IntRange(0, 9).Draw(rt, "end"))*9*time.Hour))
				r.BeginTime = r.EndTime.Add(-time.Duration(rapid.IntRange(0, 5000).Draw(rt, "ms")) * time.Millisecond)
				r.Node = job.NodeID(fmt.Sprint("n", rapid.IntRange(0, 2).Draw(rt, "node")))
				if !m.gone[id] {
					batch = append(batch, r)
					m.insert(r)
				}
			}
			if _, err := d.Insert(ctx, batch); err != nil {
				rt.Fatal(err)
			}
			if rapid.IntRange(0, 3).Draw(rt, "prune") == 0 {
				cut := epoch.Add(time.Duration(rapid.IntRange(0, 9).Draw(rt, "cut")) * 9 * time.Hour)
				keep := m.latest()
				for id, r := range m.recs {
					if id != keep && r.EndTime.Before(cut) {
						m.gone[id] = true
					}
				}
				if _, err := d.Prune(ctx, job.Retention{MaxAge: time.Hour}, cut.Add(time.Hour)); err != nil {
					rt.Fatal(err)
				}
			}
			compare(rt, d, ref, m)
		}
	})
}

func compare(rt *rapid.T, d *DB, ref job.TaskRef, m *model) {
	ctx := context.Background()
	compareStats(rt, d, ref, m)
	nodes := []job.NodeID{}
	var there []string
	for id, r := range m.recs {
		if r.Success {
			nodes = append(nodes, r.Node)
		}
		if !m.gone[id] {
			there = append(there, id)
		}
	}
	latest, err := d.Latest(ctx, ref)
	if err != nil || latest[ref].ID != m.latest() {
		rt.Fatalf("latest: got %q (%v), want %q", latest[ref].ID, err, m.latest())
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	if got, err := d.Succeeded(ctx, ref); err != nil || !slices.Equal(got, nodes) {
		rt.Fatalf("succeeded: got %v (%v), want %v", got, err, nodes)
	}
	p, err := d.Records(ctx, job.RecordFilter{Group: ref.Group, Task: ref.Name})
	if err != nil {
		rt.Fatal(err)
	}
	var got []string
	for _, r := range p.Records {
		got = append(got, r.ID)
		if want := int64(slices.Index(m.order, r.ID) + 1); r.Number != want {
			rt.Fatalf("%s has number %d, want %d", r.ID, r.Number, want)
		}
	}
	if !slices.Equal(sorted(got), sorted(there)) {
		rt.Fatalf("records: got %v, want %v", sorted(got), sorted(there))
	}
}

func testPrune(t *testing.T, d *DB) { // ancestor 43
	ctx := context.Background()
	busy, quietTask, skewed := job.Ref("g", "busy"), job.Ref("g", "quiet"), job.Ref("g", "skewed")
	var recs []job.ExecutionRecord
	for i := range 700 {
		r := record(busy, name("b", i), job.Outcomes[i%3], epoch.Add(time.Duration(i)*time.Minute))
		r.Output = "something"
		recs = append(recs, r)
	}
	recs = append(recs, record(quietTask, "q", job.Success, epoch))
	recs = append(recs, record(skewed, "future", job.Success, epoch.AddDate(1, 0, 0)))
	for i := range 20 {
		recs = append(recs, record(skewed, name("s", i), job.Success, epoch.Add(time.Duration(i)*time.Minute)))
	}
	insert(t, d, recs...)
	now := epoch.Add(700 * time.Minute)
	for _, c := range []struct {
		r    job.Retention
		want int
		left map[string]int
	}{
		{job.Retention{}, 0, map[string]int{"busy": 700, "quiet": 1, "skewed": 21}},
		{job.Retention{MaxAge: 650 * time.Minute}, 70, map[string]int{"busy": 650, "quiet": 1, "skewed": 1}},
		{job.Retention{MaxPerTask: 10}, 640, map[string]int{"busy": 10, "quiet": 1, "skewed": 1}},
		{job.Retention{MaxPerTask: 10}, 0, map[string]int{"busy": 10}},
		{job.Retention{MaxAge: time.Nanosecond, MaxPerTask: 1}, 9, map[string]int{"busy": 1, "quiet": 1, "skewed": 1}},
	} {
		n, err := d.Prune(ctx, c.r, now)
		if err != nil || n != c.want {
			t.Fatalf("%+v: %d records removed, %v, want %d", c.r, n, err, c.want)
		}
		for task, want := range c.left {
			if got := len(all(t, d, job.RecordFilter{Task: task})); got != want {
				t.Fatalf("%+v: %s has %d records, want %d", c.r, task, got, want)
			}
		}
	}
	rec, err := d.Record(ctx, name("b", 699))
	if err != nil || rec.Output != "something" || rec.Number != 700 {
		t.Errorf("the latest record lost something: %s, %v", rec, err)
	}
	next := []job.ExecutionRecord{record(busy, "next", job.Success, now)}
	if _, err := d.Insert(ctx, next); err != nil || next[0].Number != 701 {
		t.Errorf("the number after pruning is %d, %v, want 701", next[0].Number, err)
	}
	var bodies int
	if err := d.read.QueryRow("SELECT COUNT(*) FROM record_bodies").Scan(&bodies); err != nil || bodies != 1 {
		t.Errorf("%d bodies are left, %v, want 1", bodies, err)
	}
}

func testGrace(t *testing.T, d *DB) {
	insert(t, d, record(job.Ref("g", "t"), "a", job.Success, epoch.AddDate(-1, 0, 0)), record(job.Ref("g", "t"), "b", job.Success, epoch.AddDate(-1, 0, 1)))
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{time.Minute, 0}, {time.Hour + time.Second, 1}} {
		n, err := d.Prune(context.Background(), job.Retention{MaxAge: time.Hour, MaxPerTask: 1}, epoch.Add(c.after))
		if err != nil || n != c.want {
			t.Errorf("%s after it was stored, %d records were removed, %v, want %d", c.after, n, err, c.want)
		}
	}
}

// testPruneWhileWriting: the pointers to the latest records hold while records come, change and go.
func testPruneWhileWriting(t *testing.T, d *DB) {
	ctx := context.Background()
	const tasks, rounds = 4, 12
	ref := func(i int) job.TaskRef { return job.Ref("g", name("task", i)) }
	done := make(chan struct{})
	var writers, pruner sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for r := range rounds {
				var recs []job.ExecutionRecord
				for i := range 30 {
					o := job.Lost
					if i%2 == 0 {
						o = job.Success
					}
					recs = append(recs, record(ref(i%tasks), fmt.Sprintf("%d-%d", (r+w)%rounds, i/2), o, epoch.Add(time.Duration(i*r%17)*time.Minute)))
					recs[i].ID += ref(i % tasks).Name
				}
				if _, err := d.Insert(ctx, recs); err != nil {
					t.Error(err)
				}
			}
		})
	}
	pruner.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := d.Prune(ctx, job.Retention{MaxAge: 10 * time.Minute, MaxPerTask: 5}, epoch.Add(20*time.Minute)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	writers.Wait()
	close(done)
	pruner.Wait()
	latest, err := d.Latest(ctx)
	if err != nil || len(latest) != tasks {
		t.Fatalf("%d of %d tasks have a latest record, %v", len(latest), tasks, err)
	}
	for i := range tasks {
		p := list(t, d, job.RecordFilter{Group: "g", Task: ref(i).Name})
		newest := slices.MaxFunc(p, func(a, b job.ExecutionRecord) int { return cmp.Compare(a.EndTime.UnixMicro(), b.EndTime.UnixMicro()) })
		if got := latest[ref(i)]; !got.EndTime.Equal(newest.EndTime) {
			t.Errorf("the latest of %s ended at %s, want %s", ref(i), got.EndTime, newest.EndTime)
		}
	}
}

func testHandled(t *testing.T, d *DB) {
	ctx := context.Background()
	insert(t, d, record(job.Ref("g", "t"), "a", job.Success, epoch), record(job.Ref("g", "t"), "b", job.Success, epoch))
	for i := range 2 {
		if err := d.MarkHandled(ctx, []job.Handled{{ID: "a", Outcome: job.Success}, {ID: "gone", Outcome: job.Success}}, epoch.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	a, err := d.Record(ctx, "a")
	if err != nil || !a.IsHandle || !a.HandleTime.Equal(epoch) {
		t.Errorf("a: %s, %v, want it handled at %s", a, err, epoch)
	}
	if b, err := d.Record(ctx, "b"); err != nil || b.IsHandle || !b.HandleTime.IsZero() {
		t.Errorf("b: %s, %v, want it not handled", b, err)
	}
}

// testHandledBySomebodyElse: the mark of a leader that was stopped, and wakes up late, is for the record that it handled and
// not for the one that has superseded it. ancestor 48, ancestor 49
func testHandledBySomebodyElse(t *testing.T, d *DB) {
	ctx := context.Background()
	ref := job.Ref("g", "t")
	insert(t, d, record(ref, "a", job.Lost, epoch))
	insert(t, d, record(ref, "a", job.Success, epoch))
	if err := d.MarkHandled(ctx, []job.Handled{{ID: "a", Outcome: job.Lost}}, epoch); err != nil {
		t.Fatal(err)
	}
	if a, err := d.Record(ctx, "a"); err != nil || a.IsHandle {
		t.Errorf("the superseding record is %s, %v, want it not handled", a, err)
	}
	if err := d.MarkHandled(ctx, []job.Handled{{ID: "a", Outcome: job.Success}}, epoch); err != nil {
		t.Fatal(err)
	}
	if a, err := d.Record(ctx, "a"); err != nil || !a.IsHandle {
		t.Errorf("the superseding record is %s, %v, want it handled", a, err)
	}
}
