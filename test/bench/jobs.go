package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

// manyJobs measures a node with 100,000 jobs that fire rarely: what it takes of memory and of a processor, and how soon after its start it
// fires what is due. Node and master are processes of their own.
func (b *bench) manyJobs(ctx context.Context) ([]figure, error) {
	n := b.size(100_000, 1000)
	etcd, err := port.Free()
	if err != nil {
		return nil, err
	}
	m, err := b.boot(ctx, b.folder(), "master", "--name", "m1", "--etcd-listen", "http://"+etcd)
	if err != nil {
		return nil, err
	}
	defer m.stop()
	dir := b.folder()
	boot := func() (*server, error) { return b.boot(ctx, dir, "node", "--name", "n1", "--etcd", "http://"+etcd) }
	node, err := boot()
	if err != nil {
		return nil, err
	}
	defer func() { _ = node.stop() }()
	name := fmt.Sprintf("%d jobs on one node: ", n)
	applied := figure{Key: "jobs/apply", What: name + "tasks applied, over HTTP", Unit: "/s", Rising: true}
	memory := figure{Key: "jobs/memory", What: name + "resident memory of the node", Unit: "MiB", Goal: atMost(300)}
	master := figure{Key: "jobs/master", What: name + "resident memory of the master, without mapped files", Unit: "MiB", Note: "etcd, the engine and the view with as many tasks in it"}
	idle := figure{Key: "jobs/idle", What: name + "processor time of the idle node, of one core", Unit: "%", Goal: atMost(1)}
	idleMaster := figure{Key: "jobs/idlemaster", What: name + "processor time of the idle master, of one core", Unit: "%", Goal: atMost(1)}
	ready := figure{Key: "jobs/ready", What: name + "from the node's start to its first firing", Unit: "s", Goal: atMost(3), Note: "of a task that is due each second"}

	began := time.Now()
	tasks := make([]job.Task, n)
	for i := range tasks {
		tasks[i] = job.Task{
			Name: fmt.Sprintf("rare-%d", i), Command: job.Args("/usr/bin/backup", "--all"),
			Timer: job.Timer(fmt.Sprintf("%d %d %d %d *", i%60, i/60%24, 1+i%28, 1+(int(began.Month())+5)%12)),
		}
	}
	if err := m.apply(ctx, tasks); err != nil {
		return nil, err
	}
	applied.Rounds = []float64{float64(n) / time.Since(began).Seconds()}
	if err := m.placed(ctx, tasks[n-1].Ref()); err != nil {
		return nil, err
	}
	tick := job.Task{Name: "tick", Command: job.Args("/bin/true"), Timer: "* * * * * *"}
	if _, err := m.client.Apply(ctx, []job.Task{tick}, client.ApplyOptions{}); err != nil {
		return nil, err
	}
	for range b.rounds {
		// What is due before it is down belongs to its last life.
		if err := node.end(); err != nil {
			return nil, err
		}
		started := time.Now()
		if node, err = boot(); err != nil {
			return nil, err
		}
		first, err := b.firstAfter(ctx, m, tick.Ref(), started)
		if err != nil {
			return nil, err
		}
		ready.Rounds = append(ready.Rounds, first.Sub(started).Seconds())
		if _, err := m.client.Pause(ctx, tick.Ref()); err != nil {
			return nil, err
		}
		if err := pause(ctx, time.Duration(b.size(30, 1))*time.Second); err != nil { // until what the start left to do is done, and its memory given back
			return nil, err
		}
		rest := time.Duration(b.size(120, 1)) * time.Second // Go looks through all memory every two minutes
		var before, after [2]time.Duration
		for i, p := range []*server{node, m} {
			if before[i], err = p.cpu(); err != nil {
				return nil, err
			}
		}
		if err := pause(ctx, rest); err != nil {
			return nil, err
		}
		for i, p := range []*server{node, m} {
			if after[i], err = p.cpu(); err != nil {
				return nil, err
			}
		}
		idle.Rounds = append(idle.Rounds, 100*(after[0]-before[0]).Seconds()/rest.Seconds())
		idleMaster.Rounds = append(idleMaster.Rounds, 100*(after[1]-before[1]).Seconds()/rest.Seconds())
		all, _, err := node.memory()
		if err != nil {
			return nil, err
		}
		_, own, err := m.memory()
		if err != nil {
			return nil, err
		}
		memory.Rounds, master.Rounds = append(memory.Rounds, all), append(master.Rounds, own)
		if _, err := m.client.Resume(ctx, tick.Ref()); err != nil {
			return nil, err
		}
	}
	return []figure{memory, ready, idle, applied, master, idleMaster}, nil
}

// firstAfter is when the first run of a task began after a time.
func (b *bench) firstAfter(ctx context.Context, s *server, ref job.TaskRef, after time.Time) (first time.Time, err error) {
	err = await(ctx, 20*time.Millisecond, time.Minute, ref.String()+" runs again", func() (bool, error) {
		page, err := s.client.Records(ctx, job.RecordFilter{Group: ref.Group, Task: ref.Name, Since: after, Limit: 1000, Outcome: []job.Outcome{job.Success}})
		for _, r := range page.Records {
			if r.BeginTime.After(after) && (first.IsZero() || r.BeginTime.Before(first)) {
				first = r.BeginTime
			}
		}
		return !first.IsZero(), err
	})
	return first, err
}
