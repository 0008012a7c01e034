package api_test

import (
	"strings"
	"testing"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// Groups and executions over the wire, as the client asks for them.
func TestGroupsOverTheWire(t *testing.T) {
	t.Parallel()
	f := serve(t)
	c, ctx := f.client(), t.Context()
	if _, err := c.ApplyFile(ctx, "g.yaml", []byte("groups:\n  - {name: g, description: d}\ntasks:\n  - {name: a, group: g, command: 'true'}\n"), client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	all, err := c.Groups(ctx)
	if err != nil || len(all) != 1 || all[0].Name != "g" || all[0].Tasks != 1 || all[0].Document.Document.Description != "d" {
		t.Errorf("groups %+v, %v", all, err)
	}
	v, err := c.RunGroup(ctx, client.GroupRequest{Group: "g", Params: map[string]string{"A": "1"}, Key: "k"})
	if err != nil || v.Group != "g" || v.Params["A"] != "1" || v.By == "" || v.Ended() {
		t.Fatalf("run: %+v, %v", v, err)
	}
	if again, err := c.RunGroup(ctx, client.GroupRequest{Group: "g", Key: "k"}); err != nil || again.ID != v.ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	if list, err := c.Executions(ctx, client.ExecutionFilter{Group: "g", Status: job.ExecutionRunning, Limit: 5}); err != nil || len(list) != 1 {
		t.Errorf("listed %+v, %v", list, err)
	}
	if _, err := c.RetryExecution(ctx, v.ID); !job.IsConflict(err) {
		t.Errorf("retried while it runs: %v", err)
	}
	if now, err := c.CancelExecution(ctx, v.ID); err != nil || now.Status != job.ExecutionCancelled {
		t.Errorf("cancelled: %+v, %v", now, err)
	}
	if ended, err := c.WaitExecution(ctx, v.ID, nil); err != nil || !ended.Ended() {
		t.Errorf("waited: %+v, %v", ended, err)
	}
	if retry, err := c.RetryExecution(ctx, v.ID); err != nil || retry.RetryOf != v.ID {
		t.Errorf("retried: %+v, %v", retry, err)
	}
	for _, do := range []func() error{
		func() error { return c.PauseGroup(ctx, "g") }, func() error { return c.ResumeGroup(ctx, "g") }, func() error { return c.DeleteGroup(ctx, "g", true) },
	} {
		if err := do(); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Group(ctx, "g"); !job.IsNotFound(err) {
		t.Errorf("a group that was deleted with its tasks: %v", err)
	}
	for what, err := range map[string]error{
		"a group that there is not": errOf(c.RunGroup(ctx, client.GroupRequest{Group: "none"})),
		"an execution":              errOf(c.Execution(ctx, "ex-none")),
	} {
		if !job.IsNotFound(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.Executions(ctx, client.ExecutionFilter{Status: "run"}); err == nil || !strings.Contains(err.Error(), `did you mean running`) && !strings.Contains(err.Error(), "running") {
		t.Errorf("a status that there is not: %v", err)
	}
	if _, err := c.RunGroup(ctx, client.GroupRequest{Group: "g", Params: map[string]string{"A": strings.Repeat("x", 40<<10)}}); job.CodeOf(err) != job.CodeInvalid {
		t.Errorf("parameters that are too long: %v", err)
	}
}

func errOf[T any](_ T, err error) error { return err }
