package job_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

var scope = job.Scope{
	Config:  map[string]string{"DB_HOST": "db1", "QUOTE": `it's "x"; $(reboot)`, "LIST": "a,b,c", "N": "5", "weird.name": "w", "LONG": strings.Repeat("x", 60<<10)},
	Params:  map[string]string{"DAYS": "7"},
	Node:    &job.Node{ID: "node1", Labels: map[string]string{"role": "db", "disk-type": "ssd"}},
	Instant: time.Date(2026, 12, 1, 11, 0, 0, 0, time.FixedZone("", 3600)),
	Task:    job.Ref("shop", "backup"), Run: "run1",
}

func TestFill(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ template, want string }{
		{"", ""}, {"plain }} text { {", "plain }} text { {"},
		{"{{ config.DB_HOST }}:5432", "db1:5432"}, {"{{config.DB_HOST}}{{ params.DAYS }}", "db17"}, {`{{ config["weird.name"] }}`, "w"},
		{"{{ node.name }} {{ node.labels.role }} {{ node.labels['disk-type'] }}", "node1 db ssd"},
		{"{{ instant }} {{ task.group }}/{{ task.name }} {{ run }}", "2026-12-01T10:00:00Z shop/backup run1"},
		{`{{ params.MISSING ?? "none" }} {{ config.A ?? config.B ?? config.DB_HOST }}`, "none db1"},
		{`{{ "{{" }} .Names }}`, "{{ .Names }}"}, {`{{ "}}" }}{{ '}}' }}`, "}}}}"},
		{`{{ upper(config.DB_HOST) + "-" + node.name }}`, "DB1-node1"}, {"{{ int(config.N) * 2 + 1 }} {{ 7 / 2.0 }} {{ config.N == '5' }}", "11 3.5 true"},
		{`{{ join(split(config.LIST, ","), " ") }} {{ len(config.LIST) }}`, "a b c 5"}, {`{{ replace(config.LIST, ",", "") }}`, "abc"},
		{`{{ toJSON(config.QUOTE) }}`, `"it's \"x\"; $(reboot)"`}, {`{{ toJSON({"host": config.DB_HOST, "days": int(params.DAYS)}) }}`, `{"days":7,"host":"db1"}`},
		{`{{ date(instant).Format("2006-01-02") }} {{ date(instant).AddDate(0, 0, -1).Format("02.01.") }}`, "2026-12-01 30.11."},
		{`{{ date(instant).In(timezone("Europe/Berlin")).Format("15:04") }} {{ (date(instant) - duration("24h")).Format("02") }}`, "11:00 30"},
		{`{{ node.labels.role == "db" ? "primary" : "other" }} {{ config.LIST[0:1] }} {{ split(config.LIST, ",")[1] }}`, "primary a b"},
		{`{{ config.DB_HOST matches "^db[0-9]$" }} {{ node.labels.role in ["db", "web"] }} {{ params.X ?? "" | trim() }}`, "true true "},
	} {
		tmpl, err := job.ParseText(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		if got, err := tmpl.Fill(scope); err != nil || got != c.want {
			t.Errorf("%s: found %q, %v, want %q", c.template, got, err, c.want)
		}
		if tmpl.String() != c.template {
			t.Errorf("%s: it was %s", tmpl, c.template)
		}
	}
}

