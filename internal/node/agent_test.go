package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A common job starts on its second, on each node to which it is bound, and each firing leaves its record.
func TestCommonFiresOnItsSecond(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start("n1", ""), w.start("n2", "")
		w.put(newJob(t, "tick", "*/10 * * * * *"), newJob(t, "tick", "*/10 * * * * *", on("n2")))
		w.until(35 * time.Second)
		for _, l := range []*life{a, b} {
			runs := l.runner.started()
			if len(runs) != 3 {
				t.Fatalf("%s: %d runs", l.ID, len(runs))
			}
			for n, x := range runs {
				if want := at(time.Duration(n+1) * 10 * time.Second); !x.begin.Equal(want) {
					t.Errorf("%s: run %d at %s, want %s", l.ID, n, x.begin, want)
				}
				if env := "ROTA_INSTANT=2000-01-01T00:00:" + fmt.Sprint(n+1) + "0Z"; !slices.Contains(x.Env, env) {
					t.Errorf("want %s in %v", env, x.Env)
				}
			}
		}
		w.wantOutcomes("10s success", "10s success", "20s success", "20s success", "30s success", "30s success")
		rec := w.records()[0]
		if rec.Attempt != 1 || rec.Pid == 0 || rec.Session == "" || rec.Trigger != job.TriggerTimer || !rec.Success {
			t.Errorf("record %+v", rec)
		}
	})
}

// Jitter shifts the start of an instant, always by the same, and not the instant.
func TestJitterShiftsTheStart(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		j := newJob(t, "tick", "* * * * *", func(j *job.Job) { j.Jitter = 30 })
		w.put(j)
		w.until(10 * time.Minute)
		for n, x := range a.runner.started() {
			i := at(time.Duration(n+1) * time.Minute)
			if x.Run != j.Firing(i) || !x.begin.Equal(fireTime(j, i)) {
				t.Errorf("instant %s started at %s, want %s", i, x.begin, fireTime(j, i))
			}
		}
	})
}

// ancestor 8, 9, 10, 13: what is deleted, edited or paused fires no more, by the one identity that a job has.
func TestDeleteEditPause(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		j := newJob(t, "a", "*/10 * * * * *")
		w.put(j)
		w.until(25 * time.Second)
		first := j
		edited := newJob(t, "a", "*/15 * * * * *", func(j *job.Job) {
			j.Past, j.Generation = []job.Era{{Since: j.Since, Until: at(25 * time.Second), Rule: first.Rules}}, 2
		})
		w.put(edited) // ancestor 10
		w.until(50 * time.Second)
		paused := edited.Clone()
		paused.Pause, paused.PausedAt = true, at(50*time.Second)
		w.put(paused)
		w.until(2*time.Minute + time.Second)
		resumed := edited.Clone()
		resumed.PausedAt, resumed.ResumedAt = at(50*time.Second), at(2*time.Minute+time.Second)
		w.put(resumed)
		w.until(2*time.Minute + 20*time.Second)
		w.do(store.DeleteJob("n1", j.Hash, 0)) // ancestor 8, 9
		w.until(10 * time.Minute)
		w.wantOutcomes("10s success", "20s success", "30s success", "45s success", "1m0s-2m0s skipped", "2m15s success")
		if rec := w.records()[4]; rec.Count != 5 || rec.Reason != pausedReason {
			t.Errorf("%d instants were skipped: %s", rec.Count, rec.Reason)
		}
		if !a.spool.cursor(j.Hash).IsZero() {
			t.Error("the cursor of a job that is gone is kept")
		}
		// ancestor 13: it is gone whatever it was before, and it comes back as a new one.
		w.put(newJob(t, "a", "*/10 * * * * *", func(j *job.Job) { j.Since = time.Now() }))
		w.until(10*time.Minute + 10*time.Second)
		if recs := w.records(); len(recs) != 7 {
			t.Errorf("%q", outcomes(recs))
		}
	})
}

