package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Backfilled runs wait for their turn, whatever the overlap policy, and make no instant of the timer skip: it comes next.
func TestBackfilledRunsGiveWay(t *testing.T) {
	for _, policy := range []job.Overlap{job.OverlapSkip, job.OverlapQueue} {
		t.Run(string(policy), func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.prepare("n1", "")
				a.runner.behave = func(x *doubleExec) { x.takes(25 * time.Second) }
				a.run()
				j := newJob(t, "a", "0,50 * * * * *", overlap(policy), func(j *job.Job) { j.Since = at(10 * time.Second) })
				w.put(j)
				w.until(40 * time.Second) // runs until 1m5s, and the next until 1m30s
				for i := range 3 {
					past := at(-time.Duration(3-i) * time.Hour)
					w.do(store.CreateDispatch(&job.Dispatch{
						Run: job.RunID(fmt.Sprint("b", i)), Node: "n1", Job: j, Trigger: job.TriggerBackfill, Instant: past, Backfill: "bf-1", RequestedAt: at(40 * time.Second),
					}))
				}
				w.until(49 * time.Second)
				w.do(store.PutJob(newJob(t, "a", "50 * * * * *", overlap(policy), func(j *job.Job) { j.Since = at(10 * time.Second) }), store.Any))
				w.until(99 * time.Second)
				w.do(store.PutJob(newJob(t, "a", "0 0 1 1 *", overlap(policy), func(j *job.Job) { j.Since = at(99 * time.Second) }), store.Any))
				w.until(5 * time.Minute)
				var order []string
				for _, x := range a.runner.started() {
					order = append(order, fmt.Sprint(x.begin.Sub(epoch).Round(time.Second)))
				}
				// b0 40s-1m5s, then the timer's 50s 1m5s-1m30s, then b1, b2.
				if got := fmt.Sprint(order); got != "[40s 1m5s 1m30s 1m55s]" {
					t.Errorf("starts %s", got)
				}
				n := 0
				for _, r := range w.records() {
					if r.Outcome != job.Success {
						t.Errorf("%s of %s ended as %s: %s", r.Trigger, r.Instant, r.Outcome, r.Reason)
					}
					if r.Trigger == job.TriggerBackfill {
						n++
					}
				}
				if n != 3 {
					t.Errorf("%d backfilled runs have a record", n)
				}
			})
		})
	}
}
