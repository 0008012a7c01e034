package master_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

func TestApply(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		w.node("n1", "db")
		w.node("n2")
		onDB := func(t *job.Task) { t.Labels = map[string]string{"db": "yes"} }
		a := m.apply(task("a", "@hourly"), task("b", "", onDB))
		if a[0].Change != master.Created || a[1].Change != master.Created || len(a[0].NextAfter) != 5 || len(a[1].Nodes) != 1 {
			t.Errorf("created: %+v", a)
		}
		// What was applied is placed when the answer comes, and read back from the same master.
		jobs, err := m.Jobs(w.ctx, master.JobFilter{})
		if err != nil || len(jobs) != 3 {
			t.Errorf("%d jobs, %v", len(jobs), err)
		}
		if v, err := m.Task(w.ctx, job.Ref("", "a")); err != nil || len(v.Nodes) != 2 || v.Generation != 1 || !v.Since.Equal(v.CreatedAt) || v.Past != nil {
			t.Errorf("read back: %+v, %v", v, err)
		}
		rev := w.mem.Revision()
		for _, c := range m.apply(task("a", "@hourly"), task("b", "", onDB)) {
			if c.Change != master.Unchanged {
				t.Errorf("the second time %s is %s", c.Task, c.Change)
			}
		}
		dry, err := m.Apply(w.ctx, []job.Task{task("a", "@daily"), task("c", "")}, master.ApplyOptions{DryRun: true, Prune: []string{"default"}})
		if err != nil || len(dry) != 3 || dry[0].Change != master.Configured || dry[1].Change != master.Created || dry[2].Change != master.Deleted {
			t.Errorf("dry run: %+v, %v", dry, err)
		}
		if now := w.mem.Revision(); now != rev {
			t.Errorf("what changes nothing wrote %d times", now-rev)
		}
		done, err := m.Apply(w.ctx, []job.Task{task("a", "@daily")}, master.ApplyOptions{Prune: []string{"default"}})
		if err != nil || len(done) != 2 || done[1].Task.Name != "b" || done[1].Change != master.Deleted {
			t.Errorf("prune: %+v, %v", done, err)
		}
		if list, err := m.Tasks(w.ctx, "", ""); err != nil || len(list) != 1 {
			t.Errorf("after pruning: %v, %v", list, err)
		}
	})
}

// All documents are checked before the first is written.
func TestApplyAllOrNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		rev := w.mem.Revision()
		bad := []job.Task{task("a", ""), task("b", "never"), task("b", ""), task("c", "@at 1990-01-01T00:00:00Z"), task("d/e", "")}
		_, err := m.Apply(w.ctx, bad, master.ApplyOptions{})
		code(t, err, job.CodeInvalid)
		for _, want := range []string{"tasks[1].timer", "tasks[2]", "tasks[3].timer", "tasks[4].name"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not speak of %s: %v", want, err)
			}
		}
		_, err = m.Apply(w.ctx, []job.Task{task("a", "")}, master.ApplyOptions{Prune: []string{"../x"}})
		code(t, err, job.CodeInvalid)
		if w.mem.Revision() != rev {
			t.Error("something was written")
		}
	})
}

// An edit replaces the version that was read, and no other. ancestor 18
func TestPutComparesAndSwaps(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		put := func(tk job.Task, rev int64) error { _, err := m.Put(w.ctx, tk, rev); return err }
		code(t, put(task("a", "@hourly"), 7), job.CodeConflict)
		code(t, put(task("a", "@hourly"), 0), "")
		code(t, put(task("a", "@hourly"), 0), job.CodeConflict)
		v, err := m.Task(w.ctx, job.Ref("", "a"))
		if err != nil {
			t.Fatal(err)
		}
		code(t, put(task("a", "@daily"), v.Revision), "")
		code(t, put(task("a", "@weekly"), v.Revision), job.CodeConflict)
		code(t, m.Delete(w.ctx, job.Ref("", "a"), v.Revision), job.CodeConflict)
		code(t, put(task("a", "nonsense"), v.Revision), job.CodeInvalid)

		// Somebody else writes between the reading and the writing: an apply has the last word, a put does not.
		v, err = m.Task(w.ctx, job.Ref("", "a"))
		if err != nil || v.Task.Timer != "@daily" {
			t.Fatalf("%v, %v", v, err)
		}
		between := func() {
			meddled := false
			w.mem.OnCall(func(_ context.Context, c store.Call) error {
				if !meddled && c.Client == "m1" && c.Op == "txn" && slices.Contains(c.Keys, store.DefaultPrefix+"tasks/default/a") {
					meddled = true
					e, err := w.admin.Tasks().Get(w.ctx, "default", "a")
					if err == nil {
						e.Task.Description += "x"
						_, err = w.admin.Tasks().Put(w.ctx, e)
					}
					if err != nil {
						t.Error(err)
					}
				}
				return nil
			})
		}
		between()
		code(t, put(task("a", "@weekly"), v.Revision), job.CodeConflict)
		between()
		if a := m.apply(task("a", "@monthly")); a[0].Change != master.Configured {
			t.Errorf("the apply: %+v", a)
		}
		between()
		if e, err := m.Pause(w.ctx, job.Ref("", "a"), "test"); err != nil || !e.Paused || e.Task.Description != "x" || e.Task.Timer != "@monthly" {
			t.Errorf("the pause reverts an edit: %+v, %v", e, err)
		}
	})
}

