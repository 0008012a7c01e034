package master_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// flow applies a group of a list, a fan-out over it, and a report.
func (l *life) flow(items int) {
	l.w.t.Helper()
	step := func(name string, change func(*job.Task)) job.Task {
		t := job.Task{Name: name, Group: "etl", Command: job.Line("true"), Kind: "interval"}
		change(&t)
		return t
	}
	docs := job.Documents{
		Groups: []job.Group{{Name: "etl", MaxParallel: 20}},
		Tasks: []job.Task{
			step("list", func(*job.Task) {}),
			step("load", func(t *job.Task) {
				t.Depends, t.ForEach = []job.Depend{{Task: "list"}}, fmt.Sprintf("split('%s', ',')", strings.TrimSuffix(strings.Repeat("x,", items), ","))
			}),
			step("report", func(t *job.Task) {
				t.Depends, t.When = []job.Depend{{Task: "load"}}, "steps.load.outcome == 'success'"
			}),
		},
	}
	if _, err := l.ApplyDocuments(l.w.ctx, docs, master.ApplyOptions{}); err != nil {
		l.w.t.Fatal(err)
	}
}

// An execution runs from its beginning to its place in history, and leaves nothing in etcd.
func TestExecution(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		n.result["list"] = job.Result{Body: json.RawMessage(`{"rows":3}`)}
		n.works()
		m.flow(5)
		events := m.Subscribe(w.ctx)
		v, err := m.RunGroup(w.ctx, client.GroupRequest{Group: "etl", Key: "k", By: "somebody"})
		if err != nil {
			t.Fatal(err)
		}
		state := func() *client.ExecutionView {
			t.Helper()
			now, err := m.ExecutionState(w.ctx, v.ID)
			if err != nil {
				t.Fatal(err)
			}
			return now
		}
		w.until("it has ended", func() bool { return state().Ended() })
		w.until("it is in history alone", func() bool { n, err := w.admin.Executions().Count(w.ctx); return err == nil && n == 0 })
		got := state()
		if got.Status != job.ExecutionSuccess || got.Done != 3 || got.By != "somebody" || got.Steps[1].Total != 5 || got.Steps[1].Success != 5 {
			t.Errorf("it ended as %+v", got)
		}
		for _, r := range got.Steps[1].Runs {
			rec, err := m.Record(w.ctx, string(r.Run))
			if err != nil || rec.Outcome != job.Success || rec.Trigger != job.TriggerGroup {
				t.Errorf("the record of %s: %v, %v", r.Run, rec, err)
			}
		}
		again, err := m.RunGroup(w.ctx, client.GroupRequest{Group: "etl", Key: "k"})
		if err != nil || again.ID != v.ID || !again.Ended() {
			t.Errorf("the same key again: %+v, %v", again, err)
		}
		if list, err := m.ListExecutions(w.ctx, client.ExecutionFilter{Group: "etl"}); err != nil || len(list) != 1 || list[0].ID != v.ID {
			t.Errorf("listed %v, %v", list, err)
		}
		told := false
		for len(events) > 0 {
			e := <-events
			if x, ok := e.Object.(*client.ExecutionView); ok && e.Type == client.EventExecution && x.Status == job.ExecutionSuccess {
				told = true
			}
		}
		if !told {
			t.Error("no event told of its end")
		}
		for _, err := range []error{
			second(m.RetryExecution(w.ctx, v.ID, "")), second(m.CancelExecution(w.ctx, v.ID, "")),
		} {
			if !job.IsConflict(err) {
				t.Errorf("of one that succeeded: %v", err)
			}
		}
		if err := second(m.RunGroup(w.ctx, client.GroupRequest{Group: "elt"})); !job.IsNotFound(err) || !strings.Contains(err.Error(), "did you mean etl?") {
			t.Errorf("a group that there is not: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// What is wrong with groups, and with what tasks say as steps, is refused before anything is written.
func TestGroupsAreChecked(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		a := job.Task{Name: "a", Group: "g", Command: job.Line("true")}
		b := job.Task{Name: "b", Group: "g", Command: job.Line("true"), Depends: []job.Depend{{Task: "a"}}}
		with := func(t job.Task, change func(*job.Task)) job.Task {
			change(&t)
			return t
		}
		for _, c := range []struct {
			tasks []job.Task
			group job.Group
			want  string
		}{
			{[]job.Task{a, with(b, func(t *job.Task) { t.When = "steps.c.outcome == 'failed'" })}, job.Group{Name: "g"}, `tasks[1].when: there is no step "c" in group g`},
			{[]job.Task{with(a, func(t *job.Task) { t.When = "steps.b.outcome == 'failed'" }), b}, job.Group{Name: "g"}, "tasks[0].when: step b is not before step a; add depends: [{task: b}]"},
			{[]job.Task{a, with(b, func(t *job.Task) { t.ForEach = "steps.b.results" })}, job.Group{Name: "g"}, "tasks[1].foreach: step b names itself"},
			{[]job.Task{a, with(b, func(t *job.Task) { t.Command = job.Line("echo {{ steps.x.result.n }}") })}, job.Group{Name: "g"}, `tasks[1]: there is no step "x"`},
			{[]job.Task{with(a, func(t *job.Task) { t.Depends = []job.Depend{{Task: "b"}} }), b}, job.Group{Name: "g"}, "g/a -> g/b -> g/a"},
			{[]job.Task{a}, job.Group{Name: "g", Timer: "61 * * * *"}, "groups[0].timer"},
			{[]job.Task{a}, job.Group{Name: "g", Catchup: "all"}, "groups[0].catchup: it is for a timer"},
			{[]job.Task{with(a, func(t *job.Task) { t.Command = job.Line("echo {{ item }}") })}, job.Group{Name: "g"}, "there is no foreach"},
		} {
			_, err := m.ApplyDocuments(w.ctx, job.Documents{Tasks: c.tasks, Groups: []job.Group{c.group}}, master.ApplyOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q, got %v", c.want, err)
			}
		}
		if n, err := w.admin.Tasks().Count(w.ctx); err != nil || n != 0 {
			t.Errorf("%d tasks were written, %v", n, err)
		}
	})
}

// The leader is killed at each of its writes and of its looks at history while an execution runs, before and after it: in the end each
// run has started once, and the execution has succeeded.
func TestExecutionThroughDeaths(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after %v", after), func(t *testing.T) {
			t.Parallel()
			steps := 0
			for step := 1; step < 200; step++ {
				died := false
				if ok := t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
					synctestWorld(t, func(w *world) { died = deadInFlow(w, step, after) })
				}); !ok || !died {
					break
				}
				steps++
			}
			if steps < 15 {
				t.Errorf("it was killed at %d steps alone", steps)
			}
		})
	}
}

