package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

// lateness measures how late a single instant starts on an idle node: the command prints the time at which it runs. What an interval
// instant takes longer is put against a transaction of etcd, of one caller in the same minute.
func (b *bench) lateness(ctx context.Context) ([]figure, error) {
	etcd, err := port.Free()
	if err != nil {
		return nil, err
	}
	s, err := b.start(ctx, "--etcd-listen", "http://"+etcd)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + etcd}, DialTimeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var figures []figure
	late := map[job.KindName][]float64{}
	for _, kind := range []job.KindName{"common", "interval"} {
		name := "a single " + string(kind) + " instant on an idle node: its command runs after"
		half := figure{Key: "late/" + string(kind) + "/p50", What: name + ", p50", Unit: "ms", Goal: atMost(2), Note: "the time printed by `date`, with its own exec"}
		most := figure{Key: "late/" + string(kind) + "/p99", What: name + ", p99", Unit: "ms", Goal: atMost(10)}
		if kind != "common" {
			half.Goal = nil // it may take a round trip longer, which is measured below
		}
		for round := range b.rounds {
			all, err := b.late(ctx, s, kind, round)
			if err != nil {
				return nil, err
			}
			late[kind] = append(late[kind], inMS(percentile(all, .5)))
			most.Rounds = append(most.Rounds, inMS(percentile(all, .99)))
		}
		half.Rounds = late[kind]
		figures = append(figures, half, most)
	}
	extra := figure{
		Key: "late/claim", What: "what an interval instant takes longer, of a transaction of etcd", Unit: "×", Goal: atMost(1.5),
		Note: "create if absent, over loopback, one at a time, each after 20 ms of rest",
	}
	for round := range b.rounds {
		trip, err := roundTrip(ctx, c, round, b.size(50, 5))
		if err != nil {
			return nil, err
		}
		extra.Rounds = append(extra.Rounds, (late["interval"][round]-late["common"][round])/inMS(trip))
	}
	return append(figures, extra), nil
}

// late has a task fire each second for a while, and gives how long after each instant its command ran.
func (b *bench) late(ctx context.Context, s *server, kind job.KindName, round int) ([]time.Duration, error) {
	samples := b.size(20, 2)
	t := job.Task{Name: fmt.Sprintf("late-%s-%d", kind, round), Command: job.Args("date", "+%s%N"), Timer: "* * * * * *", Kind: kind}
	if _, err := s.client.Apply(ctx, []job.Task{t}, client.ApplyOptions{}); err != nil {
		return nil, err
	}
	if err := pause(ctx, time.Duration(samples+2)*time.Second); err != nil {
		return nil, err
	}
	f := job.RecordFilter{Group: "default", Task: t.Name, Limit: samples, WithOutput: true, Outcome: []job.Outcome{job.Success}}
	var page job.Page
	if err := await(ctx, time.Second, time.Minute, fmt.Sprintf("%d firings are recorded", samples), func() (_ bool, err error) {
		page, err = s.client.Records(ctx, f)
		return len(page.Records) == samples, err
	}); err != nil {
		return nil, err
	}
	if _, err := s.client.Pause(ctx, t.Ref()); err != nil {
		return nil, err
	}
	var list []time.Duration
	for _, r := range page.Records {
		ns, err := strconv.ParseInt(strings.TrimSpace(r.Output), 10, 64)
		if err != nil {
			return nil, err
		}
		list = append(list, time.Unix(0, ns).Sub(r.Instant))
	}
	return list, nil
}

// roundTrip is the median time of a transaction that creates a key which is absent.
func roundTrip(ctx context.Context, c *clientv3.Client, round, n int) (time.Duration, error) {
	var list []time.Duration
	for i := range n {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
		key := fmt.Sprintf("/bench/%d/%d", round, i)
		began := time.Now()
		if _, err := c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).Then(clientv3.OpPut(key, "x")).Commit(); err != nil {
			return 0, err
		}
		list = append(list, time.Since(began))
	}
	return percentile(list, .5), nil
}
