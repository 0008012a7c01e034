package node

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// While many executions are about to begin, records wait in the spool, but not for long; they go at once when the crowd has passed.
func TestWhatIsDueComesBeforeWhatIsTold(t *testing.T) {
	for _, c := range []struct {
		name        string
		many        int
		waits       time.Duration // until they have begun
		early, late time.Duration // the record has not, and has, been handed over
	}{
		{"nobody waits", 0, 0, 150 * time.Millisecond, 300 * time.Millisecond},
		{"a few wait", 2 * runtime.NumCPU(), 5 * time.Second, 150 * time.Millisecond, 300 * time.Millisecond},
		{"a crowd that passes", 9 * runtime.NumCPU(), 500 * time.Millisecond, 400 * time.Millisecond, 600 * time.Millisecond},
		{"a crowd that stays", 9 * runtime.NumCPU(), 5 * time.Second, 1100 * time.Millisecond, 1400 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.prepare("n1", "")
				a.runner.refuse = func(e job.Exec) error {
					if slices.Contains(e.Env, "CROWD=1") {
						time.Sleep(c.waits)
					}
					return nil
				}
				a.runner.behave = func(x *doubleExec) {
					if slices.Contains(x.Env, "SLOW=1") {
						x.takes(200 * time.Millisecond)
					}
				}
				a.run()
				env := func(name string) func(*job.Job) { return func(j *job.Job) { j.Envs = []string{name + "=1"} } }
				for i := range c.many {
					w.put(newJob(t, fmt.Sprint("crowd", i), "10 * * * * *", env("CROWD")))
				}
				w.put(newJob(t, "slow", "10 * * * * *", env("SLOW")))
				slow := func() bool {
					for _, r := range w.records() {
						if r.Ref().Name == "slow" {
							return true
						}
					}
					return false
				}
				w.until(10*time.Second + c.early)
				if slow() {
					t.Errorf("the record is handed over %s after the instant", c.early)
				}
				w.until(10*time.Second + c.late)
				if !slow() {
					t.Errorf("the record is not handed over %s after the instant", c.late)
				}
				w.until(20 * time.Second)
				if n := len(w.records()); n != c.many+1 {
					t.Errorf("%d records", n)
				}
			})
		})
	}
}
