package master_test

import (
	"strings"
	"testing"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
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
