package history

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// statement is one that was executed.
type statement struct {
	text string
	args []any
}

// testPlans looks at how the database goes about each statement of each call: none may read a table of records from end to end, nor
// sort what an index has in order, for then its cost would grow with the history. PostgreSQL, which prefers a scan
// while tables are small, is told to avoid them: one that is left is one for which there is no index.
func testPlans(t *testing.T, d *DB) {
	ctx := context.Background()
	var recs []job.ExecutionRecord
	for i := range 300 {
		r := record(job.Ref(name("g", i%2), name("task", i%6)), name("r", i), job.Outcomes[i%len(job.Outcomes)], epoch.Add(time.Duration(i)*time.Second))
		r.Node, r.JobID, r.Instant = job.NodeID(name("n", i%4)), name("job", i%12), r.EndTime
		recs = append(recs, r)
	}
	insert(t, d, recs...)
	if d.dialect == postgres {
		d.write.SetMaxOpenConns(1)
		if _, err := d.write.Exec("SET enable_seqscan = off"); err != nil {
			t.Fatal(err)
		}
	}
	some, lost := recs[290], recs[284]
	lost.Outcome = job.Success
	ended := &job.GroupExecution{ID: "ex-1", Group: "g-0001", Status: job.ExecutionSuccess, BeganAt: epoch, EndedAt: epoch}
	calls := map[string]func() error{
		"put execution": func() error { return d.PutExecution(ctx, ended) },
		"execution":     func() error { _, err := d.Execution(ctx, "ex-1"); return ignoreMissing(err) },
		"ended":         func() error { _, err := d.Ended(ctx, []string{some.ID, lost.ID}); return err },
		"executions":    func() error { _, _, err := d.Executions(ctx, job.ExecutionFilter{}); return err },
		"executions of a group": func() error {
			_, _, err := d.Executions(ctx, job.ExecutionFilter{Group: "g", Since: epoch})
			return err
		},
		"failed executions of a group": func() error {
			_, _, err := d.Executions(ctx, job.ExecutionFilter{Group: "g", Status: job.ExecutionFailed})
			return err
		},
		"failed executions": func() error {
			_, _, err := d.Executions(ctx, job.ExecutionFilter{Status: job.ExecutionFailed})
			return err
		},
		"executions by age": func() error { _, err := d.PruneExecutions(ctx, epoch); return err },
		"insert":            func() error { _, err := d.Insert(ctx, slices.Clone(recs[100:110])); return err },
		"supersede":         func() error { _, err := d.Insert(ctx, []job.ExecutionRecord{lost}); return err },
		"handled":           func() error { return d.MarkHandled(ctx, []job.Handled{{ID: some.ID, Outcome: some.Outcome}}, epoch) },
		"record":            func() error { _, err := d.Record(ctx, some.ID); return err },
		"number":            func() error { _, err := d.RecordByNumber(ctx, some.Ref(), 49); return err },
		"latest":            func() error { _, err := d.Latest(ctx, some.Ref()); return err },
		"all latest":        func() error { _, err := d.Latest(ctx); return err },
		"told":              func() error { _, _, err := d.Told(ctx, some.Ref(), some.Node, epoch); return err },
		"settled":           func() error { _, err := d.Settled(ctx, some.Ref(), epoch, epoch.Add(time.Minute)); return err },
		"succeeded":         func() error { _, err := d.Succeeded(ctx, some.Ref()); return err },
		"totals":            func() error { _, err := d.Totals(ctx); return err },
		"by age": func() error {
			_, err := d.Prune(ctx, job.Retention{MaxAge: time.Hour}, epoch.Add(time.Hour+10*time.Second))
			return err
		},
		"by number": func() error { _, err := d.Prune(ctx, job.Retention{MaxPerTask: 48}, epoch); return err },
		"by size":   func() error { _, err := d.Prune(ctx, job.Retention{MaxBytes: 400 * 250}, epoch); return err },
	}
	for _, f := range everyFilter(some) {
		calls[fmt.Sprintf("list %+v", f)] = func() error { _, err := d.Records(ctx, f); return err }
	}
	for _, by := range append([]job.StatsBy{job.ByNothing}, job.StatsBys...) {
		for i, f := range []job.StatsFilter{
			{Group: some.Group, Task: some.Name, By: by}, {Task: some.Name, By: by, From: epoch}, {Group: some.Group, Task: some.Name, Node: some.Node, By: by}, {Node: some.Node, By: by},
		} {
			calls[fmt.Sprintf("stats by %q %d", by, i)] = func() error { _, err := d.Stats(ctx, f); return err }
		}
	}
	seen := map[string]bool{}
	for what, call := range calls {
		var done []statement
		d.trace = func(text string, args []any) { done = append(done, statement{text, slices.Clone(args)}) }
		err := call()
		d.trace = nil
		if err != nil || len(done) == 0 {
			t.Fatalf("%s: %d statements, %v", what, len(done), err)
		}
		for _, s := range done {
			if !seen[s.text] {
				seen[s.text] = true
				checkPlan(t, d, what, s)
			}
		}
	}
	// The test would see a scan.
	bad := statement{"SELECT COUNT(*) FROM records WHERE detail = 'x' OR handled_at = 3", nil}
	if d.dialect == postgres {
		bad.text = "SELECT COUNT(*) FROM records WHERE stored_at = 3"
	}
	if scans(plan(t, d, bad)) == "" {
		t.Error("a scan is not seen")
	}
}

