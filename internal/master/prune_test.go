package master_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// What others need is not pruned: it is refused before anything is written, with who needs it. What is applied with it, and what is pruned
// with it, is asked as it will be.
func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		in := func(group string) func(*job.Task) { return func(t *job.Task) { t.Group = group } }
		by := func(template string) func(*job.Task) { return func(t *job.Task) { t.Templates = job.Names{template} } }
		mount := job.Template{Task: job.Task{Name: "mounted", Depends: []job.Depend{{Task: "default/mount"}}}}
		prune := func(dry bool, docs job.Documents) ([]master.Applied, error) {
			return m.ApplyDocuments(w.ctx, docs, master.ApplyOptions{DryRun: dry, Prune: []string{"default"}})
		}
		_, err := m.ApplyDocuments(w.ctx, job.Documents{Templates: []job.Template{mount}, Tasks: []job.Task{
			task("mount", ""), task("list", ""), task("backup", "", needs("mount")), task("export", "", in("shop"), by("mounted")),
			task("report", "", needs("list"), func(t *job.Task) { t.When = "steps.list.result.n > 1" }),
		}}, master.ApplyOptions{})
		code(t, err, "")
		before, _, err := w.admin.Tasks().List(w.ctx)
		code(t, err, "")
		for want, tasks := range map[string][]job.Task{
			"task default/mount would be deleted, and is needed by default/backup, shop/export": {task("backup", "", needs("mount")), task("new", "")},
			"task default/list would be deleted, and is needed by default/report":               {task("mount", ""), task("report", "", needs("list"))},
			"is needed by shop/export;": {task("backup", "")},
		} {
			for _, dry := range []bool{true, false} {
				_, err := prune(dry, job.Documents{Tasks: tasks})
				if job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--force") {
					t.Errorf("dry %t: want %q, found %v", dry, want, err)
				}
			}
		}
		after, _, err := w.admin.Tasks().List(w.ctx)
		if err != nil || !slices.EqualFunc(before, after, func(a, b *job.TaskEntry) bool { return a.Ref() == b.Ref() && a.Revision == b.Revision }) {
			t.Errorf("what was refused was written: %v", err)
		}
		// The one does not need it any more as it is applied, the other as its template is, the third is pruned too, before what it needs.
		mount.Depends = nil
		done, err := prune(false, job.Documents{Templates: []job.Template{mount}, Tasks: []job.Task{task("backup", "")}})
		code(t, err, "")
		var gone []string
		for _, a := range done {
			if a.Change == master.Deleted {
				gone = append(gone, a.Task.Name)
			}
		}
		if !slices.Equal(gone, []string{"mount", "report", "list"}) {
			t.Errorf("pruned %v", gone)
		}
	})
}
