package master

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/schedule"
	"github.com/rota-dev/rota/store"
)

// Why is the answer to what became of an instant, and why.
type Why = client.Why

// inquiry is what is looked at to say what became of an instant.
type inquiry struct {
	m        *Master
	now      time.Time
	entry    *job.TaskEntry
	rule     *job.Rule // the present one, parsed; nil: there is no timer
	placing  []job.Placement
	stranded []string // why what it needs on its nodes is not there
	outlook  engine.Outlook
	settled  []job.ExecutionRecord
	alive    []*job.Process // of the instant
	why      *Why
}

// Why tells what became of the instant of a task at a time, or of the last one before it; a zero time is now. It looks in
// history first, then at what is under way.
func (m *Master) Why(ctx context.Context, ref job.TaskRef, at time.Time) (*Why, error) {
	return surely(ctx, m, func() (*Why, error) { return m.whyOf(ctx, ref, at) })
}

func (m *Master) whyOf(ctx context.Context, ref job.TaskRef, at time.Time) (*Why, error) {
	q := &inquiry{m: m, now: m.Now().UTC()}
	var rule *job.Rule
	var err error
	m.view.with(func() {
		if e := m.view.tasks[ref]; e != nil {
			q.entry, rule, err = m.view.state.Resolved(e)
			q.placing, q.stranded = m.view.state.Explain(ref), m.view.state.Stranded(ref)
		}
	})
	if q.entry == nil {
		return nil, m.noTask(ref)
	}
	if at.IsZero() {
		at = q.now
	}
	t := &q.entry.Task
	q.why = &Why{Task: ref, Kind: t.Kind, Timezone: cmp.Or(t.Timezone, "UTC"), At: at.UTC(), Answers: []client.WhyAnswer{}, Notes: []string{}}
	if rule.Mode == job.Cycle && err == nil {
		q.rule = rule
	}
	for _, p := range q.placing {
		if !p.Bound {
			q.why.Elsewhere = append(q.why.Elsewhere, p)
		}
	}
	q.find(at)
	q.remark()
	if q.why.Instant.IsZero() {
		return q.why, nil
	}
	return q.why, q.look(ctx)
}

// find finds the instants around a time.
func (q *inquiry) find(at time.Time) {
	w := q.why
	w.Instant, w.Timer = q.before(at.Add(1))
	w.Exact = w.Instant.Equal(at.Truncate(time.Second))
	if !w.Instant.IsZero() {
		w.Previous, _ = q.before(w.Instant)
	}
	w.Next = job.NextDue(q.rule, q.entry.Past, q.entry.CreatedAt, at)
	if e := q.entry.EraOf(w.Instant); e != nil {
		w.Kind = cmp.Or(e.Kind, job.KindCommon.Name())
	}
}

// before is the last instant before a time that was due by the rule then in force, and its timer.
func (q *inquiry) before(t time.Time) (time.Time, string) {
	if q.rule != nil {
		if i := q.rule.Schedule.Prev(t); i.After(q.entry.Since) {
			return i, q.rule.Timer
		}
	}
	for _, e := range slices.Backward(q.entry.Past) {
		if e.Rule == nil || e.Rule.Schedule == nil || !t.After(e.Since) {
			continue
		}
		if until := e.Until.Add(1); t.After(until) {
			t = until
		}
		if i := e.Rule.Schedule.Prev(t); i.After(e.Since) {
			return i, e.Rule.Timer
		}
	}
	return time.Time{}, ""
}

func (q *inquiry) note(format string, args ...any) {
	q.why.Notes = append(q.why.Notes, fmt.Sprintf(format, args...))
}

// stamp writes a time in the task's zone.
func (q *inquiry) stamp(t time.Time) string {
	if loc, err := schedule.LoadLocation(q.why.Timezone); err == nil {
		t = t.In(loc)
	}
	return t.Format(time.RFC3339)
}

