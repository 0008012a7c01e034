package master

import (
	"context"
	"time"

	"github.com/rota-dev/rota/internal/engine"
)

// DefaultAway is how old the oldest instant may become that an absent node owes.
const DefaultAway = 24 * time.Hour

// learnTold asks history what nodes that are away have told, for the engine, which tells the rest.
func (m *Master) learnTold(ctx context.Context) {
	for sleep(ctx, time.Second) {
		var list []engine.Told
		m.view.with(func() { list = m.view.state.Unknown() })
		for _, e := range list {
			recs, since, err := m.History.Told(ctx, e.Task, e.Node, e.Since)
			if err != nil {
				if ctx.Err() == nil {
					m.Logger.Warn("what a node that is away has told can't be read yet", "node", e.Node, "error", err)
				}
				break
			}
			e.Since, e.Records = since, recs
			m.view.with(func() { m.view.state.Apply(e) })
		}
		if len(list) > 0 {
			m.view.wake()
		}
	}
}
