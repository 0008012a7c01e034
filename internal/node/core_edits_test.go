package node

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// edited is a job in its second version, whose rule counts from a time on.
func edited(t *testing.T, was *job.Job, since time.Time, timer string, change ...func(*job.Job)) *job.Job {
	t.Helper()
	j := newJob(t, was.Name, timer, change...)
	j.Past = []job.Era{{Rule: was.Rules, Kind: was.Kind.Name(), Since: was.Since, Until: since}}
	if err := j.Check(); err != nil {
		t.Fatal(err)
	}
	return j
}

// A node that is cut off goes on by the rule that it knows. When it hears of another one it tells of the instants of that one which
// it has passed, in this life or the next.
func TestAnEditThatIsHeardLate(t *testing.T) {
	for _, how := range []string{"goes on", "crashes"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.start("n1", "")
				first := newJob(t, "a", "*/30 * * * * *")
				w.put(first)
				w.until(45 * time.Second)
				w.mem.Cut(a.client)
				w.until(50 * time.Second)
				w.put(edited(t, first, at(50*time.Second), "*/20 * * * * *"))
				w.until(95 * time.Second) // it ran 1m and 1m30s by the first rule
				if how == "crashes" {
					w.start("n1", a.crash())
				} else {
					w.mem.Heal(a.client)
				}
				w.until(2*time.Minute + 5*time.Second)
				want := []string{"30s success", "1m0s success", "1m20s missed", "1m30s success", "1m40s success", "2m0s success"}
				if got := outcomes(w.records()); !slices.Equal(got, want) {
					t.Fatalf("%q", got)
				}
				for _, r := range w.records() {
					if r.Outcome == job.Missed && r.Reason != unheardReason {
						t.Errorf("%+v", r)
					}
				}
			})
		})
	}
}

// An edit that is heard of in time leaves nothing to tell, also in the next life.
func TestAnEditThatIsHeardAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		first := newJob(t, "a", "*/30 * * * * *")
		w.put(first)
		w.until(35 * time.Second)
		w.put(edited(t, first, at(35*time.Second), "*/20 * * * * *"))
		w.until(65 * time.Second)
		w.start("n1", a.crash())
		w.until(85 * time.Second)
		w.wantOutcomes("30s success", "40s success", "1m0s success", "1m20s success")
	})
}

// The cursor of a claimed job says nothing of a common one's instants: not even where the clock was ahead.
func TestAClaimedJobBecomesCommon(t *testing.T) {
	inWorld(t, func(w *world) {
		var ahead atomic.Int64
		ahead.Store(int64(5*time.Minute + 30*time.Second))
		w.start("n1", "", func(o *Options) { o.Now = offBy(&ahead) })
		first := newJob(t, "a", "* * * * *", kind(job.KindInterval))
		w.put(first)
		w.until(80 * time.Second) // its clock has passed 6m
		ahead.Store(0)
		w.put(edited(t, first, at(80*time.Second), "* * * * *"))
		w.until(100 * time.Second)
		want := []string{"2m0s missed", "3m0s missed", "4m0s missed", "5m0s missed", "6m0s success", "6m0s missed"}
		if got := outcomes(w.records()); !slices.Equal(got, want) {
			t.Fatalf("%q", got)
		}
	})
}

// What a claimed job was about to claim when it became a common one is owed as the common one's, also where the spool knows nothing of the job yet.
func TestAClaimedJobBecomesCommonAsItClaims(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		first := newJob(t, "a", "* * * * *", kind(job.KindInterval))
		w.put(first)
		w.until(59 * time.Second)
		w.mem.OnCall(func(_ context.Context, c store.Call) error {
			if c.Client == a.client && c.Op == "txn" && !c.After {
				return store.ErrCut
			}
			return nil
		})
		w.until(61 * time.Second) // it has come to 1m, and can't claim it
		w.put(edited(t, first, at(50*time.Second), "* * * * *"))
		w.until(65 * time.Second)
		w.mem.OnCall(nil)
		w.until(2*time.Minute + 5*time.Second)
		own := string(job.FiringID(first.Ref(), "n1", at(time.Minute)))
		if n := len(slices.DeleteFunc(w.records(), func(r *job.ExecutionRecord) bool { return r.ID != own && r.ID != own+"-missed" })); n != 1 {
			t.Errorf("%d records of the common job's first instant: %q", n, outcomes(w.records()))
		}
	})
}

// offBy is a wall clock that is off, and never shows the same twice.
func offBy(d *atomic.Int64) func() time.Time {
	var looks atomic.Int64
	return func() time.Time {
		return time.Now().Round(0).Add(time.Duration(d.Load()) + time.Duration(looks.Add(1)))
	}
}
