package script_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// collector VARIABLE FILE serves a receiver that appends what it is sent to a file, a line each.
func collector(ts *testscript.TestScript, _ bool, args []string) {
	var mu sync.Mutex
	file := ts.MkAbs(args[1])
	ts.Check(os.WriteFile(file, nil, 0o600))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		mu.Lock()
		defer mu.Unlock()
		f, bad := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil || bad != nil {
			http.Error(w, "it could not be kept", http.StatusInternalServerError)
			return
		}
		defer f.Close()
		_, _ = f.WriteString(q.Header.Get("Rota-Signature") + " " + string(body) + "\n")
	}))
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL)
}

// ping FILE PATH [BODY] sends a ping: the file has the address, such as a command printed it.
func ping(ts *testscript.TestScript, neg bool, args []string) {
	address := strings.TrimSpace(ts.ReadFile(args[0]))
	body := ""
	if len(args) > 2 {
		body = args[2]
	}
	resp, err := http.Post(address+args[1], "text/plain", strings.NewReader(body))
	ts.Check(err)
	defer resp.Body.Close()
	if (resp.StatusCode == http.StatusOK) == neg {
		ts.Fatalf("the ping was answered %s", resp.Status)
	}
}
