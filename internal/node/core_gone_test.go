package node

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// again is a job that is made again under its name, since a time.
func again(t *testing.T, since time.Duration, timer string, change ...func(*job.Job)) *job.Job {
	t.Helper()
	return newJob(t, "a", timer, append(change, func(j *job.Job) { j.Since = at(since) })...)
}

// A common task that is deleted and made again before an instant that its node has come to already, because its clock was ahead, does
// not run it twice, in this life of the agent or the next, made again once or twice. What another timer makes due up to there is missed.
func TestATaskIsMadeAgainBehindTheClock(t *testing.T) {
	for _, how := range []string{"at once", "after a crash", "another timer", "and again"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(w *world) {
				var ahead atomic.Int64
				ahead.Store(int64(2*time.Minute + 30*time.Second))
				l := w.start("n1", "", func(o *Options) { o.Now = offBy(&ahead) })
				j := newJob(t, "a", "* * * * *")
				w.put(j)
				w.until(35 * time.Second) // by its clock it has been 3m
				w.do(store.DeleteJob("n1", j.Hash, 0))
				ahead.Store(0)
				want := []string{"1m0s-2m0s missed", "3m0s success", "4m0s success"}
				timer := "* * * * *"
				switch how {
				case "after a crash":
					w.start("n1", l.crash())
				case "another timer":
					timer = "*/45 * * * * *"
					want = []string{"45s missed", "1m0s-2m0s missed", "1m45s missed", "2m45s missed", "3m0s success", "3m45s success", "4m0s success"}
				case "and again":
					w.put(again(t, 40*time.Second, "*/45 * * * * *"))
					w.until(45 * time.Second)
					w.do(store.DeleteJob("n1", j.Hash, 0))
					want = []string{"45s missed", "1m0s-2m0s missed", "1m45s missed", "2m45s missed", "3m0s success", "4m0s success"}
				}
				w.put(again(t, 40*time.Second, timer))
				w.until(4*time.Minute + 5*time.Second)
				if got := outcomes(w.records()); !slices.Equal(got, want) {
					t.Errorf("records:\n got %q\nwant %q", got, want)
				}
				n := 0
				for _, l := range w.all {
					for _, x := range l.runner.started() {
						if x.Run == j.Firing(at(3*time.Minute)) {
							n++
						}
					}
				}
				if n != 1 {
					t.Errorf("3m ran %d times", n)
				}
			})
		})
	}
}

// A node that is cut off goes on with a task that is deleted and made again meanwhile. What it ran of the old one it does not run again.
func TestATaskIsMadeAgainWhileItsNodeIsCutOff(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		j := newJob(t, "a", "*/30 * * * * *")
		w.put(j)
		w.until(35 * time.Second)
		w.mem.Cut(a.client)
		w.do(store.DeleteJob("n1", j.Hash, 0))
		w.put(again(t, 40*time.Second, "*/20 * * * * *", catchup(job.CatchupAll)))
		w.until(95 * time.Second) // it ran 1m and 1m30s
		w.mem.Heal(a.client)
		w.until(2*time.Minute + 5*time.Second)
		ran := map[job.RunID]int{}
		for _, x := range a.runner.started() {
			if ran[x.Run]++; ran[x.Run] > 1 {
				t.Errorf("run %s began %d times", x.Run, ran[x.Run])
			}
		}
		for i, want := range map[time.Duration]int{60 * time.Second: 1, 80 * time.Second: 1, 90 * time.Second: 1, 100 * time.Second: 1, 2 * time.Minute: 1} {
			if n := len(slices.DeleteFunc(w.records(), func(r *job.ExecutionRecord) bool { return !r.Covers(at(i)) })); n != want {
				t.Errorf("%s has %d outcomes: %q", i, n, outcomes(w.records()))
			}
		}
	})
}

// What is remembered of jobs that are gone is bounded, in number and in time, and is forgotten on the disk too.
func TestGonesAreBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		w.until(time.Second)
		count := func() (n int, kept int) {
			done := make(chan struct{})
			a.tell(func() {
				for _, list := range a.core.gone {
					n += len(list)
				}
				if n != a.core.goneCount {
					t.Errorf("%d are counted as %d", n, a.core.goneCount)
				}
				close(done)
			})
			<-done
			return n, len(a.spool.kept(goneMark))
		}
		bury := func(from, to int) {
			done := make(chan struct{})
			a.tell(func() {
				for i := from; i < to; i++ {
					j := newJob(t, fmt.Sprint("j", i), "* * * * *")
					if err := a.spool.advance(map[string]time.Time{j.Hash: at(time.Duration(i) * time.Millisecond)}); err != nil {
						t.Error(err)
					}
					a.core.forget(j.Hash, j)
				}
				close(done)
			})
			<-done
		}
		bury(0, 500)
		if n, kept := count(); n != 500 || kept != 500 {
			t.Errorf("%d of 500 are remembered, %d on the disk", n, kept)
		}
		bury(500, maxGone+1)
		if n, kept := count(); n > maxGone || n < maxGone/3 || kept != n {
			t.Errorf("%d are remembered, %d on the disk", n, kept)
		}
		w.until(keepGone + 2*time.Minute)
		if n, kept := count(); n != 0 || kept != 0 {
			t.Errorf("%d are remembered after a day, %d on the disk", n, kept)
		}
	})
}
