package api_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/rota-dev/rota/internal/api"
	"github.com/rota-dev/rota/job"
)

// operation is one of the document's.
type operation struct {
	method, path, role string
}

// operations reads every operation from the OpenAPI document, with names put into its path.
func operations(t *testing.T, f *fixture) []operation {
	t.Helper()
	_, _, body := f.do("GET", "/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]struct {
			Description string `json:"description"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("{number}", "1", "{", "a", "}", "")
	var list []operation
	for path, methods := range doc.Paths {
		for method, op := range methods {
			role := strings.TrimSuffix(strings.TrimPrefix(op.Description, "Needs the role "), ".")
			list = append(list, operation{strings.ToUpper(method), names.Replace(path), role})
		}
	}
	if len(list) < 25 {
		t.Fatalf("the document has only %d operations", len(list))
	}
	return list
}

var requestIDs = regexp.MustCompile(`"request_id":"[^"]*"`)

// ancestor 56
func TestEveryRouteNeedsAToken(t *testing.T) {
	t.Parallel()
	f := serve(t)
	routes := append(operations(t, f), operation{"GET", "/metrics", ""}, operation{"GET", "/api/v1/none", ""}, operation{"POST", "/api/", ""})
	first := ""
	for _, op := range routes {
		for _, auth := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Bearer rota_", "Basic cm90YV9hZG1pbjo=", "rota_admin"} {
			status, header, body := f.do(op.method, op.path, "", "Authorization", auth)
			body = requestIDs.ReplaceAllString(body, "")
			if first == "" {
				first = body
			}
			if status != 401 || header.Get("WWW-Authenticate") == "" || body != first {
				t.Errorf("%s %s with %q: %d %s", op.method, op.path, auth, status, body)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json", "/"} {
		if status, _, _ := f.do("GET", path, "", "Authorization", ""); status != 200 {
			t.Errorf("%s without a token: %d", path, status)
		}
	}
}

func TestEveryRouteNeedsItsRole(t *testing.T) {
	t.Parallel()
	f := serve(t)
	roles := []string{api.RoleViewer, api.RoleOperator, api.RoleEditor, api.RoleAdmin}
	rank := map[string]int{}
	for i, r := range roles {
		rank[r] = i + 1
	}
	for _, op := range operations(t, f) {
		if rank[op.role] == 0 {
			t.Errorf("%s %s needs no role: %q", op.method, op.path, op.role)
		}
		if op.method != "GET" && op.role == api.RoleViewer {
			t.Errorf("a viewer may %s %s", op.method, op.path)
		}
		if strings.HasSuffix(op.path, "/events") {
			continue // it does not end by itself; what it answers to a viewer is tested elsewhere
		}
		for _, role := range roles {
			status, _, body := f.do(op.method, op.path, "", "Authorization", "Bearer rota_"+role)
			if refused := status == 403; refused != (rank[role] < rank[op.role]) {
				t.Errorf("%s %s as %s: %d %s", op.method, op.path, role, status, body)
			}
		}
	}
}

func TestAnEmptyTokenOpensNothing(t *testing.T) {
	t.Parallel()
	a := api.OneToken("", api.Principal{Name: "admin", Role: api.RoleAdmin})
	for _, token := range []string{"", " ", "x"} {
		if p, err := a.Authenticate(t.Context(), token); job.CodeOf(err) != job.CodeUnauthorized {
			t.Errorf("%q is %v, %v", token, p, err)
		}
	}
	a = api.OneToken("secret", api.Principal{Name: "admin", Role: api.RoleAdmin})
	if p, err := a.Authenticate(t.Context(), "secret"); err != nil || p.Name != "admin" {
		t.Error(p, err)
	}
	if _, err := a.Authenticate(t.Context(), "secreT"); err == nil {
		t.Error("a wrong token passes")
	}
}
