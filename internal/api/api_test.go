package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/api"
	"github.com/rota-dev/rota/internal/api/apitest"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "rota_admin"

// tokens knows one token for each role, of which it is the name.
type tokens struct{}

func (tokens) Authenticate(ctx context.Context, t string) (api.Principal, error) {
	role, ok := strings.CutPrefix(t, "rota_")
	if !ok || !slices.Contains([]string{api.RoleViewer, api.RoleOperator, api.RoleEditor, api.RoleAdmin}, role) {
		return api.Principal{}, job.Errorf(job.CodeUnauthorized, "unknown")
	}
	return api.Principal{Name: role, Role: role}, nil
}

type fixture struct {
	t      *testing.T
	master *apitest.Master
	url    string
	log    *bytes.Buffer
}

// serve starts an API in front of a master in memory, with the limits of the real server.
func serve(t *testing.T, change ...func(*api.Options)) *fixture {
	t.Helper()
	m := apitest.New("n1", "n2")
	f := &fixture{t: t, master: m, log: &bytes.Buffer{}}
	o := api.Options{
		Master: m, Tokens: tokens{}, Version: "test", Logger: slog.New(slog.NewTextHandler(f.log, nil)),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "rota_up 1\n") }),
	}
	for _, c := range change {
		c(&o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = api.NewServer(ctx, api.New(o), discard())
	srv.Start()
	t.Cleanup(func() {
		cancel()
		srv.Close()
	})
	f.url = srv.URL
	return f
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (f *fixture) client() *client.Client {
	c, err := client.New(client.Options{Server: f.url, Token: token})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(c.Close)
	return c
}

// do makes a request and reads its answer. Pairs of header and value follow the body.
func (f *fixture) do(method, path, body string, header ...string) (int, http.Header, string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func (f *fixture) task(name, timer string) job.Task {
	t := job.Task{Name: name, Command: job.Line("true"), Timer: job.Timer(timer)}
	t.Complete()
	if _, err := f.master.Apply(f.t.Context(), []job.Task{t}, master.ApplyOptions{}); err != nil {
		f.t.Fatal(err)
	}
	return t
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.task("backup", "0 2 * * *")
	f.master.Add(job.ExecutionRecord{ID: "r1", Group: "default", Name: "backup", Outcome: job.Failed, EndTime: apitest.Now, Output: "boom"})
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     string // a part of the answer
	}{
		{"tasks", "GET", "/api/v1/tasks", "", nil, 200, `[{"task":{`},
		{"no tasks are a list", "GET", "/api/v1/tasks?group=none", "", nil, 200, "[]"},
		{"a task", "GET", "/api/v1/tasks/default/backup", "", nil, 200, `"next":["2026-12-02T02:00:00Z"`},
		{"no such task", "GET", "/api/v1/tasks/default/none", "", nil, 404, `"code":"not_found"`},
		{"a bad name", "GET", "/api/v1/tasks/default/a%2Fb", "", nil, 422, "position 2"},
		{"a path out of the tree", "GET", "/api/v1/tasks/default/..%2F..%2Fusers", "", nil, 422, `"code":"invalid"`},
		{"a NUL", "GET", "/api/v1/nodes/n%00", "", nil, 422, `"code":"invalid"`},
		{"4 KiB of name", "GET", "/api/v1/nodes/" + strings.Repeat("n", 4096), "", nil, 422, "at most 128"},
		{"an unknown parameter", "GET", "/api/v1/tasks?gruop=x", "", nil, 422, `did you mean \"group\"?`},
		{"a parameter twice", "GET", "/api/v1/tasks?group=x&group=y", "", nil, 422, "2 times"},
		{"a broken query", "GET", "/api/v1/tasks?group=%zz", "", nil, 422, "cannot be read"},
		{"jobs", "GET", "/api/v1/jobs?task=backup&node=n1", "", nil, 200, `"envs":[]`},
		{"processes", "GET", "/api/v1/processes", "", nil, 200, "[]"},
		{"nodes", "GET", "/api/v1/nodes", "", nil, 200, `"online":true`},
		{"a node", "GET", "/api/v1/nodes/n1", "", nil, 200, `"id":"n1"`},
		{"label", "PATCH", "/api/v1/nodes/n1", `{"labels":{"role":"db"},"cordoned":true}`, nil, 200, `"cordoned":true`},
		{"a bad label", "PATCH", "/api/v1/nodes/n1", `{"labels":{"-":"db"}}`, nil, 422, `"path":"labels"`},
		{"a status that nobody may set", "PATCH", "/api/v1/nodes/n1", `{"online":false}`, nil, 422, "online"},
		{"forget a node that is online", "DELETE", "/api/v1/nodes/n1", "", nil, 409, "stop its agent"},
		{"groups", "GET", "/api/v1/groups", "", nil, 200, `"tasks":1`},
		{"set config", "PUT", "/api/v1/config/DB_HOST?group=shop", `{"value":"db1"}`, nil, 204, ""},
		{"config", "GET", "/api/v1/config", "", nil, 200, `"value":"db1"`},
		{"delete config", "DELETE", "/api/v1/config/DB_HOST?group=shop", "", nil, 204, ""},
		{"records", "GET", "/api/v1/records?outcome=failed&outcome=lost", "", nil, 200, `"output":""`},
		{"records with output", "GET", "/api/v1/records?output=true", "", nil, 200, "boom"},
		{"an unknown outcome", "GET", "/api/v1/records?outcome=faild", "", nil, 422, `did you mean \"failed\"?`},
		{"an unknown trigger", "GET", "/api/v1/records?trigger=cron", "", nil, 422, "timer, run"},
		{"a bad time", "GET", "/api/v1/records?since=yesterday", "", nil, 422, `\"yesterday\" is not a time`},
		{"a bad limit", "GET", "/api/v1/records?limit=many", "", nil, 422, `"path":"limit"`},
		{"a limit too high", "GET", "/api/v1/records?limit=100000", "", nil, 422, `"path":"limit"`},
		{"a record", "GET", "/api/v1/records/r1", "", nil, 200, "boom"},
		{"a record by number", "GET", "/api/v1/tasks/default/backup/records/1", "", nil, 200, `"id":"r1"`},
		{"a number that is none", "GET", "/api/v1/tasks/default/backup/records/one", "", nil, 422, "number"},
		{"next", "GET", "/api/v1/next?task=backup", "", nil, 200, `"outcome":"failed"`},
		{"status", "GET", "/api/v1/status", "", nil, 200, `"leader":"m1"`},
		{"cron", "GET", "/api/v1/cron?expr=0+9+*+*+*&tz=Europe/Berlin&from=2026-12-01T00:00:00Z&n=1", "", nil, 200, `["2026-12-01T09:00:00+01:00"]`},
		{"no timer", "GET", "/api/v1/cron", "", nil, 422, "expr"},
		{"a bad timer", "GET", "/api/v1/cron?expr=61+*+*+*+*", "", nil, 422, "minute"},
		{"a run with no body", "POST", "/api/v1/tasks/default/backup/run", "", nil, 202, `"runs":[{`},
		{"a run elsewhere", "POST", "/api/v1/tasks/default/backup/run", `{"nodes":["n1","n9"]}`, nil, 202, `"not_run":[{"node":"n9"`},
		{"a run with an unknown field", "POST", "/api/v1/tasks/default/backup/run", `{"node":"n1"}`, nil, 422, `"path":"node"`},
		{"why", "GET", "/api/v1/tasks/default/backup/why?at=2026-12-01T03:00:00Z", "", nil, 200, `"instant":"2026-12-01T02:00:00Z"`},
		{"why now", "GET", "/api/v1/tasks/default/backup/why", "", nil, 200, `"next":"2026-12-02T02:00:00Z"`},
		{"why at no time", "GET", "/api/v1/tasks/default/backup/why?at=noon", "", nil, 422, "not a time"},
		{"why nothing", "GET", "/api/v1/tasks/default/none/why", "", nil, 404, "not_found"},
		{"a backfill", "POST", "/api/v1/tasks/default/backup/backfill", `{"from":"2026-11-01T00:00:00Z","to":"2026-11-04T00:00:00Z"}`, nil, 202, `"total":2`},
		{"a backfill without a range", "POST", "/api/v1/tasks/default/backup/backfill", `{"from":"2026-11-01T00:00:00Z"}`, nil, 422, "expected required property to"},
		{"a backfill on a bad node", "POST", "/api/v1/tasks/default/backup/backfill", `{"from":"2026-11-01T00:00:00Z","to":"2026-11-04T00:00:00Z","nodes":["a/b"]}`, nil, 422, `"path":"nodes"`},
		{"a backfill with much in it", "POST", "/api/v1/tasks/default/backup/backfill", `{"from":"2026-11-01T00:00:00Z","to":"2026-11-04T00:00:00Z","params":{"A":"` + strings.Repeat("a", 9000) + `"}}`, nil, 422, "at most 8192"},
		{"backfills", "GET", "/api/v1/backfills?task=backup", "", nil, 200, `"state":"active"`},
		{"backfills of nothing", "GET", "/api/v1/backfills?group=none", "", nil, 200, "[]"},
		{"no such backfill", "GET", "/api/v1/backfills/bf-none", "", nil, 404, "not_found"},
		{"cancel no backfill", "DELETE", "/api/v1/backfills/bf-none?kill=true", "", nil, 404, "not_found"},
		{"no such run", "GET", "/api/v1/runs/none", "", nil, 404, "not_found"},
		{"a bad wait", "GET", "/api/v1/runs/none?wait=soon", "", nil, 422, "not a duration"},
		{"unknown events", "GET", "/api/v1/events?type=recrd", "", nil, 422, `did you mean \"record\"?`},
		{"nothing there", "GET", "/api/v1/tasksss", "", nil, 404, "openapi.json"},
		{"another method", "DELETE", "/api/v1/tasks", "", nil, 405, "GET"},
		{"health", "GET", "/healthz", "", nil, 200, "ok"},
		{"ready", "GET", "/readyz", "", nil, 200, `"ready":true`},
		{"metrics", "GET", "/metrics", "", nil, 200, "rota_up"},
		{"a page", "GET", "/", "", nil, 200, "Rota test"},
		{"nothing else", "GET", "/login", "", nil, 404, "not_found"},
		{"another origin", "POST", "/api/v1/tasks/default/backup/pause", "", []string{"Sec-Fetch-Site", "cross-site"}, 403, "another origin"},
	} {
		status, header, body := f.do(c.method, c.path, c.body, c.header...)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %s %s: %d %s\nwant %d and %s", c.name, c.method, c.path, status, body, c.status, c.want)
		}
		if status >= 400 && header.Get("Content-Type") != client.ProblemType {
			t.Errorf("%s: content type %s", c.name, header.Get("Content-Type"))
		}
		if strings.Contains(body, "$schema") {
			t.Errorf("%s: has a link to a schema: %s", c.name, body)
		}
		if header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", c.name)
		}
	}
	if f.log.Len() > 0 {
		t.Errorf("the log has\n%s", f.log)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	f := serve(t)
	const yaml = "tasks:\n  - name: backup\n    command: [pg_dump, shop]\n    timer: \"0 2 * * *\"\n"
	for _, c := range []struct {
		name, query, body, kind string
		status                  int
		want                    string
	}{
		{"a dry run", "?dry_run=true", yaml, "application/yaml", 200, `"change":"created"`},
		{"wrote nothing", "", yaml, "application/yaml", 200, `"change":"created"`},
		{"the same again", "", yaml, "application/yaml", 200, `"change":"unchanged"`},
		{"a list", "", `[{"name":"backup","command":"true"}]`, "application/json", 200, `"change":"configured"`},
		{"pruned", "?prune=default", `[{"name":"other","command":"true"}]`, "application/json", 200, `"change":"deleted"`},
		{"a bad group", "?prune=a/b", "[]", "application/json", 422, "invalid"},
		{"a fault with its place", "?file=db.yaml", strings.Replace(yaml, "command:", "comand:", 1), "application/yaml", 422, `"file":"db.yaml","line":3`},
		{"a fault in a list", "", `[{"name":"a","command":"true"},{"name":"b","command":"true","tiemr":"x"}]`, "application/json", 422, `"path":"[1]`},
		{"twice in a list", "", `[{"name":"a","command":"true"},{"name":"a","command":"true"}]`, "application/json", 422, "second time"},
		{"no list", "", `{"a":1}`, "application/json", 422, `unknown field \"a\"`},
		{"no list nor object", "", `7`, "application/json", 422, "neither a list of tasks"},
		{"an object", "", `{"templates":[{"name":"t","command":"true"}],"tasks":[{"name":"x","template":"t"}]}`, "application/json", 200, `"kind":"template","name":"t","change":"created"`},
		{"a list twice", "", `{"tasks":[],"tasks":[]}`, "application/json", 422, `"path":"tasks","message":"it stands here a second time"`},
		{"no list of an object", "", `{"tasks":{"a":1}}`, "application/json", 422, "found object, want a list"},
		{"a task alone", "", `{"name":"alone","command":"true"}`, "application/json", 200, `"task":"default/alone"`},
		{"half an object", "", `{"tasks":[{"name":"a","command":"true"}]`, "application/json", 422, "EOF"},
		{"a fault in an object", "", `{"tasks":[{"name":"a","command":"true"},{"name":"b","command":"true","tiemr":"x"}]}`, "application/json", 422, `"path":"tasks[1].tiemr"`},
		{"a status", "", `[{"name":"a","command":"true","paused":true}]`, "application/json", 422, "paused"},
	} {
		status, _, body := f.do("POST", "/api/v1/apply"+c.query, c.body, "Content-Type", c.kind)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s\nwant %d and %s", c.name, status, body, c.status, c.want)
		}
	}
}

