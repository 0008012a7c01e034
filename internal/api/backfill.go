package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

type backfillInput struct {
	TaskPath
	Body struct {
		From     time.Time         `json:"from" doc:"The first instant of the range"`
		To       time.Time         `json:"to" doc:"The end of the range, which is not part of it"`
		Nodes    []job.NodeID      `json:"nodes,omitempty" doc:"Where; default: as the task's kind has it"`
		Params   map[string]string `json:"params,omitempty" doc:"Values for params.NAME"`
		Parallel int               `json:"parallel,omitempty" minimum:"0" doc:"At most so many at once; default 1, at most 100"`
		Key      string            `json:"key,omitempty" maxLength:"256" doc:"The same key asks for each instant once; default: made of the request"`
		Force    bool              `json:"force,omitempty" doc:"Also what has succeeded"`
		DryRun   bool              `json:"dry_run,omitempty" doc:"Ask for nothing, but say what would be"`
	}
}

type BackfillPath struct {
	Backfill string `path:"backfill" doc:"The backfill's id"`
}

// maxBackfillParams is how many bytes the parameters of a backfill may have: they are written with each of its steps.
const maxBackfillParams = 8 << 10

func (s *server) backfillRoutes(a huma.API) {
	handle(s, a, route{
		http.MethodPost, "/tasks/{group}/{name}/backfill", "backfill-task", "Run the instants of a range, each once", RoleOperator,
	}, s.backfill, func(op *huma.Operation) { op.DefaultStatus = http.StatusAccepted })
	type listInput struct {
		Group string `query:"group"`
		Task  string `query:"task" doc:"The task's name"`
	}
	handle(s, a, route{http.MethodGet, "/backfills", "list-backfills", "List backfills, newest first", RoleViewer},
		func(ctx context.Context, in *listInput) (*answer[[]client.BackfillView], error) {
			if err := checkNames([2]string{"group", in.Group}, [2]string{"task", in.Task}); err != nil {
				return nil, err
			}
			views, err := s.master.Backfills(ctx, in.Group, in.Task)
			return &answer[[]client.BackfillView]{list(views)}, err
		})
	handle(s, a, route{http.MethodGet, "/backfills/{backfill}", "get-backfill", "Tell how far a backfill came", RoleViewer},
		func(ctx context.Context, in *BackfillPath) (*answer[*client.BackfillView], error) {
			v, err := s.master.BackfillState(ctx, in.Backfill)
			return &answer[*client.BackfillView]{v}, err
		})
	type cancelInput struct {
		BackfillPath
		Kill bool `query:"kill" doc:"End the runs that are alive too"`
	}
	handle(s, a, route{
		http.MethodDelete, "/backfills/{backfill}", "cancel-backfill",
		"Cancel a backfill; forget one that has finished", RoleOperator,
	}, func(ctx context.Context, in *cancelInput) (*answer[*client.BackfillView], error) {
		v, err := s.master.CancelBackfill(ctx, in.Backfill, principal(ctx).Name, in.Kill)
		return &answer[*client.BackfillView]{v}, err
	})
}

func (s *server) backfill(ctx context.Context, in *backfillInput) (*answer[client.BackfillAnswer], error) {
	b := &in.Body
	var f job.Faults
	for _, n := range b.Nodes {
		if err := job.CheckName("node", string(n)); err != nil {
			f.AddError("nodes", err)
		}
	}
	size := 0
	for k, v := range b.Params {
		size += len(k) + len(v)
	}
	if size > maxBackfillParams {
		f.Add("params", "they have %d bytes, at most %d are allowed", size, maxBackfillParams)
	}
	if err := f.Err("the request is not valid"); err != nil {
		return nil, err
	}
	out, err := s.master.Backfill(ctx, master.BackfillRequest{
		Task: in.ref(), From: b.From, To: b.To, Nodes: b.Nodes, Params: b.Params, Parallel: b.Parallel, Key: b.Key, Force: b.Force,
		DryRun: b.DryRun, By: principal(ctx).Name,
	})
	out.Runs, out.Skipped = list(out.Runs), list(out.Skipped)
	return &answer[client.BackfillAnswer]{out}, err
}
