package master

import (
	"context"
	"time"

	"github.com/rota-dev/rota/internal/notify"
	"github.com/rota-dev/rota/job"
)

// Notifier makes one attempt to send a message, and tells what the receiver answered.
type Notifier interface {
	Send(ctx context.Context, r *job.Receiver, m notify.Message) (answer string, err error)
}

// What the leader looks at by time.
const (
	alertsEvery = 5 * time.Second
	keepAlerts  = 400 * 24 * time.Hour // what was done with, where history has no age of its own
)

// happening is something of which people may have to be told.
type happening struct {
	job.AlertInput
	fact  notify.Fact
	rules []job.Notify
	of    int64 // tells what it is about from an earlier one of its name
}

// watched says who is told of what about an alert, and what it is about; false where nobody is.
func (v *view) watched(key job.AlertKey) (rules []job.Notify, of int64, ok bool) {
	switch key.Sort {
	case job.AlertTask:
		if ref, err := job.ParseRef(key.Ref); err == nil {
			if e := v.tasks[ref]; e != nil {
				rules, of = e.Task.Notify, e.CreatedAt.UnixMicro()
			}
		}
	case job.AlertGroup:
		if e := v.groups[key.Ref]; e != nil {
			rules, of = e.Document.Notify, e.CreatedAt.UnixMicro()
		}
	case job.AlertMonitor:
		if e := v.monitors[key.Ref]; e != nil {
			rules, of = e.Document.Notify, e.CreatedAt.UnixMicro()
		}
	}
	return rules, of, len(rules) > 0
}

// alertKey is what a record says something about.
func (v *view) alertKey(r *job.ExecutionRecord) job.AlertKey {
	if r.Group == job.MonitorGroup {
		return job.AlertKey{Sort: job.AlertMonitor, Ref: r.Name}
	}
	key := job.AlertKey{Sort: job.AlertTask, Ref: r.Ref().String()}
	if e := v.tasks[r.Ref()]; e != nil && !e.Task.Kind.Kind().Claimed() {
		key.Node = r.Node
	}
	return key
}

// tellOf makes the messages of records. Each record counts once, also where it is handled again: that is noted in the transaction that
// keeps the messages.
func (m *Master) tellOf(ctx context.Context, recs []job.ExecutionRecord) error {
	var list []happening
	m.view.with(func() {
		for i := range recs {
			r := &recs[i]
			if r.IsHandle {
				continue
			}
			key := m.view.alertKey(r)
			if rules, of, ok := m.view.watched(key); ok {
				list = append(list, happening{job.AlertInput{Key: key, Record: r.ID, Outcome: r.Outcome}, notify.OfRecord(key, r, m.ExternalURL), rules, of})
			}
		}
	})
	return m.happened(ctx, list)
}

// tellOfExecution makes the messages of an execution that has ended and that history has. It counts once, also where it is told of again.
func (m *Master) tellOfExecution(ctx context.Context, e *job.GroupExecution) error {
	key := job.AlertKey{Sort: job.AlertGroup, Ref: e.Group}
	var list []happening
	m.view.with(func() {
		if rules, of, ok := m.view.watched(key); ok {
			list = append(list, happening{job.AlertInput{Key: key, Record: e.ID}, notify.OfExecution(key, e, m.ExternalURL), rules, of})
		}
	})
	return m.happened(ctx, list)
}

func (m *Master) happened(ctx context.Context, list []happening) error {
	if len(list) == 0 {
		return nil
	}
	in := make([]job.AlertInput, len(list))
	for i := range list {
		in[i] = list[i].AlertInput
	}
	now := m.Now().UTC()
	err := m.History.ChangeAlerts(ctx, in, func(i int, old job.Alert) (job.Alert, []job.Delivery, bool) {
		h := &list[i]
		s := notify.ParseState(old, h.of)
		out, changed := s.Take(h.Key, h.fact, h.rules, now)
		return s.Alert(h.rules), out, changed
	})
	if err == nil {
		m.wakeDeliveries()
	}
	return err
}

func (m *Master) wakeDeliveries() {
	select {
	case m.toDeliver <- struct{}{}:
	default:
	}
}

// watchAlerts does what time brings about, until ctx ends: reminders, the word on what changed too often, runs that are late.
func (m *Master) watchAlerts(ctx context.Context) {
	late := newLateness(m)
	pruned := time.Time{}
	for sleep(ctx, alertsEvery) {
		if err := m.tickAlerts(ctx); err != nil && ctx.Err() == nil {
			m.Logger.Warn("reminders wait", "error", err)
		}
		if err := late.look(ctx); err != nil && ctx.Err() == nil {
			m.Logger.Warn("nobody is told of late runs now", "error", err)
		}
		if now := m.Now(); now.Sub(pruned) > time.Hour {
			keep := m.Retention.MaxAge
			if keep <= 0 {
				keep = keepAlerts
			}
			if m.History.PruneAlerts(ctx, now.Add(-keep)) == nil {
				pruned = now
			}
		}
	}
}

func (m *Master) tickAlerts(ctx context.Context) error {
	const atOnce = 100
	for {
		now := m.Now().UTC()
		keys, err := m.History.DueAlerts(ctx, now, atOnce)
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, k := range keys {
			key := job.ParseAlertKey(k)
			var rules []job.Notify
			var of int64
			m.view.with(func() { rules, of, _ = m.view.watched(key) })
			err := m.History.ChangeAlerts(ctx, []job.AlertInput{{Key: key}}, func(_ int, old job.Alert) (job.Alert, []job.Delivery, bool) {
				if old.Due.IsZero() || old.Due.After(now) {
					return old, nil, false
				}
				s := notify.ParseState(old, of)
				out := s.Tick(key, rules, now)
				return s.Alert(rules), out, true
			})
			if err != nil {
				return err
			}
		}
		m.wakeDeliveries()
		if len(keys) < atOnce {
			return nil
		}
	}
}
