package master

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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
	if given {
		// The same may be asked of several masters at the same time: only who has seen all that was asked before may ask.
		turn := m.turn(r.Task)
		turn.Lock()
		defer turn.Unlock()
	}
	for caughtUp := false; ; caughtUp = true {
		a := asking{m: m, r: r, req: req, caughtUp: caughtUp, before: given || caughtUp}
		if given {
			ticket, err := m.store().Ask(ctx, r.Task, m.ID)
			if err != nil {
				return RunAnswer{}, err
			}
			a.ticket = &ticket
		}
		answer, again, err := a.once(ctx)
		if err != nil && !caughtUp && refusal(err) {
			again = true
		}
		if !again {
			return answer, err
		}
		if err := m.view.catchUp(ctx); err != nil {
			return RunAnswer{}, fmt.Errorf("run %s: %w", r.Task, err)
		}
		if caughtUp && !sleep(ctx, rand.N(soon)) {
			return RunAnswer{}, ctx.Err()
		}
	}
}

// refusal tells whether an error may come of a view that is behind.
func refusal(err error) bool {
	switch job.CodeOf(err) {
	case job.CodeNotFound, job.CodeConflict, job.CodeInvalid, job.CodeUnavailable:
		return true
	}
	return false
}

// asking is one try to ask for the runs of a request.
type asking struct {
	m        *Master
	r        RunRequest
	req      engine.Request
	ticket   *store.Ticket // nil where the request has no key that was given
	before   bool          // some of its runs may have been asked for already
	caughtUp bool          // the view has all that was in etcd when the request came
}

// once asks for the runs that nobody has asked for yet. again tells that some may not have been asked for: somebody else has taken a later
// ticket, or the view is behind.
func (a *asking) once(ctx context.Context) (answer RunAnswer, again bool, err error) {
	answer, ops, again, err := a.plan(ctx)
	if err != nil || again || len(ops) == 0 {
		return answer, again, err
	}
	done, err := a.m.store().Do(ctx, ops...)
	return answer, slices.Contains(done, false), err
}

// plan answers with the runs, and with what is to be done to ask for those that nobody has asked for yet; again: the view is behind.
func (a *asking) plan(ctx context.Context) (answer RunAnswer, ops []store.Op, again bool, err error) {
	m, r, req := a.m, a.r, a.req
	if err := m.checkArguments(&req); err != nil {
		return RunAnswer{}, nil, false, err
	}
	if a.before {
		if answer.Runs, err = m.askedBefore(ctx, &req); err != nil || len(answer.Runs) > 0 && len(req.Nodes) == 0 {
			return answer, nil, false, err
		}
	}
	once := false
	m.view.with(func() {
		e := m.view.tasks[req.Task]
		once = e != nil && e.Task.Mode == job.OnlyOnce && !req.Force
	})
	if once && !a.caughtUp {
		return RunAnswer{}, nil, true, nil
	}
	if once {
		if err := m.learned(ctx, req.Task); err != nil {
			return RunAnswer{}, nil, false, err
		}
	}
	var asked engine.Asked
	var rev int64 // of the task
	m.view.with(func() {
		if e := m.view.tasks[req.Task]; e != nil {
			rev = e.Revision
		}
		asked, err = m.view.state.Ask(req, m.Now())
	})
	if len(asked.NotRun) > 0 && !a.caughtUp {
		return RunAnswer{}, nil, true, nil
	}
	answer.NotRun = asked.NotRun
	if err != nil && len(answer.Runs) == 0 {
		return RunAnswer{}, nil, false, m.explained(r.Task, err)
	}
	for _, d := range asked.Dispatches {
		if once {
			scope := d.Node
			if d.Job.Kind.Claimed() {
				scope = ""
			}
			why, err := m.startOnce(ctx, m.store().Do, scope, d)
			if err != nil {
				return RunAnswer{}, nil, false, err
			}
			if why != "" {
				answer.NotRun = append(answer.NotRun, job.NotRun{Node: d.Node, Reason: why})
				continue
			}
		} else {
			ops = append(ops, store.CreateDispatch(d))
		}
		answer.Runs = append(answer.Runs, RunHandle{Run: d.Run, Task: r.Task, Node: d.Node})
	}
	for _, w := range asked.Waiting {
		answer.Runs = append(answer.Runs, RunHandle{Run: w.Run, Task: r.Task, Node: w.Node})
		ops = append(ops, store.CreateWaiting(w))
	}
	if len(answer.Runs) == 0 {
		return RunAnswer{}, nil, false, job.Errorf(job.CodeConflict, "task %s is asked for or running already, and runs only once", r.Task)
	}
	for i := range ops {
		ops[i] = ops[i].WhileTask(r.Task, rev) // what runs is the task as it is now
		if a.ticket != nil {
			ops[i] = ops[i].WhileTicket(*a.ticket)
		}
	}
	return answer, ops, false, nil
}

