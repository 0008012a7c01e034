package apitest

import (
	"context"
	"maps"
	"slices"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// Exec names runs and leaves them pending.
func (m *Master) Exec(_ context.Context, r client.ExecRequest) (master.RunAnswer, error) {
	m.mu.Lock()
	if err := m.fail(); err != nil {
		m.mu.Unlock()
		return master.RunAnswer{}, err
	}
	ref := job.Ref(master.ExecGroup, r.By)
	on := r.Nodes
	if len(on) == 0 {
		on = slices.Sorted(maps.Keys(m.nodes))
	}
	var out master.RunAnswer
	for _, id := range on {
		run := job.CauseID("exec/"+r.Key, job.JobHash(ref, id))
		out.Runs = append(out.Runs, master.RunHandle{Run: run, Task: ref, Node: id})
		m.runs[run] = &master.RunView{Run: run, State: job.StatePending, Task: ref, Node: id}
	}
	onRun := m.OnRun
	m.mu.Unlock()
	if onRun != nil {
		for _, h := range out.Runs {
			onRun(m, h)
		}
	}
	return out, nil
}
