package store

// queue holds the events that a receiver has not taken yet: at most one for each key, beside the marks. It belongs to one
// goroutine. The zero value is empty.
type queue[T any] struct {
	slots []slot[T]
	first int            // the position of slots[0]; positions only grow
	at    map[string]int // key to the position of its event
	mark  int            // the position after the last mark (Synced, Reached)
	live  int            // events in slots
	taken int            // how many slots the last head covered
}

type slot[T any] struct {
	Event[T]
	dead  bool
	fresh bool // the receiver knows nothing of the key
}

// batchSize is the most events that are handed out at once.
const batchSize = 512

// push adds an event. It replaces the one of the same key: in its place where a mark follows, so that the
// mark stays true, else at the end, so that the order of the changes stays. fresh says that the key
// is new; a key that is new and goes again is forgotten.
func (q *queue[T]) push(e Event[T], fresh bool) {
	if q.at == nil {
		q.at = map[string]int{}
	}
	if e.Type.mark() {
		q.append(slot[T]{Event: e})
		q.mark = q.first + len(q.slots)
		return
	}
	pos, waiting := q.at[e.Key]
	if !waiting {
		q.at[e.Key] = q.append(slot[T]{Event: e, fresh: fresh})
		return
	}
	old := &q.slots[pos-q.first]
	if old.fresh && e.Type == Delete {
		q.kill(old)
		delete(q.at, e.Key)
		return
	}
	if pos < q.mark {
		old.Event = e
		return
	}
	fresh = old.fresh
	q.kill(old)
	q.at[e.Key] = q.append(slot[T]{Event: e, fresh: fresh})
}

func (q *queue[T]) kill(s *slot[T]) {
	*s = slot[T]{dead: true}
	q.live--
}

// append adds a slot and returns its position. It makes room first where more than half of the slots are dead.
func (q *queue[T]) append(s slot[T]) int {
	if len(q.slots) > 2*batchSize && q.live < len(q.slots)/2 {
		q.compact()
	}
	q.slots = append(q.slots, s)
	q.live++
	return q.first + len(q.slots) - 1
}

// compact drops the dead slots. Positions shift, but none falls behind first.
func (q *queue[T]) compact() {
	kept, mark := q.slots[:0], q.first
	for i, s := range q.slots {
		if s.dead {
			continue
		}
		if !s.Type.mark() {
			q.at[s.Key] = q.first + len(kept)
		}
		kept = append(kept, s)
		if q.first+i < q.mark {
			mark = q.first + len(kept)
		}
	}
	clear(q.slots[len(kept):])
	q.slots, q.mark = kept, mark
}

// head is a copy of the next events, at most batchSize.
func (q *queue[T]) head() []Event[T] {
	if q.live == 0 {
		q.taken = 0
		return nil
	}
	batch := make([]Event[T], 0, min(q.live, batchSize))
	q.taken = 0
	for i := range q.slots {
		if len(batch) == batchSize {
			break
		}
		if !q.slots[i].dead {
			batch = append(batch, q.slots[i].Event)
		}
		q.taken++
	}
	return batch
}

// sent removes what the last head gave.
func (q *queue[T]) sent() {
	for i := range q.slots[:q.taken] {
		s := &q.slots[i]
		if s.dead {
			continue
		}
		q.live--
		if !s.Type.mark() {
			delete(q.at, s.Key)
		}
	}
	clear(q.slots[:q.taken])
	q.slots, q.first = q.slots[q.taken:], q.first+q.taken
	q.taken = 0
	if len(q.slots) == 0 {
		q.slots = nil
	}
}
