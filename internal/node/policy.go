package node

import (
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// Bounds of the policy.
const (
	// onTime is how late an instant may be noticed and still count as on time.
	onTime = 2 * time.Second
	// maxInstants is how many instants are looked at in one step; the clock comes back for the rest.
	maxInstants = 10_000
	// maxCatchup is how many instants a job with catchup all makes up for; older ones are missed.
	maxCatchup = 1000
)

// verdict is what becomes of an instant, or of several in a row that end alike without a run: they are told in one record.
type verdict struct {
	first, last time.Time
	count       int
	trigger     job.Trigger // timer or catchup: it runs; empty: it does not
	outcome     job.Outcome // missed or skipped, where it does not run
	reason      string
	era         time.Time // the end of the era of its instants; zero: they are the present rule's
}

// decision says what becomes of a job's instants that are due.
type decision struct {
	verdicts []verdict // in the order of the instants
	instants int       // how many there were
	cursor   time.Time // everything up to it is dealt with
}

// decide applies the job's policy to the instants after the cursor whose time has come.
//
// An instant that is noticed on time runs. Late ones, from a time when the agent was away or the clock
// jumped over them, follow the catch-up policy; those older than the deadline never run. What does not run is told,
// for a common job: that of a claimed one is the business of all its nodes, and the master's audit tells it.
func decide(j *job.Job, cursor, now time.Time) decision {
	due, more := j.Instants(cursor, now, maxInstants)
	if n := slices.IndexFunc(due, func(i time.Time) bool { return fireTime(j, i).After(now) }); n >= 0 {
		due, more = due[:n], false
	}
	d := decision{cursor: cursor}
	if len(due) == 0 {
		return d
	}
	d.instants, d.cursor = len(due), due[len(due)-1]
	newer := 0 // late ones behind the one that is looked at
	for _, i := range due {
		if isLate(j, i, now) {
			newer++
		}
	}
	if more {
		newer += lateAfter(j, d.cursor, now)
	}
	for _, i := range due {
		late := isLate(j, i, now)
		if late {
			newer--
		}
		switch {
		case j.PausedFor(i):
			d.tell(j, i, job.Skipped, pausedReason)
		case len(j.Waits) > 0:
			d.tell(j, i, job.Skipped, "waits for "+strings.Join(j.Waits, " and "))
		case j.Deadline > 0 && now.Sub(fireTime(j, i)) > time.Duration(j.Deadline)*time.Second:
			d.tell(j, i, job.Missed, "it was past its deadline when the node came to it")
		case !late:
			d.run(i, job.TriggerTimer)
		case j.Catchup == job.CatchupAll && newer < maxCatchup, j.Catchup == job.CatchupOne && newer == 0:
			d.run(i, job.TriggerCatchup)
		default:
			d.tell(j, i, job.Missed, "the node was away, or its clock jumped over it")
		}
	}
	return d
}

const pausedReason = "the task was paused"

// isLate tells whether an instant that is due is the catch-up policy's business. That of a boot is not: nobody can come to
// it on time.
func isLate(j *job.Job, i, now time.Time) bool {
	boot := j.Rules.Boot && i.After(j.RuleSince()) // not one of another rule
	return !boot && now.Sub(fireTime(j, i)) > onTime && !j.PausedFor(i)
}

// lateAfter counts the late instants after one, up to as many as matter.
func lateAfter(j *job.Job, after, now time.Time) (n int) {
	const look = 100
	for more := true; more && n < maxCatchup; {
		var list []time.Time
		list, more = j.Instants(after, now, look)
		for _, i := range list {
			if fireTime(j, i).After(now) {
				return n
			}
			after = i
			if j.PausedFor(i) && j.ResumedAt.After(i) {
				after, more = j.ResumedAt.Add(-1), true // over the pause in one step
				break
			}
			if isLate(j, i, now) {
				n++
			}
		}
	}
	return n
}

func (d *decision) run(i time.Time, trigger job.Trigger) {
	d.verdicts = append(d.verdicts, verdict{first: i, last: i, count: 1, trigger: trigger})
}

// tell adds an instant to the last verdict, or begins another where the words change.
func (d *decision) tell(j *job.Job, i time.Time, outcome job.Outcome, reason string) {
	if j.At(i).Kind.Claimed() {
		return
	}
	v := verdict{first: i, last: i, count: 1, outcome: outcome, reason: reason, era: j.EraEnd(i)}
	if n := len(d.verdicts); n > 0 && d.verdicts[n-1].join(v) {
		return
	}
	d.verdicts = append(d.verdicts, v)
}

// join takes the next instant, or the next few, into a verdict, if they end alike and are of one era: between two of them there
// may be instants that are claimed.
func (v *verdict) join(next verdict) bool {
	if v.trigger != "" || next.trigger != "" || v.outcome != next.outcome || v.reason != next.reason || !v.era.Equal(next.era) {
		return false
	}
	v.last, v.count = next.last, v.count+next.count
	return true
}

// record is the record of instants that did not run.
func (v verdict) record(j *job.Job, now time.Time) job.ExecutionRecord {
	rec := job.CreateExecutionRecord(j, j.Firing(v.first), now, now, v.outcome, v.reason)
	rec.Instant, rec.Trigger = v.first, job.TriggerTimer
	if v.count > 1 {
		rec.Count, rec.Until = v.count, v.last
	}
	return rec
}
