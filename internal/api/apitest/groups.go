package apitest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// groups are what the fake keeps of groups and their executions: they stay as they are until somebody cancels them.
type groups struct {
	documents  named[job.Group]
	paused     map[string]bool
	executions []*client.ExecutionView
}

// GroupViews lists the groups.
func (m *Master) GroupViews(ctx context.Context) ([]master.GroupView, error) {
	list, err := m.Groups(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	views := []master.GroupView{}
	for _, g := range list {
		views = append(views, master.GroupView{Group: g, Document: m.groups.documents.of[g.Name]})
	}
	for _, name := range slices.Sorted(maps.Keys(m.groups.documents.of)) {
		if !slices.ContainsFunc(views, func(v master.GroupView) bool { return v.Name == name }) {
			views = append(views, master.GroupView{Group: master.Group{Name: name}, Document: m.groups.documents.of[name]})
		}
	}
	return views, err
}

// GroupOf shows one.
func (m *Master) GroupOf(ctx context.Context, name string) (*master.GroupView, error) {
	views, err := m.GroupViews(ctx)
	if err != nil {
		return nil, err
	}
	for i := range views {
		if views[i].Name == name {
			return &views[i], nil
		}
	}
	return nil, job.Errorf(job.CodeNotFound, "there is no group %s", name)
}

// DeleteGroup forgets one.
func (m *Master) DeleteGroup(ctx context.Context, name string, tasks bool) error {
	if _, err := m.GroupOf(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.groups.documents.of, name)
	maps.DeleteFunc(m.tasks, func(ref job.TaskRef, _ *job.TaskEntry) bool { return tasks && ref.Group == name })
	return m.fail()
}

// PauseGroup notes that somebody did.
func (m *Master) PauseGroup(ctx context.Context, name, _ string) error {
	return m.setGroup(ctx, name, true)
}

// ResumeGroup notes that somebody did.
func (m *Master) ResumeGroup(ctx context.Context, name, _ string) error {
	return m.setGroup(ctx, name, false)
}

func (m *Master) setGroup(ctx context.Context, name string, paused bool) error {
	if _, err := m.GroupOf(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.groups.paused == nil {
		m.groups.paused = map[string]bool{}
	}
	m.groups.paused[name] = paused
	return m.fail()
}

// RunGroup begins an execution, which runs until it is cancelled.
func (m *Master) RunGroup(ctx context.Context, r master.GroupRequest) (*master.ExecutionView, error) {
	if _, err := m.GroupOf(ctx, r.Group); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := r.Key
	if key == "" {
		key = fmt.Sprint("request", len(m.groups.executions))
	}
	id := job.ExecutionID(r.Group, key)
	for _, e := range m.groups.executions {
		if e.ID == id {
			return e, m.fail()
		}
	}
	e := &client.ExecutionView{
		ID: id, Group: r.Group, Status: job.ExecutionRunning, Trigger: job.TriggerRun, By: r.By, Params: r.Params, CreatedAt: Now, BeganAt: Now,
		Steps: []client.StepView{},
	}
	m.groups.executions = append(m.groups.executions, e)
	return e, m.fail()
}

// ListExecutions lists them, newest first.
func (m *Master) ListExecutions(_ context.Context, f master.ExecutionFilter) ([]master.ExecutionView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []master.ExecutionView
	for _, e := range slices.Backward(m.groups.executions) {
		if (f.Group == "" || e.Group == f.Group) && (f.Status == "" || e.Status == f.Status) {
			list = append(list, *e)
		}
	}
	return list, m.fail()
}

// ExecutionState shows one.
func (m *Master) ExecutionState(_ context.Context, id string) (*master.ExecutionView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.groups.executions {
		if e.ID == id {
			c := *e
			return &c, m.fail()
		}
	}
	return nil, job.Errorf(job.CodeNotFound, "there is no execution %s", id)
}

// CancelExecution ends one.
func (m *Master) CancelExecution(ctx context.Context, id, by string) (*master.ExecutionView, error) {
	if _, err := m.ExecutionState(ctx, id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.groups.executions, func(e *client.ExecutionView) bool { return e.ID == id })
	e := m.groups.executions[i]
	if e.Ended() {
		return nil, job.Errorf(job.CodeConflict, "execution %s has ended already", id)
	}
	e.Status, e.CancelledBy, e.EndedAt = job.ExecutionCancelled, by, Now
	return e, m.fail()
}

// RetryExecution begins another one.
func (m *Master) RetryExecution(ctx context.Context, id, by string) (*master.ExecutionView, error) {
	old, err := m.ExecutionState(ctx, id)
	if err != nil {
		return nil, err
	}
	if !old.Ended() {
		return nil, job.Errorf(job.CodeConflict, "execution %s has not ended", id)
	}
	e, err := m.RunGroup(ctx, master.GroupRequest{Group: old.Group, Key: "retry/" + id, By: by})
	if err == nil {
		e.RetryOf, e.Trigger = id, job.TriggerRetry
	}
	return e, err
}
