package api_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/api"
	"github.com/rota-dev/rota/internal/api/apitest"
	"github.com/rota-dev/rota/job"
)

// The client meets the error that the master returned.
func TestErrorsArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	for _, code := range client.Codes() {
		f := serve(t)
		want := &job.Error{
			Code: code, Message: "it is so", Hint: "mend it",
			Fields: []job.FieldError{{File: "a.yaml", Line: 3, Column: 7, Path: "tasks[0].timer", Message: "no", Hint: "yes"}},
		}
		f.master.SetFail(want)
		_, err := f.client().Task(t.Context(), job.Ref("", "backup"))
		var got *job.Error
		if !errors.As(err, &got) {
			t.Errorf("%s: %v", code, err)
			continue
		}
		if code == job.CodeInternal {
			hint, _, ok := strings.Cut(got.Hint, " (request ")
			if got.Hint = hint; !ok {
				t.Errorf("%s does not name the request", code)
			}
		}
		if code == job.CodeUnauthorized {
			got.Hint = want.Hint // the client knows better where its token comes from
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v", code, got)
		}
	}
}

func TestTableOfCodesIsOneToOne(t *testing.T) {
	t.Parallel()
	for _, code := range client.Codes() {
		if got := client.CodeOf(client.StatusOf(code)); got != code {
			t.Errorf("%s becomes %s", code, got)
		}
	}
	for status := 400; status < 600; status++ {
		if client.CodeOf(status) == "" {
			t.Errorf("%d has no code", status)
		}
	}
}

func TestFaultsOfTheServerTellNothing(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.master.SetFail(fmt.Errorf("open /var/lib/secret: denied"))
	status, _, body := f.do("GET", "/api/v1/tasks", "")
	if status != 500 || strings.Contains(body, "secret") {
		t.Errorf("%d %s", status, body)
	}
	if !strings.Contains(f.log.String(), "secret") {
		t.Errorf("the log does not say it: %s", f.log)
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.master.SetFail(job.Errorf(job.CodeUnavailable, "etcd does not answer"))
	if status, _, body := f.do("GET", "/readyz", ""); status != 503 || !strings.Contains(body, "etcd") {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ := f.do("GET", "/healthz", ""); status != 200 {
		t.Errorf("the process is alive, and health is %d", status)
	}
	if status, _, body := f.do("GET", "/api/v1/status", ""); status != 200 || !strings.Contains(body, "etcd") {
		t.Errorf("status: %d %s", status, body)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	f := serve(t)
	for _, c := range []struct {
		method, path string
		most         int
	}{{"PUT", "/api/v1/tasks/default/x", 4 << 20}, {"POST", "/api/v1/apply", 64 << 20}} {
		want := fmt.Sprintf("more than %d bytes", c.most)
		if status, _, body := f.do(c.method, c.path, strings.Repeat(" ", c.most+1), "Content-Type", "application/json"); status != 413 || !strings.Contains(body, want) {
			t.Errorf("%s: a body too large: %d %s", c.path, status, body)
		}
	}
	if status, _, _ := f.do("GET", "/api/v1/tasks", "", "X-Large", strings.Repeat("x", 80<<10)); status != 431 {
		t.Errorf("a header too large: %d", status)
	}
	if status, header, _ := f.do("GET", "/api/v1/tasks", "", "X-Request-Id", "mine-1"); status != 200 || header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("%d %v", status, header)
	}
	if _, header, _ := f.do("GET", "/api/v1/tasks", "", "X-Request-Id", `"><script>`); strings.Contains(header.Get("X-Request-Id"), "script") {
		t.Errorf("%v", header)
	}
}

func TestAPanicIsContained(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	m := apitest.New()
	h := api.New(api.Options{Master: m, Tokens: tokens{}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oh no") })})
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 500 || strings.Contains(w.Body.String(), "oh no") || w.Header().Get("Content-Type") != client.ProblemType {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "oh no") {
		t.Errorf("log: %s", &log)
	}
}

// Whatever stands in a query, the API answers, and not with a fault of its own.
func FuzzQuery(f *testing.F) {
	for _, path := range []string{"records", "tasks", "cron", "next", "jobs"} {
		f.Add(path, "since=2026-12-01T10:00:00Z&limit=3")
		f.Add(path, "outcome=failed&outcome=lost&cursor=%zz")
		f.Add(path, "expr=*/5+*+*+*+*&tz=Europe/Berlin&n=3&from=9999-12-31T23:59:59Z")
		f.Add(path, "group=../..&task=%00&limit=-1")
		f.Add(path, "a;b=&&==&%")
	}
	h := api.New(api.Options{Master: apitest.New("n1"), Tokens: tokens{}})
	f.Fuzz(func(t *testing.T, path, query string) {
		if !strings.Contains("records tasks cron next jobs", path) || path == "" {
			t.Skip()
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: "/api/v1/" + path, RawQuery: query}
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s?%s: %d %s", path, query, w.Code, w.Body)
		}
	})
}

// Whatever is sent as tasks, the API answers, and not with a fault of its own.
func FuzzApply(f *testing.F) {
	f.Add("application/json", `[{"name":"a","command":"true"}]`)
	f.Add("application/json", `{"tasks":[]}`)
	f.Add("application/yaml", "tasks:\n - name: a\n   command: [x]\n   timer: \"* * * * *\"\n")
	f.Add("text/plain", "a: &a [*a]")
	h := api.New(api.Options{Master: apitest.New("n1"), Tokens: tokens{}})
	f.Fuzz(func(t *testing.T, kind, body string) {
		for _, to := range []string{"POST /api/v1/apply?dry_run=true", "PUT /api/v1/tasks/default/a"} {
			method, path, _ := strings.Cut(to, " ")
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", kind)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Errorf("%s: %d %s", to, w.Code, w.Body)
			}
		}
	})
}
