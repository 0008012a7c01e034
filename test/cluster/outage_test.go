package cluster_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
)

// PostgreSQL is away while tasks fire: masters stay, nodes go on, and what ended meanwhile is in history afterwards. Then etcd is away
// with 500 runs that end: all of them are in history once, soon after its return. ancestor 42, ancestor 53: scenario 4
func TestOutages(t *testing.T) {
	t.Parallel()
	etcd, etcdProcess := startEtcd(t)
	pg := pgtest.Start(t)
	db := pg.Database(t)
	j, m := newJournal(t), newMasters(t)
	for _, name := range []string{"m1", "m2"} {
		m.add(name, "master", "--etcd", etcd, "--db", db).Start()
	}
	for _, name := range []string{"n1", "n2"} {
		newProcess(t, name, rotaBin, "node", "--etcd", etcd, "--data", t.TempDir(), "--name", name, "--lease", lease.String()).Start()
	}
	c := m.client(m.servers())
	waitReady(t, c)
	fifo := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	gated := job.Task{Name: "gated", Command: job.Args("/bin/cat", fifo), Kind: "interval", Overlap: job.OverlapAllow, Concurrency: 1000}
	if _, err := c.Apply(t.Context(), append(tasksFor(j), gated), client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	tick, solo := job.Ref("", "tick"), job.Ref("", "solo")
	settled(t, c, 30*time.Second, begin.Add(time.Second), time.Now().Add(2*time.Second), tick, solo)

	pg.Stop()
	away := time.Now()
	eventually(t, 30*time.Second, "a master says that history is away", func() error {
		said, err := readyz(m.addrs["m1"])
		if err != nil || said[:3] != fmt.Sprint(http.StatusServiceUnavailable) {
			return fmt.Errorf("%s, %w", said, err)
		}
		return nil
	})
	time.Sleep(seconds(6)) // records pile up
	ran := 0
	for _, l := range j.lines(t) {
		if l.what == "begin" && l.task == "tick" && l.at > float64(away.UnixNano())/1e9+1 {
			ran++
		}
	}
	if ran == 0 {
		t.Error("nothing ran while history was away")
	}
	pg.Restart(t)
	for name, p := range m.byName {
		if !p.Alive() {
			t.Errorf("%s has ended", name)
		}
		waitReady(t, m.at(name))
	}
	settled(t, c, time.Minute, begin.Add(time.Second), time.Now(), tick, solo)

	// 500 runs are alive, etcd falls silent, and they end.
	const many = 500
	ids := make([]job.RunID, many)
	var wg sync.WaitGroup
	for k := range 10 {
		wg.Go(func() {
			for i := k; i < many; i += 10 {
				a, err := c.Run(t.Context(), client.RunRequest{Task: gated.Ref(), Nodes: []job.NodeID{job.NodeID(fmt.Sprint("n", i%2+1))}})
				if err != nil || len(a.Runs) != 1 {
					t.Errorf("run %d: %+v, %v", i, a, err)
					return
				}
				ids[i] = a.Runs[0].Run
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	eventually(t, time.Minute, "all of them are alive", func() error {
		list, err := c.Processes(t.Context(), client.JobFilter{Task: "gated"})
		if err != nil || len(list) != many {
			return fmt.Errorf("%d are, %w", len(list), err)
		}
		return nil
	})
	etcdProcess.Signal(syscall.SIGSTOP)
	gate, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	gate.Close()
	time.Sleep(max(seconds(5), lease+2*time.Second)) // etcd is away for longer than a lease
	etcdProcess.Signal(syscall.SIGCONT)
	back := time.Now()
	got := map[string]job.Outcome{}
	eventually(t, 30*time.Second, "all of them are in history", func() error {
		clear(got)
		for r, err := range c.EachRecord(t.Context(), job.RecordFilter{Task: "gated", Limit: 1000}) {
			if err != nil {
				return err
			}
			if _, twice := got[r.ID]; twice {
				t.Fatalf("run %s is there twice", r.ID)
			}
			if r.Outcome == job.Success {
				got[r.ID] = r.Outcome
			}
		}
		if len(got) != many {
			return fmt.Errorf("%d succeeded", len(got))
		}
		return nil
	})
	t.Logf("%d records are in history %s after etcd came back", many, time.Since(back).Round(time.Millisecond))
	for _, id := range ids {
		if got[string(id)] == "" {
			t.Errorf("run %s is not in history", id)
		}
	}
	first, end := begin.Add(time.Second), time.Now().Add(2*time.Second)
	settled(t, c, time.Minute, first, end, tick, solo)
	j.judge(t, c, judgement{tick, every, first, end})
	j.judge(t, c, judgement{solo, every, first, end})
	for _, o := range j.overlaps(t, "solo") {
		t.Error(o)
	}
}

// A master and a node are started while etcd and history are away: they wait, say for what, and go on when it is back. At the first start of all the wrong address is the likelier
// cause, and that is an error at once.
func TestStartWaitsForWhatIsAway(t *testing.T) {
	t.Parallel()
	etcd, etcdProcess := startEtcd(t)
	pg := pgtest.Start(t)
	m := newMasters(t)
	master := m.add("m1", "master", "--etcd", etcd, "--db", pg.Database(t))
	node := newProcess(t, "n1", rotaBin, "node", "--etcd", etcd, "--data", t.TempDir(), "--name", "n1", "--lease", lease.String())
	master.Start()
	node.Start()
	c := m.client(m.servers())
	waitReady(t, c)
	waitNode(t, c, "n1")
	master.Stop()
	node.Stop()
	etcdProcess.Kill()
	pg.Stop()

	master.Start()
	node.Start()
	waitsFor := func(what string) {
		t.Helper()
		eventually(t, time.Minute, "the master says what it waits for", func() error {
			said, err := readyz(m.addrs["m1"])
			if err != nil || !strings.Contains(said, "503") || !strings.Contains(said, what) {
				return fmt.Errorf("%s, %w", said, errors.Join(errNotYet, err))
			}
			return nil
		})
	}
	waitsFor("etcd does not answer at " + etcd)
	eventually(t, time.Minute, "the node says what it waits for", func() error {
		if !strings.Contains(node.Said(), "the start waits") {
			return errNotYet
		}
		return nil
	})
	etcdProcess.Start()
	waitsFor("PostgreSQL at ")
	for _, p := range []*process{master, node} {
		if !p.Alive() {
			t.Fatalf("%s has ended", p.Name)
		}
	}
	pg.Restart(t)
	waitReady(t, c)
	waitNode(t, c, "n1")
}
