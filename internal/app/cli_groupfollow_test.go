package app

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// begun runs the command line beside the test, against a server that is behind another one.
type begun struct {
	out, talk log
	code      chan int
}

func begin(ctx context.Context, url, data string, args ...string) *begun {
	b := &begun{code: make(chan int, 1)}
	env := map[string]string{"ROTA_SERVER": url, "ROTA_DATA": data}
	stdio := Stdio{In: strings.NewReader(""), Out: &b.out, Err: &b.talk, Env: func(k string) (string, bool) { v, ok := env[k]; return v, ok }}
	go func() { b.code <- Main(ctx, args, stdio) }()
	return b
}

// behind is a server in front of another one, which answers some requests itself.
func behind(t *testing.T, server string, own func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, FlushInterval: -1, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	transport := &http.Transport{}
	pass.Transport = transport
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !own(w, r) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		s.Close()
		transport.CloseIdleConnections()
	})
	return s.URL
}

func isLog(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/log") }

// oneStep starts a server in a data folder, with a group g of one step that executes a line in dir.
func oneStep(t *testing.T, data, dir, line string) (*Server, *client.Client) {
	t.Helper()
	s, cl, _ := whole(t, data)
	docs := job.Documents{Groups: []job.Group{{Name: "g"}}, Tasks: []job.Task{{Group: "g", Name: "step", Dir: dir, Command: job.Line(line)}}}
	if _, err := cl.ApplyDocuments(t.Context(), docs, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the task is bound", func() bool {
		v, err := cl.Task(t.Context(), docs.Tasks[0].Ref())
		return err == nil && len(v.Nodes) == 1
	})
	return s, cl
}

// What can't be followed is printed from its record, once it has ended, whether the following fails at once or in the middle.
func TestGroupThatCantBeFollowed(t *testing.T) {
	t.Parallel()
	data, dir := t.TempDir(), t.TempDir()
	s, _ := oneStep(t, data, dir, "printf 'one\\ntwo'; until test -e go; do sleep 0.05; done; exit 3")
	for name, c := range map[string]struct {
		refuse func(w http.ResponseWriter)
		want   string
	}{
		"at once":       {func(w http.ResponseWriter) { http.Error(w, "not here", http.StatusTeapot) }, "step@n1: one\nstep@n1: two\n"},
		"in the middle": {func(w http.ResponseWriter) { half(w) }, "step@n1: one\nstep@n1: one\nstep@n1: two\n"},
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(filepath.Join(dir, "go"))
			front := behind(t, s.URL(), func(w http.ResponseWriter, r *http.Request) bool {
				if isLog(r) {
					c.refuse(w)
				}
				return isLog(r)
			})
			b := begin(t.Context(), front, data, "run", "group", "g", "--follow")
			await(t, "it is said", func() bool { return strings.Contains(b.talk.String(), "can't be followed") })
			if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			code := <-b.code
			got := regexp.MustCompile(`(?m)^ex-.*\n`).ReplaceAllString(b.out.String(), "")
			if code != exitFailed || got != c.want || strings.Count(b.talk.String(), "can't be followed") != 1 {
				t.Errorf("exit %d, printed %q, want %q, said %s", code, got, c.want, b.talk.String())
			}
		})
	}
}

// half is a log that tells one line, and then that it can't go on.
func half(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range []string{
		`{"type":"output","at":{"attempt":1,"offset":4},"chunk":{"offset":0,"stream":"stdout","time":"2026-11-22T10:00:00Z","data":"one\n"}}`,
		`{"type":"error","problem":{"code":"internal","title":"broken","detail":"the disk is gone"}}`,
	} {
		_, _ = w.Write([]byte("data: " + e + "\n\n"))
	}
}

// An interrupt ends the following, after what has come, and not the execution.
func TestGroupFollowInterrupted(t *testing.T) {
	t.Parallel()
	data, dir := t.TempDir(), t.TempDir()
	s, cl := oneStep(t, data, dir, "echo one; printf 'half a line'; until test -e go; do sleep 0.05; done")
	for name, refused := range map[string]bool{"followed": false, "waited for": true} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(filepath.Join(dir, "go"))
			front := behind(t, s.URL(), func(w http.ResponseWriter, r *http.Request) bool {
				if refused && isLog(r) {
					http.Error(w, "not here", http.StatusTeapot)
				}
				return refused && isLog(r)
			})
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			b := begin(ctx, front, data, "run", "group", "g", "--follow")
			await(t, "it is followed", func() bool {
				return strings.Contains(b.out.String(), "step@n1: one\n") || refused && strings.Contains(b.talk.String(), "can't be followed")
			})
			interrupt()
			if code := <-b.code; code != exitInterrupted || !strings.Contains(b.talk.String(), "detached; the execution goes on") {
				t.Errorf("exit %d, said %s", code, b.talk.String())
			}
			list, err := cl.Executions(t.Context(), client.ExecutionFilter{Group: "g"})
			if err != nil || len(list) == 0 || list[0].Ended() {
				t.Errorf("%+v, %v", list, err)
			}
			if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if v, err := cl.WaitExecution(t.Context(), list[0].ID, nil); err != nil || v.Status != job.ExecutionSuccess {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}
