package job_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

const waysFile = `
tasks:
  - name: hook
    http:
      method: PUT
      url: https://{{ config.HOST }}/hooks/{{ task.name }}
      headers: {X-Task: "{{ task.name }}"}
      auth: {secret: api-token}
      body: '{"at": "{{ instant }}"}'
      expect: [200, 204, 300-303]
      expect_body: ok
      follow_redirects: 3
      tls: {ca: /etc/ca.pem, insecure_skip_verify: true}
  - name: remote
    ssh: {host: "{{ params.HOST }}", port: 2222, user: deploy, key: {secret: deploy-key}, host_key: ssh-ed25519 AAAA}
    command: [df, -h]
  - name: inside
    handler: cleanup
    input: {days: 7, big: 12345678901234567890, rate: 1.50, hex: 0x10, path: "/var/{{ task.name }}", deep: [{on: true, none: null}]}
`

func readWays(t *testing.T, text string) []job.Task {
	t.Helper()
	docs, err := job.ReadDocuments("ways.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	tasks := docs.Tasks
	for i := range tasks {
		tasks[i].Complete()
	}
	return tasks
}

// What a task runs instead of a command comes back from YAML and from JSON as it was written, and its job shows it.
func TestWaysRoundTrip(t *testing.T) {
	t.Parallel()
	tasks := readWays(t, waysFile)
	if in := string(tasks[2].Input); in != `{"big":12345678901234567890,"days":7,"deep":[{"none":null,"on":true}],"hex":16,"path":"/var/{{ task.name }}","rate":1.50}` {
		t.Errorf("input %s", in)
	}
	text, err := job.MarshalTasks(tasks)
	if err != nil {
		t.Fatal(err)
	}
	again := readWays(t, string(text))
	for i, want := range []string{"PUT https://{{ config.HOST }}/hooks/{{ task.name }}", "ssh deploy@{{ params.HOST }}: df -h", "handler cleanup"} {
		if err := tasks[i].Valid(); err != nil {
			t.Error(err)
		}
		if !again[i].Equal(&tasks[i]) {
			t.Errorf("task %d does not come back: %s", i, text)
		}
		if got := tasks[i].What(); got != want {
			t.Errorf("it shows as %q, want %q", got, want)
		}
		j := job.Bind(&job.TaskEntry{Task: tasks[i]}, "n1", nil, time.Unix(0, 0))
		if got := j.What(); got != want {
			t.Errorf("its job shows as %q, want %q", got, want)
		}
		var back job.Job
		if err := back.Decode([]byte(j.String())); err != nil || back.String() != j.String() {
			t.Errorf("the job does not come back: %v\n%s\n%s", err, j, &back)
		}
		if c := j.Clone(); c.String() != j.String() || c.HTTP != nil && c.HTTP == j.HTTP {
			t.Errorf("the clone is not one: %s", c)
		}
		if strings.Contains(j.String(), `"cmd":"PUT`) {
			t.Error("an agent that knows no http would run it as a shell line")
		}
	}
	names := tasks[0].ConfigNames()
	if len(names) != 1 || names[0] != "HOST" {
		t.Errorf("the job would be given the configuration %q", names)
	}
}

// Values are filled in where they stand, and what comes of them is checked again.
func TestWaysAreFilled(t *testing.T) {
	t.Parallel()
	tasks := readWays(t, waysFile)
	fill := func(i int, host string) (job.Filled, error) {
		j := job.Bind(&job.TaskEntry{Task: tasks[i]}, "n1", nil, time.Unix(0, 0))
		j.Config = map[string]string{"HOST": host}
		at, _ := job.ParseInstant("2026-12-01T10:00:00Z")
		return j.Fill(job.Scope{Node: &job.Node{ID: "n1"}, Instant: at, Params: map[string]string{"HOST": host}})
	}
	f, err := fill(0, "example.org")
	if err != nil || len(f.Argv) != 0 {
		t.Fatal(f, err)
	}
	if h := f.Way.HTTP; h.URL != "https://example.org/hooks/hook" || h.Headers["X-Task"] != "hook" || h.Body != `{"at": "2026-12-01T10:00:00Z"}` || h.Auth.Secret != "api-token" {
		t.Errorf("%+v", h)
	}
	if f, err = fill(1, "db.example.org"); err != nil || f.Way.SSH.Host != "db.example.org" || strings.Join(f.Argv, "|") != "df|-h" {
		t.Errorf("%+v %v", f, err)
	}
	if f, err = fill(2, ""); err != nil || !strings.Contains(string(f.Way.Input), `"path":"/var/inside"`) || !json.Valid(f.Way.Input) {
		t.Errorf("%s %v", f.Way.Input, err)
	}
	if tasks[0].HTTP.URL != "https://{{ config.HOST }}/hooks/{{ task.name }}" {
		t.Error("the task itself was changed")
	}
	for _, host := range []string{"a b", "-oProxyCommand=x", "x;id", "$(id)", "", "u@h", "h:22", "10.0.0.1:22", "[::1]:22", strings.Repeat("a", 300)} { // ancestor 59
		if _, err := fill(1, host); err == nil {
			t.Errorf("host %q was accepted", host)
		}
	}
	for _, host := range []string{"h", "h.example.org", "10.0.0.1", "::1", "[::1]", "fe80::1%eth0"} {
		if f, err := fill(1, host); err != nil || f.Way.SSH.Host != host {
			t.Errorf("host %q: %v", host, err)
		}
	}
	if _, err := fill(0, "user:secret@example.org"); err == nil || !strings.Contains(err.Error(), "auth:") {
		t.Errorf("credentials in a URL: %v", err)
	}
}

// A task runs one thing, and what is wrong with it is said where it stands.
func TestWaysAreChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"timer: '@daily'", "command: there is no command, and no http, ssh or handler"},
		{"command: x\nhttp: {url: 'https://e.org'}", "command: a task runs one thing, and http says another"},
		{"command: x\nhandler: h", "command: a task runs one thing, and handler says another"},
		{"handler: h\nhttp: {url: 'https://e.org'}", "handler: a task runs one thing, and http says another"},
		{"ssh: {host: h, agent: true}", "there is no command"},
		{"ssh: {host: h}\ncommand: x", "ssh.key: there are 0 ways to log in"},
		{"ssh: {host: h, agent: true, password: {secret: p}}\ncommand: x", "ssh.key: there are 2 ways to log in"},
		{"ssh: {host: 'h;id', agent: true}\ncommand: x", "ssh.host:"},
		{"ssh: {host: 'h:22', agent: true}\ncommand: x", "and the port as port"},
		{"ssh: {host: h, agent: true, port: 70000}\ncommand: x", "ssh.port:"},
		{"ssh: {host: h, key: {secret: ../../etc/shadow}}\ncommand: x", "ssh.key.secret:"},
		{"ssh: {host: h, agent: true}\ncommand: x\nuser: bob", "write it as ssh.user"},
		{"http: {url: 'ftp://e.org'}", "http.url: scheme"},
		{"http: {url: 'https://u:p@e.org'}", "auth:"},
		{"http: {url: 'https://e.org', expect: 99}", `"99" is no status`},
		{"http: {url: 'https://e.org', expect_body: '('}", "http.expect_body:"},
		{"http: {url: 'https://e.org', method: get}", "http.method:"},
		{"http: {url: 'https://e.org', headers: {Content-Length: '1'}}", "belongs to the connection"},
		{"http: {url: 'https://e.org', headers: {Rota-Run: x}}", "set by Rota"},
		{"http: {url: 'https://e.org', headers: {X: \"a\\nb\"}}", "line break"},
		{"http: {url: 'https://e.org', follow_redirects: 11}", "from 0 to 10"},
		{"http: {url: 'https://e.org', tls: {cert: /c.pem}}", "come together"},
		{"http: {url: 'https://e.org'}\nuser: bob", "starts no process"},
		{"http: {url: 'https://e.org'}\nstdin: x", "http.body"},
		{"handler: h\nenv: {A: b}", "starts no process"},
		{"http: {url: 'https://e.org'}\nargs: [a]", "args:"},
		{"command: [x]\nargs: [a, '{{ nothing }}']", "args[1]:"},
		{"handler: h\ninput: {a: '{{ nothing }}'}", "input.a:"},
		{"command: x\ninput: 1", "it is for a handler"},
		{"handler: h\nresult_from: stdout", "SetResult"},
	} {
		_, err := job.ReadDocuments("t.yaml", []byte("tasks:\n- name: t\n  "+strings.ReplaceAll(c.text, "\n", "\n  ")))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{`204`: "204", `"200-299"`: "200-299", `[200, "300-303"]`: "200,300-303"} {
		var s job.Statuses
		if err := json.Unmarshal([]byte(text), &s); err != nil || string(s) != want {
			t.Errorf("%s is %q, %v", text, s, err)
		}
	}
	s := job.Statuses("200, 300-303")
	for status, want := range map[int]bool{200: true, 201: false, 299: false, 300: true, 303: true, 304: false} {
		if s.Has(status) != want {
			t.Errorf("%s has %d: %v", s, status, !want)
		}
	}
	if d := job.Statuses(""); !d.Has(299) || d.Has(301) || d.Has(199) {
		t.Error("the default is not 200 to 299")
	}
}
