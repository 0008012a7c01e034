package apitest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// Nodes lists the nodes.
func (m *Master) Nodes(context.Context) ([]master.NodeView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []master.NodeView
	for _, id := range slices.Sorted(maps.Keys(m.nodes)) {
		out = append(out, m.copy(m.nodes[id]))
	}
	return out, m.fail()
}

func (m *Master) copy(v *master.NodeView) master.NodeView {
	c := *v
	c.Node = *v.Clone()
	return c
}

func (m *Master) node(id job.NodeID, change func(*master.NodeView)) (*master.NodeView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return nil, err
	}
	v := m.nodes[id]
	if v == nil {
		return nil, missing("node %s", id)
	}
	change(v)
	c := m.copy(v)
	return &c, nil
}

// Node reads one node.
func (m *Master) Node(_ context.Context, id job.NodeID) (*master.NodeView, error) {
	return m.node(id, func(*master.NodeView) {})
}

// LabelNode labels.
func (m *Master) LabelNode(_ context.Context, id job.NodeID, set map[string]string, remove []string) (*master.NodeView, error) {
	return m.node(id, func(v *master.NodeView) {
		maps.Copy(v.Labels, set)
		for _, k := range remove {
			delete(v.Labels, k)
		}
	})
}

// Cordon cordons.
func (m *Master) Cordon(_ context.Context, id job.NodeID, cordoned bool) (*master.NodeView, error) {
	return m.node(id, func(v *master.NodeView) {
		if v.Cordoned = cordoned; !cordoned {
			v.Draining, v.Drained = false, false
		}
	})
}

// SetLease changes the length of a node's lease.
func (m *Master) SetLease(_ context.Context, id job.NodeID, lease job.Duration) (*master.NodeView, error) {
	return m.node(id, func(v *master.NodeView) { v.Lease = lease })
}

// Drain drains a node, on which nothing runs.
func (m *Master) Drain(_ context.Context, id job.NodeID) (*master.NodeView, error) {
	return m.node(id, func(v *master.NodeView) { v.Cordoned, v.Draining, v.Drained = true, true, true })
}

// SetOnline says whether a node is online.
func (m *Master) SetOnline(id job.NodeID, online bool) error {
	_, err := m.node(id, func(v *master.NodeView) { v.Online = online })
	return err
}

// DeleteNode forgets a node that is not online.
func (m *Master) DeleteNode(_ context.Context, id job.NodeID) error {
	v, err := m.node(id, func(*master.NodeView) {})
	if err != nil {
		return err
	}
	if v.Online {
		return job.Errorf(job.CodeConflict, "node %s is online", id).WithHint("stop its agent first")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.nodes, id)
	return nil
}

// Jobs binds every task to its nodes.
func (m *Master) Jobs(_ context.Context, f master.JobFilter) ([]*job.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*job.Job
	for _, ref := range slices.SortedFunc(maps.Keys(m.tasks), byRef) {
		if (f.Group != "" && f.Group != ref.Group) || (f.Task != "" && f.Task != ref.Name) {
			continue
		}
		e := m.tasks[ref]
		for _, id := range m.view(e).Nodes {
			if f.Node == "" || f.Node == id {
				out = append(out, job.Bind(e, id, nil, Now))
			}
		}
	}
	return out, m.fail()
}

// Runs lists those that have not ended.
func (m *Master) Runs(_ context.Context, f master.JobFilter) ([]master.RunView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []master.RunView
	for _, id := range slices.Sorted(maps.Keys(m.runs)) {
		if v := m.runs[id]; !v.Ended() && (f.Task == "" || f.Task == v.Task.Name) {
			out = append(out, *v)
		}
	}
	return out, nil
}

// Unneeded refuses the deletion of a task that others depend on.
func (m *Master) Unneeded(_ context.Context, ref job.TaskRef) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.tasks {
		if slices.Contains(e.Task.Needs(), ref) {
			return job.Errorf(job.CodeConflict, "task %s is needed by %s", ref, e.Ref())
		}
	}
	return nil
}

