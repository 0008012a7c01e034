package node

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/seed"
)

var _ = seed.Fix()

// fate is what the policy's plain reading makes of one instant.
type fate struct {
	instant time.Time
	trigger job.Trigger
	outcome job.Outcome
}

// plainly applies the policy to all instants at once, one after the other.
func plainly(j *job.Job, cursor, now time.Time) (fates []fate) {
	all, _ := j.Instants(cursor, now, 1<<30)
	for n, i := range all {
		if fireTime(j, i).After(now) {
			all = all[:n]
			break
		}
	}
	late := func(i time.Time) bool { return !j.PausedFor(i) && now.Sub(fireTime(j, i)) > onTime }
	newer := 0
	for _, i := range all {
		if late(i) {
			newer++
		}
	}
	for _, i := range all {
		if late(i) {
			newer--
		}
		f := fate{instant: i}
		limit := map[job.Catchup]int{job.CatchupNone: 0, job.CatchupOne: 1, job.CatchupAll: maxCatchup}[j.Catchup]
		switch {
		case j.PausedFor(i):
			f.outcome = job.Skipped
		case j.Deadline > 0 && now.Sub(fireTime(j, i)) > time.Duration(j.Deadline)*time.Second:
			f.outcome = job.Missed
		case !late(i):
			f.trigger = job.TriggerTimer
		case newer < limit:
			f.trigger = job.TriggerCatchup
		default:
			f.outcome = job.Missed
		}
		fates = append(fates, f)
	}
	return fates
}

// Every instant of (cursor, now] ends in exactly one of run and told, in order, as the plain reading has it, however many
// steps it takes.
func TestDecideAgainstPlainReading(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		second := func(label string, most int) time.Time {
			return epoch.Add(time.Duration(rapid.IntRange(0, most).Draw(rt, label)) * time.Second)
		}
		span := rapid.SampledFrom([]int{5, 100, 4000, 40_000}).Draw(rt, "span")
		timer := rapid.SampledFrom([]string{"* * * * * *", "*/3 * * * * *", "* * * * *", "@every 7s", "0 * * * *"})
		j := newJob(t, "a", timer.Draw(rt, "timer"), func(j *job.Job) {
			j.Catchup = rapid.SampledFrom(job.Catchups).Draw(rt, "catchup")
			j.Deadline = int64(rapid.SampledFrom([]int{0, 0, 1, 60, 900}).Draw(rt, "deadline"))
			j.Jitter = int64(rapid.SampledFrom([]int{0, 0, 5, 45}).Draw(rt, "jitter"))
			j.Since = second("since", span)
			if rapid.Bool().Draw(rt, "was paused") {
				j.PausedAt = second("paused at", span)
				j.ResumedAt = j.PausedAt.Add(time.Duration(rapid.IntRange(0, span).Draw(rt, "for")) * time.Second)
			}
			from := j.Since.Add(-time.Minute)
			for range rapid.IntRange(0, 3).Draw(rt, "eras") {
				e := job.Era{Since: from, Until: from.Add(time.Duration(rapid.IntRange(1, span).Draw(rt, "era")) * time.Second)}
				if rapid.Bool().Draw(rt, "has a timer") {
					e.Rule = &job.Rule{Mode: job.Cycle, Timer: timer.Draw(rt, "its timer"), Seed: "a"}
				}
				j.Past, from = append(j.Past, e), e.Until
			}
		})
		cursor := second("cursor", span)
		now := cursor.Add(time.Duration(rapid.IntRange(0, span*1000).Draw(rt, "now")) * time.Millisecond)

		want := plainly(j, cursor, now)
		var got []fate
		for {
			d := decide(j, cursor, now)
			if !d.cursor.After(cursor) {
				if next := nextInstant(j, cursor); !next.IsZero() && !fireTime(j, next).After(now) {
					rt.Fatalf("%s is due, and nothing is decided", next)
				}
				break
			}
			instants, _ := j.Instants(cursor, d.cursor, 1<<30)
			if len(instants) > maxInstants || len(instants) != d.instants {
				rt.Fatalf("%d instants at once, %d told", len(instants), d.instants)
			}
			for _, v := range d.verdicts {
				if v.count > len(instants) || !instants[0].Equal(v.first) || !instants[v.count-1].Equal(v.last) || v.trigger != "" && v.count != 1 {
					rt.Fatalf("verdict %+v does not stand for %v", v, instants[:min(3, len(instants))])
				}
				for _, i := range instants[:v.count] {
					got = append(got, fate{i, v.trigger, v.outcome})
				}
				instants = instants[v.count:]
			}
			if len(instants) > 0 {
				rt.Fatalf("nothing is said of %v", instants[0])
			}
			cursor = d.cursor
		}
		if len(got) != len(want) {
			rt.Fatalf("%d instants decided, %d due", len(got), len(want))
		}
		for n := range want {
			if got[n] != want[n] {
				rt.Fatalf("instant %d: got %+v, want %+v", n, got[n], want[n])
			}
		}
	})
}

