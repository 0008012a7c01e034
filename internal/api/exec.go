package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
)

type execInput struct {
	Body client.ExecRequest
}

// execRoutes need an editor: who may run any command may do what any task does.
func (s *server) execRoutes(a huma.API) {
	handle(s, a, route{http.MethodPost, "/exec", "exec", "Run a command that is no task, now", RoleEditor},
		func(ctx context.Context, in *execInput) (*answer[client.RunAnswer], error) {
			r := in.Body
			r.By = principal(ctx).Name
			out, err := s.master.Exec(ctx, r)
			out.Runs = list(out.Runs)
			return &answer[client.RunAnswer]{out}, err
		}, func(op *huma.Operation) { op.DefaultStatus = http.StatusAccepted })
}
