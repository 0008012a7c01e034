package node

import (
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// The instants of a job that waits for what its task depends on are told as skipped, with what it waits for, by the node where each is
// the node's own; of interval and alone tasks the node claims none.
func TestInstantsThatWait(t *testing.T) { // ancestor 26
	t.Parallel()
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	for _, kind := range []job.KindName{"common", "interval"} {
		j, err := job.CreateJobFromTask(&job.Task{Name: "a", Command: job.Args("true"), Timer: "* * * * *", Kind: kind}, "n1", now)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Check(); err != nil {
			t.Fatal(err)
		}
		j.Waits = []string{"default/b on this node"}
		d := decide(j, now, now.Add(2*time.Minute))
		switch {
		case !d.cursor.Equal(now.Add(2 * time.Minute)):
			t.Errorf("%s: the cursor is at %s", kind, d.cursor)
		case kind == "interval" && len(d.verdicts) != 0:
			t.Errorf("it would claim: %+v", d.verdicts)
		case kind == "common" && (len(d.verdicts) != 1 || d.verdicts[0].outcome != job.Skipped || d.verdicts[0].count != 2 || d.verdicts[0].reason != "waits for default/b on this node"):
			t.Errorf("found %+v", d.verdicts)
		}
	}
}
