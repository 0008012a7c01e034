package app

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// result runs a task to its end.
func result(t *testing.T, c *client.Client, task job.Task) *job.ExecutionRecord {
	t.Helper()
	if _, err := c.Apply(t.Context(), []job.Task{task}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	a, err := c.Run(t.Context(), client.RunRequest{Task: task.Ref()})
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.WaitRun(t.Context(), a.Runs[0].Run)
	if err != nil || v.Record == nil {
		t.Fatal(v, err)
	}
	return v.Record
}

// handled waits until all that follows from a record has happened.
func handled(t *testing.T, c *client.Client, id string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		rec, err := c.Record(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if rec.IsHandle {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("it is never handled")
		}
	}
}

// ancestor 61: a job's output set global configuration and started any task. A result in the words of the ancestor, and of Rota, does neither
// for a task that was granted nothing, whichever way it comes.
func TestAResultOfATaskThatWasGrantedNothingDoesNothing(t *testing.T) {
	t.Parallel()
	s, _ := boot(t, alone(t.TempDir()))
	c := clientOf(t, s)
	if _, err := c.Apply(t.Context(), []job.Task{{Name: "victim", Command: job.Line("echo started")}}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	evil := map[string]any{
		"config": map[string]string{"EVIL": "1"}, "global": map[string]string{"EVIL": "1"}, "next": []string{"victim"},
		"conditions": map[string]string{"Evil": "True"}, "exec_status": "Success",
		"inst": map[string]any{"type": "Evil", "next_tasks": []string{"victim"}, "next_groups": []string{"default"}},
	}
	text, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	print := job.Line("cat; cat <<'END' >&2\n" + string(text) + "\nEND")
	for _, task := range []job.Task{
		{Name: "file", Command: job.Line("cat >$ROTA_RESULT"), Stdin: string(text)},
		{Name: "stdout", Command: print, Stdin: string(text), ResultFrom: job.Stdout},
		{Name: "stderr", Command: print, Stdin: string(text), ResultFrom: job.Stderr},
	} {
		if rec := result(t, c, task); rec.Outcome != job.Success || len(rec.Result) == 0 {
			t.Errorf("%s: %+v", task.Name, rec)
		} else {
			handled(t, c, rec.ID)
		}
	}
	page, err := c.Records(t.Context(), job.RecordFilter{Task: "victim"})
	if err != nil || len(page.Records) != 0 {
		t.Errorf("it started a task: %v %v", page, err)
	}
	procs, err := c.Processes(t.Context(), client.JobFilter{Task: "victim"})
	if err != nil || len(procs) != 0 {
		t.Errorf("it started a task: %v %v", procs, err)
	}
	list, err := c.Config(t.Context(), "")
	if err != nil || len(list) != 0 {
		t.Errorf("it set configuration: %v %v", list, err)
	}
	n, err := c.Node(t.Context(), "n1")
	if err != nil || n.Conditions["Evil"] != "" {
		t.Errorf("it set a condition: %v %v", n, err)
	}
}

// ancestor 60: a script was downloaded and run. What a request answers is output, and what it names is not fetched; that nothing in Rota
// but the runner of commands and the tools of its command line can start a program is held by the table of imports.
func TestAnAnswerIsNeverExecuted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mark := filepath.Join(dir, "executed")
	asked := make(chan string, 16)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked <- q.URL.Path
		w.Header().Set("Content-Type", "application/x-sh")
		w.Header().Set("Content-Disposition", "attachment; filename=install.sh")
		w.Header().Set("Link", "</more.sh>; rel=preload")
		_, _ = w.Write([]byte("#!/bin/sh\ntouch " + mark + "\n"))
	}))
	defer web.Close()
	cfg := alone(t.TempDir())
	cfg.HTTPAllow = []string{"127.0.0.1"}
	s, _ := boot(t, cfg)
	rec := result(t, clientOf(t, s), job.Task{Name: "script", HTTP: &job.HTTP{URL: web.URL + "/install.sh"}})
	if rec.Outcome != job.Success {
		t.Errorf("%+v", rec)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the answer was executed")
	}
	if len(asked) != 1 || <-asked != "/install.sh" {
		t.Error("more was fetched")
	}
}
