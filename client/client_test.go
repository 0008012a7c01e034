package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := New(Options{Server: srv.URL, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestServerAddresses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": DefaultServer, "db1:7682": "http://db1:7682", "https://rota.example/": "https://rota.example",
		"http://[::1]:7682": "http://[::1]:7682", "https://proxy/rota": "https://proxy/rota",
		"ftp://x": "", "http://": "", "http://user:pw@x": "", "http://x?y": "", "::": "",
	} {
		c, err := New(Options{Server: in})
		switch {
		case want == "" && job.CodeOf(err) != job.CodeInvalid:
			t.Errorf("%q: %v", in, err)
		case want != "" && (err != nil || c.Server() != want):
			t.Errorf("%q: %v, %v", in, c, err)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	addr := port.Must(t)
	c, err := New(Options{Server: addr, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(t.Context())
	if job.CodeOf(err) != job.CodeUnavailable || !strings.Contains(err.Error(), "http://"+addr) || !strings.Contains(err.Error(), "start one with: rota up") {
		t.Error(err)
	}
}

// Only what may safely be sent twice is, and not for ever.
func TestRetries(t *testing.T) {
	t.Parallel()
	ref := job.Ref("", "a")
	for _, c := range []struct {
		name  string
		call  func(*Client) error
		calls int32
	}{
		{"a read", func(c *Client) error { _, err := c.Status(t.Context()); return err }, 3},
		{"a run", func(c *Client) error { _, err := c.Run(t.Context(), RunRequest{Task: ref}); return err }, 1},
		{"a run with a key", func(c *Client) error { _, err := c.Run(t.Context(), RunRequest{Task: ref, Key: "k"}); return err }, 3},
		{"a list of runs", func(c *Client) error {
			_, err := c.RunList(t.Context(), RunListRequest{Task: ref, Each: []ListedRun{{Key: "a"}, {}}})
			return err
		}, 1},
		{"a list of runs with keys", func(c *Client) error {
			_, err := c.RunList(t.Context(), RunListRequest{Task: ref, Each: []ListedRun{{Key: "a"}, {Key: "b"}}})
			return err
		}, 3},
		{"a delete", func(c *Client) error { return c.DeleteTask(t.Context(), ref, 0, false) }, 1},
		{"an apply", func(c *Client) error { _, err := c.Apply(t.Context(), nil, ApplyOptions{}); return err }, 3},
		{"compare and swap", func(c *Client) error { _, err := c.PutTask(t.Context(), job.Task{Name: "a"}, 3); return err }, 1},
	} {
		var calls atomic.Int32
		cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			p := NewProblem(job.Errorf(job.CodeUnavailable, "not now"))
			w.Header().Set("Content-Type", ProblemType)
			w.WriteHeader(p.Status)
			json.NewEncoder(w).Encode(p)
		})
		if err := c.call(cl); job.CodeOf(err) != job.CodeUnavailable || !strings.Contains(err.Error(), "not now") {
			t.Errorf("%s: %v", c.name, err)
		}
		if calls.Load() != c.calls {
			t.Errorf("%s is sent %d times, want %d", c.name, calls.Load(), c.calls)
		}
	}
}

func TestAnotherServer(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusTeapot) })
	if _, err := c.Status(t.Context()); job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), "is it a Rota server?") {
		t.Error(err)
	}
	c = serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") })
	if _, err := c.Status(t.Context()); job.CodeOf(err) != job.CodeUnavailable || !strings.Contains(err.Error(), "is it a Rota server?") {
		t.Error(err)
	}
}

func TestPathsStayInTheTree(t *testing.T) {
	t.Parallel()
	var got []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.URL.EscapedPath())
		io.WriteString(w, "{}")
	})
	for _, id := range []string{"..", ".", ""} {
		if _, err := c.Record(t.Context(), id); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := c.Record(t.Context(), "../../x?y"); err != nil || len(got) != 1 || got[0] != "/api/v1/records/..%2F..%2Fx%3Fy" {
		t.Error(got, err)
	}
}

func TestEachRecordReadsAllPages(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		page := job.Page{Records: []job.ExecutionRecord{{ID: "a" + r.FormValue("cursor")}, {ID: "b"}}}
		if r.FormValue("cursor") == "" {
			page.Next = "2"
		}
		if r.FormValue("outcome") != "failed" {
			page.Next = "never"
		}
		json.NewEncoder(w).Encode(page)
	})
	var ids []string
	for r, err := range c.EachRecord(t.Context(), job.RecordFilter{Outcome: []job.Outcome{job.Failed}}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if got := strings.Join(ids, " "); got != "a b a2 b" {
		t.Error(got)
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.WaitRun(ctx, "r"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestEventsReadWhatTheTypeNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"type":"record","object":{"id":"r"}}`: "*job.ExecutionRecord",
		`{"type":"task","object":{"task":{}}}`:  "*job.TaskEntry",
		`{"type":"later","object":{"a":1}}`:     "map[string]interface {}",
		`{"type":"gap"}`:                        "<nil>",
		`{"type":"node","object":null}`:         "<nil>",
	} {
		var e Event
		if err := json.Unmarshal([]byte(text), &e); err != nil || fmt.Sprintf("%T", e.Object) != want {
			t.Errorf("%s: %s %v", text, fmt.Sprintf("%T", e.Object), err)
		}
	}
	if err := json.Unmarshal([]byte(`{"type":"record","object":[]}`), &Event{}); err == nil {
		t.Error("an object that is no record is read")
	}
}

// Whatever comes down a stream, reading it ends.
func FuzzReadEvents(f *testing.F) {
	f.Add("retry: 1\nid: 0\n\n: \n\nid: 1\nevent: task\ndata: {}\n\n")
	f.Add("data: a\ndata: b\n\n")
	f.Add("data")
	f.Fuzz(func(t *testing.T, s string) {
		n := 0
		err := readEvents(strings.NewReader(s), func(message) error { n++; return nil })
		if err == nil || n > strings.Count(s, "\n")+1 {
			t.Errorf("%d messages, %v", n, err)
		}
	})
}

// The codes of rota why are each told once, and in the table that teaches them.
func TestWhyCodesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/timers.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[WhyCode]bool{}
	for _, c := range WhyCodes() {
		if row := "\n| `" + string(c) + "` | "; seen[c] || strings.Count(string(text), row) != 1 {
			t.Errorf("%q is not once in the table, or twice in the list", c)
		}
		seen[c] = true
	}
}
