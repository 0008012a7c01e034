package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/rota-dev/rota/job"
)

// GroupRequest asks for an execution of a group.
type GroupRequest struct {
	Group  string
	Params map[string]string
	// Key makes the request idempotent: the same key asks for the same execution. Empty: a new request.
	Key string
	By  string // who asks; the server sets it
}

// ExecutionView is where an execution of a group stands.
type ExecutionView struct {
	ID          string              `json:"id"`
	Group       string              `json:"group"`
	Status      job.ExecutionStatus `json:"status"`
	Reason      string              `json:"reason,omitempty"`
	Trigger     job.Trigger         `json:"trigger"`
	Cause       string              `json:"cause,omitempty"`
	By          string              `json:"by,omitempty"`
	RetryOf     string              `json:"retry_of,omitempty"`
	Instant     time.Time           `json:"instant,omitzero"`
	Until       time.Time           `json:"until,omitzero"`  // the last instant of several that share this row
	Count       int                 `json:"count,omitempty"` // how many they are; 0 means 1
	Params      map[string]string   `json:"params,omitempty"`
	CreatedAt   time.Time           `json:"created_at,omitzero"`
	BeganAt     time.Time           `json:"began_at,omitzero"`
	EndedAt     time.Time           `json:"ended_at,omitzero"`
	Duration    time.Duration       `json:"duration_ns"` // so far, of one that has not ended
	Done        int                 `json:"done"`        // steps that have ended
	Steps       []StepView          `json:"steps"`
	CancelledBy string              `json:"cancelled_by,omitempty"`
}

// Ended tells whether nothing of the execution is to run, or runs, any more.
func (v *ExecutionView) Ended() bool { return !v.EndedAt.IsZero() }

// StepView is where a step of an execution stands.
type StepView struct {
	Name       string        `json:"name"`
	Kind       job.KindName  `json:"kind"`
	State      job.StepState `json:"state"`
	Reason     string        `json:"reason,omitempty"`
	Notes      []string      `json:"notes,omitempty"`
	Depends    []string      `json:"depends,omitempty"`
	Generation int64         `json:"generation,omitempty"` // of the task, as it was when the execution began
	BeganAt    time.Time     `json:"began_at,omitzero"`
	EndedAt    time.Time     `json:"ended_at,omitzero"`
	Duration   time.Duration `json:"duration_ns"`
	Total      int           `json:"total"` // runs
	Success    int           `json:"success"`
	Bad        int           `json:"bad"`
	Running    int           `json:"running"` // asked for: waiting on their node, alive, or with their record on the way
	// Runs are in the answer about one execution alone.
	Runs []StepRun `json:"runs,omitempty"`
}

// StepRun is a run of a step: its record has the same id.
type StepRun struct {
	Run     job.RunID       `json:"run"`
	State   string          `json:"state"`          // RunOpen, RunAsked, or an outcome
	From    string          `json:"from,omitempty"` // the earlier execution in which it ran, where a retry took it over
	Node    job.NodeID      `json:"node,omitempty"` // of a common task; of the others the record has it
	Item    json.RawMessage `json:"item,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Retries int             `json:"retries,omitempty"` // how often it was lost and begun anew
}

// The states of a step's runs that have not ended.
const (
	RunOpen  = "open"  // not asked for
	RunAsked = "asked" // waiting on its node, alive, or with its record on the way
)

// GroupView is a group of tasks, counted, with what is said of it.
type GroupView struct {
	Group
	Document *job.Entry[job.Group] `json:"document,omitempty"` // nil: nothing is said of it
	Timer    *job.GroupState       `json:"state,omitempty"`    // how far its timer came
	Next     []time.Time           `json:"next,omitempty"`     // of its timer
	Active   int                   `json:"active"`             // executions under way
	Last     *ExecutionView        `json:"last,omitempty"`     // the latest that has ended; in the answer about one group alone
}

// RunGroup asks for an execution of a group: its tasks in their order.
func (c *Client) RunGroup(ctx context.Context, r GroupRequest) (*ExecutionView, error) {
	call, err := post(nil, "groups", r.Group, "run").json(struct {
		Params map[string]string `json:"params,omitempty"`
		Key    string            `json:"key,omitempty"`
	}{r.Params, r.Key})
	if err != nil {
		return nil, err
	}
	call.again = r.Key != ""
	return one[ExecutionView](ctx, c, call)
}

// Group reads a group of tasks.
func (c *Client) Group(ctx context.Context, name string) (*GroupView, error) {
	return one[GroupView](ctx, c, get(nil, "groups", name))
}

// DeleteGroup deletes what is said of a group, and its timer; with tasks also its tasks. What of it is under way goes on.
func (c *Client) DeleteGroup(ctx context.Context, name string, tasks bool) error {
	r := &call{method: http.MethodDelete, path: []string{"groups", name}, query: map[string][]string{}}
	if tasks {
		r.set("tasks", strconv.FormatBool(true))
	}
	return c.do(ctx, r)
}

// PauseGroup stops a group's timer.
func (c *Client) PauseGroup(ctx context.Context, name string) error {
	return c.do(ctx, post(nil, "groups", name, "pause"))
}

// ResumeGroup undoes a pause.
func (c *Client) ResumeGroup(ctx context.Context, name string) error {
	return c.do(ctx, post(nil, "groups", name, "resume"))
}

// ExecutionFilter selects executions. Zero fields select everything.
type ExecutionFilter struct {
	Group  string
	Status job.ExecutionStatus
	Since  time.Time // of the end; of those that have not ended: all
	Limit  int       // at most; 0: 100
}

// Executions lists executions of groups: those under way, then those that have ended, newest first.
func (c *Client) Executions(ctx context.Context, f ExecutionFilter) ([]ExecutionView, error) {
	var out []ExecutionView
	r := get(&out, "executions").set("group", f.Group).set("status", string(f.Status))
	if !f.Since.IsZero() {
		r.set("since", f.Since.UTC().Format(time.RFC3339Nano))
	}
	if f.Limit > 0 {
		r.set("limit", strconv.Itoa(f.Limit))
	}
	return out, c.do(ctx, r)
}

// Execution tells where an execution stands, with its runs.
func (c *Client) Execution(ctx context.Context, id string) (*ExecutionView, error) {
	return one[ExecutionView](ctx, c, get(nil, "executions", id))
}

// CancelExecution ends an execution: nothing more of it begins, and what runs is ended.
func (c *Client) CancelExecution(ctx context.Context, id string) (*ExecutionView, error) {
	return one[ExecutionView](ctx, c, post(nil, "executions", id, "cancel"))
}

// RetryExecution begins a new execution that takes over what succeeded and goes on from there. Retrying the same one twice is
// retrying it once, unless that retry has ended.
func (c *Client) RetryExecution(ctx context.Context, id string) (*ExecutionView, error) {
	r := post(nil, "executions", id, "retry")
	r.again = true
	return one[ExecutionView](ctx, c, r)
}

// WaitExecution waits for the end of an execution. told is called each time when something has changed.
func (c *Client) WaitExecution(ctx context.Context, id string, told func(*ExecutionView)) (*ExecutionView, error) {
	for {
		v, err := c.Execution(ctx, id)
		if err != nil && job.CodeOf(err) != job.CodeUnavailable || ctx.Err() != nil {
			return nil, cmpErr(ctx.Err(), err)
		}
		if err == nil {
			if told != nil {
				told(v)
			}
			if v.Ended() {
				return v, nil
			}
		}
		t := time.NewTimer(executionPoll)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

// executionPoll is how often an execution that is waited for is looked at.
const executionPoll = 300 * time.Millisecond

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
