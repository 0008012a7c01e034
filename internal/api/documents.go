package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// NamedPath is the path of a document that has a name of its own.
type NamedPath struct {
	Document string `path:"document" doc:"Its name"`
}

// Precondition is what a document that is written takes the place of.
type Precondition struct {
	Match string `header:"If-Match" doc:"The revision that was read; another one is a conflict"`
	None  string `header:"If-None-Match" doc:"*: only where there is none of this name"`
}

// revision is what must be there: 0: nothing, negative: whatever is.
func (p Precondition) revision() (int64, error) {
	rev, err := parseETag(p.Match)
	if err == nil && rev == 0 && strings.TrimSpace(p.None) != "*" {
		rev = -1
	}
	return rev, err
}

type putDocumentInput struct {
	NamedPath
	Precondition
	RawBody []byte
}

// documentRoutes are the routes of one sort of documents, such as template.
func documentRoutes[T any](s *server, a huma.API, sort string, all func(context.Context) ([]job.Entry[T], error),
	one func(context.Context, string) (*job.Entry[T], error), remove func(context.Context, string) error,
) {
	handle(s, a, route{http.MethodGet, "/" + sort + "s", "list-" + sort + "s", "List the " + sort + "s", RoleViewer},
		func(ctx context.Context, _ *nothing) (*answer[[]job.Entry[T]], error) {
			entries, err := all(ctx)
			return &answer[[]job.Entry[T]]{list(entries)}, err
		})
	handle(s, a, route{http.MethodGet, "/" + sort + "s/{document}", "get-" + sort, "Read a " + sort, RoleViewer},
		func(ctx context.Context, in *NamedPath) (*tagged[*job.Entry[T]], error) {
			e, err := one(ctx, in.Document)
			if err != nil {
				return nil, err
			}
			return &tagged[*job.Entry[T]]{etag(e.Revision), e}, nil
		})
	putRoute[T](s, a, sort)
	handle(s, a, route{http.MethodDelete, "/" + sort + "s/{document}", "delete-" + sort, "Delete a " + sort + " that nothing uses", RoleEditor},
		func(ctx context.Context, in *NamedPath) (*nothing, error) {
			return nil, remove(ctx, in.Document)
		})
}

// putRoute is the route that writes one document of a sort.
func putRoute[T any](s *server, a huma.API, sort string) {
	handle(s, a, route{http.MethodPut, "/" + sort + "s/{document}", "put-" + sort, "Write a " + sort, RoleEditor},
		func(ctx context.Context, in *putDocumentInput) (*answer[client.Applied], error) {
			return s.putDocument(ctx, sort, in.Document, in.Precondition, in.RawBody)
		},
		document("The "+sort+".", map[string]*huma.Schema{
			"application/json": a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, ""),
		}))
}

// putDocument writes a document at its name. The name may be left out of it.
func (s *server) putDocument(ctx context.Context, sort, name string, p Precondition, body []byte) (*answer[client.Applied], error) {
	if !json.Valid(body) {
		return nil, job.Errorf(job.CodeInvalid, "the body is no JSON").WithHint("send the %s as an object", sort)
	}
	docs, err := job.ReadDocument(sort+"s", "", withFields(body, [2]string{"name", name}))
	if err != nil {
		return nil, err
	}
	if what := docs.What(); len(what) != 1 || what[0] != sort+" "+name {
		return nil, job.Errorf(job.CodeInvalid, "the body is %s, the path says %s", strings.Join(what, ", "), name)
	}
	rev, err := p.revision()
	if err != nil {
		return nil, err
	}
	applied, err := s.master.PutDocument(ctx, docs, rev)
	applied.Nodes = list(applied.Nodes)
	return &answer[client.Applied]{applied}, err
}

// withFields puts fields into a JSON object that has them not.
func withFields(body []byte, fields ...[2]string) []byte {
	var has map[string]json.RawMessage
	trimmed := bytes.TrimSpace(body)
	if json.Unmarshal(trimmed, &has) != nil || has == nil {
		return body // whoever reads it will say
	}
	var add []byte
	for _, f := range fields {
		if _, ok := has[f[0]]; !ok {
			add = fmt.Appendf(add, "%q:%q,", f[0], f[1])
		}
	}
	if len(has) == 0 {
		add = bytes.TrimSuffix(add, []byte(","))
	}
	return append(append([]byte{'{'}, add...), trimmed[1:]...)
}

func (s *server) templateRoutes(a huma.API) {
	documentRoutes(s, a, "template", s.master.Templates, s.master.Template, s.master.DeleteTemplate)
}
