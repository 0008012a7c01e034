package node

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A run that was asked for, and can't be marked as started because etcd does not answer, keeps no instant of a common job from running,
// whatever the job's policy is. It runs when etcd is back and its turn comes.
func TestARunThatWaitsForEtcdGivesWay(t *testing.T) {
	for _, policy := range []job.Overlap{job.OverlapSkip, job.OverlapQueue, job.OverlapReplace, job.OverlapAllow} {
		for _, silent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, silent=%t", policy, silent), func(t *testing.T) {
				inWorld(t, func(w *world) {
					a := w.start("n1", "")
					a.runner.behave = func(x *doubleExec) { x.takes(5 * time.Second) }
					j := newJob(t, "a", "*/30 * * * * *", overlap(policy), func(j *job.Job) { j.Deadline = 5 })
					w.put(j)
					w.until(45 * time.Second)
					var away atomic.Bool
					away.Store(true)
					w.mem.OnCall(func(ctx context.Context, c store.Call) error {
						if !away.Load() || c.Client != a.client || c.Op != "txn" || c.After {
							return nil
						}
						if silent {
							<-ctx.Done()
						}
						return store.ErrCut
					})
					asked := w.ask(j, "r")
					w.until(95 * time.Second)
					var began []time.Duration
					for _, x := range a.runner.started() {
						if x.Run == asked {
							t.Errorf("it began without its mark")
						}
						began = append(began, x.begin.Sub(epoch).Truncate(time.Second))
					}
					if want := []time.Duration{30 * time.Second, time.Minute, 90 * time.Second}; !slices.Equal(began, want) {
						t.Errorf("began %v, want %v", began, want)
					}
					away.Store(false)
					w.until(2*time.Minute - time.Second)
					want := job.Success
					if policy == job.OverlapReplace {
						want = job.Killed
					}
					if r := w.record(asked); r == nil || r.Outcome != want && !(policy == job.OverlapReplace && r.Outcome == job.Skipped) {
						t.Errorf("what was asked for: %+v", r)
					}
				})
			})
		}
	}
}
