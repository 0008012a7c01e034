package master

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

// What the results of a task are refused time and again is logged once: each record says it.
func TestRefusedResultsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	m := New(Options{ID: "m1", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	of := func(name, why string) {
		m.tellRefused(&job.ExecutionRecord{ID: "r", Group: "g", Name: name, TaskID: "g/" + name, Result: []byte("{}")}, why)
	}
	for i, step := range []struct {
		task, why string
		logged    bool
	}{
		{"a", "x", true}, {"a", "x", false}, {"b", "x", true}, {"a", "x", false}, {"a", "y", true}, {"a", "x", true}, {"a", "", false}, {"a", "x", true}, {"b", "x", false},
	} {
		log.Reset()
		of(step.task, step.why)
		if got := strings.Contains(log.String(), "refused="+step.why) && strings.Contains(log.String(), "task=g/"+step.task); got != step.logged {
			t.Errorf("step %d: logged %v: %s", i, got, log.String())
		}
	}
}
