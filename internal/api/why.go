package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
)

type whyInput struct {
	TaskPath
	At time.Time `query:"at" doc:"The time to explain: the instant that was due then, or the last one before; default: now"`
}

func (s *server) whyRoutes(a huma.API) {
	handle(s, a, route{http.MethodGet, "/tasks/{group}/{name}/why", "why", "Tell what became of an instant, and why", RoleViewer},
		func(ctx context.Context, in *whyInput) (*answer[*client.Why], error) {
			w, err := s.master.Why(ctx, in.ref(), in.At)
			if err != nil {
				return nil, err
			}
			w.Answers, w.Notes = list(w.Answers), list(w.Notes)
			return &answer[*client.Why]{w}, nil
		})
}
