package master_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

func key(k string) func(*master.RunRequest) { return func(r *master.RunRequest) { r.Key = k } }

// A run from its request to its record, as it is told at each step, also to a master that has just heard of it.
func TestRunThroughItsLife(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		other := w.master("m2")
		n := w.node("n1")
		m.apply(task("a", ""))
		answer := m.run("a", func(r *master.RunRequest) { r.Params = map[string]string{"x": "1"} })
		run := answer.Runs[0].Run
		state := func(want job.RunState) {
			t.Helper()
			for _, m := range []*life{m, other} {
				v, err := m.RunState(w.ctx, run)
				if err != nil || v.State != want || v.Task != job.Ref("", "a") || v.Node != "n1" {
					t.Errorf("%s says %+v, %v; want %s", m.name, v, err, want)
				}
			}
		}
		state(job.StatePending)
		d, err := w.admin.Dispatches().Get(w.ctx, "n1", string(run))
		if err != nil || d.Params["x"] != "1" || d.Cause != "test" || d.Trigger != job.TriggerRun {
			t.Fatalf("%+v, %v", d, err)
		}
		if _, err := n.ss.StartDispatch(w.ctx, d); err != nil {
			t.Fatal(err)
		}
		p := &job.Process{ID: "42", JobID: d.Job.ID, Group: "default", Name: "a", NodeID: "n1", Run: run, Time: time.Now()}
		n.ss.SetProcess(p)
		for _, m := range w.masters {
			w.until("the process is seen", func() bool { v, err := m.RunState(w.ctx, run); return err == nil && v.Process != nil })
		}
		state(job.StateRunning)
		if v, err := m.Task(w.ctx, job.Ref("", "a")); err != nil || v.Running != 1 { // ancestor 37
			t.Errorf("running: %+v, %v", v, err)
		}
		code(t, m.Kill(w.ctx, run, "test"), "")
		code(t, m.Kill(w.ctx, run, "test"), "")
		if k, err := w.admin.Kills().Get(w.ctx, "n1", string(run)); err != nil || k.By != "test" {
			t.Errorf("the kill is %+v, %v", k, err)
		}

		// It has ended, and its record is on the way.
		m.hist.set(func(op string, _ bool) error {
			if op == "insert" {
				return away(op, false)
			}
			return nil
		})
		n.ss.UnsetProcess(p)
		n.handOver(ended(d.Job, run, job.Killed))
		for _, m := range w.masters {
			w.until("the process is gone", func() bool { l, err := m.Processes(w.ctx, master.JobFilter{}); return err == nil && len(l) == 0 })
		}
		state(job.StateRunning)
		m.hist.set(nil)
		w.recorded(1)
		state(job.RunState(job.Killed))
		code(t, m.Kill(w.ctx, run, "test"), job.CodeConflict)
		_, err = m.RunState(w.ctx, "unknown")
		code(t, err, job.CodeNotFound)
		code(t, m.Kill(w.ctx, "unknown", "test"), job.CodeNotFound)
		if r, err := m.RecordByNumber(w.ctx, job.Ref("", "a"), 1); err != nil || r.ID != string(run) {
			t.Errorf("the record is %v, %v", r, err)
		}
	})
}

