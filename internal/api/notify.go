package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

type deliveriesInput struct {
	Receiver string `query:"receiver"`
	Task     string `query:"task" maxLength:"300" doc:"group/name of a task, or the name of a monitor or a group"`
	Status   string `query:"status" enum:"waiting,sent,failed,summarised"`
	Limit    int    `query:"limit" minimum:"0" maximum:"1000" doc:"At most so many; default 100"`
}

// notifyRoutes are those of receivers, of messages to them, and of monitors.
func (s *server) notifyRoutes(a huma.API) {
	documentRoutes(s, a, "receiver", s.master.Receivers, s.master.Receiver, s.master.DeleteReceiver)
	handle(s, a, route{http.MethodPost, "/receivers/{document}/test", "test-receiver", "Send a message now, and tell what the receiver answered", RoleEditor},
		func(ctx context.Context, in *NamedPath) (*answer[*job.Delivery], error) {
			d, err := s.master.TestReceiver(ctx, in.Document, principal(ctx).Name)
			if err != nil {
				return nil, err
			}
			return &answer[*job.Delivery]{d}, nil
		})
	handle(s, a, route{http.MethodGet, "/deliveries", "list-deliveries", "List messages and what became of them, newest first", RoleViewer},
		func(ctx context.Context, in *deliveriesInput) (*answer[[]job.Delivery], error) {
			if err := checkNames([2]string{"receiver", in.Receiver}); err != nil {
				return nil, err
			}
			deliveries, err := s.master.Deliveries(ctx, job.DeliveryFilter{
				Receiver: in.Receiver, Task: in.Task, Status: job.DeliveryStatus(in.Status), Limit: in.Limit,
			})
			return &answer[[]job.Delivery]{list(deliveries)}, err
		})
	handle(s, a, route{http.MethodGet, "/monitors", "list-monitors", "List the jobs that Rota watches and does not run", RoleViewer},
		func(ctx context.Context, _ *nothing) (*answer[[]client.MonitorView], error) {
			views, err := s.master.Monitors(ctx)
			for i := range views {
				s.keyFor(ctx, &views[i])
			}
			return &answer[[]client.MonitorView]{list(views)}, err
		})
	handle(s, a, route{http.MethodGet, "/monitors/{document}", "get-monitor", "Read a monitor", RoleViewer},
		func(ctx context.Context, in *NamedPath) (*tagged[*client.MonitorView], error) {
			return s.monitor(ctx, in.Document, s.master.Monitor)
		})
	putRoute[job.Monitor](s, a, "monitor")
	handle(s, a, route{http.MethodPost, "/monitors/{document}/key", "renew-monitor-key", "Give a monitor another key", RoleEditor},
		func(ctx context.Context, in *NamedPath) (*tagged[*client.MonitorView], error) {
			return s.monitor(ctx, in.Document, s.master.RenewMonitorKey)
		})
	handle(s, a, route{http.MethodDelete, "/monitors/{document}", "delete-monitor", "Forget a monitor; its records stay", RoleEditor},
		func(ctx context.Context, in *NamedPath) (*nothing, error) {
			return nil, s.master.DeleteMonitor(ctx, in.Document)
		})
}

func (s *server) monitor(ctx context.Context, name string, do func(context.Context, string) (*client.MonitorView, error)) (*tagged[*client.MonitorView], error) {
	v, err := do(ctx, name)
	if err != nil {
		return nil, err
	}
	s.keyFor(ctx, v)
	return &tagged[*client.MonitorView]{etag(v.Revision), v}, nil
}

// keyFor leaves the key of a monitor out for those who may not write monitors: whoever has it can say that all is well.
func (s *server) keyFor(ctx context.Context, v *client.MonitorView) {
	if !allowed(principal(ctx).Role, RoleEditor) {
		v.Key = ""
	}
	if v.Key != "" {
		v.URL = s.pingURL(ctx) + pingPath + v.Key
	}
}
