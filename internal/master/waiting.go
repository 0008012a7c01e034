package master

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Runs lists the runs that have not ended: those that wait for what their task depends on, those that were asked for, and those
// that are alive; the oldest first.
func (m *Master) Runs(_ context.Context, f JobFilter) ([]RunView, error) {
	list := []RunView{}
	wanted := func(ref job.TaskRef, node job.NodeID) bool {
		return (f.Group == "" || f.Group == ref.Group) && (f.Task == "" || f.Task == ref.Name) && (f.Node == "" || f.Node == node)
	}
	m.view.with(func() {
		seen := map[job.RunID]bool{}
		for _, p := range m.view.processes {
			if ref := job.Ref(p.Group, p.Name); wanted(ref, p.NodeID) && !seen[p.Run] {
				seen[p.Run] = true
				list = append(list, RunView{Run: p.Run, State: job.StateRunning, Task: ref, Node: p.NodeID, Process: p, Since: p.Time})
			}
		}
		for _, d := range m.view.dispatch {
			if !wanted(d.Job.Ref(), d.Node) || seen[d.Run] {
				continue
			}
			v := RunView{Run: d.Run, State: job.StatePending, Task: d.Job.Ref(), Node: d.Node, Since: d.RequestedAt}
			if d.Started != nil {
				v.State = job.StateRunning
			}
			list = append(list, v)
		}
		for _, w := range m.view.waiting {
			if wanted(w.Ref(), w.Node) && m.view.dispatch[w.Run] == nil {
				list = append(list, m.waitingView(w))
			}
		}
	})
	slices.SortFunc(list, func(a, b RunView) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(string(a.Run), string(b.Run)))
	})
	return list, nil
}

// waitingView is called with the view's lock held.
func (m *Master) waitingView(w *job.Waiting) RunView {
	return RunView{
		Run: w.Run, State: job.StatePending, Task: w.Ref(), Node: w.Node, Since: w.RequestedAt, Waits: m.view.state.WaitsFor(w, m.Now()),
	}
}

// waitingRun finds a run among those that wait, in the view or, where it was asked for a moment ago, in the store.
func (m *Master) waitingRun(ctx context.Context, id job.RunID) (*job.Waiting, error) {
	var w *job.Waiting
	m.view.with(func() { w = m.view.waiting[id] })
	if w != nil {
		return w, nil
	}
	list, _, err := m.store().Waiting().List(ctx)
	if i := slices.IndexFunc(list, func(w *job.Waiting) bool { return w.Run == id }); i >= 0 {
		return list[i], err
	}
	return nil, err
}

// cancelWaiting ends a run that waits; false: it waits no more.
func (m *Master) cancelWaiting(ctx context.Context, id job.RunID, by string) (bool, error) {
	w, err := m.waitingRun(ctx, id)
	if w == nil || err != nil {
		return false, err
	}
	rec := engine.WaitingRecord(w, m.Now(), job.Killed, "killed by "+by+" while it waited")
	done, err := m.store().Do(ctx, store.FailWaiting(w, rec))
	return err == nil && done[0], err
}
