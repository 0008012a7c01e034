package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

type ConfigKey struct {
	Key   string `path:"key" doc:"The value's name"`
	Group string `query:"group" doc:"Empty: of all groups"`
}

type setConfigInput struct {
	ConfigKey
	Body struct {
		Value string `json:"value" maxLength:"65536"`
	}
}

type cronInput struct {
	Expr string    `query:"expr" required:"true" maxLength:"4096" doc:"The timer, such as */5 * * * *"`
	Zone string    `query:"tz" maxLength:"128" doc:"IANA time zone; default: UTC"`
	From time.Time `query:"from" doc:"Firings after this time; default: now"`
	N    int       `query:"n" minimum:"0" maximum:"1000" doc:"So many firings; default 5"`
}

type nextInput struct {
	Group string `query:"group"`
	Task  string `query:"task" doc:"The task's name"`
	Limit int    `query:"limit" minimum:"0" maximum:"1000" doc:"At most so many; default 100"`
}

func (s *server) adminRoutes(a huma.API) {
	type groupInput struct {
		Group string `query:"group" doc:"Empty: the global values and those of every group"`
	}
	handle(s, a, route{http.MethodGet, "/config", "list-config", "List configuration", RoleViewer},
		func(ctx context.Context, in *groupInput) (*answer[[]client.Config], error) {
			if err := checkNames([2]string{"group", in.Group}); err != nil {
				return nil, err
			}
			values, err := s.master.Config(ctx, in.Group)
			out := make([]client.Config, len(values))
			for i, v := range values {
				out[i] = client.Config{Group: v.Group, Key: v.Key, Value: v.Value, Revision: v.Revision}
			}
			return &answer[[]client.Config]{out}, err
		})
	handle(s, a, route{http.MethodPut, "/config/{key}", "set-config", "Set a value", RoleEditor},
		func(ctx context.Context, in *setConfigInput) (*nothing, error) {
			if err := checkNames([2]string{"group", in.Group}); err != nil {
				return nil, err
			}
			return nil, s.master.SetConfig(ctx, in.Group, in.Key, in.Body.Value)
		})
	handle(s, a, route{http.MethodDelete, "/config/{key}", "delete-config", "Delete a value", RoleEditor},
		func(ctx context.Context, in *ConfigKey) (*nothing, error) {
			if err := checkNames([2]string{"group", in.Group}); err != nil {
				return nil, err
			}
			return nil, s.master.DeleteConfig(ctx, in.Group, in.Key)
		})
	handle(s, a, route{http.MethodGet, "/status", "status", "Tell how the whole is", RoleViewer},
		func(ctx context.Context, _ *nothing) (*answer[client.Status], error) {
			return &answer[client.Status]{s.master.Status(ctx)}, nil
		})
	handle(s, a, route{http.MethodGet, "/next", "next", "List the firings to come, soonest first", RoleViewer},
		func(ctx context.Context, in *nextInput) (*answer[[]client.Upcoming], error) {
			if err := checkNames([2]string{"group", in.Group}, [2]string{"task", in.Task}); err != nil {
				return nil, err
			}
			if in.Limit == 0 {
				in.Limit = 100
			}
			next, err := s.master.Next(ctx, in.Group, in.Task, in.Limit)
			return &answer[[]client.Upcoming]{list(next)}, err
		})
	handle(s, a, route{http.MethodGet, "/cron", "cron", "Tell what a timer says", RoleViewer},
		func(_ context.Context, in *cronInput) (*answer[*client.Cron], error) {
			if in.From.IsZero() {
				in.From = time.Now()
			}
			if in.Expr == "" {
				return nil, job.Errorf(job.CodeInvalid, "there is no timer").WithHint("add ?expr=*/5 * * * *")
			}
			c, err := DescribeTimer(in.Expr, in.Zone, in.From, in.N)
			return &answer[*client.Cron]{c}, err
		})
}
