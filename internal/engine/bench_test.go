package engine_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

var benchStart = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

// cluster is a leader's state with sites of nodes and tasks: each task is bound to every node of its site.
type cluster struct {
	s    *engine.State
	now  time.Time
	rev  int64
	jobs int
}

// sites are a hundred, of a hundred nodes and a hundred tasks each: a million jobs. With -short there is one.
func sites() int {
	if testing.Short() {
		return 1
	}
	return 100
}

func newCluster(b *testing.B, sites, nodes, tasks int, kind job.KindName, edit ...func(*job.Task)) *cluster {
	c := &cluster{s: engine.New(engine.Options{}), now: benchStart}
	for site := range sites {
		label := map[string]string{"site": fmt.Sprint(site)}
		for n := range nodes {
			id := job.NodeID(fmt.Sprintf("s%dn%d", site, n))
			c.s.Apply(engine.NodePut{Node: &job.Node{ID: id, Labels: label, CreatedAt: c.now}},
				engine.NodeOnline{Presence: &job.Presence{Node: id, Session: "s"}, At: c.now})
		}
		for n := range tasks {
			t := job.Task{Name: fmt.Sprintf("s%dt%d", site, n), Command: job.Line("true"), Timer: "0 3 * * *", Kind: kind, Labels: label}
			for _, e := range edit {
				e(&t)
			}
			t.Complete()
			c.rev++
			c.s.Apply(engine.TaskPut{Entry: &job.TaskEntry{Task: t, CreatedAt: c.now, Since: c.now, Generation: 1, Revision: c.rev}})
		}
	}
	c.s.Apply(engine.Began{At: c.now})
	return c
}

// settle carries plans out until there is nothing to do. Jobs arrive as from the wire, each with strings of its own.
func (c *cluster) settle() {
	for {
		actions := c.s.Plan(c.now)
		if len(actions) == 0 {
			return
		}
		for _, a := range actions {
			c.rev++
			switch a := a.(type) {
			case engine.PutJob:
				if a.Revision == 0 {
					c.jobs++
				}
				j := &job.Job{
					Hash: string([]byte(a.Job.Hash)), NodeID: job.NodeID([]byte(a.Job.NodeID)), Stamp: string([]byte(a.Job.Stamp)),
					Group: a.Job.Group, Name: a.Job.Name, Since: a.Job.Since,
				}
				c.s.Apply(engine.JobPut{Job: j, Revision: c.rev})
			case engine.DeleteJob:
				c.jobs--
				c.s.Apply(engine.JobDeleted{Node: a.Node, Hash: a.Hash})
			default:
				c.s.Apply(engine.Done{Action: a})
			}
		}
	}
}

// BenchmarkNodeLost plans after the end of one node among 10,000 with 1,000,000 jobs: away, its tasks go on; deleted,
// its 100 jobs are, and those of its interval tasks are renewed on the 99 other candidates.
func BenchmarkNodeLost(b *testing.B) {
	for _, kind := range []job.KindName{"common", "interval"} {
		c := newCluster(b, sites(), 100, 100, kind)
		c.settle()
		for _, how := range []string{"offline", "deleted"} {
			n := 0 // another round goes on with other nodes: one that is deleted already costs nothing
			b.Run(string(kind)+"/"+how, func(b *testing.B) {
				for b.Loop() {
					id := job.NodeID(fmt.Sprintf("s%dn%d", n%sites(), n/sites()%100))
					n++
					if how == "offline" {
						c.s.Apply(engine.NodeOffline{Node: id, At: c.now})
					} else {
						c.s.Apply(engine.NodeDeleted{Node: id})
					}
					c.s.Plan(c.now)
				}
				b.ReportMetric(float64(c.jobs), "jobs")
			})
		}
	}
}

