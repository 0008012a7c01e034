package client

import (
	"context"
	"net/http"
	"time"
)

// Status tells how the whole is, as the server that answers sees it. It answers also while it is not ready.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return one[Status](ctx, c, get(nil, "status"))
}

// Config lists the configuration of a group, or the global one and that of every group where it is empty.
func (c *Client) Config(ctx context.Context, group string) ([]Config, error) {
	var out []Config
	return out, c.do(ctx, get(&out, "config").set("group", group))
}

// SetConfig sets a value of a group, or the global one where it is empty.
func (c *Client) SetConfig(ctx context.Context, group, key, value string) error {
	r := &call{method: http.MethodPut, path: []string{"config", key}, query: map[string][]string{}, again: true}
	r, err := r.set("group", group).json(map[string]string{"value": value})
	if err != nil {
		return err
	}
	return c.do(ctx, r)
}

// DeleteConfig deletes a value.
func (c *Client) DeleteConfig(ctx context.Context, group, key string) error {
	r := &call{method: http.MethodDelete, path: []string{"config", key}, query: map[string][]string{}}
	return c.do(ctx, r.set("group", group))
}

// Cron tells what a timer says. The zone is UTC where it is empty, from is now where it is zero, n is 5 where it is 0.
func (c *Client) Cron(ctx context.Context, expr, zone string, from time.Time, n int) (*Cron, error) {
	r := get(nil, "cron").set("expr", expr).set("tz", zone).set("from", stamp(from))
	return one[Cron](ctx, c, r.set("n", number(n)))
}
