package store

import "context"

// HoldWatches keeps back what the watches of a client have to tell, until [Memory.ReleaseWatches]: the client is
// behind. Everything else of it goes on.
func (m *Memory) HoldWatches(client string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held == nil {
		m.held = map[string]chan struct{}{}
	}
	if m.held[client] == nil {
		m.held[client] = make(chan struct{})
	}
}

// ReleaseWatches ends HoldWatches: everything is told, in its order.
func (m *Memory) ReleaseWatches(client string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if held := m.held[client]; held != nil {
		close(held)
		delete(m.held, client)
	}
}

// awaitWatches waits while the watches of a client are held, or returns false when ctx ends.
func (m *Memory) awaitWatches(ctx context.Context, client string) bool {
	for {
		m.mu.Lock()
		held := m.held[client]
		m.mu.Unlock()
		if held == nil {
			return true
		}
		select {
		case <-held:
		case <-ctx.Done():
			return false
		}
	}
}

// Progress is told as etcd tells it: to all watches of a stream, and only where none of them begins later.
func (c *memoryClient) Progress(ctx context.Context) error {
	stream := streamOf(ctx)
	return c.call(ctx, Call{Op: "progress"}, func() error {
		var on []*watcher
		for w := range c.m.watchers.all {
			if w.owner != c || w.stream != stream {
				continue
			}
			if c.m.rev < w.from {
				return nil
			}
			on = append(on, w)
		}
		for _, w := range on {
			w.queue(watchResult{rev: c.m.rev})
		}
		return nil
	})
}
