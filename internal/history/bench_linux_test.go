package history

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
)

// sample makes the i-th record of a fleet of tasks on nodes, ten a second.
func sample(i, tasks, nodes int) job.ExecutionRecord {
	ref := job.Ref(fmt.Sprintf("group-%d", i%tasks%10), fmt.Sprintf("task-%d", i%tasks))
	node := job.NodeID(fmt.Sprintf("node-%d", i*7%nodes))
	at := epoch.Add(time.Duration(i) * 100 * time.Millisecond)
	code := 0
	rec := job.ExecutionRecord{
		ID: string(job.FiringID(ref, node, at)), JobID: job.JobHash(ref, node), TaskID: ref.String(), Group: ref.Group, Name: ref.Name,
		Node: node, User: "root", Command: "/usr/bin/backup --all --quiet", Instant: at.Truncate(time.Second), BeginTime: at, EndTime: at.Add(50 * time.Millisecond),
		Trigger: job.TriggerTimer, Attempt: 1, Outcome: job.Success, Success: true, ExitCode: &code, Pid: 1000 + i,
		Output: "12 files, 3456 bytes, done\n", OutputBytes: 27, Usage: &job.Usage{UserMS: 3, SystemMS: 1, MaxRSSKB: 4000},
	}
	switch {
	case i%1000 == 77, i%1000 == 779:
		rec.Outcome, rec.Success, rec.Reason = job.Failed, false, "exit 1"
	case i%10_000 == 501:
		rec.Outcome, rec.Success, rec.Reason = job.Missed, false, "the node was away"
	case i%100_000 == 42:
		rec.Trigger = job.TriggerRun
	case i%1_000_000 == 301:
		rec.Outcome, rec.Success = job.Lost, false
	}
	return rec
}

// BenchmarkInsert measures records a second, durable, in batches of 100 from one writer.
func BenchmarkInsert(b *testing.B) {
	for _, tasks := range []int{10, 1000} {
		b.Run(fmt.Sprintf("sqlite/tasks=%d", tasks), func(b *testing.B) {
			insertRate(b, openSQLite(b, Options{}), tasks)
		})
		b.Run(fmt.Sprintf("postgres/tasks=%d", tasks), func(b *testing.B) {
			insertRate(b, mustOpen(b, pgtest.Start(b, "fsync=on").Database(b), Options{}), tasks)
		})
	}
}

func insertRate(b *testing.B, d *DB, tasks int) {
	recs := make([]job.ExecutionRecord, 100)
	i := 0
	before := cpu()
	for b.Loop() {
		for k := range recs {
			recs[k] = sample(i, tasks, 50)
			i++
		}
		if _, err := d.Insert(context.Background(), recs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(i), "cpu-µs/record")
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPage measures what the web interface asks of a large history. ROTA_BENCH_ROWS says how many records it
// has, such as 1000000; without it the benchmark is skipped. ROTA_BENCH_DB may name a database to keep, which is
// filled once and used again, or be postgres for a throw-away server.
func BenchmarkPage(b *testing.B) {
	rows, _ := strconv.Atoi(os.Getenv("ROTA_BENCH_ROWS"))
	if rows == 0 {
		b.Skip("set ROTA_BENCH_ROWS to the number of records")
	}
	dsn := os.Getenv("ROTA_BENCH_DB")
	switch dsn {
	case "":
		dsn = filepath.Join(b.TempDir(), "h.db")
	case "postgres":
		dsn = pgtest.Start(b).Database(b)
	}
	d := mustOpen(b, dsn, quiet)
	fillUp(b, d, rows)
	const tasks, nodes = 1000, 50
	ctx := context.Background()
	some := sample(rows/2, tasks, nodes)
	page := func(f job.RecordFilter) func() error {
		return func() error { _, err := d.Records(ctx, f); return err }
	}
	stats := func(f job.StatsFilter) func() error {
		return func() error { _, err := d.Stats(ctx, f); return err }
	}
	middle := place{some.EndTime.UnixMicro(), int64(rows / 2)}.cursor()
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

func fillUp(b *testing.B, d *DB, rows int) {
	var have int
	if err := d.read.QueryRow("SELECT COALESCE(SUM(numbers), 0) FROM tasks").Scan(&have); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	for i := have; i < rows; i += 1000 {
		recs := make([]job.ExecutionRecord, 1000)
		for k := range recs {
			recs[k] = sample(i+k, 1000, 50)
		}
		if _, err := d.Insert(context.Background(), recs); err != nil {
			b.Fatal(err)
		}
	}
	if rows > have {
		b.Logf("%d records in %s", rows-have, time.Since(start).Round(time.Second))
	}
}
