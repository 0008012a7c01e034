package master_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/internal/notify"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

var opsReceiver = job.Receiver{Name: "ops", Webhook: &job.Webhook{URL: job.TextOrSecret{Text: "https://example.com"}}}

// posted serves a master that sends its messages to a mailman.
func (w *world) posted(name string, post *mailman) *life {
	m := w.unserved(name)
	m.Notifier = post
	m.serve()
	return m
}

// applyFlow applies a group of one step that tells of everything. Its executions succeed where the parameter WELL is yes.
func (l *life) applyFlow(edit func(*job.Group)) {
	l.w.t.Helper()
	g := job.Group{
		Name: "etl", Params: map[string]job.Param{"WELL": {Default: new(string)}},
		Notify: []job.Notify{{On: []job.AlertEvent{"failed", "missed", "late", "skipped", "recovered"}, To: job.Names{"ops"}}},
	}
	if edit != nil {
		edit(&g)
	}
	step := job.Task{Name: "load", Group: "etl", Command: job.Line("true"), Kind: "interval"}
	step.When = "split(params.WELL, 'e')[1] == 's'" // of another text there is no such word: the step fails
	_, err := l.ApplyDocuments(l.w.ctx, job.Documents{Receivers: []job.Receiver{opsReceiver}, Groups: []job.Group{g}, Tasks: []job.Task{step}}, master.ApplyOptions{})
	code(l.w.t, err, "")
}

func (l *life) execute(key, well string) string {
	l.w.t.Helper()
	v, err := l.RunGroup(l.w.ctx, client.GroupRequest{Group: "etl", Key: key, Params: map[string]string{"WELL": well}})
	code(l.w.t, err, "")
	return v.ID
}

// People are told of the executions of a group as of the runs of a task: of changes. The leader is killed at each step between the end of
// one and its leaving etcd, and each counts once. ancestor 45
func TestExecutionsAreTold(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"put execution", "alert", "etcd", "due"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after %v", step, after), func(t *testing.T) {
				inWorld(t, func(w *world) { executionsToldAt(w, step, after) })
			})
		}
	}
}

func executionsToldAt(w *world, step string, after bool) {
	post := &mailman{}
	first := w.posted("m1", post)
	w.until("m1 leads", first.Leads)
	second := w.posted("m2", post)
	w.node("n1").works()
	first.applyFlow(nil)
	w.until("both know of it", func() bool {
		v, err := second.GroupOf(w.ctx, "etl")
		return err == nil && v.Document != nil && v.Tasks == 1
	})
	var died atomic.Bool
	die := func() error {
		if died.CompareAndSwap(false, true) {
			first.die()
			return store.ErrCut
		}
		return nil
	}
	first.hist.set(func(op string, is bool) error {
		if op == step && is == after {
			return die()
		}
		return nil
	})
	w.mem.OnCall(func(ctx context.Context, c store.Call) error {
		if step != "etcd" || c.Client != "m1" || c.Op != "txn" || c.After != after || !strings.Contains(strings.Join(c.Keys, " "), "/executions/etl/") {
			return nil
		}
		if list, err := w.db.Deliveries(ctx, job.DeliveryFilter{}); err != nil || len(list) == 0 {
			return err
		}
		return die() // it is told, and about to leave etcd
	})
	inHistory := func(id string) func() bool {
		return func() bool { _, err := w.db.Execution(w.ctx, id); return err == nil }
	}
	for i, well := range []string{"no", "no", "yes", "yes", "no", "yes"} {
		id := second.execute(fmt.Sprint("k", i), well)
		w.until("it is in history", inHistory(id))
	}
	want := []string{"failed", "recovered", "failed", "recovered"}
	w.until("the first master is dead", died.Load)
	w.until("all is told", func() bool { return len(post.events()) >= len(want) })
	time.Sleep(5 * time.Minute)
	if got := post.events(); !slices.Equal(got, want) {
		w.t.Errorf("told %v, want %v", got, want)
	}
	post.mu.Lock()
	defer post.mu.Unlock()
	for i, m := range post.order {
		if m.Sort != job.AlertGroup || m.Name != "etl" || !strings.HasPrefix(m.Record, job.ExecutionPrefix) || m.Count != []int{1, 2, 1, 1}[i] {
			w.t.Errorf("message %d is %+v", i, m)
		}
	}
	if n, err := w.admin.Executions().Count(w.ctx); err != nil || n != 0 {
		w.t.Errorf("%d executions are left in etcd, %v", n, err)
	}
}

