package job

import (
	"slices"
	"time"
)

// Era is a time that has ended, in which one rule and one kind were in force. What was due in it and was not dealt with is dealt
// with as it was then, whatever the task has become since.
type Era struct {
	Rule  *Rule     `json:"rule,omitempty"` // with its calendars as they were; nil: nothing was due, or nothing is owed any more
	Kind  KindName  `json:"kind,omitempty"` // empty: common
	Since time.Time `json:"since"`          // the beginning, exclusive
	Until time.Time `json:"until"`          // the end, inclusive
}

// Bounds of what is kept of the past. What is beyond them can't be accounted for any more.
const (
	maxEras     = 16
	maxEraBytes = 128 << 10           // of timers and ranges, as text
	keepEra     = 30 * 24 * time.Hour // of a common task, whose nodes may come back after long; and of calendars
	tick        = time.Millisecond    // by which two edits of one moment are told apart
)

// Owes tells whether instants of the era are the task's, each of which one node claims.
func (e *Era) Owes() bool { return e.Rule != nil && e.Kind.Kind().Claimed() }

func (e *Era) bytes() int {
	if e.Rule == nil {
		return 0
	}
	n := len(e.Rule.Timer) + textBytes(e.Rule.Exclude)
	for _, ranges := range e.Rule.Calendars {
		n += textBytes(ranges)
	}
	return n
}

// Edited is the entry in the place of this one that says what t says. resolved is this one with the eras that its calendars have
// brought about, and rule its present rule with what they say, so that what they say later is nothing to what was due before.
// settled is the instant up to which what was claimed is accounted for, zero where that is not known: what is to be claimed from now on begins
// behind it, whatever the clock says of the time, for up to there nobody can claim or tell anything any more.
func (e *TaskEntry) Edited(t Task, resolved *TaskEntry, rule *Rule, settled, now time.Time) *TaskEntry {
	n := *e
	n.Task, n.UpdatedAt, n.Generation = t, now, e.Generation+1
	was := e.Task.Rule()
	if was.Same(t.Rule()) && e.Task.Kind.Kind() == t.Kind.Kind() {
		return &n
	}
	n.Since = now
	if !now.After(resolved.Since) {
		n.Since = resolved.Since.Add(tick) // whatever clocks say
	}
	if t.Kind.Kind().Claimed() {
		n.Since = latest(n.Since, settled)
	}
	last := Era{Kind: e.Task.Kind, Since: resolved.Since, Until: n.Since}
	if was.Mode == Cycle {
		last.Rule = rule.clone()
	}
	n.Past = pruneEras(append(slices.Clip(resolved.Past), last), settled, now)
	return &n
}

// pruneEras forgets what owes nothing any more, and what is beyond the bounds. The last era stays, if only to say when the
// present rule began.
func pruneEras(past []Era, settled, now time.Time) []Era {
	kept, size := []Era{}, 0
	for i := len(past) - 1; i >= 0; i-- {
		e := past[i]
		old := now.Sub(e.Until) > keepEra
		if claimed := e.Kind.Kind().Claimed(); claimed && !settled.Before(e.Until) || !claimed && old {
			e.Rule = nil
		}
		if size += e.bytes(); size > maxEraBytes || len(kept) == maxEras {
			e.Rule = nil
		}
		if e.Rule != nil || len(kept) == 0 {
			kept = append(kept, e)
		}
	}
	slices.Reverse(kept)
	return kept
}

// EraOf is the era of an instant, or nil where it is the present rule's, or nobody's.
func (e *TaskEntry) EraOf(instant time.Time) *Era { return eraOf(e.Past, instant) }

func eraOf(past []Era, instant time.Time) *Era {
	for i := range past {
		if e := &past[i]; instant.After(e.Since) && !instant.After(e.Until) {
			return e
		}
	}
	return nil
}

// ClaimedSince is when the latest time began in which every instant was claimed, up to the present: the present rule's
// beginning, or that of an era from which on the kind was a claimed one.
func (e *TaskEntry) ClaimedSince() time.Time {
	since := e.Since
	for i := len(e.Past) - 1; i >= 0; i-- {
		p := &e.Past[i]
		if !p.Owes() || !p.Until.Equal(since) {
			break
		}
		since = p.Since
	}
	return since
}

// NextDue is the first instant after t that is due after since: by the rules of the past in their times, then by the present one.
// Zero: there is none. The rules must be valid.
func NextDue(rule *Rule, past []Era, since, t time.Time) time.Time {
	t = latest(t, since)
	for i := range past {
		e := &past[i]
		if !t.Before(e.Until) {
			continue
		}
		if next := e.Rule.Next(latest(t, e.Since)); !next.IsZero() && !next.After(e.Until) {
			return next
		}
		t = e.Until
	}
	return rule.Next(t)
}

// Instants are those of [NextDue] in (from, to], in order, at most limit of them. More tells that there are others.
func Instants(rule *Rule, past []Era, since, from, to time.Time, limit int) (list []time.Time, more bool) {
	for i := NextDue(rule, past, since, from); !i.IsZero() && !i.After(to); i = NextDue(rule, past, since, i) {
		if len(list) == limit {
			return list, true
		}
		list = append(list, i)
	}
	return list, false
}

// RuleSince is since when the present rule counts on the job's node.
func (j *Job) RuleSince() time.Time {
	if n := len(j.Past); n > 0 {
		return latest(j.Since, j.Past[n-1].Until)
	}
	return j.Since
}

// NextInstant is the first instant of the job after t, pause or not. Zero: there is none.
func (j *Job) NextInstant(t time.Time) time.Time { return NextDue(j.Rules, j.Past, j.Since, t) }

// Instants are those of the job in (from, to], as the function of that name has it.
func (j *Job) Instants(from, to time.Time, limit int) (list []time.Time, more bool) {
	return Instants(j.Rules, j.Past, j.Since, from, to, limit)
}

// At is the job as it has to deal with an instant: one that was due when the kind was another one, claimed and not or the other
// way round, is dealt with by that kind.
func (j *Job) At(instant time.Time) *Job {
	e := eraOf(j.Past, instant)
	if e == nil || e.Kind.Kind().Claimed() == j.Kind.Claimed() {
		return j
	}
	c := *j
	c.Kind, c.Candidates = e.Kind.Kind(), nil
	return &c
}

// EraEnd is the end of the era of an instant, zero where it is the present rule's.
func (j *Job) EraEnd(instant time.Time) time.Time {
	if e := eraOf(j.Past, instant); e != nil {
		return e.Until
	}
	return time.Time{}
}

// Behind is the job without the eras that ended by a time: up to it everything is dealt with.
func (j *Job) Behind(t time.Time) *Job {
	n := 0
	for n < len(j.Past) && !j.Past[n].Until.After(t) {
		n++
	}
	if n == 0 {
		return j
	}
	c := *j
	c.Since, c.Past = latest(j.Since, j.Past[n-1].Until), j.Past[n:]
	return &c
}

func cloneEras(past []Era) []Era {
	list := slices.Clone(past)
	for i := range list {
		list[i].Rule = list[i].Rule.clone()
	}
	return list
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
