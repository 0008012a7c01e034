package api

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// GroupPath is the name of a group in a path.
type GroupPath struct {
	Group string `path:"group" doc:"The group's name"`
}

// ExecutionPath is the id of an execution in a path.
type ExecutionPath struct {
	Execution string `path:"execution" doc:"The execution's id"`
}

type runGroupInput struct {
	GroupPath
	Body *struct {
		Params map[string]string `json:"params,omitempty" doc:"Values for params.NAME"`
		Key    string            `json:"key,omitempty" maxLength:"256" doc:"Makes the request idempotent: the same key asks for the same execution"`
	}
}

// maxExecutionParams is how many bytes the parameters of an execution may have: they are written with each of its steps forward.
const maxExecutionParams = 32 << 10

func (s *server) groupRoutes(a huma.API) {
	handle(s, a, route{http.MethodGet, "/groups", "list-groups", "List the groups of tasks", RoleViewer},
		func(ctx context.Context, _ *nothing) (*answer[[]client.GroupView], error) {
			groups, err := s.master.GroupViews(ctx)
			return &answer[[]client.GroupView]{list(groups)}, err
		})
	handle(s, a, route{http.MethodGet, "/groups/{group}", "get-group", "Read a group", RoleViewer},
		func(ctx context.Context, in *GroupPath) (*tagged[*client.GroupView], error) {
			v, err := s.master.GroupOf(ctx, in.Group)
			if err != nil {
				return nil, err
			}
			t := &tagged[*client.GroupView]{Body: v}
			if v.Document != nil {
				t.ETag = etag(v.Document.Revision)
			}
			return t, nil
		})
	type putInput struct {
		GroupPath
		Precondition
		RawBody []byte
	}
	handle(s, a, route{http.MethodPut, "/groups/{group}", "put-group", "Write what is said of a group", RoleEditor},
		func(ctx context.Context, in *putInput) (*answer[client.Applied], error) {
			return s.putDocument(ctx, "group", in.Group, in.Precondition, in.RawBody)
		},
		document("What is said of the group.", map[string]*huma.Schema{
			"application/json": a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[job.Group](), true, ""),
		}))
	type deleteInput struct {
		GroupPath
		Tasks bool `query:"tasks" doc:"Delete its tasks too"`
	}
	handle(s, a, route{http.MethodDelete, "/groups/{group}", "delete-group", "Delete what is said of a group; executions under way go on", RoleEditor},
		func(ctx context.Context, in *deleteInput) (*nothing, error) {
			return nil, s.master.DeleteGroup(ctx, in.Group, in.Tasks)
		})
	handle(s, a, route{http.MethodPost, "/groups/{group}/run", "run-group", "Run the tasks of a group as one", RoleOperator}, s.runGroup,
		func(op *huma.Operation) { op.DefaultStatus = http.StatusAccepted })
	handle(s, a, route{http.MethodPost, "/groups/{group}/pause", "pause-group", "Stop a group's timer", RoleOperator},
		func(ctx context.Context, in *GroupPath) (*nothing, error) {
			return nil, s.master.PauseGroup(ctx, in.Group, principal(ctx).Name)
		})
	handle(s, a, route{http.MethodPost, "/groups/{group}/resume", "resume-group", "Undo a pause of a group's timer", RoleOperator},
		func(ctx context.Context, in *GroupPath) (*nothing, error) {
			return nil, s.master.ResumeGroup(ctx, in.Group, principal(ctx).Name)
		})
	s.executionRoutes(a)
}

func (s *server) executionRoutes(a huma.API) {
	type listInput struct {
		Group  string              `query:"group"`
		Status job.ExecutionStatus `query:"status"`
		Since  time.Time           `query:"since" doc:"Of those that have ended: not before this"`
		Limit  int                 `query:"limit" minimum:"0" maximum:"1000"`
	}
	handle(s, a, route{http.MethodGet, "/executions", "list-executions", "List executions of groups: those under way, then those that ended, newest first", RoleViewer},
		func(ctx context.Context, in *listInput) (*answer[[]client.ExecutionView], error) {
			if err := checkNames([2]string{"group", in.Group}); err != nil {
				return nil, err
			}
			var f job.Faults
			if in.Status != "" {
				checkOneOf(&f, "status", in.Status, job.ExecutionStatuses)
			}
			if err := f.Err("the query is not valid"); err != nil {
				return nil, err
			}
			views, err := s.master.ListExecutions(ctx, master.ExecutionFilter{Group: in.Group, Status: in.Status, Since: in.Since, Limit: in.Limit})
			return &answer[[]client.ExecutionView]{list(views)}, err
		})
	for _, r := range []struct {
		route
		f func(ctx context.Context, id, by string) (*client.ExecutionView, error)
	}{
		{route{http.MethodGet, "/executions/{execution}", "get-execution", "Tell where an execution stands", RoleViewer}, func(ctx context.Context, id, _ string) (*client.ExecutionView, error) {
			return s.master.ExecutionState(ctx, id)
		}},
		{route{http.MethodPost, "/executions/{execution}/cancel", "cancel-execution", "End an execution, and what runs of it", RoleOperator}, s.master.CancelExecution},
		{route{http.MethodPost, "/executions/{execution}/retry", "retry-execution", "Go on from the steps that failed, in a new execution", RoleOperator}, s.master.RetryExecution},
	} {
		handle(s, a, r.route, func(ctx context.Context, in *ExecutionPath) (*answer[*client.ExecutionView], error) {
			v, err := r.f(ctx, in.Execution, principal(ctx).Name)
			return &answer[*client.ExecutionView]{v}, err
		})
	}
}

func checkOneOf[S ~string](f *job.Faults, path string, s S, known []S) {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = string(k)
	}
	if !slices.Contains(known, s) {
		f.AddHint(path, wantOneOf(string(s), names), "%.40q is not known", string(s))
	}
}

func (s *server) runGroup(ctx context.Context, in *runGroupInput) (*answer[*client.ExecutionView], error) {
	r := master.GroupRequest{Group: in.Group, By: principal(ctx).Name}
	if in.Body != nil {
		r.Params, r.Key = in.Body.Params, in.Body.Key
	}
	size := 0
	for k, v := range r.Params {
		size += len(k) + len(v)
	}
	if size > maxExecutionParams {
		return nil, job.Errorf(job.CodeInvalid, "the parameters have %d bytes, at most %d are allowed", size, maxExecutionParams)
	}
	v, err := s.master.RunGroup(ctx, r)
	return &answer[*client.ExecutionView]{v}, err
}