// Processes lists the runs that were asked for and have not ended.
func (m *Master) Processes(_ context.Context, f master.JobFilter) ([]*job.Process, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*job.Process
	for _, id := range slices.Sorted(maps.Keys(m.runs)) {
		v := m.runs[id]
		if v.Ended() || (f.Group != "" && f.Group != v.Task.Group) || (f.Task != "" && f.Task != v.Task.Name) || (f.Node != "" && f.Node != v.Node) {
			continue
		}
		out = append(out, &job.Process{
			ID: "4711", JobID: job.JobHash(v.Task, v.Node), Group: v.Task.Group, Name: v.Task.Name, NodeID: v.Node, Run: id, Time: Now,
		})
	}
	return out, m.fail()
}

// RunList is Run for each.
func (m *Master) RunList(ctx context.Context, r master.RunListRequest) (out master.RunListAnswer, err error) {
	for _, e := range r.Each {
		a, err := m.Run(ctx, master.RunRequest{Task: r.Task, Nodes: r.Nodes, Params: e.Params, Key: e.Key, By: r.By})
		if err != nil {
			return out, err
		}
		out.Answers = append(out.Answers, a)
	}
	return out, nil
}

// Run names runs and leaves them pending.
func (m *Master) Run(_ context.Context, r master.RunRequest) (master.RunAnswer, error) {
	m.mu.Lock()
	e, err := m.entry(r.Task)
	if err != nil {
		m.mu.Unlock()
		return master.RunAnswer{}, err
	}
	key := r.Key
	if key == "" {
		m.rev++
		key = strconv.FormatInt(m.rev, 10)
	}
	var out master.RunAnswer
	bound := m.view(e).Nodes
	on := r.Nodes
	if len(on) == 0 {
		on = bound
	}
	for _, id := range on {
		if !slices.Contains(bound, id) {
			out.NotRun = append(out.NotRun, job.NotRun{Node: id, Reason: "the task is not bound to it"})
			continue
		}
		run := job.CauseID(key, job.JobHash(r.Task, id))
		out.Runs = append(out.Runs, master.RunHandle{Run: run, Task: r.Task, Node: id})
		if m.runs[run] == nil {
			m.runs[run] = &master.RunView{Run: run, State: job.StatePending, Task: r.Task, Node: id}
		}
	}
	onRun := m.OnRun
	m.mu.Unlock()
	if len(out.Runs) == 0 {
		return out, job.Errorf(job.CodeConflict, "no node runs task %s", r.Task)
	}
	if onRun != nil {
		for _, h := range out.Runs {
			onRun(m, h)
		}
	}
	return out, nil
}

// SetRunning marks a run as alive.
func (m *Master) SetRunning(id job.RunID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.runs[id]
	v.State = job.StateRunning
	v.Process = &job.Process{ID: "4711", Run: id, NodeID: v.Node, Group: v.Task.Group, Name: v.Task.Name, Time: Now}
}

// End ends a run with a record.
func (m *Master) End(id job.RunID, outcome job.Outcome, output string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.runs[id]
	code := 0
	if outcome != job.Success {
		code = 1
	}
	r := job.ExecutionRecord{
		ID: string(id), TaskID: v.Task.String(), Group: v.Task.Group, Name: v.Task.Name, Node: v.Node, Output: output,
		Success: outcome == job.Success, Outcome: outcome, BeginTime: Now, EndTime: Now.Add(1500 * time.Millisecond), ExitCode: &code,
		Trigger: job.TriggerRun, Attempt: 1, OutputBytes: int64(len(output)), Command: "true",
	}
	m.add(r)
}

// Add stores a record, gives it its number and tells those who watch.
func (m *Master) Add(r job.ExecutionRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(r)
}

func (m *Master) add(r job.ExecutionRecord) {
	r.Number = 1
	for _, o := range m.records {
		if o.Ref() == r.Ref() {
			r.Number++
		}
	}
	m.records = append(m.records, r)
	if v := m.runs[job.RunID(r.ID)]; v != nil {
		c := r
		v.State, v.Process, v.Record = job.RunState(r.Outcome), nil, &c
	}
	m.emit(master.Event{Type: "record", Change: "put", Key: "records/" + r.ID, At: Now, Object: &r})
}

