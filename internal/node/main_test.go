package node

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rota-dev/rota/job"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(spoolChildEnv); dir != "" {
		spoolChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// newJob makes a job as a node reads it: a cycle job of the task default/name on node n1.
func newJob(t testing.TB, name, timer string, change ...func(*job.Job)) *job.Job {
	t.Helper()
	j := &job.Job{
		Name: name, Group: "default", NodeID: "n1", Command: "true", Envs: []string{},
		Rules: &job.Rule{Mode: job.Cycle, Timer: timer, Seed: name}, Since: epoch,
	}
	if timer == "" {
		j.Rules = nil
	}
	for _, f := range change {
		f(j)
	}
	if err := j.Check(); err != nil {
		t.Fatal(err)
	}
	return j
}

// epoch is when synctest's clock begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return epoch.Add(d) }

func kind(k job.Kind) func(*job.Job)       { return func(j *job.Job) { j.Kind = k } }
func overlap(o job.Overlap) func(*job.Job) { return func(j *job.Job) { j.Overlap = o } }
func catchup(c job.Catchup) func(*job.Job) { return func(j *job.Job) { j.Catchup = c } }
func on(n job.NodeID) func(*job.Job)       { return func(j *job.Job) { j.NodeID = n } }
