package node

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Scenario 4: etcd is away for ten minutes with 500 runs in flight. Common jobs go on, and all records are there
// soon after it is back, each once.
func TestEtcdAwayWithRunsInFlight(t *testing.T) { // ancestor 42
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) {
			if x.Timeout > 0 {
				x.takes(time.Duration(x.Attempt)*time.Minute + time.Duration(x.pid)*time.Second)
			}
		}
		a.run()
		j := newJob(t, "a", "", overlap(job.OverlapAllow), func(j *job.Job) { j.Timeout = 86400 })
		runs := map[string]bool{}
		for n := range 500 {
			runs[string(w.ask(j, strconv.Itoa(n)))] = true
		}
		w.put(newJob(t, "tick", "* * * * *"), newJob(t, "claimed", "* * * * *", kind(job.KindInterval), overlap(job.OverlapAllow), func(j *job.Job) { j.Deadline = 300 }))
		w.until(30 * time.Second)
		puts := w.countPuts()
		w.mem.Cut(a.client)
		w.until(10*time.Minute + 30*time.Second)
		if n := len(a.runner.started()); n != 510 {
			t.Errorf("%d runs, want 500 and 10 of the common job", n)
		}
		if recs := w.records(); len(recs) != 0 {
			t.Errorf("%d records came through", len(recs))
		}
		w.mem.Heal(a.client)
		w.until(10*time.Minute + 59*time.Second)
		for _, r := range w.records() {
			delete(runs, r.ID)
		}
		if len(runs) > 0 || a.spool.waiting() > 0 {
			t.Errorf("%d records are not there, %d wait", len(runs), a.spool.waiting())
		}
		for id, n := range puts() {
			if n != 1 {
				t.Errorf("record %s was put %d times", id, n)
			}
		}
		claimed := 0
		for _, x := range a.runner.started() {
			for _, e := range x.Env {
				if e == "ROTA_TASK=claimed" {
					claimed++
				}
			}
		}
		if claimed != 5 { // 6m to 10m, within their deadline
			t.Errorf("%d instants of the interval job ran", claimed)
		}
	})
}

// countPuts counts from now on how often each record is put into etcd.
func (w *world) countPuts() func() map[string]int {
	counts := map[string]int{}
	ctx, cancel := context.WithCancel(context.Background())
	events := w.admin.Records().Watch(ctx).Events()
	go func() {
		for batch := range events {
			for _, e := range batch {
				if e.Type == store.Put {
					counts[e.Value.ID]++
				}
			}
		}
	}()
	return func() map[string]int {
		cancel()
		synctest.Wait()
		return counts
	}
}

// The records that a node has in etcd are bounded; what exceeds that waits in the spool until the masters have made room.
func TestWindow(t *testing.T) { // ancestor 43
	for _, limit := range []int{1, 100, 1000} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.start("n1", "", func(o *Options) { o.Window = limit })
				synctest.Wait()
				total := 3*limit/2 + 5
				for n := range total {
					rec := testRecord(n)
					a.end(&rec)
				}
				got, most := map[string]bool{}, 0
				for range 1000 {
					time.Sleep(5 * time.Second) // longer than it waits to look again
					recs := w.records()
					if most = max(most, len(recs)); len(recs) > limit {
						t.Fatalf("%d records in etcd", len(recs))
					}
					var ops []store.Op
					for _, r := range recs {
						got[r.ID] = true
						ops = append(ops, store.DeleteRecord("n1", store.RecordName(r), 0))
					}
					w.do(ops...)
					if len(got) == total {
						break
					}
				}
				if len(got) != total || most != limit {
					t.Errorf("%d of %d records came, at most %d at a time", len(got), total, most)
				}
			})
		})
	}
}

// Records that etcd will never take are in nobody's way, and not forgotten.
func TestRefusedRecord(t *testing.T) { // ancestor 46
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		synctest.Wait()
		for n := range 500 {
			rec := testRecord(n)
			if n < 250 { // more than a batch of them
				rec.ID = "../" + rec.ID
			}
			a.end(&rec)
		}
		w.until(10 * time.Second)
		if n := len(w.records()); n != 250 || a.spool.waiting() != 250 {
			t.Errorf("%d records, %d wait", n, a.spool.waiting())
		}
	})
}

// A record has a bounded size, whatever its run wrote. ancestor 42
func TestLargeRecords(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		binary := make([]byte, 64<<10) // six bytes each in JSON
		a.runner.behave = func(x *doubleExec) {
			x.finish(job.Exit{Outcome: job.Failed, Output: binary, Result: []byte(`{"body":`)})
		}
		a.run()
		j := newJob(t, "a", "", func(j *job.Job) { j.Retry, j.Command = 100, "echo "+strings.Repeat("<", 100_000) })
		rec := w.record(w.ask(j, "one"))
		if rec.Outcome != job.Failed || rec.Attempt != 101 || len(rec.Attempts) != 100 || !rec.OutputTruncated || rec.Result != nil {
			t.Errorf("outcome %s, attempt %d, %d attempts, truncated %v, result %q", rec.Outcome, rec.Attempt, len(rec.Attempts), rec.OutputTruncated, rec.Result)
		}
		if n := len(rec.String()); n > job.MaxRecord {
			t.Errorf("the record has %d bytes", n)
		}
	})
}

