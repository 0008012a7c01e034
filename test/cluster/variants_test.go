package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

// A master with an embedded etcd serves it to a node of another process; history is in PostgreSQL, and outlives a kill of
// the master.
func TestMasterWithEmbeddedEtcdAndPostgreSQL(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	addr, etcd, data := port.Must(t), "http://"+port.Must(t), t.TempDir()
	master := newProcess(t, "master", rotaBin, "master", "--etcd-listen", etcd, "--db", pg.Database(t), "--data", data, "--listen", addr,
		"--name", "m1", "--lease", lease.String())
	master.Start()
	c := connect(t, addr, data)
	waitReady(t, c)
	node := newProcess(t, "n1", rotaBin, "node", "--etcd", etcd, "--data", t.TempDir(), "--name", "n1", "--lease", lease.String())
	node.Start()
	waitNode(t, c, "n1")

	task := job.Task{Name: "greet", Command: job.Line(`echo "hello from $ROTA_NODE"`)}
	if _, err := c.Apply(t.Context(), []job.Task{task}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	first := runOnce(t, c, task.Ref())
	if got := strings.TrimSpace(first.Output); first.Outcome != job.Success || got != "hello from n1" {
		t.Fatalf("%s: %q", first.Outcome, got)
	}

	master.Kill()
	master.Start()
	waitReady(t, c)
	waitNode(t, c, "n1")
	again, err := c.Record(t.Context(), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	if again.Output != first.Output || again.Number != 1 {
		t.Errorf("after a restart the record is %v", again)
	}
	if second := runOnce(t, c, task.Ref()); second.Number != 2 {
		t.Errorf("the second run has the number %d", second.Number)
	}
	node.Stop()
	master.Stop()
}

// Two masters on one etcd and one PostgreSQL: both answer, one leads, and when that is killed the other takes over.
func TestTwoMasters(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	db := pg.Database(t)
	etcd, _ := startEtcd(t)
	var masters []*process
	var clients []*client.Client
	data := t.TempDir()
	first := ""
	for _, name := range []string{"m1", "m2"} {
		addr, dir := port.Must(t), t.TempDir()
		if first == "" {
			first, dir = addr, data
		}
		m := newProcess(t, name, rotaBin, "master", "--etcd", etcd, "--db", db, "--data", dir, "--listen", addr, "--name", name, "--lease", lease.String())
		m.Start()
		masters = append(masters, m)
		clients = append(clients, connect(t, addr, data)) // the token of the first opens both
		waitReady(t, clients[len(clients)-1])
	}
	node := newProcess(t, "n1", rotaBin, "node", "--etcd", etcd, "--data", t.TempDir(), "--name", "n1", "--lease", lease.String())
	node.Start()
	waitNode(t, clients[1], "n1")

	task := job.Task{Name: "greet", Command: job.Args("true")}
	if _, err := clients[1].Apply(t.Context(), []job.Task{task}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if rec := runOnce(t, clients[1], task.Ref()); rec.Outcome != job.Success {
		t.Fatalf("%s: %s", rec.Outcome, rec.Reason)
	}
	status, err := clients[0].Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leader, other := masters[0], clients[1]
	if strings.HasPrefix(status.Leader, "m2-") {
		leader, other = masters[1], clients[0]
	}
	leader.Kill()
	eventually(t, lease+10*time.Second, "the other master leads", func() error {
		s, err := other.Status(t.Context())
		if err == nil && (s.Leader == "" || s.Leader == status.Leader) {
			err = fmt.Errorf("the leader is %q", s.Leader)
		}
		return err
	})
	if rec := runOnce(t, other, task.Ref()); rec.Outcome != job.Success || rec.Number != 2 {
		t.Errorf("after the failover: %s, number %d", rec.Outcome, rec.Number)
	}
	node.Stop()
	for _, m := range masters {
		m.Stop()
	}
}

func waitNode(t *testing.T, c *client.Client, id job.NodeID) {
	t.Helper()
	eventually(t, 20*time.Second, "node "+string(id)+" is online", func() error {
		n, err := c.Node(t.Context(), id)
		if err == nil && !n.Online {
			err = fmt.Errorf("it is offline")
		}
		return err
	})
}

// runOnce asks for a run and waits for its record.
func runOnce(t *testing.T, c *client.Client, ref job.TaskRef) *job.ExecutionRecord {
	t.Helper()
	answer, err := c.Run(t.Context(), client.RunRequest{Task: ref})
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.WaitRun(t.Context(), answer.Runs[0].Run)
	if err != nil {
		t.Fatal(err)
	}
	if v.Record == nil {
		t.Fatalf("run %s is %s and has no record", v.Run, v.State)
	}
	return v.Record
}
