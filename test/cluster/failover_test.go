package cluster_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/harness"
)

// TestFailoverTimes measures, for `make bench`, as many kills of the leader and of a node as ROTA_BENCH_KILLS says. It prints what it
// finds as a benchmark does.
func TestFailoverTimes(t *testing.T) {
	kills, _ := strconv.Atoi(os.Getenv("ROTA_BENCH_KILLS"))
	if kills < 1 {
		t.Skip("set ROTA_BENCH_KILLS to the number of kills")
	}
	etcd, _ := startEtcd(t)
	db := pgtest.Start(t).Database(t)
	m := newMasters(t)
	for _, name := range []string{"m1", "m2", "m3"} {
		m.add(name, "master", "--etcd", etcd, "--db", db).Start()
		waitReady(t, m.at(name))
	}
	nodes := map[job.NodeID]*process{}
	for _, name := range []job.NodeID{"n1", "n2", "n3"} {
		nodes[name] = newProcess(t, string(name), rotaBin, "node", "--etcd", etcd, "--data", t.TempDir(), "--name", string(name), "--lease", lease.String())
		nodes[name].Start()
	}
	c := m.client(m.servers())
	online := func() error {
		list, err := c.Nodes(t.Context())
		if err != nil {
			return err
		}
		for _, n := range list {
			if !n.Online {
				return fmt.Errorf("%s is not online", n.ID)
			}
		}
		if len(list) != len(nodes) {
			return errNotYet
		}
		return nil
	}
	eventually(t, 30*time.Second, "all nodes are online", online)
	tick := job.Task{Name: "tick", Command: job.Args("/bin/true"), Timer: every, Kind: "interval"}
	if _, err := c.Apply(t.Context(), []job.Task{tick}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ref := tick.Ref()
	eventually(t, 30*time.Second, "it fires", func() error {
		if len(history(t, c, ref)) == 0 {
			return errNotYet
		}
		return nil
	})

	begin := time.Now()
	var took []time.Duration
	for range kills {
		old, _ := m.awaitLeader(c, "", time.Now())
		died := time.Now()
		m.byName[old].Kill()
		_, d := m.awaitLeader(c, old, died)
		took = append(took, d)
		m.byName[old].Start()
		waitReady(t, m.at(old))
	}
	end := time.Now()
	settled(t, c, time.Minute, begin.Add(time.Second), end, ref)
	_, missed := ranAt(history(t, c, ref), begin.Add(time.Second), end)
	slices.Sort(took)
	worst := took[len(took)-1]
	fmt.Printf("BenchmarkFailover/leader %d %.3f p50-leases %.3f beyond-s %d missed\n", kills, took[len(took)/2].Seconds()/lease.Seconds(), max(0, worst-lease).Seconds(), missed)

	missed = 0
	var late []time.Duration
	for range kills {
		// The one that ran last is at work.
		all := history(t, c, ref)
		victim := slices.MaxFunc(all, func(a, b job.ExecutionRecord) int { return a.Instant.Compare(b.Instant) }).Node
		if nodes[victim] == nil {
			t.Fatalf("%q ran the last instant", victim)
		}
		nodes[victim].Kill()
		died := time.Now()
		until := died.Add(lease + time.Second)
		settled(t, c, time.Minute, died, until, ref)
		l, n := ranAt(history(t, c, ref), died, until)
		late, missed = append(late, l...), missed+n
		nodes[victim].Start()
		eventually(t, 30*time.Second, "the node is back", online)
	}
	slices.Sort(late)
	if len(late) == 0 {
		t.Fatal("nothing ran after a node's end")
	}
	fmt.Printf("BenchmarkFailover/node %d %.2f late-p50-ms %.2f late-max-ms %d missed\n", kills, float64(late[len(late)/2].Microseconds())/1000, float64(late[len(late)-1].Microseconds())/1000, missed)
}

// ranAt gives how late the instants of each second after from, up to a time, began, and how many of them did not run.
func ranAt(all []job.ExecutionRecord, from, upTo time.Time) (late []time.Duration, missed int) {
	for i := upTo.Truncate(time.Second); i.After(from); i = i.Add(-time.Second) {
		switch list := harness.Covering(all, i); {
		case len(list) == 1 && list[0].Outcome == job.Success:
			late = append(late, list[0].BeginTime.Sub(i))
		default:
			missed++
		}
	}
	return late, missed
}
