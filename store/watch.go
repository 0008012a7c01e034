package store

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// EventType says what an event tells.
type EventType int

// The events.
const (
	// Put: the key has been written. Value is what stands there now.
	Put EventType = iota + 1
	// Delete: the key is gone. Value is what was known of it last, or nil: of bulky values, such as records,
	// a watch keeps nothing.
	Delete
	// Synced: everything that was there at Revision has been told, and what was told before and is there no
	// more has been taken back. It comes once at the beginning, and again after each relisting.
	Synced
	// Unreadable: the key's document cannot be read; Err says why. It is left alone. What was told of the key
	// before does not stand there any more.
	Unreadable
	// Reached: everything up to Revision has been told. It comes only to who asked for it, see [Watch.Reach].
	Reached
)

// mark tells whether the event is of no key, but says something of all that was told before it.
func (t EventType) mark() bool { return t == Synced || t == Reached }

func (t EventType) String() string {
	return [...]string{"?", "put", "delete", "synced", "unreadable", "reached"}[max(0, min(int(t), 5))]
}

// Event is one change. Values may be shared with other receivers and must not be changed.
type Event[T any] struct {
	Type     EventType
	Key      string // below the store's prefix
	Value    *T
	Revision int64 // of the change
	Err      error
}

// Parts are the parts of the event's key after its root, such as group and name of a task.
func (c *Collection[T]) Parts(key string) ([]string, error) { return c.k.parse(key) }

// Watch is a stream of changes. See [Collection.Watch].
type Watch[T any] struct {
	out chan []Event[T]

	c        *Collection[T]
	key, end string // as etcd has them
	prefix   []string
	known    map[string]seen[T] // what has been queued for the receiver
	readings *readings[T]
	queue    queue[T]
	rev      int64 // everything up to it has been queued

	apart  bool          // it has a stream of its own
	wanted atomic.Int64  // the latest revision of which somebody wants to know that everything up to it was told
	asked  chan struct{} // capacity 1: wanted has grown
	marked int64         // that of the last mark in the queue
}

// seen is what a watch remembers of a key.
type seen[T any] struct {
	mod int64
	v   *T
}

// Watch tells what is there and then what changes below a prefix: first a Put for everything, then
// Synced, then each change, without a gap. It survives everything but the end of ctx (or of the store): when etcd is
// away it tries again, ever more slowly; where the past has been compacted away it lists again and
// tells the differences. From time to time it does so unasked, as a check.
//
// A receiver that is slow misses intermediate versions of a key, never the last one, and a key that came and went
// before it looked. What waits for it is no more than one event a key.
func (c *Collection[T]) Watch(ctx context.Context, prefix ...string) *Watch[T] {
	return c.watch(ctx, false, prefix)
}

// WatchApart is Watch for who must know at times how far it is: [Watch.Reach]. It costs etcd a stream of its own.
func (c *Collection[T]) WatchApart(ctx context.Context, prefix ...string) *Watch[T] {
	return c.watch(ctx, true, prefix)
}

