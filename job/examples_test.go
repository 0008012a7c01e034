package job_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// The examples are read, can fire, and do what they should on this machine.
func TestExamples(t *testing.T) {
	t.Parallel()
	docs, err := job.ReadFiles([]string{"../examples"})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	kinds := map[job.KindName]bool{}
	for _, task := range docs.Tasks {
		names[task.Name], kinds[task.Kind] = true, true
		t.Run(task.Name, func(t *testing.T) {
			t.Parallel()
			runExample(t, task)
		})
	}
	for _, n := range []string{"heartbeat", "disk-space", "log-rotation", "certificate-expiry", "database-dump", "clean-up"} {
		if !names[n] {
			t.Errorf("there is no example %s", n)
		}
	}
	if !kinds["interval"] || !kinds["alone"] {
		t.Error("there is no example of interval or alone")
	}
}

func runExample(t *testing.T, task job.Task) {
	now := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	if err := task.NeverFires(now); err != nil {
		t.Error(err)
	}
	node := &job.Node{ID: "node1"}
	j, err := job.CreateJobFromTask(&task, node.ID, now)
	if err != nil {
		t.Fatal(err)
	}
	filled, err := j.Fill(job.Scope{Node: node, Instant: now, Run: "run1"})
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	for range 3 { // what they leave behind must not trouble the next run
		cmd := exec.CommandContext(t.Context(), filled.Argv[0], filled.Argv[1:]...)
		cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "TMPDIR=" + temp}, filled.Env...)
		if task.Name == "disk-space" {
			cmd.Env = append(cmd.Env, "LIMIT=100") // how full this machine is says nothing of the example
		}
		cmd.Dir = "/"
		cmd.WaitDelay = time.Second
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if len(out) == 0 && task.Name != "log-rotation" {
			t.Error("it says nothing")
		}
	}
	if task.Name == "log-rotation" {
		rotated, _ := filepath.Glob(temp + "/rota-examples/logs/demo.log.*.gz")
		if len(rotated) == 0 {
			t.Error("nothing was rotated")
		}
	}
	if task.Name == "clean-up" {
		left, _ := os.ReadDir(temp + "/rota-examples/cache")
		if len(left) != 1 || left[0].Name() != "new" {
			t.Errorf("left: %v", left)
		}
	}
}
