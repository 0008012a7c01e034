package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// TestWhy asks a whole program what became of instants, in each way in which they may stand.
func TestWhy(t *testing.T) {
	t.Parallel()
	_, cl, rota := whole(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tasks := []job.Task{
		{Name: "ran", Command: job.Args("/bin/true"), Timer: "* * * * * *", Kind: "interval"},
		{Name: "failed", Command: job.Line("exit 3"), Timer: "* * * * * *", Retry: job.Retry{Count: 1}},
		{Name: "runs", Command: job.Args("/bin/sleep", "600"), Timer: "* * * * * *"},
		{Name: "nowhere", Command: job.Args("/bin/true"), Timer: "* * * * * *", Kind: "interval", Labels: map[string]string{"role": "db"}},
		{Name: "nowhere2", Command: job.Args("/bin/true"), Timer: "* * * * * *", Labels: map[string]string{"role": "db"}},
		{Name: "asked", Command: job.Args("/bin/true")},
	}
	if _, err := cl.Apply(ctx, tasks, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	// until asks again until an answer is as it should be.
	until := func(name string, ok func(w *client.Why) bool) *client.Why {
		t.Helper()
		look := time.NewTicker(50 * time.Millisecond)
		defer look.Stop()
		for {
			w, err := cl.Why(ctx, job.Ref("", name), time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if ok(w) {
				return w
			}
			select {
			case <-look.C:
			case <-ctx.Done():
				t.Fatalf("%s: %+v", name, w)
			}
		}
	}
	state := func(want string) func(*client.Why) bool {
		return func(w *client.Why) bool { return len(w.Answers) == 1 && w.Answers[0].State == want }
	}

	w := until("ran", state("success"))
	if a := w.Answers[0]; a.Record == nil || !a.Record.Instant.Equal(w.Instant) || a.Node != "n1" || len(w.Candidates) != 1 || !w.Candidates[0].Online {
		t.Errorf("%+v", w)
	}
	if !w.Next.After(w.At) || w.Next.Sub(w.Instant) > 2*time.Second {
		t.Errorf("next %s", w.Next)
	}
	if w = until("failed", state("failed")); len(w.Answers[0].Record.Attempts) != 1 || !strings.Contains(w.Answers[0].Reason, "3") {
		t.Errorf("%+v", w.Answers[0])
	}
	var alive *job.Process
	until("runs", func(*client.Why) bool {
		list, err := cl.Processes(ctx, client.JobFilter{Task: "runs"})
		if err == nil && len(list) > 0 {
			alive = list[0]
		}
		return alive != nil
	})
	if w, err := cl.Why(ctx, job.Ref("", "runs"), alive.Instant); err != nil || !w.Exact || !state(client.WhyRunning)(w) || w.Answers[0].Since.IsZero() {
		t.Errorf("%+v %v", w, err)
	}
	until("runs", state("skipped")) // those after it
	for _, name := range []string{"nowhere", "nowhere2"} {
		w = until(name, func(w *client.Why) bool { return !w.Instant.IsZero() && state(client.WhyUnbound)(w) })
		if len(w.Elsewhere) != 1 || !strings.Contains(w.Elsewhere[0].Reason, "role=db") {
			t.Errorf("%+v", w.Elsewhere)
		}
	}
	if _, err := cl.Pause(ctx, job.Ref("", "ran")); err != nil {
		t.Fatal(err)
	}
	until("ran", state(client.WhyPaused))

	for args, want := range map[string][]string{
		"why ran":                      {"is paused", "paused"},
		"why nowhere":                  {"no node is bound", "Not on n1: the task wants label role=db."},
		"why asked":                    {"has no timer"},
		"why failed 2020-01-01T00:00Z": {"is not a time"},
		"why failed 2020-01-01":        {"did not exist then"},
		"why failed":                   {"On n1:"},
	} {
		out, _ := rota(strings.Fields(args)...)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("rota %s: %s, want %q", args, out, w)
			}
		}
	}
}
