package master_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// A template is part of its tasks: they follow it when it changes, whoever is cut off in the middle, and it stays for as long as one
// names it (ancestor 25).
func TestTemplates(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		if _, err := w.admin.Nodes().Put(w.ctx, &job.Node{ID: "n1", Labels: map[string]string{"role": "db"}, CreatedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
		w.until("the node is known", func() bool { n, err := m.Nodes(w.ctx); return err == nil && len(n) == 1 })
		pg := func(line string) job.Template {
			return job.Template{Task: job.Task{Name: "pg", Command: job.Line(line), Labels: map[string]string{"role": "db"}, Timeout: job.Duration(time.Minute)}}
		}
		task := job.Task{Name: "a", Templates: job.Names{"pg"}, Env: map[string]string{"X": "1"}}
		docs := func(line string, tasks ...job.Task) job.Documents {
			return job.Documents{Templates: []job.Template{pg(line)}, Tasks: tasks}
		}

		_, err := m.Apply(w.ctx, []job.Task{task}, master.ApplyOptions{})
		if err == nil || !strings.Contains(err.Error(), `there is no template "pg"`) {
			t.Fatalf("%v", err)
		}
		if dry, err := m.ApplyDocuments(w.ctx, docs("one", task), master.ApplyOptions{DryRun: true}); err != nil || len(dry) != 2 || dry[0].What() != "template pg" || dry[1].Change != master.Created {
			t.Fatalf("%+v, %v", dry, err)
		}
		if _, err := m.Template(w.ctx, "pg"); !job.IsNotFound(err) {
			t.Errorf("a dry run writes: %v", err)
		}
		done, err := m.ApplyDocuments(w.ctx, docs("one", task), master.ApplyOptions{})
		if err != nil || len(done) != 2 || done[0].Change != master.Created || done[1].Change != master.Created {
			t.Fatalf("%+v, %v", done, err)
		}
		command := func() string {
			list, _, err := w.admin.Jobs().List(w.ctx)
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			return list[0].Command
		}
		if got := command(); got != "one" {
			t.Errorf("the job runs %q", got)
		}
		again, err := m.ApplyDocuments(w.ctx, docs("one", task), master.ApplyOptions{})
		if err != nil || again[0].Change != master.Unchanged || again[1].Change != master.Unchanged {
			t.Errorf("applying again changes something: %+v, %v", again, err)
		}
		e, err := w.admin.Tasks().Get(w.ctx, "default", "a")
		if err != nil || e.Task.Timeout.Seconds() != 60 || e.Written == nil || e.Written.Timeout != 0 || e.Task.Env["X"] != "1" {
			t.Errorf("%+v, %v", e, err)
		}

		// A template alone takes its tasks along.
		if _, err := m.ApplyDocuments(w.ctx, docs("two"), master.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		w.until("the job follows", func() bool { return command() == "two" })
		// One that makes a task invalid is refused whole.
		bad := docs("two")
		bad.Templates[0].Command = job.Command{}
		if _, err := m.ApplyDocuments(w.ctx, bad, master.ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "task default/a.command: there is no command") {
			t.Errorf("%v", err)
		}
		// Whoever wrote the template was cut off before the tasks: the leader goes on with it.
		entry, err := w.admin.Templates().Get(w.ctx, "pg")
		if err != nil {
			t.Fatal(err)
		}
		entry.Document, entry.Generation = pg("three"), entry.Generation+1
		if _, err := w.admin.Templates().Put(w.ctx, entry); err != nil {
			t.Fatal(err)
		}
		w.until("the leader goes on", func() bool { return command() == "three" })

		if err := m.DeleteTemplate(w.ctx, "pg"); !job.IsConflict(err) || !strings.Contains(err.Error(), "template pg is used by task default/a") {
			t.Errorf("%v", err)
		}
		if err := m.Delete(w.ctx, task.Ref(), 0); err != nil {
			t.Fatal(err)
		}
		if err := m.DeleteTemplate(w.ctx, "pg"); err != nil {
			t.Error(err)
		}
		if err := m.DeleteTemplate(w.ctx, "pg"); !job.IsNotFound(err) {
			t.Error(err)
		}
	})
}

// What a run is given is held to what its task declares, before anything is asked of a node.
func TestParameters(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		five := "5"
		task := job.Task{Name: "a", Command: job.Args("x", "{{ params.N }}"), Params: map[string]job.Param{"N": {Type: job.ParamInt, Default: &five}, "M": {Required: true}}}
		if _, err := m.Apply(w.ctx, []job.Task{task}, master.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err := m.Run(w.ctx, master.RunRequest{Task: task.Ref(), Params: map[string]string{"N": "x", "Q": "1"}})
		if job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), "parameter N: found") || !strings.Contains(err.Error(), "no parameter \"Q\"") ||
			!strings.Contains(err.Error(), "parameter M is required") {
			t.Errorf("%v", err)
		}
	})
}
