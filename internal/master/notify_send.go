package master

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rota-dev/rota/internal/notify"
	"github.com/rota-dev/rota/job"
)

// How messages are sent.
const (
	deliverEvery   = time.Second
	deliverAtOnce  = 1000
	deliverFirst   = 10 * time.Second // before the second attempt; each wait is twice the last one
	deliverMost    = 30 * time.Minute
	deliverGiveUp  = 24 * time.Hour
	deliverHistory = 5 * time.Second // for the word on what was sent, when the leader is stopped
)

// deliver sends what waits, until ctx ends. Only the leader does. What was sent and not noted, because the leader died in between, is
// sent again with the same ID.
func (m *Master) deliver(ctx context.Context) {
	if m.Notifier == nil {
		return
	}
	t := time.NewTicker(deliverEvery)
	defer t.Stop()
	for {
		if err := m.deliverDue(ctx); err != nil && ctx.Err() == nil {
			m.Logger.Warn("messages wait", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-m.toDeliver:
		case <-t.C:
		}
	}
}

func (m *Master) deliverDue(ctx context.Context) error {
	due, err := m.History.DueDeliveries(ctx, m.Now().UTC(), deliverAtOnce)
	if err != nil || len(due) == 0 {
		return err
	}
	by := map[string][]job.Delivery{}
	for _, d := range due {
		by[d.Receiver] = append(by[d.Receiver], d)
	}
	var wg sync.WaitGroup
	errs := make([]error, 0, len(by))
	var mu sync.Mutex
	for name, list := range by {
		wg.Go(func() {
			if err := m.deliverTo(ctx, name, list); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// deliverTo sends messages to one receiver, no more in an hour than it takes: the last one is a summary of those that are left.
func (m *Master) deliverTo(ctx context.Context, name string, list []job.Delivery) error {
	r, lacks := m.receiverNow(ctx, name)
	if job.IsNotFound(lacks) {
		return m.giveUp(ctx, list, "there is no receiver "+name+" any more: it was deleted while this waited for it")
	}
	limit := job.DefaultPerHour
	if r != nil && r.Document.MaxPerHour > 0 {
		limit = r.Document.MaxPerHour
	}
	sent, err := m.History.SentTimes(ctx, name, m.Now().Add(-time.Hour))
	if err != nil {
		return err
	}
	for len(list) > 0 && ctx.Err() == nil {
		if len(sent) >= limit {
			return m.postpone(ctx, list, sent[len(sent)-limit].Add(time.Hour))
		}
		first := list[0]
		if whole := slices.DeleteFunc(slices.Clone(list), func(d job.Delivery) bool { return d.Event == job.AlertSummary }); len(sent) == limit-1 && len(whole) > 1 && len(whole) == len(list) {
			sum, into := notify.Summary(whole, limit, m.Now().UTC())
			if err := m.History.PutDeliveries(ctx, append([]job.Delivery{sum}, into...)); err != nil {
				return err
			}
			first, list = sum, nil
		} else {
			list = list[1:]
		}
		ok, err := m.attempt(ctx, r, lacks, first)
		if err != nil {
			return err
		}
		if ok {
			sent = append(sent, m.Now())
		}
	}
	return nil
}

// receiverNow is a receiver by the view, and where that has none by the store: what the view lacks may be there.
func (m *Master) receiverNow(ctx context.Context, name string) (*job.Entry[job.Receiver], error) {
	var r *job.Entry[job.Receiver]
	m.view.with(func() { r = m.view.receivers[name] })
	if r != nil {
		return r, nil
	}
	return m.store().Receivers().Get(ctx, name)
}

// giveUp notes that messages will not be sent, and why.
func (m *Master) giveUp(ctx context.Context, list []job.Delivery, why string) error {
	now := m.Now().UTC()
	for i := range list {
		d := &list[i]
		d.Status, d.Answer, d.DoneAt, d.NextAt = job.DeliveryFailed, why, now, time.Time{}
		m.Logger.Warn("a message is given up", "receiver", d.Receiver, "about", d.Subject, "error", why)
	}
	return m.History.PutDeliveries(ctx, list)
}

// postpone lets messages wait without an attempt.
func (m *Master) postpone(ctx context.Context, list []job.Delivery, until time.Time) error {
	for i := range list {
		list[i].NextAt = until.UTC()
	}
	return m.History.PutDeliveries(ctx, list)
}

// attempt sends a message once, and notes what became of it. lacks says why there is no receiver to send it to.
func (m *Master) attempt(ctx context.Context, r *job.Entry[job.Receiver], lacks error, d job.Delivery) (ok bool, err error) {
	var answer string
	msg, failed := notify.ParseMessage(d.Message)
	if failed == nil {
		failed = lacks
	}
	if failed == nil {
		answer, failed = m.Notifier.Send(ctx, &r.Document, msg)
	}
	if failed != nil && ctx.Err() != nil {
		return false, nil // it was broken off, which says nothing of the receiver
	}
	now := m.Now().UTC()
	d.Attempts++
	if failed == nil {
		d.Status, d.Answer, d.DoneAt, d.NextAt = job.DeliverySent, answer, now, time.Time{}
	} else {
		d.Answer = cmp.Or(failed.Error(), answer)
		d.NextAt = now.Add(wait(d.Attempts))
		var later *notify.Later
		if errors.As(failed, &later) && later.After > 0 {
			d.NextAt = now.Add(later.After)
		}
		if now.Sub(d.Created) > deliverGiveUp {
			d.Status, d.DoneAt, d.NextAt = job.DeliveryFailed, now, time.Time{}
		}
		m.Logger.Warn("a message was not taken", "receiver", d.Receiver, "about", d.Subject, "attempt", d.Attempts, "given up", d.Status == job.DeliveryFailed, "error", d.Answer)
	}
	save, cancel := context.WithTimeout(context.WithoutCancel(ctx), deliverHistory)
	defer cancel()
	if ctx.Err() == nil {
		save = ctx
	}
	return failed == nil, m.History.PutDeliveries(save, []job.Delivery{d})
}

// wait is how long to wait after so many attempts.
func wait(attempts int) time.Duration {
	d := deliverFirst
	for range attempts - 1 {
		if d *= 2; d >= deliverMost {
			return deliverMost
		}
	}
	return d
}
