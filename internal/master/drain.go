package master

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Bounds of the drain.
const (
	drainBatch    = 500
	drainPatience = 5 * time.Millisecond
	drainBackoff  = 5 * time.Second
)

// transit is a record in etcd on its way to history.
type transit struct {
	node job.NodeID
	rec  *job.ExecutionRecord
	rev  int64
}

// drain takes records to history until ctx ends. What fails is tried again: a record leaves etcd only when it
// is in history and its effects have happened.
func (m *Master) drain(ctx context.Context, l *store.Leadership) {
	events := m.store().Records().Watch(ctx).Events()
	var queue []transit
	backoff := drainPatience
	for {
		if len(queue) == 0 {
			select {
			case <-ctx.Done():
				return
			case batch, ok := <-events:
				if !ok {
					return
				}
				queue = m.enqueue(queue, batch)
			}
		}
		for more := true; more && len(queue) < 4*drainBatch; {
			select {
			case batch, ok := <-events:
				if more = ok; ok {
					queue = m.enqueue(queue, batch)
				}
			default:
				more = false
			}
		}
		m.metrics.transit.Set(float64(len(queue)))
		if len(queue) == 0 {
			continue
		}
		n := min(len(queue), drainBatch)
		err := m.takeIn(ctx, l, queue[:n])
		switch {
		case err == nil:
			queue, backoff = slices.Delete(queue, 0, n), drainPatience
		case errors.Is(err, store.ErrNotLeader), ctx.Err() != nil:
			return
		default:
			m.metrics.drainErrors.Inc()
			m.Logger.Warn("records wait in etcd", "records", len(queue), "error", err)
			backoff = min(max(2*backoff, 100*time.Millisecond), drainBackoff)
		}
		if !sleep(ctx, backoff) {
			return
		}
	}
}

// enqueue adds what arrived. A later version of a record takes the place of an earlier one.
func (m *Master) enqueue(queue []transit, batch []store.Event[job.ExecutionRecord]) []transit {
	for _, e := range batch {
		switch e.Type {
		case store.Put:
			parts, err := m.store().Records().Parts(e.Key)
			if err != nil {
				continue
			}
			queue = append(queue, transit{node: job.NodeID(parts[0]), rec: e.Value, rev: e.Revision})
		case store.Unreadable:
			m.Logger.Error("a record can't be read and is left alone", "key", e.Key, "error", e.Err)
			m.view.with(func() { m.view.bad[e.Key] = e.Err.Error() })
		}
	}
	return queue
}

// takeIn brings records into history, lets their effects happen, and deletes them from etcd.
func (m *Master) takeIn(ctx context.Context, l *store.Leadership, queue []transit) error {
	recs := make([]job.ExecutionRecord, 0, len(queue))
	ops := make([]store.Op, 0, len(queue))
	for _, t := range queue {
		recs = append(recs, *t.rec)
		ops = append(ops, store.DeleteRecord(t.node, t.rec.ID, t.rev))
	}
	if err := m.handle(ctx, l, recs); err != nil {
		return err
	}
	_, err := l.Do(ctx, ops...)
	return err
}

// handle brings records into history and lets what follows from them happen, each once.
func (m *Master) handle(ctx context.Context, l *store.Leadership, recs []job.ExecutionRecord) error {
	// One at a time: a mark that was meant for a record must not hit one that has superseded it since.
	m.handling.Lock()
	defer m.handling.Unlock()
	recs = distinct(recs)
	now := m.Now().UTC()
	stored, err := m.History.Insert(ctx, recs)
	if err != nil {
		return err
	}
	m.recorded(recs)
	var handled []string
	var ops []store.Op
	for i := range recs {
		if recs[i].IsHandle {
			continue
		}
		handled = append(handled, recs[i].ID)
		ops = append(ops, m.effects(&recs[i], now)...)
	}
	if len(ops) > 0 {
		if _, err := l.Do(ctx, ops...); err != nil {
			return err
		}
	}
	if len(handled) > 0 {
		if err := m.History.MarkHandled(ctx, handled, now); err != nil {
			return err
		}
	}
	for i := range recs {
		if stored[i] {
			m.metrics.records.WithLabelValues(string(recs[i].Outcome)).Inc()
			r := recs[i].Clone()
			r.Output, r.Attempts = "", nil
			m.hub.publish(Event{Type: client.EventRecord, Change: "put", Key: r.ID, At: now, Object: &r})
		}
	}
	return nil
}

// effects are the writes that follow from a record.
func (m *Master) effects(rec *job.ExecutionRecord, now time.Time) []store.Op {
	var actions []engine.Action
	var refused []string
	m.view.with(func() { actions, refused = m.view.state.React(rec, now) })
	for _, why := range refused {
		m.Logger.Warn("a result asked for what it may not have", "task", rec.TaskID, "record", rec.ID, "refused", why)
	}
	var ops []store.Op
	for _, a := range actions {
		ops = append(ops, m.ops(a)...)
	}
	return ops
}

// recorded tells the engine which instants history has.
func (m *Master) recorded(recs []job.ExecutionRecord) {
	m.view.with(func() {
		for i := range recs {
			if r := &recs[i]; !r.Instant.IsZero() {
				m.view.state.Apply(engine.Recorded{Task: r.Ref(), Instant: r.Instant, Until: r.Until})
			}
		}
	})
	m.view.wake()
}

// distinct keeps, of several versions of a record, the one whose word counts.
func distinct(recs []job.ExecutionRecord) []job.ExecutionRecord {
	at := make(map[string]int, len(recs))
	out := recs[:0:0]
	for _, r := range recs {
		i, ok := at[r.ID]
		switch {
		case !ok:
			at[r.ID] = len(out)
			out = append(out, r)
		case r.Outcome.Supersedes(out[i].Outcome):
			out[i] = r
		}
	}
	return out
}
