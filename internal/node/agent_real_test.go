package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// realEtcd is an etcd that is one, in real time.
func realEtcd(t *testing.T) *store.Store {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	e, err := store.Embed(context.Background(), store.EmbedOptions{Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, e.Close()) })
	return e.Store()
}

// join starts an agent and waits until it is there. What it returns stops it.
func join(t *testing.T, s *store.Store, id job.NodeID, dir string, r *doubleRunner) (stop func()) {
	t.Helper()
	a, err := New(Options{ID: id, Dir: dir, Store: s, Runner: r, Logger: slog.New(slog.DiscardHandler), Lease: 2 * time.Second, BootID: "boot", SinceBoot: func() time.Duration { return time.Since(epoch) }})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	<-a.joined
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// await waits for n records.
func await(t *testing.T, s *store.Store, n int) (recs []*job.ExecutionRecord) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	byID := map[string]*job.ExecutionRecord{}
	for batch := range s.Records().Watch(ctx).Events() {
		for _, e := range batch {
			if e.Type == store.Put {
				byID[e.Value.ID] = e.Value
			}
		}
		if len(byID) >= n {
			break
		}
	}
	if len(byID) < n {
		t.Fatalf("%d records, want %d", len(byID), n)
	}
	for _, r := range byID {
		recs = append(recs, r)
	}
	return recs
}

// On a real etcd: three nodes share an interval job and an alone job, one is restarted, one leaves; runs that were
// asked for run once.
func TestOnRealEtcd(t *testing.T) {
	t.Parallel()
	s := realEtcd(t)
	since := time.Now()
	change := func(j *job.Job) { j.Since = since }
	ctx := context.Background()
	interval := claimedOn(t, "interval", "* * * * * *", kind(job.KindInterval), change)
	alone := claimedOn(t, "alone", "* * * * * *", kind(job.KindAlone), change)
	for _, j := range append(slices.Clone(interval), alone...) {
		_, err := s.Do(ctx, store.PutJob(j, 0), store.InitFloor(j.Ref(), since))
		must(t, err)
	}
	runner := &doubleRunner{behave: func(x *doubleExec) {
		if slices.Contains(x.Env, "ROTA_TASK=alone") {
			x.takes(1200 * time.Millisecond)
		}
	}}
	dir := t.TempDir()
	stop1, stop2, stop3 := join(t, s, "n1", dir, runner), join(t, s, "n2", t.TempDir(), runner), join(t, s, "n3", t.TempDir(), runner)
	await(t, s, 4)
	stop1()
	stop1 = join(t, s, "n1", dir, runner)
	common := newJob(t, "common", "", overlap(job.OverlapAllow))
	for n := range 50 {
		_, err := s.Do(ctx, store.CreateDispatch(&job.Dispatch{
			Run: job.CauseID(fmt.Sprint(n), common.Hash), Node: "n1", Job: common, Trigger: job.TriggerRun, RequestedAt: time.Now(),
		}))
		must(t, err)
	}
	recs := await(t, s, 64)
	stop3()
	stop2()
	stop1()
	runner.wg.Wait()

	starts := map[job.RunID]int{}
	var alones []*doubleExec
	for _, x := range runner.started() {
		if starts[x.Run]++; starts[x.Run] > 1 {
			t.Errorf("%v started twice", x.Env)
		}
		if slices.Contains(x.Env, "ROTA_TASK=alone") {
			alones = append(alones, x)
		}
	}
	if most := mostAlive(alones); most != 1 {
		t.Errorf("%d runs of the alone job at a time", most)
	}
	asked, late := 0, 0
	for _, r := range recs {
		if r.Name == "common" && r.Outcome == job.Success {
			asked++
		}
		if r.Name == "interval" && r.BeginTime.Sub(r.Instant) > 3*time.Second {
			late++
		}
		if strings.HasPrefix(r.Reason, "not started") {
			t.Error(r.Reason)
		}
	}
	if asked != 50 || late > 0 {
		t.Errorf("%d of 50 runs that were asked for, %d late instants", asked, late)
	}
	if n, err := s.Online().Count(ctx); err != nil || n != 0 {
		t.Errorf("%d nodes are online, %v", n, err)
	}
	if n, err := s.Locks().Count(ctx); err != nil || n != 0 {
		t.Errorf("%d locks are left, %v", n, err)
	}
	if n, err := s.Processes().Count(ctx); err != nil || n != 0 { // ancestor 37, 40
		t.Errorf("%d processes are left, %v", n, err)
	}
}

// Processes are found under the prefix under which they are written, and counted by what is alive.
func TestProcessesOnRealEtcd(t *testing.T) { // ancestor 36, 37, 41
	t.Parallel()
	s := realEtcd(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	release := make(chan struct{})
	runner := &doubleRunner{behave: func(x *doubleExec) {
		select {
		case <-release:
		case <-x.done:
		}
	}}
	stop := join(t, s, "n1", t.TempDir(), runner)
	j := newJob(t, "a", "", overlap(job.OverlapAllow))
	for n := range 20 {
		_, err := s.Do(ctx, store.CreateDispatch(&job.Dispatch{
			Run: job.CauseID(fmt.Sprint(n), j.Hash), Node: "n1", Job: j, Trigger: job.TriggerRun, RequestedAt: time.Now(),
		}))
		must(t, err)
	}
	alive := map[string]bool{}
	count := func(want int) {
		for batch := range s.Processes().Watch(ctx, "n1", "default", j.Hash).Events() {
			for _, e := range batch {
				switch e.Type {
				case store.Put:
					alive[e.Key] = true
				case store.Delete:
					delete(alive, e.Key)
				}
			}
			if len(alive) == want {
				return
			}
		}
		t.Fatalf("%d processes, want %d", len(alive), want)
	}
	count(20)
	stop() // what runs is ended, awaited and recorded, before the lease is given back
	clear(alive)
	if n, err := s.Processes().Count(ctx); err != nil || n != 0 {
		t.Errorf("%d processes are left, %v", n, err)
	}
	for _, r := range await(t, s, 20) {
		if r.Outcome != job.Killed || r.Reason != "killed by "+stopCause {
			t.Errorf("%s: %s", r.Outcome, r.Reason)
		}
	}
	close(release)
	runner.wg.Wait()
}