// Since and Past follow the rule and the kind alone, and remember each of them in its order.
func TestSinceAndPast(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		entry := func() *job.TaskEntry {
			t.Helper()
			e, err := w.admin.Tasks().Get(w.ctx, "default", "a")
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		m.apply(task("a", "@hourly"))
		first := entry()
		time.Sleep(time.Minute)
		m.apply(task("a", "@hourly", func(t *job.Task) { t.User = "root" }))
		if e := entry(); !e.Since.Equal(first.Since) || len(e.Past) != 0 || e.Generation != 2 || !e.UpdatedAt.After(first.UpdatedAt) {
			t.Errorf("another user: %+v", e)
		}
		m.apply(task("a", "@daily"))
		second := entry()
		if !second.Since.After(first.Since) || len(second.Past) != 1 || second.Past[0].Rule.Timer != "@hourly" || !second.CreatedAt.Equal(first.CreatedAt) {
			t.Errorf("another timer: %+v", second)
		}
		m.apply(task("a", "@daily", func(t *job.Task) { t.Kind = "interval" })) // at the same moment
		third := entry()
		if !third.Since.After(second.Since) || len(third.Past) != 2 || third.Past[1].Rule.Timer != "@daily" || third.Past[1].Kind != "common" || !third.Past[1].Until.Equal(third.Since) {
			t.Errorf("another kind: %+v", third)
		}
		m.apply(task("a", ""))
		if e := entry(); len(e.Past) != 3 || e.Past[2].Rule.Timer != "@daily" || e.Past[2].Kind != "interval" || !e.Since.After(third.Since) {
			t.Errorf("no timer: %+v", e)
		}
		m.apply(task("a", "@weekly"))
		if e := entry(); len(e.Past) != 4 || e.Past[3].Rule != nil {
			t.Errorf("nothing was due just before: %+v", e)
		}
	})
}

// Deleting task1 leaves task10. ancestor 55, ancestor 8, ancestor 13
func TestDelete(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		w.node("n1")
		m.apply(task("task1", "@hourly"), task("task10", "@hourly"), task("task", "@hourly"))
		if _, err := m.Pause(w.ctx, job.Ref("", "task1"), "test"); err != nil {
			t.Fatal(err)
		}
		code(t, m.Delete(w.ctx, job.Ref("", "task1"), 0), "")
		code(t, m.Delete(w.ctx, job.Ref("", "task1"), 0), job.CodeNotFound)
		jobs, _, err := w.admin.Jobs().List(w.ctx)
		if err != nil || len(jobs) != 2 {
			t.Errorf("%d jobs are left, %v", len(jobs), err)
		}
		if _, err := m.Task(w.ctx, job.Ref("", "task10")); err != nil {
			t.Error(err)
		}
		_, err = m.Task(w.ctx, job.Ref("", "task1"))
		code(t, err, job.CodeNotFound)
		// A task of that name begins anew.
		m.apply(task("task1", "@hourly"))
		if v, err := m.Task(w.ctx, job.Ref("", "task1")); err != nil || v.Paused || v.Generation != 1 || len(v.Nodes) != 1 {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		w.node("n1")
		m.apply(task("a", "@hourly"))
		ref := job.Ref("", "a")
		paused, err := m.Pause(w.ctx, ref, "test")
		if err != nil || !paused.Paused || paused.Generation != 1 {
			t.Fatalf("%+v, %v", paused, err)
		}
		if j, err := m.Jobs(w.ctx, master.JobFilter{}); err != nil || len(j) != 1 || !j[0].Pause { // ancestor 10
			t.Errorf("the job is %v, %v", j, err)
		}
		if v, err := m.Task(w.ctx, ref); err != nil || len(v.Next) != 0 {
			t.Errorf("while it is paused it fires at %v, %v", v.Next, err)
		}
		time.Sleep(time.Minute)
		if again, err := m.Pause(w.ctx, ref, "test"); err != nil || !again.PausedAt.Equal(paused.PausedAt) {
			t.Errorf("paused again: %+v, %v", again, err)
		}
		m.apply(task("a", "@daily")) // an edit keeps the pause
		if v, err := m.Task(w.ctx, ref); err != nil || !v.Paused {
			t.Errorf("%+v, %v", v, err)
		}
		if e, err := m.Resume(w.ctx, ref, "test"); err != nil || e.Paused || !e.ResumedAt.After(e.PausedAt) {
			t.Errorf("%+v, %v", e, err)
		}
		_, err = m.Pause(w.ctx, job.Ref("", "b"), "test")
		code(t, err, job.CodeNotFound)
	})
}

// A task is edited while it runs: the edit survives the run's end. ancestor 19: scenario 1
func TestEditWhileItRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		m.apply(task("a", ""))
		run := m.run("a").Runs[0].Run
		d, err := w.admin.Dispatches().Get(w.ctx, "n1", string(run))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.ss.StartDispatch(w.ctx, d); err != nil {
			t.Fatal(err)
		}
		m.apply(task("a", "", func(t *job.Task) { t.Command = job.Args("false") }), task("b", ""))
		n.handOver(ended(d.Job, run, job.Success))
		w.recorded(1)
		v, err := m.Task(w.ctx, job.Ref("", "a"))
		if err != nil || v.Task.Command.String() != "false" || v.Generation != 2 {
			t.Errorf("after the run: %+v, %v", v, err)
		}
		// Deleted while it runs, it stays deleted, and the run is on record all the same.
		run = m.run("a").Runs[0].Run
		d, err = w.admin.Dispatches().Get(w.ctx, "n1", string(run))
		if err != nil || d.Job.Command != "false" {
			t.Fatalf("%v, %v", d, err)
		}
		code(t, m.Delete(w.ctx, job.Ref("", "a"), 0), "")
		n.handOver(ended(d.Job, run, job.Success))
		w.recorded(2)
		_, err = m.Task(w.ctx, job.Ref("", "a"))
		code(t, err, job.CodeNotFound)
	})
}
