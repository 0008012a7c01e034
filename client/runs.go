package client

import (
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"time"

	"github.com/rota-dev/rota/job"
)

// Run asks for a run of a task now and returns the names of the runs; it does not wait for them. With a
// Key it is safe to ask again; where the client knows several servers it makes one itself.
func (c *Client) Run(ctx context.Context, r RunRequest) (*RunAnswer, error) {
	if r.Key == "" && len(c.servers) > 1 { // one may die while it is asked, and then another one is
		r.Key = "client-" + rand.Text()
	}
	body := struct {
		Nodes  []job.NodeID      `json:"nodes,omitempty"`
		Params map[string]string `json:"params,omitempty"`
		Key    string            `json:"key,omitempty"`
		Force  bool              `json:"force,omitempty"`
	}{r.Nodes, r.Params, r.Key, r.Force}
	call, err := post(nil, "tasks", r.Task.Group, r.Task.Name, "run").json(body)
	if err != nil {
		return nil, err
	}
	call.again = r.Key != ""
	return one[RunAnswer](ctx, c, call)
}

// RunList asks for runs of a task now, one for each set of values, and returns their names in the same order; it does not wait for them. They wait for
// each other on each node, whatever the task's overlap says. All are judged before any is asked for. Where every one has a
// key it is safe to ask again; where the client knows several servers it makes the keys itself.
func (c *Client) RunList(ctx context.Context, r RunListRequest) (*RunListAnswer, error) {
	body := struct {
		Nodes    []job.NodeID `json:"nodes,omitempty"`
		Each     []ListedRun  `json:"each"`
		Parallel int          `json:"parallel,omitempty"`
	}{r.Nodes, slices.Clone(r.Each), r.Parallel}
	again, key := true, "client-"+rand.Text()
	for i := range body.Each {
		if body.Each[i].Key == "" && len(c.servers) > 1 {
			body.Each[i].Key = key + "/" + strconv.Itoa(i)
		}
		again = again && body.Each[i].Key != ""
	}
	call, err := post(nil, "tasks", r.Task.Group, r.Task.Name, "runs").json(body)
	if err != nil {
		return nil, err
	}
	call.again = again
	return one[RunListAnswer](ctx, c, call)
}

// RunState tells where a run stands.
func (c *Client) RunState(ctx context.Context, id job.RunID) (*RunView, error) {
	return one[RunView](ctx, c, get(nil, "runs", string(id)))
}

// Runs lists the runs that have not ended: those that wait for what their task depends on, those that were asked for, and
// those that are alive; the oldest first.
func (c *Client) Runs(ctx context.Context, f JobFilter) ([]RunView, error) {
	var out []RunView
	return out, c.do(ctx, f.add(get(&out, "runs")))
}

// poll is how long one request waits for the end of a run.
const poll = 30 * time.Second

// WaitRun waits until the run has ended, or the context. A server that goes away meanwhile is waited for; other
// errors end it.
func (c *Client) WaitRun(ctx context.Context, id job.RunID) (*RunView, error) {
	for try := 0; ; {
		v, err := one[RunView](ctx, c, get(nil, "runs", string(id)).set("wait", poll.String()))
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil && v.Ended():
			return v, nil
		case err == nil:
			try = 0
		case job.CodeOf(err) != job.CodeUnavailable:
			return nil, err
		default:
			pause(ctx, try)
			try++
		}
	}
}

// Kill asks for the end of a run; the run's record will say that it was killed.
func (c *Client) Kill(ctx context.Context, id job.RunID) error {
	return c.do(ctx, post(nil, "runs", string(id), "kill"))
}
