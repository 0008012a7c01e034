package history

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
)

// A history grows out of SQLite: it is copied while a master works with it, the copy is broken off, and finished when the master
// has stopped. Both then say the same, and the new one goes on where the old one was.
func TestCopyToPostgres(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "history.db")
	server := pgtest.Start(t)
	to := server.Database(t)

	old := mustOpen(t, path, Options{Grace: -1})
	a, b := job.Ref("", "a"), job.Ref("g", "b")
	day := time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC)
	var recs []job.ExecutionRecord
	for i := range 900 {
		ref := a
		if i%3 == 0 {
			ref = b
		}
		r := record(ref, fmt.Sprintf("r%04d", i), job.Success, day.Add(time.Duration(i)*time.Minute))
		r.Output, r.Instant = fmt.Sprintf("out \x00 %d \xff", i), r.EndTime
		if i%10 == 0 {
			r.Outcome, r.Reason = job.Lost, "its node died"
		}
		recs = append(recs, r)
	}
	insert(t, old, recs[:800]...)

	short, stop := context.WithCancel(ctx)
	_, err := Copy(short, "sqlite:"+path, to, CopyOptions{Progress: func(table string, compared, _ int64) {
		if table == "records" && compared >= 400 {
			stop()
		}
	}})
	if err == nil {
		t.Fatal("it was not broken off")
	}
	_, err = Open(ctx, to, Options{})
	wantCode(t, err, job.CodeConflict)

	c, err := Copy(ctx, "sqlite:"+path, to, CopyOptions{})
	if err != nil || c.Finished || c.Records != 800 {
		t.Fatalf("beside a master: %+v, %v", c, err)
	}
	// The master goes on: more records, one that supersedes another, handled ones, and fewer of the oldest.
	insert(t, old, recs[800:]...)
	better := recs[10]
	better.Outcome, better.Reason, better.Output = job.Success, "", "it came back"
	if stored := insert(t, old, better); !stored[0] {
		t.Fatal("the record was not superseded")
	}
	if err := old.MarkHandled(ctx, []job.Handled{{ID: "r0001", Outcome: job.Success}, {ID: "r0851", Outcome: job.Success}}, day); err != nil {
		t.Fatal(err)
	}
	if n, err := old.Prune(ctx, job.Retention{MaxPerTask: 250}, day.Add(48*time.Hour)); err != nil || n == 0 {
		t.Fatalf("pruned %d, %v", n, err)
	}
	want := saidOf(t, old, a, b)
	id := old.ID()
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}

	c, err = Copy(ctx, "sqlite:"+path, to, CopyOptions{})
	if err != nil || !c.Finished || c.Written == 0 || c.Records != 500 {
		t.Fatalf("%+v, %v", c, err)
	}
	now := mustOpen(t, to, Options{Grace: -1})
	if now.ID() != id {
		t.Errorf("the copy is another history: %s, not %s", now.ID(), id)
	}
	wantSame(t, "the copy", saidOf(t, now, a, b), want)
	next := record(a, "after", job.Success, day.Add(72*time.Hour))
	insert(t, now, next)
	if r, err := now.Record(ctx, "after"); err != nil || r.Number != 601 {
		t.Errorf("the next record is #%d, %v", r.Number, err)
	}

	// The old one is no history any more, and copying it again takes nothing away from the new one.
	_, err = Open(ctx, path, Options{})
	wantCode(t, err, job.CodeConflict)
	if !strings.Contains(err.Error(), "moved to PostgreSQL at 127.0.0.1") || strings.Contains(err.Error(), server.Password) {
		t.Errorf("%v", err)
	}
	c, err = Copy(ctx, "sqlite:"+path, to, CopyOptions{})
	if err != nil || !c.Finished || c.Written != 0 {
		t.Errorf("again: %+v, %v", c, err)
	}
	if _, err := now.Record(ctx, "after"); err != nil {
		t.Error(err)
	}

	// What holds another history stays as it is.
	other := filepath.Join(t.TempDir(), "other.db")
	d := mustOpen(t, other, Options{})
	insert(t, d, record(a, "x", job.Success, day))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Copy(ctx, other, to, CopyOptions{})
	wantCode(t, err, job.CodeConflict)
	_, err = Copy(ctx, to, other, CopyOptions{})
	wantCode(t, err, job.CodeInvalid)
}

// saidOf is what a history says of tasks.
func saidOf(t *testing.T, d *DB, refs ...job.TaskRef) map[string]any {
	t.Helper()
	said := map[string]any{}
	for _, ref := range refs {
		f := job.RecordFilter{Group: ref.Group, Task: ref.Name, Limit: 1000, WithOutput: true}
		page, err := d.Records(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		totals, err := d.Totals(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		stats, err := d.Stats(t.Context(), job.StatsFilter{Group: ref.Group, Task: ref.Name, By: job.ByNode})
		if err != nil {
			t.Fatal(err)
		}
		days, err := d.Stats(t.Context(), job.StatsFilter{Group: ref.Group, Task: ref.Name, By: job.ByDay})
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := d.Succeeded(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		said[ref.String()] = []any{page.Records, totals[ref], stats, days, nodes}
	}
	return said
}

// A copy knows every table.
func TestCopyKnowsEveryTable(t *testing.T) {
	t.Parallel()
	d := openSQLite(t, Options{})
	var known []string
	for _, c := range copiedTables {
		known = append(known, c.name)
		if c.with != "" {
			known = append(known, c.with)
		}
	}
	rows, err := d.read.QueryContext(t.Context(), "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(known, name) && name != versionTable && name != "history_identity" {
			t.Errorf("table %s is not copied: add it to copiedTables, and what must be equal to sums", name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
