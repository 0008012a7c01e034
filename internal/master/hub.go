package master

import (
	"context"
	"sync"
	"time"

	"github.com/rota-dev/rota/client"
)

// hub passes events on to those who watch.
type hub struct {
	mu     sync.Mutex
	subs   map[*subscriber]bool
	closed bool
}

type subscriber struct {
	out  chan Event
	miss bool // events were dropped since the reader was last told
}

const hubBuffer = 1024 // events that a reader may be behind

func newHub() *hub { return &hub{subs: map[*subscriber]bool{}} }

// publish passes an event on to everybody, and waits for nobody.
func (h *hub) publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if s.miss {
			select {
			case s.out <- Event{Type: client.EventGap, At: time.Now().UTC()}:
				s.miss = false
			default:
				continue
			}
		}
		select {
		case s.out <- e:
		default:
			s.miss = true
		}
	}
}

// Subscribe tells what changes from now on, until ctx ends; then the channel is closed. A reader that is too slow
// misses events and is told so by one of the type gap.
func (m *Master) Subscribe(ctx context.Context) <-chan Event {
	s := &subscriber{out: make(chan Event, hubBuffer)}
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
