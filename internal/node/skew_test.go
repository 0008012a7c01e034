package node

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// ancestor 2: a node whose clock is ten minutes ahead fires each instant ten minutes early, and still nobody fires it again: what is
// claimed is the instant, whenever somebody comes to it.
func TestClockTenMinutesAhead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(claimedOn(t, "a", "* * * * *", kind(job.KindInterval))...)
		w.start("n1", "")
		w.start("n2", "", func(o *Options) { o.Now = skewed(10 * time.Minute) })
		w.start("n3", "")
		w.until(30*time.Minute + 30*time.Second)
		times := map[time.Time]int{}
		for _, r := range w.records() {
			if r.Outcome == job.Success {
				times[r.Instant]++
			}
		}
		for m := 1; m <= 40; m++ {
			if n := times[at(time.Duration(m)*time.Minute)]; n != 1 {
				t.Errorf("minute %d ran %d times", m, n)
			}
		}
		// It tells what its clock shows, from which others see it.
		c, err := w.admin.Clocks().Get(context.Background(), "n2")
		if err != nil || time.Until(c.At) < 9*time.Minute {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// ancestor 3: nothing is guessed from how far two firings are apart. A timer that is due twice within a second's distance and then not
// for an hour runs each instant once, on clocks that differ by more than that.
func TestIrregularTimerOnSkewedClocks(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(claimedOn(t, "a", "0,1 0 * * * *", kind(job.KindInterval))...)
		for n, id := range []job.NodeID{"n1", "n2", "n3"} {
			w.start(id, "", func(o *Options) { o.Now = skewed(time.Duration(n-1) * 45 * time.Second) })
		}
		w.until(5*time.Hour + 2*time.Minute)
		want := []string{"1s success"}
		for h := 1; h <= 5; h++ {
			for s := range 2 {
				want = append(want, (time.Duration(h)*time.Hour+time.Duration(s)*time.Second).String()+" success")
			}
		}
		if got := outcomes(w.records()); !slices.Equal(got, want) {
			t.Errorf("\n got %q\nwant %q", got, want)
		}
	})
}

// The run of an alone task with overlap replace that finds the lock held elsewhere has the holder ended, through the leader, and
// runs. What it left word of is gone then.
func TestReplaceAcrossNodes(t *testing.T) {
	inWorld(t, func(w *world) {
		jobs := claimedOn(t, "a", "* * * * *", kind(job.KindAlone), overlap(job.OverlapReplace))
		w.put(jobs...)
		for _, id := range []job.NodeID{"n1", "n2", "n3"} {
			l := w.prepare(id, "")
			l.runner.behave = func(x *doubleExec) { x.takes(time.Hour) }
			l.run()
		}
		// The leader's part: whoever holds the lock is asked to end.
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for batch := range w.admin.Replacements().Watch(ctx).Events() {
				for _, e := range batch {
					if e.Type == store.Put {
						h := e.Value.Holder
						_, _ = w.admin.Do(ctx, store.CreateKill(&job.Kill{Run: h.Run, Node: h.Node, By: "run " + string(e.Value.Run), At: time.Now()}))
					}
				}
			}
		}()
		w.until(10*time.Minute + 30*time.Second)
		if n, err := w.admin.Replacements().Count(context.Background()); n != 0 || err != nil {
			t.Errorf("%d words are left, %v", n, err)
		}
		all := w.started()
		if most := mostAlive(all); most != 1 {
			t.Errorf("%d were alive at a time", most)
		}
		if len(all) != 10 {
			t.Errorf("%d runs, want 10", len(all))
		}
		nodes := map[job.NodeID]bool{}
		for n, r := range w.records() {
			nodes[r.Node] = true
			if r.Outcome != job.Killed || !r.Instant.Equal(at(time.Duration(n+1)*time.Minute)) {
				t.Errorf("%s %s: %s", r.Instant, r.Outcome, r.Reason)
			}
		}
		if len(nodes) < 2 {
			t.Errorf("all ran on one node: the test proves nothing")
		}
		cancel()
		<-done
	})
}