// An execution that takes longer than its group says, or than those before it, is told while it runs; an instant that begins none is told as
// what it is; and nobody is told of an execution that a person cancelled.
func TestExecutionsThatAreLateOrNone(t *testing.T) {
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("by those before it %v", known), func(t *testing.T) {
			inWorld(t, func(w *world) {
				post := &mailman{}
				m := w.posted("m1", post)
				w.until("it leads", m.Leads)
				m.applyFlow(func(g *job.Group) {
					if g.Timer = "0 2 * * *"; !known {
						g.LateAfter = job.Duration(time.Minute)
					}
				})
				if known { // of ten one took an hour, the others twenty minutes
					for i := range 10 {
						end, took := time.Now().Add(-time.Duration(i)*time.Hour), 20*time.Minute
						if i == 3 {
							took = time.Hour
						}
						code(t, w.db.PutExecution(w.ctx, &job.GroupExecution{
							ID: fmt.Sprint("ex-old", i), Group: "etl", Status: job.ExecutionSuccess, BeganAt: end.Add(-took), EndedAt: end, Steps: []job.Step{{Name: "load"}},
						}), "")
					}
				}
				code(t, second(m.CancelExecution(w.ctx, m.execute("cancelled", "yes"), "somebody")), "")
				n := w.node("n1")
				began := time.Now()
				id := m.execute("late", "yes")
				limit := time.Minute
				if known {
					limit = time.Hour
				}
				time.Sleep(time.Until(began.Add(limit)))
				if got := post.events(); got != nil {
					t.Errorf("before it is late %v is told", got)
				}
				w.until("it is late", func() bool { return len(post.events()) > 0 })
				post.mu.Lock()
				first := post.order[0]
				post.mu.Unlock()
				if first.Event != job.AlertLate || first.Record != id || !strings.Contains(first.Reason, "longer than 1") {
					t.Errorf("told %+v", first)
				}
				n.works()
				w.until("it has ended", func() bool { _, err := w.db.Execution(w.ctx, id); return err == nil })
				w.until("it is told", func() bool { return len(post.events()) > 1 })
				v, err := m.GroupOf(w.ctx, "etl")
				code(t, err, "")
				n.leave()
				time.Sleep(time.Until(v.Next[0]) - time.Minute)
				m.execute("under way", "yes")
				time.Sleep(2 * time.Minute)
				if got, want := post.events(), []string{"late", "recovered", "skipped"}; !slices.Equal(got[:3], want) {
					t.Errorf("told %v, want %v", got, want)
				}
			})
		})
	}
}

// A receiver that is named is not deleted. A message that waits for one that is gone all the same is given up at once, and says why; while
// nobody knows whether it is there, it waits.
func TestReceiverThatIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		post := &mailman{fail: func(notify.Message) error { return job.Errorf(job.CodeUnavailable, "away") }}
		m := w.posted("m1", post)
		w.until("it leads", m.Leads)
		w.node("n1").works()
		m.applyFlow(nil)
		err := m.DeleteReceiver(w.ctx, "ops")
		if job.CodeOf(err) != job.CodeConflict || !strings.Contains(err.Error(), "used by group etl") {
			t.Errorf("deleted while it is named: %v", err)
		}
		m.execute("k", "no")
		status := func() job.Delivery {
			list, err := w.db.Deliveries(w.ctx, job.DeliveryFilter{Receiver: "ops"})
			if err != nil || len(list) != 1 {
				return job.Delivery{}
			}
			return list[0]
		}
		w.until("it was tried", func() bool { return status().Attempts > 0 })
		m.applyFlow(func(g *job.Group) { g.Notify = nil })
		var away atomic.Bool
		away.Store(true)
		w.mem.OnCall(func(_ context.Context, c store.Call) error {
			if away.Load() && c.Client == "m1" && c.Op == "range" && strings.Contains(strings.Join(c.Keys, " "), "/receivers/ops") {
				return errors.New("etcd is away")
			}
			return nil
		})
		code(t, w.admin.Receivers().Delete(w.ctx, 0, "ops"), "")
		tries := status().Attempts
		time.Sleep(time.Hour)
		if d := status(); d.Status != job.DeliveryWaiting || d.Attempts <= tries || !strings.Contains(d.Answer, "etcd is away") {
			t.Errorf("while nobody knows: %+v", d)
		}
		away.Store(false)
		time.Sleep(30 * time.Minute)
		w.until("it is given up", func() bool { return status().Status == job.DeliveryFailed })
		if d := status(); !strings.Contains(d.Answer, "there is no receiver ops any more") || d.DoneAt.IsZero() || d.DoneAt.Sub(d.Created) > 2*time.Hour {
			t.Errorf("given up as %+v", d)
		}
	})
}
