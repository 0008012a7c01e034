package client

import (
	"context"
	"net/http"

	"github.com/rota-dev/rota/job"
)

// documents lists one sort of documents that have names of their own, such as templates.
func documents[T any](ctx context.Context, c *Client, sorts string) ([]job.Entry[T], error) {
	var out []job.Entry[T]
	return out, c.do(ctx, get(&out, sorts))
}

// put is a call that writes a document if its revision is still rev; 0: if there is none yet; negative: in any case.
func put(rev int64, doc any, path ...string) (*call, error) {
	r, err := (&call{method: http.MethodPut, path: path, query: map[string][]string{}, header: http.Header{}}).json(doc)
	switch {
	case err != nil:
		return nil, err
	case rev > 0:
		r.header.Set("If-Match", etag(rev))
	case rev == 0:
		r.header.Set("If-None-Match", "*")
	}
	return r, nil
}

// putDocument writes a document of a sort.
func putDocument(ctx context.Context, c *Client, sorts, name string, doc any, rev int64) (*Applied, error) {
	r, err := put(rev, doc, sorts, name)
	if err != nil {
		return nil, err
	}
	return one[Applied](ctx, c, r)
}

// PutTemplate writes one template if its revision is still rev; 0: if there is none yet; negative: in any case. Another revision is a
// conflict. The tasks that name it follow it.
func (c *Client) PutTemplate(ctx context.Context, t job.Template, rev int64) (*Applied, error) {
	return putDocument(ctx, c, "templates", t.Name, t, rev)
}

// PutReceiver writes one receiver, as [Client.PutTemplate] writes a template.
func (c *Client) PutReceiver(ctx context.Context, r job.Receiver, rev int64) (*Applied, error) {
	return putDocument(ctx, c, "receivers", r.Name, r, rev)
}

// PutMonitor writes one monitor, as [Client.PutTemplate] writes a template. Its key stays.
func (c *Client) PutMonitor(ctx context.Context, m job.Monitor, rev int64) (*Applied, error) {
	return putDocument(ctx, c, "monitors", m.Name, m, rev)
}

// PutGroup writes what is said of a group, as [Client.PutTemplate] writes a template.
func (c *Client) PutGroup(ctx context.Context, g job.Group, rev int64) (*Applied, error) {
	return putDocument(ctx, c, "groups", g.Name, g, rev)
}

// Templates lists what tasks share.
func (c *Client) Templates(ctx context.Context) ([]job.Entry[job.Template], error) {
	return documents[job.Template](ctx, c, "templates")
}

// Template reads one template.
func (c *Client) Template(ctx context.Context, name string) (*job.Entry[job.Template], error) {
	return one[job.Entry[job.Template]](ctx, c, get(nil, "templates", name))
}

// DeleteTemplate deletes a template. One that a task names is a conflict.
func (c *Client) DeleteTemplate(ctx context.Context, name string) error {
	return c.do(ctx, &call{method: http.MethodDelete, path: []string{"templates", name}})
}
