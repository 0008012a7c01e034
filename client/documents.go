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