func (c *Collection[T]) watch(ctx context.Context, apart bool, prefix []string) *Watch[T] {
	w := &Watch[T]{
		out: make(chan []Event[T]), c: c, prefix: prefix, known: map[string]seen[T]{}, readings: readingsOf(c.s, c.k), apart: apart, asked: make(chan struct{}, 1),
	}
	key, end, err := c.k.span(prefix...)
	if err != nil {
		// A name that is none names nothing: there is nothing to tell, now or later.
		c.s.log.Error("a watch of what cannot exist", "collection", c.k.root, "error", err)
		w.queue.push(Event[T]{Type: Synced}, false)
	}
	w.key, w.end = c.s.full(key), c.s.full(end)
	if apart {
		ctx = onStream(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.s.ctx, cancel)
	if !c.s.spawn(func() {
		defer close(w.out)
		defer cancel()
		defer stop()
		if err != nil {
			for ctx.Err() == nil {
				w.deliver(ctx, time.Hour)
			}
			return
		}
		w.run(ctx)
	}) {
		cancel()
		close(w.out)
	}
	return w
}

// Events gives the changes in batches, in the order in which they happened. It is closed when the watch's
// context ends.
func (w *Watch[T]) Events() <-chan []Event[T] { return w.out }

// Reach asks for an event [Reached], or [Synced], as soon as everything up to a revision has been told; where it has been, there may be
// none. It does not wait. While etcd is away nothing comes. The watch must be one of [Collection.WatchApart].
func (w *Watch[T]) Reach(rev int64) {
	for {
		old := w.wanted.Load()
		if rev <= old {
			return
		}
		if w.wanted.CompareAndSwap(old, rev) {
			break
		}
	}
	select {
	case w.asked <- struct{}{}:
	default:
	}
}

// reached queues the mark that somebody waits for, or tells that it is still to come.
func (w *Watch[T]) reached() bool {
	wanted := w.wanted.Load()
	if wanted > w.rev {
		return false
	}
	if wanted > w.marked {
		w.marked = w.rev
		w.queue.push(Event[T]{Type: Reached, Revision: w.rev}, false)
	}
	return true
}

// run lists and streams until ctx ends.
func (w *Watch[T]) run(ctx context.Context) {
	b := backoff{min: 50 * time.Millisecond, max: 5 * time.Second}
	for list := true; ctx.Err() == nil; {
		if list {
			if err := w.list(ctx); err != nil {
				w.c.s.log.Debug("a watch cannot list", "collection", w.c.k.root, "error", err)
				w.deliver(ctx, b.delay())
				continue
			}
		}
		progress, err := w.stream(ctx)
		if progress {
			b.reset()
		}
		if err == nil {
			list = true // it is time
			continue
		}
		w.c.s.log.Debug("a watch is interrupted", "collection", w.c.k.root, "revision", w.rev, "error", err)
		// What is compacted must be listed again; and who fails twice in a row may hold a revision that
		// an etcd restored from a backup does not know.
		list = errors.Is(err, errCompacted) || b.next > 0
		w.deliver(ctx, b.delay())
	}
}

// deliver hands out what is queued, for a while.
func (w *Watch[T]) deliver(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		out, batch := w.offer()
		select {
		case out <- batch:
			w.queue.sent()
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// offer is what can be sent now; the channel is nil where there is nothing.
func (w *Watch[T]) offer() (chan<- []Event[T], []Event[T]) {
	if batch := w.queue.head(); len(batch) > 0 {
		return w.out, batch
	}
	return nil, nil
}

// list reads everything and queues what differs from what is known. It reads no faster than the receiver.
func (w *Watch[T]) list(ctx context.Context) error {
	found := make(map[string]struct{}, len(w.known))
	var rev int64
	for p, err := range w.c.pages(ctx, w.c.page(), !w.c.k.bulky, w.prefix...) {
		if err != nil {
			return err
		}
		rev = p.rev
		for i := range p.entries {
			e := &p.entries[i]
			found[e.Key] = struct{}{}
			if w.known[e.Key].mod != e.Revision {
				w.put(e)
			}
		}
		for w.queue.live > int(w.c.page()) {
			out, batch := w.offer()
			select {
			case out <- batch:
				w.queue.sent()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	for key := range w.known {
		if _, ok := found[key]; !ok {
			w.delete(key, rev)
		}
	}
	w.rev, w.marked = rev, rev
	w.queue.push(Event[T]{Type: Synced, Revision: rev}, false)
	return nil
}

// askEvery is how long a watch waits to be told how far it is before it asks again.
const askEvery = 50 * time.Millisecond

// stream queues and hands out changes until there is an error, or, with none, until it is time to list again.
func (w *Watch[T]) stream(ctx context.Context) (progress bool, err error) {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := w.c.s.kv.Watch(ctx, w.key, w.end, w.rev+1)
	relist := time.NewTimer(w.c.s.relist + rand.N(w.c.s.relist/10+1))
	defer relist.Stop()
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	free := make(chan struct{}, 1) // holds one while etcd is being asked, which may take as long as it is away
	ask := func() {
		if w.reached() {
			return
		}
		again.Reset(askEvery)
		select {
		case free <- struct{}{}:
			asking.Go(func() {
				defer func() { <-free }()
				_ = w.c.s.kv.Progress(ctx) // it is asked again
			})
		default:
		}
	}
	for {
		out, batch := w.offer()
		select {
		case out <- batch:
			w.queue.sent()
		case r, ok := <-in:
			if !ok {
				return progress, cmp.Or(ctx.Err(), errWatchEnded)
			}
			if r.err != nil {
				return progress, r.err
			}
			progress = true
			w.apply(r)
			w.reached()
		case <-w.asked:
			ask()
		case <-again.C:
			ask()
		case <-relist.C:
			return true, nil
		case <-ctx.Done():
			return progress, ctx.Err()
		}
	}
}

var errWatchEnded = errors.New("the watch ended without a reason")

func (w *Watch[T]) apply(r watchResult) {
	for i := range r.changes {
		ch := &r.changes[i]
		if ch.deleted {
			key := strings.TrimPrefix(ch.kv.key, w.c.s.prefix)
			w.readings.forget(key)
			w.delete(key, ch.kv.mod)
			continue
		}
		e := w.c.entryBy(w.readings, &ch.kv)
		if w.known[e.Key].mod < e.Revision {
			w.put(&e)
		}
	}
	w.rev = max(w.rev, r.rev)
}

func (w *Watch[T]) put(e *Entry[T]) {
	_, old := w.known[e.Key]
	ev := Event[T]{Type: Put, Key: e.Key, Value: e.Value, Revision: e.Revision}
	if e.Err != nil {
		ev.Type, ev.Value, ev.Err = Unreadable, nil, e.Err
	}
	now := seen[T]{mod: e.Revision, v: ev.Value}
	if w.c.k.bulky {
		now.v = nil
	}
	w.known[e.Key] = now
	w.queue.push(ev, !old)
}

func (w *Watch[T]) delete(key string, rev int64) {
	if last, ok := w.known[key]; ok {
		delete(w.known, key)
		w.queue.push(Event[T]{Type: Delete, Key: key, Value: last.v, Revision: rev}, false)
	}
}