// A name without a value is an error that names it and what is near.
func TestFillErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ template, want string }{
		{"{{ config.DB_HOTS }}", `{{ config.DB_HOTS }}: there is no configuration "DB_HOTS"; did you mean "DB_HOST"?`},
		{"{{ params.WEEKS }}", `{{ params.WEEKS }}: there is no parameter "WEEKS"; set it, or give a default: {{ params.WEEKS ?? "text" }}`},
		{"{{ node.labels.rolle }}", `{{ node.labels.rolle }}: there is no label of node node1 "rolle"; did you mean "role"?`},
		{"{{ config.A ?? config.B }}", `{{ config.A ?? config.B }}: there is no configuration "B"; set it, or give a default: {{ config.B ?? "text" }}`},
		{"{{ config.A + 'x' }} {{ config.B }}", "{{ config.A + 'x' }}: there is no configuration \"A\"; set it, or give a default: {{ config.A ?? \"text\" }}\n" +
			`{{ config.B }}: there is no configuration "B"; set it, or give a default: {{ config.B ?? "text" }}`},
		{"{{ split(config.LIST, ',') }}", `{{ split(config.LIST, ',') }}: it gives a list or an object, want text; use join or toJSON`},
		{"{{ config.A ?? nil }}", `{{ config.A ?? nil }}: it has no value; give a default: {{ NAME ?? "text" }}`},
		{"{{ int(config.DB_HOST) }}", "{{ int(config.DB_HOST) }}: invalid operation: int(db1)"},
		{"{{ date('soon') }}", `{{ date('soon') }}: "soon" is no date, such as 2026-12-01, and no time, such as 2026-12-01T10:00:00Z`},
		{"{{ timezone('Mars') }}", "time zone"}, {"{{ split(config.LIST, ',')[7] }}", "out of range"},
		{"{{ replace(config.LONG, 'x', config.LONG) }}", "{{ replace(config.LONG, 'x', config.LONG) }}: the value would have more than 131072 bytes"},
		{"{{ join(split(config.LONG, ''), config.LONG) }}", "more than 131072 bytes"}, {"{{ config.LONG + config.LONG + config.LONG }}", "more than 131072 bytes"},
		{strings.Repeat("{{ config.LONG }}", 20), "with its values the text has more than 1048576 bytes"},
		{"{{ toJSON(toJSON(toJSON(config.LONG + config.LONG) + config.LONG)) }}", "more than 131072 bytes"},
	} {
		tmpl, err := job.ParseText(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		if got, err := tmpl.Fill(scope); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s: found %.20q\n%v\nwant\n%s", c.template, got, err, c.want)
		}
	}
	for _, name := range []string{"node.name", "node.labels.x", "task.name", "task.group", "instant", "run"} {
		tmpl, err := job.ParseText("{{ " + name + " }}")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tmpl.Fill(job.Scope{}); err == nil || !strings.Contains(err.Error(), name+" has no value here") {
			t.Errorf("%s of nothing: %q, %v", name, got, err)
		}
	}
}

// An expression is bounded by its size, for nothing in it can loop.
func TestExpressionsAreBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ expr, want string }{
		{strings.Repeat("1+", 1100) + "1", "at most 2048 are allowed"},
		{strings.Repeat("1+", 300) + "1", "exceeds maximum allowed nodes"}, {strings.Repeat("!", 1000) + "true", "nodes"},
		{`repeat("x", 1000000000)`, "unknown function"}, {`1..1000000000`, "no ranges"}, {`all([1], # > 0)`, "unknown function"},
		{`fromJSON("[]")`, "unknown function"}, {`config.A; config.B`, "no loops"}, {`date(instant).MarshalJSON()`, "unknown method"}, {`date(instant).wall`, ""},
	} {
		tmpl, err := job.ParseText("{{ " + c.expr + " }}")
		if err == nil && c.want == "" {
			_, err = tmpl.Fill(scope)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: found %.200v, want %s", c.expr, err, c.want)
		}
	}
}

func TestTemplateErrorsHavePlaces(t *testing.T) {
	t.Parallel()
	_, err := job.ParseText("é {{ confg.A }}\n  {{ 1 + }} {{ \"é\" + nme }}")
	var e *job.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	var places [][2]int
	for _, f := range e.Fields {
		places = append(places, [2]int{f.Line, f.Column})
	}
	if want := [][2]int{{1, 6}, {2, 9}, {2, 22}}; !slices.Equal(places, want) {
		t.Errorf("found %v, want %v\n%v", places, want, err)
	}
}

