package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// front is what stands at the address from the first moment on. Until the server is open it says why it is not, so that a member
// of etcd that waits for the others can be asked, and clients go on to another master.
type front struct {
	mu   sync.Mutex
	why  string
	then http.Handler
}

// waits notes why the server is not open, and tells whether that is news.
func (f *front) waits(why string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := f.why != why
	f.why = why
	return news
}

// open hands everything to a handler from now on.
func (f *front) open(h http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.then = h
}

// ServeHTTP implements [http.Handler].
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	then, why := f.then, f.why
	f.mu.Unlock()
	switch {
	case then != nil:
		then.ServeHTTP(w, r)
		return
	case r.URL.Path == "/healthz":
		fmt.Fprintln(w, "ok")
		return
	case why == "":
		why = "it is starting"
	}
	w.Header().Set("Content-Type", client.ProblemType)
	w.Header().Set("Retry-After", "1")
	w.Header().Set(client.UntouchedHeader, "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(w).Encode(client.Problem{
		Title: http.StatusText(http.StatusServiceUnavailable), Status: http.StatusServiceUnavailable, Code: job.CodeUnavailable,
		Detail: "this server does not serve yet: " + why,
	})
}
