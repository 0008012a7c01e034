package node

import (
	"context"
	"maps"
	"slices"

	"github.com/rota-dev/rota/job"
)

// drainedReason is why an instant of a common job did not run.
const drainedReason = "the node is being drained"

// draining tells whether the node's timers are to start nothing. What is asked for by the node's name runs all the same.
func (c *core) draining() bool {
	n := c.a.self.Load()
	return n != nil && n.Draining
}

// selfEvent takes in what people said of the node. What waits for its turn when a drain begins does not start any more.
func (c *core) selfEvent(n *job.Node) {
	before := c.draining()
	c.a.self.Store(n)
	if before || !c.draining() {
		return
	}
	for _, hash := range slices.Collect(maps.Keys(c.queue)) {
		c.callOff(hash, drainedReason, false)
	}
}

// turnAway deals with an instant that is due on a node that is drained. That of a common job is this node's to tell; one
// that must be claimed is left to the other nodes.
func (c *core) turnAway(j *job.Job, v verdict) {
	if !j.Kind.Claimed() {
		c.tellInTurn(j, verdict{first: v.first, last: v.first, count: 1, outcome: job.Skipped, reason: drainedReason})
	}
}

// tellDrained tells that the node is drained once nothing runs here, waits or is being claimed. It says so from
// where every start is decided, so that nothing starts after it by itself.
func (c *core) tellDrained(ctx context.Context) {
	n := c.a.self.Load()
	if n == nil || !n.Draining || n.Drained || c.telling || c.claiming > 0 || len(c.runs) > 0 {
		return
	}
	c.telling = true
	c.a.wg.Go(func() {
		for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
			err := c.a.markDrained(ctx)
			if err == nil || !sleep(ctx, wait) {
				break
			}
		}
		c.a.tell(func() { c.telling = false })
	})
}

// markDrained sets the mark, unless the drain was taken back.
func (a *Agent) markDrained(ctx context.Context) error {
	n, err := a.store().Nodes().Get(ctx, string(a.ID))
	if job.IsNotFound(err) || err == nil && (!n.Draining || n.Drained) {
		return nil
	}
	if err != nil {
		return err
	}
	n.Drained = true
	_, err = a.store().Nodes().Put(ctx, n)
	return err
}
