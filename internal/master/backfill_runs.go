package master

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// plannedRuns says what a backfill will run, and what it leaves out and why; that is settled in it already.
func (m *Master) plannedRuns(ctx context.Context, b *job.Backfill) (runs, skipped []BackfillRun, err error) {
	instants := b.Instants()
	reasons, err := m.needless(ctx, b, instants)
	if err != nil {
		return nil, nil, err
	}
	b.Skipped, runs, skipped = 0, []BackfillRun{}, []BackfillRun{}
	for i, at := range instants {
		for l := range b.Lanes {
			lane := &b.Lanes[l]
			if i == 0 {
				lane.Settled = nil
			}
			r := BackfillRun{Run: b.Run(lane.Node, at), Instant: at, Node: lane.Node, Reason: reasons[[2]int{l, i}]}
			if r.Reason == "" {
				runs = append(runs, r)
				continue
			}
			lane.Settled.Add(i)
			b.Skipped++
			skipped = append(skipped, r)
		}
	}
	return runs, skipped, nil
}

// needless says of the runs of a backfill, by lane and instant, which need not be and why.
func (m *Master) needless(ctx context.Context, b *job.Backfill, instants []time.Time) (map[[2]int]string, error) {
	why := map[[2]int]string{}
	if len(instants) == 0 {
		return why, nil
	}
	// mark gives a reason to the runs of the instants from first to last that are a node's.
	mark := func(node job.NodeID, first, last time.Time, reason func(lane int, at time.Time) string) {
		i, _ := slices.BinarySearchFunc(instants, first, time.Time.Compare)
		for ; i < len(instants) && !instants[i].After(last); i++ {
			for l, lane := range b.Lanes {
				if lane.Node != "" && node != "" && lane.Node != node {
					continue
				}
				if r := reason(l, instants[i]); r != "" {
					why[[2]int{l, i}] = r
				}
			}
		}
	}
	after, last := instants[0].Add(-time.Second), instants[len(instants)-1]
	if !b.Force {
		recs, err := m.History.Settled(ctx, b.Ref(), after, last)
		if err != nil {
			return nil, err
		}
		for i := range recs {
			if r := &recs[i]; r.Outcome == job.Success {
				mark(r.Node, r.Instant, latest(r.Instant, r.Until), func(int, time.Time) string { return "it has succeeded" })
			}
		}
		m.underWay(b, mark)
	}
	recs, err := m.History.Backfilled(ctx, b.Ref(), after, last)
	if err != nil {
		return nil, err
	}
	for i := range recs {
		r := &recs[i]
		mark(r.Node, r.Instant, r.Instant, func(l int, at time.Time) string {
			switch {
			case b.Run(b.Lanes[l].Node, at) == job.RunID(r.ID):
				return "it was asked for with the same key before, and ended as " + string(r.Outcome)
			case !b.Force && r.Outcome == job.Success:
				return "it has succeeded in a backfill"
			}
			return ""
		})
	}
	return why, nil
}

// underWay marks the instants that run now, or that another backfill has asked for.
func (m *Master) underWay(b *job.Backfill, mark func(job.NodeID, time.Time, time.Time, func(int, time.Time) string)) {
	type run struct {
		node    job.NodeID
		instant time.Time
		reason  string
	}
	var list []run
	m.view.with(func() {
		for _, p := range m.view.processes {
			if job.Ref(p.Group, p.Name) == b.Ref() && !p.Instant.IsZero() {
				list = append(list, run{p.NodeID, p.Instant, "it runs now"})
			}
		}
		for _, d := range m.view.dispatch {
			if d.Backfill != "" && d.Backfill != b.ID && d.Job.Ref() == b.Ref() {
				list = append(list, run{d.Node, d.Instant, "backfill " + d.Backfill + " runs it"})
			}
		}
	})
	for _, r := range list {
		mark(r.node, r.instant, r.instant, func(int, time.Time) string { return r.reason })
	}
}

// runsOf are the runs of a backfill that is under way, those that ended included.
func runsOf(b *job.Backfill) []BackfillRun {
	runs := []BackfillRun{}
	for _, at := range b.Instants() {
		for _, l := range b.Lanes {
			runs = append(runs, BackfillRun{Run: b.Run(l.Node, at), Instant: at, Node: l.Node})
		}
	}
	return runs
}

// Backfills lists those of a group and of a task's name, or all; the newest first.
func (m *Master) Backfills(_ context.Context, group, name string) ([]BackfillView, error) {
	var list []*job.Backfill
	m.view.with(func() {
		for _, b := range m.view.backfills {
			if (group == "" || b.Group == group) && (name == "" || b.Name == name) {
				list = append(list, b)
			}
		}
	})
	slices.SortFunc(list, func(a, b *job.Backfill) int { return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID)) })
	views := make([]BackfillView, len(list))
	for i, b := range list {
		views[i] = m.backfillView(b)
	}
	return views, nil
}