// checkArguments holds what a request gives to what its task declares, and fills in the defaults.
func (m *Master) checkArguments(req *engine.Request) error {
	var declared map[string]job.Param
	m.view.with(func() {
		if e := m.view.tasks[req.Task]; e != nil {
			declared = e.Task.Params
		}
	})
	values, err := job.Arguments(declared, req.Params)
	if err != nil {
		return fmt.Errorf("run %s: %w", req.Task, err)
	}
	req.Params = values
	return nil
}

// askedBefore finds the runs that the same request has made already, wherever they are now, and leaves in req the nodes
// for which there is none: none when all is done.
func (m *Master) askedBefore(ctx context.Context, req *engine.Request) (runs []RunHandle, err error) {
	claimed := false
	bound := []job.NodeID{}
	m.view.with(func() {
		e := m.view.tasks[req.Task]
		claimed = e != nil && e.Task.Kind.Kind().Claimed()
		bound = m.view.state.Bound(req.Task)
	})
	if claimed && len(req.Nodes) == 0 { // the engine chose the node
		run := job.CauseID(req.Key, req.Task.String())
		node, known, err := m.asked(ctx, run, bound)
		if err != nil || !known {
			return nil, err
		}
		return []RunHandle{{Run: run, Task: req.Task, Node: node}}, nil
	}
	if len(req.Nodes) > 0 {
		bound = req.Nodes
	}
	var left []job.NodeID
	for _, n := range bound {
		run := job.CauseID(req.Key, job.JobHash(req.Task, n))
		_, known, err := m.asked(ctx, run, []job.NodeID{n})
		if err != nil {
			return nil, err
		}
		if known {
			runs = append(runs, RunHandle{Run: run, Task: req.Task, Node: n})
		} else {
			left = append(left, n)
		}
	}
	if len(runs) > 0 {
		req.Nodes = left
	}
	return runs, nil
}

// RunState says where a run stands.
func (m *Master) RunState(ctx context.Context, id job.RunID) (*RunView, error) {
	return surely(ctx, m, func() (*RunView, error) { return m.runState(ctx, id) })
}

func (m *Master) runState(ctx context.Context, id job.RunID) (*RunView, error) {
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
		} else if w := m.view.waiting[id]; w != nil {
			*v = m.waitingView(w)
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
	if w, err := m.waitingRun(ctx, id); err != nil || w != nil {
		if err != nil {
			return nil, err
		}
		var v RunView
		m.view.with(func() { v = m.waitingView(w) })
		return &v, nil
	}
	var nodes []job.NodeID
	m.view.with(func() {
		for n := range m.view.nodes {
			nodes = append(nodes, n)
		}
	})
	for _, n := range nodes {
		if d, err := m.store().Dispatches().Get(ctx, string(n), string(id)); err == nil {
			v := &RunView{Run: id, State: job.StatePending, Node: n, Task: d.Job.Ref()}
			if d.Started != nil {
				v.State = job.StateRunning
			}
			return v, nil
		} else if !job.IsNotFound(err) {
			return nil, err
		}
		if r, err := m.store().Records().Get(ctx, string(n), string(id)); err == nil {
			return &RunView{Run: id, State: job.StateRunning, Node: n, Task: r.Ref()}, nil // ended, and on its way
		} else if !job.IsNotFound(err) {
			return nil, err
		}
	}
	if r, err := m.store().Records().Get(ctx, "", string(id)); err == nil { // no node had a part in it
		return &RunView{Run: id, State: job.StatePending, Task: r.Ref()}, nil // decided, and on its way
	} else if !job.IsNotFound(err) {
		return nil, err
	}
	rec, err := m.History.Record(ctx, string(id))
	if err != nil {
		return nil, err
	}
	return &RunView{Run: id, State: job.RunState(rec.Outcome), Record: &rec, Node: rec.Node, Task: rec.Ref()}, nil
}

// Kill asks the node of a run to end it.
func (m *Master) Kill(ctx context.Context, id job.RunID, by string) error {
	if done, err := m.cancelWaiting(ctx, id, by); err != nil || done {
		return err
	}
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
