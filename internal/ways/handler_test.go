package ways

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func handle(t *testing.T, h Handler) *Runner {
	t.Helper()
	return newRunner(t, Options{Handlers: map[string]Handler{"cleanup": h, "other": h}})
}

func handled() job.Exec { return job.Exec{Way: &job.Way{Handler: "cleanup"}} }

func TestAHandlerIsGivenItsRun(t *testing.T) {
	t.Parallel()
	r := handle(t, func(_ context.Context, run *Run) error {
		var in struct{ Days int }
		if err := run.Bind(&in); err != nil {
			return err
		}
		fmt.Fprintf(run.Output, "%s %s %s %s %d %d %v %d %s\n", run.ID, run.Task, run.Node, run.Instant.Format(time.RFC3339), run.Attempt, run.Fence, run.Params, in.Days, run.Stdin)
		run.Progress(0.2, "first")
		run.Progress(7, "half way")
		return run.SetResult(map[string]int{"removed": 3})
	})
	e := handled()
	e.Way.Input, e.Way.Params, e.Stdin = []byte(`{"Days": 7}`), map[string]string{"A": "b"}, []byte("in")
	x := start(t, r, e)
	exit := wait(t, x)
	if exit.Outcome != job.Success || exit.Reason != "" || string(exit.Result) != `{"removed":3}` || exit.EndedBy != job.EndedByExit {
		t.Errorf("%+v", exit)
	}
	if want := "run1 shop/hook n1 2026-12-01T10:00:00Z 2 77 map[A:b] 7 in\n"; string(exit.Output) != want {
		t.Errorf("%s, want %s", exit.Output, want)
	}
	if p := <-x.Progress(); p.Progress != 1 || p.Message != "half way" || p.Time.IsZero() {
		t.Errorf("%+v", p)
	}
}

func TestHowAHandlerFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason, output string
		h                    Handler
	}{
		{"an error", "no disk", "", func(context.Context, *Run) error { return errors.New("no disk") }},
		{"an error with a hint", "no disk; buy one", "", func(context.Context, *Run) error {
			return job.Errorf(job.CodeInvalid, "no disk").WithHint("buy one")
		}},
		{"a panic", "panic: boom", "handler_test.go", func(context.Context, *Run) error { panic("boom") }},
		{"Goexit", "Goexit", "", func(context.Context, *Run) error { runtime.Goexit(); return nil }},
		{"no input", "the task has no input", "", func(_ context.Context, r *Run) error { return r.Bind(&struct{}{}) }},
		{"a result that is too large", "at most 65536", "", func(_ context.Context, r *Run) error { return r.SetResult(strings.Repeat("x", 70_000)) }},
	} {
		x := wait(t, start(t, handle(t, c.h), handled()))
		if x.Outcome != job.Failed || !strings.Contains(x.Reason, c.reason) || !bytes.Contains(x.Output, []byte(c.output)) || x.Result != nil {
			t.Errorf("%s: %s %q %s", c.name, x.Outcome, x.Reason, x.Output)
		}
	}
	_, err := handle(t, nil).Start(t.Context(), job.Exec{Way: &job.Way{Handler: "clenup"}})
	if job.CodeOf(err) != job.CodeNotFound || !strings.Contains(err.Error(), "cleanup, other") {
		t.Errorf("an unknown one: %v", err)
	}
}

func TestAHandlerIsKilled(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 1)
	heeds := handle(t, func(ctx context.Context, run *Run) error {
		begun <- struct{}{}
		<-ctx.Done()
		fmt.Fprint(run.Output, context.Cause(ctx))
		return nil
	})
	x := start(t, heeds, handled())
	<-begun
	x.Kill("ann")
	if exit := wait(t, x); exit.Outcome != job.Killed || exit.Reason != "killed by ann" || string(exit.Output) != "killed by ann" {
		t.Errorf("%+v", exit)
	}
	e := handled()
	e.Timeout = time.Millisecond
	if exit := wait(t, start(t, heeds, e)); exit.Outcome != job.Timeout || exit.EndedBy != job.EndedByTimeout {
		t.Errorf("%+v", exit)
	}
}

// One that does not heed its context does not hold up anybody, and what it does later counts for nothing.
func TestAHandlerThatIsLeftBehind(t *testing.T) {
	t.Parallel()
	begun, goOn, gone := make(chan struct{}), make(chan struct{}), make(chan error)
	r := handle(t, func(_ context.Context, run *Run) error {
		close(begun)
		<-goOn
		fmt.Fprint(run.Output, "late")
		err := run.SetResult("late")
		run.Progress(1, "late")
		gone <- err
		return nil
	})
	x := start(t, r, handled())
	<-begun
	x.Kill("ann")
	x.KillNow("ann") // the grace would be 5 s
	exit := wait(t, x)
	if exit.Outcome != job.Killed || !strings.HasPrefix(exit.Reason, "killed by ann; the handler goes on") {
		t.Errorf("%+v", exit)
	}
	close(goOn)
	if err := <-gone; err != nil {
		t.Error(err)
	}
	if again := x.Exit(); len(again.Output) != 0 || again.Result != nil {
		t.Errorf("%+v", again)
	}
}

// fakeRunner stands for the runner of commands.
type fakeRunner struct{ held time.Duration }

var errFake = errors.New("passed on")

func (f *fakeRunner) Start(context.Context, job.Exec) (job.Execution, error) { return nil, errFake }
func (f *fakeRunner) Hold(until time.Duration)                               { f.held = until }

func TestCommandsArePassedOn(t *testing.T) {
	t.Parallel()
	f := &fakeRunner{}
	r := newRunner(t, Options{Command: f})
	if _, err := r.Start(t.Context(), job.Exec{Argv: []string{"true"}}); !errors.Is(err, errFake) {
		t.Error(err)
	}
	if r.Hold(7); f.held != 7 {
		t.Error("Hold is not passed on")
	}
	none := newRunner(t, Options{})
	none.Hold(7)
	if _, err := none.Start(t.Context(), job.Exec{Argv: []string{"true"}}); job.CodeOf(err) != job.CodeForbidden {
		t.Error(err)
	}
	if _, err := none.Start(t.Context(), job.Exec{Way: &job.Way{}}); job.CodeOf(err) != job.CodeInvalid {
		t.Error(err)
	}
	if err := none.Close(); err != nil {
		t.Error(err)
	}
	if _, err := none.Start(t.Context(), handled()); job.CodeOf(err) != job.CodeUnavailable {
		t.Error(err)
	}
}
