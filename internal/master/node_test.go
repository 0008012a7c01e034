package master_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// agent is a node's agent as masters see it: it registers, starts what it is asked for and hands the records over.
type agent struct {
	w  *world
	id job.NodeID
	ss *store.Session
	st *store.Store

	mu     sync.Mutex
	starts map[job.RunID]int
	result map[string]job.Result  // of a task, by its name
	raw    map[string]string      // the same, as JSON
	ends   map[string]job.Outcome // how runs of a task end that don't succeed
}

// node registers a node that is online and runs nothing by itself, and waits until every master sees it.
func (w *world) node(id job.NodeID, labels ...string) *agent {
	w.t.Helper()
	a := w.nodeSeenBy(id, nil, labels...)
	for _, m := range w.masters {
		w.until(m.name+" sees "+string(id), func() bool { n, err := m.Node(w.ctx, id); return err == nil && n.Online })
	}
	return a
}

// nodeSeenBy is node, and waits until one master sees it; nil: for none.
func (w *world) nodeSeenBy(id job.NodeID, m *life, labels ...string) *agent {
	w.t.Helper()
	n := &job.Node{ID: id, Labels: map[string]string{}, CreatedAt: time.Now()}
	for _, l := range labels {
		n.Labels[l] = "yes"
	}
	if _, err := w.admin.Nodes().Put(w.ctx, n); err != nil {
		w.t.Fatal(err)
	}
	a := &agent{w: w, id: id, st: w.mem.Client(string(id)), starts: map[job.RunID]int{}, result: map[string]job.Result{}, ends: map[string]job.Outcome{}}
	a.join("s1")
	w.t.Cleanup(func() { _ = a.st.Close() })
	if m != nil {
		w.until(m.name+" sees "+string(id), func() bool { n, err := m.Node(w.ctx, id); return err == nil && n.Online })
	}
	return a
}

func (a *agent) join(session string) {
	a.w.t.Helper()
	ss, err := a.st.Join(a.w.ctx, job.Presence{Node: a.id, Session: session, Since: time.Now()}, lease)
	if err != nil {
		a.w.t.Fatal(err)
	}
	a.ss = ss
}

func (a *agent) leave() {
	if err := a.ss.Close(a.w.ctx); err != nil {
		a.w.t.Error(err)
	}
}

// works lets the agent run what it is asked for, each run in no time.
func (a *agent) works() {
	ctx, cancel := context.WithCancel(a.w.ctx)
	var wg sync.WaitGroup
	events := a.st.Dispatches().Watch(ctx, string(a.id)).Events()
	wg.Go(func() {
		for batch := range events {
			for _, e := range batch {
				if e.Type == store.Put && e.Value.Started == nil {
					a.run(*e.Value)
				}
			}
		}
	})
	a.w.t.Cleanup(func() { cancel(); wg.Wait() })
}

func (a *agent) run(d job.Dispatch) {
	fence, err := a.ss.StartDispatch(a.w.ctx, &d)
	if err != nil {
		return
	}
	a.mu.Lock()
	a.starts[d.Run]++
	res, ok := a.result[d.Job.Name]
	raw := a.raw[d.Job.Name]
	outcome := cmp.Or(a.ends[d.Job.Name], job.Success)
	a.mu.Unlock()
	rec := ended(d.Job, d.Run, outcome)
	rec.Trigger, rec.Fence, rec.Cause = d.Trigger, fence, d.Cause
	if ok {
		rec.Result, _ = json.Marshal(res)
	}
	if raw != "" {
		rec.Result = json.RawMessage(raw)
	}
	a.handOver(rec)
}

func (a *agent) handOver(recs ...job.ExecutionRecord) {
	var runs []job.RunID
	for _, r := range recs {
		runs = append(runs, job.RunID(r.ID))
	}
	if err := a.ss.HandOver(a.w.ctx, recs, runs); err != nil && a.w.ctx.Err() == nil {
		a.w.t.Error(err)
	}
}

// end says how the runs of a task end from now on.
func (a *agent) end(task string, o job.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ends[task] = o
}

// started counts the starts of each run.
func (a *agent) started() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	var n []int
	for _, c := range a.starts {
		n = append(n, c)
	}
	slices.Sort(n)
	return n
}

// ended is the record of a run that took a second.
func ended(j *job.Job, run job.RunID, o job.Outcome) job.ExecutionRecord {
	now := time.Now()
	rec := job.CreateExecutionRecord(j, run, now.Add(-time.Second), now, o, "")
	rec.Trigger, rec.Attempt = job.TriggerRun, 1
	return rec
}

// firing is the record of an instant of a common task that ran.
func firing(ref job.TaskRef, node job.NodeID, at time.Time) job.ExecutionRecord {
	j := &job.Job{ID: job.JobHash(ref, node), TaskID: ref.String(), Group: ref.Group, Name: ref.Name, NodeID: node, Command: "true"}
	rec := ended(j, job.FiringID(ref, node, at), job.Success)
	rec.Instant, rec.Trigger = at, job.TriggerTimer
	return rec
}

// task is one that runs when asked; with a timer it is a cycle task.
func task(name, timer string, edit ...func(*job.Task)) job.Task {
	t := job.Task{Name: name, Command: job.Args("true"), Timer: job.Timer(timer)}
	for _, f := range edit {
		f(&t)
	}
	return t
}

func (l *life) apply(tasks ...job.Task) []master.Applied {
	l.w.t.Helper()
	a, err := l.Apply(l.w.ctx, tasks, master.ApplyOptions{})
	if err != nil {
		l.w.t.Fatal(err)
	}
	return a
}

func (l *life) run(name string, edit ...func(*master.RunRequest)) master.RunAnswer {
	l.w.t.Helper()
	r := master.RunRequest{Task: job.Ref("", name), By: "test"}
	for _, f := range edit {
		f(&r)
	}
	a, err := l.Run(l.w.ctx, r)
	if err != nil {
		l.w.t.Fatal(err)
	}
	return a
}

// recorded waits until history has that many records, and nothing is on its way.
func (w *world) recorded(n int) []job.ExecutionRecord {
	w.t.Helper()
	var page job.Page
	w.until(fmt.Sprintf("history has %d records", n), func() bool {
		var err error
		if page, err = w.db.Records(w.ctx, job.RecordFilter{Limit: 1000}); err != nil {
			w.t.Fatal(err)
		}
		left, err := w.admin.Records().Count(w.ctx)
		return err == nil && left == 0 && len(page.Records) >= n
	})
	if len(page.Records) != n {
		w.t.Fatalf("history has %d records, want %d", len(page.Records), n)
	}
	return page.Records
}

func code(t *testing.T, err error, want job.Code) {
	t.Helper()
	if got := job.CodeOf(err); got != want {
		t.Errorf("the error is %q (%v), want %q", got, err, want)
	}
}