// The same key asks for the same runs: while they wait, when they have ended, when their node is gone, of each master.
func TestSameKeySameRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		other := w.master("m2")
		nodes := []*agent{w.node("n1"), w.node("n2"), w.node("n3")}
		one := func(t *job.Task) { t.Kind = "interval" }
		m.apply(task("all", ""), task("one", "", one), task("once", "", func(t *job.Task) { t.Mode, t.Passive = job.OnlyOnce, true }))
		asked := map[string][]master.RunHandle{}
		for _, name := range []string{"all", "one", "once"} {
			asked[name] = m.run(name, key("k")).Runs
		}
		if len(asked["all"]) != 3 || len(asked["one"]) != 1 || len(asked["once"]) != 3 {
			t.Fatalf("asked for %v", asked)
		}
		w.until("the other one knows the tasks", func() bool {
			l, err := other.Tasks(w.ctx, "", "")
			return err == nil && len(l) == 3 && !slices.ContainsFunc(l, func(v master.TaskView) bool { return len(v.Nodes) != 3 })
		})
		same := func(when string) {
			t.Helper()
			for name, runs := range asked {
				for _, m := range []*life{m, other} {
					if got := m.run(name, key("k")).Runs; !slices.Equal(got, runs) {
						t.Errorf("%s, %s says of %s: %v, not %v", when, m.name, name, got, runs)
					}
				}
			}
		}
		same("at once")
		// While records are on their way neither etcd's dispatches nor history know of the runs.
		m.hist.set(func(op string, _ bool) error {
			if op == "insert" {
				return away(op, false)
			}
			return nil
		})
		for _, n := range nodes {
			n.works()
		}
		w.until("all have ended", func() bool {
			left, err := w.admin.Records().Count(w.ctx)
			return err == nil && left == 7
		})
		same("while the records are on their way")
		m.hist.set(nil)
		w.recorded(7)
		same("in history")
		nodes[0].leave()
		nodes[1].leave()
		nodes[2].leave()
		w.until("the nodes are offline", func() bool { return m.Status(w.ctx).Online == 0 && other.Status(w.ctx).Online == 0 })
		same("without nodes")
		w.recorded(7)
		for _, n := range nodes {
			for _, c := range n.started() {
				if c != 1 {
					t.Errorf("a run on %s was started %d times", n.id, c)
				}
			}
		}
	})
}

// A task that runs once on a node runs there no more: while it runs, while its record is on its way, and ever after.
func TestOnlyOnce(t *testing.T) { // ancestor 17
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		m.apply(task("a", "", func(t *job.Task) { t.Mode, t.Passive = job.OnlyOnce, true })) // it does not start by itself
		again := func(want job.Code, when string) {
			t.Helper()
			if _, err := m.Run(w.ctx, master.RunRequest{Task: job.Ref("", "a")}); job.CodeOf(err) != want {
				t.Errorf("%s: %v, want %q", when, err, want)
			}
		}
		finish := func(run job.RunID, o job.Outcome) {
			t.Helper()
			d, err := w.admin.Dispatches().Get(w.ctx, "n1", string(run))
			if err != nil {
				t.Fatal(err)
			}
			n.handOver(ended(d.Job, run, o))
		}
		run := m.run("a").Runs[0].Run
		again(job.CodeConflict, "it is asked for")
		finish(run, job.Failed)
		w.recorded(1)
		run = m.run("a").Runs[0].Run // it has not succeeded
		m.hist.set(func(op string, _ bool) error {
			if op == "insert" {
				return away(op, false)
			}
			return nil
		})
		finish(run, job.Success)
		again(job.CodeConflict, "its record is on its way")
		m.hist.set(nil)
		w.recorded(2)
		again(job.CodeConflict, "it has succeeded")
		w.node("n2")
		w.until("it is bound to another node", func() bool { v, err := m.Task(w.ctx, job.Ref("", "a")); return err == nil && len(v.Nodes) == 2 })
		answer := m.run("a")
		if len(answer.Runs) != 1 || answer.Runs[0].Node != "n2" || len(answer.NotRun) != 1 || !strings.Contains(answer.NotRun[0].Reason, "succeeded") {
			t.Errorf("with another node: %+v", answer)
		}
		if forced := m.run("a", func(r *master.RunRequest) { r.Force = true }); len(forced.Runs) != 2 {
			t.Errorf("forced: %+v", forced)
		}
	})
}

// Nobody is asked who can't: the answer says who and why. ancestor 21
func TestNodesThatCannotRun(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n1 := w.node("n1", "db")
		w.node("n2", "db")
		w.node("n3")
		m.apply(task("a", "", func(t *job.Task) { t.Labels = map[string]string{"db": "yes"} }))
		n1.leave()
		w.until("n1 is offline", func() bool { n, err := m.Node(w.ctx, "n1"); return err == nil && !n.Online })
		a := m.run("a")
		if len(a.Runs) != 1 || a.Runs[0].Node != "n2" || len(a.NotRun) != 1 || a.NotRun[0].Node != "n1" || !strings.Contains(a.NotRun[0].Reason, "offline") {
			t.Errorf("%+v", a)
		}
		_, err := m.Run(w.ctx, master.RunRequest{Task: job.Ref("", "a"), Nodes: []job.NodeID{"n1", "n3", "n9"}})
		code(t, err, job.CodeUnavailable)
		for _, want := range []string{"n1: it is offline", "n3: the task wants label db=yes", "n9: there is no such node"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %q", err, want)
			}
		}
		_, err = m.Run(w.ctx, master.RunRequest{Task: job.Ref("", "b")})
		code(t, err, job.CodeNotFound)
		if n, err := m.Cordon(w.ctx, "n2", true); err != nil || !n.Cordoned {
			t.Fatalf("%+v, %v", n, err)
		}
		_, err = m.Run(w.ctx, master.RunRequest{Task: job.Ref("", "a")})
		code(t, err, job.CodeUnavailable)
	})
}

