package rota_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/rota-dev/rota"
	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
	"github.com/rota-dev/rota/test/port"
)

// runs has a node or a server run until the test ends, and waits for its readiness.
func runs(t *testing.T, p interface {
	Run(context.Context) error
	Ready() <-chan struct{}
}) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-p.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
}

func run(t *testing.T, cl *client.Client, text, task string) *job.ExecutionRecord {
	t.Helper()
	if _, err := cl.ApplyFile(t.Context(), "tasks.yaml", []byte("tasks:\n"+text), client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	answer, err := cl.Run(t.Context(), client.RunRequest{Task: job.Ref("", task), Params: map[string]string{"WHO": "ann"}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := cl.WaitRun(t.Context(), answer.Runs[0].Run)
	if err != nil {
		t.Fatal(err)
	}
	return v.Record
}

func newServer(t *testing.T, o rota.NodeOptions) (*rota.Server, func() *client.Client) {
	t.Helper()
	o.Name, o.Dir = "first", t.TempDir()
	s := rota.NewServer(rota.ServerOptions{NodeOptions: o, Listen: "127.0.0.1:0"})
	return s, func() *client.Client {
		runs(t, s)
		cl, err := s.Client()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return cl
	}
}

// A task runs a function of this very process, and its record is like that of any run.
func TestAHandlerRunsInAServer(t *testing.T) {
	t.Parallel()
	s, start := newServer(t, rota.NodeOptions{})
	s.Handle("greet", func(_ context.Context, r *rota.Run) error {
		var in struct{ Text string }
		if err := r.Bind(&in); err != nil {
			return err
		}
		fmt.Fprintf(r.Output, "%s %s, %s on %s, attempt %d", in.Text, r.Params["WHO"], r.Task, r.Node, r.Attempt)
		if r.Attempt == 1 {
			return errors.New("not yet")
		}
		return r.SetResult(map[string]string{"said": in.Text})
	})
	cl := start()
	rec := run(t, cl, `- {name: greet, handler: greet, retry: 1, input: {text: "hello {{ params.WHO }}"}}`, "greet")
	if rec.Outcome != job.Success || rec.Output != "hello ann ann, default/greet on first, attempt 2" || string(rec.Result) != `{"said":"hello ann"}` ||
		rec.Command != "handler greet" || rec.ExitCode != nil || rec.Pid != 0 {
		t.Errorf("%+v", rec)
	}
	if len(rec.Attempts) != 1 || rec.Attempts[0].Reason != "not yet" {
		t.Errorf("%+v", rec.Attempts)
	}
	if rec := run(t, cl, `- {name: other, handler: gret}`, "other"); rec.Outcome != job.Failed || !strings.Contains(rec.Reason, `no handler "gret"; it has greet`) {
		t.Errorf("an unknown handler: %s %q", rec.Outcome, rec.Reason)
	}
	n, err := cl.Node(t.Context(), "first")
	if err != nil || len(n.Facts.Handlers) != 1 || n.Facts.Handlers[0] != "greet" {
		t.Errorf("the node says that it has %v, %v", n.Facts.Handlers, err)
	}
	rec = run(t, cl, `- {name: inward, http: {url: "`+s.URL()+`/healthz"}}`, "inward")
	if rec.Outcome != job.Failed || !strings.Contains(rec.Reason, "not public") || !strings.HasPrefix(rec.Command, "GET http://127.0.0.1:") {
		t.Errorf("a request inwards: %s %q %q", rec.Outcome, rec.Reason, rec.Command)
	}
}

// What the node's owner allows is requested, over the whole way from the task to its record.
func TestARequestRunsInAServer(t *testing.T) {
	t.Parallel()
	s, start := newServer(t, rota.NodeOptions{HTTPAllow: []string{"127.0.0.1"}})
	cl := start()
	rec := run(t, cl, `- {name: health, http: {url: "`+s.URL()+`/healthz", expect: [200, 204]}}`, "health")
	if rec.Outcome != job.Success || !strings.HasPrefix(rec.Output, "HTTP/1.1 200 OK\n") || rec.ExitCode != nil {
		t.Errorf("%+v", rec)
	}
}

// Two runs of one job that are no processes are both there, and each can be killed.
func TestRunsWithoutProcessesAreToldApart(t *testing.T) {
	t.Parallel()
	s, start := newServer(t, rota.NodeOptions{})
	begun := make(chan struct{}, 2)
	s.Handle("wait", func(ctx context.Context, _ *rota.Run) error {
		begun <- struct{}{}
		<-ctx.Done()
		return nil
	})
	cl := start()
	if _, err := cl.ApplyFile(t.Context(), "t.yaml", []byte("tasks:\n- {name: wait, handler: wait, overlap: allow, concurrency: 2}"), client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	var ids []job.RunID
	for range 2 {
		a, err := cl.Run(t.Context(), client.RunRequest{Task: job.Ref("", "wait")})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, a.Runs[0].Run)
		<-begun
	}
	for _, err := range cl.Events(t.Context()) { // until both are seen; each change is an event
		if err != nil {
			t.Fatal(err)
		}
		list, err := cl.Processes(t.Context(), client.JobFilter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 2 {
			break
		}
	}
	for _, id := range ids {
		if err := cl.Kill(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		v, err := cl.WaitRun(t.Context(), id)
		if err != nil || v.Record.Outcome != job.Killed {
			t.Errorf("%+v %v", v, err)
		}
	}
}

// A second node lives in the same process, beside a server, with handlers of its own.
func TestTwoNodesInOneProcess(t *testing.T) {
	t.Parallel()
	url := "http://" + port.Must(t)
	e, err := store.Embed(t.Context(), store.EmbedOptions{Dir: t.TempDir(), ClientURLs: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s := rota.NewServer(rota.ServerOptions{NodeOptions: rota.NodeOptions{Name: "first", Dir: t.TempDir(), Etcd: []string{url}}, Listen: "127.0.0.1:0"})
	n := rota.NewNode(rota.NodeOptions{Name: "second", Dir: t.TempDir(), Etcd: []string{url}})
	for name, p := range map[string]interface {
		Handle(string, rota.Handler)
	}{"first": s, "second": n} {
		p.Handle("who", func(_ context.Context, r *rota.Run) error {
			fmt.Fprint(r.Output, name)
			return nil
		})
	}
	runs(t, s)
	runs(t, n)
	cl, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	for _, node := range []string{"first", "second"} {
		waitOnline(t, cl, node)
		rec := run(t, cl, `- {name: who-`+node+`, handler: who, nodes: [`+node+`]}`, "who-"+node)
		if rec.Outcome != job.Success || rec.Output != node || string(rec.Node) != node {
			t.Errorf("on %s: %s %q %q", node, rec.Outcome, rec.Output, rec.Reason)
		}
	}
}

func waitOnline(t *testing.T, cl *client.Client, node string) {
	t.Helper()
	for {
		v, err := cl.Node(t.Context(), job.NodeID(node))
		if err == nil && v.Online {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatCannotBeEmbedded(t *testing.T) {
	t.Parallel()
	h := func(context.Context, *rota.Run) error { return nil }
	for want, n := range map[string]*rota.Node{
		"no folder":          rota.NewNode(rota.NodeOptions{Etcd: []string{"http://127.0.0.1:1"}}),
		"the address of etc": rota.NewNode(rota.NodeOptions{Dir: t.TempDir()}),
		"is no network":      rota.NewNode(rota.NodeOptions{Dir: t.TempDir(), Etcd: []string{"http://127.0.0.1:1"}, HTTPAllow: []string{"x"}}),
	} {
		if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	n := rota.NewNode(rota.NodeOptions{})
	n.Handle("a", h)
	n.Handle("a", h)
	n.Handle("b", nil)
	if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "two handlers a") || !strings.Contains(err.Error(), "b is nil") {
		t.Error(err)
	}
	if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "called before") {
		t.Error(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a handler that comes too late is ignored")
		}
	}()
	n.Handle("c", h)
}

// The example does what docs/embedding.md says.
func TestTheExampleRuns(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "run", "./examples/embed")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), `cleanup: success {"old":`) {
		t.Errorf("%v %s", err, out)
	}
}

// A handler can't outlive its program: where that ends, the handler's context does, and the run is on record as killed by it, for the next life to
// hand over.
func TestAHandlerEndsWithItsProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	life := func(begun chan<- struct{}) (*client.Client, func()) {
		s := rota.NewServer(rota.ServerOptions{NodeOptions: rota.NodeOptions{Name: "first", Dir: dir}, Listen: "127.0.0.1:0"})
		s.Handle("wait", func(ctx context.Context, _ *rota.Run) error {
			close(begun)
			<-ctx.Done()
			return context.Cause(ctx)
		})
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- s.Run(ctx) }()
		select {
		case <-s.Ready():
		case err := <-over:
			t.Fatal(err)
		}
		cl, err := s.Client()
		if err != nil {
			t.Fatal(err)
		}
		return cl, func() {
			cl.Close()
			cancel()
			if err := <-over; err != nil {
				t.Error(err)
			}
		}
	}
	begun := make(chan struct{})
	cl, end := life(begun)
	if _, err := cl.ApplyFile(t.Context(), "t.yaml", []byte("tasks:\n- {name: wait, handler: wait}"), client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	a, err := cl.Run(t.Context(), client.RunRequest{Task: job.Ref("", "wait")})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	end()
	cl, end = life(make(chan struct{}))
	defer end()
	v, err := cl.WaitRun(t.Context(), a.Runs[0].Run)
	if err != nil || v.Record == nil || v.Record.Outcome != job.Killed || !strings.HasPrefix(v.Record.Reason, "killed by the agent's stop") || v.Record.EndedBy != job.EndedByKill {
		t.Errorf("%+v %v", v, err)
	}
}
