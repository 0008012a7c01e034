package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Backfilled runs, and those of a list, wait for their turn, whatever the overlap policy, and make no instant of the timer skip: it comes next.
func TestBackfilledRunsGiveWay(t *testing.T) {
	for _, c := range []struct {
		policy  job.Overlap
		trigger job.Trigger
	}{
		{job.OverlapSkip, job.TriggerBackfill}, {job.OverlapQueue, job.TriggerBackfill}, {job.OverlapSkip, job.TriggerRun}, {job.OverlapQueue, job.TriggerRun},
	} {
		policy := c.policy
		t.Run(string(policy)+"/"+string(c.trigger), func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.prepare("n1", "")
				a.runner.behave = func(x *doubleExec) { x.takes(25 * time.Second) }
				a.run()
				j := newJob(t, "a", "0,50 * * * * *", overlap(policy), func(j *job.Job) { j.Since = at(10 * time.Second) })
				w.put(j)
				w.until(40 * time.Second) // runs until 1m5s, and the next until 1m30s
				for i := range 3 {
					d := &job.Dispatch{Run: job.RunID(fmt.Sprint("b", i)), Node: "n1", Job: j, Trigger: c.trigger, RequestedAt: at(40 * time.Second)}
					if c.trigger == job.TriggerBackfill {
						d.Instant, d.Backfill = at(-time.Duration(3-i)*time.Hour), "bf-1"
					} else {
						d.Listed = true
					}
					w.do(store.CreateDispatch(d))
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
					if r.Trigger == c.trigger {
						n++
					}
				}
				if n != 3 {
					t.Errorf("%d of them have a record", n)
				}
			})
		})
	}
}

// Of a list as many go on at a time as was asked for, where the task would skip the second one, or let all of them run; and any number may wait.
func TestListedRunsGoOnInParallel(t *testing.T) {
	for policy, parallel := range map[job.Overlap]int{job.OverlapSkip: 3, job.OverlapQueue: 2, job.OverlapAllow: 4, job.OverlapReplace: 2} {
		t.Run(string(policy), func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.prepare("n1", "")
				a.runner.behave = func(x *doubleExec) { x.takes(time.Second) }
				a.run()
				j := newJob(t, "a", "0 0 1 1 *", overlap(policy), func(j *job.Job) { j.Since = at(time.Second) })
				w.put(j)
				listed := *j
				listed.Parallel = parallel
				const n = maxQueue + 20
				for i := range n {
					w.do(store.CreateDispatch(&job.Dispatch{
						Run: job.RunID(fmt.Sprint("l", i)), Node: "n1", Job: &listed, Trigger: job.TriggerRun, Listed: true, RequestedAt: at(time.Second),
					}))
				}
				w.until(3 * time.Minute)
				starts := map[time.Duration]int{}
				for _, x := range a.runner.started() {
					starts[x.begin.Sub(epoch).Truncate(time.Second)]++
				}
				for at, got := range starts {
					if got > parallel {
						t.Errorf("%d began at %s", got, at)
					}
				}
				if want := (n + parallel - 1) / parallel; len(starts) > want+1 {
					t.Errorf("they began in %d seconds, not in %d", len(starts), want)
				}
				recs := w.records()
				if len(recs) != n {
					t.Errorf("%d of %d have a record", len(recs), n)
				}
				for _, r := range recs {
					if r.Outcome != job.Success {
						t.Errorf("%s ended as %s: %s", r.ID, r.Outcome, r.Reason)
					}
				}
			})
		})
	}
}
