package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
)

// Two masters share an etcd and a PostgreSQL. Whoever leads is killed again and again while an execution fans out over fifty items on two nodes, as the jobs themselves
// see it: each item runs once, in its order between what comes before and after, and the execution succeeds.
func TestMastersDieDuringAFanOut(t *testing.T) {
	t.Parallel()
	etcd, _ := startEtcd(t)
	db := pgtest.Start(t).Database(t)
	m := newMasters(t)
	for _, name := range []string{"m1", "m2"} {
		m.add(name, "master", "--etcd", etcd, "--db", db)
	}
	m.byName["m1"].Start()
	waitReady(t, m.client("http://"+m.addrs["m1"]))
	m.byName["m2"].Start()
	for _, name := range []string{"n1", "n2"} {
		newProcess(t, name, rotaBin, "node", "--etcd", etcd, "--data", t.TempDir(), "--name", name, "--lease", lease.String()).Start()
	}
	c := m.client(m.servers())
	eventually(t, 30*time.Second, "two masters and two nodes", func() error {
		all, err := c.Masters(t.Context())
		nodes, err2 := c.Nodes(t.Context())
		if err != nil || err2 != nil || len(all) != 2 || len(nodes) != 2 {
			return fmt.Errorf("%d masters, %d nodes, %w", len(all), len(nodes), errors.Join(err, err2))
		}
		return nil
	})
	out := filepath.Join(t.TempDir(), "out")
	step := func(name, line string, change func(*job.Task)) job.Task {
		s := job.Task{Name: name, Group: "fan", Kind: "interval", Command: job.Line(line)}
		change(&s)
		return s
	}
	const items = 50
	tasks := []job.Task{
		step("list", "seq -s, 1 50 | sed 's/.*/[&]/' >$ROTA_RESULT; echo list >>"+out, func(*job.Task) {}),
		step("each", "sleep 0.2; echo item {{ item }} >>"+out, func(t *job.Task) {
			t.Depends, t.ForEach, t.MaxParallel = []job.Depend{{Task: "list"}}, "steps.list.result", 4
		}),
		step("last", "echo last {{ steps.each.outcome }} >>"+out, func(t *job.Task) { t.Depends = []job.Depend{{Task: "each"}} }),
	}
	if _, err := c.Apply(t.Context(), tasks, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	v, err := c.RunGroup(t.Context(), client.GroupRequest{Group: "fan", Key: "once"})
	if err != nil {
		t.Fatal(err)
	}
	kills := 0
	for end := time.Now().Add(2 * time.Minute); ; {
		now, err := c.Execution(t.Context(), v.ID)
		if err == nil && now.Ended() {
			v = now
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it has not ended: %+v, %v", now, err)
		}
		if kills == 6 {
			time.Sleep(200 * time.Millisecond)
			continue
		}
		old, _ := m.awaitLeader(c, "", time.Now())
		time.Sleep(300 * time.Millisecond) // let it do something
		m.byName[old].Kill()
		kills++
		m.awaitLeader(c, old, time.Now())
		m.byName[old].Start()
	}
	t.Logf("%s after %s, %d leaders killed", v.Status, v.Duration.Round(time.Millisecond), kills)
	if v.Status != job.ExecutionSuccess || kills < 2 {
		t.Errorf("it is %s (%s) after %d kills", v.Status, v.Reason, kills)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	seen := map[string]int{}
	for _, l := range lines {
		seen[l]++
	}
	for i := 1; i <= items; i++ {
		if n := seen[fmt.Sprint("item ", i)]; n != 1 {
			t.Errorf("item %d ran %d times", i, n)
		}
	}
	if len(lines) != items+2 || lines[0] != "list" || lines[items+1] != "last success" {
		t.Errorf("it wrote %d lines: %q … %q", len(lines), lines[0], lines[len(lines)-1])
	}
	// A thousand items, on real etcd and PostgreSQL.
	tasks[0].Command = job.Line("seq -s, 1 1000 | sed 's/.*/[&]/' >$ROTA_RESULT")
	tasks[1].Command, tasks[1].MaxParallel = job.Line("true"), 50
	tasks[2].Command = job.Line("true")
	if _, err := c.Apply(t.Context(), tasks, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if v, err = c.RunGroup(t.Context(), client.GroupRequest{Group: "fan", Key: "large"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Minute, "a thousand items have run", func() error {
		if v, err = c.Execution(t.Context(), v.ID); err != nil || !v.Ended() {
			return fmt.Errorf("the executions: %w", err)
		}
		return nil
	})
	t.Logf("a thousand items: %s after %s", v.Status, v.Duration.Round(time.Millisecond))
	if v.Status != job.ExecutionSuccess || v.Steps[1].Success != 1000 {
		t.Errorf("it is %s: %s", v.Status, v.Reason)
	}
}
