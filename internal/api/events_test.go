package api_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/api"
	"github.com/rota-dev/rota/internal/api/apitest"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// follow reads events in the background until the test ends.
func (f *fixture) follow(c *client.Client, types ...string) <-chan client.Event {
	out := make(chan client.Event, 64)
	ctx, cancel := context.WithCancel(f.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(out)
		for e, err := range c.Events(ctx, types...) {
			if err != nil {
				f.t.Error(err)
				return
			}
			out <- e
		}
	})
	f.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return out
}

func receive(t *testing.T, c <-chan client.Event) client.Event {
	t.Helper()
	select {
	case e := <-c:
		return e
	case <-time.After(time.Minute):
		t.Fatal("no event came")
		return client.Event{}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	f := serve(t, func(o *api.Options) { o.Heartbeat = time.Millisecond })
	events := f.follow(f.client(), client.EventRecord)
	f.master.AwaitWatchers(1)
	f.master.Emit(master.Event{Type: "task", Change: "put", Key: "not asked for"})
	f.master.Add(job.ExecutionRecord{ID: "r1", Group: "default", Name: "backup", Outcome: job.Failed, Output: "a\nb"})
	e := receive(t, events)
	if r, ok := e.Object.(*job.ExecutionRecord); !ok || e.Type != "record" || e.Change != "put" || r.ID != "r1" || r.Output != "a\nb" {
		t.Errorf("%#v", e)
	}
	f.master.Emit(master.Event{Type: client.EventGap, At: apitest.Now})
	if e := receive(t, events); e.Type != client.EventGap {
		t.Errorf("a slow reader is not told: %#v", e)
	}
}

// A connection that breaks is made anew, and the reader is told that something may be missing.
func TestEventsReconnect(t *testing.T) {
	t.Parallel()
	f := serve(t)
	target, _ := url.Parse(f.url)
	var mu sync.Mutex
	var cut context.CancelFunc
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1}
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		mu.Lock()
		cut = cancel
		mu.Unlock()
		defer func() { recover() }() // how the proxy breaks off an answer
		proxy.ServeHTTP(w, r.WithContext(ctx))
	}))
	defer between.Close()
	defer between.CloseClientConnections()
	c, err := client.New(client.Options{Server: between.URL, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	events := f.follow(c)
	f.master.AwaitWatchers(1)
	f.master.Emit(master.Event{Type: "node", Change: "put", Key: "before"})
	if e := receive(t, events); e.Key != "before" {
		t.Fatalf("%#v", e)
	}
	mu.Lock()
	cut()
	mu.Unlock()
	f.master.AwaitWatchers(0)
	f.master.AwaitWatchers(1)
	if e := receive(t, events); e.Type != client.EventGap {
		t.Errorf("the reader is not told of the gap: %#v", e)
	}
	f.master.Emit(master.Event{Type: "node", Change: "deleted", Key: "after"})
	if e := receive(t, events); e.Key != "after" {
		t.Errorf("%#v", e)
	}
}

func TestEventsOfARefusal(t *testing.T) {
	t.Parallel()
	f := serve(t)
	c, err := client.New(client.Options{Server: f.url, Token: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := 0
	for _, err := range c.Events(t.Context()) {
		if n++; job.CodeOf(err) != job.CodeUnauthorized {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d answers", n)
	}
}

// A stream outlives the time that a request may take to be read, and to be answered.
func TestStreamsOutliveTheTimeouts(t *testing.T) {
	t.Parallel()
	m := apitest.New()
	srv := httptest.NewUnstartedServer(nil)
	h := api.New(api.Options{Master: m, Tokens: tokens{}, Heartbeat: 10 * time.Millisecond})
	srv.Config = api.NewServer(t.Context(), h, discard())
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 20*time.Millisecond, 20*time.Millisecond
	srv.Start()
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/api/v1/events", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	beats := 0
	for lines := bufio.NewScanner(resp.Body); beats < 10 && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), ":") {
			beats++
		}
	}
	if beats < 10 {
		t.Errorf("the stream ended after %d signs of life", beats)
	}
}

// A stream does not outlive the server.
func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()
	m := apitest.New()
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = api.NewServer(ctx, api.New(api.Options{Master: m, Tokens: tokens{}}), discard())
	srv.Start()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/api/v1/events", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %s", got)
	}
	cancel()
	stop, done := context.WithTimeout(t.Context(), 10*time.Second)
	defer done()
	if err := srv.Config.Shutdown(stop); err != nil {
		t.Error(err)
	}
	srv.Close()
}

func TestAwaitARun(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.task("backup", "")
	c := f.client()
	a, err := c.Run(t.Context(), client.RunRequest{Task: job.Ref("", "backup"), Nodes: []job.NodeID{"n1"}, Key: "k"})
	if err != nil || len(a.Runs) != 1 {
		t.Fatal(a, err)
	}
	again, err := c.Run(t.Context(), client.RunRequest{Task: job.Ref("", "backup"), Nodes: []job.NodeID{"n1"}, Key: "k"})
	if err != nil || again.Runs[0] != a.Runs[0] {
		t.Fatalf("asking again is another run: %v, %v, %v", a, again, err)
	}
	run := a.Runs[0].Run
	if status, _, body := f.do("GET", "/api/v1/runs/"+string(run)+"?wait=1ms", ""); status != 200 || !strings.Contains(body, `"state":"pending"`) {
		t.Errorf("%d %s", status, body)
	}
	type answer struct {
		v   *client.RunView
		err error
	}
	done := make(chan answer)
	go func() {
		v, err := c.WaitRun(t.Context(), run)
		done <- answer{v, err}
	}()
	f.master.AwaitWatchers(1)
	f.master.SetRunning(run)
	f.master.End(run, job.Failed, "boom")
	got := <-done
	if got.err != nil || got.v.State != "failed" || got.v.Record.Output != "boom" {
		t.Errorf("%+v %v", got.v, got.err)
	}
	f.master.AwaitWatchers(0)
	if err := c.Kill(t.Context(), run); job.CodeOf(err) != job.CodeConflict {
		t.Errorf("killed what has ended: %v", err)
	}
}
