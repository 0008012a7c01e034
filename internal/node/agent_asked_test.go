package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// ancestor 14: a run that was asked for runs once, whatever is written to its dispatch and its job, and however often all of
// it is told again.
func TestAskedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) { x.takes(10 * time.Second) }
		a.run()
		j := newJob(t, "a", "")
		w.put(j)
		run := w.ask(j, "one")
		for range 3 {
			w.until(time.Since(epoch) + time.Second)
			w.ask(j, "one") // asking twice is asking once
			w.put(j)
			must(t, w.mem.Compact(0)) // the watches list again
			w.mem.Cut(a.client)
			w.mem.Heal(a.client)
		}
		if rec := w.record(run); rec.Outcome != job.Success || rec.Cause != "one" || rec.Trigger != job.TriggerRun {
			t.Errorf("%+v", rec)
		}
		w.until(10 * time.Minute)
		if n := len(a.runner.started()); n != 1 {
			t.Errorf("it ran %d times", n)
		}
		if n, err := w.admin.Dispatches().Count(context.Background()); err != nil || n != 0 {
			t.Errorf("%d dispatches are left, %v", n, err)
		}
	})
}

// ancestor 21: what should have started while the node was away does not start when it is too late.
func TestTooLateToStart(t *testing.T) {
	inWorld(t, func(w *world) {
		notAfter := func(d *job.Dispatch) { d.NotAfter = at(time.Minute) }
		run := w.ask(newJob(t, "a", ""), "one", notAfter)
		w.until(2 * time.Minute)
		a := w.start("n1", "")
		if rec := w.record(run); rec.Outcome != job.Missed || len(a.runner.started()) > 0 {
			t.Errorf("%+v", rec)
		}
		w.put(newJob(t, "b", "0 0 * * * *", catchup(job.CatchupAll), func(j *job.Job) { j.Deadline, j.Since = 60, at(-2*time.Hour) }))
		w.until(3 * time.Minute)
		w.wantOutcomes(w.zero()+" missed", "-1h0m0s-0s missed")
	})
}

// A dispatch that was taken back, or that another life has started, does not run.
func TestTakenBack(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) { x.takes(time.Minute) }
		a.run()
		j := newJob(t, "a", "", overlap(job.OverlapQueue))
		w.ask(j, "one")
		waits := w.ask(j, "two")
		w.do(store.DeleteDispatch("n1", waits, 0))
		lost := w.ask(newJob(t, "b", ""), "three", func(d *job.Dispatch) { d.Started = &job.Started{Session: "another", At: at(time.Second)} })
		if rec := w.record(lost); rec.Outcome != job.Lost || !rec.BeginTime.Equal(at(time.Second)) { // ancestor 15
			t.Errorf("%+v", rec)
		}
		w.until(5 * time.Minute)
		synctest.Wait()
		if n := len(a.runner.started()); n != 1 {
			t.Errorf("%d runs", n)
		}
	})
}

// ancestor 28: the time zone is the task's, wherever the node is; a time that a gap swallows comes at its end.
func TestTimeZoneIsTheTasks(t *testing.T) {
	inWorld(t, func(w *world) {
		berlin, err := time.LoadLocation("Europe/Berlin")
		must(t, err)
		w.until(time.Date(2000, 3, 24, 12, 0, 0, 0, time.UTC).Sub(epoch))
		a := w.start("n1", "")
		w.put(newJob(t, "a", "30 2 * * *", func(j *job.Job) { j.Rules.Timezone, j.Since = "Europe/Berlin", time.Now() }))
		w.until(time.Date(2000, 3, 28, 0, 0, 0, 0, time.UTC).Sub(epoch))
		want := []string{"25 02:30 +0100", "26 03:00 +0200", "27 02:30 +0200"} // at 2:00 on the 26th it is 3:00
		for n, x := range a.runner.started() {
			if got := x.begin.In(berlin).Format("02 15:04 -0700"); n >= len(want) || got != want[n] {
				t.Errorf("run %d at %s, want %v", n, got, want)
			}
		}
		if n := len(a.runner.started()); n != 3 {
			t.Errorf("%d runs", n)
		}
	})
}
