package store

import (
	"context"
	"strings"
	"sync"
)

// watchers are the watches of a [Memory], found by what they watch: exactly one key, all below a slash, or any
// other range. All is guarded by the memory's lock.
type watchers struct {
	all    map[*watcher]struct{}
	exact  map[string]map[*watcher]struct{}
	below  map[string]map[*watcher]struct{}
	others map[*watcher]struct{}
}

// watcher hands the results of one watch to its receiver, however slow.
type watcher struct {
	owner    *memoryClient
	client   string
	stream   string
	key, end string
	from     int64 // nothing before this revision is told

	mu      sync.Mutex
	waiting []watchResult
	failed  bool
	wake    chan struct{}
}

func (w *watcher) queue(r watchResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed {
		return
	}
	w.failed = r.err != nil
	w.waiting = append(w.waiting, r)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run sends until ctx ends or an error has been sent.
func (w *watcher) run(ctx context.Context, out chan<- watchResult) {
	for {
		w.mu.Lock()
		batch := w.waiting
		w.waiting = nil
		w.mu.Unlock()
		if len(batch) > 0 && !w.owner.m.awaitWatches(ctx, w.client) {
			return
		}
		for _, r := range batch {
			if r.err == nil {
				r.err = w.owner.told(ctx, w, r.rev)
			}
			select {
			case out <- r:
			case <-ctx.Done():
				return
			}
			if r.err != nil {
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}

func (ws *watchers) add(w *watcher) {
	put := func(m map[string]map[*watcher]struct{}) map[string]map[*watcher]struct{} {
		if m == nil {
			m = map[string]map[*watcher]struct{}{}
		}
		if m[w.key] == nil {
			m[w.key] = map[*watcher]struct{}{}
		}
		m[w.key][w] = struct{}{}
		return m
	}
	if ws.all == nil {
		ws.all, ws.others = map[*watcher]struct{}{}, map[*watcher]struct{}{}
	}
	ws.all[w] = struct{}{}
	switch {
	case w.end == "":
		ws.exact = put(ws.exact)
	case strings.HasSuffix(w.key, "/") && w.end == prefixEnd(w.key):
		ws.below = put(ws.below)
	default:
		ws.others[w] = struct{}{}
	}
}

func (ws *watchers) remove(w *watcher) {
	delete(ws.all, w)
	delete(ws.others, w)
	for _, m := range [...]map[string]map[*watcher]struct{}{ws.exact, ws.below} {
		if set := m[w.key]; set != nil {
			if delete(set, w); len(set) == 0 {
				delete(m, w.key)
			}
		}
	}
}

func (ws *watchers) fail(err error, which func(*watcher) bool) {
	for w := range ws.all {
		if which(w) {
			w.queue(watchResult{err: err})
			ws.remove(w)
		}
	}
}

// tell gives the changes of a revision to those who watch them.
func (ws *watchers) tell(rev int64, changes []change) {
	if len(ws.all) == 0 {
		return
	}
	each := map[*watcher][]change{}
	for _, c := range changes {
		key := c.kv.key
		for w := range ws.exact[key] {
			each[w] = append(each[w], c)
		}
		for i := range len(key) {
			if key[i] == '/' {
				for w := range ws.below[key[:i+1]] {
					each[w] = append(each[w], c)
				}
			}
		}
		for w := range ws.others {
			if w.covers(key) {
				each[w] = append(each[w], c)
			}
		}
	}
	for w, cs := range each {
		if rev >= w.from {
			w.queue(watchResult{changes: cs, rev: rev})
		}
	}
}

func (w *watcher) covers(key string) bool {
	if w.end == "" {
		return key == w.key
	}
	return w.key <= key && key < w.end
}

func (c *memoryClient) Watch(ctx context.Context, key, end string, rev int64) <-chan watchResult {
	w := &watcher{owner: c, client: c.name, stream: streamOf(ctx), key: key, end: end, from: rev, wake: make(chan struct{}, 1)}
	err := c.call(ctx, Call{Op: "watch", Keys: []string{key}}, func() error {
		if rev > 0 && rev < c.m.compacted {
			return errCompacted
		}
		for _, past := range c.m.log {
			if past.rev < rev || rev <= 0 {
				continue
			}
			var seen []change
			for _, ch := range past.changes {
				if w.covers(ch.kv.key) {
					seen = append(seen, ch)
				}
			}
			if len(seen) > 0 {
				w.queue(watchResult{changes: seen, rev: past.rev})
			}
		}
		c.m.watchers.add(w)
		return nil
	})
	if err != nil {
		w.queue(watchResult{err: err})
	}
	out := make(chan watchResult)
	c.wg.Go(func() {
		defer close(out)
		w.run(ctx, out)
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		c.m.watchers.remove(w)
	})
	return out
}
