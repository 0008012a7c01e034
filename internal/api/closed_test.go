package api_test

import (
	"net/http"
	"testing"

	"github.com/rota-dev/rota/internal/api"
)

// ancestor 63: debug and metrics ports were open. There is no debug port at all, not even for an administrator, and metrics need a
// token like everything else.
func TestNothingIsServedForDebugging(t *testing.T) {
	t.Parallel()
	f := serve(t, func(o *api.Options) {
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/vars", "/debug/requests", "/api/v1/debug"} {
		if status, _, body := f.do("GET", path, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _, _ := f.do("GET", "/metrics", "", "Authorization", ""); status != http.StatusUnauthorized {
		t.Errorf("metrics without a token: %d", status)
	}
	if status, _, _ := f.do("GET", "/metrics", ""); status != http.StatusOK {
		t.Errorf("metrics with a token: %d", status)
	}
}
