package client

import (
	"context"

	"github.com/rota-dev/rota/job"
)

// ExecRequest asks for a run of a command that is no task, now. It runs on the nodes that are named or, where none is, on
// every node that is online, not cordoned, carries all the labels, and is selected by Where.
type ExecRequest struct {
	Command []string          `json:"command"`          // executed as it is: nothing in it is a value
	Nodes   []job.NodeID      `json:"nodes,omitempty"`  // by name
	Labels  map[string]string `json:"labels,omitempty"` // or by these
	Where   string            `json:"where,omitempty"`  // and by this selector, as a task's where: role in (db,cache), !edge
	User    string            `json:"user,omitempty"`   // empty: whom the agent runs as
	Dir     string            `json:"dir,omitempty"`    // empty: the user's home
	Env     map[string]string `json:"env,omitempty"`
	Stdin   string            `json:"stdin,omitempty"`
	Timeout job.Duration      `json:"timeout,omitempty"` // of each run; 0: none
	// Key makes the request idempotent: the same key asks for the same runs. Empty: a new request.
	Key string `json:"key,omitempty"`
	By  string `json:"-"` // who asks; the server sets it
}

// Exec asks for a run of a command now and returns the names of the runs, one for each node; it does not wait for them. Their
// records stand under exec/NAME, the name of whoever asked. With a Key it is safe to ask again.
func (c *Client) Exec(ctx context.Context, r ExecRequest) (*RunAnswer, error) {
	call, err := post(nil, "exec").json(r)
	if err != nil {
		return nil, err
	}
	call.again = r.Key != ""
	return one[RunAnswer](ctx, c, call)
}