func TestDecide(t *testing.T) {
	minutes := func(c job.Catchup, change ...func(*job.Job)) *job.Job {
		return newJob(t, "a", "* * * * *", append(change, catchup(c))...)
	}
	deadline := func(s int64) func(*job.Job) { return func(j *job.Job) { j.Deadline = s } }
	for _, c := range []struct {
		name string
		job  *job.Job
		now  time.Duration
		want string
	}{
		{"nothing due", minutes(job.CatchupNone), 59 * time.Second, ""},
		{"on time", minutes(job.CatchupNone), time.Minute, "run 1 timer; "},
		{"a little late", minutes(job.CatchupNone), 62 * time.Second, "run 1 timer; "},
		{"late", minutes(job.CatchupNone), 63 * time.Second, "missed 1-1 (1); "},
		{"none", minutes(job.CatchupNone), 5 * time.Minute, "missed 1-4 (4); run 5 timer; "},
		{"one", minutes(job.CatchupOne), 5*time.Minute + 30*time.Second, "missed 1-4 (4); run 5 catchup; "},
		{"one and the one that is due", minutes(job.CatchupOne), 5 * time.Minute, "missed 1-3 (3); run 4 catchup; run 5 timer; "},
		{"all", minutes(job.CatchupAll), 3*time.Minute + 30*time.Second, "run 1 catchup; run 2 catchup; run 3 catchup; "},
		{"all within the deadline", minutes(job.CatchupAll, deadline(90)), 4*time.Minute + 20*time.Second, "missed 1-2 (2); run 3 catchup; run 4 catchup; "},
		{"the deadline is shorter than what counts as on time", minutes(job.CatchupNone, deadline(1)), 61500 * time.Millisecond, "missed 1-1 (1); "},
		{"paused meanwhile", minutes(job.CatchupNone, func(j *job.Job) { j.PausedAt, j.ResumedAt = at(2*time.Minute), at(4*time.Minute) }),
			5*time.Minute + 30*time.Second, "missed 1-1 (1); skipped 2-3 (2); missed 4-5 (2); "},
		{"claimed ones are not told", minutes(job.CatchupNone, kind(job.KindInterval)), 5 * time.Minute, "run 5 timer; "},
		{"the rule was another one before", minutes(job.CatchupAll, func(j *job.Job) {
			j.Since = epoch
			j.Past = []job.Era{{Since: epoch, Until: at(3 * time.Minute), Rule: &job.Rule{Mode: job.Cycle, Timer: "@every 2m"}}}
		}), 4*time.Minute + 30*time.Second, "run 2 catchup; run 4 catchup; "},
		{"it was common before, and is claimed now", minutes(job.CatchupNone, kind(job.KindInterval), era("common", 3*time.Minute)),
			5 * time.Minute, "missed 1-3 (3); run 5 timer; "},
		{"it was claimed before, and is common now", minutes(job.CatchupNone, era("interval", 3*time.Minute)),
			5 * time.Minute, "missed 4-4 (1); run 5 timer; "},
		{"what was claimed is not between what is told", minutes(job.CatchupNone, era("common", 2*time.Minute), era("alone", 4*time.Minute)),
			6*time.Minute + 30*time.Second, "missed 1-2 (2); missed 5-6 (2); "},
		{"a node that joined late", minutes(job.CatchupAll, func(j *job.Job) { j.Since = at(3*time.Minute + time.Second) }), 4 * time.Minute, "run 4 timer; "},
		{"not for a node that has no rule", newJob(t, "a", ""), time.Hour, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			for _, v := range decide(c.job, epoch, at(c.now)).verdicts {
				minute := func(i time.Time) int { return int(i.Sub(epoch) / time.Minute) }
				if v.trigger != "" {
					got += fmt.Sprintf("run %d %s; ", minute(v.first), v.trigger)
				} else {
					got += fmt.Sprintf("%s %d-%d (%d); ", v.outcome, minute(v.first), minute(v.last), v.count)
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// The catch-up policy is applied to all that was missed, not to each step of 10,000 instants.
func TestCatchupCountsOverAllSteps(t *testing.T) {
	for want, c := range map[int]job.Catchup{0: job.CatchupNone, 1: job.CatchupOne, maxCatchup: job.CatchupAll} {
		j := newJob(t, "a", "* * * * * *", catchup(c), func(j *job.Job) {
			j.PausedAt, j.ResumedAt = at(15_000*time.Second), at(20_000*time.Second)
		})
		now := at(25_000*time.Second + 500*time.Millisecond)
		runs, told, onTime := 0, 0, 0
		for cursor := epoch; ; {
			d := decide(j, cursor, now)
			if d.instants == 0 {
				break
			}
			cursor = d.cursor
			for _, v := range d.verdicts {
				switch v.trigger {
				case job.TriggerCatchup:
					runs++
				case job.TriggerTimer:
					onTime++
				default:
					told += v.count
				}
			}
		}
		if runs != want || onTime != 2 || runs+told+onTime != 25_000 {
			t.Errorf("%s: %d caught up, %d on time, %d told", c, runs, onTime, told)
		}
	}
}

// A year of minutes, with restarts and clock steps drawn at random: each minute ends in exactly one outcome.
func TestYearOfMinutes(t *testing.T) {
	const year = 366 * 24 * time.Hour
	for _, c := range job.Catchups {
		t.Run(string(c), func(t *testing.T) {
			t.Parallel()
			restarts, steps := liveThrough(t, 1, c, year)
			if restarts < 200 || steps < 200 {
				t.Errorf("a calm year: %d restarts, %d steps", restarts, steps)
			}
			for seed := range uint64(10) {
				liveThrough(t, 2+seed, c, year/50)
			}
		})
	}
}

// era is a time of the job's own rule and another kind, from the end of the last one.
func era(k job.KindName, until time.Duration) func(*job.Job) {
	return func(j *job.Job) {
		e := job.Era{Rule: j.Rules, Kind: k, Since: j.RuleSince(), Until: at(until)}
		j.Past = append(j.Past, e)
	}
}
