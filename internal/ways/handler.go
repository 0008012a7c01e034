package ways

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// Handler is a function of the program that embeds a node, which a task runs by its name. It must return soon after ctx
// ended; its error, or its panic, is a failed run.
type Handler func(ctx context.Context, run *Run) error

// Run is what a handler is given. Its methods and Output are safe for concurrent use, and do nothing once the run is over.
type Run struct {
	ID      job.RunID
	Task    job.TaskRef
	Node    job.NodeID
	Instant time.Time // the scheduled time; zero for a run without one
	Attempt int       // from 1
	// Fence only grows from run to run of an alone or interval task, so that what the handler writes to can refuse one that was
	// superseded; 0 where there is none.
	Fence  int64
	Params map[string]string
	Input  json.RawMessage // the task's input, values filled in; nil: none
	Stdin  []byte
	Output io.Writer // the run's output

	x *execution

	mu     sync.Mutex
	result []byte
}

// Bind reads the input into v, strictly: a field that v does not have is an error.
func (r *Run) Bind(v any) error {
	if len(r.Input) == 0 {
		return job.Errorf(job.CodeInvalid, "the task has no input").WithHint("add input: to it")
	}
	dec := json.NewDecoder(strings.NewReader(string(r.Input)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return job.Errorf(job.CodeInvalid, "the task's input: %w", err)
	}
	return nil
}

// SetResult makes v, as JSON, the result of the run. The last call counts. The error says that v can't be one.
func (r *Run) SetResult(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return job.Errorf(job.CodeInvalid, "the result: %w", err)
	}
	if len(b) > job.MaxResult {
		return job.Errorf(job.CodeInvalid, "the result has %d bytes, at most %d are kept", len(b), job.MaxResult)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result = b
	return nil
}

// Progress tells how far the run is: a part from 0 to 1, and what it is at.
func (r *Run) Progress(part float64, message string) {
	if math.IsNaN(part) {
		part = 0
	}
	r.x.tell(job.Progress{Progress: min(max(part, 0), 1), Message: message, Time: time.Now().UTC()})
}

func (r *Runner) startHandler(e job.Exec) (job.Execution, error) {
	h, ok := r.Handlers[e.Way.Handler]
	if !ok {
		err := job.Errorf(job.CodeNotFound, "this node has no handler %q", e.Way.Handler)
		if names := r.HandlerNames(); len(names) > 0 {
			return nil, err.WithHint("it has %s", strings.Join(names, ", "))
		}
		return nil, err.WithHint("it has none: handlers are functions of a Go program that embeds a node, see docs/embedding.md")
	}
	run := &Run{
		ID: e.Run, Task: job.Ref(variable(&e, "ROTA_GROUP"), variable(&e, "ROTA_TASK")), Node: job.NodeID(variable(&e, "ROTA_NODE")),
		Attempt: e.Attempt, Params: e.Way.Params, Input: e.Way.Input, Stdin: e.Stdin,
	}
	run.Instant, _ = time.Parse(time.RFC3339, variable(&e, "ROTA_INSTANT"))
	run.Fence, _ = strconv.ParseInt(variable(&e, "ROTA_FENCE"), 10, 64)
	return r.begin(e, nil, func(x *execution) job.Exit {
		run.x, run.Output = x, x.out.stream(job.Stdout)
		returned := make(chan error, 1)
		done := make(chan struct{})
		go func() {
			err := errGoexit
			defer func() {
				returned <- err
				close(done)
			}()
			err = call(x.ctx, h, run)
		}()
		select {
		case <-done:
		case <-x.ctx.Done():
			if !x.grace(x.exec.Grace, done) {
				return job.Exit{Outcome: x.outcome(), Reason: "the handler goes on: it does not heed its context, and its goroutine was left behind"}
			}
		}
		exit := job.Exit{Outcome: job.Success, EndedBy: job.EndedByExit}
		if err := <-returned; err != nil {
			exit = failed("%s", explained(err))
		}
		run.mu.Lock()
		defer run.mu.Unlock()
		takeResult(&exit, "the result", run.result)
		return exit
	}), nil
}

// outcome is what the end from outside makes of the run.
func (x *execution) outcome() job.Outcome {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.over
}

var errGoexit = errors.New("the handler ended its goroutine (runtime.Goexit)")

// call calls a handler. A panic is an error, and its stack goes to the output.
func call(ctx context.Context, h Handler, run *Run) (err error) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintf(run.x.out.stream(job.Stderr), "panic: %v\n\n%s", v, debug.Stack())
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return h(ctx, run)
}
