package node

import (
	"context"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// lengthen sets the length of a node's lease as people do.
func (w *world) lengthen(id job.NodeID, d time.Duration) {
	w.Helper()
	w.edit(id, func(n *job.Node) { n.Lease = job.Duration(d) })
}

// edit changes a node as people do.
func (w *world) edit(id job.NodeID, change func(*job.Node)) {
	w.Helper()
	for {
		n, err := w.admin.Nodes().Get(context.Background(), string(id))
		if err != nil {
			w.Fatal(err)
		}
		change(n)
		if _, err = w.admin.Nodes().Put(context.Background(), n); err == nil {
			return
		} else if !job.IsConflict(err) {
			w.Fatal(err)
		}
	}
}

// ancestor 41: reloading the lease raced. It changes its length while runs are alive, and no key goes away meanwhile.
func TestTheLeaseChangesItsLength(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.prepare("n1", "")
		l.runner.behave = func(x *doubleExec) { x.takes(10 * time.Minute) }
		l.run()
		w.until(time.Second)
		for _, name := range []string{"a", "b", "c"} {
			w.ask(newJob(t, name, ""), name)
		}
		w.until(2 * time.Second)
		deleted := 0
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		events := w.admin.Processes().Watch(ctx, "n1").Events()
		look := func(wanted time.Duration) {
			t.Helper()
			w.wait("the lease has its length", func() bool {
				return l.lease.Load().Left() > wanted/2 && l.lease.Load().Left() <= wanted && l.ttl() == wanted
			})
			for open := true; open; {
				select {
				case batch := <-events:
					for _, e := range batch {
						if e.Type == store.Delete {
							deleted++
						}
					}
				default:
					open = false
				}
			}
			if n, err := w.admin.Processes().Count(ctx, "n1"); err != nil || n != 3 || deleted > 0 || l.lease.Load().Epoch() != 0 {
				t.Errorf("%s: %d processes, %d were deleted, epoch %d, %v", wanted, n, deleted, l.lease.Load().Epoch(), err)
			}
		}
		w.lengthen("n1", time.Minute)
		look(time.Minute)
		w.lengthen("n1", 4*time.Second)
		look(4 * time.Second)
		w.lengthen("n1", 0)
		look(10 * time.Second)

		// The next life begins with it.
		w.lengthen("n1", 30*time.Second)
		look(30 * time.Second)
		cancel()
		for range events { //nolint:revive // until it is closed
		}
		dir := l.crash()
		l = w.start("n1", dir)
		w.wait("it joined", func() bool { return l.lease.Load() != nil })
		if l.ttl() != 30*time.Second {
			t.Errorf("the next life has a lease of %s", l.ttl())
		}
	})
}

// A lease does not get shorter than what an alone run that is alive was promised.
func TestAShorterLeaseWaitsForAloneRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.prepare("n1", "")
		l.runner.behave = func(x *doubleExec) { x.takes(time.Minute) }
		l.run()
		w.until(time.Second)
		alone := claimedOn(t, "alone", "", kind(job.KindAlone))[0]
		w.put(alone)
		run := w.ask(alone, "x")
		w.until(10 * time.Second)
		w.lengthen("n1", 4*time.Second)
		w.until(50 * time.Second)
		if l.ttl() != 10*time.Second || l.lease.Load().Left() <= 4*time.Second {
			t.Errorf("the lease was cut to %s under an alone run", l.ttl())
		}
		if r := w.record(run); r.Outcome != job.Success {
			t.Errorf("%s %s", r.Outcome, r.Reason)
		}
		w.wait("it is shorter", func() bool { return l.ttl() == 4*time.Second && l.lease.Load().Left() <= 4*time.Second })
	})
}

// A node that is drained starts nothing by its timers, tells of each instant, and says when nothing runs.
func TestDrain(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.prepare("n1", "")
		l.runner.behave = func(x *doubleExec) { x.takes(25 * time.Second) }
		l.run()
		w.put(newJob(t, "tick", "@every 10s", overlap(job.OverlapQueue)))
		for _, j := range claimedOn(t, "shared", "@every 10s", kind(job.KindInterval))[:1] {
			w.put(j)
		}
		drained := func() bool {
			n, err := w.admin.Nodes().Get(context.Background(), "n1")
			if err != nil {
				t.Fatal(err)
			}
			return n.Drained
		}
		w.until(22 * time.Second) // tick of 10 s runs, that of 20 s waits
		w.edit("n1", func(n *job.Node) { n.Draining = true })
		w.until(30 * time.Second)
		if drained() {
			t.Error("it is said to be drained, and something runs")
		}
		began := len(l.runner.started())
		w.wait("it is drained", drained)
		if n := len(l.runner.started()); n != began {
			t.Errorf("%d runs began after it", n-began)
		}
		w.until(2 * time.Minute)
		told := map[string]int{}
		for _, r := range w.records() {
			if r.Name == "tick" {
				told[string(r.Outcome)+": "+r.Reason] += r.Instants()
			}
		}
		if told["success: "] != 1 || told["skipped: "+drainedReason] < 9 || len(told) != 2 {
			t.Errorf("%v", told)
		}
		w.edit("n1", func(n *job.Node) { n.Draining, n.Drained = false, false })
		w.until(2*time.Minute + 15*time.Second)
		if n := len(l.runner.started()); n == began {
			t.Error("nothing starts after the drain was taken back")
		}
	})
}
