package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// inGuard gives an agent a guard that outlives it.
func inGuard(g *doubleGuard) func(*Options) {
	return func(o *Options) { o.Runner = guarded{o.Runner.(*doubleRunner), g} }
}

// The agent is killed, or stopped without its runs; what it started goes on, and is told once, as it really ended.
func TestAdoption(t *testing.T) { // ancestor 36, 39, 41; ancestors F: failed while the process runs on
	ends := job.Exit{Outcome: job.Failed, Reason: "exit status 3"}
	for name, after := range map[string]time.Duration{"it still runs": 90 * time.Second, "it has ended meanwhile": 70 * time.Second} {
		for _, how := range []string{"kill", "stop", "kill, and an empty spool"} {
			t.Run(name+" after "+how, func(t *testing.T) {
				inWorld(t, func(w *world) {
					var g doubleGuard
					a := w.prepare("n1", "", inGuard(&g))
					a.runner.behave = func(x *doubleExec) { x.takes(after - 60*time.Second); x.finish(ends) }
					a.run()
					w.put(newJob(t, "a", "* * * * *"))
					w.until(65 * time.Second)
					dir := a.Dir
					switch how {
					case "stop":
						a.LeaveRuns()
						a.stop()
					case "kill":
						dir = a.crash()
					default: // it died before its disk took the begin
						a.crash()
						dir = ""
					}
					w.until(80 * time.Second)
					b := w.start("n1", dir, inGuard(&g))
					w.until(100 * time.Second)
					w.wantOutcomes("1m0s failed")
					rec := w.records()[0]
					if rec.Reason != ends.Reason || rec.Session != a.session || rec.Pid != 1 || !rec.EndTime.Equal(at(after)) || !rec.BeginTime.Equal(at(time.Minute)) {
						t.Errorf("%+v", rec)
					}
					if len(w.started()) != 1 || len(g.held) != 0 || len(b.runner.started()) != 0 {
						t.Errorf("%d starts, %d are still held", len(w.started()), len(g.held))
					}
					if n, _ := w.admin.Processes().Count(context.Background()); n != 0 {
						t.Errorf("%d processes are left", n)
					}
				})
			})
		}
	}
}

// What an earlier life began counts: for overlaps, for the places that a job has, and for a kill.
func TestAdoptedRunsCount(t *testing.T) { // ancestor 29; ancestors F: "Forbid overlap" forgotten after a restart
	inWorld(t, func(w *world) {
		var g doubleGuard
		a := w.prepare("n1", "", inGuard(&g))
		a.runner.behave = func(x *doubleExec) { x.takes(10 * time.Minute) }
		a.run()
		two := newJob(t, "two", "* * * * *")
		two.Concurrency = 2
		w.put(newJob(t, "one", "* * * * *"), two)
		w.until(70 * time.Second)
		b := w.prepare("n1", a.crash(), inGuard(&g))
		b.runner.behave = a.runner.behave
		b.run()
		w.until(185 * time.Second)
		var got []string
		for _, x := range b.runner.started() {
			got = append(got, x.Env[0])
		}
		if fmt.Sprint(got) != "[ROTA_TASK=two]" {
			t.Errorf("started %q besides what ran", got)
		}
		first := a.runner.started()
		for _, x := range first {
			w.kill("n1", x.Run)
		}
		w.until(190 * time.Second)
		for _, x := range first {
			if rec := w.record(x.Run); rec.Outcome != job.Killed || rec.Reason != "killed by ann" || rec.Session != a.session {
				t.Errorf("%+v", rec)
			}
		}
		for _, rec := range w.records() {
			if rec.Outcome == job.Skipped && !strings.Contains(rec.Reason, "was still alive") {
				t.Errorf("%+v", rec)
			}
		}
		w.until(250 * time.Second)
		if n := len(b.runner.started()); n != 3 { // the place of each is free again
			t.Errorf("%d starts", n)
		}
	})
}

