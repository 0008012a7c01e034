package history

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// testPaging pages through 5,000 records of which many end in the same moment, while others come in.
func testPaging(t *testing.T, d *DB) { // ancestor 43
	const n = 5000
	recs := make([]job.ExecutionRecord, n)
	for i := range recs {
		recs[i] = record(job.Ref("g", name("task", i%11)), name("r", i), job.Outcomes[i%len(job.Outcomes)], epoch.Add(time.Duration(i%7)*time.Second))
	}
	for i := 0; i < n; i += 1000 {
		insert(t, d, recs[i:i+1000]...)
	}
	f := job.RecordFilter{Limit: 137}
	seen := make(map[string]bool)
	var last job.ExecutionRecord
	for pages := 0; ; pages++ {
		p, err := d.Records(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Records {
			if seen[r.ID] {
				t.Fatalf("%s is on two pages", r.ID)
			}
			if last.ID != "" && r.EndTime.After(last.EndTime) {
				t.Fatalf("%s ended later than %s before it", r.ID, last.ID)
			}
			seen[r.ID], last = true, r
		}
		if f.Cursor = p.Next; f.Cursor == "" {
			break
		}
		if len(p.Records) != f.Limit {
			t.Fatalf("a page of %d records, want %d, for there are more", len(p.Records), f.Limit)
		}
		insert(t, d, record(job.Ref("g", "late"), name("late", pages), job.Success, epoch.Add(time.Hour)))
	}
	if len(seen) != n {
		t.Fatalf("the pages have %d records, want %d", len(seen), n)
	}
	if p := list(t, d, job.RecordFilter{}); len(p) != defaultLimit {
		t.Errorf("a page has %d records by default, want %d", len(p), defaultLimit)
	}
	if p := list(t, d, job.RecordFilter{Limit: 1_000_000}); len(p) != maxLimit {
		t.Errorf("a page has %d records at most, want %d", len(p), maxLimit)
	}
}

// testFilters compares every combination with a filter that looks at each record.
func testFilters(t *testing.T, d *DB) {
	var recs []job.ExecutionRecord
	by := []job.Trigger{job.TriggerTimer, job.TriggerTimer, job.TriggerRun, job.TriggerRetry, ""}
	for i := range 900 {
		ref := job.Ref(name("g", i%3), name("task", i%5))
		r := record(ref, name("r", i), job.Outcomes[i*i%len(job.Outcomes)], epoch.Add(time.Duration(i*7919%60)*time.Second))
		if i%4 > 0 {
			r.Node = job.NodeID(name("n", i%4*(i%60+1)%90))
			r.JobID = job.JobHash(ref, r.Node)
		}
		r.Trigger = by[i*3%len(by)]
		recs = append(recs, r)
	}
	for i := range 4 * manyJobs { // one node has more jobs in a group than are read one by one
		r := record(job.Ref(name("g", i%2), name("small", i/2)), name("s", i), job.Success, epoch.Add(time.Duration(i%60)*time.Second))
		r.Node, r.Trigger = "n-0030", job.TriggerRun
		recs = append(recs, r)
	}
	insert(t, d, recs...)
	jobs := []string{"", "", "", "", "", "", "absent"}
	for _, r := range recs[:5] {
		jobs = append(jobs, r.JobID)
	}
	moments := []time.Time{{}, {}, epoch.Add(20 * time.Second), epoch.Add(20*time.Second + 500*time.Nanosecond), epoch.Add(40 * time.Second)}
	check := func(t interface{ Fatalf(string, ...any) }, f job.RecordFilter, got []string) {
		var want []string
		for _, r := range recs {
			if selects(f, r) {
				want = append(want, r.ID)
			}
		}
		if !slices.Equal(sorted(got), sorted(want)) {
			t.Fatalf("%+v:\n got %v\nwant %v", f, sorted(got), sorted(want))
		}
	}
	for _, f := range []job.RecordFilter{
		{}, {Node: "n-0030"}, {Node: "n-0030", Group: "g-0000"}, {Node: "n-0030", Group: "g-0001", Since: moments[2], Trigger: job.TriggerRun, Limit: 9},
	} {
		check(t, f, all(t, d, f))
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := job.RecordFilter{
			Group:   rapid.SampledFrom([]string{"", "", "g-0000", "g-0001", "absent"}).Draw(rt, "group"),
			Task:    rapid.SampledFrom([]string{"", "", "task-0001", "task-0004", "absent"}).Draw(rt, "task"),
			Node:    rapid.SampledFrom([]job.NodeID{"", "", "n-0002", "n-0006", "n-0030", "absent"}).Draw(rt, "node"),
			JobID:   rapid.SampledFrom(jobs).Draw(rt, "job"),
			Outcome: rapid.SliceOfN(rapid.SampledFrom(job.Outcomes), 0, 3).Draw(rt, "outcomes"),
			Trigger: rapid.SampledFrom([]job.Trigger{"", "", job.TriggerTimer, job.TriggerRun, job.TriggerBackfill}).Draw(rt, "trigger"),
			Since:   rapid.SampledFrom(moments).Draw(rt, "since"),
			Until:   rapid.SampledFrom(moments).Draw(rt, "until"),
			Limit:   rapid.SampledFrom([]int{7, 50, 1000}).Draw(rt, "limit"),
		}
		check(rt, f, all(t, d, f))
	})
}

