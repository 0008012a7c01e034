package app

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// rota master --away: what a node that is away owes is told as missed when it is that old, not a day later.
func TestAwayFlag(t *testing.T) {
	t.Parallel()
	etcd, err := store.Embed(t.Context(), store.EmbedOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Close() })
	data, out := t.TempDir(), &log{}
	args := []string{
		"master", "--away", "1s", "--name", "m", "--listen", "127.0.0.1:0", "--data", data, "--lease", "2s", "--etcd", strings.Join(etcd.ClientURLs(), ","),
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- Main(ctx, args, Stdio{In: strings.NewReader(""), Out: io.Discard, Err: out, Env: func(string) (string, bool) { return "", false }})
	}()
	t.Cleanup(func() { stop(); <-ended })
	var url []string
	await(t, "the master serves", func() bool {
		url = regexp.MustCompile(`API +(http://127\.0\.0\.1:\d+)/`).FindStringSubmatch(out.String())
		return url != nil
	})
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(client.Options{Server: url[1], Token: strings.TrimSpace(string(token))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	node, _ := boot(t, ServerConfig{Role: RoleNode, Data: t.TempDir(), Name: "n1", Etcd: etcd.ClientURLs(), Lease: 2 * time.Second})
	await(t, "the node is there", func() bool { n, err := cl.Node(t.Context(), "n1"); return err == nil && n.Online })
	if _, err := cl.Apply(t.Context(), []job.Task{{Name: "a", Command: job.Args("/bin/true"), Timer: "* * * * * *"}}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	records := func(o job.Outcome) []job.ExecutionRecord {
		page, err := cl.Records(t.Context(), job.RecordFilter{Task: "a", Outcome: []job.Outcome{o}, Limit: 100})
		if err != nil {
			return nil // it is asked again
		}
		return page.Records
	}
	await(t, "it runs", func() bool { return len(records(job.Success)) > 0 })
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	// The node itself may have missed instants, on a machine that is busy: its word on those names no node.
	await(t, "what it owes is told", func() bool {
		return slices.ContainsFunc(records(job.Missed), func(r job.ExecutionRecord) bool {
			return r.Node == "n1" && strings.Contains(r.Reason, "n1") && r.EndTime.Sub(r.Instant) >= time.Second
		})
	})
}