// RunState tells where a run stands.
func (m *Master) RunState(_ context.Context, id job.RunID) (*master.RunView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return nil, err
	}
	v := m.runs[id]
	if v == nil {
		return nil, missing("run %s", id)
	}
	c := *v
	return &c, nil
}

// Kill ends a run at once.
func (m *Master) Kill(ctx context.Context, id job.RunID, by string) error {
	v, err := m.RunState(ctx, id)
	if err != nil {
		return err
	}
	if v.Ended() {
		return job.Errorf(job.CodeConflict, "run %s has ended", id)
	}
	m.End(id, job.Killed, "killed by "+by)
	return nil
}

// Record reads one record.
func (m *Master) Record(_ context.Context, id string) (job.ExecutionRecord, error) {
	return m.find(func(r *job.ExecutionRecord) bool { return r.ID == id }, "record "+id)
}

// RecordByNumber reads one record.
func (m *Master) RecordByNumber(_ context.Context, ref job.TaskRef, n int64) (job.ExecutionRecord, error) {
	return m.find(func(r *job.ExecutionRecord) bool { return r.Ref() == ref && r.Number == n }, "record "+ref.String())
}

func (m *Master) find(is func(*job.ExecutionRecord) bool, what string) (job.ExecutionRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return job.ExecutionRecord{}, err
	}
	for i := range m.records {
		if is(&m.records[i]) {
			return m.records[i], nil
		}
	}
	return job.ExecutionRecord{}, missing("%s", what)
}

// Stats counts records.
func (m *Master) Stats(_ context.Context, f job.StatsFilter) ([]job.Stats, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sums := map[string]*job.Stats{}
	if f.By == job.ByNothing {
		sums[""] = &job.Stats{Count: map[job.Outcome]int64{}}
	}
	for i := range m.records {
		r := &m.records[i]
		if (f.Group != "" && f.Group != r.Group) || (f.Task != "" && f.Task != r.Name) || (f.Node != "" && f.Node != r.Node) ||
			(!f.From.IsZero() && r.EndTime.Before(f.From)) || (!f.To.IsZero() && !r.EndTime.Before(f.To)) {
			continue
		}
		st := job.Stats{Count: map[job.Outcome]int64{}}
		key := ""
		switch f.By {
		case job.ByTask:
			st.Task = r.Ref().String()
			key = st.Task
		case job.ByNode:
			st.Node = &r.Node
			key = string(r.Node)
		case job.ByDay:
			st.Day = r.EndTime.UTC().Truncate(24 * time.Hour)
			key = st.Day.Format(time.DateOnly)
		}
		if sums[key] == nil {
			sums[key] = &st
		}
		sums[key].Count[r.Outcome]++
	}
	var list []job.Stats
	for _, key := range slices.Sorted(maps.Keys(sums)) {
		if rate, ok := job.Rate(sums[key].Count); ok {
			sums[key].Success = &rate
		}
		list = append(list, *sums[key])
	}
	return list, m.fail()
}

// Records lists records; the cursor is the number of those that were listed.
func (m *Master) Records(_ context.Context, f job.RecordFilter) (job.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []job.ExecutionRecord
	for _, r := range slices.Backward(m.records) {
		if (f.Group != "" && f.Group != r.Group) || (f.Task != "" && f.Task != r.Name) || (f.Node != "" && f.Node != r.Node) ||
			(len(f.Outcome) > 0 && !slices.Contains(f.Outcome, r.Outcome)) || (f.Trigger != "" && f.Trigger != r.Trigger) ||
			(f.Search != "" && !strings.Contains(r.Output, f.Search) && !strings.Contains(r.Reason, f.Search)) ||
			(!f.Since.IsZero() && r.EndTime.Before(f.Since)) || (!f.Until.IsZero() && !r.EndTime.Before(f.Until)) {
			continue
		}
		if !f.WithOutput {
			r.Output, r.OutputParts = "", nil
		}
		all = append(all, r)
	}
	from, _ := strconv.Atoi(f.Cursor)
	from = min(from, len(all))
	limit := f.Limit
	if limit == 0 {
		limit = 100
	}
	to := min(from+limit, len(all))
	page := job.Page{Records: all[from:to]}
	if to < len(all) {
		page.Next = strconv.Itoa(to)
	}
	return page, m.fail()
}
