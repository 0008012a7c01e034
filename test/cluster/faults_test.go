package cluster_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/harness"
	"github.com/rota-dev/rota/test/port"
)

const (
	lease = 3 * time.Second
	every = "* * * * * *" // each second
)

// seconds is how long a test makes trouble: ROTA_CHAOS_SECONDS, or the given.
func seconds(otherwise int) time.Duration {
	if n, err := strconv.Atoi(os.Getenv("ROTA_CHAOS_SECONDS")); err == nil {
		otherwise = n
	}
	return time.Duration(otherwise) * time.Second
}

func tasksFor(j *journal) []job.Task {
	return []job.Task{
		{Name: "tick", Command: j.command("0.05"), Timer: every, Kind: "interval"},
		{Name: "solo", Command: j.command("0.4"), Timer: every, Kind: "alone"},
	}
}

// settled waits until every instant of the tasks between two times is accounted for.
func settled(t *testing.T, c *client.Client, within time.Duration, from, upTo time.Time, refs ...job.TaskRef) {
	t.Helper()
	eventually(t, within, "every instant is accounted for", func() error {
		for _, ref := range refs {
			all := history(t, c, ref)
			for i := upTo.Truncate(time.Second); i.After(from); i = i.Add(-time.Second) {
				if len(harness.Covering(all, i)) == 0 {
					return fmt.Errorf("%s: nothing about %s", ref, i.Format(time.RFC3339))
				}
			}
		}
		return nil
	})
}

// One process is killed at random moments and started again: no instant of an interval or alone task is doubled, or lost
// without a word.
func TestUpKilledAndRestarted(t *testing.T) {
	t.Parallel()
	j, data, addr := newJournal(t), t.TempDir(), port.Must(t)
	up := newProcess(t, "up", rotaBin, "up", "--data", data, "--listen", addr, "--name", "n1", "--lease", lease.String())
	up.Start()
	c := connect(t, addr, data)
	waitReady(t, c)
	if _, err := c.Apply(t.Context(), tasksFor(j), client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()

	rng := rand.New(rand.NewPCG(1, 2))
	for until := begin.Add(seconds(20)); time.Now().Before(until); {
		time.Sleep(time.Duration(1500+rng.IntN(3000)) * time.Millisecond) // trouble comes at any moment
		up.Kill()
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		up.Start()
	}
	waitReady(t, c)
	first, end := begin.Add(time.Second), time.Now().Add(2*time.Second)
	tick, solo := job.Ref("", "tick"), job.Ref("", "solo")
	settled(t, c, time.Minute, first, end, tick, solo)
	j.judge(t, c, judgement{tick, every, first, end})
	j.judge(t, c, judgement{solo, every, first, end})
	for _, o := range j.overlaps(t, "solo") {
		t.Error(o)
	}
	up.Stop()
}

// One master and three nodes on an etcd of their own; nodes and master are killed at random.
func TestClusterKilledAndRestarted(t *testing.T) {
	t.Parallel()
	j, addr := newJournal(t), port.Must(t)
	etcd, _ := startEtcd(t)
	data := t.TempDir()
	master := newProcess(t, "master", rotaBin, "master", "--etcd", etcd, "--data", data, "--listen", addr, "--name", "m1", "--lease", lease.String())
	master.Start()
	var nodes []*process
	for _, name := range []string{"n1", "n2", "n3"} {
		n := newProcess(t, name, rotaBin, "node", "--etcd", etcd, "--data", t.TempDir(), "--name", name, "--lease", lease.String())
		n.Start()
		nodes = append(nodes, n)
	}
	c := connect(t, addr, data)
	waitReady(t, c)
	eventually(t, 20*time.Second, "three nodes are online", func() error {
		list, err := c.Nodes(t.Context())
		if err != nil {
			return err
		}
		online := 0
		for _, n := range list {
			if n.Online {
				online++
			}
		}
		if online != 3 {
			return fmt.Errorf("%d are", online)
		}
		return nil
	})
	common := job.Task{Name: "each", Command: j.command("0"), Timer: every, Kind: "common"}
	if _, err := c.Apply(t.Context(), append(tasksFor(j), common), client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()

	rng := rand.New(rand.NewPCG(3, 4))
	victims := append([]*process{master}, nodes...)
	for until := begin.Add(seconds(30)); time.Now().Before(until); {
		time.Sleep(time.Duration(1000+rng.IntN(2000)) * time.Millisecond) // trouble comes at any moment
		v := victims[rng.IntN(len(victims))]
		v.Kill()
		time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
		if rng.IntN(4) == 0 {
			time.Sleep(lease + time.Second) // long enough to be missed
		}
		v.Start()
	}
	waitReady(t, c)
	first, end := begin.Add(time.Second), time.Now().Add(2*time.Second)
	tick, solo := job.Ref("", "tick"), job.Ref("", "solo")
	settled(t, c, time.Minute, first, end, tick, solo)
	j.judge(t, c, judgement{tick, every, first, end})
	j.judge(t, c, judgement{solo, every, first, end})
	j.judgeCommon(t, c, job.Ref("", "each"), []job.NodeID{"n1", "n2", "n3"}, first, end)
	for _, o := range j.overlaps(t, "solo") {
		t.Error(o)
	}
	for _, p := range append(nodes, master) {
		p.Stop()
	}
}
