package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/job"
)

// NamedPath is the path of a document that has a name of its own.
type NamedPath struct {
	Document string `path:"document" doc:"Its name"`
}

// documentRoutes are the routes to read and delete one sort of documents, such as template; they are written by apply.
func documentRoutes[T any](s *server, a huma.API, sort string, all func(context.Context) ([]job.Entry[T], error),
	one func(context.Context, string) (*job.Entry[T], error), remove func(context.Context, string) error,
) {
	handle(s, a, route{http.MethodGet, "/" + sort + "s", "list-" + sort + "s", "List the " + sort + "s", RoleViewer},
		func(ctx context.Context, _ *nothing) (*answer[[]job.Entry[T]], error) {
			entries, err := all(ctx)
			return &answer[[]job.Entry[T]]{list(entries)}, err
		})
	handle(s, a, route{http.MethodGet, "/" + sort + "s/{document}", "get-" + sort, "Read a " + sort, RoleViewer},
		func(ctx context.Context, in *NamedPath) (*answer[*job.Entry[T]], error) {
			e, err := one(ctx, in.Document)
			if err != nil {
				return nil, err
			}
			return &answer[*job.Entry[T]]{e}, nil
		})
	handle(s, a, route{http.MethodDelete, "/" + sort + "s/{document}", "delete-" + sort, "Delete a " + sort + " that nothing uses", RoleEditor},
		func(ctx context.Context, in *NamedPath) (*nothing, error) {
			return nil, remove(ctx, in.Document)
		})
}

func (s *server) templateRoutes(a huma.API) {
	documentRoutes(s, a, "template", s.master.Templates, s.master.Template, s.master.DeleteTemplate)
}
