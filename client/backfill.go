package client

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/rota-dev/rota/job"
)

// BackfillRequest asks for the runs of the instants in [From, To).
type BackfillRequest struct {
	Task     job.TaskRef
	From, To time.Time
	Nodes    []job.NodeID // empty: every bound node of a common task, one node for each instant of the others
	Params   map[string]string
	Parallel int // at most so many at once; 0: 1
	// Key makes the request idempotent: the same key asks for each instant once. Empty: one made of the range and the rest of
	// the request.
	Key    string
	Force  bool   // also what has succeeded
	DryRun bool   // ask for nothing, but say what would be
	By     string // who asks; the server sets it
}

// BackfillAnswer says what a request came to.
type BackfillAnswer struct {
	// Backfill is what works the runs off; nil on a dry run, and where there is nothing to run.
	Backfill *BackfillView `json:"backfill,omitempty"`
	Created  bool          `json:"created"` // false: nothing was, or it was asked for before
	Runs     []BackfillRun `json:"runs"`    // in order
	Skipped  []BackfillRun `json:"skipped"` // those that need not run, with the reason
}

// BackfillRun is the run of an instant.
type BackfillRun struct {
	Run     job.RunID  `json:"run"`
	Instant time.Time  `json:"instant"`
	Node    job.NodeID `json:"node,omitempty"`   // empty: it is chosen when its turn comes
	Reason  string     `json:"reason,omitempty"` // why it does not run
}

// The states of a backfill.
const (
	BackfillActive    = "active"
	BackfillCancelled = "cancelled"
	BackfillFinished  = "finished"
)

// BackfillView is how far a backfill came.
type BackfillView struct {
	ID          string              `json:"id"`
	Task        job.TaskRef         `json:"task"`
	State       string              `json:"state"` // active, cancelled or finished
	From        time.Time           `json:"from"`
	To          time.Time           `json:"to"` // exclusive
	Nodes       []job.NodeID        `json:"nodes,omitempty"`
	Params      map[string]string   `json:"params,omitempty"`
	Parallel    int                 `json:"parallel"`
	Key         string              `json:"key"`
	Force       bool                `json:"force,omitempty"`
	Total       int                 `json:"total"`             // runs
	Ended       int                 `json:"ended"`             // whose records are in history
	Running     int                 `json:"running"`           // asked for: waiting on their node, alive, or with their record on the way
	Skipped     int                 `json:"skipped,omitempty"` // instants that needed no run
	Outcomes    map[job.Outcome]int `json:"outcomes,omitempty"`
	Next        time.Time           `json:"next,omitzero"`   // the first instant that is not asked for
	Waits       string              `json:"waits,omitempty"` // why it asks for nothing more now
	By          string              `json:"by,omitempty"`
	CreatedAt   time.Time           `json:"created_at"`
	CancelledAt time.Time           `json:"cancelled_at,omitzero"`
	CancelledBy string              `json:"cancelled_by,omitempty"`
	FinishedAt  time.Time           `json:"finished_at,omitzero"`
}

// Done tells whether nothing of the backfill is to run, or runs, any more.
func (v *BackfillView) Done() bool { return !v.FinishedAt.IsZero() }

// Backfill asks for the runs of the instants of a range. It may be sent twice.
func (c *Client) Backfill(ctx context.Context, r BackfillRequest) (*BackfillAnswer, error) {
	body := struct {
		From     time.Time         `json:"from"`
		To       time.Time         `json:"to"`
		Nodes    []job.NodeID      `json:"nodes,omitempty"`
		Params   map[string]string `json:"params,omitempty"`
		Parallel int               `json:"parallel,omitempty"`
		Key      string            `json:"key,omitempty"`
		Force    bool              `json:"force,omitempty"`
		DryRun   bool              `json:"dry_run,omitempty"`
	}{r.From, r.To, r.Nodes, r.Params, r.Parallel, r.Key, r.Force, r.DryRun}
	call, err := post(nil, "tasks", r.Task.Group, r.Task.Name, "backfill").json(body)
	if err != nil {
		return nil, err
	}
	call.again = true
	return one[BackfillAnswer](ctx, c, call)
}

// Backfills lists the backfills of a group, of a task's name, or all; newest first.
func (c *Client) Backfills(ctx context.Context, group, task string) ([]BackfillView, error) {
	var out []BackfillView
	return out, c.do(ctx, get(&out, "backfills").set("group", group).set("task", task))
}

// BackfillState tells how far a backfill came.
func (c *Client) BackfillState(ctx context.Context, id string) (*BackfillView, error) {
	return one[BackfillView](ctx, c, get(nil, "backfills", id))
}

// CancelBackfill ends a backfill: no more runs are asked for, and those that have not started won't. With kill, those
// that are alive are ended too. One that has finished is forgotten.
func (c *Client) CancelBackfill(ctx context.Context, id string, kill bool) (*BackfillView, error) {
	r := &call{method: http.MethodDelete, path: []string{"backfills", id}, query: map[string][]string{}}
	if kill {
		r.set("kill", strconv.FormatBool(true))
	}
	return one[BackfillView](ctx, c, r)
}
