package master_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/internal/notify"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// mailman is a receiver that knows what it got before.
type mailman struct {
	mu    sync.Mutex
	seen  map[string]int // how often, by ID
	order []notify.Message
	fail  func(m notify.Message) error
}

func (p *mailman) Send(_ context.Context, _ *job.Receiver, m notify.Message) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		if err := p.fail(m); err != nil {
			return "", err
		}
	}
	if p.seen == nil {
		p.seen = map[string]int{}
	}
	if p.seen[m.ID]++; p.seen[m.ID] == 1 {
		p.order = append(p.order, m)
	}
	return "taken", nil
}

func (p *mailman) events() (events []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.order {
		events = append(events, string(m.Event))
	}
	return events
}

func (h *faulty) ChangeAlerts(ctx context.Context, in []job.AlertInput, decide func(int, job.Alert) (job.Alert, []job.Delivery, bool)) error {
	return h.call("alert", func() error { return h.History.ChangeAlerts(ctx, in, decide) })
}

func (h *faulty) PutDeliveries(ctx context.Context, list []job.Delivery) error {
	return h.call("delivered", func() error {
		err := h.History.PutDeliveries(ctx, list)
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, d := range list {
			if err == nil && d.Status == job.DeliverySent {
				if h.sent == nil {
					h.sent = map[string]bool{}
				}
				h.sent[d.ID] = true
			}
		}
		return err
	})
}

func (h *faulty) DueDeliveries(ctx context.Context, now time.Time, limit int) (list []job.Delivery, err error) {
	err = h.call("due", func() error {
		list, err = h.History.DueDeliveries(ctx, now, limit)
		return err
	})
	return list, err
}

// told starts masters that share a receiver, and a task that tells it of everything.
func (l *life) applyNotified(ref string, perHour int) {
	t := l.w.t
	_, err := l.ApplyDocuments(l.w.ctx, job.Documents{
		Receivers: []job.Receiver{{Name: "ops", Webhook: &job.Webhook{URL: job.TextOrSecret{Text: "https://example.com"}}, MaxPerHour: perHour}},
		Tasks: []job.Task{task(ref, "@daily", func(t *job.Task) {
			t.Notify = []job.Notify{{On: []job.AlertEvent{"failed", "missed", "lost", "recovered"}, To: job.Names{"ops"}}}
		})},
	}, master.ApplyOptions{})
	code(t, err, "")
}

func outcome(ref string, node job.NodeID, o job.Outcome, at time.Time) job.ExecutionRecord {
	r := firing(job.Ref("", ref), node, at)
	r.Outcome, r.Success, r.BeginTime, r.EndTime = o, o == job.Success, at, at.Add(time.Second)
	return r
}

// The leader is killed at each step between a record and the word on its message: each change is told once, in order.
// ancestor 45
func TestKilledWhileNotifying(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"insert", "alert", "mark", "due", "delivered"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after %v", step, after), func(t *testing.T) {
				inWorld(t, func(w *world) { notifiedAt(w, step, after) })
			})
		}
	}
}

func notifiedAt(w *world, step string, after bool) {
	post := &mailman{}
	first := w.unserved("m1")
	taken := &mailman{} // from the first one
	first.Notifier = &mailman{fail: func(m notify.Message) error {
		_, err := post.Send(w.ctx, nil, m)
		_, _ = taken.Send(w.ctx, nil, m)
		return err
	}}
	first.serve()
	w.until("m1 leads", first.Leads)
	second := w.unserved("m2")
	second.Notifier = post
	second.serve()
	n := w.node("n1")
	first.applyNotified("backup", 0)
	w.until("both know of it", func() bool {
		list, err := second.Tasks(w.ctx, "", "")
		return err == nil && len(list) == 1
	})
	var died atomic.Bool
	first.hist.set(func(op string, is bool) error {
		if op == step && is == after && died.CompareAndSwap(false, true) {
			first.die()
			return store.ErrCut
		}
		return nil
	})
	at := time.Now().Truncate(time.Second)
	for i, o := range []job.Outcome{job.Failed, job.Failed, job.Success, job.Missed, job.Success} {
		n.handOver(outcome("backup", "n1", o, at.Add(time.Duration(i)*time.Minute)))
	}
	want := []string{"failed", "recovered", "missed", "recovered"}
	w.until("the first master is dead", died.Load)
	w.until("all is told", func() bool { return len(post.events()) >= len(want) })
	time.Sleep(2 * time.Hour)
	if got := post.events(); !slices.Equal(got, want) {
		w.t.Errorf("told %v, want %v", got, want)
	}
	for id, n := range post.seen { // once more, if who sent it died before that was kept
		if most := 1 + taken.seen[id]; n > most || n > 1 && first.hist.sent[id] {
			w.t.Errorf("message %s was sent %d times, %d of them by the first master; kept as sent: %v", id, n, taken.seen[id], first.hist.sent[id])
		}
	}
	list, err := w.db.Deliveries(w.ctx, job.DeliveryFilter{Receiver: "ops"})
	if err != nil || len(list) != len(want) {
		w.t.Fatalf("%d deliveries, %v", len(list), err)
	}
	for _, d := range list {
		if d.Status != job.DeliverySent || d.Answer != "taken" {
			w.t.Errorf("%+v", d)
		}
	}
}