// remark notes what holds of the task as a whole.
func (q *inquiry) remark() {
	e, w := q.entry, q.why
	switch {
	case w.At.Before(e.CreatedAt):
		q.note("The task did not exist then; it was created at %s.", q.stamp(e.CreatedAt))
	case w.At.Before(e.Since):
		if was := e.EraOf(w.At); was == nil || was.Rule == nil {
			q.note("The task had no timer then, or another one that is not known any more; the present one counts since %s.", q.stamp(e.Since))
		} else if q.rule == nil || was.Rule.Timer != q.rule.Timer {
			q.note("The task had another timer then, %q; it was changed at %s.", was.Rule.Timer, q.stamp(was.Until))
		} else if was.Kind.Kind() != e.Task.Kind.Kind() {
			q.note("The task was of another kind then, %s; it was changed at %s.", was.Kind, q.stamp(was.Until))
		} else {
			q.note("The task's rule or its calendars were others then; they were changed at %s.", q.stamp(was.Until))
		}
	case q.rule == nil:
		q.note("The task has no timer; it runs when it is asked for.")
	case w.Instant.IsZero():
		q.note("Nothing was due yet; the timer counts since %s.", q.stamp(e.Since))
	}
	switch {
	case e.Paused:
		q.note("The task is paused since %s.", q.stamp(e.PausedAt))
	case !w.Instant.IsZero() && e.PausedFor(w.Instant):
		q.note("The task was paused from %s to %s.", q.stamp(e.PausedAt), q.stamp(e.ResumedAt))
	}
	for _, why := range q.stranded {
		q.note("%s.", strings.TrimSuffix(why, "."))
	}
}

// look finds out what became of the instant.
func (q *inquiry) look(ctx context.Context) (err error) {
	m, w, i := q.m, q.why, q.why.Instant
	if q.settled, err = m.History.Settled(ctx, w.Task, i.Add(-time.Second), i); err != nil {
		return err
	}
	if w.Backfilled, err = m.History.Backfilled(ctx, w.Task, i.Add(-time.Second), i); err != nil {
		return err
	}
	m.view.with(func() {
		q.outlook = m.view.state.Outlook(w.Task, i)
		for _, p := range m.view.processes {
			if job.Ref(p.Group, p.Name) == w.Task && p.Instant.Equal(i) && p.Trigger.Accounts() {
				q.alive = append(q.alive, p)
			}
		}
	})
	if w.Kind.Kind().Claimed() {
		q.rank()
		a, err := q.ofTask(ctx)
		w.Answers = append(w.Answers, a)
		return err
	}
	return q.ofNodes(ctx)
}

// rank lists the candidates in the order in which they try the instant.
func (q *inquiry) rank() {
	key := string(job.FiringID(q.why.Task, "", q.why.Instant))
	var bound []job.NodeID
	online := map[job.NodeID]bool{}
	for _, p := range q.placing {
		if p.Bound {
			bound, online[p.Node] = append(bound, p.Node), p.Online
		}
	}
	slices.SortFunc(bound, func(a, b job.NodeID) int { return job.CompareRank(key, a, b) })
	for n, id := range bound {
		q.why.Candidates = append(q.why.Candidates, client.WhyCandidate{Node: id, Rank: n + 1, Online: online[id]})
	}
}

// told makes an answer of a record, with everything but its output.
func (q *inquiry) told(ctx context.Context, r job.ExecutionRecord) client.WhyAnswer {
	if whole, err := q.m.History.Record(ctx, r.ID); err == nil {
		r = whole
	}
	r.Output, r.OutputParts, r.Result = "", nil, nil
	return client.WhyAnswer{Node: r.Node, State: string(r.Outcome), Code: client.CodeOfRecord(&r), Reason: r.Reason, Record: &r}
}

// inTransit finds a record that is on its way to history.
func (q *inquiry) inTransit(ctx context.Context, id job.RunID, nodes ...job.NodeID) (*client.WhyAnswer, error) {
	for _, n := range nodes {
		r, err := q.m.store().Records().Get(ctx, string(n), string(id))
		if job.IsNotFound(err) {
			missed := store.RecordName(&job.ExecutionRecord{ID: string(id), Node: n, Trigger: job.TriggerTimer, Outcome: job.Missed})
			r, err = q.m.store().Records().Get(ctx, string(n), missed)
		}
		switch {
		case err == nil:
			rec := r.Clone()
			rec.Output, rec.OutputParts, rec.Result = "", nil, nil
			return &client.WhyAnswer{
				Node: rec.Node, State: client.WhyEnded, Code: client.WhyRecordInTransit, Record: &rec,
				Reason: fmt.Sprintf("it ended as %s, and its record is on its way to history", r.Outcome),
			}, nil
		case !job.IsNotFound(err):
			return nil, err
		}
	}
	return nil, nil
}

func (q *inquiry) runs(p *job.Process) client.WhyAnswer {
	return client.WhyAnswer{
		Node: p.NodeID, State: client.WhyRunning, Code: client.WhyRunAlive, Since: p.Time,
		Reason: fmt.Sprintf("run %s is alive, attempt %d, pid %s", p.Run, max(p.Attempt, 1), p.ID),
	}
}
