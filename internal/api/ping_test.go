package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rota-dev/rota/internal/api"
)

const monitorFile = `{"monitors":[{"name":"nas","timer":"@hourly"},{"name":"other","timer":"@hourly"}]}`

func (f *fixture) applyMonitors() {
	f.t.Helper()
	if status, _, body := f.do("POST", "/api/v1/apply", monitorFile, "Content-Type", "application/json"); status != 200 {
		f.t.Fatal(status, body)
	}
}

// The key of a monitor is shown to nobody who may not change the monitor: neither where it is read, nor in the list, nor anywhere else.
func TestKeysOfMonitorsAreHidden(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.applyMonitors()
	for role, sees := range map[string]bool{api.RoleViewer: false, api.RoleOperator: false, api.RoleEditor: true, api.RoleAdmin: true} {
		for _, path := range []string{"/api/v1/monitors", "/api/v1/monitors/nas"} {
			status, _, body := f.do("GET", path, "", "Authorization", "Bearer rota_"+role)
			if status != 200 || strings.Contains(body, "key-nas") != sees || strings.Contains(body, "/ping/") != sees {
				t.Errorf("%s of %s: %d %s", role, path, status, body)
			}
		}
	}
	// The generated one: no route tells it.
	for _, op := range operations(t, f) {
		if op.method != "GET" || strings.Contains(op.path, "events") || strings.Contains(op.path, "log") { // streams do not end
			continue
		}
		path := strings.ReplaceAll(op.path, "adocument", "nas")
		if _, _, body := f.do(op.method, path, "", "Authorization", "Bearer rota_"+api.RoleViewer); strings.Contains(body, "key-nas") || strings.Contains(body, "key-other") {
			t.Errorf("%s tells a viewer the key of a monitor", path)
		}
	}
}

// Too many pings of one monitor are refused, and so are too many from one address, with any key; what was refused is not taken.
func TestTooManyPings(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.applyMonitors()
	until := func(path string, atLeast int) {
		t.Helper()
		for n := 1; n <= 10_000; n++ {
			status, header, body := f.do("GET", path, "", "Authorization", "")
			if status != http.StatusTooManyRequests {
				continue
			}
			if n <= atLeast || header.Get("Retry-After") == "" || header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s is refused at the %dth: %v %s", path, n, header, body)
			}
			return
		}
		t.Errorf("%s is never refused", path)
	}
	until("/ping/key-nas", 20)
	taken := len(f.master.Pings())
	if taken < 20 {
		t.Errorf("%d were taken", taken)
	}
	if status, _, _ := f.do("GET", "/ping/key-other", "", "Authorization", ""); status != 200 {
		t.Errorf("another monitor suffers: %d", status)
	}
	until("/ping/none", 0)
	if n := len(f.master.Pings()); n != taken+1 {
		t.Errorf("%d were taken, want %d", n, taken+1)
	}
}
