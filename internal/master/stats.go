package master

import (
	"context"
	"time"

	"github.com/rota-dev/rota/job"
)

// Stats sums up records.
func (m *Master) Stats(ctx context.Context, f job.StatsFilter) ([]job.Stats, error) {
	return m.History.Stats(ctx, f)
}

// patience is how long an answer that has more to say waits for what history adds to it.
const patience = 5 * time.Second

// ask asks history for what an answer can do without. It returns why it is not known, or "".
func (m *Master) ask(ctx context.Context, f func(context.Context) error) (unknown string, err error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch err := f(bounded); {
	case err == nil:
		return "", nil
	case ctx.Err() != nil:
		return "", err
	case bounded.Err() != nil || job.CodeOf(err) == job.CodeUnavailable:
		return err.Error(), nil
	default:
		return "", err
	}
}

// retention is what history is to keep now. It holds the records of instants above the floors of their tasks, and those of
// backfills that are under way: from them a leader that begins learns what has run, and it must not take what was pruned
// for what never ran. Floors only rise, so what this lets go stays dispensable.
func (m *Master) retention() job.Retention {
	r := m.Retention
	m.view.with(func() {
		r.Hold = m.view.state.Floors()
		for _, b := range m.view.state.Unfinished() {
			from := b.From.Add(-1)
			if at, ok := r.Hold[b.Ref()]; !ok || from.Before(at) {
				r.Hold[b.Ref()] = from
			}
		}
	})
	return r
}