// On one node, what comes while the places are taken is dealt with as the job says.
func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*job.Job)
		want   []string
		most   int // alive at a time
	}{
		{"skip", overlap(job.OverlapSkip), []string{"10s success", "20s skipped", "30s skipped", "40s success", "50s skipped", "1m0s skipped"}, 1},
		{"queue", overlap(job.OverlapQueue), []string{"10s success", "20s success", "30s success", "40s success", "50s success", "1m0s success"}, 1},
		{"allow", overlap(job.OverlapAllow), []string{"10s success", "20s success", "30s success", "40s success", "50s success", "1m0s success"}, 3},
		{"replace", overlap(job.OverlapReplace), []string{"10s killed", "20s killed", "30s killed", "40s killed", "50s killed", "1m0s success"}, 1},
		{"skip, two places", func(j *job.Job) { j.Concurrency = 2 }, []string{"10s success", "20s success", "30s skipped", "40s success", "50s success", "1m0s skipped"}, 2},
		{"queue with a deadline", func(j *job.Job) { j.Overlap, j.Deadline = job.OverlapQueue, 20 },
			[]string{"10s success", "20s success", "30s missed", "40s success", "50s missed", "1m0s missed"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.prepare("n1", "")
				a.runner.behave = func(x *doubleExec) { x.takes(25 * time.Second) }
				a.run()
				j := newJob(t, "a", "*/10 * * * * *", c.change)
				w.put(j)
				w.until(65 * time.Second)
				w.do(store.PutJob(newJob(t, "a", "0 0 1 1 *", c.change, func(j *job.Job) { j.Since = at(65 * time.Second) }), store.Any))
				w.until(5 * time.Minute)
				w.wantOutcomes(c.want...)
				if most := mostAlive(a.runner.started()); most != c.most {
					t.Errorf("%d were alive at a time, want %d", most, c.most)
				}
			})
		})
	}
}

// mostAlive is how many executions were alive at the same moment. All must have ended.
func mostAlive(all []*doubleExec) (most int) {
	for _, x := range all {
		n := 0
		for _, y := range all {
			<-y.done
			if !y.begin.After(x.begin) && y.exit.End.After(x.begin) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// A queue is bounded; what finds it full is skipped, and told in its turn.
func TestQueueIsBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) { x.takes(150 * time.Second) }
		a.run()
		w.put(newJob(t, "a", "* * * * * *", overlap(job.OverlapQueue)))
		w.until(140 * time.Second)
		if recs := w.records(); len(recs) != 0 {
			t.Fatalf("an instant overtook those that wait: %q", outcomes(recs))
		}
		a.wantCursor(newJob(t, "a", "").Hash, time.Second)
		for range 5 {
			w.kill("n1", a.runner.started()[len(a.runner.started())-1].Run)
			w.until(time.Since(epoch) + 10*time.Millisecond)
		}
		if got := outcomes(w.records()); !slices.Equal(got, []string{"1s killed", "2s killed", "3s killed", "4s killed", "5s killed"}) {
			t.Fatalf("%q", got)
		}
	})
}

func (l *life) wantCursor(hash string, want time.Duration) {
	l.w.Helper()
	if got := l.spool.cursor(hash); !got.Equal(at(want)) {
		l.w.Errorf("the cursor is at %s, want %s", got.Sub(epoch), want)
	}
}

// ancestor 23: the attempts of a run are listed in its one record, they are counted after the first, and
// the wait before the next can be cancelled.
func TestRetries(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) {
			x.finish(job.Exit{Outcome: job.Failed, Reason: "exit code 1", Output: []byte(fmt.Sprint("attempt ", x.Attempt))})
		}
		a.run()
		j := newJob(t, "a", "", func(j *job.Job) { j.Retry, j.Interval, j.RetryBackoff = 2, 30, 2 })
		rec := w.record(w.ask(j, "one")) // a run that was asked for is retried too
		if rec.Outcome != job.Failed || rec.Attempt != 3 || len(rec.Attempts) != 2 || rec.Attempts[1].Output != "attempt 2" || rec.Output != "attempt 3" {
			t.Errorf("record %+v", rec)
		}
		if took := rec.EndTime.Sub(rec.BeginTime); took < 90*time.Second || took > 91*time.Second {
			t.Errorf("three attempts took %s", took)
		}
		run := w.ask(j, "two")
		w.until(time.Since(epoch) + 10*time.Second)
		w.kill("n1", run)
		if rec = w.record(run); rec.Outcome != job.Killed || rec.Reason != "killed by ann before its next attempt" || rec.Attempt != 1 || len(rec.Attempts) != 1 {
			t.Errorf("record %+v", rec)
		}
		if n := len(w.records()); n != 2 {
			t.Errorf("%d records", n)
		}
	})
}

