package node

import (
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

// firing is an instant that is to run.
type firing struct {
	instant time.Time
	trigger job.Trigger // timer or catchup
}

// span is a row of instants that did not run, told in one record.
type span struct {
	first, last time.Time
	count       int
	outcome     job.Outcome // missed or skipped
	reason      string
}

// decision says what becomes of a job's instants that are due.
type decision struct {
	run    []firing
	told   []span
	cursor time.Time // everything up to it is dealt with
}

// decide applies the job's policy to the instants after the cursor whose time has come.
//
// An instant that is noticed on time runs. Late ones, from a time when the agent was away or the clock
// jumped over them, follow the catch-up policy; those older than the deadline never run. What does not run is told in
// spans, for a common job: that of a claimed one is the business of all its nodes, and the master's audit tells it.
func decide(j *job.Job, cursor, now time.Time) decision {
	instants, _ := job.Instants(j.Rules, j.Prior, j.Since, cursor, now, maxInstants)
	d := decision{cursor: cursor}
	var late []time.Time
	for _, i := range instants {
		at := fireTime(j, i)
		if at.After(now) {
			break
		}
		d.cursor = i
		switch {
		case j.PausedFor(i):
			d.tell(i, job.Skipped, "the task was paused")
		case now.Sub(at) <= onTime:
			d.run = append(d.run, firing{i, job.TriggerTimer})
		default:
			late = append(late, i)
		}
	}
	d.catchUp(j, late, now)
	if j.Kind.Claimed() {
		d.told = nil
	}
	return d
}

// catchUp decides on the late instants, which come before those on time.
func (d *decision) catchUp(j *job.Job, late []time.Time, now time.Time) {
	var runs []firing
	for n, i := range late {
		behind := len(late) - 1 - n // how many late ones are newer
		switch {
		case j.Deadline > 0 && now.Sub(fireTime(j, i)) > time.Duration(j.Deadline)*time.Second:
			d.tell(i, job.Missed, "it was past its deadline when the node came to it")
		case j.Catchup == job.CatchupAll && behind < maxCatchup, j.Catchup == job.CatchupOne && behind == 0:
			runs = append(runs, firing{i, job.TriggerCatchup})
		default:
			d.tell(i, job.Missed, "the node was away, or its clock jumped over it")
		}
	}
	d.run = append(runs, d.run...)
}

// tell adds an instant to the last span, or begins another where the words change.
func (d *decision) tell(i time.Time, outcome job.Outcome, reason string) {
	if n := len(d.told); n > 0 {
		s := &d.told[n-1]
		if s.outcome == outcome && s.reason == reason {
			s.last, s.count = i, s.count+1
			return
		}
	}
	d.told = append(d.told, span{first: i, last: i, count: 1, outcome: outcome, reason: reason})
}

// record is the record of a span.
func (s span) record(j *job.Job, now time.Time) job.ExecutionRecord {
	rec := job.CreateExecutionRecord(j, j.Firing(s.first), now, now, s.outcome, s.reason)
	rec.Instant, rec.Trigger = s.first, job.TriggerTimer
	if s.count > 1 {
		rec.Count, rec.Until = s.count, s.last
	}
	return rec
}