func selects(f job.RecordFilter, r job.ExecutionRecord) bool {
	return (f.Group == "" || f.Group == r.Group) && (f.Task == "" || f.Task == r.Name) && (f.Node == "" || f.Node == r.Node) &&
		(f.JobID == "" || f.JobID == r.JobID) && (len(f.Outcome) == 0 || slices.Contains(f.Outcome, r.Outcome)) &&
		(f.Trigger == "" || f.Trigger == r.Trigger) && (f.Since.IsZero() || !r.EndTime.Before(f.Since)) && (f.Until.IsZero() || r.EndTime.Before(f.Until))
}

// testSettled compares with every instant of every record.
func testSettled(t *testing.T, d *DB) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		ref := job.Ref("g", fmt.Sprint("settled-", run))
		minute := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Minute) }
		var recs []job.ExecutionRecord
		for i := range rapid.IntRange(1, 25).Draw(rt, "records") {
			r := record(ref, fmt.Sprintf("%d-%d", run, i), job.Missed, epoch)
			if at := rapid.IntRange(-5, 30).Draw(rt, "instant"); at >= 0 {
				r.Instant = minute(at)
				if n := rapid.IntRange(0, 12).Draw(rt, "more"); n > 6 {
					r.Until, r.Count = minute(at+n), n+1
				}
			}
			recs = append(recs, r)
		}
		if _, err := d.Insert(context.Background(), recs); err != nil {
			rt.Fatal(err)
		}
		from := rapid.IntRange(-2, 32).Draw(rt, "from")
		to := from + rapid.IntRange(-1, 12).Draw(rt, "span")
		var want []string
		for _, r := range recs {
			for m := from + 1; m <= to; m++ {
				if !r.Instant.IsZero() && r.Covers(minute(m)) {
					want = append(want, r.ID)
					break
				}
			}
		}
		got, err := d.Settled(context.Background(), ref, minute(from), minute(to))
		if err != nil {
			rt.Fatal(err)
		}
		var ids []string
		for i, r := range got {
			ids = append(ids, r.ID)
			if i > 0 && r.Instant.Before(got[i-1].Instant) {
				rt.Fatalf("%s is out of order", r.ID)
			}
			k := slices.IndexFunc(recs, func(w job.ExecutionRecord) bool { return w.ID == r.ID })
			if w := recs[k]; !r.Instant.Equal(w.Instant) || !r.Until.Equal(w.Until) || r.Count != w.Count || r.Outcome != w.Outcome || r.Node != w.Node {
				rt.Fatalf("got %s, want %s", r, w)
			}
		}
		if !slices.Equal(sorted(ids), sorted(want)) {
			rt.Fatalf("(%d, %d]: got %v, want %v", from, to, sorted(ids), sorted(want))
		}
	})
	testBackfilled(t, d)
	got, err := d.Settled(context.Background(), job.Ref("no", "task"), time.Time{}, epoch)
	if err != nil || len(got) != 0 {
		t.Errorf("settled instants of no task: %v, %v", got, err)
	}
}

