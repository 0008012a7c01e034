package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// A log is a stream of events, a list of them, or bytes, and begins where the reader stands.
func TestFormsOfALog(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.master.Add(job.ExecutionRecord{ID: "r1", Group: "default", Name: "a", Attempt: 1, Outcome: job.Failed, Output: "one\ntwo\n"})
	for _, c := range []struct {
		name, path string
		header     []string
		status     int
		kind, want string
	}{
		{"bytes", "/log", nil, 200, "application/octet-stream", "one\ntwo\n"},
		{"bytes from an offset", "/log?offset=4", nil, 200, "application/octet-stream", "two\n"},
		{"a list", "/log", []string{"Accept", "application/json"}, 200, "application/json", `[`},
		{"a stream", "/log", []string{"Accept", "text/event-stream"}, 200, "text/event-stream", "id: 1:8\nevent: output\n"},
		{"a stream from an event", "/log", []string{"Accept", "text/event-stream", "Last-Event-ID", "1:4"}, 200, "text/event-stream", `"data":"two\n"`},
		{"the end", "/log", []string{"Accept", "text/event-stream"}, 200, "text/event-stream", `"outcome":"failed"`},
		{"no place", "/log", []string{"Last-Event-ID", "x"}, 422, client.ProblemType, "ATTEMPT:OFFSET"},
		{"a negative offset", "/log?offset=-1", nil, 422, client.ProblemType, "offset"},
	} {
		status, header, body := f.do("GET", "/api/v1/runs/r1"+c.path, "", c.header...)
		if status != c.status || header.Get("Content-Type") != c.kind || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s\n%s", c.name, status, header.Get("Content-Type"), body)
		}
		if c.kind == "application/octet-stream" && body != c.want {
			t.Errorf("%s: %q", c.name, body)
		}
	}
	if status, header, body := f.do("GET", "/api/v1/runs/none/log", "", "Accept", "text/event-stream"); status != 404 || header.Get("Content-Type") != client.ProblemType {
		t.Errorf("a run that is not there: %d %s", status, body)
	}
	if status, _, body := f.do("GET", "/api/v1/runs/r1/log", "", "Authorization", "Bearer rota_viewer"); status != 200 {
		t.Errorf("a viewer: %d %s", status, body)
	}
}

// The way in for nodes is closed to everybody without the token of a follow, an administrator too, and to what is too large.
func TestOnlyAFollowedNodeMaySend(t *testing.T) {
	t.Parallel()
	f := serve(t)
	for _, token := range []string{"", "Bearer ", "Bearer wrong", "Bearer rota_admin"} {
		if status, _, body := f.do("POST", job.LogPath+"f1", `{"at":{"attempt":1,"offset":0}}`, "Authorization", token); status != 401 {
			t.Errorf("%q: %d %s", token, status, body)
		}
	}
	if status, _, _ := f.do("POST", job.LogPath+"f1", `{"at":`+strings.Repeat(" ", 2<<20)+`{}}`); status != 422 {
		t.Errorf("a body of 2 MiB: %d", status)
	}
	if status, _, _ := f.do("GET", job.LogPath+"f1", ""); status != 405 {
		t.Errorf("reading it: %d", status)
	}
}

// A client whose connection breaks goes on where it stood, and ends with the end or with what the server says.
func TestLogOverBrokenConnections(t *testing.T) {
	t.Parallel()
	const all = 9
	for _, last := range []string{"end", "error"} {
		var asked []string
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from := r.Header.Get("Last-Event-ID")
			asked = append(asked, from) // one connection at a time
			at, err := job.ParseLogPosition(from)
			if err != nil {
				at = job.LogPosition{Attempt: 1}
			}
			for range 3 {
				e := fmt.Sprintf(`{"type":"output","at":{"attempt":1,"offset":%d},"chunk":{"offset":%d,"data":"%d"}}`, at.Offset+1, at.Offset, at.Offset)
				at.Offset++
				fmt.Fprintf(w, "id: %s\nevent: output\ndata: %s\n\n", at, e)
			}
			if at.Offset < all {
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			fmt.Fprintf(w, "event: %s\ndata: {\"type\":%q,\"problem\":{\"status\":503,\"code\":\"unavailable\",\"detail\":\"no\"}}\n\n", last, last)
		}))
		c, err := client.New(client.Options{Server: srv.URL})
		if err != nil {
			t.Fatal(err)
		}
		text, ended := "", ""
		for e, err := range c.Log(t.Context(), "r1", client.LogOptions{Follow: true}) {
			switch {
			case err != nil:
				ended = "error"
				if job.CodeOf(err) != job.CodeUnavailable || !strings.Contains(err.Error(), "no") {
					t.Error(err)
				}
			case e.Type == client.LogEnd:
				ended = "end"
			default:
				text += string(e.Chunk.Data)
			}
		}
		if text != "012345678" || ended != last || strings.Join(asked, ",") != ",1:3,1:6" {
			t.Errorf("%q, ended with %q, asked from %q", text, ended, asked)
		}
		c.Close()
		srv.Close()
	}
}
