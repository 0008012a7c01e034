package job_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func data(pairs ...string) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return m
}

// The expressions of steps, with and without braces, over what steps handed back.
func TestStepExpressions(t *testing.T) {
	t.Parallel()
	scope := job.Scope{
		Params: map[string]string{"HOSTS": "a,b"},
		Data: data("steps.x.outcome", `"failed"`, "steps.x.result.n", `3`, "steps.a-b.result.list", `["p",{"q":1}]`, "steps.x.results", `[{"n":1},{"n":2}]`,
			"steps.x.result.deep.er", `true`),
	}
	for text, want := range map[string]string{
		"steps.x.outcome == 'failed'":             "true",
		"{{ steps.x.result.n > 3 }}":              "false",
		" {{ steps.x.result.n in [3, 4] }} ":      "true",
		"steps.x.result.deep.er":                  "true",
		"steps.x.result.none ?? false":            "false",
		"steps.x.results[1].n == 2":               "true",
		`len(steps["a-b"].result.list) == 2`:      "true",
		"'true'":                                  "true",
		"steps.x.result.n":                        "it gives 3, want true or false",
		"steps.x.result.none":                     "steps.x.result.none has no value here",
		"steps.x.results[1].n + steps.x.result.n": "want true or false",
	} {
		x, err := job.ParseExpression(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		yes, err := x.True(scope)
		if got := fmt.Sprint(yes, err); got != want+" <nil>" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s gives %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		`steps["a-b"].result.list`: `["p" {"q":1}]`,
		"split(params.HOSTS, ',')": `["a" "b"]`,
		"[1, 'x']":                 `[1 "x"]`,
		"[]":                       `[]`,
		"params.HOSTS":             `it gives "a,b", want a list`,
	} {
		x, err := job.ParseExpression(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		list, err := x.List(scope)
		if got := fmt.Sprintf("%s", list); got != want && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s gives %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"steps.a-b.outcome":       `steps["NAME"].outcome`,
		"steps.x.outcome.y":       "is text and has no",
		"steps.x.res":             "want outcome, result or results",
		"steps":                   "steps needs a name",
		"{{ config.A }} x":        "something follows",
		"{{ config.A":             "is not closed",
		"config.A ==":             "1:",
		"config.A and\nparams.B.": "2:",
	} {
		_, err := job.ParseExpression(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// What a step hands on is data in the command of the next one, whatever it says.
func TestStepDataIsData(t *testing.T) {
	t.Parallel()
	task := job.Task{
		Name: "a", Group: "g", Command: job.Line(`echo {{ item }} {{ steps.x.result.name }} {{ item.n ?? "-" }}`), ForEach: "steps.x.result.list",
		Env: map[string]string{"N": `{{ steps.x.result.n + 1 }}`},
	}
	j, err := job.CreateJobFromTask(&task, "n1", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	scope := job.Scope{Data: data("item", `"'; rm -rf / #"`, "steps.x.result.name", `"$(id)"`, "steps.x.result.n", `41`)}
	f, err := j.Fill(scope)
	if err != nil {
		t.Fatal(err)
	}
	if want := `echo ''\''; rm -rf / #' '$(id)' '-'`; f.Argv[2] != want {
		t.Errorf("the line is %s, want %s", f.Argv[2], want)
	}
	if f.Env[0] != "N=42" {
		t.Errorf("the environment is %v", f.Env)
	}
	if _, err := j.Fill(job.Scope{}); err == nil || !strings.Contains(err.Error(), "item has no value here") || !strings.Contains(err.Error(), "run the group") {
		t.Errorf("outside of an execution: %v", err)
	}
}

func entry(name string, edit ...func(*job.Task)) *job.TaskEntry {
	t := job.Task{Name: name, Group: "g", Command: job.Line("true"), Kind: "interval"}
	for _, f := range edit {
		f(&t)
	}
	t.Complete()
	return &job.TaskEntry{Task: t, Generation: 1}
}

func after(names ...string) func(*job.Task) {
	return func(t *job.Task) {
		for _, n := range names {
			t.Depends = append(t.Depends, job.Depend{Task: n})
		}
	}
}

// Steps stand in an order in which they may run; a circle and a missing one are refused.
func TestStepOrder(t *testing.T) {
	t.Parallel()
	e, err := job.NewGroupExecution(&job.Group{Name: "g"}, []*job.TaskEntry{
		entry("a", after("c", "d")), entry("b"), entry("c", after("g/d")), entry("d", after("other/x")),
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range e.Steps {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "d c a b" {
		t.Errorf("the order is %s", got)
	}
	for want, list := range map[string][]*job.TaskEntry{
		"go in a circle: a -> b -> a":               {entry("a", after("b")), entry("b", after("a"))},
		"step a depends on g/b, which is not there": {entry("a", after("b"))},
		"has no tasks":                  nil,
		"at most 262144 are run as one": {entry("a", func(t *job.Task) { t.Stdin = strings.Repeat("x", job.MaxStepTasks) })},
	} {
		if _, err := job.NewGroupExecution(&job.Group{Name: "g"}, list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// What a step hands on has bounds, and what goes beyond them is told.
func TestResultsAreBounded(t *testing.T) {
	t.Parallel()
	e := &job.GroupExecution{ID: "ex-1", Group: "g", Steps: []job.Step{{Name: "a", Lanes: job.NewLanes(10)}}}
	s := &e.Steps[0]
	big := json.RawMessage(`"` + strings.Repeat("x", 15<<10) + `"`)
	for lane := range 8 {
		e.KeepResult(s, lane, big)
	}
	e.KeepResult(s, 9, json.RawMessage(`"`+strings.Repeat("x", job.MaxStepResult)+`"`))
	if len(s.Results) != 4 || len(s.Notes) != 2 {
		t.Errorf("%d results are kept, and noted %q", len(s.Results), s.Notes)
	}
	if _, err := e.Data([][]string{{"steps", "a", "result", "x"}}); err == nil || !strings.Contains(err.Error(), "use steps.a.results") {
		t.Errorf("one result of many: %v", err)
	}
}

// A group's faults are told with their places.
func TestGroupFaults(t *testing.T) {
	t.Parallel()
	_, err := job.ReadDocuments("g.yaml", []byte(`groups:
  - name: "a b"
    on_failure: never
    max_parallel: -1
    catchup: one
  - name: c
    timer: "@reboot"
    overlap: replace
    exclude: ["calendar:x"]
    params: {P: {required: true}}
    colour: red
tasks:
  - {name: t, group: c, command: "true", foreach: "item.x", when: "instant == ''", mode: onlyonce}
  - {name: u, group: c, command: "echo {{ steps.t.outcome }}", timer: "@daily"}
`))
	for _, want := range []string{
		`g.yaml:2:11: groups[0].name: group name "a b" has ' '`, "g.yaml:3:17: groups[0].on_failure", "g.yaml:4:19: groups[0].max_parallel", "g.yaml:5:14: groups[0].catchup: it is for a timer",
		"g.yaml:7:12: groups[1].timer: @reboot is each node's own", "g.yaml:8:14: groups[1].overlap",
		"a timer gives no values", `unknown field "colour"`, "there is no item yet", "instant is not known before the step runs",
		"a task that runs only once does not run for each item", "runs as a step of its group, and has no timer of its own",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s in\n%v", want, err)
		}
	}
}