// deadInFlow kills the leader at a step of an execution, and tells whether it came to that.
func deadInFlow(w *world, step int, after bool) (died bool) {
	t := w.t
	first := w.leader("m1")
	heir := w.master("m2")
	n := w.node("n1")
	n.works()
	first.flow(4)
	w.until("both know of it", func() bool {
		list, err := heir.Tasks(w.ctx, "etl", "")
		return err == nil && len(list) == 3 && len(list[0].Nodes) == 1
	})
	var mu sync.Mutex
	count, begun := 0, false
	die := func(_ string, is bool) error {
		mu.Lock()
		defer mu.Unlock()
		if !begun || died || is != after {
			return nil
		}
		if count++; count < step {
			return nil
		}
		died = true
		first.die()
		return store.ErrCut
	}
	first.hist.set(die)
	w.mem.OnCall(func(_ context.Context, c store.Call) error {
		if c.Client != "m1" || c.Op != "txn" {
			return nil
		}
		return die(c.Op, c.After)
	})
	v, err := heir.RunGroup(w.ctx, client.GroupRequest{Group: "etl", Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	begun = true
	mu.Unlock()
	w.until("it has ended and is in history", func() bool {
		n, err := w.admin.Executions().Count(w.ctx)
		if err != nil || n > 0 {
			return false
		}
		_, err = w.db.Execution(w.ctx, v.ID)
		return err == nil
	})
	e, err := w.db.Execution(w.ctx, v.ID)
	if err != nil || e.Status != job.ExecutionSuccess {
		t.Errorf("it ended as %+v, %v", e, err)
	}
	if starts := n.started(); len(starts) != 6 || starts[5] != 1 {
		t.Errorf("the runs started %v times, want 6 once each", starts)
	}
	mu.Lock()
	defer mu.Unlock()
	return died
}

// A leader that was stopped, and wakes up when another one leads, advances no execution any more.
func TestStaleLeaderAdvancesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.leader("m1")
		b := w.master("m2")
		n := w.node("n1")
		n.works()
		a.flow(3)
		woken := make(chan struct{})
		var once sync.Once
		var stopped bool
		var mu sync.Mutex
		w.mem.OnCall(func(_ context.Context, c store.Call) error {
			if c.Client != "m1" {
				return nil
			}
			mu.Lock()
			is := stopped
			mu.Unlock()
			if c.Op == "keepalive" && is {
				return store.ErrCut
			}
			if c.Op == "txn" && !c.After && strings.Contains(strings.Join(c.Keys, " "), "/executions/etl/") {
				once.Do(func() {
					mu.Lock()
					stopped = true
					mu.Unlock()
					<-woken
				})
			}
			return nil
		})
		v, err := b.RunGroup(w.ctx, client.GroupRequest{Group: "etl", Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		w.until("the other one leads", b.Leads)
		w.until("it has ended", func() bool { now, err := b.ExecutionState(w.ctx, v.ID); return err == nil && now.Ended() })
		close(woken)
		time.Sleep(2 * lease)
		if starts := n.started(); len(starts) != 5 || starts[4] != 1 {
			t.Errorf("the runs started %v times, want 5 once each", starts)
		}
	})
}

// A result begins executions of groups within allow, each once however often its record is handled.
func TestNextGroups(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		n.result["first"] = job.Result{NextGroups: []string{"etl", "secret"}}
		n.works()
		m.flow(2)
		m.apply(task("first", "", func(t *job.Task) { t.Allow = job.Allow{Groups: []string{"e*"}} }))
		m.run("first")
		ended := func() []client.ExecutionView {
			list, err := m.ListExecutions(w.ctx, client.ExecutionFilter{})
			if err != nil || len(list) == 0 || !list[0].Ended() {
				return nil
			}
			return list
		}
		w.until("the group has run", func() bool { return ended() != nil })
		rec, err := w.db.Records(w.ctx, job.RecordFilter{Task: "first", WithOutput: true})
		if err != nil || len(rec.Records) != 1 {
			t.Fatal(rec, err)
		}
		n.handOver(rec.Records[0])
		w.until("it is handled again", func() bool { left, err := w.admin.Records().Count(w.ctx); return err == nil && left == 0 })
		time.Sleep(lease)
		if list := ended(); len(list) != 1 || list[0].Group != "etl" || list[0].Trigger != job.TriggerNext || list[0].Cause != "record "+rec.Records[0].ID {
			t.Errorf("executions %+v", list)
		}
	})
}

