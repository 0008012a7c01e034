package client

import (
	"context"
	"time"

	"github.com/rota-dev/rota/job"
)

// Why tells what became of the instant of a task at a time, or of the last one before it, and why. A zero time is now.
func (c *Client) Why(ctx context.Context, ref job.TaskRef, at time.Time) (*Why, error) {
	return one[Why](ctx, c, get(nil, "tasks", ref.Group, ref.Name, "why").set("at", stamp(at)))
}
