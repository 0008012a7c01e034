package apitest

import (
	"context"
	"slices"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// Backfill keeps a backfill and runs nothing of it. The first instant counts as one that has succeeded.
func (m *Master) Backfill(_ context.Context, r master.BackfillRequest) (master.BackfillAnswer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.entry(r.Task)
	if err != nil {
		return master.BackfillAnswer{}, err
	}
	b := &job.Backfill{Group: r.Task.Group, Name: r.Task.Name, From: r.From, To: r.To, Key: r.Key, Rule: e.Task.Rule(), Parallel: max(r.Parallel, 1)}
	if err := b.Rule.Valid(); err != nil || b.Rule.Mode != job.Cycle {
		return master.BackfillAnswer{}, job.Errorf(job.CodeInvalid, "task %s has no timer", r.Task)
	}
	var out master.BackfillAnswer
	for i, at := range b.Instants() {
		if run := (client.BackfillRun{Run: b.Run("", at), Instant: at}); i == 0 && !r.Force {
			run.Reason = "it has succeeded"
			out.Skipped = append(out.Skipped, run)
		} else {
			out.Runs = append(out.Runs, run)
		}
	}
	if r.DryRun || len(out.Runs) == 0 {
		return out, nil
	}
	id := job.BackfillID(r.Task, r.Key+job.FormatInstant(r.From)+job.FormatInstant(r.To))
	v := m.backfills[id]
	if v == nil {
		v = &master.BackfillView{
			ID: id, Task: r.Task, State: client.BackfillActive, From: r.From, To: r.To, Parallel: b.Parallel, Total: len(out.Runs), Skipped: len(out.Skipped),
			CreatedAt: Now, By: r.By, Next: out.Runs[0].Instant,
		}
		m.backfills[id] = v
		out.Created = true
	}
	c := *v
	out.Backfill = &c
	return out, nil
}

// Backfills lists backfills.
func (m *Master) Backfills(_ context.Context, group, name string) ([]master.BackfillView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []master.BackfillView
	for _, v := range m.backfills {
		if (group == "" || v.Task.Group == group) && (name == "" || v.Task.Name == name) {
			out = append(out, *v)
		}
	}
	slices.SortFunc(out, func(a, b master.BackfillView) int { return a.From.Compare(b.From) })
	return out, m.fail()
}

// BackfillState reads one backfill.
func (m *Master) BackfillState(_ context.Context, id string) (*master.BackfillView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return nil, err
	}
	v := m.backfills[id]
	if v == nil {
		return nil, missing("backfill %s", id)
	}
	c := *v
	return &c, nil
}

// FinishBackfills ends every backfill, all of its runs with one outcome.
func (m *Master) FinishBackfills(o job.Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.backfills {
		v.State, v.Ended, v.Outcomes, v.FinishedAt = client.BackfillFinished, v.Total, map[job.Outcome]int{o: v.Total}, Now
	}
}

// CancelBackfill cancels a backfill, and forgets one that has finished.
func (m *Master) CancelBackfill(_ context.Context, id, by string, _ bool) (*master.BackfillView, error) {
	v, err := m.BackfillState(context.Background(), id)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v.Done() {
		delete(m.backfills, id)
		return v, nil
	}
	v.State, v.CancelledAt, v.CancelledBy, v.FinishedAt = client.BackfillCancelled, Now, by, Now
	*m.backfills[id] = *v
	return v, nil
}