// While history is away an execution goes on, waits at its end, and is there when history is.
func TestExecutionWithoutHistory(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		n.works()
		m.flow(2)
		m.hist.set(away)
		v, err := m.RunGroup(w.ctx, client.GroupRequest{Group: "etl", Key: "k"})
		if err == nil {
			t.Fatalf("begun although nobody knows whether it was before: %+v", v)
		}
		if v, err = m.RunGroup(w.ctx, client.GroupRequest{Group: "etl"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * lease)
		m.hist.set(nil)
		w.until("it is in history", func() bool { _, err := w.db.Execution(w.ctx, v.ID); return err == nil })
		if starts := n.started(); len(starts) != 4 || starts[3] != 1 {
			t.Errorf("the runs started %v times", starts)
		}
	})
}

// An execution of a thousand items stays within what etcd takes, and is written some hundred times.
func TestLargeExecution(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		n.result["load"] = job.Result{ExecStatus: "Success"}
		n.works()
		const items = 1000
		m.flow(items)
		var mu sync.Mutex
		writes := 0
		w.mem.OnCall(func(_ context.Context, c store.Call) error {
			if c.Op == "txn" && c.After && strings.Contains(strings.Join(c.Keys, " "), "/executions/etl/") {
				mu.Lock()
				writes++
				mu.Unlock()
			}
			return nil
		})
		v, err := m.RunGroup(w.ctx, client.GroupRequest{Group: "etl", Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		largest := 0
		begun := time.Now()
		w.until("it is in history", func() bool {
			if e, err := w.admin.Executions().Get(w.ctx, "etl", v.ID); err == nil {
				raw, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				largest = max(largest, len(raw))
			}
			_, err := w.db.Execution(w.ctx, v.ID)
			return err == nil
		})
		if starts := n.started(); len(starts) != items+2 || starts[items+1] != 1 {
			t.Errorf("%d runs started, the last one %d times", len(starts), starts[len(starts)-1])
		}
		mu.Lock()
		defer mu.Unlock()
		t.Logf("%d items: at most %d bytes, %d writes, %s of virtual time", items, largest, writes, time.Since(begun))
		if largest > 128<<10 || writes > items/2 {
			t.Errorf("%d bytes, %d writes", largest, writes)
		}
	})
}

