package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

type NodePath struct {
	Node string `path:"node" doc:"The node's name"`
}

type patchInput struct {
	NodePath
	Body client.NodePatch
}

type JobFilter struct {
	Group string `query:"group"`
	Task  string `query:"task" doc:"The task's name"`
	Node  string `query:"node"`
}

func (f JobFilter) filter() (client.JobFilter, error) {
	err := checkNames([2]string{"group", f.Group}, [2]string{"task", f.Task}, [2]string{"node", f.Node})
	return client.JobFilter{Group: f.Group, Task: f.Task, Node: job.NodeID(f.Node)}, err
}

func (s *server) nodeRoutes(a huma.API) {
	handle(s, a, route{http.MethodGet, "/nodes", "list-nodes", "List nodes", RoleViewer},
		func(ctx context.Context, _ *nothing) (*answer[[]client.NodeView], error) {
			nodes, err := s.master.Nodes(ctx)
			return &answer[[]client.NodeView]{list(nodes)}, err
		})
	handle(s, a, route{http.MethodGet, "/nodes/{node}", "get-node", "Read a node", RoleViewer},
		func(ctx context.Context, in *NodePath) (*answer[*client.NodeView], error) {
			v, err := s.master.Node(ctx, job.NodeID(in.Node))
			return &answer[*client.NodeView]{v}, err
		})
	handle(s, a, route{http.MethodPatch, "/nodes/{node}", "patch-node", "Label, cordon or drain a node", RoleOperator}, s.patchNode)
	handle(s, a, route{http.MethodDelete, "/nodes/{node}", "delete-node", "Forget a node that is gone", RoleAdmin},
		func(ctx context.Context, in *NodePath) (*nothing, error) {
			return nil, s.master.DeleteNode(ctx, job.NodeID(in.Node))
		})
	handle(s, a, route{http.MethodGet, "/jobs", "list-jobs", "List jobs: tasks bound to nodes", RoleViewer},
		func(ctx context.Context, in *JobFilter) (*answer[[]*job.Job], error) {
			f, err := in.filter()
			if err != nil {
				return nil, err
			}
			jobs, err := s.master.Jobs(ctx, f)
			for i, j := range jobs {
				if j.Envs == nil {
					c := *j
					c.Envs = []string{}
					jobs[i] = &c
				}
			}
			return &answer[[]*job.Job]{list(jobs)}, err
		})
	handle(s, a, route{http.MethodGet, "/processes", "list-processes", "List the runs that are alive", RoleViewer},
		func(ctx context.Context, in *JobFilter) (*answer[[]*job.Process], error) {
			f, err := in.filter()
			if err != nil {
				return nil, err
			}
			processes, err := s.master.Processes(ctx, f)
			return &answer[[]*job.Process]{list(processes)}, err
		})
}

func (s *server) patchNode(ctx context.Context, in *patchInput) (*answer[*client.NodeView], error) {
	id, p := job.NodeID(in.Node), in.Body
	var f job.Faults
	for k := range p.Labels {
		if err := job.CheckName("label", k); err != nil {
			f.AddError("labels", err)
		}
	}
	if err := f.Err("the change is not valid"); err != nil {
		return nil, err
	}
	var v *client.NodeView
	var err error
	if len(p.Labels)+len(p.RemoveLabels) > 0 {
		if v, err = s.master.LabelNode(ctx, id, p.Labels, p.RemoveLabels); err != nil {
			return nil, err
		}
	}
	if p.Cordoned != nil {
		if v, err = s.master.Cordon(ctx, id, *p.Cordoned); err != nil {
			return nil, err
		}
	}
	if p.Drain {
		if p.Cordoned != nil && !*p.Cordoned {
			return nil, job.Errorf(job.CodeInvalid, "a node that is drained is cordoned").WithHint("send drain or cordoned, not both")
		}
		if v, err = s.master.Drain(ctx, id); err != nil {
			return nil, err
		}
	}
	if p.Lease != nil {
		if v, err = s.master.SetLease(ctx, id, *p.Lease); err != nil {
			return nil, err
		}
	}
	if v == nil {
		v, err = s.master.Node(ctx, id)
	}
	return &answer[*client.NodeView]{v}, err
}