// A run whose task says so is as successful as its result says, and tried again until that says Success.
func TestResultDecidesAndIsTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) {
			e := job.Exit{Outcome: job.Success, Result: []byte(`{"exec_status": "Failure"}`)}
			if x.Attempt == 3 {
				e.Result = []byte(`{"exec_status": "Success"}`)
			}
			x.finish(e)
		}
		a.run()
		by := func(s job.SuccessBy) func(*job.Job) {
			return func(j *job.Job) { j.Success, j.Retry = s, 3 }
		}
		rec := w.record(w.ask(newJob(t, "a", "", by(job.SuccessResult)), "one"))
		if rec.Outcome != job.Success || !rec.Success || rec.Attempt != 3 || len(rec.Attempts) != 2 || rec.Attempts[0].Outcome != job.Failed {
			t.Errorf("record %+v", rec)
		}
		rec = w.record(w.ask(newJob(t, "b", "", by("")), "two"))
		if rec.Outcome != job.Success || rec.Attempt != 1 {
			t.Errorf("by its exit it has succeeded at once: %+v", rec)
		}
	})
}

// A kill reaches a run wherever it stands.
func TestKillInEachState(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) { x.takes(time.Hour) }
		a.run()
		j := newJob(t, "a", "", overlap(job.OverlapQueue))
		alone := newJob(t, "b", "", kind(job.KindAlone), overlap(job.OverlapQueue))

		alive, waits := w.ask(j, "alive"), w.ask(j, "waits")
		if len(a.runner.started()) != 1 {
			t.Fatal("it does not wait")
		}
		w.kill("n1", waits)
		w.kill("n1", alive)
		early := job.CauseID("early", j.Hash)
		w.kill("n1", early) // the kill comes before the run
		w.ask(j, "early")

		other := w.prepare("n2", "")
		other.runner.behave = a.runner.behave
		other.run()
		holds := w.ask(newJob(t, "b", "", kind(job.KindAlone), on("n2")), "holds")
		w.wait("the lock is taken", func() bool { return len(other.runner.started()) == 1 })
		locked := w.ask(alone, "waits for the lock")
		w.kill("n1", locked)
		w.kill("n2", holds)

		want := map[job.RunID]string{
			waits: "killed by ann before it started", alive: "killed by ann", early: "killed by ann before it started",
			locked: "killed by ann before it started", holds: "killed by ann",
		}
		for run, reason := range want {
			if rec := w.record(run); rec.Outcome != job.Killed || rec.Reason != reason {
				t.Errorf("%s: %s, %q, want %q", rec.Cause, rec.Outcome, rec.Reason, reason)
			}
		}
		if left, err := w.admin.Kills().Count(context.Background()); err != nil || left != 0 {
			t.Errorf("%d requests to kill are left, %v", left, err)
		}
	})
}

// A run that can't be started has failed, and says why.
func TestRefusedStart(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.refuse = func(job.Exec) error { return fmt.Errorf("no user %q", "x") }
		a.run()
		rec := w.record(w.ask(newJob(t, "a", ""), "one"))
		if rec.Outcome != job.Failed || !strings.Contains(rec.Reason, `no user "x"`) {
			t.Errorf("record %+v", rec)
		}
		bad := newJob(t, "b", "", func(j *job.Job) { j.Command = "echo {{ config.NONE }}" })
		if rec = w.record(w.ask(bad, "two")); rec.Outcome != job.Failed || !strings.Contains(rec.Reason, "NONE") {
			t.Errorf("record %+v", rec)
		}
	})
}
