package master_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

func needs(on ...string) func(*job.Task) {
	return func(t *job.Task) {
		for _, name := range on {
			t.Depends = append(t.Depends, job.Depend{Task: name, Strategy: job.SameNode})
		}
	}
}

func once(t *job.Task) { t.Mode = job.OnlyOnce }

// What can't be in dependencies is refused before anything is written, with the way round. ancestor 26
func TestDependenciesAreChecked(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		on := func(node job.NodeID) func(*job.Task) { return func(t *job.Task) { t.Nodes = []job.NodeID{node} } }
		for want, tasks := range map[string][]job.Task{
			"there is no task default/z":                       {task("a", "", needs("z"))},
			"default/a -> default/b -> default/a":              {task("a", "", needs("b")), task("b", "", needs("a"))},
			"default/b -> default/c -> default/a -> default/b": {task("a", "", needs("b")), task("b", "", needs("c")), task("c", "", needs("a"))},
			"depends on itself":                                {task("a", "", needs("a"))},
			"default/b never runs on a node of default/a":      {task("a", "", on("n1"), needs("b")), task("b", "", on("n2"))},
			"default/a wants !edge, and default/b wants edge": {
				task("a", "", needs("b"), func(t *job.Task) { t.Where = "!edge" }), task("b", "", func(t *job.Task) { t.Where = "edge" }),
			},
			"is never followed by another": {task("b", "", once), task("a", "", func(t *job.Task) {
				t.Depends = []job.Depend{{Task: "b", Within: job.Duration(time.Hour)}}
			})},
		} {
			_, err := m.Apply(w.ctx, tasks, master.ApplyOptions{})
			if job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), want) {
				t.Errorf("want %q, found %v", want, err)
			}
		}
		if n, err := w.admin.Tasks().Count(w.ctx); err != nil || n != 0 {
			t.Errorf("%d tasks were written, %v", n, err)
		}
		m.apply(task("a", ""), task("b", "", needs("a")))
		_, err := m.Put(w.ctx, task("a", "", needs("b")), -1)
		if err == nil || !strings.Contains(err.Error(), "default/a -> default/b -> default/a") {
			t.Errorf("one that is kept closes a circle: %v", err)
		}
		code(t, m.Unneeded(w.ctx, job.Ref("", "a")), job.CodeConflict)
		code(t, m.Unneeded(w.ctx, job.Ref("", "b")), "")
	})
}

// A run waits until what its task depends on has succeeded, whichever master is asked; it is shown, and can be killed.
// ancestor 27: while it waits nothing is written.
func TestRunWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		other := w.master("m2")
		n := w.node("n1")
		m.apply(task("mount", ""), task("backup", "", needs("mount")))
		w.until("the other one knows", func() bool {
			l, err := other.Tasks(w.ctx, "", "")
			return err == nil && len(l) == 2 && len(l[0].Nodes) == 1
		})
		first, second := other.run("backup", key("k1")).Runs[0].Run, m.run("backup", key("k2")).Runs[0].Run
		if again := m.run("backup", key("k1")).Runs; len(again) != 1 || again[0].Run != first {
			t.Errorf("asked again: %v", again)
		}
		w.until("both are known", func() bool { l, err := m.Runs(w.ctx, master.JobFilter{}); return err == nil && len(l) == 2 })
		v, err := other.RunState(w.ctx, first)
		if err != nil || v.State != job.StatePending || strings.Join(v.Waits, "") != "default/mount on this node" {
			t.Errorf("it stands at %+v, %v", v, err)
		}
		var writes atomic.Int64
		w.mem.OnCall(func(_ context.Context, c store.Call) error {
			if c.Op == "txn" && !c.After {
				for _, k := range c.Keys {
					if strings.Contains(k, "waiting/") {
						writes.Add(1)
					}
				}
			}
			return nil
		})
		time.Sleep(time.Hour)
		if got := writes.Load(); got != 0 {
			t.Errorf("while they wait there are %d writes", got)
		}
		if err := m.Kill(w.ctx, second, "somebody"); err != nil {
			t.Fatal(err)
		}
		if r := w.recorded(1)[0]; r.ID != string(second) || r.Outcome != job.Killed || !strings.Contains(r.Reason, "somebody") {
			t.Errorf("the killed one is %+v", r)
		}
		n.works()
		m.run("mount")
		for _, r := range w.recorded(3) {
			if r.ID == string(first) && r.Outcome != job.Success {
				t.Errorf("it ended as %+v", r)
			}
		}
		if n, err := w.admin.Waiting().Count(w.ctx); err != nil || n != 0 {
			t.Errorf("%d wait, %v", n, err)
		}
	})
}

