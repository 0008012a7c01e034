package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	key  string
	node job.NodeID
	name string
	rec  *job.ExecutionRecord
	rev  int64
}

// drain takes records to history until ctx ends. What fails is tried again: a record leaves etcd only when it
// is in history and its effects have happened.
func (m *Master) drain(ctx context.Context, l *store.Leadership) {
	defer m.drained()
	events := m.store().Records().Watch(ctx).Events()
	var queue []transit
	limit, backoff := drainBatch, drainPatience
	for {
		m.metrics.transit.Set(float64(len(queue)))
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
		if len(queue) == 0 {
			continue
		}
		n := min(len(queue), limit)
		err := m.takeIn(ctx, l, queue[:n])
		switch {
		case err == nil:
			queue = slices.Delete(queue, 0, n)
			limit, backoff = min(2*limit, drainBatch), drainPatience
		case errors.Is(err, store.ErrNotLeader), ctx.Err() != nil:
			return
		default:
			m.metrics.drainErrors.Inc()
			m.Logger.Warn("records wait in etcd", "records", len(queue), "error", err)
			backoff = min(max(2*backoff, 100*time.Millisecond), drainBackoff)
			if job.CodeOf(err) != job.CodeUnavailable {
				// One of them may be the cause, for ever: the others must get past it.
				queue = slices.Concat(queue[n:], queue[:n])
				limit = max(1, limit/2)
			}
		}
		if !sleep(ctx, backoff) {
			return
		}
	}
}

// drained forgets what only a leader knows: what is left alone now is the next one's to tell.
func (m *Master) drained() {
	m.metrics.transit.Set(0)
	m.view.with(func() {
		maps.DeleteFunc(m.view.bad, func(key, _ string) bool { return strings.HasPrefix(key, "records/") })
	})
}

// enqueue adds what arrived.
func (m *Master) enqueue(queue []transit, batch []store.Event[job.ExecutionRecord]) []transit {
	for _, e := range batch {
		switch e.Type {
		case store.Put, store.Delete:
			m.view.with(func() { delete(m.view.bad, e.Key) })
			parts, err := m.store().Records().Parts(e.Key)
			if err != nil || e.Type == store.Delete {
				continue
			}
			queue = append(queue, transit{key: e.Key, node: job.NodeID(parts[0]), name: parts[1], rec: e.Value, rev: e.Revision})
		case store.Unreadable:
			m.setAside(e.Key, "can't be read: "+e.Err.Error())
		}
	}
	return queue
}

// setAside leaves a record in etcd for somebody to look at. It is tried again when another version takes its place,
// and by the next leader.
func (m *Master) setAside(key, why string) {
	m.Logger.Error("a record is left alone", "key", key, "reason", why)
	m.view.with(func() { m.view.bad[key] = why })
}

// takeIn brings records into history, lets their effects happen, and deletes them from etcd. Those that history
// can't take are set aside.
func (m *Master) takeIn(ctx context.Context, l *store.Leadership, queue []transit) error {
	slices.SortStableFunc(queue, func(a, b transit) int { return cmp.Compare(a.rev, b.rev) }) // of two that say of the same thing the later one counts
	recs, asOf, marked := make([]job.ExecutionRecord, 0, len(queue)), map[string]int64{}, map[job.Handled]bool{}
	for _, t := range queue {
		r := *t.rec
		if r.IsHandle { // by a leader: see store.MarkRecord
			marked[job.Handled{ID: r.ID, Outcome: r.Outcome}] = true
		}
		r.IsHandle, r.HandleTime, r.Effects = false, time.Time{}, nil // that is for us to say
		if len(r.Result) > 0 {
			m.view.with(func() { _, r.Effects = m.view.state.React(&r, m.Now().UTC()) })
		}
		recs = append(recs, r)
		asOf[r.ID] = max(asOf[r.ID], t.rev)
	}
	unfit, rest, err := m.handle(ctx, l, recs, asOf, marked)
	if err == nil && len(rest) > 0 {
		for i := range rest {
			marked[job.Handled{ID: rest[i].ID, Outcome: rest[i].Outcome}] = true // nothing follows from what did not run
		}
		_, _, err = m.handle(ctx, l, rest, asOf, marked)
	}
	if err != nil {
		return err
	}
	ops := make([]store.Op, 0, len(queue))
	for i, t := range queue {
		if why, ok := unfit[i]; ok {
			m.setAside(t.key, "can't be kept in history: "+why)
			continue
		}
		ops = append(ops, store.DeleteRecord(t.node, t.name, t.rev))
	}
	_, err = l.Do(ctx, ops...)
	return err
}