func testLatest(t *testing.T, d *DB) { // ancestor 48
	ctx := context.Background()
	a, b, c := job.Ref("g", "a"), job.Ref("g", "b"), job.Ref("", "c")
	with := record(a, "a2", job.Success, epoch.Add(time.Minute))
	with.Output = "left out"
	insert(t, d, record(a, "a1", job.Failed, epoch), with, record(b, "b1", job.Missed, epoch))
	insert(t, d, record(a, "a3", job.Failed, epoch.Add(-time.Minute)), record(c, "c1", job.Success, epoch), record(b, "b2", job.Success, epoch))
	got, err := d.Latest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[a].ID != "a2" || got[a].Output != "" || got[b].ID != "b2" || got[c].ID != "c1" {
		t.Errorf("latest of all: %v", got)
	}
	got, err = d.Latest(ctx, b, job.TaskRef{Name: "c"}, job.Ref("no", "task"))
	if err != nil || len(got) != 2 || got[b].ID != "b2" || got[c].Number != 1 {
		t.Errorf("latest of some: %v, %v", got, err)
	}
}

func testErrors(t *testing.T, d *DB) {
	ctx := context.Background()
	_, err := d.Record(ctx, "nobody")
	wantCode(t, err, job.CodeNotFound)
	_, err = d.RecordByNumber(ctx, job.Ref("g", "t"), 1)
	wantCode(t, err, job.CodeNotFound)
	for _, c := range []string{"x", "AAAA", first.cursor() + "A", "ÿ"} {
		_, err = d.Records(ctx, job.RecordFilter{Cursor: c})
		wantCode(t, err, job.CodeInvalid)
	}
	if s, err := d.Insert(ctx, nil); err != nil || len(s) != 0 {
		t.Errorf("inserting nothing: %v, %v", s, err)
	}
	if err := d.MarkHandled(ctx, []job.Handled{{ID: "nobody", Outcome: job.Lost}}, epoch); err != nil {
		t.Errorf("marking a record that is gone: %v", err)
	}
	if s, err := d.Stats(ctx, job.StatsFilter{Group: "g", Task: "t"}); err != nil || len(s) != 1 || s[0].Count == nil || len(s[0].Count) != 0 || s[0].Success != nil {
		t.Errorf("statistics of no task: %v, %v", s, err)
	}
	_, err = d.Stats(ctx, job.StatsFilter{By: "moon"})
	wantCode(t, err, job.CodeInvalid)
	if p, err := d.Records(ctx, job.RecordFilter{Task: "nobody"}); err != nil || p.Records == nil || p.Next != "" {
		t.Errorf("records of no task: %v, %v", p, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = d.Insert(ended, []job.ExecutionRecord{record(job.Ref("g", "t"), "x", job.Success, epoch)})
	if err == nil || ended.Err() == nil {
		t.Error("a call whose context has ended succeeds")
	}
	if err := d.Ping(ctx); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	_, err = d.Record(ctx, "x")
	wantCode(t, err, job.CodeUnavailable)
	_, err = d.Insert(ctx, []job.ExecutionRecord{record(job.Ref("g", "t"), "x", job.Success, epoch)})
	wantCode(t, err, job.CodeUnavailable)
}

// testBackfilled holds what the timer brought about apart from what was backfilled.
func testBackfilled(t *testing.T, d *DB) {
	ref, ctx := job.Ref("g", "backfilled"), context.Background()
	var recs []job.ExecutionRecord
	for i, trigger := range []job.Trigger{job.TriggerTimer, job.TriggerBackfill, job.TriggerRetry, job.TriggerCatchup, job.TriggerRun, job.TriggerNext} {
		r := record(ref, "backfilled-"+string(trigger), job.Success, epoch.Add(time.Duration(i)*time.Second))
		r.Instant, r.Trigger = epoch, trigger
		recs = append(recs, r)
	}
	if _, err := d.Insert(ctx, recs); err != nil {
		t.Fatal(err)
	}
	settled, err := d.Settled(ctx, ref, epoch.Add(-time.Second), epoch)
	if err != nil || len(settled) != 3 {
		t.Errorf("settled: %v %v", settled, err)
	}
	for _, r := range settled {
		if !r.Trigger.Accounts() {
			t.Errorf("%s settles an instant", r.Trigger)
		}
	}
	backfilled, err := d.Backfilled(ctx, ref, epoch.Add(-time.Second), epoch)
	if err != nil || len(backfilled) != 1 || backfilled[0].Trigger != job.TriggerBackfill || backfilled[0].ID != "backfilled-backfill" {
		t.Errorf("backfilled: %v %v", backfilled, err)
	}
}
