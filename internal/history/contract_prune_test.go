package history

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// testPruneSize: the oldest records of all tasks go until what is left is small enough, and no more than that.
func testPruneSize(t *testing.T, d *DB) {
	ctx := context.Background()
	const each = 10_000
	var recs []job.ExecutionRecord
	for i := range 900 {
		r := record(job.Ref("g", name("task", i%2)), name("r", i), job.Outcomes[i%5], epoch.Add(time.Duration(i)*time.Minute))
		r.Output = strings.Repeat("x", each)
		recs = append(recs, r)
	}
	rare := record(job.Ref("g", "rare"), "rare", job.Success, epoch.AddDate(-1, 0, 0)) // the oldest, but the latest of its task
	insert(t, d, append(recs, rare)...)
	before, err := d.size(ctx)
	if err != nil || before < 900*each {
		t.Fatalf("the size is %d, %v", before, err)
	}
	const most = 500 * each
	n, err := d.Prune(ctx, job.Retention{MaxBytes: most}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	after, err := d.size(ctx)
	if err != nil || after > most || after < most-pruneChunk*(each+2000) {
		t.Errorf("the size is %d, %v, want at most %d and little less", after, err, most)
	}
	left := all(t, d, job.RecordFilter{})
	if len(left) != 901-n || left[len(left)-1] != "rare" {
		t.Errorf("%d records are left after %d were removed, the last is %s", len(left), n, left[len(left)-1])
	}
	for i, id := range left[:len(left)-1] {
		if want := name("r", 899-i); id != want {
			t.Fatalf("record %d is %s, want %s: the oldest go first", i, id, want)
		}
	}
	if n, err := d.Prune(ctx, job.Retention{MaxBytes: most}, epoch); err != nil || n != 0 {
		t.Errorf("again: %d records removed, %v", n, err)
	}
	if n, err := d.Prune(ctx, job.Retention{MaxBytes: 1}, epoch); err != nil || n != len(left)-3 {
		t.Errorf("%d records removed, %v, want all but the latest of each task", n, err)
	}
	var sum int64
	if err := d.read.QueryRow("SELECT CAST(SUM(bytes) AS BIGINT) FROM records").Scan(&sum); err != nil {
		t.Fatal(err)
	}
	if size, err := d.size(ctx); err != nil || size != sum {
		t.Errorf("the size is %d, %v, that of the records is %d", size, err, sum)
	}
}

// testPruneHeld: what is still being accounted for stays, whatever is the reason to remove it: had it gone, its instant would
// look as though nobody had ever run it.
func testPruneHeld(t *testing.T, d *DB) {
	ctx := context.Background()
	a, b := job.Ref("g", "a"), job.Ref("g", "b")
	at := func(i int) time.Time { return epoch.Add(time.Duration(i) * time.Minute) }
	var recs []job.ExecutionRecord
	for i := range 20 {
		for _, ref := range []job.TaskRef{a, b} {
			r := record(ref, ref.Name+name("-", i), job.Success, at(i))
			r.Instant = at(i)
			if i == 9 {
				r.Outcome, r.Until, r.Count = job.Missed, at(11), 3
			}
			recs = append(recs, r)
		}
	}
	insert(t, d, recs...)
	hold := map[job.TaskRef]time.Time{a: at(10)}
	for _, r := range []job.Retention{{MaxAge: time.Second, Hold: hold}, {MaxPerTask: 1, Hold: hold}, {MaxBytes: 1, Hold: hold}} {
		if _, err := d.Prune(ctx, r, at(60)); err != nil {
			t.Fatal(err)
		}
		settled, err := d.Settled(ctx, a, at(10), at(30))
		if err != nil || len(settled) != 10 || settled[0].ID != "a--0009" {
			t.Errorf("%+v: %d of 10 records above the floor are left, %v", r, len(settled), err)
		}
		if n := len(all(t, d, job.RecordFilter{Task: "b"})); n != 1 {
			t.Errorf("%+v: %d records are left of a task without a floor, want 1", r, n)
		}
	}
	if n, err := d.Prune(ctx, job.Retention{MaxPerTask: 1}, at(60)); err != nil || n != 9 {
		t.Errorf("when nothing is held any more, %d records are removed, %v, want 9", n, err)
	}
}

// testPruneStats: statistics outlive the records, up to an age of their own.
func testPruneStats(t *testing.T, d *DB) {
	ctx := context.Background()
	for i := range 130 {
		ref := job.Ref("g", name("task", i))
		insert(t, d, record(ref, name("old", i), job.Success, epoch.AddDate(0, 0, -100)), record(ref, name("new", i), job.Failed, epoch))
	}
	days := func() int {
		st, err := d.Stats(ctx, job.StatsFilter{Group: "g", By: job.ByDay})
		if err != nil {
			t.Fatal(err)
		}
		return len(st)
	}
	for _, c := range []struct {
		r    job.Retention
		days int
	}{{job.Retention{MaxAge: 24 * time.Hour}, 2}, {job.Retention{StatsAge: 101 * 24 * time.Hour}, 2}, {job.Retention{StatsAge: 99 * 24 * time.Hour}, 1}} {
		if _, err := d.Prune(ctx, c.r, epoch); err != nil {
			t.Fatal(err)
		}
		if got := days(); got != c.days {
			t.Errorf("%+v: statistics of %d days, want %d", c.r, got, c.days)
		}
	}
	nodes, err := d.Stats(ctx, job.StatsFilter{By: job.ByNode})
	if err != nil || len(nodes) != 1 || nodes[0].Count[job.Success] != 0 {
		t.Errorf("by node there is %v, %v", nodes, err)
	}
	totals, err := d.Totals(ctx)
	if err != nil || len(totals) != 130 || totals[job.Ref("g", "task-0000")].Count[job.Success] != 1 {
		t.Errorf("totals: %d, %v", len(totals), err)
	}
}
