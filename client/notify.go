package client

import (
	"context"
	"net/http"
	"strconv"

	"github.com/rota-dev/rota/job"
)

// Receivers lists where messages go.
func (c *Client) Receivers(ctx context.Context) ([]job.Entry[job.Receiver], error) {
	return documents[job.Receiver](ctx, c, "receivers")
}

// Receiver reads one receiver.
func (c *Client) Receiver(ctx context.Context, name string) (*job.Entry[job.Receiver], error) {
	return one[job.Entry[job.Receiver]](ctx, c, get(nil, "receivers", name))
}

// DeleteReceiver deletes a receiver. One that something names is a conflict.
func (c *Client) DeleteReceiver(ctx context.Context, name string) error {
	return c.do(ctx, &call{method: http.MethodDelete, path: []string{"receivers", name}})
}

// TestReceiver sends a message now. What became of it is in the delivery; that it was not taken is no error.
func (c *Client) TestReceiver(ctx context.Context, name string) (*job.Delivery, error) {
	return one[job.Delivery](ctx, c, &call{method: http.MethodPost, path: []string{"receivers", name, "test"}})
}

// Deliveries lists messages and what became of them, the newest first.
func (c *Client) Deliveries(ctx context.Context, f job.DeliveryFilter) ([]job.Delivery, error) {
	var out []job.Delivery
	q := get(&out, "deliveries").set("receiver", f.Receiver).set("task", f.Task).set("status", string(f.Status))
	if f.Limit > 0 {
		q.set("limit", strconv.Itoa(f.Limit))
	}
	return out, c.do(ctx, q)
}

// Monitors lists the jobs that Rota watches and does not run.
func (c *Client) Monitors(ctx context.Context) ([]MonitorView, error) {
	var out []MonitorView
	return out, c.do(ctx, get(&out, "monitors"))
}

// Monitor reads one of them.
func (c *Client) Monitor(ctx context.Context, name string) (*MonitorView, error) {
	return one[MonitorView](ctx, c, get(nil, "monitors", name))
}

// RenewMonitorKey gives a monitor another key: the old one opens nothing any more.
func (c *Client) RenewMonitorKey(ctx context.Context, name string) (*MonitorView, error) {
	return one[MonitorView](ctx, c, &call{method: http.MethodPost, path: []string{"monitors", name, "key"}})
}

// DeleteMonitor forgets a monitor; its records stay.
func (c *Client) DeleteMonitor(ctx context.Context, name string) error {
	return c.do(ctx, &call{method: http.MethodDelete, path: []string{"monitors", name}})
}
