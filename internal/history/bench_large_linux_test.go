package history

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
)

// large opens the large history that the benchmarks of this file measure. ROTA_BENCH_RECORDS says how many records it
// has, such as 10000000; without it they are skipped. ROTA_BENCH_DB may name a database to keep, which is
// filled once and used again, or be postgres for a throw-away server.
func large(b *testing.B) (d *DB, records int) {
	records, _ = strconv.Atoi(os.Getenv("ROTA_BENCH_RECORDS"))
	if records == 0 {
		b.Skip("set ROTA_BENCH_RECORDS to the number of records")
	}
	dsn := os.Getenv("ROTA_BENCH_DB")
	switch dsn {
	case "":
		dsn = filepath.Join(b.TempDir(), "h.db")
	case "postgres":
		dsn = pgtest.Start(b, "fsync=on", "shared_buffers=1GB").Database(b)
	}
	d = mustOpen(b, dsn, quiet)
	fillUp(b, d, records)
	return d, records
}

// BenchmarkPage measures what the web interface asks of a large history.
func BenchmarkPage(b *testing.B) {
	d, rows := large(b)
	const tasks, nodes = 1000, 50
	ctx := context.Background()
	some := sample(min(rows, filled)/2, tasks, nodes)
	page := func(f job.RecordFilter) func() error {
		return func() error { _, err := d.Records(ctx, f); return err }
	}
	stats := func(f job.StatsFilter) func() error {
		return func() error { _, err := d.Stats(ctx, f); return err }
	}
	middle := place{epoch.Add(time.Duration(rows) * 50 * time.Millisecond).UnixMicro(), int64(rows / 2)}.cursor()
	for _, c := range []struct {
		name string
		f    func() error
	}{
		{"first page", page(job.RecordFilter{})},
		{"page in the middle", page(job.RecordFilter{Cursor: middle})},
		{"with output", page(job.RecordFilter{WithOutput: true, Cursor: middle})},
		{"task", page(job.RecordFilter{Group: some.Group, Task: some.Name})},
		{"task on node", page(job.RecordFilter{Group: some.Group, Task: some.Name, Node: some.Node})},
		{"job", page(job.RecordFilter{JobID: some.JobID})},
		{"node", page(job.RecordFilter{Node: some.Node})},
		{"node in group", page(job.RecordFilter{Node: some.Node, Group: some.Group})},
		{"group, middle", page(job.RecordFilter{Group: some.Group, Cursor: middle})},
		{"bad", page(job.RecordFilter{Outcome: []job.Outcome{job.Failed, job.Timeout, job.Killed, job.Lost, job.Missed}})},
		{"rarest outcome", page(job.RecordFilter{Outcome: []job.Outcome{job.Lost}})},
		{"outcome that never was", page(job.RecordFilter{Outcome: []job.Outcome{job.Killed}})},
		{"task and rare outcome", page(job.RecordFilter{Group: "group-7", Task: "task-77", Outcome: []job.Outcome{job.Missed}})},
		{"node and rare outcome", page(job.RecordFilter{Node: some.Node, Outcome: []job.Outcome{job.Missed}})},
		{"rare trigger", page(job.RecordFilter{Trigger: job.TriggerRun})},
		{"an hour long ago", page(job.RecordFilter{Since: epoch.Add(time.Hour), Until: epoch.Add(2 * time.Hour)})},
		{"an empty hour before all", page(job.RecordFilter{Until: epoch})},
		{"an empty moment between", page(job.RecordFilter{Since: some.EndTime.Add(time.Millisecond), Until: some.EndTime.Add(2 * time.Millisecond)})},
		{"a group's empty hour after all", page(job.RecordFilter{Group: some.Group, Since: epoch.AddDate(10, 0, 0)})},
		{"stats of a task", stats(job.StatsFilter{Group: some.Group, Task: some.Name})},
		{"stats of a task by node", stats(job.StatsFilter{Group: some.Group, Task: some.Name, By: job.ByNode})},
		{"stats of a group by day", stats(job.StatsFilter{Group: some.Group, By: job.ByDay})},
		{"stats of a node by task", stats(job.StatsFilter{Node: some.Node, By: job.ByTask})},
		{"stats of all by day", stats(job.StatsFilter{By: job.ByDay})},
		{"search of what all have", page(job.RecordFilter{Search: "3456 BYTES"})},
		{"search of what none has", page(job.RecordFilter{Search: "no such text"})},
		{"search of a task", page(job.RecordFilter{Group: some.Group, Task: some.Name, Search: "no such text"})},
		{"search of the bad", page(job.RecordFilter{Outcome: []job.Outcome{job.Failed, job.Missed}, Search: "was away"})},
		{"search of an hour", page(job.RecordFilter{Since: epoch.Add(time.Hour), Until: epoch.Add(2 * time.Hour), Search: "no such text"})},
		{"totals", func() error { _, err := d.Totals(ctx); return err }},
		{"latest of all tasks", func() error { _, err := d.Latest(ctx); return err }},
		{"succeeded", func() error { _, err := d.Succeeded(ctx, some.Ref()); return err }},
		{"settled hour", func() error {
			_, err := d.Settled(ctx, some.Ref(), some.Instant.Add(-time.Hour), some.Instant)
			return err
		}},
		{"record", func() error { _, err := d.Record(ctx, some.ID); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// filled is how many records are inserted; the others are copies.
const filled = 200_000

// fillUp inserts a part of the records, and copies them to later times without the indexes, which are made anew.
func fillUp(b *testing.B, d *DB, rows int) {
	var have int
	if err := d.read.QueryRow("SELECT COALESCE(SUM(numbers), 0) FROM tasks").Scan(&have); err != nil {
		b.Fatal(err)
	}
	if have >= rows {
		return
	}
	start := time.Now()
	base := min(rows, filled)
	for i := have; i < base; i += 1000 {
		recs := make([]job.ExecutionRecord, 1000)
		for k := range recs {
			recs[k] = sample(i+k, 1000, 50)
		}
		if _, err := d.Insert(context.Background(), recs); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("%d records inserted after %s", base, time.Since(start).Round(time.Second))
	if copies := rows / base; copies > 1 {
		copyUp(b, d, base, copies)
	}
	if err := d.sumUp(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d records after %s", rows, time.Since(start).Round(time.Second))
}

func copyUp(b *testing.B, d *DB, base, copies int) {
	schema, err := migrationFiles.ReadFile("migrations/00001_records.sql")
	if err != nil {
		b.Fatal(err)
	}
	do := func(format string, args ...any) {
		if _, err := d.write.Exec(fmt.Sprintf(format, args...)); err != nil {
			b.Fatal(err)
		}
	}
	indexes := regexp.MustCompile(`CREATE (?:UNIQUE )?INDEX (records_\w+)[^;]*;`).FindAllStringSubmatch(string(schema), -1)
	for _, x := range indexes {
		do("DROP INDEX %s", x[1])
	}
	const columns = "job, grp, node, class, instants, handled_at, stored_at, bytes, detail"
	for k := 1; k < copies; k++ {
		shift := int64(k) * int64(base) * 100_000
		do(`INSERT INTO records (seq, id, task, number, began, ended, instant, until, %[1]s)
			SELECT r.seq + %[2]d, %[3]d || r.id, r.task, r.number + %[3]d * t.numbers, r.began + %[4]d, r.ended + %[4]d, r.instant + %[4]d, r.until + %[4]d, %[5]s
			FROM records r JOIN tasks t ON t.id = r.task WHERE r.seq <= %[6]d ORDER BY r.seq`,
			columns, k*base, k, shift, "r."+strings.ReplaceAll(columns, ", ", ", r."), base)
		do("INSERT INTO record_bodies (seq, output, result, attempts) SELECT seq + %d, output, result, attempts FROM record_bodies WHERE seq <= %d ORDER BY seq", k*base, base)
	}
	for _, x := range indexes {
		do("%s", x[0])
	}
	do("UPDATE tasks SET numbers = numbers * %[1]d, latest = latest + %[2]d, latest_ended = latest_ended + %[3]d, success = success * %[1]d, success_us = success_us * %[1]d, bytes = bytes * %[1]d, summed = 0",
		copies, (copies-1)*base, int64(copies-1)*int64(base)*100_000)
	do("DELETE FROM task_days")
	do("DELETE FROM node_days")
	if d.dialect == postgres {
		do("SELECT setval(pg_get_serial_sequence('records', 'seq'), %d)", copies*base)
		do("VACUUM ANALYZE")
	}
}

// BenchmarkLargeInsert measures batches of 100 into a large history: how many records a second, and how long a batch takes.
func BenchmarkLargeInsert(b *testing.B) {
	d, rows := large(b)
	insertBatches(b, d, rows)
}

// BenchmarkInsertWhilePruning measures batches of 100 while retention removes the oldest records, which must not hold them up.
func BenchmarkInsertWhilePruning(b *testing.B) {
	d, rows := large(b)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	removed := 0
	wg.Go(func() {
		for age := time.Duration(rows) * 100 * time.Millisecond; ctx.Err() == nil; age -= time.Hour {
			n, _ := d.Prune(ctx, job.Retention{MaxAge: age}, epoch.Add(time.Duration(rows)*100*time.Millisecond))
			removed += n
		}
	})
	insertBatches(b, d, rows)
	cancel()
	wg.Wait()
	b.ReportMetric(float64(removed)/b.Elapsed().Seconds(), "pruned/s")
}

func insertBatches(b *testing.B, d *DB, rows int) {
	i := rows + int(time.Now().UnixNano()%1e6)*1000 // of records that are not there yet
	recs := make([]job.ExecutionRecord, 100)
	var took []time.Duration
	for b.Loop() {
		for k := range recs {
			recs[k] = sample(i, 1000, 50)
			i++
		}
		begin := time.Now()
		if _, err := d.Insert(context.Background(), recs); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(len(took)*100)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
}
