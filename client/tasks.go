package client

import (
	"context"
	"net/http"
	"strconv"

	"github.com/rota-dev/rota/job"
)

// Apply is [Client.ApplyDocuments] of tasks alone.
func (c *Client) Apply(ctx context.Context, tasks []job.Task, o ApplyOptions) ([]Applied, error) {
	return c.ApplyDocuments(ctx, job.Documents{Tasks: tasks}, o)
}

// ApplyDocuments creates or changes tasks, and what they use, and tells of each what became of it. Nothing is written unless all are
// valid.
func (c *Client) ApplyDocuments(ctx context.Context, docs job.Documents, o ApplyOptions) ([]Applied, error) {
	if docs.Tasks == nil {
		docs.Tasks = []job.Task{}
	}
	var out []Applied
	r, err := post(&out, "apply").json(docs)
	if err != nil {
		return nil, err
	}
	return out, c.apply(ctx, r, o)
}

// ApplyFile applies the text of a task file, YAML or JSON. Errors name the file, the line and the column.
func (c *Client) ApplyFile(ctx context.Context, file string, text []byte, o ApplyOptions) ([]Applied, error) {
	var out []Applied
	r := post(&out, "apply").set("file", file)
	r.body, r.kind = text, "application/yaml"
	return out, c.apply(ctx, r, o)
}

func (c *Client) apply(ctx context.Context, r *call, o ApplyOptions) error {
	if o.DryRun {
		r.set("dry_run", "true")
	}
	for _, g := range o.Prune {
		r.set("prune", g)
	}
	r.again = true // what was applied is unchanged the second time
	return c.do(ctx, r)
}

// Tasks lists the tasks of a group, or of all where it is empty, with a name, or with any.
func (c *Client) Tasks(ctx context.Context, group, name string) ([]TaskView, error) {
	var out []TaskView
	return out, c.do(ctx, get(&out, "tasks").set("group", group).set("name", name))
}

// Task reads one task, with its placing and its statistics.
func (c *Client) Task(ctx context.Context, ref job.TaskRef) (*TaskView, error) {
	return one[TaskView](ctx, c, get(nil, "tasks", ref.Group, ref.Name))
}

// PutTask writes one task if its revision is still rev; 0: if there is none yet; negative: in any case. Another
// revision is a conflict.
func (c *Client) PutTask(ctx context.Context, t job.Task, rev int64) (*Applied, error) {
	ref := t.Ref()
	r, err := put(rev, t, "tasks", ref.Group, ref.Name)
	if err != nil {
		return nil, err
	}
	return one[Applied](ctx, c, r)
}

// DeleteTask deletes a task if its revision is still rev; 0: in any case. One that others depend on is a conflict, unless
// it is forced: then they wait for a task of that name.
func (c *Client) DeleteTask(ctx context.Context, ref job.TaskRef, rev int64, force bool) error {
	r := &call{method: http.MethodDelete, path: []string{"tasks", ref.Group, ref.Name}, header: http.Header{}}
	if force {
		r = r.set("force", "true")
	}
	if rev > 0 {
		r.header.Set("If-Match", etag(rev))
	}
	return c.do(ctx, r)
}

// Pause keeps a task from being fired.
func (c *Client) Pause(ctx context.Context, ref job.TaskRef) (*job.TaskEntry, error) {
	return one[job.TaskEntry](ctx, c, post(nil, "tasks", ref.Group, ref.Name, "pause"))
}

// Resume undoes a pause.
func (c *Client) Resume(ctx context.Context, ref job.TaskRef) (*job.TaskEntry, error) {
	return one[job.TaskEntry](ctx, c, post(nil, "tasks", ref.Group, ref.Name, "resume"))
}

// Jobs lists jobs: tasks bound to nodes.
func (c *Client) Jobs(ctx context.Context, f JobFilter) ([]*job.Job, error) {
	var out []*job.Job
	return out, c.do(ctx, f.add(get(&out, "jobs")))
}

// Processes lists the runs that are alive.
func (c *Client) Processes(ctx context.Context, f JobFilter) ([]*job.Process, error) {
	var out []*job.Process
	return out, c.do(ctx, f.add(get(&out, "processes")))
}

func (f JobFilter) add(r *call) *call {
	return r.set("group", f.Group).set("task", f.Task).set("node", string(f.Node))
}

// Groups lists the groups: those that have tasks, and those of which something is said.
func (c *Client) Groups(ctx context.Context) ([]GroupView, error) {
	var out []GroupView
	return out, c.do(ctx, get(&out, "groups"))
}

// Next lists the firings to come, soonest first: of one task, of a group, or of all.
func (c *Client) Next(ctx context.Context, group, name string, limit int) ([]Upcoming, error) {
	var out []Upcoming
	r := get(&out, "next").set("group", group).set("task", name)
	return out, c.do(ctx, r.set("limit", number(limit)))
}

// one makes a call whose answer is a T.
func one[T any](ctx context.Context, c *Client, r *call) (*T, error) {
	out := new(T)
	r.out = out
	if err := c.do(ctx, r); err != nil {
		return nil, err
	}
	return out, nil
}

func etag(rev int64) string { return `"` + strconv.FormatInt(rev, 10) + `"` }

// number writes a number, 0 as what is left out.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
