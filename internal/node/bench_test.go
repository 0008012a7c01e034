package node

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// What an entry takes of memory, beside its job, and what a firing costs: to find who is due, to decide, and to put it back
// into its place. Ten thousand entries are small, a million large.
func BenchmarkClock(b *testing.B) {
	large := 1_000_000
	if testing.Short() {
		large = 20_000
	}
	b.Run("small", func(b *testing.B) { benchClock(b, 10_000) })
	b.Run("large", func(b *testing.B) { benchClock(b, large) })
}

func benchClock(b *testing.B, entries int) {
	model := newJob(b, "a", "0 * * * *")
	jobs := make([]job.Job, entries)
	for i := range jobs {
		jobs[i] = *model
		jobs[i].Hash = fmt.Sprintf("%024d", i)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	c := newClock()
	for i := range jobs {
		c.set(&jobs[i], epoch.Add(-time.Duration(i%3600)*time.Second))
	}
	size := float64(heap()-before) / float64(entries)
	now := epoch
	for b.Loop() {
		e := c.due(now)
		for ; e == nil; e = c.due(now) {
			now = c.next()
		}
		c.advance(e, decide(e.job, e.cursor, now).cursor)
	}
	b.ReportMetric(size, "B/entry")
	runtime.KeepAlive(jobs)
}

// What the spool costs a run: its begin, its process, its end, and its part of a batch that is handed over. The disk syncs
// in the background.
func BenchmarkSpool(b *testing.B) {
	s, err := openSpool(b.TempDir())
	must(b, err)
	defer s.close()
	p := &job.Process{ID: "4711", JobID: "job1", Group: "default", NodeID: "n1", Name: "a", Command: "true", BootID: "b", StartTicks: 9}
	n := 0
	for b.Loop() {
		rec := testRecord(n)
		must(b, s.begin(&rec))
		p.Run = job.RunID(rec.ID)
		must(b, s.started(p))
		must(b, s.end(&rec))
		if n++; n%batchRecords == 0 {
			recs, err := s.next(batchRecords, batchBytes)
			must(b, err)
			must(b, s.ack(ids(recs)))
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "runs/s")
}

// How long a node takes to remember where it was with 100,000 jobs.
func BenchmarkSpoolOpen(b *testing.B) {
	dir := b.TempDir()
	s, err := openSpool(dir)
	must(b, err)
	cursors := map[string]time.Time{}
	for n := range 100_000 {
		cursors[fmt.Sprintf("%024d", n)] = at(time.Duration(n) * time.Second)
	}
	must(b, s.advance(cursors))
	must(b, s.close())
	for b.Loop() {
		s, err := openSpool(dir)
		must(b, err)
		must(b, s.close())
	}
}
