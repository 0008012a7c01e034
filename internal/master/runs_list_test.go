package master_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// A list asks for one run for each set of values, in its order; those of a task that one node runs spread over the nodes; what is not right is
// told with its place, and nothing is asked for then.
func TestRunList(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		for i := range 4 {
			w.node(job.NodeID(fmt.Sprint("n", i)))
		}
		values := func(t *job.Task) {
			t.Params = map[string]job.Param{"DAY": {Type: job.ParamInt, Required: true}}
			t.Env = map[string]string{"DAY": "{{ params.DAY }}"}
		}
		m.apply(task("spread", "", values, func(t *job.Task) { t.Kind = "interval" }), task("all", "", values), task("once", "", func(t *job.Task) { t.Mode = job.OnlyOnce }))
		asked := func() (n int) {
			list, _, err := w.admin.Dispatches().List(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range list {
				if d.Job.Name != "once" { // it runs by itself
					n++
				}
			}
			return n
		}
		each := func(n int, key string) (list []client.ListedRun) {
			for i := range n {
				e := client.ListedRun{Params: map[string]string{"DAY": fmt.Sprint(i)}}
				if key != "" {
					e.Key = fmt.Sprint(key, i)
				}
				list = append(list, e)
			}
			return list
		}
		list := func(task string, parallel int, each []client.ListedRun) (master.RunListAnswer, error) {
			return m.RunList(w.ctx, master.RunListRequest{Task: job.Ref("", task), Each: each, Parallel: parallel, By: "test"})
		}

		wrong := each(20, "")
		wrong[7].Params["DAY"] = "x"
		if _, err := list("spread", 0, wrong); job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), "each[7]") || !strings.Contains(err.Error(), "DAY") {
			t.Errorf("%v", err)
		}
		if _, err := list("nothing", 0, each(2, "")); job.CodeOf(err) != job.CodeNotFound {
			t.Errorf("%v", err)
		}
		if _, err := list("once", 0, make([]client.ListedRun, 2)); job.CodeOf(err) != job.CodeConflict || !strings.Contains(err.Error(), "onlyonce") {
			t.Errorf("%v", err)
		}
		if n := asked(); n != 0 {
			t.Fatalf("%d are asked for", n)
		}

		const n = 200 // more than one transaction takes
		a, err := list("spread", 3, each(n, ""))
		if err != nil || len(a.Answers) != n {
			t.Fatalf("%d, %v", len(a.Answers), err)
		}
		on := map[job.NodeID]int{}
		for i, a := range a.Answers {
			if len(a.Runs) != 1 {
				t.Fatalf("%d: %+v", i, a)
			}
			h := a.Runs[0]
			on[h.Node]++
			d, err := w.admin.Dispatches().Get(w.ctx, string(h.Node), string(h.Run))
			if err != nil || d.Params["DAY"] != fmt.Sprint(i) || !d.Listed || d.Job.Parallel != 3 || d.Cause != "test" {
				t.Fatalf("%d: %+v, %v", i, d, err)
			}
		}
		for id, got := range on {
			if got != n/4 {
				t.Errorf("%d on %s", got, id)
			}
		}

		// The same keys ask for the same runs, also where some of them were asked for by another list.
		first, err := list("all", 0, each(10, "k"))
		if err != nil {
			t.Fatal(err)
		}
		second, err := list("all", 0, each(15, "k"))
		if err != nil {
			t.Fatal(err)
		}
		runs := func(list []master.RunAnswer) (ids []job.RunID) {
			for _, a := range list {
				for _, h := range a.Runs {
					ids = append(ids, h.Run)
				}
			}
			slices.Sort(ids)
			return ids
		}
		if got := runs(second.Answers[:10]); len(got) != 40 || !slices.Equal(got, runs(first.Answers)) {
			t.Errorf("%d runs, not those of the first time", len(got))
		}
		if got := asked(); got != n+15*4 {
			t.Errorf("%d are asked for", got)
		}

		// A task has only so many that have not ended.
		w.until("the view has them", func() bool {
			runs, err := m.Runs(w.ctx, master.JobFilter{Task: "spread"})
			return err == nil && len(runs) == n
		})
		for total := n; ; total += 1000 {
			_, err := list("spread", 0, each(1000, ""))
			if total+1000 > 10_000 {
				if job.CodeOf(err) != job.CodeConflict || !strings.Contains(err.Error(), "have not ended") {
					t.Errorf("with %d: %v", total, err)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			w.until("the view has them", func() bool {
				runs, err := m.Runs(w.ctx, master.JobFilter{Task: "spread"})
				return err == nil && len(runs) == total+1000
			})
		}
	})
}

// Runs of a list that wait for what their task depends on are listed when they come.
func TestRunListThatWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		m.apply(task("first", ""), task("then", "", func(t *job.Task) { t.Depends = []job.Depend{{Task: "first"}} }))
		a, err := m.RunList(w.ctx, master.RunListRequest{Task: job.Ref("", "then"), Each: make([]client.ListedRun, 5), Parallel: 2})
		if err != nil || len(a.Answers) != 5 || len(a.Answers[4].Runs) != 1 {
			t.Fatalf("%+v, %v", a, err)
		}
		first := m.run("first").Runs[0]
		d, err := w.admin.Dispatches().Get(w.ctx, "n1", string(first.Run))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.ss.StartDispatch(w.ctx, d); err != nil {
			t.Fatal(err)
		}
		n.handOver(ended(d.Job, first.Run, job.Success))
		w.until("they are asked for", func() bool {
			list, _, err := w.admin.Dispatches().List(w.ctx, "n1")
			for _, d := range list {
				if !d.Listed || d.Job.Parallel != 2 {
					t.Fatalf("%+v", d)
				}
			}
			return err == nil && len(list) == 5
		})
	})
}
