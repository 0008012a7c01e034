package master

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

// RunGroup asks for an execution of a group: the leader drives it. The same key asks for the same execution.
func (m *Master) RunGroup(ctx context.Context, r GroupRequest) (*ExecutionView, error) {
	if err := job.CheckName("group", r.Group); err != nil {
		return nil, err
	}
	if err := m.view.catchUp(ctx); err != nil { // what runs are the tasks as they are now
		return nil, err
	}
	fresh := r.Key == ""
	if fresh {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		r.Key = id.String()
	}
	key := "run/" + r.Key
	return m.begin(ctx, r.Group, key, fresh, func() (*job.GroupExecution, error) {
		e, err := m.plannedExecution(ctx, r.Group, r.Params)
		if err != nil {
			return nil, err
		}
		e.Trigger, e.By, e.Cause = job.TriggerRun, r.By, r.By
		return e, nil
	})
}

// plannedExecution is an execution of a group as it is now.
func (m *Master) plannedExecution(ctx context.Context, group string, params map[string]string) (e *job.GroupExecution, err error) {
	known := false
	m.view.with(func() {
		e, err = m.view.state.PlanExecution(group, params)
		if g := m.view.groups[group]; g != nil {
			known = true
			if err == nil {
				e.Queue = g.Document.Overlap == job.OverlapQueue
			}
		}
	})
	if err == nil {
		return e, nil
	}
	if !known && !m.hasTasks(group) {
		views, listed := m.GroupViews(ctx)
		if listed != nil {
			return nil, listed
		}
		return nil, m.noGroup(group, views)
	}
	return nil, err
}

// begin writes an execution, unless there is one of that key already. A fresh key has none.
func (m *Master) begin(ctx context.Context, group, key string, fresh bool, plan func() (*job.GroupExecution, error)) (*ExecutionView, error) {
	id := job.ExecutionID(group, key)
	for {
		if !fresh {
			old, err := m.execution(ctx, group, id)
			if err == nil {
				v := m.executionView(old, true)
				return &v, nil
			}
			if !job.IsNotFound(err) {
				return nil, err
			}
		}
		e, err := plan()
		if err != nil {
			return nil, err
		}
		if err := m.roomForExecution(); err != nil {
			return nil, err
		}
		e.ID, e.Key, e.CreatedAt = id, key, m.Now().UTC()
		rev, err := m.store().Executions().Put(ctx, e)
		if job.IsConflict(err) {
			fresh = false
			continue // somebody else asked for the same
		}
		if err != nil {
			return nil, err
		}
		m.Logger.Info("execution asked for", "execution", id, "group", group, "by", e.By)
		m.view.await(ctx, func() bool { now := m.view.executions[id]; return now == nil || now.Revision >= rev })
		v := m.executionView(e, true)
		return &v, nil
	}
}

func (m *Master) roomForExecution() (err error) {
	m.view.with(func() {
		n := 0
		for _, e := range m.view.executions {
			if !e.Ended() {
				n++
			}
		}
		if n >= engine.MaxExecutions {
			err = job.Errorf(job.CodeExhausted, "%d executions are under way, more are not allowed", n).WithHint("see them with: rota get executions")
		}
	})
	return err
}

// execution finds an execution where it is: in etcd until it has ended, then in history. It moves from the one to the other, and is looked for in
// this order. Without a group it is looked for by its id alone.
func (m *Master) execution(ctx context.Context, group, id string) (*job.GroupExecution, error) {
	var found *job.GroupExecution
	m.view.with(func() { found = m.view.executions[id] })
	if found != nil {
		return found, nil
	}
	if group != "" {
		e, err := m.store().Executions().Get(ctx, group, id)
		if !job.IsNotFound(err) {
			return e, err
		}
	} else {
		list, _, err := m.store().Executions().List(ctx) // written a moment ago, perhaps through another master
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(list, func(e *job.GroupExecution) bool { return e.ID == id }); i >= 0 {
			return list[i], nil
		}
	}
	return m.History.Execution(ctx, id)
}

// ExecutionState tells where an execution stands.
func (m *Master) ExecutionState(ctx context.Context, id string) (*ExecutionView, error) {
	e, err := m.execution(ctx, "", id)
	if err != nil {
		return nil, m.noExecution(id, err)
	}
	v := m.executionView(e, true)
	return &v, nil
}

func (m *Master) noExecution(id string, err error) error {
	if !job.IsNotFound(err) {
		return err
	}
	return job.Errorf(job.CodeNotFound, "there is no execution %s", id).WithHint("see them with: rota get executions")
}