// A node goes away: what it ran is lost, what it was asked for is missed, and both are on record. ancestor 15, ancestor 22
func TestRunsOfANodeThatGoesAway(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		m.apply(task("a", ""))
		running, waiting := m.run("a").Runs[0].Run, m.run("a").Runs[0].Run
		d, err := w.admin.Dispatches().Get(w.ctx, "n1", string(running))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.ss.StartDispatch(w.ctx, d); err != nil {
			t.Fatal(err)
		}
		w.mem.Cut("n1")
		gone := time.Now()
		for _, r := range w.recorded(2) {
			want := map[job.RunID]job.Outcome{running: job.Lost, waiting: job.Missed}[job.RunID(r.ID)]
			if r.Outcome != want {
				t.Errorf("run %s is %s, want %s", r.ID, r.Outcome, want)
			}
		}
		if took := time.Since(gone); took > 2*lease+time.Second {
			t.Errorf("that took %s", took)
		}
	})
}

// The same is asked of two masters at the same time, of a task for which the engine chooses the node: it is one run, whichever node each
// of them would have chosen. Also where one of them was held up, until the run of the other one had come and gone.
func TestOneKeyOfTwoMasters(t *testing.T) { // ancestor 18, ancestor 49
	inWorld(t, func(w *world) {
		a, b := w.leader("m1"), w.master("m2")
		n1, n2 := w.node("n1"), w.node("n2")
		n1.works()
		n2.works()
		a.apply(task("a", "", func(t *job.Task) { t.Kind = "interval" }))
		ref := job.Ref("", "a")
		for _, m := range []*life{a, b} {
			w.until("both know the task and where it is", func() bool { v, err := m.Task(w.ctx, ref); return err == nil && v != nil && len(v.Nodes) == 2 })
		}
		for i := range 20 {
			var wg sync.WaitGroup
			runs := make([]job.RunID, 2)
			for k, m := range []*life{a, b} {
				wg.Go(func() {
					answer, err := m.Run(w.ctx, master.RunRequest{Task: ref, Key: fmt.Sprint("key-", i)})
					if err != nil || len(answer.Runs) != 1 {
						t.Errorf("%+v, %v", answer, err)
						return
					}
					runs[k] = answer.Runs[0].Run
				})
			}
			wg.Wait()
			if runs[0] != runs[1] {
				t.Errorf("key %d has the runs %v", i, runs)
			}
		}
		w.recorded(20)
		before := total(n1.started()) + total(n2.started())
		if before != 20 {
			t.Errorf("20 keys ran %d times", before)
		}

		// The first one stops when it has seen that nobody has asked.
		held, woken := make(chan struct{}), make(chan struct{})
		var once sync.Once
		w.mem.OnCall(func(_ context.Context, c store.Call) error {
			if c.Client == "m1" && c.Op == "txn" && !c.After && len(c.Keys) > 0 && strings.Contains(c.Keys[0], "dispatch/") {
				once.Do(func() { close(held); <-woken })
			}
			return nil
		})
		late := make(chan error, 1)
		go func() {
			_, err := a.Run(w.ctx, master.RunRequest{Task: ref, Key: "late"})
			late <- err
		}()
		<-held
		if _, err := b.Run(w.ctx, master.RunRequest{Task: ref, Key: "late"}); err != nil {
			t.Error(err)
		}
		w.recorded(21)
		close(woken)
		if err := <-late; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if n := total(n1.started()) + total(n2.started()); n != 21 {
			t.Errorf("%d runs: one was run again", n)
		}
	})
}

func total(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
