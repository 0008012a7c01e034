package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

const (
	longestWait = time.Minute
	// recheck is how often a wait looks although no event told it to: events may be missed.
	recheck = time.Second
)

type runInput struct {
	TaskPath
	Body *runBody
}

type runBody struct {
	Nodes  []job.NodeID      `json:"nodes,omitempty" doc:"Where; default: where the task is bound"`
	Params map[string]string `json:"params,omitempty" doc:"Values for params.NAME"`
	Key    string            `json:"key,omitempty" maxLength:"256" doc:"Makes the request idempotent: the same key asks for the same runs"`
	Force  bool              `json:"force,omitempty" doc:"A task with mode onlyonce runs although it has succeeded"`
}

type runListInput struct {
	TaskPath
	Body runListBody
}

type runListBody struct {
	Nodes    []job.NodeID       `json:"nodes,omitempty" doc:"Where each runs; default: where the task is bound"`
	Each     []client.ListedRun `json:"each" minItems:"1" maxItems:"1000" doc:"What differs from run to run: values for params.NAME, and a key that makes the run idempotent"`
	Parallel int                `json:"parallel,omitempty" minimum:"0" doc:"So many of them on a node at a time; default: as many as the task says"`
}

type RunPath struct {
	Run string `path:"run" doc:"The run's id"`
}

type runStateInput struct {
	RunPath
	Wait string `query:"wait" doc:"Wait so long for the run's end: 30s; at most one minute"`
}

func (s *server) runRoutes(a huma.API) {
	handle(s, a, route{http.MethodPost, "/tasks/{group}/{name}/run", "run-task", "Run a task now", RoleOperator}, s.run,
		func(op *huma.Operation) { op.DefaultStatus = http.StatusAccepted })
	handle(s, a, route{http.MethodPost, "/tasks/{group}/{name}/runs", "run-task-list", "Run a task once for each of many sets of values", RoleOperator}, s.runList,
		func(op *huma.Operation) { op.DefaultStatus = http.StatusAccepted })
	handle(s, a, route{http.MethodGet, "/runs", "list-runs", "List the runs that have not ended", RoleViewer},
		func(ctx context.Context, in *JobFilter) (*answer[[]client.RunView], error) {
			f, err := in.filter()
			if err != nil {
				return nil, err
			}
			runs, err := s.master.Runs(ctx, f)
			return &answer[[]client.RunView]{list(runs)}, err
		})
	handle(s, a, route{http.MethodGet, "/runs/{run}", "get-run", "Tell where a run stands", RoleViewer}, s.runState,
		func(op *huma.Operation) { op.Middlewares = huma.Middlewares{patient(longestWait)} })
	handle(s, a, route{http.MethodPost, "/runs/{run}/kill", "kill-run", "End a run", RoleOperator},
		func(ctx context.Context, in *RunPath) (*nothing, error) {
			return nil, s.master.Kill(ctx, job.RunID(in.Run), principal(ctx).Name)
		}, func(op *huma.Operation) { op.DefaultStatus = http.StatusAccepted })
}

// patient lets an answer come later than others.
func patient(longest time.Duration) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		_, w := humago.Unwrap(ctx)
		// Where there is no deadline to set, there is none to pass.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(longest + writeTimeout))
		next(ctx)
	}
}

func (s *server) run(ctx context.Context, in *runInput) (*answer[client.RunAnswer], error) {
	r := master.RunRequest{Task: in.ref(), By: principal(ctx).Name}
	if b := in.Body; b != nil {
		r.Nodes, r.Params, r.Key, r.Force = b.Nodes, b.Params, b.Key, b.Force
	}
	if err := checkNodes(r.Nodes); err != nil {
		return nil, err
	}
	out, err := s.master.Run(ctx, r)
	out.Runs = list(out.Runs)
	return &answer[client.RunAnswer]{out}, err
}

func (s *server) runList(ctx context.Context, in *runListInput) (*answer[client.RunListAnswer], error) {
	if err := checkNodes(in.Body.Nodes); err != nil {
		return nil, err
	}
	out, err := s.master.RunList(ctx, master.RunListRequest{
		Task: in.ref(), Nodes: in.Body.Nodes, Each: in.Body.Each, Parallel: in.Body.Parallel, By: principal(ctx).Name,
	})
	return &answer[client.RunListAnswer]{out}, err
}

func checkNodes(nodes []job.NodeID) error {
	var f job.Faults
	for _, n := range nodes {
		if err := job.CheckName("node", string(n)); err != nil {
			f.AddError("nodes", err)
		}
	}
	return f.Err("the request is not valid")
}

func (s *server) runState(ctx context.Context, in *runStateInput) (*answer[*client.RunView], error) {
	wait, err := parseWait(in.Wait, longestWait)
	if err != nil {
		return nil, err
	}
	v, err := s.awaitRun(ctx, job.RunID(in.Run), wait)
	if err != nil {
		return nil, err
	}
	return &answer[*client.RunView]{v}, nil
}

// awaitRun reads where a run stands, again until it has ended or the time is up.
func (s *server) awaitRun(ctx context.Context, id job.RunID, wait time.Duration) (*client.RunView, error) {
	if wait == 0 {
		return s.master.RunState(ctx, id)
	}
	// Who listens before looking misses nothing.
	sub, cancel := context.WithCancel(ctx)
	defer cancel()
	events := s.master.Subscribe(sub)
	defer func() {
		cancel()
		for range events { //nolint:revive // until the master has closed it
		}
	}()
	over := time.NewTimer(wait)
	defer over.Stop()
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		v, err := s.master.RunState(ctx, id)
		if err != nil || v.Ended() {
			return v, err
		}
		for look := false; !look; {
			select {
			case <-ctx.Done():
				return v, nil
			case <-over.C:
				return v, nil
			case <-tick.C:
				look = true
			case e, ok := <-events:
				if !ok {
					events = nil
				}
				look = tellsOf(e, id)
			}
		}
	}
}

// tellsOf tells whether an event may say something about a run.
func tellsOf(e master.Event, id job.RunID) bool {
	switch o := e.Object.(type) {
	case *job.ExecutionRecord:
		return o.ID == string(id)
	case job.ExecutionRecord:
		return o.ID == string(id)
	}
	return e.Type == client.EventRecord || e.Type == client.EventGap
}