// BackfillState tells how far a backfill came.
func (m *Master) BackfillState(ctx context.Context, id string) (*BackfillView, error) {
	return surely(ctx, m, func() (*BackfillView, error) { return m.backfillState(id) })
}

func (m *Master) backfillState(id string) (*BackfillView, error) {
	b, err := m.backfill(id)
	if err != nil {
		return nil, err
	}
	v := m.backfillView(b)
	return &v, nil
}

func (m *Master) backfill(id string) (b *job.Backfill, err error) {
	var known []string
	m.view.with(func() {
		b = m.view.backfills[id]
		for id := range m.view.backfills {
			known = append(known, id)
		}
	})
	if b == nil {
		return nil, job.Errorf(job.CodeNotFound, "there is no backfill %s", id).WithHint("%s", nearHint(id, known, "rota get backfills"))
	}
	return b, nil
}

func (m *Master) backfillView(b *job.Backfill) BackfillView {
	v := BackfillView{
		ID: b.ID, Task: b.Ref(), State: client.BackfillActive, From: b.From, To: b.To, Nodes: b.Nodes, Params: b.Params, Parallel: b.Parallel,
		Key: b.Key, Force: b.Force, Total: b.Count*len(b.Lanes) - b.Skipped, Skipped: b.Skipped, Outcomes: b.Outcomes, By: b.By,
		CreatedAt: b.CreatedAt, CancelledAt: b.CancelledAt, CancelledBy: b.CancelledBy, FinishedAt: b.FinishedAt,
	}
	next := b.Count
	for i := range b.Lanes {
		l := &b.Lanes[i]
		v.Running += l.Running()
		at := l.Next
		for at < b.Count && l.Settled.Has(at) {
			at++
		}
		next = min(next, at)
	}
	for _, n := range b.Outcomes {
		v.Ended += n
	}
	switch {
	case b.Cancelled():
		v.State = client.BackfillCancelled
	case b.Finished():
		v.State = client.BackfillFinished
	default:
		m.view.with(func() { v.Waits = m.view.state.BackfillWaits(b.ID, m.Now()) })
		if instants := b.Instants(); next < len(instants) {
			v.Next = instants[next]
		}
	}
	return v
}

// CancelBackfill ends a backfill: no more runs are asked for, and those that have not started won't. With kill, those
// that are alive are ended too. One that has finished is forgotten.
func (m *Master) CancelBackfill(ctx context.Context, id, by string, kill bool) (*BackfillView, error) {
	known, err := surely(ctx, m, func() (*job.Backfill, error) { return m.backfill(id) })
	if err != nil {
		return nil, err
	}
	for {
		b, err := m.store().Backfills().Get(ctx, known.Group, known.Name, id)
		if err != nil {
			return nil, err
		}
		if b.Finished() {
			if err := m.store().Backfills().Delete(ctx, b.Revision, b.Group, b.Name, id); err != nil && !job.IsNotFound(err) {
				return nil, err
			}
			m.view.await(ctx, func() bool { return m.view.backfills[id] == nil })
			v := m.backfillView(b)
			return &v, nil
		}
		if !b.Cancelled() {
			b.CancelledAt, b.CancelledBy = m.Now().UTC(), by
			rev, err := m.store().Backfills().Put(ctx, b)
			if job.IsConflict(err) {
				continue // it has advanced meanwhile
			}
			if err != nil {
				return nil, err
			}
			b.Revision = rev
			m.Logger.Info("backfill cancelled", "backfill", id, "task", b.Ref().String(), "by", by)
		}
		m.view.await(ctx, func() bool {
			now := m.view.backfills[id]
			return now == nil || now.Revision >= b.Revision
		})
		if kill {
			if err := m.killRunsOf(ctx, b, by); err != nil {
				return nil, err
			}
		}
		v := m.backfillView(b)
		return &v, nil
	}
}

// killRunsOf ends the runs that a backfill has asked for.
func (m *Master) killRunsOf(ctx context.Context, b *job.Backfill, by string) error {
	instants := b.Instants()
	for _, l := range b.Lanes {
		for i := range min(l.Next, len(instants)) {
			if l.Settled.Has(i) {
				continue
			}
			err := m.Kill(ctx, b.Run(l.Node, instants[i]), by)
			if err != nil && !job.IsConflict(err) && !job.IsNotFound(err) { // it has ended
				return err
			}
		}
	}
	return nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// learnBackfills tells the engine which runs of the unfinished backfills history has. Until then they hold their
// places, and fewer others are asked for.
func (m *Master) learnBackfills(ctx context.Context) {
	var list []*job.Backfill
	m.view.with(func() { list = m.view.state.Unfinished() })
	for _, b := range list {
		for {
			recs, err := m.History.Backfilled(ctx, b.Ref(), b.From.Add(-1), b.To)
			if err == nil {
				m.recorded(recs)
				break
			}
			if ctx.Err() != nil {
				return
			}
			m.Logger.Warn("the records of a backfill can't be read yet", "backfill", b.ID, "error", err)
			if !sleep(ctx, time.Second) {
				return
			}
		}
	}
}
