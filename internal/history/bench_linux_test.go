package history

import (
	"context"
	"fmt"
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