// BenchmarkFirstPlacement places 10,000 tasks on each of 100 nodes.
func BenchmarkFirstPlacement(b *testing.B) {
	for b.Loop() {
		c := newCluster(b, 1, 100, 100*sites(), "interval")
		longest, jobs := time.Duration(0), 0
		for {
			start := time.Now()
			actions := c.s.Plan(c.now)
			longest = max(longest, time.Since(start))
			if len(actions) == 0 {
				break
			}
			jobs += len(actions)
			for _, a := range actions {
				c.s.Apply(engine.Done{Action: a})
			}
		}
		b.ReportMetric(float64(jobs), "actions/op")
		b.ReportMetric(float64(longest.Milliseconds()), "ms/longest-plan")
	}
}

// BenchmarkTakeOver is a new leader's first plan over 1,000,000 jobs that are as they should be.
func BenchmarkTakeOver(b *testing.B) {
	c := newCluster(b, sites(), 100, 100, "interval")
	c.settle()
	for b.Loop() {
		c.s.Apply(engine.Began{At: c.now})
		if actions := c.s.Plan(c.now); len(actions) > 0 {
			b.Fatalf("%d actions, the first %T", len(actions), actions[0])
		}
	}
}

// BenchmarkMemory is what a job costs the engine.
func BenchmarkMemory(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		c := newCluster(b, sites(), 100, 100, "common")
		empty := heap()
		c.settle()
		b.ReportMetric(float64(heap()-empty)/float64(c.jobs), "B/job")
		b.ReportMetric(float64(empty-before)/float64(sites()*100), "B/task")
		runtime.KeepAlive(c)
	}
}

// BenchmarkIdlePlan is a plan with nothing to do, of 100,000 interval tasks; in held 10,000 of them run, and it is a second
// later each time.
func BenchmarkIdlePlan(b *testing.B) {
	c := newCluster(b, 100, 1, 1000, "interval")
	c.settle()
	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			c.now = c.now.Add(time.Microsecond)
			c.s.Plan(c.now)
		}
	})
	at := c.now.Add(time.Minute).Truncate(time.Second)
	for site := range 100 {
		for n := range 100 {
			c.s.Apply(engine.ClaimPut{Claim: &job.Claim{
				Task: job.Ref("", fmt.Sprintf("s%dt%d", site, n)), Instant: at, Session: "s", Node: job.NodeID(fmt.Sprintf("s%dn0", site)),
			}})
		}
	}
	c.now = at.Add(time.Minute)
	b.Run("held", func(b *testing.B) {
		for b.Loop() {
			c.now = c.now.Add(time.Second)
			if actions := c.s.Plan(c.now); len(actions) > 0 {
				b.Fatalf("%T", actions[0])
			}
		}
	})
}

// BenchmarkNodeReplaced plans the replacement of one node in each of the ten places of its tasks, of which there are a million among
// 10,000 nodes; and of one among 10,000 nodes that are all alike, for three-place tasks.
func BenchmarkNodeReplaced(b *testing.B) {
	if testing.Short() {
		b.Skip("it builds a million jobs")
	}
	for _, size := range []struct {
		name                        string
		sites, nodes, tasks, places int
	}{{"sites", 100, 100, 1000, 10}, {"alike", 1, 10_000, 1000, 3}} {
		c := newCluster(b, size.sites, size.nodes, size.tasks, "interval", func(t *job.Task) { t.MaxNodes = size.places })
		c.settle()
		b.Run(size.name, func(b *testing.B) {
			n, moved := 0, 0
			for b.Loop() {
				id := job.NodeID(fmt.Sprintf("s%dn%d", n%size.sites, n/size.sites))
				n++
				c.s.Apply(engine.NodeOffline{Node: id, At: c.now})
				c.now = c.now.Add(time.Minute)
				start := time.Now()
				moved += len(c.s.Plan(c.now))
				if took := time.Since(start); took > time.Second {
					b.Fatalf("the plan took %v", took)
				}
				b.StopTimer()
				c.settle()
				b.StartTimer()
			}
			b.ReportMetric(float64(c.jobs), "jobs")
			b.ReportMetric(float64(moved)/float64(n), "writes/op")
		})
	}
}
