package master

import (
	"context"
	"sync"

	"github.com/rota-dev/rota/client"
)

// hub passes events on to those who watch.
type hub struct {
	mu     sync.Mutex
	subs   map[*subscriber]bool
	closed bool
}

// subscriber is who watches. The last place of out is kept for the event that tells of a gap.
type subscriber struct {
	out  chan Event
	miss bool // there is a gap, told by the last event in out
}

const hubBuffer = 1024 // events that a reader may be behind

func newHub() *hub { return &hub{subs: map[*subscriber]bool{}} }

// publish passes an event on to everybody, and waits for nobody. Who is too far behind is told so at once, for nothing
// may ever happen again; and misses everything until that has been read.
func (h *hub) publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		switch {
		case s.miss && len(s.out) > 0:
		case len(s.out) == hubBuffer:
			s.out <- Event{Type: client.EventGap, At: e.At}
			s.miss = true
		default:
			s.out <- e
			s.miss = false
		}
	}
}

// Subscribe tells what changes from now on, until ctx ends; then the channel is closed. A reader that is too slow
// misses events and is told so by one of the type gap.
func (m *Master) Subscribe(ctx context.Context) <-chan Event {
	s := &subscriber{out: make(chan Event, hubBuffer+1)}
	h := m.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(s.out)
		return s.out
	}
	h.subs[s] = true
	context.AfterFunc(ctx, func() { h.drop(s) })
	return s.out
}

func (h *hub) drop(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[s] {
		delete(h.subs, s)
		close(s.out)
	}
}

// close ends all subscriptions.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		delete(h.subs, s)
		close(s.out)
	}
}