// The agent dies between two attempts: the next life makes the second one, at its time, and the record has both.
func TestAdoptionBetweenAttempts(t *testing.T) {
	for _, how := range []string{"kill", "stop"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(w *world) {
				var g doubleGuard
				a := w.prepare("n1", "", inGuard(&g))
				a.runner.behave = func(x *doubleExec) {
					if x.Attempt == 1 {
						x.finish(job.Exit{Outcome: job.Failed, Reason: "the first"})
					}
				}
				a.run()
				j := newJob(t, "a", "* * * * *")
				j.Retry, j.Interval = 1, 30
				w.put(j)
				w.until(70 * time.Second)
				dir := a.Dir
				if how == "stop" {
					a.LeaveRuns()
					a.stop()
				} else {
					dir = a.crash()
				}
				w.until(75 * time.Second)
				b := w.start("n1", dir, inGuard(&g))
				w.until(100 * time.Second)
				rec := w.record(j.Firing(at(time.Minute)))
				if rec.Outcome != job.Success || rec.Attempt != 2 || len(rec.Attempts) != 1 || rec.Attempts[0].Reason != "the first" {
					t.Errorf("%+v", rec)
				}
				if next := b.runner.started(); len(next) != 1 || !next[0].begin.Equal(at(90*time.Second)) || len(g.held) != 0 {
					t.Errorf("%d starts, %d held", len(next), len(g.held))
				}
			})
		})
	}
}

// What nobody can go on with is ended, and not told as anything that it wasn't.
func TestAdoptionOfTheUnknown(t *testing.T) {
	inWorld(t, func(w *world) {
		var g doubleGuard
		x := &doubleExec{Exec: job.Exec{Run: "stray", Attempt: 1, Note: []byte("{}")}, pid: 77, begin: time.Now(), killed: make(chan struct{}), done: make(chan struct{})}
		g.held = []*doubleExec{x}
		w.start("n1", "", inGuard(&g))
		w.until(time.Second)
		if !x.wasKilled() && !x.over || len(g.held) != 0 {
			t.Error("it goes on")
		}
		w.wantOutcomes()
	})
}

// A run that waits for the lock of its task when the agent stops: one that was asked for is the next life's, an instant, which nobody
// else can claim, is missed, with the reason.
func TestStopWhileItWaitsForTheLock(t *testing.T) {
	for _, leave := range []bool{true, false} {
		t.Run(fmt.Sprint("leave ", leave), func(t *testing.T) {
			inWorld(t, func(w *world) {
				other := w.prepare("n2", "")
				other.runner.behave = func(x *doubleExec) { x.takes(3 * time.Minute) }
				other.run()
				holds := newJob(t, "a", "", kind(job.KindAlone), overlap(job.OverlapQueue))
				holds.NodeID = "n2"
				w.ask(holds, "holder")
				w.wait("it holds the lock", func() bool { return len(other.runner.started()) == 1 })
				var g doubleGuard
				a := w.start("n1", "", inGuard(&g))
				j := newJob(t, "a", "* * * * *", kind(job.KindAlone), overlap(job.OverlapQueue))
				w.put(j)
				w.until(30 * time.Second)
				asked := w.ask(newJob(t, "a", "", kind(job.KindAlone), overlap(job.OverlapQueue)), "waits")
				w.until(70 * time.Second)
				if leave {
					a.LeaveRuns()
				}
				a.stop()
				w.until(75 * time.Second)
				recs := w.records()
				if len(recs) != 1 || recs[0].Outcome != job.Missed || !strings.HasPrefix(recs[0].Reason, stopped) {
					t.Errorf("%q: %+v", outcomes(recs), recs)
				}
				w.start("n1", a.Dir, inGuard(&g))
				if rec := w.record(asked); rec.Outcome != job.Success || rec.BeginTime.Before(at(3*time.Minute)) {
					t.Errorf("%+v", rec)
				}
			})
		})
	}
}
