package job_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

var update = flag.Bool("update", false, "rewrite the expected errors in testdata")

// Every fault of a task file is told at once, with its place and how to mend it. The texts stand beside the files;
// after a change, go test -update rewrites them for review.
func TestTaskFileFaults(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/faults/*.[yj]*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".txt") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tasks, err := job.ReadTasks(filepath.Base(file), data)
			if err == nil {
				t.Fatalf("read without an error: %v", tasks)
			}
			if job.CodeOf(err) != job.CodeInvalid || tasks != nil {
				t.Errorf("code %s, tasks %v", job.CodeOf(err), tasks)
			}
			checkGolden(t, file+".txt", err.Error()+"\n")
			var e *job.Error
			errors.As(err, &e)
			for _, f := range e.Fields {
				if f.File == "" || f.Line == 0 || f.Column == 0 || f.Message == "" {
					t.Errorf("a fault without a place: %#v", f)
				}
			}
		})
	}
}

func checkGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: found\n%s\nwant\n%s", file, got, want)
	}
}

// The example of the contract, word by word.
func TestUnquotedTimer(t *testing.T) {
	t.Parallel()
	_, err := job.ReadTasks("tasks/db.yaml", []byte("tasks:\n  - name: db\n    command: x\n    timer: */5 * * * *\n"))
	const want = `tasks/db.yaml:4:12: timer starts with "*", which YAML reads as an alias; quote it: "*/5 * * * *"`
	if err == nil || err.Error() != want {
		t.Errorf("found\n%v\nwant\n%s", err, want)
	}
}

func TestFilesThatAreNoText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, data, want string }{
		{"nul", "name: a\ncommand: \"tr\x00ue\"\n", `f.yaml:2:13: there is a NUL byte; save it as UTF-8 text`},
		{"latin", "name: a\ndescription: t\xe4glich\n", `f.yaml:2:15: byte 0xe4 is not UTF-8; save it as UTF-8 text`},
		{"large", strings.Repeat("#", job.MaxTaskFile+1), `f.yaml: it has more than 1048576 bytes`},
		{"escaped nul", "name: a\ncommand: [a, \"b\\0\"]\n", `f.yaml:2:16: command[1]: there is a NUL byte in it`},
	} {
		_, err := job.ReadTasks("f.yaml", []byte(c.data))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: found %v, want %s", c.name, err, c.want)
		}
	}
}

// Aliases that stand for aliases, and for themselves, are bounded.
func TestBillionLaughs(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("x-a: &a0 {A: x}\n")
	for i := range 30 {
		fmt.Fprintf(&b, "x-%d: &a%d {<<: [*a%d, *a%d, *a%d, *a%d]}\n", i, i+1, i, i, i, i)
	}
	b.WriteString("tasks:\n- {name: a, command: x, env: *a30}\n- {name: b, command: x, env: *a30}\n")
	for _, data := range []string{
		b.String(),
		"- &t\n  name: a\n  command: x\n  env: *t\n  retry: *t\n",
		"- name: a\n  command: &c [*c]\n",
		"- &m\n  name: a\n  command: x\n  <<: *m\n",
		strings.Repeat("- [", 1000) + strings.Repeat("]", 1000),
		"a: " + strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000),
	} {
		if _, err := job.ReadTasks("f.yaml", []byte(data)); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%.60q: %v", data, err)
		}
	}
}

