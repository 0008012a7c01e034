package master

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// checkDepends looks at what tasks that are about to be written depend on; all is how the tasks will stand. path is theirs in the request.
func checkDepends(f *job.Faults, all map[job.TaskRef]*job.Task, tasks []whole, path func(i int) string) {
	settable := job.MaySet(all)
	for i := range tasks {
		tasks[i].Dependencies(f, path(i), func(ref job.TaskRef) *job.Task { return all[ref] }, settable)
	}
}

// Unneeded refuses, as a conflict, the deletion of a task that others depend on: they would wait for ever.
func (m *Master) Unneeded(ctx context.Context, ref job.TaskRef) error {
	entries, _, err := m.store().Tasks().List(ctx)
	if err != nil {
		return err
	}
	var users []string
	for _, e := range entries {
		if slices.Contains(e.Task.Needs(), ref) {
			users = append(users, e.Ref().String())
		}
	}
	if len(users) == 0 {
		return nil
	}
	return job.Errorf(job.CodeConflict, "task %s is needed by %s", ref, someOf(users)).
		WithHint("delete them too, take it out of their depends, or use --force: then they wait until there is such a task again")
}

// learnFacts looks history through for the successes of the tasks of which somebody asks now, until ctx ends. History may be
// away: then they are waited for, and nothing else is.
func (m *Master) learnFacts(ctx context.Context, l *store.Leadership) {
	for {
		var refs []job.TaskRef
		m.view.with(func() { refs = m.view.state.Unlearned() })
		pause := time.Hour
		for _, ref := range refs {
			if err := m.learnFactsOf(ctx, l, ref); err != nil {
				if ctx.Err() != nil {
					return
				}
				m.Logger.Warn("it is not known yet where a task has succeeded", "task", ref.String(), "error", err)
				pause = time.Second
			}
		}
		if len(refs) > 0 {
			pause = min(pause, time.Second) // the view is a moment behind
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-m.view.unlearned:
		case <-t.C:
		}
		t.Stop()
	}
}

// learnFactsOf writes what history has of a task's successes, and that it was looked through.
func (m *Master) learnFactsOf(ctx context.Context, l *store.Leadership, ref job.TaskRef) error {
	var entry *job.TaskEntry
	m.view.with(func() { entry = m.view.tasks[ref] })
	if entry == nil {
		return nil
	}
	nodes, err := m.History.Succeeded(ctx, ref)
	if err != nil {
		return err
	}
	all := engine.Ended{Task: ref, Outcome: job.Success, Claimed: entry.Task.Kind.Kind().Claimed()}
	for _, n := range nodes {
		page, err := m.History.Records(ctx, job.RecordFilter{Group: ref.Group, Task: ref.Name, Node: n, Outcome: []job.Outcome{job.Success}, Limit: 1})
		if err != nil {
			return err
		}
		at := entry.CreatedAt // its record is gone: it was long ago
		if len(page.Records) > 0 {
			at = page.Records[0].EndTime
		}
		e := all
		e.Node, e.At = n, at.UTC()
		if at.After(all.At) {
			all.At = at.UTC()
		}
		if err := m.changeFact(ctx, l, ref, n, e.Change); err != nil {
			return err
		}
	}
	return m.changeFact(ctx, l, ref, "", func(f *job.Fact) bool {
		if all.Claimed && len(nodes) > 0 {
			f.Succeed(all.At)
		}
		return true
	})
}

// changeFact changes a fact, whoever else does. change tells whether there is anything to write.
func (m *Master) changeFact(ctx context.Context, l *store.Leadership, ref job.TaskRef, node job.NodeID, change func(*job.Fact) bool) error {
	for {
		f, err := m.fact(ctx, ref, node)
		if err != nil {
			return err
		}
		if !change(f) {
			return nil
		}
		op := store.PutFact(f)
		if err := op.Err(); err != nil {
			return err
		}
		done, err := l.Do(ctx, op)
		if err != nil || done[0] {
			return err
		}
	}
}

// fact reads a fact, or makes one that says nothing.
func (m *Master) fact(ctx context.Context, ref job.TaskRef, node job.NodeID) (*job.Fact, error) {
	f, err := m.store().Facts().Get(ctx, ref.Group, ref.Name, string(node))
	if job.IsNotFound(err) {
		return &job.Fact{Task: ref, Node: node}, nil
	}
	return f, err
}

