package master_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A dry run says of what is no task what it said before and what it would say; of what stays as it is, nothing.
func TestDocumentsBeforeAndAfter(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		docs := func(timer job.Timer) job.Documents {
			return job.Documents{Receivers: []job.Receiver{opsReceiver}, Groups: []job.Group{{Name: "etl", Timer: timer}}}
		}
		_, err := m.ApplyDocuments(w.ctx, docs("@hourly"), master.ApplyOptions{})
		code(t, err, "")
		done, err := m.ApplyDocuments(w.ctx, docs("@daily"), master.ApplyOptions{DryRun: true})
		code(t, err, "")
		if r := done[0]; r.Change != master.Unchanged || r.OldDocument != nil || r.NewDocument != nil {
			t.Errorf("the receiver: %+v", r)
		}
		g := done[1]
		if !strings.Contains(string(g.OldDocument), "@hourly") || !strings.Contains(string(g.NewDocument), "@daily") || g.NextBefore[0].Equal(g.NextAfter[0]) {
			t.Errorf("the group: %s, %s, %v, %v", g.OldDocument, g.NewDocument, g.NextBefore, g.NextAfter)
		}
	})
}

// An edit of a document replaces the version that was read, and no other; also where somebody else writes, through another master, at the very moment
// between its check and its writing.
func TestDocumentsCompareAndSwap(t *testing.T) {
	inWorld(t, func(w *world) {
		m, other := w.leader("m1"), w.master("m2")
		for _, sort := range []struct {
			name string
			doc  func(about string) job.Documents
			rev  func() int64
		}{
			{"templates", func(about string) job.Documents {
				return job.Documents{Templates: []job.Template{{Task: job.Task{Name: "a", Description: about, Command: job.Line("true")}}}}
			}, func() int64 {
				e, err := w.admin.Templates().Get(w.ctx, "a")
				code(t, err, "")
				return e.Revision
			}},
			{"receivers", func(about string) job.Documents {
				r := opsReceiver
				r.Name, r.Description = "a", about
				return job.Documents{Receivers: []job.Receiver{r}}
			}, func() int64 {
				e, err := w.admin.Receivers().Get(w.ctx, "a")
				code(t, err, "")
				return e.Revision
			}},
			{"groups", func(about string) job.Documents {
				return job.Documents{Groups: []job.Group{{Name: "a", Description: about}}}
			}, func() int64 {
				e, err := w.admin.Groups().Get(w.ctx, "a")
				code(t, err, "")
				return e.Revision
			}},
			{"monitors", func(about string) job.Documents {
				return job.Documents{Monitors: []job.Monitor{{Name: "a", Description: about, Timer: "@daily"}}}
			}, func() int64 {
				e, err := w.admin.Monitors().Get(w.ctx, "a")
				code(t, err, "")
				return e.Revision
			}},
		} {
			put := func(about string, rev int64) error { _, err := m.PutDocument(w.ctx, sort.doc(about), rev); return err }
			code(t, put("one", 7), job.CodeConflict)
			code(t, put("one", 0), "")
			code(t, put("two", 0), job.CodeConflict)
			read := sort.rev()
			code(t, put("two", read), "")
			code(t, put("three", read), job.CodeConflict)
			code(t, put("two", read), job.CodeConflict) // what it would say stands there, but by another's hand
			read = sort.rev()

			meddle := func() {
				meddled := false
				w.mem.OnCall(func(_ context.Context, c store.Call) error {
					if !meddled && c.Client == "m1" && c.Op == "txn" && slices.Contains(c.Keys, store.DefaultPrefix+sort.name+"/a") {
						meddled = true
						_, err := other.PutDocument(w.ctx, sort.doc("somebody else's"), -1)
						code(t, err, "")
					}
					return nil
				})
			}
			meddle()
			code(t, put("mine", read), job.CodeConflict)
			if got := sort.rev(); got == read {
				t.Errorf("%s: nobody else wrote", sort.name)
			}
			read = sort.rev()
			w.mem.OnCall(nil)
			code(t, put("mine", read), "")
			meddle()
			code(t, put("mine in any case", -1), "")
			w.mem.OnCall(nil)
		}
	})
}

// Faults of a document that stands alone are told by the paths in it.
func TestFaultsOfOneDocument(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		_, err := m.PutDocument(w.ctx, job.Documents{Monitors: []job.Monitor{{Name: "a", Timer: "@daily", Notify: []job.Notify{
			{On: []job.AlertEvent{job.AlertFailed}, To: job.Names{"nobody"}},
		}}}}, -1)
		code(t, err, job.CodeInvalid)
		if err == nil || !strings.Contains(err.Error(), "notify[0].to") || strings.Contains(err.Error(), "monitors[0]") {
			t.Errorf("%v", err)
		}
		_, err = m.PutDocument(w.ctx, job.Documents{}, -1)
		code(t, err, job.CodeInvalid)
	})
}
