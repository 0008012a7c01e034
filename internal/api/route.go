package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// Shapes of answers.
type (
	answer[T any] struct{ Body T }
	tagged[T any] struct {
		ETag string `header:"ETag" doc:"The revision; give it back as If-Match"`
		Body T
	}
	nothing struct{}
)

// route is where an operation is, and who may do it.
type route struct {
	method, path string // below /api/v1
	id           string // the operation's name in the document
	summary      string
	role         string
}

// roleKey is where an operation's metadata hold its role.
const roleKey = "role"

// handle adds a route. Errors of f become problem documents.
func handle[I, O any](s *server, a huma.API, r route, f func(context.Context, *I) (*O, error), opts ...func(*huma.Operation)) {
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: "/api/v1" + r.path, Summary: r.summary,
		Tags:            []string{strings.Split(strings.Trim(r.path, "/"), "/")[0]},
		Description:     "Needs the role " + r.role + ".",
		Security:        []map[string][]string{{"token": {}}},
		Metadata:        map[string]any{roleKey: r.role},
		MaxBodyBytes:    maxBody + 1,
		BodyReadTimeout: readBody,
		Responses: map[string]*huma.Response{"default": {
			Description: "What was refused, and why",
			Content: map[string]*huma.MediaType{client.ProblemType: {
				Schema: a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.Problem](), true, "Problem"),
			}},
		}},
	}
	for _, o := range opts {
		o(&op)
	}
	huma.Register(a, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, &refusal{s.toProblem(ctx, err)}
		}
		return out, nil
	})
}

// refusal is a problem as huma takes it.
type refusal struct{ *client.Problem }

func (r *refusal) Error() string             { return r.Detail }
func (r *refusal) GetStatus() int            { return r.Status }
func (r *refusal) ContentType(string) string { return client.ProblemType }

// routes registers every route of the API and returns its OpenAPI document.
func (s *server) routes(mux *http.ServeMux) []byte {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	aliases(registry)
	a := humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Rota", Version: s.version,
				Description: "Rota's HTTP API. Errors are problem documents (RFC 9457) with a code, a hint and the fields at fault.",
			},
			Components: &huma.Components{
				Schemas:         registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
			},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{s.transform},
	})
	a.UseMiddleware(s.checked)
	s.taskRoutes(a)
	s.runRoutes(a)
	s.execRoutes(a)
	s.logRoutes(a)
	s.backfillRoutes(a)
	s.whyRoutes(a)
	s.nodeRoutes(a)
	s.recordRoutes(a)
	s.calendarRoutes(a)
	s.templateRoutes(a)
	s.groupRoutes(a)
	s.notifyRoutes(a)
	s.masterRoutes(a)
	s.adminRoutes(a)
	s.eventRoutes(a)
	tidy(a.OpenAPI())
	spec, err := json.Marshal(a.OpenAPI())
	if err != nil {
		panic(fmt.Sprintf("api: the OpenAPI document: %v", err)) // a fault of this package, found by its tests
	}
	return spec
}

// transform turns what huma itself refuses into a problem document.
func (s *server) transform(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := &client.Problem{
		Title: http.StatusText(m.Status), Status: m.Status, Detail: m.Detail, Code: client.CodeOf(m.Status),
		Request: requestID(ctx.Context()),
	}
	if p.Status == http.StatusRequestEntityTooLarge {
		p.Detail, p.Hint = fmt.Sprintf("the body has more than %d bytes", ctx.Operation().MaxBodyBytes-1), "send it in parts"
	}
	for _, e := range m.Errors {
		if e == nil {
			continue
		}
		_, name, _ := strings.Cut(e.Location, ".")
		f := job.FieldError{Path: name, Message: e.Message}
		if text, ok := e.Value.(string); ok && strings.HasPrefix(e.Location, "query.") {
			f.Message = fmt.Sprintf("%.40q cannot be read: %s", text, e.Message)
		}
		if strings.Contains(e.Message, "date/time") {
			f.Message = fmt.Sprintf("%.40q is not a time", e.Value)
			f.Hint = "write it as 2026-12-01T10:00:00Z; in an address the + of an offset is %2B"
		}
		p.Fields = append(p.Fields, f)
	}
	return p, nil
}

// checked is passed by every request to a route: its role, the names in its path, its query.
func (s *server) checked(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	err := func() error {
		needed, _ := op.Metadata[roleKey].(string)
		if p := principal(ctx.Context()); !allowed(p.Role, needed) {
			return job.Errorf(job.CodeForbidden, "%s may not do this", p.Name).WithHint("it needs the role %s", needed)
		}
		if err := checkPath(ctx); err != nil {
			return err
		}
		return checkQuery(ctx)
	}()
	if err == nil {
		next(ctx)
		return
	}
	r, w := humago.Unwrap(ctx)
	s.problem(w, r, err)
}

// checkPath holds the names in a path to the rules of names.
func checkPath(ctx huma.Context) error {
	for _, p := range ctx.Operation().Parameters {
		if p.In != "path" || p.Name == "number" {
			continue
		}
		sort := p.Name
		if sort == "name" {
			sort = "task"
		}
		if err := job.CheckName(sort, ctx.Param(p.Name)); err != nil {
			return err
		}
	}
	return nil
}

// checkQuery refuses parameters that the operation does not have, and a second value where there is one.
func checkQuery(ctx huma.Context) error {
	var known []string
	many := map[string]bool{}
	for _, p := range ctx.Operation().Parameters {
		if p.In == "query" {
			known = append(known, p.Name)
			many[p.Name] = p.Explode != nil && *p.Explode
		}
	}
	slices.Sort(known)
	u := ctx.URL()
	query, err := parseQuery(u.RawQuery)
	if err != nil {
		return err
	}
	var f job.Faults
	for _, key := range slices.Sorted(keys(query)) {
		switch {
		case !slices.Contains(known, key):
			f.AddHint(key, wantOneOf(key, known), "unknown query parameter")
		case len(query[key]) > 1 && !many[key]:
			f.Add(key, "is given %d times", len(query[key]))
		}
	}
	return f.Err("the query is not valid")
}