// A task that runs once starts by itself and never again: when the same is applied again, and when masters come and go.
// ancestor 12, ancestor 14, ancestor 15, ancestor 16, ancestor 17
func TestOnceByItself(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		n.works()
		m.apply(task("setup", "", once))
		w.recorded(1)
		for i := range 3 {
			m.apply(task("setup", "", once))
			m.end()
			m = w.leader(fmt.Sprintf("m%d", i+2))
			time.Sleep(time.Minute)
		}
		w.recorded(1)
		if got := n.started(); len(got) != 1 || got[0] != 1 {
			t.Errorf("it started %v", got)
		}
		// It ran before it became a task that runs once.
		m.apply(task("later", ""))
		m.run("later")
		w.recorded(2)
		m.apply(task("later", "", once))
		time.Sleep(time.Minute)
		w.recorded(2)
		_, err := m.Run(w.ctx, master.RunRequest{Task: job.Ref("", "later")})
		code(t, err, job.CodeConflict)
	})
}

// One that failed waits for people: the same files again, and a master that starts, as with a folder of tasks that is read at each
// start, do not run it again. An edit does, and once it has succeeded not even that. ancestor 14, ancestor 16, ancestor 17
func TestOnceThatFails(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m0")
		n := w.node("n1")
		n.end("setup", job.Failed)
		n.works()
		folder := []job.Task{task("setup", "", once), task("asked", "", func(t *job.Task) { t.Kind = "common" }), task("daily", "@daily")}
		m.apply(folder...)
		w.recorded(1)
		for i := range 3 {
			m.end()
			m = w.leader(fmt.Sprintf("m%d", i+1))
			for _, a := range m.apply(folder...) {
				if a.Change != client.Unchanged {
					t.Errorf("%+v", a)
				}
			}
			time.Sleep(time.Minute)
		}
		w.recorded(1)
		edited := func(text string) job.Task {
			return task("setup", "", once, func(t *job.Task) { t.Env = map[string]string{"TRY": text} })
		}
		m.apply(edited("2"))
		w.recorded(2)
		time.Sleep(time.Minute)
		w.recorded(2)
		n.end("setup", job.Success)
		m.apply(edited("3"))
		w.recorded(3)
		m.apply(edited("4"))
		time.Sleep(time.Minute)
		w.recorded(3)
		if got := n.started(); len(got) != 3 || slices.Max(got) != 1 {
			t.Errorf("it started %v", got)
		}
	})
}

// The leader dies at each write that a record's way takes: what follows happens once, and nothing is lost. ancestor 44, ancestor 45, ancestor 46
func TestDependenciesThroughDeaths(t *testing.T) {
	for _, step := range []string{"facts/", "dispatch/", "waiting/", "records/"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after %t", strings.Trim(step, "/"), after), func(t *testing.T) {
				inWorld(t, func(w *world) {
					m := w.leader("m1")
					b := w.master("m2")
					n := w.node("n1")
					m.apply(task("mount", ""), task("setup", "", once, needs("mount")), task("backup", "", needs("setup")))
					m.run("backup")
					w.until("it is known where they succeeded", func() bool { n, err := w.admin.Facts().Count(w.ctx); return err == nil && n == 2 })
					n.works()
					var died atomic.Bool
					w.mem.OnCall(func(_ context.Context, c store.Call) error {
						if died.Load() || c.Client != "m1" || c.Op != "txn" || c.After != after {
							return nil
						}
						for _, k := range c.Keys {
							if strings.Contains(k, step) && died.CompareAndSwap(false, true) {
								m.hist.set(func(string, bool) error { return store.ErrCut })
								w.mem.Cut("m1")
								return store.ErrCut
							}
						}
						return nil
					})
					w.until("the other one knows where it is bound", func() bool {
						l, err := b.Tasks(w.ctx, "", "")
						return err == nil && len(l) == 3 && !slices.ContainsFunc(l, func(t master.TaskView) bool { return len(t.Nodes) == 0 })
					})
					b.run("mount")
					recs := w.recorded(3)
					for _, r := range recs {
						if r.Outcome != job.Success {
							t.Errorf("%s is %s: %s", r.TaskID, r.Outcome, r.Reason)
						}
					}
					for _, c := range n.started() {
						if c != 1 {
							t.Errorf("a run was started %d times", c)
						}
					}
					if !died.Load() {
						t.Error("nobody died")
					}
				})
			})
		}
	}
}

// Where a task waits for what can't come to its node, the answers say so, and where that is instead.
func TestWaitingApartIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		w.node("n1")
		w.node("n2")
		m.apply(task("a", "", func(t *job.Task) { t.MaxNodes = 1 }), task("b", "0 * * * *", needs("a")))
		want := func(on, other job.NodeID) string {
			return fmt.Sprintf("default/b waits on %s: its same-node dependency default/a is not placed there (default/a is on %s: max_nodes 1).", on, other)
		}
		w.until("why tells", func() bool {
			why, err := m.Why(w.ctx, job.Ref("", "b"), time.Time{})
			return err == nil && (slices.Contains(why.Notes, want("n1", "n2")) || slices.Contains(why.Notes, want("n2", "n1")))
		})
		v, err := m.Task(w.ctx, job.Ref("", "b"))
		if err != nil || !slices.ContainsFunc(v.Placing, func(p job.Placement) bool {
			return strings.Contains(p.Reason, "waits for default/a on this node; default/a is not placed there")
		}) {
			t.Errorf("placed as %+v, %v", v.Placing, err)
		}
	})
}
