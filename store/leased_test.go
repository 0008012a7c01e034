package store

import (
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// What a session says of itself stands under its lease: it is there for others, can be said again, and goes with the session.
func TestWhatASessionSays(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		ss := join(t, fx.client(), presence("n1", "s1"), 10*time.Second)
		for i := range 2 {
			if err := ss.PutClock(ctx, day.Add(time.Duration(i)*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		if c := must(s.Clocks().Get(ctx, "n1")); c.Session != "s1" || !c.At.Equal(day.Add(time.Second)) {
			t.Errorf("%+v", c)
		}
		must(s.Do(ctx, PutClock(&job.ClockSample{Session: "m1", At: day})))
		if c := must(s.Clocks().Get(ctx, "")); c.Session != "m1" {
			t.Errorf("the leader's: %+v", c)
		}
		for _, run := range []job.RunID{"r1", "r2"} {
			if err := ss.Replace(ctx, job.Replacement{Run: run, Task: job.Ref("", "a"), Holder: job.Lock{Task: job.Ref("", "a"), Run: "h", Node: "n2", Due: day}}); err != nil {
				t.Fatal(err)
			}
		}
		if r := must(s.Replacements().Get(ctx, "n1", "r1")); r.Node != "n1" || r.Holder.Run != "h" || !r.Holder.Due.Equal(day) {
			t.Errorf("%+v", r)
		}
		for range 2 {
			if err := ss.Replaced(ctx, "r1"); err != nil {
				t.Fatal(err)
			}
		}
		if n := must(s.Replacements().Count(ctx, "n1")); n != 1 {
			t.Errorf("%d replacements", n)
		}
		if err := ss.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if n, c := must(s.Replacements().Count(ctx)), must(s.Clocks().Count(ctx)); n != 0 || c != 1 {
			t.Errorf("%d replacements and %d clocks are left", n, c)
		}
	})
}
