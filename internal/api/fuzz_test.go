package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rota-dev/rota/internal/api"
	"github.com/rota-dev/rota/internal/api/apitest"
	"github.com/rota-dev/rota/job"
)

// bodied are the operations that take a body, as "POST /api/v1/runs", and that of nodes that send logs.
func bodied(t testing.TB, h http.Handler) []string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	list := []string{"POST " + job.LogPath + "{id}"}
	for path, methods := range doc.Paths {
		for method, raw := range methods {
			var op struct {
				RequestBody json.RawMessage `json:"requestBody"`
			}
			if json.Unmarshal(raw, &op) == nil && op.RequestBody != nil {
				list = append(list, strings.ToUpper(method)+" "+path)
			}
		}
	}
	if len(list) < 10 {
		t.Fatalf("only %q take a body", list)
	}
	slices.Sort(list)
	return list
}

var pathParameter = regexp.MustCompile(`\{[^}]*\}`)

// Whatever is sent to any operation, under whatever names, the API answers, and not with a fault of its own.
func FuzzBody(f *testing.F) {
	h := api.New(api.Options{Master: apitest.New("n1"), Tokens: tokens{}})
	operations := bodied(f, h)
	for i := range operations {
		f.Add(uint8(i), "default", "application/json", `{}`)
		f.Add(uint8(i), "n1", "application/json", `{"task":"default/a","key":"k","nodes":["n1"],"params":{"a":"b"},"labels":{"a":null},"lease":"10s","value":"v","at":{"attempt":1,"offset":-1},"chunks":[{"data":"\ud800"}]}`)
		f.Add(uint8(i), "..", "application/yaml", "- name: a\n  command: x\n")
		f.Add(uint8(i), "a%00/b", "text/calendar", "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20261225\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
		f.Add(uint8(i), "", "", `[[[[[[`)
		f.Add(uint8(i), strings.Repeat("x", 300), "application/json", `{"from":"0001-01-01T00:00:00Z","to":"9999-12-31T23:59:59Z","argv":[""],"command":["\u0000"]}`)
	}
	f.Fuzz(func(t *testing.T, which uint8, name, kind, body string) {
		method, path, _ := strings.Cut(operations[int(which)%len(operations)], " ")
		r := httptest.NewRequest(method, "/", strings.NewReader(body))
		r.URL = &url.URL{Path: pathParameter.ReplaceAllLiteralString(path, name)}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header["Content-Type"] = []string{kind}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s %s as %q: %d %s", method, r.URL.Path, kind, w.Code, w.Body)
		}
	})
}

// Whatever a ping's path and body are, the API answers, and says nothing of the keys that there are.
func FuzzPing(f *testing.F) {
	for _, path := range []string{"", "key", "key/start", "key/ok", "key/fail", "key/0", "key/255", "key/256", "key/-1", "key/+1", "a/b/c", "/", "\x00/ok", "..", "key/ok/"} {
		f.Add(path, "output")
	}
	h := api.New(api.Options{Master: apitest.New("n1"), Tokens: tokens{}})
	f.Fuzz(func(t *testing.T, path, body string) {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
			r := httptest.NewRequest(method, "/", strings.NewReader(body))
			r.URL = &url.URL{Path: "/ping/" + path}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 500 || w.Code == http.StatusOK {
				t.Errorf("%s %q: %d %s", method, path, w.Code, w.Body)
			}
			if w.Code == http.StatusNotFound && path != "" && strings.Contains(w.Body.String(), path) && len(path) > 8 {
				t.Errorf("the answer to %q repeats the key: %s", path, w.Body)
			}
		}
	})
}
