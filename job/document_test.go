package job_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// What is written alone is read back alone, and says the same.
func TestADocumentAlone(t *testing.T) {
	t.Parallel()
	for section, doc := range map[string]any{
		"templates": job.Template{Task: job.Task{
			Name: "pg", Command: job.Args("pg_dump", "", "$x", "a b\nc"), Env: map[string]string{"A": "1"}, Params: map[string]job.Param{"DAY": {Default: new("today")}},
		}},
		"groups":    job.Group{Name: "etl", MaxParallel: 2, Timer: "0 3 * * *\n0 4 * * *", Timeout: job.Duration(time.Hour)},
		"receivers": job.Receiver{Name: "ops", Webhook: &job.Webhook{URL: job.TextOrSecret{Text: "https://example.com/"}, Secret: &job.SecretRef{Secret: "hook"}}},
		"monitors":  job.Monitor{Name: "nas", Timer: "@daily", Notify: []job.Notify{{On: []job.AlertEvent{job.AlertFailed}, To: job.Names{"ops"}}}},
		"tasks":     job.Task{Group: "g", Name: "a", Command: job.Line("true"), Timer: "@hourly", Mode: job.Cycle},
	} {
		text, err := job.MarshalDocument(doc)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := job.ReadDocument(section, "", text)
		if err != nil || docs.Len() != 1 {
			t.Errorf("%s: %v\n%s", section, err, text)
			continue
		}
		var read any
		switch section {
		case "templates":
			read = docs.Templates[0]
		case "groups":
			read = docs.Groups[0]
		case "receivers":
			read = docs.Receivers[0]
		case "monitors":
			read = docs.Monitors[0]
		case "tasks": // comes back complete
			complete := doc.(job.Task)
			complete.Complete()
			read, doc = docs.Tasks[0], complete
		}
		was, _ := json.Marshal(doc)
		is, _ := json.Marshal(read)
		if string(was) != string(is) {
			t.Errorf("%s: %s came back as %s", section, was, is)
		}
		what := map[string]string{"templates": "template pg", "groups": "group etl", "receivers": "receiver ops", "monitors": "monitor nas", "tasks": "task g/a"}[section]
		if got := docs.What(); len(got) != 1 || got[0] != what {
			t.Errorf("%s is called %q, want %s", section, got, what)
		}
	}
}

func TestReadDocumentTellsFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ section, text, want string }{
		{"templates", "name: a\ncomand: x\n", `2:1: comand: unknown field "comand"; did you mean "command"?`},
		{"templates", "name: a\ngroup: b\ncommand: x\n", "2:8: group: a template is in no group"},
		{"groups", "name: a\nmax_parallel: many\n", "2:15: "},
		{"groups", "groups: [{name: a}]\n", `unknown field "groups"`},
		{"receivers", "name: a\n", "it has 0 of mail, webhook and slack"},
		{"monitors", "name: a\n---\nname: b\n", "found 2 documents"},
		{"monitors", "", "found 0 documents"},
		{"monitors", "- name: a\n", "found a list"},
		{"calendars", "name: a\n", "no documents are called calendars"},
	} {
		_, err := job.ReadDocument(c.section, "", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v, want %s", c.section, c.text, err, c.want)
		}
	}
	docs, err := job.ReadDocument("groups", "g.yaml", []byte("name: a\nnotify: [{on: [failed], to: nobody}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var f job.Faults
	f.Add("notify[0].to", "there is no receiver nobody")
	if err := docs.Locate(f.Err("")); !strings.Contains(err.Error(), "g.yaml:2:29: ") {
		t.Errorf("what a server finds stands at %v", err)
	}
}
