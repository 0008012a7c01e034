package master_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/schedule"
	"github.com/rota-dev/rota/store"
)

// A master whose clock is ten minutes behind edits a task whose instants are settled up to the present, or makes it again: what the new timer makes due
// counts from there on, and none of its instants is without an account. It may not even have heard how far the task is settled.
func TestEditsOfAMasterWhoseClockIsBehind(t *testing.T) {
	t.Parallel()
	for _, deaf := range []bool{false, true} {
		for _, again := range []string{"never", "at once", "later"} {
			t.Run(fmt.Sprintf("deaf=%t,again=%s", deaf, again), func(t *testing.T) {
				inWorld(t, func(w *world) {
					t := w.t
					heard := make(chan struct{})
					w.mem.OnTell(func(ctx context.Context, told store.Told) error {
						if deaf && told.Client == "m2" && strings.Contains(told.Key, "/settled/") {
							select {
							case <-heard:
							case <-ctx.Done():
							}
						}
						return nil
					})
					m := w.leader("m1")
					behind := w.unserved("m2")
					behind.Options.Now = func() time.Time { return time.Now().Round(0).Add(-10 * time.Minute) }
					behind.serve()
					w.until("m2 is ready", func() bool { return behind.Ready(w.ctx) == nil })
					interval := func(t *job.Task) { t.Kind = "interval" }
					ref := job.Ref("", "a")
					m.apply(task("a", "* * * * *", interval))
					time.Sleep(20 * time.Minute) // no node is there: the leader tells of each instant
					floor := func() time.Time {
						f, err := w.admin.Settled().Get(w.ctx, "default", "a")
						if err != nil {
							t.Fatal(err)
						}
						return f.At
					}
					if time.Since(floor()) > 2*time.Minute {
						t.Fatalf("settled up to %s at %s", floor(), time.Now())
					}
					before := floor()
					if again != "never" {
						code(t, m.Delete(w.ctx, ref, 0), "")
					}
					if again == "later" {
						time.Sleep(4 * time.Minute)
					}
					behind.apply(task("a", "*/20 * * * * *", interval))
					e, err := w.admin.Tasks().Get(w.ctx, "default", "a")
					if err != nil || e.Since.Before(e.CreatedAt) || e.Since.Before(before) || time.Since(e.Since) > 7*time.Minute {
						t.Fatalf("made %s, since %s, settled up to %s before: %v", e.CreatedAt, e.Since, before, err)
					}
					close(heard)
					time.Sleep(5 * time.Minute)
					recs, err := w.db.Settled(w.ctx, ref, e.Since, time.Now())
					if err != nil {
						t.Fatal(err)
					}
					timer, err := schedule.Parse("*/20 * * * * *", schedule.Options{})
					if err != nil {
						t.Fatal(err)
					}
					n := 0
					for i := timer.Next(e.Since); i.Before(time.Now().Add(-time.Minute)); i = timer.Next(i) {
						told := 0
						for k := range recs {
							if recs[k].Covers(i) {
								told++
							}
						}
						if n++; told != 1 {
							t.Errorf("instant %s is told %d times", i, told)
						}
					}
					if n < 12 {
						t.Errorf("%d instants", n)
					}
				})
			})
		}
	}
}