func TestReadTasks(t *testing.T) {
	t.Parallel()
	const file = `
x-common: &common
  group: shop
  env: &env {A: 1, B: true, C: 2026-12-01, D: ~, E: 0x1F, F: "007"}
tasks:
  - <<: *common
    name: 0123
    command: >
      echo
      one line
    env: {<<: *env, D: own, A: 2}
  - name: list
    command: [sleep, 5, 1.50]
    timer: ["0 1 * * *", "@every 90s"]
    retry: 2
    timeout: 1d12h
    user:
---
- {name: bare, command: "true", group: a}
---
name: one
command: "true"
group: b
`
	tasks, err := job.ReadTasks("f.yaml", []byte(strings.Replace(file, "D: ~, ", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, task := range tasks {
		refs = append(refs, task.Ref().String())
	}
	if got := strings.Join(refs, " "); got != "shop/0123 default/list a/bare b/one" {
		t.Fatal(got)
	}
	first, second := tasks[0], tasks[1]
	if first.Command.Line != "echo one line\n" || fmt.Sprint(first.Env) != "map[A:2 B:true C:2026-12-01 D:own E:0x1F F:007]" {
		t.Errorf("%+v", first)
	}
	if fmt.Sprint(second.Command.Argv) != "[sleep 5 1.50]" || second.Retry.Count != 2 || second.Timeout.String() != "36h" || second.User != "" {
		t.Errorf("%+v", second)
	}
	if second.Mode != job.Cycle || len(second.Timer.Lines()) != 2 || second.Kind != "common" || second.Concurrency != 1 {
		t.Errorf("not completed: %+v", second)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n---\n", "tasks:\n", "tasks: []\n", "[]", "\ufeff\n"} {
		if tasks, err := job.ReadTasks("f.yaml", []byte(empty)); err != nil || len(tasks) != 0 {
			t.Errorf("%q: %v, %v", empty, tasks, err)
		}
	}
}

// JSON is read as JSON, with all of its escapes, and not as what YAML makes of it.
func TestReadJSON(t *testing.T) {
	t.Parallel()
	const data = "\ufeff" + `{"tasks": [{"name": "a", "command": ["\ud83d\ude00\/", 5], "retry": {"count": 1, "backoff": 1.5e0}, "env": {"A": null}}]}`
	_, err := job.ReadTasks("f.json", []byte(data))
	if want := `f.json:1:114: tasks[0].env.A: there is no value; write "" for an empty text`; err == nil || err.Error() != want {
		t.Errorf("found %v, want %s", err, want)
	}
	tasks, err := job.ReadTasks("-", []byte(strings.Replace(data, "null", `"x"`, 1)))
	if err != nil || tasks[0].Command.Argv[0] != "😀/" || tasks[0].Retry.Backoff != 1.5 {
		t.Errorf("%+v, %v", tasks, err)
	}
}

func TestDecodeTask(t *testing.T) {
	t.Parallel()
	task, err := job.DecodeTask([]byte(`{"name": "a", "command": "true", "timer": "@daily"}`))
	if err != nil || task.Mode != job.Cycle || task.Group != "default" {
		t.Errorf("%+v, %v", task, err)
	}
	for _, c := range []struct{ data, want string }{
		{`{"name": "a", "comand": "x"}`, `1:15: comand: unknown field "comand"; did you mean "command"?` + "\n" + `1:1: command: there is no command`},
		{`{"name": "a", "command": "x", "status": "ok"}`, `1:31: status: unknown field "status"`},
		{`{"name": "a"`, `1:13: JSON: it ends in the middle`},
		{`name: a`, `1:2: JSON: invalid character`},
		{``, `1:1: JSON: it is empty`},
		{`[]`, `1:1: found a list, want a task`},
		{"{\"name\": \"a\x00\"}", `1:12: there is a NUL byte`},
	} {
		_, err := job.DecodeTask([]byte(c.data))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: found %v, want %s", c.data, err, c.want)
		}
	}
}

func TestReadFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, data := range map[string]string{
		"b.yaml": "name: b\ncommand: x\n", "a.yml": "name: a\ncommand: x\n", "sub/c.json": `{"name": "c", "command": "x"}`,
		".hidden.yaml": "broken: [", ".git/x.yaml": "broken: [", "notes.txt": "broken: [", "sub/README.md": "x",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names := func(paths ...string) (string, error) {
		docs, err := job.ReadFiles(paths)
		var list []string
		for _, task := range docs.Tasks {
			list = append(list, task.Name)
		}
		return strings.Join(list, " "), err
	}
	if got, err := names(dir); got != "a b c" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := names(filepath.Join(dir, "b.yaml"), dir); got != "b a c" || err != nil {
		t.Errorf("a file that is named twice is read once: %s, %v", got, err)
	}
	write := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("sub/d.yaml", "name: b\ncommand: x\n---\nname: d\n")
	big := write("sub/e.yaml", strings.Repeat(" ", job.MaxTaskFile+1))
	_, err := names(dir, filepath.Join(dir, "missing.yaml"))
	want := strings.ReplaceAll(`DIR/sub/d.yaml:1:7: name: task default/b stands here a second time; the first is at DIR/b.yaml:1:7; rename one, or put it in another group
DIR/sub/d.yaml:4:1: command: there is no command, and no http, ssh or handler; write a list, such as ["df", "-h"], or a shell line
DIR/sub/e.yaml: it has more than 1048576 bytes
DIR/missing.yaml: there is no such file`, "DIR", dir)
	if err == nil || err.Error() != want {
		t.Errorf("found\n%v\nwant\n%s", err, want)
	}
	if err := os.Remove(big); err != nil {
		t.Fatal(err)
	}
}