func TestTemplateNames(t *testing.T) {
	t.Parallel()
	tmpl, err := job.ParseText(`{{ config.B ?? config.A }} {{ node.name }} {{ config.B + params.P + node.labels["a.b"] }}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(tmpl.Names(), " "); got != "config.B config.A node.name params.P node.labels.a.b" {
		t.Error(got)
	}
	task := job.Task{
		Name: "a", Command: job.Args("x", "{{ config.C }}", "{{ config.A }}"), Env: map[string]string{"E": "{{ config.B ?? '' }}{{ params.P }}"},
		Stdin: "{{ config.A }}{{ config.D }}", Dir: "/{{ config.E }}",
	}
	if got := strings.Join(task.ConfigNames(), " "); got != "A B C D E" {
		t.Error(got)
	}
	line := job.Task{Command: job.Line("echo {{ config.Z }}")}
	if got := line.ConfigNames(); !slices.Equal(got, []string{"Z"}) {
		t.Error(got)
	}
}

func TestJobFill(t *testing.T) {
	t.Parallel()
	j := &job.Job{
		Name: "backup", Group: "shop", Argv: []string{"pg_dump", "-h", "{{ config.QUOTE }}", "{{ task.name }}"}, Envs: []string{"A=x=y", "B={{ node.name }}={{ run }}"},
		Stdin: "{{ instant }}\n", Dir: "/var/{{ node.labels.role }}", Config: map[string]string{"QUOTE": "it's"},
	}
	f, err := j.Fill(job.Scope{Node: scope.Node, Instant: scope.Instant, Run: "r"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.Argv, []string{"pg_dump", "-h", "it's", "backup"}) || !slices.Equal(f.Env, []string{"A=x=y", "B=node1=r"}) ||
		f.Stdin != "2026-12-01T10:00:00Z\n" || f.Dir != "/var/db" {
		t.Errorf("%+v", f)
	}
	if j.Argv[2] != "{{ config.QUOTE }}" || j.Envs[1] != "B={{ node.name }}={{ run }}" {
		t.Error("the job itself was changed")
	}
	script := &job.Job{Argv: []string{"bash", "-ec", `echo {{ config.QUOTE }} "$1"`, "x", "{{ config.QUOTE }}"}}
	if f, err = script.Fill(scope); err != nil || f.Argv[2] != `echo 'it'\''s "x"; $(reboot)' "$1"` || f.Argv[4] != scope.Config["QUOTE"] {
		t.Errorf("%q, %v", f.Argv, err)
	}
	bad := &job.Job{
		Name: "a", Group: "g", Command: "echo '{{ config.A }}'", Envs: []string{"E={{ config.A }}"}, Stdin: "{{ x }}", Dir: "{{ config.REL }}",
		Config: map[string]string{"REL": "var", "NUL": "\x00"},
	}
	const want = `the values of g/a cannot be filled in
cmd: {{ config.A }} cannot be quoted here: it stands in single quotes; end them before it, or use double quotes
envs.E: {{ config.A }}: there is no configuration "A"; set it, or give a default: {{ config.A ?? "text" }}
stdin: unknown name "x"; did you mean config.x? names begin with config, params, node, task, steps or item, or are instant or run`
	if _, err := bad.Fill(job.Scope{}); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("found\n%v\nwant\n%s", err, want)
	}
	bad.Command, bad.Envs, bad.Stdin = "echo {{ config.NUL }}", nil, "{{ config.NUL }}"
	if _, err := bad.Fill(job.Scope{}); err == nil || !strings.Contains(err.Error(), "NUL byte") {
		t.Error(err)
	}
	bad.Command = "true"
	if _, err := bad.Fill(job.Scope{}); err == nil || !strings.Contains(err.Error(), `dir: "var" is not an absolute path`) {
		t.Error(err)
	}
}
