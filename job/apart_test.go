package job_test

import (
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

// A same-node dependency is refused where the two can never have been on one node, and the error names what excludes what. What a task
// may change, a condition, is nobody's fault. ancestor 26
func TestApart(t *testing.T) {
	t.Parallel()
	type spec struct{ nodes, labels, where string }
	for _, c := range []struct {
		a, b     spec
		settable string // a condition that some task may set
		want     string // "": they may be together
	}{
		{a: spec{where: "role in (db)"}, b: spec{where: "role in (cache)"}, want: "default/b wants role=cache, and default/a wants role=db"},
		{a: spec{where: "edge"}, b: spec{where: "!edge"}, want: "default/b wants !edge, and default/a wants edge"},
		{a: spec{where: "role in (db,cache)"}, b: spec{where: "role in (cache,web)"}},
		{a: spec{where: "role in (db,cache), role!=cache"}, b: spec{where: "role, role!=db"}, want: "default/b wants role, role!=db, and default/a wants role in (cache,db), role!=cache"},
		{a: spec{where: "role!=db"}, b: spec{where: "role notin (cache)"}},
		{a: spec{where: "role!=db"}, b: spec{where: "!role"}},
		{a: spec{where: "role=db"}, b: spec{where: "role!=db"}, want: "default/a wants role=db"},
		{a: spec{where: "role=db"}, b: spec{where: "zone=x"}},
		// What a task may set has its times: mount where it is not mounted, then use it.
		{a: spec{where: "!Mounted"}, b: spec{where: "Mounted=True"}, settable: "Mount*"},
		{a: spec{where: "!Mounted"}, b: spec{where: "Mounted=True"}, settable: "Other", want: "wants !Mounted"},
		// A label is no condition, whatever a task may set.
		{a: spec{labels: "role=db"}, b: spec{where: "role in (cache,web)"}, settable: "*", want: "default/b wants role in (cache,web), and default/a wants role=db"},
		{a: spec{labels: "role=db"}, b: spec{where: "role in (cache,db)"}},
		{a: spec{labels: "role=db"}, b: spec{labels: "role=web"}, want: "default/b wants role=web, and default/a wants role=db"},
		{a: spec{nodes: "n1 n2"}, b: spec{nodes: "n3"}, want: "default/b names n3, and default/a names n1, n2"},
		{a: spec{nodes: "n1 n2"}, b: spec{nodes: "n*"}},
		{a: spec{nodes: "n1"}, b: spec{nodes: "!n1"}, want: "default/b names !n1"},
	} {
		make1 := func(name string, s spec, on ...string) *job.Task {
			t := &job.Task{Name: name, Command: job.Line("true"), Where: s.where}
			for n := range strings.FieldsSeq(s.nodes) {
				t.Nodes = append(t.Nodes, job.NodeID(n))
			}
			if k, v, ok := strings.Cut(s.labels, "="); ok {
				t.Labels = map[string]string{k: v}
			}
			for _, d := range on {
				t.Depends = append(t.Depends, job.Depend{Task: d, Strategy: job.SameNode})
			}
			t.Complete()
			return t
		}
		setter := make1("setter", spec{})
		if c.settable != "" {
			setter.Allow.Conditions = []string{c.settable}
		}
		a, between := make1("a", c.a), make1("between", spec{}, "a")
		for _, way := range []struct {
			b    *job.Task
			says string
		}{
			{make1("b", c.b, "a"), "default/a never runs on a node of default/b"},
			{make1("b", c.b, "between"), "default/a never runs on a node of default/b, which needs it there (default/b -> default/between -> default/a)"},
		} {
			all := map[job.TaskRef]*job.Task{}
			for _, t := range []*job.Task{setter, a, between, way.b} {
				all[t.Ref()] = t
			}
			var f job.Faults
			way.b.Dependencies(&f, "tasks[1]", func(ref job.TaskRef) *job.Task { return all[ref] }, job.MaySet(all))
			err := f.Err("x")
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%+v: %v", c, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "tasks[1].depends[0]: "+way.says)):
				t.Errorf("%+v: %v, want %q and %q", c, err, way.says, c.want)
			}
		}
		// Two that a third needs on its node.
		b := make1("b", c.b)
		third := make1("third", spec{}, "a", "b")
		all := map[job.TaskRef]*job.Task{a.Ref(): a, b.Ref(): b, setter.Ref(): setter}
		var f job.Faults
		third.Dependencies(&f, "tasks[2]", func(ref job.TaskRef) *job.Task { return all[ref] }, job.MaySet(all))
		if err := f.Err("x"); (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), "tasks[2].depends[1]: default/b never runs on a node of default/a, and default/third needs both") {
			t.Errorf("%+v, both needed by one: %v", c, err)
		}
	}
}
