package master

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/rota-dev/rota/internal/notify"
	"github.com/rota-dev/rota/job"
)

// When a run is late of which its task says nothing.
const (
	usualRuns   = 10                  // so many successful runs must be known
	usualPeriod = 30 * 24 * time.Hour // of this time
	usualOf     = 100                 // of executions: so many of the newest count
	usualTimes  = 3                   // it takes so many times what nine of ten take
	usualLeast  = time.Minute
	usualFresh  = 10 * time.Minute // for so long what history said of it counts
)

// lateness finds the runs, and the executions of groups, that take longer than they should.
type lateness struct {
	m     *Master
	usual map[job.AlertKey]usual
	told  map[string]bool // of those that are alive
}

type usual struct {
	limit time.Duration // 0: nobody knows
	at    time.Time
}

func newLateness(m *Master) *lateness {
	return &lateness{m: m, usual: map[job.AlertKey]usual{}, told: map[string]bool{}}
}

// candidate is a run of a task, or an execution of a group, of which somebody wants to know when it is late.
type candidate struct {
	id    string
	began time.Time
	key   job.AlertKey
	rules []job.Notify
	of    int64
	limit time.Duration // of the task or the group
	// took is how many were a success since a time, and what nine of ten took.
	took func(ctx context.Context, since time.Time) (n int, nine time.Duration, err error)
	// ended finds it in history; [job.CodeNotFound]: it has not ended.
	ended func(ctx context.Context) error
	fact  func(limit time.Duration, usual bool, now time.Time) notify.Fact
}

// look tells of each that is late, once.
func (l *lateness) look(ctx context.Context) error {
	var list []candidate
	alive := map[string]bool{}
	add := func(c candidate) {
		alive[c.id] = true
		var ok bool
		if c.rules, c.of, ok = l.m.view.watched(c.key); ok && !l.told[c.id] &&
			slices.ContainsFunc(c.rules, func(n job.Notify) bool { return slices.Contains(n.On, job.AlertLate) }) {
			list = append(list, c)
		}
	}
	l.m.view.with(func() {
		for _, p := range l.m.view.processes {
			if e := l.m.view.tasks[job.Ref(p.Group, p.Name)]; e != nil {
				add(l.run(p, e))
			}
		}
		for _, x := range l.m.view.executions {
			if e := l.m.view.groups[x.Group]; e != nil && !x.Ended() && !x.BeganAt.IsZero() {
				add(l.execution(x, e))
			}
		}
	})
	maps.DeleteFunc(l.told, func(id string, _ bool) bool { return !alive[id] })
	for _, c := range list {
		if err := l.tell(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (l *lateness) run(p *job.Process, e *job.TaskEntry) candidate {
	c := candidate{
		id: string(p.Run), began: p.Time, limit: e.Task.LateAfter.Std(),
		key: l.m.view.alertKey(&job.ExecutionRecord{Group: p.Group, Name: p.Name, Node: p.NodeID}),
	}
	c.took = func(ctx context.Context, since time.Time) (int, time.Duration, error) {
		stats, err := l.m.History.Stats(ctx, job.StatsFilter{Group: p.Group, Task: p.Name, From: since})
		if err != nil || len(stats) == 0 {
			return 0, 0, err
		}
		return int(stats[0].Count[job.Success]), time.Duration(stats[0].P90MS * float64(time.Millisecond)), nil
	}
	c.ended = func(ctx context.Context) error {
		_, err := l.m.History.Record(ctx, c.id)
		return err
	}
	c.fact = func(limit time.Duration, usual bool, now time.Time) notify.Fact {
		return notify.OfLate(c.key, p, limit, usual, now, l.m.ExternalURL)
	}
	return c
}

func (l *lateness) execution(x *job.GroupExecution, e *job.Entry[job.Group]) candidate {
	c := candidate{id: x.ID, began: x.BeganAt, limit: e.Document.LateAfter.Std(), key: job.AlertKey{Sort: job.AlertGroup, Ref: x.Group}}
	c.took = func(ctx context.Context, since time.Time) (int, time.Duration, error) {
		list, _, err := l.m.History.Executions(ctx, job.ExecutionFilter{Group: x.Group, Status: job.ExecutionSuccess, Since: since, Limit: usualOf})
		if err != nil || len(list) == 0 {
			return 0, 0, err
		}
		slices.SortFunc(list, func(a, b job.GroupExecution) int {
			return cmp.Compare(a.EndedAt.Sub(a.BeganAt), b.EndedAt.Sub(b.BeganAt))
		})
		nine := &list[(len(list)*9-1)/10]
		return len(list), nine.EndedAt.Sub(nine.BeganAt), nil
	}
	c.ended = func(ctx context.Context) error {
		_, err := l.m.History.Execution(ctx, x.ID)
		return err
	}
	c.fact = func(limit time.Duration, usual bool, now time.Time) notify.Fact {
		return notify.OfLateExecution(c.key, x, limit, usual, now, l.m.ExternalURL)
	}
	return c
}

func (l *lateness) tell(ctx context.Context, c candidate) error {
	now := l.m.Now().UTC()
	limit := c.limit
	if limit <= 0 {
		var err error
		if limit, err = l.usually(ctx, c, now); err != nil {
			return err
		}
	}
	if limit <= 0 || now.Sub(c.began) <= limit {
		return nil
	}
	// It may have ended, and that may have been told, a moment ago.
	if err := c.ended(ctx); !job.IsNotFound(err) {
		return err
	}
	err := l.m.happened(ctx, []happening{{job.AlertInput{Key: c.key}, c.fact(limit, c.limit <= 0, now), c.rules, c.of}})
	if err == nil {
		l.told[c.id] = true
	}
	return err
}

// usually is how long one may take, by those that were; 0: nobody knows.
func (l *lateness) usually(ctx context.Context, c candidate, now time.Time) (time.Duration, error) {
	key := job.AlertKey{Sort: c.key.Sort, Ref: c.key.Ref} // all nodes as one
	if u, ok := l.usual[key]; ok && now.Sub(u.at) < usualFresh {
		return u.limit, nil
	}
	n, nine, err := c.took(ctx, now.Add(-usualPeriod))
	if err != nil {
		return 0, err
	}
	u := usual{at: now}
	if n >= usualRuns {
		u.limit = max(usualLeast, usualTimes*nine)
	}
	l.usual[key] = u
	return u.limit, nil
}