// remember keeps what must be known of a record for ever.
func (m *Master) remember(ctx context.Context, l *store.Leadership, e engine.Ended) error {
	if e.Node != "" {
		if err := m.changeFact(ctx, l, e.Task, e.Node, e.Change); err != nil {
			return err
		}
	}
	return m.changeFact(ctx, l, e.Task, "", func(f *job.Fact) bool {
		return f.Revision > 0 && e.Change(f) // where there is none, history has not been looked through
	})
}

// startOnce creates a dispatch of a task that runs once, unless it has succeeded or is under way: the fact, which is written in
// one transaction with it, decides, whichever master asks. It tells why nothing was done, or "".
func (m *Master) startOnce(ctx context.Context, do func(context.Context, ...store.Op) ([]bool, error), scope job.NodeID, d *job.Dispatch) (why string, err error) {
	ref := d.Job.Ref()
	for {
		f, err := m.fact(ctx, ref, scope)
		if err != nil {
			return "", err
		}
		switch {
		case f.Run == d.Run:
			return "", nil
		case !f.Success.IsZero() && d.Trigger != job.TriggerDepend:
			return "it has succeeded there, and runs only once", nil
		case f.Run != "" && d.Trigger != job.TriggerDepend:
			return "it is asked for or running there already, and runs only once", nil
		}
		f.Run = d.Run
		done, err := do(ctx, store.Start([]*job.Fact{f}, d))
		if err != nil || done[0] {
			return "", err
		}
		if _, known, err := m.asked(ctx, d.Run, []job.NodeID{d.Node}); err != nil || known {
			return "", err
		}
	}
}

// startOps are the writes of an action of engine/once.go or engine/waiting.go.
func startOps(a engine.Action) []store.Op {
	switch a := a.(type) {
	case engine.Start:
		return []store.Op{store.Start(a.Facts, a.Dispatches...)}
	case engine.Release:
		return []store.Op{store.Release(a.Waiting, a.Facts, a.Dispatch)}
	case engine.AdvanceWaiting:
		return []store.Op{store.AdvanceWaiting(a.Waiting, a.Facts, a.Dispatches...)}
	case engine.FailWaiting:
		return []store.Op{store.FailWaiting(a.Waiting, a.Record)}
	case engine.CreateWaiting:
		return []store.Op{store.CreateWaiting(a.Waiting)}
	case engine.DropFacts:
		return []store.Op{store.DropFacts(a.Task, a.Revision)}
	}
	return nil
}

// learned waits until it is known where a task has succeeded.
func (m *Master) learned(ctx context.Context, ref job.TaskRef) error {
	if m.view.await(ctx, func() bool { return m.view.state.Learned(ref) }) {
		return nil
	}
	return job.Errorf(job.CodeUnavailable, "it is not known yet where task %s has succeeded", ref).
		WithHint("history must be looked through once, by a master that leads; see: rota status")
}

// The rest is called with the view's lock held.

func (v *view) fact(parts []string, f *job.Fact, _ store.Event[job.Fact]) {
	if f == nil {
		v.state.Apply(engine.FactDeleted{Task: job.Ref(parts[0], parts[1]), Node: job.NodeID(parts[2])})
	} else {
		v.state.Apply(engine.FactPut{Fact: f})
	}
	v.askLearn()
}

func (v *view) waitingRun(parts []string, w *job.Waiting, _ store.Event[job.Waiting]) {
	run := job.RunID(parts[2])
	if w == nil {
		delete(v.waiting, run)
		v.state.Apply(engine.WaitingDeleted{Task: job.Ref(parts[0], parts[1]), Run: run})
		return
	}
	v.waiting[run] = w
	v.state.Apply(engine.WaitingPut{Waiting: w})
}

// askLearn wakes who looks history through, where there is need.
func (v *view) askLearn() {
	if len(v.state.Unlearned()) == 0 {
		return
	}
	select {
	case v.unlearned <- struct{}{}:
	default:
	}
}

func tasksPath(i int) string { return fmt.Sprintf("tasks[%d]", i) }
