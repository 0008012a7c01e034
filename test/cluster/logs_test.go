package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

// log is what a follower was told.
type log struct {
	text string
	at   job.LogPosition
	told []string
	end  *client.LogEvent
}

// follow reads a run's log from where it stands, until its end or until enough says so.
func (l *log) follow(t *testing.T, c *client.Client, run job.RunID, enough func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for e, err := range c.Log(ctx, run, client.LogOptions{From: l.at, Follow: true}) {
		if err != nil {
			t.Fatalf("after %d bytes, told %q: %v", len(l.text), l.told, err)
		}
		l.at = e.At
		switch e.Type {
		case client.LogOutput:
			l.text += string(e.Chunk.Data)
		case client.LogEnd:
			l.end = &e
		default:
			l.told = append(l.told, e.Type+" "+e.Text)
		}
		if enough != nil && enough() {
			return
		}
	}
	if ctx.Err() != nil {
		t.Fatalf("the log does not end; %d bytes, told %q", len(l.text), l.told)
	}
}

// lines checks that the numbered lines follow one another from 1, and returns how many there are.
func (l *log) lines(t *testing.T) int {
	t.Helper()
	n := 0
	for line := range strings.Lines(l.text) {
		if n++; line != fmt.Sprintf("line %d\n", n) {
			t.Fatalf("line %d is %q", n, line)
		}
	}
	return n
}

// A run is followed through the master that does not lead; when that is killed the reader goes on at the other one; when the agent is killed
// and comes back too: no line is missing, none comes twice.
func TestFollowThroughKills(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	db := pg.Database(t)
	etcd, _ := startEtcd(t)
	var masters []*process
	var clients []*client.Client
	data := t.TempDir()
	for i, name := range []string{"m1", "m2"} {
		addr, dir := port.Must(t), t.TempDir()
		if i == 0 {
			dir = data
		}
		m := newProcess(t, name, rotaBin, "master", "--etcd", etcd, "--db", db, "--data", dir, "--listen", addr, "--name", name, "--lease", lease.String())
		m.Start()
		masters = append(masters, m)
		clients = append(clients, connect(t, addr, data))
		waitReady(t, clients[i])
	}
	node := newProcess(t, "n1", rotaBin, "node", "--etcd", etcd, "--data", t.TempDir(), "--name", "n1", "--lease", lease.String())
	node.Start()
	waitNode(t, clients[0], "n1")
	waitNode(t, clients[1], "n1")

	const all = 250
	task := job.Task{Name: "count", Command: job.Line(fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); echo line $i; sleep 0.04; done", all))}
	if _, err := clients[0].Apply(t.Context(), []job.Task{task}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	status, err := clients[0].Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	follower, other := 1, 0
	if strings.HasPrefix(status.Leader, "m2-") {
		follower, other = 0, 1
	}
	answer, err := clients[other].Run(t.Context(), client.RunRequest{Task: task.Ref()})
	if err != nil {
		t.Fatal(err)
	}
	run := answer.Runs[0].Run
	var l log
	l.follow(t, clients[follower], run, func() bool { return strings.Count(l.text, "\n") >= 20 })
	masters[follower].Kill()
	l.follow(t, clients[other], run, func() bool { return strings.Count(l.text, "\n") >= 60 })
	if n := l.lines(t); n < 60 {
		t.Fatalf("%d lines over two masters", n)
	}
	node.Kill()
	node.Start()
	l.follow(t, clients[other], run, nil)
	n := l.lines(t)
	if l.end == nil {
		t.Fatalf("the log broke off after %d lines, told %q", n, l.told)
	}
	if l.end.Outcome != job.Success || n != all { // the run goes on while its agent is away
		t.Errorf("the run ended with %s, and %d of %d lines came, told %q", l.end.Outcome, n, all, l.told)
	}
	node.Stop()
	masters[other].Stop()
}
