package master_test

import (
	"slices"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// asking asks a master what became of instants, and notes the codes that it answered with.
type asking struct {
	*life
	seen map[client.WhyCode]bool
}

// is asks of a task's instant until the answer of a node, or of the task, is of a code.
func (a *asking) is(name string, at time.Time, node job.NodeID, state string, want client.WhyCode) {
	a.w.t.Helper()
	var got any
	ok := func() bool {
		why, err := a.Why(a.w.ctx, job.Ref("", name), at)
		if err != nil {
			got = err
			return false
		}
		got = why.Answers
		return slices.ContainsFunc(why.Answers, func(w client.WhyAnswer) bool {
			return w.Node == node && w.State == state && w.Code == want && (w.Reason != "" || want == client.WhyRan)
		})
	}
	// The view is a moment behind; half a second of virtual time is none of the spans that matter here.
	for deadline := time.Now().Add(500 * time.Millisecond); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.w.t.Fatalf("of %s at %s on %q is told %+v, want %s, %s", name, at, node, got, state, want)
		}
	}
	a.seen[want] = true
}

// Each way in which an instant may stand has a code of its own, which programs can read.
func TestWhyCodes(t *testing.T) {
	inWorld(t, func(w *world) {
		a := &asking{life: w.leader("m1"), seen: map[client.WhyCode]bool{}}
		n1, n3 := w.node("n1"), w.node("n3", "claims")
		claims := func(t *job.Task) { t.Kind, t.Labels = "interval", map[string]string{"claims": "yes"} }
		nobody := func(t *job.Task) { t.Labels = map[string]string{"gpu": "yes"} }
		late := func(t *job.Task) { t.Jitter = job.Duration(50 * time.Minute) }
		notClaims := func(t *job.Task) { t.Where = "!claims" }
		a.apply(
			task("all", "0 * * * *", notClaims), task("queues", "0 * * * *", notClaims, func(t *job.Task) { t.Overlap = job.OverlapQueue }),
			task("late", "0 * * * *", notClaims, late), task("nowhere", "0 * * * *", nobody),
			task("one", "0 * * * *", claims), task("one-late", "0 * * * *", claims, late), task("one-nowhere", "0 * * * *", claims, nobody),
		)
		hour := func() time.Time { // sleeps until the next full hour
			at := time.Now().Truncate(time.Hour).Add(time.Hour)
			time.Sleep(time.Until(at))
			return at
		}

		first := hour()
		a.is("all", first, "n1", client.WhyWaiting, client.WhyDueNow)
		a.is("late", first, "n1", client.WhyWaiting, client.WhyJitter)
		a.is("one-late", first, "", client.WhyWaiting, client.WhyJitter)
		a.is("nowhere", first, "", client.WhyUnbound, client.WhyNoNode)
		a.is("one-nowhere", first, "", client.WhyUnbound, client.WhyNoNode)
		a.is("one", first, "", client.WhyWaiting, client.WhyNotClaimed)
		w.until("it is claimed", func() bool {
			_, err := n3.ss.Claim(w.ctx, job.Claim{Task: job.Ref("", "one"), Instant: first, Job: job.JobHash(job.Ref("", "one"), "n3"), At: time.Now()})
			return err == nil
		})
		a.is("one", first, "n3", client.WhyClaimed, client.WhyClaimHeld)
		n3.leave()
		a.is("one", first, "n3", client.WhyClaimed, client.WhyClaimantAway)
		time.Sleep(20 * time.Second)
		a.is("all", first, "n1", client.WhyNotKnown, client.WhyNotTold)
		a.is("queues", first, "n1", client.WhyWaiting, client.WhyQueuedOrInTransit)
		alive := &job.Process{
			ID: "1", JobID: job.JobHash(job.Ref("", "all"), "n1"), Group: "default", Name: "all", NodeID: "n1", Run: job.FiringID(job.Ref("", "all"), "n1", first),
			Time: time.Now(), Instant: first, Trigger: job.TriggerTimer,
		}
		n1.ss.SetProcess(alive)
		a.is("all", first, "n1", client.WhyRunning, client.WhyRunAlive)
		n1.ss.UnsetProcess(alive)
		a.is("all", first, "n1", client.WhyNotKnown, client.WhyNotTold)
		w.until("the claim of a dead node is told as lost", func() bool {
			why, err := a.Why(w.ctx, job.Ref("", "one"), first)
			return err == nil && why.Answers[0].State == string(job.Lost)
		})
		a.is("one", first, "n3", string(job.Lost), client.WhyCode(job.ReasonNodeLost))

		n2 := w.node("n2")
		a.is("all", first, "n2", client.WhyNotDue, client.WhyBoundLater)
		second := hour()
		a.is("one", second, "", client.WhyWaiting, client.WhyAllAway)
		n2.leave()
		a.is("all", second, "n2", client.WhyWaiting, client.WhyNodeOffline)
		a.hist.set(func(op string, _ bool) error {
			if op == "insert" {
				return away(op, false)
			}
			return nil
		})
		n1.handOver(firing(job.Ref("", "all"), "n1", second))
		a.is("all", second, "n1", client.WhyEnded, client.WhyRecordInTransit)
		missed := firing(job.Ref("", "late"), "n1", second)
		missed.Outcome, missed.Success, missed.ExitCode = job.Missed, false, nil
		n1.handOver(missed)
		a.is("late", second, "n1", client.WhyEnded, client.WhyRecordInTransit)
		a.hist.set(nil)
		w.until("history has it", func() bool {
			_, err := w.db.Record(w.ctx, string(job.FiringID(job.Ref("", "all"), "n1", second)))
			return err == nil
		})
		a.is("all", second, "n1", string(job.Success), client.WhyRan)

		// What is settled stays so when its record is removed; the latest one of a task never is.
		w.until("it is told as missed", func() bool {
			why, err := a.Why(w.ctx, job.Ref("", "one"), second)
			return err == nil && why.Answers[0].State == string(job.Missed)
		})
		if _, err := w.db.Prune(w.ctx, job.Retention{MaxAge: time.Second}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		a.is("one", first, "", client.WhyNotKnown, client.WhyRecordRemoved)

		w.node("n4", "claims")
		for _, name := range []string{"all", "one"} {
			if _, err := a.Pause(w.ctx, job.Ref("", name), "alice"); err != nil {
				t.Fatal(err)
			}
		}
		third := hour()
		a.is("all", third, "n1", client.WhyPaused, client.WhyTaskPaused)
		a.is("one", third, "", client.WhyPaused, client.WhyTaskPaused)
		time.Sleep(time.Minute)
		if _, err := a.Resume(w.ctx, job.Ref("", "all"), "alice"); err != nil {
			t.Fatal(err)
		}
		a.is("all", third, "n1", client.WhyPaused, client.WhySkipPending)

		for _, c := range client.WhyCodes() {
			if !a.seen[c] && !slices.Contains(job.ReasonCodes, job.ReasonCode(c)) {
				t.Errorf("nothing is told with the code %q", c)
			}
		}
	})
}

// What a record tells is told with the code of the record's own reason.
func TestWhyCodesOfRecords(t *testing.T) {
	inWorld(t, func(w *world) {
		a := &asking{life: w.leader("m1"), seen: map[client.WhyCode]bool{}}
		n := w.node("n1")
		a.apply(task("a", "* * * * *"))
		at := time.Now().Truncate(time.Minute)
		var recs []job.ExecutionRecord
		told := map[client.WhyCode]job.ExecutionRecord{}
		for _, c := range []struct {
			outcome job.Outcome
			reason  string
			code    job.ReasonCode
		}{
			{job.Failed, "exit code 1", ""},
			{job.Missed, "the node was away, or its clock jumped over it", job.ReasonAway},
			{job.Missed, "no node of the task was online", job.ReasonDown},
			{job.Missed, "no node is bound to the task", job.ReasonUnbound},
			{job.Missed, "no node claimed it in time", job.ReasonUnclaimed},
			{job.Missed, "the coordinator did not answer in time whether it was this node's to run", job.ReasonCoordinator},
			{job.Missed, "it was past its deadline when the node came to it", job.ReasonLate},
			{job.Missed, "the agent stopped before its turn came", job.ReasonStopped},
			{job.Skipped, "the task was paused", job.ReasonPaused},
			{job.Skipped, "waits for default/mount on this node", job.ReasonWaits},
			{job.Skipped, "run r1 was still alive", job.ReasonOverlap},
			{job.Skipped, "the task was deleted, or moved, before its turn came", job.ReasonDeleted},
			{job.Skipped, "the node is being drained", job.ReasonDraining},
			{job.Skipped, "its backfill was cancelled before it started", job.ReasonCancelled},
			{job.Lost, "node n1 went away while it ran", job.ReasonNodeLost},
			{job.Lost, "the agent ended before it could tell how the run went", job.ReasonAgentLost},
			{job.Missed, "a reason of a later version", job.ReasonOther},
		} {
			at = at.Add(time.Minute)
			r := outcome("a", "n1", c.outcome, at)
			r.Reason = c.reason
			recs = append(recs, r)
			want := client.WhyCode(c.code)
			if c.code == "" {
				want = client.WhyRan
			}
			told[want] = r
		}
		time.Sleep(time.Until(at.Add(time.Second)))
		n.handOver(recs...)
		w.recorded(len(recs))
		for _, want := range append([]client.WhyCode{client.WhyRan}, codesOf(job.ReasonCodes)...) {
			r, ok := told[want]
			if !ok {
				t.Errorf("no record of the code %q is asked for", want)
				continue
			}
			a.is("a", r.Instant, "n1", string(r.Outcome), want)
		}
	})
}

func codesOf(list []job.ReasonCode) (codes []client.WhyCode) {
	for _, c := range list {
		codes = append(codes, client.WhyCode(c))
	}
	return codes
}
