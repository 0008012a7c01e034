package node

import (
	"context"
	"slices"

	"github.com/rota-dev/rota/job"
)

// Policy is the node's own word on what may run on it. It is asked on the node, just before each attempt, with every
// value filled in; nothing that stands in etcd goes past it. It is safe for concurrent use.
type Policy interface {
	// Admit says what an execution becomes under the policy, or why it is refused: that is an error of
	// [job.CodeForbidden].
	Admit(e job.Exec) (job.Exec, error)
	// MaxRuns is how many runs may be alive at once; 0: any number.
	MaxRuns() int
}

// start begins an execution that the policy admits.
func (a *Agent) start(ctx context.Context, e job.Exec) (job.Execution, error) {
	if a.Policy != nil {
		admitted, err := a.Policy.Admit(e)
		if err != nil {
			if job.CodeOf(err) == job.CodeForbidden {
				a.metrics.refused.Inc()
				a.Logger.Warn("an execution was refused", "run", e.Run, "reason", err)
			}
			return nil, err
		}
		e = admitted
	}
	a.starting.Add(1)
	defer a.starting.Add(-1)
	return a.Runner.Start(ctx, e)
}

// PolicyChanged has the agent look at what waits because the node was full: more may run now.
func (a *Agent) PolicyChanged() { a.tell(a.core.pumpHeld) }

// full tells whether the node has as many runs alive as its policy allows. A run that waits for that has its job's place
// in the queue, so that its instant is told in its turn; it does not count as alive.
func (c *core) full() bool {
	if c.a.Policy == nil {
		return false
	}
	most, n := c.a.Policy.MaxRuns(), 0
	if most <= 0 {
		return false
	}
	for _, alive := range c.alive {
		n += len(alive)
	}
	return n >= most
}

// fits tells whether a run has a place of its job once the node is no longer full, behind those that wait already.
func (c *core) fits(r *run) bool {
	j := r.job
	taken := len(c.alive[j.Hash]) + c.waiting(j.Hash)
	switch {
	case j.Kind == job.KindAlone:
		return taken == 0
	case j.Parallel > 0:
		return taken < j.Parallel
	case j.Overlap == job.OverlapAllow:
		return c.waiting(j.Hash) < r.queueLimit()
	}
	return taken < max(j.Concurrency, 1)
}

// hold notes that a job waits for the node, behind others that do.
func (c *core) hold(hash string) {
	if !slices.Contains(c.held, hash) {
		c.held = append(c.held, hash)
	}
}

// pumpHeld gives what waits for the node its turn, the job that has waited longest first.
func (c *core) pumpHeld() {
	for range len(c.held) {
		if c.full() || len(c.held) == 0 {
			return
		}
		hash := c.held[0]
		c.held = c.held[1:]
		c.pump(hash)
	}
}
