package node

import (
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// An edit may reach a node late: cut off from etcd it goes on by the rule that it knows, and its cursor passes instants that another rule
// has made due by then. Nor does the cursor of a claimed job say anything of instants that a common one owes. What the node has passed
// like this it tells as missed, since nobody else will. By which rule it came to its cursor it keeps in the spool, as the time since
// which that rule was in force, beside the cursor.

const unheardReason = "the node had passed it when it heard of the edit that made it due"

// ruleKey is where the spool keeps, among its cursors, since when the rule was in force that a job's cursor is by. There is none for the
// first rule that the node had of it.
func ruleKey(hash string) string { return hash + "/rule" }

// hear takes note of a job's rule, and tells of the instants that it had made due up to the cursor before the node heard of it.
func (c *core) hear(j *job.Job, cursor time.Time) {
	known, since := c.a.spool.cursor(ruleKey(j.Hash)), j.RuleSince()
	if len(j.Past) == 0 && known.IsZero() || !since.After(known) {
		return
	}
	if e := c.clock.entries[j.Hash]; !cursor.IsZero() || e != nil { // what is claimed moves the clock before it moves the spool's cursor
		c.tellPassed(j, latest(known, j.Since), cursor)
	}
	if err := c.a.spool.advance(map[string]time.Time{ruleKey(j.Hash): since}); err != nil {
		c.a.Logger.Error("the spool's disk refuses the rule of a job", "job", j.Hash, "error", err)
	}
}

// tellPassed tells of the instants that are not by the rule known, which was in force from a time on, up to where the clock came by it.
func (c *core) tellPassed(j *job.Job, known, cursor time.Time) {
	i := slices.IndexFunc(j.Past, func(e job.Era) bool { return !known.Before(e.Since) && known.Before(e.Until) })
	if i < 0 {
		return
	}
	by, came := &j.Past[i], cursor
	if by.Rule == nil && !by.Kind.Kind().Claimed() {
		return // nobody knows what it was
	}
	if e := c.clock.entries[j.Hash]; e != nil {
		came = latest(came, e.cursor)
	}
	for from, more := by.Until, true; more; {
		var list []time.Time
		list, more = j.Instants(from, came, maxInstants)
		for _, i := range list {
			from = i
			own := j.At(i)
			if own.Kind.Claimed() || c.runs[own.Firing(i)] != nil {
				continue
			}
			if !by.Kind.Kind().Claimed() && by.Rule.Next(i.Add(-time.Second)).Equal(i) {
				continue // dealt with by that rule
			}
			// One by one, whatever they have in common: between them there are others that ran.
			v := verdict{first: i, last: i, count: 1, outcome: job.Missed, reason: unheardReason, era: i}
			if j.PausedFor(i) {
				v.outcome, v.reason = job.Skipped, pausedReason
			}
			if i.After(cursor) {
				c.tellInTurn(own, v)
			} else {
				c.tellTurn(turn{told: &v, job: own})
			}
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