// A receiver that is away for hours gets everything, one that takes five an hour gets four and summaries.
func TestReceiversThatAreAwayOrSlow(t *testing.T) {
	inWorld(t, func(w *world) {
		post := &mailman{fail: func(notify.Message) error { return job.Errorf(job.CodeUnavailable, "away") }}
		m := w.unserved("m1")
		m.Notifier = post
		m.serve()
		w.until("it leads", m.Leads)
		n := w.node("n1")
		m.applyNotified("backup", 5)
		at := time.Now().Truncate(time.Second)
		n.handOver(outcome("backup", "n1", job.Failed, at))
		time.Sleep(5 * time.Hour)
		if got := post.events(); got != nil {
			t.Fatalf("%v", got)
		}
		post.mu.Lock()
		post.fail = nil
		post.mu.Unlock()
		time.Sleep(31 * time.Minute)
		if got := post.events(); !slices.Equal(got, []string{"failed"}) {
			t.Fatalf("told %v", got)
		}
		for i := range 12 { // eleven other nodes
			node := job.NodeID(fmt.Sprint("other", i))
			n.handOver(outcome("backup", node, job.Failed, at.Add(time.Duration(i)*time.Second)))
		}
		time.Sleep(3 * time.Hour)
		got := post.events()
		if len(got) < 5 || len(got) > 8 || !slices.Contains(got, "summary") {
			t.Errorf("%v", got)
		}
		list, err := w.db.Deliveries(w.ctx, job.DeliveryFilter{Status: job.DeliveryWaiting})
		if err != nil || len(list) != 0 {
			t.Errorf("%d wait, %v", len(list), err)
		}
	})
}

// Pings go to history as records do, through a change of leader, and also while history is away.
func TestPings(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.leader("m1")
		second := w.master("m2")
		_, err := first.ApplyDocuments(w.ctx, job.Documents{Monitors: []job.Monitor{{Name: "nas", Timer: "@hourly", Grace: job.Duration(10 * time.Minute)}}}, master.ApplyOptions{})
		code(t, err, "")
		v, err := first.Monitor(w.ctx, "nas")
		code(t, err, "")
		w.until("the other knows the key", func() bool { return second.CheckPing(v.Key) == nil })
		code(t, second.Ping(w.ctx, "no key", job.Ping{Sort: job.PingOK}), job.CodeNotFound)
		time.Sleep(time.Until(v.Next) + time.Minute)
		second.hist.set(away)
		first.hist.set(away)
		code(t, second.Ping(w.ctx, v.Key, job.Ping{Sort: job.PingOK, Output: "all well"}), "")
		first.die()
		w.until("the other leads", second.Leads)
		second.hist.set(nil)
		time.Sleep(3 * time.Hour)
		var got []string
		page, err := w.db.Records(w.ctx, job.RecordFilter{Group: job.MonitorGroup, Task: "nas", WithOutput: true})
		code(t, err, "")
		instants := 0
		for _, r := range page.Records {
			got = append(got, string(r.Outcome))
			instants += r.Instants()
		}
		if instants != 3+1 && instants != 3 || got[len(got)-1] != "success" || page.Records[len(got)-1].Output != "all well" || !slices.Contains(got, "missed") {
			t.Errorf("%v, %d instants", got, instants)
		}
		renewed, err := second.RenewMonitorKey(w.ctx, "nas")
		code(t, err, "")
		code(t, second.Ping(w.ctx, v.Key, job.Ping{Sort: job.PingOK}), job.CodeNotFound)
		code(t, second.Ping(w.ctx, renewed.Key, job.Ping{Sort: job.PingOK}), "")
		code(t, second.DeleteMonitor(w.ctx, "nas"), "")
		code(t, second.Ping(w.ctx, renewed.Key, job.Ping{Sort: job.PingOK}), job.CodeNotFound)
	})
}