// everyFilter are the filters with each combination of fields.
func everyFilter(r job.ExecutionRecord) (list []job.RecordFilter) {
	const fields = 9
	for bits := range 1 << fields {
		on := func(i int) bool { return bits&(1<<i) != 0 }
		var f job.RecordFilter
		if on(0) {
			f.Group = r.Group
		}
		if on(1) {
			f.Task = r.Name
		}
		if on(2) {
			f.Node = r.Node
		}
		if on(3) {
			f.JobID = r.JobID
		}
		if on(4) {
			f.Outcome = []job.Outcome{r.Outcome, job.Success}
		}
		if on(5) {
			f.Trigger = r.Trigger
		}
		if on(6) {
			f.Since = epoch
		}
		if on(7) {
			f.Until, f.Cursor = epoch.Add(time.Hour), place{epoch.Add(time.Minute).UnixMicro(), 50}.cursor()
		}
		if on(8) {
			f.Search, f.WithOutput = "text", true
		}
		list = append(list, f)
	}
	return list
}

// plan is how the database would execute a statement.
func plan(t *testing.T, d *DB, s statement) string {
	t.Helper()
	explain := "EXPLAIN QUERY PLAN "
	if d.dialect == postgres {
		explain = "EXPLAIN "
	}
	rows, err := d.write.Query(explain+s.text, s.args...)
	if err != nil {
		t.Fatalf("%s: %v", s.text, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for rows.Next() {
		dest := make([]any, len(columns))
		var detail string
		for i := range dest {
			dest[i] = new(any)
		}
		dest[len(dest)-1] = &detail
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

var tableScan = regexp.MustCompile(`(?m)^SCAN (records|r|record_bodies|b|node_days|task_days|x|jobs|j)\b.*|Seq Scan on (records|record_bodies|node_days|task_days|jobs)\b.*`)

// innerSort is a sort right above the reading of records; what a list sorts, it has limited before.
var innerSort = regexp.MustCompile(`SEARCH records USING[^\n]*\nUSE TEMP B-TREE FOR (?:ORDER BY|LAST)`)

// scans is the line of a plan that reads a table of many rows from end to end, or "".
func scans(plan string) string { return tableScan.FindString(plan) }

func checkPlan(t *testing.T, d *DB, what string, s statement) {
	t.Helper()
	p := plan(t, d, s)
	if line := scans(p); line != "" {
		t.Errorf("%s: %s\n%s\n%s", what, line, s.text, p)
	}
	if line := innerSort.FindString(p); line != "" {
		t.Errorf("%s sorts: %s\n%s\n%s", what, line, s.text, p)
	}
}
