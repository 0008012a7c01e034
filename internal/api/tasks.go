package api

import (
	"bytes"
	"context"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// TaskPath is the reference of a task in a path. Its names have been checked.
type TaskPath struct {
	Group string `path:"group" doc:"The task's group"`
	Name  string `path:"name" doc:"The task's name"`
}

func (p TaskPath) ref() job.TaskRef { return job.TaskRef{Group: p.Group, Name: p.Name} }

type applyInput struct {
	DryRun  bool     `query:"dry_run" doc:"Change nothing, but say what would"`
	Prune   []string `query:"prune,explode" doc:"Delete the tasks of this group that are not among those applied"`
	File    string   `query:"file" maxLength:"4096" doc:"The name of the file, for errors"`
	Kind    string   `header:"Content-Type"`
	RawBody []byte
}

type putInput struct {
	TaskPath
	Precondition
	RawBody []byte
}

func (s *server) taskRoutes(a huma.API) {
	schemas := a.OpenAPI().Components.Schemas
	task := schemas.Schema(reflect.TypeFor[job.Task](), true, "Task")
	tasks := &huma.Schema{Type: huma.TypeArray, Items: task}
	text := &huma.Schema{Type: huma.TypeString}

	handle(s, a, route{http.MethodPost, "/apply", "apply", "Create or change tasks; nothing is written unless all are valid", RoleEditor}, s.apply,
		document("A list of tasks, or the text of a task file.", map[string]*huma.Schema{"application/json": tasks, "application/yaml": text}),
		func(op *huma.Operation) {
			op.MaxBodyBytes, op.BodyReadTimeout, op.Middlewares = maxApply+1, readApply, huma.Middlewares{patient(longestApply)}
		})
	type listInput struct {
		Group string `query:"group"`
		Name  string `query:"name"`
	}
	handle(s, a, route{http.MethodGet, "/tasks", "list-tasks", "List tasks", RoleViewer},
		func(ctx context.Context, in *listInput) (*answer[[]client.TaskView], error) {
			if err := checkNames([2]string{"group", in.Group}, [2]string{"name", in.Name}); err != nil {
				return nil, err
			}
			views, err := s.master.Tasks(ctx, in.Group, in.Name)
			for i := range views {
				whole(&views[i])
			}
			return &answer[[]client.TaskView]{list(views)}, err
		})
	handle(s, a, route{http.MethodGet, "/tasks/{group}/{name}", "get-task", "Read a task", RoleViewer},
		func(ctx context.Context, in *TaskPath) (*tagged[*client.TaskView], error) {
			v, err := s.master.Task(ctx, in.ref())
			if err != nil {
				return nil, err
			}
			whole(v)
			return &tagged[*client.TaskView]{etag(v.Revision), v}, nil
		})
	handle(s, a, route{http.MethodPut, "/tasks/{group}/{name}", "put-task", "Write a task", RoleEditor}, s.put,
		document("The task.", map[string]*huma.Schema{"application/json": task}))
	type deleteInput struct {
		TaskPath
		Match string `header:"If-Match" doc:"The revision that was read; another one is a conflict"`
		Force bool   `query:"force" doc:"Also a task that others depend on: they wait from then on"`
	}
	handle(s, a, route{http.MethodDelete, "/tasks/{group}/{name}", "delete-task", "Delete a task", RoleEditor},
		func(ctx context.Context, in *deleteInput) (*nothing, error) {
			rev, err := parseETag(in.Match)
			if err != nil {
				return nil, err
			}
			if !in.Force {
				if err := s.master.Unneeded(ctx, in.ref()); err != nil {
					return nil, err
				}
			}
			return nil, s.master.Delete(ctx, in.ref(), rev)
		})
	handle(s, a, route{http.MethodPost, "/tasks/{group}/{name}/pause", "pause-task", "Keep a task from being fired", RoleOperator},
		func(ctx context.Context, in *TaskPath) (*tagged[*job.TaskEntry], error) {
			return entry(s.master.Pause(ctx, in.ref(), principal(ctx).Name))
		})
	handle(s, a, route{http.MethodPost, "/tasks/{group}/{name}/resume", "resume-task", "Undo a pause", RoleOperator},
		func(ctx context.Context, in *TaskPath) (*tagged[*job.TaskEntry], error) {
			return entry(s.master.Resume(ctx, in.ref(), principal(ctx).Name))
		})
}

// whole makes a view's lists lists, also where they are empty.
func whole(v *client.TaskView) { v.Nodes, v.Next = list(v.Nodes), list(v.Next) }

func entry(e *job.TaskEntry, err error) (*tagged[*job.TaskEntry], error) {
	if err != nil {
		return nil, err
	}
	return &tagged[*job.TaskEntry]{etag(e.Revision), e}, nil
}

func (s *server) apply(ctx context.Context, in *applyInput) (*answer[[]client.Applied], error) {
	if len(in.RawBody) > maxBody { // what it takes is a multiple of that: one after the other
		select {
		case s.largeApply <- struct{}{}:
			defer func() { <-s.largeApply }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	docs, err := readDocuments(in)
	if err != nil {
		return nil, err
	}
	for _, g := range in.Prune {
		if err := job.CheckName("group", g); err != nil {
			return nil, err
		}
	}
	applied, err := s.master.ApplyDocuments(ctx, docs, master.ApplyOptions{DryRun: in.DryRun, Prune: in.Prune})
	for i := range applied {
		applied[i].Nodes = list(applied[i].Nodes)
	}
	return &answer[[]client.Applied]{list(applied)}, err
}

// readDocuments reads the body of an apply: JSON, which may be large, or the text of a task file.
func readDocuments(in *applyInput) (job.Documents, error) {
	kind, _, _ := mime.ParseMediaType(in.Kind)
	body := bytes.TrimLeft(in.RawBody, " \t\r\n")
	if in.File == "" && (kind == "application/json" || len(body) > 0 && body[0] == '{') {
		return job.DecodeDocuments(in.RawBody)
	}
	return job.ReadDocuments(in.File, in.RawBody)
}

func (s *server) put(ctx context.Context, in *putInput) (*answer[client.Applied], error) {
	t, err := readTask(in.ref(), in.RawBody)
	if err != nil {
		return nil, err
	}
	rev, err := in.revision()
	if err != nil {
		return nil, err
	}
	applied, err := s.master.PutDocument(ctx, job.Documents{Tasks: []job.Task{t}}, rev)
	applied.Nodes = list(applied.Nodes)
	return &answer[client.Applied]{applied}, err
}

// readTask reads a task that is to stand at a path. Group and name may be left out of it.
func readTask(ref job.TaskRef, body []byte) (job.Task, error) {
	t, err := job.DecodeTask(withFields(body, [2]string{"group", ref.Group}, [2]string{"name", ref.Name}))
	if err == nil && t.Ref() != ref {
		err = job.Errorf(job.CodeInvalid, "the task is %s, the path says %s", t.Ref(), ref)
	}
	return t, err
}

func etag(rev int64) string { return `"` + strconv.FormatInt(rev, 10) + `"` }

// parseETag reads a revision; 0: there is none.
func parseETag(s string) (int64, error) {
	s = strings.TrimSpace(s)
	if s == "" || s == "*" {
		return 0, nil
	}
	rev, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(s, "W/"), `"`), 10, 64)
	if err != nil || rev <= 0 {
		return 0, job.Errorf(job.CodeInvalid, "If-Match %.40q is not a revision", s).WithHint("give back the ETag of the answer")
	}
	return rev, nil
}
