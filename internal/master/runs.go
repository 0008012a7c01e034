package master

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Run asks for a run of a task now. The same key asks for the same runs, as long as they are remembered: in etcd
// until they end, then in history.
func (m *Master) Run(ctx context.Context, r RunRequest) (RunAnswer, error) {
	given := r.Key != ""
	if !given {
		id, err := uuid.NewV7()
		if err != nil {
			return RunAnswer{}, err
		}
		r.Key = id.String()
	}
	req := engine.Request{
		Task: r.Task, Nodes: r.Nodes, Params: r.Params, Key: "run/" + r.Task.String() + "/" + r.Key, Trigger: job.TriggerRun,
		Cause: r.By, Force: r.Force,
	}
	if err := m.onlyOnce(ctx, &req); err != nil {
		return RunAnswer{}, err
	}
	var dispatches []*job.Dispatch
	var not []job.NotRun
	var err error
	m.view.with(func() { dispatches, not, err = m.view.state.Dispatch(req, m.Now()) })
	if err != nil {
		return RunAnswer{}, m.explained(r.Task, err)
	}
	answer := RunAnswer{NotRun: not}
	var ops []store.Op
	for _, d := range dispatches {
		answer.Runs = append(answer.Runs, RunHandle{Run: d.Run, Task: r.Task, Node: d.Node})
		if given {
			if known, err := m.remembered(ctx, d); err != nil {
				return RunAnswer{}, err
			} else if known {
				continue
			}
		}
		ops = append(ops, store.CreateDispatch(d))
	}
	if len(ops) > 0 {
		if _, err := m.store().Do(ctx, ops...); err != nil {
			return RunAnswer{}, err
		}
	}
	return answer, nil
}

// remembered tells whether a run has been asked for before and has left etcd for history, or is about to.
func (m *Master) remembered(ctx context.Context, d *job.Dispatch) (bool, error) {
	if _, err := m.store().Records().Get(ctx, string(d.Node), string(d.Run)); !job.IsNotFound(err) {
		return err == nil, err
	}
	_, err := m.History.Record(ctx, string(d.Run))
	if job.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// onlyOnce looks up where an onlyonce task has succeeded.
func (m *Master) onlyOnce(ctx context.Context, req *engine.Request) (err error) {
	once := false
	m.view.with(func() {
		e := m.view.tasks[req.Task]
		once = e != nil && e.Task.Mode == job.OnlyOnce && !req.Force
	})
	if once {
		req.Succeeded, err = m.History.Succeeded(ctx, req.Task)
	}
	return err
}

// RunState says where a run stands.
func (m *Master) RunState(ctx context.Context, id job.RunID) (*RunView, error) {
	v := &RunView{Run: id}
	m.view.with(func() {
		for _, p := range m.view.processes {
			if p.Run == id {
				v.State, v.Process, v.Node, v.Task = job.StateRunning, p, p.NodeID, job.Ref(p.Group, p.Name)
				return
			}
		}
		if d := m.view.dispatch[id]; d != nil {
			v.State, v.Node, v.Task = job.StatePending, d.Node, d.Job.Ref()
			if d.Started != nil {
				v.State = job.StateRunning
			}
		}
	})
	if v.State != "" {
		return v, nil
	}
	rec, err := m.History.Record(ctx, string(id))
	if err == nil {
		v.State, v.Record, v.Node, v.Task = job.RunState(rec.Outcome), &rec, rec.Node, rec.Ref()
		return v, nil
	}
	if !job.IsNotFound(err) {
		return nil, err
	}
	return m.runInTransit(ctx, id)
}

// runInTransit looks for a run where the view does not: what was asked for a moment ago, and what ended a
// moment ago.
func (m *Master) runInTransit(ctx context.Context, id job.RunID) (*RunView, error) {
	var nodes []job.NodeID
	m.view.with(func() {
		for n := range m.view.nodes {
			nodes = append(nodes, n)
		}
	})
	for _, n := range nodes {
		if d, err := m.store().Dispatches().Get(ctx, string(n), string(id)); err == nil {
			return &RunView{Run: id, State: job.StatePending, Node: n, Task: d.Job.Ref()}, nil
		} else if !job.IsNotFound(err) {
			return nil, err
		}
		if r, err := m.store().Records().Get(ctx, string(n), string(id)); err == nil {
			return &RunView{Run: id, State: job.StateRunning, Node: n, Task: r.Ref()}, nil // ended, and on its way
		} else if !job.IsNotFound(err) {
			return nil, err
		}
	}
	rec, err := m.History.Record(ctx, string(id))
	if err != nil {
		return nil, err
	}
	return &RunView{Run: id, State: job.RunState(rec.Outcome), Record: &rec, Node: rec.Node, Task: rec.Ref()}, nil
}

// Kill asks the node of a run to end it.
func (m *Master) Kill(ctx context.Context, id job.RunID, by string) error {
	v, err := m.RunState(ctx, id)
	if err != nil {
		return err
	}
	if v.Record != nil {
		return job.Errorf(job.CodeConflict, "run %s has ended already: %s", id, v.Record.Outcome)
	}
	_, err = m.store().Do(ctx, store.CreateKill(&job.Kill{Run: id, Node: v.Node, By: by, At: m.Now().UTC()}))
	return err
}

// Record reads one record.
func (m *Master) Record(ctx context.Context, id string) (job.ExecutionRecord, error) {
	return m.History.Record(ctx, id)
}

// RecordByNumber reads the task's record of that number.
func (m *Master) RecordByNumber(ctx context.Context, task job.TaskRef, n int64) (job.ExecutionRecord, error) {
	return m.History.RecordByNumber(ctx, task, n)
}

// Records lists a page of records.
func (m *Master) Records(ctx context.Context, f job.RecordFilter) (job.Page, error) {
	return m.History.Records(ctx, f)
}

// uptime is how long the master has been up.
func (m *Master) uptime() time.Duration { return m.Now().Sub(m.started) }