// ListExecutions lists those under way, then those that have ended, newest first.
func (m *Master) ListExecutions(ctx context.Context, f ExecutionFilter) ([]ExecutionView, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	var live []*job.GroupExecution
	m.view.with(func() {
		for _, e := range m.view.executions {
			if (f.Group == "" || e.Group == f.Group) && (f.Status == "" || e.Status == f.Status) && (!e.Ended() || !e.EndedAt.Before(f.Since)) {
				live = append(live, e)
			}
		}
	})
	slices.SortFunc(live, func(a, b *job.GroupExecution) int {
		return cmp.Or(a.EndedAt.Compare(b.EndedAt)*sign(a.Ended() != b.Ended()), b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	views := []ExecutionView{}
	seen := map[string]bool{}
	for _, e := range live {
		if len(views) == limit {
			return views, nil
		}
		views, seen[e.ID] = append(views, m.executionView(e, false)), true
	}
	list, _, err := m.History.Executions(ctx, job.ExecutionFilter{Group: f.Group, Status: f.Status, Since: f.Since, Limit: limit})
	if err != nil {
		return nil, err
	}
	for i := range list {
		if len(views) < limit && !seen[list[i].ID] {
			views = append(views, m.executionView(&list[i], false))
		}
	}
	return views, nil
}

// sign is 1 where something counts, else 0.
func sign(counts bool) int {
	if counts {
		return 1
	}
	return 0
}

// CancelExecution ends an execution: nothing more of it begins, what has not started won't, and what runs is ended.
func (m *Master) CancelExecution(ctx context.Context, id, by string) (*ExecutionView, error) {
	for {
		known, err := m.execution(ctx, "", id)
		if err != nil {
			return nil, m.noExecution(id, err)
		}
		e, err := m.store().Executions().Get(ctx, known.Group, id)
		if job.IsNotFound(err) {
			e = known
		} else if err != nil {
			return nil, err
		}
		if e.Ended() {
			return nil, job.Errorf(job.CodeConflict, "execution %s has ended already: %s", id, e.Status)
		}
		if e.CancelledAt.IsZero() {
			e = e.Clone()
			e.CancelledAt, e.CancelledBy = m.Now().UTC(), by
			rev, err := m.store().Executions().Put(ctx, e)
			if job.IsConflict(err) {
				continue // it has advanced meanwhile
			}
			if err != nil {
				return nil, err
			}
			m.Logger.Info("execution cancelled", "execution", id, "group", e.Group, "by", by)
			m.view.await(ctx, func() bool { now := m.view.executions[id]; return now == nil || now.Revision >= rev })
		}
		v := m.executionView(e, true)
		return &v, nil
	}
}

// RetryExecution begins an execution that takes over what an earlier one did, and goes on from the steps that failed. Where its retry
// is under way already, that is what it gives.
func (m *Master) RetryExecution(ctx context.Context, id, by string) (*ExecutionView, error) {
	old, err := m.execution(ctx, "", id)
	if err != nil {
		return nil, m.noExecution(id, err)
	}
	switch {
	case !old.Ended():
		return nil, job.Errorf(job.CodeConflict, "execution %s is %s, and not to be retried before its end", id, old.Status).
			WithHint("end it with: rota cancel %s", id)
	case old.Status == job.ExecutionSuccess:
		return nil, job.Errorf(job.CodeConflict, "execution %s has succeeded: there is nothing to retry", id).WithHint("run it anew with: rota run group %s", old.Group)
	}
	for n := 1; ; n++ {
		key := "retry/" + id + "/" + strconv.Itoa(n)
		before, err := m.execution(ctx, old.Group, job.ExecutionID(old.Group, key))
		if err == nil && before.Ended() {
			continue // asked for again
		}
		if err != nil && !job.IsNotFound(err) {
			return nil, err
		}
		return m.begin(ctx, old.Group, key, false, func() (*job.GroupExecution, error) {
			e, err := m.plannedExecution(ctx, old.Group, old.Params)
			if err != nil {
				return nil, err
			}
			e.TakeOver(old)
			e.Trigger, e.By, e.Cause, e.Instant = job.TriggerRetry, by, "execution "+id, old.Instant
			return e, nil
		})
	}
}

// executionView is an execution as people see it.
func (m *Master) executionView(e *job.GroupExecution, runs bool) ExecutionView {
	v := ExecutionView{
		ID: e.ID, Group: e.Group, Status: e.Status, Reason: e.Reason, Trigger: e.Trigger, Cause: e.Cause, By: e.By, RetryOf: e.RetryOf,
		Instant: e.Instant, Until: e.Until, Count: e.Count, Params: e.Params, CreatedAt: e.CreatedAt, BeganAt: e.BeganAt, EndedAt: e.EndedAt,
		CancelledBy: e.CancelledBy, Steps: []client.StepView{},
	}
	now := m.Now()
	if !e.BeganAt.IsZero() {
		v.Duration = cmpTime(e.EndedAt, now).Sub(e.BeganAt)
	}
	for i := range e.Steps {
		s := &e.Steps[i]
		sv := client.StepView{
			Name: s.Name, Kind: s.Kind, State: s.State, Reason: s.Reason, Notes: s.Notes, Generation: s.Generation, BeganAt: s.BeganAt, EndedAt: s.EndedAt,
			Total: len(s.Lanes), Bad: s.Lanes.Bad(), Running: s.Lanes.Count(job.LaneAsked),
		}
		sv.Success = s.Lanes.Ended() - sv.Bad
		if !s.BeganAt.IsZero() {
			sv.Duration = cmpTime(s.EndedAt, now).Sub(s.BeganAt)
		}
		for _, d := range s.Depends {
			sv.Depends = append(sv.Depends, d.Step)
		}
		if s.State.Ended() {
			v.Done++
		}
		if runs {
			sv.Runs = stepRuns(e, s)
		}
		v.Steps = append(v.Steps, sv)
	}
	return v
}

// cmpTime is a time, or another one where there is none.
func cmpTime(t, other time.Time) time.Time {
	if t.IsZero() {
		return other
	}
	return t
}

func stepRuns(e *job.GroupExecution, s *job.Step) []client.StepRun {
	var list []client.StepRun
	for at := 0; at < len(s.Lanes); at++ {
		node, item := s.Place(at)
		r := client.StepRun{Run: e.Run(s, at), Node: node, Result: s.Results[at], Retries: s.Tries[at]}
		switch s.Lanes[at] {
		case job.LaneOpen:
			r.State = client.RunOpen
		case job.LaneAsked:
			r.State = client.RunAsked
		default:
			r.State = string(s.Lanes.Outcome(at))
		}
		if item < len(s.Items) {
			r.Item = s.Items[item]
		}
		if origin := e.Origin(s, at); origin != e.ID {
			r.From = origin
		}
		list = append(list, r)
	}
	return list
}
