package master

import (
	"context"
	"slices"
	"time"

	"github.com/rota-dev/rota/internal/notify"
	"github.com/rota-dev/rota/job"
)

// When a run is late of which its task says nothing.
const (
	usualRuns   = 10                  // so many successful runs must be known
	usualPeriod = 30 * 24 * time.Hour // of this time
	usualTimes  = 3                   // it takes so many times what nine of ten take
	usualLeast  = time.Minute
	usualFresh  = 10 * time.Minute // for so long what history said of it counts
)

// lateness finds the runs that take longer than they should.
type lateness struct {
	m     *Master
	usual map[job.TaskRef]usual
	told  map[job.RunID]bool // of those that are alive
}

type usual struct {
	limit time.Duration // 0: nobody knows
	at    time.Time
}

func newLateness(m *Master) *lateness {
	return &lateness{m: m, usual: map[job.TaskRef]usual{}, told: map[job.RunID]bool{}}
}

// candidate is a run of a task of which somebody wants to know when it is late.
type candidate struct {
	process *job.Process
	ref     job.TaskRef
	key     job.AlertKey
	rules   []job.Notify
	of      int64
	limit   time.Duration // of the task
}

// look tells of each run that is late, once.
func (l *lateness) look(ctx context.Context) error {
	var list []candidate
	alive := map[job.RunID]bool{}
	l.m.view.with(func() {
		for _, p := range l.m.view.processes {
			alive[p.Run] = true
			ref := job.Ref(p.Group, p.Name)
			e := l.m.view.tasks[ref]
			if e == nil || l.told[p.Run] {
				continue
			}
			c := candidate{process: p, ref: ref, limit: e.Task.LateAfter.Std(), key: l.m.view.alertKey(&job.ExecutionRecord{Group: p.Group, Name: p.Name, Node: p.NodeID})}
			var ok bool
			if c.rules, c.of, ok = l.m.view.watched(c.key); ok && slices.ContainsFunc(c.rules, func(n job.Notify) bool { return slices.Contains(n.On, job.AlertLate) }) {
				list = append(list, c)
			}
		}
	})
	for run := range l.told {
		if !alive[run] {
			delete(l.told, run)
		}
	}
	for _, c := range list {
		if err := l.tell(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (l *lateness) tell(ctx context.Context, c candidate) error {
	now := l.m.Now().UTC()
	limit := c.limit
	if limit <= 0 {
		var err error
		if limit, err = l.usually(ctx, c.ref, now); err != nil {
			return err
		}
	}
	if limit <= 0 || now.Sub(c.process.Time) <= limit {
		return nil
	}
	// It may have ended, and that may have been told, a moment ago.
	if _, err := l.m.History.Record(ctx, string(c.process.Run)); !job.IsNotFound(err) {
		return err
	}
	fact := notify.OfLate(c.key, c.process, limit, c.limit <= 0, now, l.m.ExternalURL)
	err := l.m.happened(ctx, []happening{{job.AlertInput{Key: c.key}, fact, c.rules, c.of}})
	if err == nil {
		l.told[c.process.Run] = true
	}
	return err
}

// usually is how long a run of a task may take, by those that were; 0: nobody knows.
func (l *lateness) usually(ctx context.Context, ref job.TaskRef, now time.Time) (time.Duration, error) {
	if u, ok := l.usual[ref]; ok && now.Sub(u.at) < usualFresh {
		return u.limit, nil
	}
	stats, err := l.m.History.Stats(ctx, job.StatsFilter{Group: ref.Group, Task: ref.Name, From: now.Add(-usualPeriod)})
	if err != nil {
		return 0, err
	}
	u := usual{at: now}
	if len(stats) > 0 && stats[0].Count[job.Success] >= usualRuns {
		u.limit = max(usualLeast, usualTimes*time.Duration(stats[0].P90MS*float64(time.Millisecond)))
	}
	l.usual[ref] = u
	return u.limit, nil
}
