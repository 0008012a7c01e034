package job_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

const templatesFile = `
templates:
  - name: pg
    command: ["pg_dump", "-Fc"]
    user: postgres
    env: {PGHOST: db1, PGPORT: "5432"}
    timeout: 30m
    retry: 2
    labels: {role: db}
    params:
      DB: {required: true, description: the database}
  - name: quiet
    overlap: queue
    env: {PGPORT: "6432"}
  - name: line
    command: 'printf "%s,%s" "$1" "$2"'
tasks:
  - name: dump
    template: [pg, quiet]
    args: ["{{ params.DB }}"]
    env: {PGHOST: db2}
    timeout: 5m
  - name: other
    template: pg
    command: "true"
    params: {DB: {default: shop}}
  - name: words
    template: line
    args: ["a b", "$c"]
`

// A task is what its templates say, but for what it says itself (ancestor 25).
func TestResolve(t *testing.T) {
	t.Parallel()
	docs, err := job.ReadDocuments("f.yaml", []byte(templatesFile))
	if err != nil {
		t.Fatal(err)
	}
	if got := docs.String(); got != "3 templates, 3 tasks" {
		t.Errorf("%s", got)
	}
	whole := func(i int) job.Task {
		task, err := docs.Tasks[i].Resolve(func(name string) (*job.Template, bool) {
			for j := range docs.Templates {
				if docs.Templates[j].Name == name {
					return &docs.Templates[j], true
				}
			}
			return nil, false
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := task.Valid(); err != nil {
			t.Errorf("task %d: %v", i, err)
		}
		return task
	}
	dump := whole(0)
	got, _ := json.Marshal([]any{dump.Command, dump.User, dump.Env, dump.Timeout, dump.Retry.Count, dump.Labels, dump.Overlap, dump.Kind, dump.Mode, dump.Templates, dump.Group})
	want := `[["pg_dump","-Fc","{{ params.DB }}"],"postgres",{"PGHOST":"db2","PGPORT":"6432"},"5m",2,{"role":"db"},"queue","common","manyonce",null,"default"]`
	if string(got) != want {
		t.Errorf("found %s\nwant  %s", got, want)
	}
	if other := whole(1); other.Command.Line != "true" || *other.Params["DB"].Default != "shop" || other.Params["DB"].Required {
		t.Errorf("a task's own command and parameters count: %+v", other)
	}
	if words := whole(2); strings.Join(words.Command.Argv, "|") != `/bin/sh|-c|printf "%s,%s" "$1" "$2"|sh|a b|$c` {
		t.Errorf("%q", words.Command.Argv)
	}
	// What was written is not changed by it.
	if docs.Tasks[0].Command.String() != "" || docs.Templates[0].Env["PGHOST"] != "db1" || docs.Tasks[0].Overlap != "" {
		t.Error("resolving changes what was written")
	}
	if _, err := docs.Tasks[0].Resolve(func(string) (*job.Template, bool) { return nil, false }); err == nil ||
		!strings.Contains(err.Error(), `there is no template "pg"`) || !strings.Contains(err.Error(), `there is no template "quiet"`) {
		t.Errorf("%v", err)
	}
}

func TestTemplateFaults(t *testing.T) {
	t.Parallel()
	for _, c := range [...]struct{ file, want string }{
		{"templates:\n  - name: a\n    group: x\n", "f.yaml:3:12: templates[0].group: a template is in no group"},
		{"templates:\n  - name: a\n    template: b\n", "f.yaml:3:15: templates[0].template: a template has no templates of its own"},
		{"templates:\n  - name: a/b\n", "f.yaml:2:11: templates[0].name: template name \"a/b\" has"},
		{"templates:\n  - name: a\n    timeout: -1s\n", "f.yaml:3:14: templates[0].timeout: -1s is negative"},
		{"templates:\n  - name: a\n  - name: a\n", "template a stands here a second time; the first is at f.yaml:2:11"},
		{"templates:\n  - name: a\ntasks:\n  - name: t\n    template: a\n", "f.yaml:4:5: tasks[0].command: there is no command"},
		{"templates:\n  - name: a\n    command: x\n    timer: '@daily'\n    params: {P: {required: true}}\ntasks:\n  - name: t\n    template: a\n", "a timer gives no values"},
		{"templates:\n  - name: a\n    command: [x, '{{ params.Q }}']\n    params: {P: {}}\ntasks:\n  - name: t\n    template: a\n", "{{ params.Q }} is used, but the task declares no such parameter"},
		{"tasks:\n  - name: t\n    command: x\n    params: {P: {type: int, default: one}}\n", `f.yaml:4:38: tasks[0].params.P.default: found "one", want a whole number`},
		{"tasks:\n  - name: t\n    command: x\n    params: {P: {type: float}}\n", `"float" is not known; want string, int`},
		{"tasks:\n  - name: t\n    command: x\n    params: {P: {values: [a, b], default: c}}\n", `"c" is not one of its values; the values are a, b`},
		{"tasks:\n  - name: t\n    command: x\n    params: {P-Q: {}}\n", `"P-Q" is no name of a parameter`},
		{"template:\n  - name: a\ntasks: []\n", "unknown field \"template\"; did you mean \"templates\"?"},
	} {
		_, err := job.ReadDocuments("f.yaml", []byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\nfound %v\nwant  %s", c.file, err, c.want)
		}
	}
	// The args of a template's command are none of a task that makes a request instead.
	asks := "templates:\n  - name: a\n    command: [x]\n    args: [y]\ntasks:\n  - name: t\n    template: a\n    http: {url: 'https://e.org'}\n"
	if _, err := job.ReadDocuments("f.yaml", []byte(asks)); err != nil {
		t.Error(err)
	}
	// Templates that are elsewhere are where the task will be applied.
	if _, err := job.ReadDocuments("f.yaml", []byte("tasks:\n  - name: t\n    template: elsewhere\n    timeout: 5m\n")); err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	declared := map[string]job.Param{
		"DB": {Required: true}, "N": {Type: job.ParamInt, Default: text("3")}, "WAIT": {Type: job.ParamDuration}, "ON": {Type: job.ParamBool},
		"SIZE": {Values: []string{"s", "m"}}, "X": {Type: job.ParamNumber},
	}
	got, err := job.Arguments(declared, map[string]string{"DB": "", "WAIT": "90s", "ON": "true", "SIZE": "m", "X": "1.5"})
	b, _ := json.Marshal(got)
	if want := `{"DB":"","N":"3","ON":"true","SIZE":"m","WAIT":"90s","X":"1.5"}`; err != nil || string(b) != want {
		t.Errorf("%s, %v, want %s", b, err, want)
	}
	_, err = job.Arguments(declared, map[string]string{"DBB": "x", "N": "x", "WAIT": "soon", "ON": "yes", "SIZE": "xl", "X": "x"})
	if err == nil {
		t.Fatal("nothing is refused")
	}
	for _, want := range []string{
		`the task has no parameter "DBB"; did you mean "DB"?`, `parameter N: found "x", want a whole number`, `parameter WAIT: found "soon", want a duration`,
		`parameter ON: found "yes", want true or false`, `parameter SIZE: "xl" is not one of its values; the values are s, m`, "parameter X",
		"parameter DB is required; give it with --set DB=VALUE",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
	if got, err := job.Arguments(nil, map[string]string{"ANY": "x"}); err != nil || got["ANY"] != "x" {
		t.Errorf("a task that declares none takes what it is given: %v, %v", got, err)
	}
}
