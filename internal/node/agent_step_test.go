package node

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// The runs of a step wait for their turn, whatever the task's overlap: as many at once as the step says, where it fans out. They see what
// their execution hands to them.
func TestStepsOnANode(t *testing.T) {
	for _, c := range []struct{ parallel, most int }{{0, 1}, {3, 3}} {
		t.Run(fmt.Sprint("parallel ", c.parallel), func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.prepare("n1", "")
				a.runner.behave = func(x *doubleExec) { x.takes(10 * time.Second) }
				a.run()
				j := newJob(t, "a", "0 0 1 1 *", overlap(job.OverlapSkip))
				w.put(j)
				w.until(time.Second)
				for i := range 6 {
					step := j.Clone()
					step.Parallel, step.Command, step.Argv = c.parallel, "echo {{ item.n }} {{ steps.x.outcome }}", nil
					w.do(store.CreateDispatch(&job.Dispatch{
						Run: job.RunID(fmt.Sprint("r", i)), Node: "n1", Job: step, Trigger: job.TriggerGroup, Execution: "ex-1",
						Data:        map[string]json.RawMessage{"item.n": json.RawMessage(fmt.Sprint(i)), "steps.x.outcome": json.RawMessage(`"success"`)},
						RequestedAt: at(time.Second), NotAfter: at(time.Hour),
					}))
				}
				w.until(5 * time.Minute)
				all := a.runner.started()
				if len(all) != 6 {
					t.Fatalf("%d runs started", len(all))
				}
				if most := mostAlive(all); most != c.most {
					t.Errorf("%d were alive at a time, want %d", most, c.most)
				}
				for i, x := range all {
					if !slices.Contains(x.Env, "ROTA_EXECUTION=ex-1") || len(x.Argv) != 3 {
						t.Errorf("run %d was given %v, %v", i, x.Argv, x.Env)
					}
				}
				if got := all[0].Argv[2]; got != "echo '0' 'success'" {
					t.Errorf("the first ran %q", got)
				}
				for _, rec := range w.records() {
					if rec.Outcome != job.Success || rec.Execution != "ex-1" {
						t.Errorf("the record %s", rec)
					}
				}
			})
		})
	}
}
