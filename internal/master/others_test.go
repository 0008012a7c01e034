package master_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// refused applies documents that must be refused whole, with all that is said of it.
func (l *life) refused(docs job.Documents, want ...string) {
	l.w.t.Helper()
	written := func() (revs []int64) { // the leader writes too, but neither of these
		tasks, _, err := l.w.admin.Tasks().List(l.w.ctx)
		if err != nil {
			l.w.t.Fatal(err)
		}
		for _, e := range tasks {
			revs = append(revs, e.Revision)
		}
		templates, _, err := l.w.admin.Templates().List(l.w.ctx)
		if err != nil {
			l.w.t.Fatal(err)
		}
		for _, e := range templates {
			revs = append(revs, e.Revision)
		}
		return revs
	}
	before := written()
	_, err := l.ApplyDocuments(l.w.ctx, docs, master.ApplyOptions{})
	for _, text := range want {
		if job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), text) {
			l.w.t.Errorf("want %q, found %v", text, err)
		}
	}
	if after := written(); !slices.Equal(before, after) {
		l.w.t.Errorf("something was written: %v, then %v", before, after)
	}
}

func (l *life) accepted(docs job.Documents) {
	l.w.t.Helper()
	if _, err := l.ApplyDocuments(l.w.ctx, docs, master.ApplyOptions{}); err != nil {
		l.w.t.Error(err)
	}
}

// The tasks that follow a template are checked as if they were applied, with the tasks as they will be: the refusal names the template, the task and
// the way. ancestor 26
func TestTemplatesAreCheckedThroughTheirTasks(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		base := func(edit func(*job.Task), name ...string) job.Template {
			b := job.Template{Task: job.Task{Name: "base", Command: job.Args("true")}}
			if len(name) > 0 {
				b.Name = name[0]
			}
			if edit != nil {
				edit(&b.Task)
			}
			return b
		}
		templates := func(list ...job.Template) job.Documents { return job.Documents{Templates: list} }
		follows := func(names ...string) func(*job.Task) {
			return func(t *job.Task) { t.Templates, t.Command = names, job.Command{} }
		}
		on := func(node job.NodeID) func(*job.Task) { return func(t *job.Task) { t.Nodes = []job.NodeID{node} } }
		m.accepted(job.Documents{
			Templates: []job.Template{base(nil), base(nil, "more")},
			Tasks: []job.Task{
				task("a", "", follows("base")), task("b", "", needs("a")), task("far", "", on("n2")), task("near", "", on("n1")), task("user", "", needs("near")),
			},
		})

		const by = " (by template base)"
		m.refused(templates(base(needs("b"))), "templates[0]: task default/a.depends[0].task: the dependencies go in a circle: default/a -> default/b -> default/a"+by)
		m.refused(templates(base(needs("z"))), "templates[0]: task default/a.depends[0].task: there is no task default/z"+by)
		m.refused(templates(base(func(t *job.Task) { on("n1")(t); needs("far")(t) })), "templates[0]: task default/a.depends[0]: default/far never runs on a node of default/a: default/a names n1, and default/far names n2"+by)
		m.refused(templates(base(func(t *job.Task) { t.Stdin = "{{ steps.b.result.x }}" })), `templates[0]: task default/a: step b is not before step a`+by)
		m.refused(templates(base(func(t *job.Task) { t.Timer, t.Exclude = "@daily", []string{"calendar:none"} })), "templates[0]: task default/a.exclude[0]: there is no calendar none"+by)
		m.refused(templates(base(func(t *job.Task) { t.Timer = "@at 1990-01-01T00:00:00Z" })), "templates[0]: task default/a.timer: ", "never fires")

		// What closes the circle may be applied together with the template, and what opens it too.
		m.refused(job.Documents{Templates: []job.Template{base(needs("b"))}, Tasks: []job.Task{task("c", ""), task("b", "", needs("c", "a"))}}, "default/b -> default/a -> default/b")
		m.accepted(job.Documents{Templates: []job.Template{base(needs("b"))}, Tasks: []job.Task{task("b", "")}})
		// Two followers of two templates that are applied at once close one.
		m.accepted(job.Documents{Tasks: []job.Task{task("d", "", follows("base", "more"))}})
		m.refused(templates(base(needs("b")), base(needs("d"), "more")), "templates[0]: task default/d.depends[0].task", "(by template base and more)")

		// A task whose dependency was deleted by force waits. What is wrong with it already keeps nobody from changing its template.
		if err := m.Delete(w.ctx, job.Ref("", "b"), 0); err != nil {
			t.Fatal(err)
		}
		m.accepted(templates(base(func(t *job.Task) { needs("b")(t); t.Description = "as before"; t.User = "root" })))
		m.refused(templates(base(needs("b", "z"))), "there is no task default/z"+by)
	})
}

// A task that changes is checked against those that depend on it, near and far.
func TestDependentsAreChecked(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		on := func(node job.NodeID) func(*job.Task) { return func(t *job.Task) { t.Nodes = []job.NodeID{node} } }
		within := func(t *job.Task) { t.Depends = []job.Depend{{Task: "mount", Within: job.Duration(1e9)}} }
		data := func(t *job.Task) { t.Stdin = "{{ steps.mount.result.path }}" }
		m.apply(task("mount", "", on("n1")), task("check", "", on("n1"), needs("mount")), task("use", "", on("n1"), needs("check"), data), task("fresh", "", within))
		tasks := func(list ...job.Task) job.Documents { return job.Documents{Tasks: list} }

		m.refused(tasks(task("mount", "", on("n2"))), "tasks[0]: task default/check.depends[0]: default/mount never runs on a node of default/check")
		m.refused(tasks(task("x", ""), task("mount", "", on("n1"), once)), "tasks[1]: task default/fresh.depends[0].within: default/mount has mode onlyonce")
		m.refused(tasks(task("check", "", on("n1"))), "tasks[0]: task default/use: step mount is not before step use")
		if _, err := m.Put(w.ctx, task("mount", "", on("n2")), -1); err == nil || !strings.Contains(err.Error(), "task default/check.depends[0]: default/mount never runs") {
			t.Errorf("a put: %v", err)
		}
		// Through a template that the needed task follows.
		m.accepted(job.Documents{
			Templates: []job.Template{{Task: job.Task{Name: "place", Nodes: []job.NodeID{"n1"}}}},
			Tasks:     []job.Task{task("mount", "", func(t *job.Task) { t.Templates = job.Names{"place"} })},
		})
		m.refused(job.Documents{Templates: []job.Template{{Task: job.Task{Name: "place", Nodes: []job.NodeID{"n2"}}}}},
			"templates[0]: task default/check.depends[0]: default/mount never runs on a node of default/check")

		// Moved together, or with what needs it pruned, nothing is wrong.
		m.accepted(tasks(task("mount", "", on("n2")), task("check", "", on("n2"), needs("mount")), task("use", "", on("n2"), needs("check"), data)))
		if _, err := m.Apply(w.ctx, []job.Task{task("mount", "", on("n3"))}, master.ApplyOptions{Prune: []string{"default"}}); err != nil {
			t.Error(err)
		}
	})
}