// handle brings records into history and lets what follows from them happen, each once. unfit are those that history
// can't take, by their index, and why; the others are handled all the same. asOf are the revisions at which they came, by id; marked
// are those whose effects have happened already. rest are records of what those told that were not stored as a whole.
func (m *Master) handle(ctx context.Context, l *store.Leadership, all []job.ExecutionRecord, asOf map[string]int64, marked map[job.Handled]bool) (unfit map[int]string, rest []job.ExecutionRecord, err error) {
	// One at a time: a mark that was meant for a record must not hit one that has superseded it since.
	m.handling.Lock()
	defer m.handling.Unlock()
	now := m.Now().UTC()
	unfit = map[int]string{}
	var recs []job.ExecutionRecord
	var stored []bool
	var of []int
	for {
		if over(l) {
			return nil, nil, store.ErrNotLeader
		}
		recs, of = distinct(all, unfit)
		if stored, err = m.History.Insert(ctx, recs); err == nil {
			break
		}
		if !refusals(err, of, unfit) {
			return nil, nil, err
		}
	}
	m.recorded(recs)
	m.stepsEnded(recs, stored)
	defer m.publishRecords(recs, stored, now)
	var handled []job.Handled
	var list []due
	for i := range recs {
		if recs[i].IsHandle {
			continue
		}
		rec := &recs[i]
		if !stored[i] { // another version may stand, whose effects are to happen then
			if rec, err = m.inHistory(ctx, rec); err != nil {
				return nil, nil, err
			}
		}
		h := job.Handled{ID: rec.ID, Outcome: rec.Outcome}
		if handled = append(handled, h); marked[h] {
			continue
		}
		acts := m.effects(rec, now)
		if !stored[i] { // somebody began to handle it, and may have got anywhere
			if acts, err = m.notYet(ctx, acts); err != nil {
				return nil, nil, err
			}
		}
		if len(acts) > 0 {
			list = append(list, due{rec, acts, asOf[rec.ID]})
		}
	}
	if err := m.bringAbout(ctx, l, list); err != nil {
		return nil, nil, err
	}
	if err := m.tellOf(ctx, recs); err != nil {
		return nil, nil, err
	}
	if over(l) { // another may have begun to handle what has superseded them
		return nil, nil, store.ErrNotLeader
	}
	if err := m.History.MarkHandled(ctx, handled, now); err != nil {
		return nil, nil, err
	}
	whole := make([]bool, len(all))
	for i := range recs {
		whole[of[i]] = stored[i]
	}
	rest, err = m.rests(ctx, all, whole)
	return unfit, rest, err
}

// inHistory is the record that history has in the place of one that it did not store.
func (m *Master) inHistory(ctx context.Context, rec *job.ExecutionRecord) (*job.ExecutionRecord, error) {
	r, err := m.History.Record(ctx, rec.ID)
	switch {
	case job.IsNotFound(err):
		return rec, nil // it was pruned meanwhile
	case err != nil:
		return nil, err
	case r.Outcome == rec.Outcome || r.Ref() != rec.Ref():
		return rec, nil
	}
	return &r, nil
}

func over(l *store.Leadership) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

// publishRecords tells of what history has stored.
func (m *Master) publishRecords(recs []job.ExecutionRecord, stored []bool, now time.Time) {
	for i := range recs {
		if stored[i] {
			m.metrics.count(&recs[i])
			r := recs[i].Clone()
			r.Output, r.OutputParts, r.Attempts = "", nil, nil
			m.hub.publish(Event{Type: client.EventRecord, Change: "put", Key: r.ID, At: now, Object: &r})
		}
	}
}

// recorded tells the engine which instants history has.
func (m *Master) recorded(recs []job.ExecutionRecord) {
	m.view.with(func() {
		for i := range recs {
			switch r := &recs[i]; {
			case r.Instant.IsZero():
			case r.Trigger == job.TriggerBackfill:
				m.view.state.Apply(engine.Backfilled{Task: r.Ref(), Run: job.RunID(r.ID), Node: r.Node, Instant: r.Instant, Outcome: r.Outcome})
			case r.Trigger.Accounts():
				m.view.state.Apply(engine.Recorded{Task: r.Ref(), Instant: r.Instant, Until: r.Until})
			}
		}
	})
	m.view.wake()
}

// distinct keeps, of several versions of a record, the one whose word counts, and of each the index in recs. Those in
// without are left out.
func distinct(recs []job.ExecutionRecord, without map[int]string) (out []job.ExecutionRecord, of []int) {
	at := make(map[string]int, len(recs))
	for i, r := range recs {
		if _, skip := without[i]; skip {
			continue
		}
		k, ok := at[r.ID]
		switch {
		case !ok:
			at[r.ID] = len(out)
			out, of = append(out, r), append(of, i)
		case r.Outcome.Supersedes(out[k].Outcome):
			out[k], of[k] = r, i
		}
	}
	return out, of
}

// refusals notes which records history names as those that it can't take, and tells whether there are any. of are
// their indices.
func refusals(err error, of []int, unfit map[int]string) bool {
	var e *job.Error
	if !errors.As(err, &e) || e.Code != job.CodeInvalid {
		return false
	}
	found := false
	for _, f := range e.Fields {
		var i int
		if _, err := fmt.Sscanf(f.Path, "records[%d]", &i); err == nil && i >= 0 && i < len(of) {
			unfit[of[i]], found = f.Message, true
		}
	}
	return found
}
