package app

import (
	"bufio"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// clientOf is a client of a server that a test has booted.
func clientOf(t *testing.T, s *Server) *client.Client {
	t.Helper()
	token, err := os.ReadFile(s.data.join("admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Options{Server: s.URL(), Token: strings.TrimSpace(string(token))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A run that writes 100 MB is followed from its begin to its end, while somebody else follows it and reads nothing: every byte is told, or told
// to be missing, and the process does not grow with it.
func TestFollowARunThatWritesMuch(t *testing.T) {
	t.Parallel()
	s, _ := boot(t, alone(t.TempDir()))
	c := clientOf(t, s)
	const size = 100 << 20
	task := job.Task{Name: "much", Command: job.Line("yes 0123456789abcde | head -c " + strconv.Itoa(size) + "; exit 3")}
	if _, err := c.Apply(t.Context(), []job.Task{task}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	answer, err := c.Run(t.Context(), client.RunRequest{Task: task.Ref()})
	if err != nil {
		t.Fatal(err)
	}
	run := answer.Runs[0].Run

	stuck, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/api/v1/runs/"+string(run)+"/log", nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(s.data.join("admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	stuck.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	stuck.Header.Set("Accept", "text/event-stream")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(stuck)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReaderSize(resp.Body, 16).ReadString('\n'); err != nil || !strings.HasPrefix(line, "retry:") {
		t.Fatalf("the other one does not follow: %q, %v", line, err)
	}

	var at, told, missing int64
	var most uint64
	var end *client.LogEvent
	for e, err := range c.Log(t.Context(), run, client.LogOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case client.LogOutput:
			if e.Chunk.Offset < at || e.At.Offset != e.Chunk.End() {
				t.Fatalf("after %d comes a chunk from %d to %s", at, e.Chunk.Offset, e.At)
			}
			missing += e.Chunk.Offset - at
			at = e.Chunk.End()
			if told += int64(len(e.Chunk.Data)); told%(8<<20) < int64(len(e.Chunk.Data)) {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		case client.LogNotice:
			if n, ok := strings.CutSuffix(e.Text, " bytes are not kept"); ok {
				if _, err := strconv.ParseInt(n, 10, 64); err != nil {
					t.Error(e.Text)
				}
			}
		case client.LogEnd:
			end = &e
		}
	}
	if end == nil || end.Outcome != job.Failed || end.ExitCode == nil || *end.ExitCode != 3 {
		t.Fatalf("the end is %+v", end)
	}
	if at != size || told+missing != size || end.Run.Record.OutputBytes != size {
		t.Errorf("up to %d: %d bytes were told and %d not kept, of %d", at, told, missing, end.Run.Record.OutputBytes)
	}
	if most > 256<<20 {
		t.Errorf("the heap grew to %d MiB", most>>20)
	}
	t.Logf("%d MiB told, %d MiB not kept, heap %d MiB", told>>20, missing>>20, most>>20)
}

// What nodes are told of a master's address is what its flags say.
func TestWhereNodesReachAMaster(t *testing.T) {
	t.Parallel()
	cfg := alone(t.TempDir())
	cfg.Advertise = "https://rota.example.com:7682"
	s, _ := boot(t, cfg)
	if at := s.reachedAt("n2"); len(at) != 1 || at[0] != cfg.Advertise {
		t.Errorf("another node calls %v", at)
	}
	if at := s.reachedAt("n1"); len(at) != 1 || at[0] != s.URL() {
		t.Errorf("its own node calls %v", at)
	}
	for _, bad := range []string{"rota.example.com", "ftp://rota", "http://", "http://u:p@h", "http://h?x=1"} {
		cfg := alone(t.TempDir())
		cfg.Advertise = bad
		if _, err := Start(t.Context(), cfg, &log{}); err == nil || !strings.Contains(err.Error(), "--advertise") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
