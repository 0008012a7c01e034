package job_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

// Whatever a file holds, it is read as tasks that can be written and read again, or every fault says where it is.
func FuzzReadTasks(f *testing.F) {
	for _, pattern := range []string{"testdata/faults/*.yaml", "testdata/faults/*.json", "../examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal(pattern, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add([]byte("&a [*a]"))
	f.Add([]byte("? {a: b}\n: c"))
	f.Add([]byte("\xef\xbb\xbf{\"name\":\"a\",\"command\":[\"\\ud83d\"]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tasks, err := job.ReadTasks("f", data)
		if err != nil {
			var e *job.Error
			if !errors.As(err, &e) || e.Code != job.CodeInvalid || len(e.Fields) == 0 || tasks != nil {
				t.Fatalf("%v", err)
			}
			lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + strings.Count(string(data), "\u0085") +
				strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029") + 2
			for _, field := range e.Fields {
				if field.File != "f" || field.Message == "" || field.Line < 0 || field.Line > lines {
					t.Fatalf("%#v", field)
				}
			}
			return
		}
		out, err := job.MarshalTasks(tasks)
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > job.MaxTaskFile {
			return
		}
		back, err := job.ReadTasks("g", out)
		if err != nil || len(back) != len(tasks) {
			t.Fatalf("%v\n%s", err, out)
		}
		for i := range tasks {
			if !back[i].Equal(&tasks[i]) {
				t.Fatalf("found\n%+v\nwant\n%+v\n%s", back[i], tasks[i], out)
			}
		}
	})
}

func FuzzDecodeTask(f *testing.F) {
	f.Add([]byte(`{"name":"a","command":["x"],"timer":["@daily"],"retry":2,"env":{"A":1}}`))
	f.Add([]byte(`{"name":"a","comand":"x","timeout":5,"name":1e999}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		task, err := job.DecodeTask(data)
		if err == nil {
			err = task.Valid()
		}
		if err != nil && job.CodeOf(err) != job.CodeInvalid {
			t.Fatal(err)
		}
	})
}

// A template that is read can be filled, or says what has no value.
func FuzzParseText(f *testing.F) {
	for _, s := range []string{
		"", "{{", "}}", "{{ config.A }}", `{{ "{{" }}`, "{{ config.A ?? 'b' }}", "{{ node.labels['x'] }}", "{{ {a: {b: 1}} }}", "{{ toJSON([config.A]) }}",
		"{{ date(instant).Format(config.A) }}", "{{ let x = 1; x }}", "{{ map(1..9, #) }}", "{{ config?.A }}", "{{ config.A[1:2] }}", "{{ `}}` }}", "{{ '\\'}}' }}", "{{ 1 / 0 }}", "{{ a.b.c }}",
		"{{ if true { 1 } else { 2 } }}", "{{ config.A | upper() }}", "{{ -9223372036854775808 % -1 }}", "{{ [1,2][-5] }}", "{{ b'x' }}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tmpl, err := job.ParseText(s)
		if err != nil {
			if job.CodeOf(err) != job.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		scope := job.Scope{Config: map[string]string{"A": "a'b"}, Params: map[string]string{"A": "1"}, Node: &job.Node{ID: "n"}, Task: job.Ref("g", "t"), Run: "r"}
		got, err := tmpl.Fill(scope)
		if err != nil && job.CodeOf(err) != job.CodeInvalid {
			t.Fatal(err)
		}
		if !strings.Contains(s, "{{") && got != s {
			t.Fatal(got)
		}
		if _, err := tmpl.FillShell(scope); err != nil && job.CodeOf(err) != job.CodeInvalid {
			t.Fatal(err)
		}
	})
}

func FuzzParseExecutionRecord(f *testing.F) {
	f.Add([]byte(seedRecord))
	f.Add([]byte(`{"id":"a","outcome":"lost","instant":"2026-12-01T00:00:00Z","count":2,"result":{"a":[1]},"attempts":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := job.ParseExecutionRecord(data)
		if err != nil {
			return
		}
		if r.ID == "" || !r.Outcome.Valid() || r.Group == "" {
			t.Fatalf("%+v", r)
		}
		back, err := job.ParseExecutionRecord([]byte(r.String()))
		if err != nil || back.String() != r.String() {
			t.Fatalf("%v\n%s\n%s", err, back, r)
		}
	})
}

func FuzzJobDecode(f *testing.F) {
	f.Add([]byte(seedJob))
	f.Add([]byte(strings.Replace(seedJob, "kubelet check", "a", 1)))
	f.Add([]byte(`{"name":"a","node_id":"n","argv":["{{"],"rule":{"mode":"cycle","timer":"@daily","exclude":["x"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var j job.Job
		if err := j.Decode(data); err != nil {
			if job.CodeOf(err) != job.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		var back job.Job
		if err := back.Decode([]byte(j.String())); err != nil || back.String() != j.String() {
			t.Fatalf("%v\n%s\n%s", err, &back, &j)
		}
		if len(j.ResolveShell()) == 0 || j.ShortName() == "" {
			t.Fatal(j)
		}
	})
}