// The examples of docs/workflows.md are what they say.
func TestDocumentedGroups(t *testing.T) {
	text, err := os.ReadFile("../../docs/workflows.md")
	if err != nil {
		t.Fatal(err)
	}
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		n.works()
		var docs job.Documents
		blocks := 0
		for part := range strings.SplitSeq(string(text), "```yaml\n") {
			block, _, ok := strings.Cut(part, "```")
			if !ok || !strings.HasPrefix(block, "groups:") {
				continue
			}
			blocks++
			read, err := job.ReadDocuments("workflows.md", []byte(block))
			if err != nil {
				t.Fatal(err)
			}
			docs.Groups, docs.Tasks = append(docs.Groups, read.Groups...), append(docs.Tasks, read.Tasks...)
		}
		if blocks == 0 {
			t.Fatal("there are no examples")
		}
		if _, err := m.ApplyDocuments(w.ctx, docs, master.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		n.mu.Lock()
		n.raw = map[string]string{"list": `{"hosts": ["db1", "db2", "db3"], "rows": 120}`, "load": `{"ok":true}`}
		n.mu.Unlock()
		v, err := m.RunGroup(w.ctx, client.GroupRequest{Group: "etl", Params: map[string]string{"DAY": "2026-11-22"}})
		if err != nil {
			t.Fatal(err)
		}
		w.until("it has ended", func() bool {
			now, err := m.ExecutionState(w.ctx, v.ID)
			if err == nil && now.Ended() {
				v = now
			}
			return v.Ended()
		})
		states := map[string]job.StepState{}
		for _, s := range v.Steps {
			states[s.Name] = s.State
			if s.Name == "load" && s.Total != 3 {
				t.Errorf("load ran %d times", s.Total)
			}
		}
		want := map[string]job.StepState{"list": "success", "load": "success", "index": "success", "warm-caches": "success", "tell": "skipped"}
		if !maps.Equal(states, want) || v.Status != job.ExecutionSuccess {
			t.Errorf("it ended as %s, %v, want %v", v.Status, states, want)
		}
	})
}
