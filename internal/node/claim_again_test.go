package node

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// What was claimed ahead of its time for a task that was deleted is not claimed again for the one that is made again under its name,
// also not by the same life of the agent: history has been told what became of it.
func TestATaskIsMadeAgainBeforeWhatWasClaimed(t *testing.T) {
	for _, k := range []job.Kind{job.KindInterval, job.KindAlone} {
		t.Run(string(k.Name()), func(t *testing.T) {
			inWorld(t, func(w *world) {
				var ahead atomic.Int64
				ahead.Store(int64(5*time.Minute + 30*time.Second))
				l := w.prepare("n1", "", func(o *Options) { o.Now = offBy(&ahead) })
				l.runner.behave = func(x *doubleExec) {
					if x.begin.Before(at(time.Minute)) {
						x.takes(2 * time.Minute)
					}
				}
				l.run()
				j := newJob(t, "a", "* * * * *", kind(k), overlap(job.OverlapQueue))
				w.put(j)
				w.until(100 * time.Second) // 6m is running, and 7m waits for it
				w.do(store.DeleteJob("n1", j.Hash, 0))
				ahead.Store(0)
				w.until(110 * time.Second)
				w.put(newJob(t, "a", "* * * * *", kind(k), overlap(job.OverlapQueue), func(j *job.Job) { j.Since = at(110 * time.Second) }))
				w.until(8*time.Minute + 30*time.Second)
				var ran []time.Duration
				for _, x := range w.started() {
					for m := range 10 {
						if i := time.Duration(m) * time.Minute; x.Run == j.Firing(at(i)) {
							ran = append(ran, i/time.Minute)
						}
					}
				}
				if want := []time.Duration{6, 2, 3, 4, 5, 8}; !slices.Equal(ran, want) {
					t.Errorf("the minutes %d ran, want %d", ran, want)
				}
				w.wantOutcomes("2m0s success", "3m0s success", "4m0s success", "5m0s success", "6m0s success", "7m0s skipped", "8m0s success")
			})
		})
	}
}

// Also where no answer to the first claim comes until the task has been made again, and its instant is due: one of the two has it.
func TestATaskIsMadeAgainWhileItIsClaimed(t *testing.T) {
	inWorld(t, func(w *world) {
		var ahead atomic.Int64
		ahead.Store(int64(30 * time.Second))
		l := w.prepare("n1", "", func(o *Options) { o.Now = offBy(&ahead) })
		l.runner.behave = func(x *doubleExec) { x.takes(10 * time.Second) }
		w.mem.OnCall(func(_ context.Context, c store.Call) error {
			isClaim := func(key string) bool { return strings.HasPrefix(key, store.DefaultPrefix+"claims/") }
			if c.Client == l.client && c.After && slices.ContainsFunc(c.Keys, isClaim) && time.Now().Before(at(65*time.Second)) {
				return store.ErrCut
			}
			return nil
		})
		l.run()
		j := newJob(t, "a", "* * * * *", kind(job.KindInterval), overlap(job.OverlapAllow), func(j *job.Job) { j.Deadline = 120 })
		w.put(j)
		w.until(35 * time.Second)
		if n, err := w.admin.Claims().Count(context.Background()); n != 1 || err != nil {
			t.Fatalf("%d claims, %v: the test proves nothing", n, err)
		}
		w.do(store.DeleteJob("n1", j.Hash, 0))
		ahead.Store(0)
		w.put(newJob(t, "a", "* * * * *", kind(job.KindInterval), overlap(job.OverlapAllow), func(j *job.Job) { j.Deadline, j.Since = 120, at(36*time.Second) }))
		w.until(110 * time.Second)
		if n := len(w.started()); n != 1 {
			t.Errorf("%d runs of one instant", n)
		}
		w.wantOutcomes("1m0s success")
	})
}
