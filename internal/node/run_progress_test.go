package node

import (
	"context"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// What a run says of its progress is shown with its process, once a second at most and the latest in the end, and goes with it.
func TestProgressIsShownWithTheProcess(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		news := make(chan job.Progress, 1)
		say := func(p float64) {
			select {
			case <-news:
			default:
			}
			news <- job.Progress{Progress: p, Message: "m"}
		}
		a.runner.progress = news
		a.runner.behave = func(x *doubleExec) { x.takes(time.Hour) }
		run := w.ask(newJob(t, "a", ""), "one")
		w.until(time.Second)
		if p := processOf(w, run); p.Progress != nil {
			t.Errorf("nothing was said yet, and there is %+v", p.Progress)
		}
		say(0.25)
		w.until(2 * time.Second)
		if p := processOf(w, run); p.Progress == nil || p.Progress.Progress != 0.25 || p.Progress.Message != "m" {
			t.Errorf("found %+v", p.Progress)
		}
		for i := range 100 { // within a second
			say(0.3 + float64(i)/1000)
			w.until(2*time.Second + time.Duration(i)*time.Millisecond)
		}
		if p := processOf(w, run); p.Progress.Progress == 0.399 {
			t.Errorf("all of a hundred words in a tenth of a second were shown: %+v", p.Progress)
		}
		w.until(5 * time.Second)
		if p := processOf(w, run); p.Progress.Progress != 0.399 {
			t.Errorf("the latest is not shown: %+v", p.Progress)
		}
	})
}

func processOf(w *world, run job.RunID) *job.Process {
	w.Helper()
	list, _, err := w.admin.Processes().List(context.Background(), "n1")
	if err != nil {
		w.Fatal(err)
	}
	for _, p := range list {
		if p.Run == run {
			return p
		}
	}
	w.Fatalf("run %s has no process among %v", run, list)
	return nil
}