// 10,000 jobs in the same second: all start, each once; and the agent stops with all of them alive.
func TestTenThousandAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		const n = 10_000
		a := w.prepare("n1", "", func(o *Options) { o.Window = 3 * n })
		a.runner.behave = func(x *doubleExec) {
			if time.Now().After(at(90 * time.Second)) {
				x.takes(time.Hour)
			}
		}
		a.run()
		ops := make([]store.Op, n)
		for i := range ops {
			ops[i] = store.PutJob(newJob(t, fmt.Sprint("job", i), "0 * * * * *"), store.Any)
		}
		w.do(ops...)
		w.until(70 * time.Second)
		runs := map[job.RunID]bool{}
		for _, x := range a.runner.started() {
			if !x.begin.Equal(at(time.Minute)) {
				t.Fatalf("it started %s late", x.begin.Sub(at(time.Minute)))
			}
			runs[x.Run] = true
		}
		if all := len(a.runner.started()); all != n || len(runs) != n {
			t.Errorf("%d runs of %d", all, len(runs))
		}
		w.until(121 * time.Second)
		a.stop()
		count := map[job.Outcome]int{}
		for _, r := range w.records() {
			count[r.Outcome]++
		}
		if count[job.Success] != n || count[job.Killed] != n || len(count) != 2 {
			t.Errorf("%v", count)
		}
	})
}

// What is late because much is due at once is on time: the agent was there.
func TestBusyIsNotLate(t *testing.T) {
	inWorld(t, func(w *world) {
		const n = 3000
		var slow atomic.Int64 // each look at the clock takes a millisecond
		w.start("n1", "", func(o *Options) {
			o.Now = func() time.Time {
				if time.Now().After(at(59 * time.Second)) {
					slow.Add(int64(time.Millisecond))
				}
				return time.Now().Round(0).Add(time.Duration(slow.Load()))
			}
		})
		ops := make([]store.Op, n)
		for i := range ops {
			ops[i] = store.PutJob(newJob(t, fmt.Sprint("job", i), "0 * * * * *"), store.Any)
		}
		w.do(ops...)
		w.until(70 * time.Second)
		for _, r := range w.records() {
			if r.Outcome != job.Success {
				t.Fatalf("%s: %s", r.Outcome, r.Reason)
			}
		}
		if d := time.Duration(slow.Load()); d < 2*onTime {
			t.Errorf("it was not busy: %s", d)
		}
	})
}

// The agent starts while etcd is away, joins when it comes, and stops while it is away.
func TestStartAndStopWithoutEtcd(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		w.mem.Cut(a.client)
		a.run()
		w.put(newJob(t, "a", "* * * * *"))
		w.until(90 * time.Second)
		w.mem.Heal(a.client)
		w.until(3*time.Minute + time.Second)
		w.wantOutcomes("1m0s missed", "2m0s success", "3m0s success")
		w.mem.Cut(a.client)
		w.until(4*time.Minute + time.Second)
		before := time.Now()
		a.cancel()
		<-a.done
		if took := time.Since(before); a.err != nil || took > a.StopGrace+4*time.Second {
			t.Errorf("it took %s: %v", took, a.err)
		}
		w.start("n1", a.Dir)
		w.until(5*time.Minute + time.Second)
		w.wantOutcomes("1m0s missed", "2m0s success", "3m0s success", "4m0s success", "5m0s success")
	})
}

// A document that can't be read is left alone, and everything else goes on.
func TestUnreadableDocuments(t *testing.T) {
	inWorld(t, func(w *world) {
		w.mem.Write("jobs/n1/junk", "{")
		w.mem.Write("dispatch/n1/junk", "[]")
		w.mem.Write("kills/n1/junk", "x")
		a := w.start("n1", "")
		w.put(newJob(t, "a", "* * * * *"))
		w.until(61 * time.Second)
		if len(a.runner.started()) != 1 {
			t.Error("nothing runs")
		}
	})
}

// Six hours in virtual time under much work, with jobs of every kind: nothing piles up.
func TestSoak(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) { x.takes(10 * time.Second) }
		a.run()
		w.put(newJob(t, "a", "* * * * *"), newJob(t, "b", "*/2 * * * *", kind(job.KindInterval)),
			newJob(t, "c", "*/5 * * * *", kind(job.KindAlone)), newJob(t, "d", "*/7 * * * * *", overlap(job.OverlapQueue)))
		for hour := range 6 {
			w.until(time.Duration(hour+1) * time.Hour)
			recs := w.records()
			ops := make([]store.Op, len(recs))
			for i, r := range recs {
				ops[i] = store.DeleteRecord("n1", store.RecordName(r), 0)
			}
			w.do(ops...)
		}
		var alive, waiting, killed int
		asked := make(chan struct{})
		a.tell(func() {
			for _, q := range a.core.queue {
				waiting += len(q)
			}
			alive, killed = len(a.core.runs), len(a.core.killed)
			close(asked)
		})
		<-asked
		if alive > 110 || waiting > 210 || killed > 0 || a.spool.waiting() > 0 {
			t.Errorf("%d runs, %d wait, %d kills, %d records", alive, waiting, killed, a.spool.waiting())
		}
		if n := len(spoolFiles(t, a.Dir+"/spool")); n > 2 {
			t.Errorf("%d segments", n)
		}
	})
}