// A folder of thousands of tasks is one request, whatever a single file may have.
func TestApplyOfManyTasks(t *testing.T) {
	t.Parallel()
	f := serve(t)
	const n = 12_000
	tasks := make([]string, n)
	for i := range tasks {
		tasks[i] = fmt.Sprintf(`{"name":"t%d","command":"true","description":%q}`, i, strings.Repeat("d", 400))
	}
	body := `{"tasks":[` + strings.Join(tasks, ",") + `]}`
	if len(body) <= 4<<20 {
		t.Fatalf("%d bytes are not many", len(body))
	}
	status, _, answer := f.do("POST", "/api/v1/apply", body, "Content-Type", "application/json")
	if status != 200 || strings.Count(answer, `"change":"created"`) != n {
		t.Errorf("%d, %d created: %.300s", status, strings.Count(answer, `"change":"created"`), answer)
	}
	tasks[n-1] = `{"name":"t0","command":"true"}`
	status, _, answer = f.do("POST", "/api/v1/apply", `{"tasks":[`+strings.Join(tasks, ",")+`]}`, "Content-Type", "application/json")
	if status != 422 || !strings.Contains(answer, `a second time; the first is at tasks[0]`) {
		t.Errorf("%d: %.300s", status, answer)
	}
}

func TestEditsCompareAndSwap(t *testing.T) {
	t.Parallel()
	f := serve(t)
	const path = "/api/v1/tasks/default/backup"
	for _, c := range []struct {
		name, method, body, match, none string
		status                          int
	}{
		{"create", "PUT", `{"command":"true"}`, "", "*", 200},
		{"create what is there", "PUT", `{"command":"false"}`, "", "*", 409},
		{"write in any case", "PUT", `{"command":"one"}`, "", "", 200},
		{"another revision", "PUT", `{"command":"two"}`, `"77"`, "", 409},
		{"the right revision", "PUT", `{"command":"two"}`, `"2"`, "", 200},
		{"no revision", "PUT", `{"command":"two"}`, "latest", "", 422},
		{"another name", "PUT", `{"name":"other","command":"two"}`, "", "", 422},
		{"nothing", "PUT", ``, "", "", 400},
		{"an empty task", "PUT", `{}`, "", "", 422},
		{"delete another revision", "DELETE", "", `"2"`, "", 409},
		{"delete", "DELETE", "", `"3"`, "", 204},
	} {
		status, _, body := f.do(c.method, path, c.body, "If-Match", c.match, "If-None-Match", c.none)
		if status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, body, c.status)
		}
	}
	f.task("backup", "")
	if _, header, _ := f.do("GET", path, ""); header.Get("ETag") != `"4"` {
		t.Errorf("ETag %s", header.Get("ETag"))
	}
}

func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	f := serve(t)
	status, _, body := f.do("GET", "/openapi.json", "", "Authorization", "")
	var doc struct {
		OpenAPI    string `json:"openapi"`
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || status != 200 || doc.OpenAPI != "3.1.0" {
		t.Fatalf("%d %v %.200s", status, err, body)
	}
	for _, name := range []string{"Task", "TaskView", "Problem", "ExecutionRecord", "RunView"} {
		if doc.Components.Schemas[name] == nil {
			t.Errorf("no schema %s", name)
		}
	}
	var why struct {
		Properties map[string]struct {
			Ref  string           `json:"$ref"`
			Enum []client.WhyCode `json:"enum"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(doc.Components.Schemas["WhyAnswer"], &why); err != nil || !slices.Equal(why.Properties["code"].Enum, client.WhyCodes()) {
		t.Errorf("the codes of an answer to why are %+v, %v", why.Properties["code"], err)
	}
	for _, bad := range []string{"ErrorModel", "$schema", `"null"`} {
		if strings.Contains(body, bad) {
			i := strings.Index(body, bad)
			t.Errorf("the document has %s: …%s…", bad, body[max(0, i-200):min(len(body), i+100)])
		}
	}
}
