package history

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// sample makes the i-th record of a fleet of tasks on nodes.
func sample(i, tasks, nodes int) job.ExecutionRecord {
	ref := job.Ref(fmt.Sprintf("group-%d", i%tasks%10), fmt.Sprintf("task-%d", i%tasks))
	node := job.NodeID(fmt.Sprintf("node-%d", i%nodes))
	at := epoch.Add(time.Duration(i) * 100 * time.Millisecond)
	code := 0
	rec := job.ExecutionRecord{
		ID: string(job.FiringID(ref, node, at)), JobID: job.JobHash(ref, node), TaskID: ref.String(), Group: ref.Group, Name: ref.Name,
		Node: node, User: "root", Command: "/usr/bin/backup --all --quiet", Instant: at.Truncate(time.Second), BeginTime: at, EndTime: at.Add(50 * time.Millisecond),
		Trigger: job.TriggerTimer, Attempt: 1, Outcome: job.Success, Success: true, ExitCode: &code, Pid: 1000 + i,
		Output: "12 files, 3456 bytes, done\n", OutputBytes: 27, Usage: &job.Usage{UserMS: 3, SystemMS: 1, MaxRSSKB: 4000},
	}
	switch i % 1000 {
	case 7, 77, 777:
		rec.Outcome, rec.Success, rec.Reason = job.Failed, false, "exit 1"
	case 500:
		rec.Outcome, rec.Success, rec.Reason = job.Missed, false, "the node was away"
	}
	if i%100_000 == 42 {
		rec.Trigger = job.TriggerRun
	}
	return rec
}

func BenchmarkInsert(b *testing.B) {
	for _, tasks := range []int{10, 1000} {
		b.Run(fmt.Sprintf("sqlite/batch=100/tasks=%d", tasks), func(b *testing.B) {
			d, err := Open(context.Background(), filepath.Join(b.TempDir(), "h.db"), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			insertRate(b, d, tasks)
		})
	}
}

func insertRate(b *testing.B, d *DB, tasks int) {
	recs := make([]job.ExecutionRecord, 100)
	i := 0
	for b.Loop() {
		b.StopTimer()
		for k := range recs {
			recs[k] = sample(i, tasks, 50)
			i++
		}
		b.StartTimer()
		if _, err := d.Insert(context.Background(), recs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "records/s")
}
