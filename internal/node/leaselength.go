package node

import (
	"context"
	"time"

	"github.com/rota-dev/rota/job"
)

// The length of the node's lease can be changed while the agent runs: people set it on the node, and the agent follows. What
// stands under the lease stays.

// ttl is how long the node's lease lives.
func (a *Agent) ttl() time.Duration {
	if d := a.length.Load(); d > 0 {
		return time.Duration(d)
	}
	return a.Lease
}

// wantedTTL is how long it is to live: as people set it on the node, or else as the agent was started.
func (a *Agent) wantedTTL() time.Duration {
	if n := a.self.Load(); n != nil && n.Lease > 0 {
		return n.Lease.Std()
	}
	return a.Lease
}

// firstTTL is the length of the lease with which the agent joins.
func (a *Agent) firstTTL() time.Duration {
	a.length.Store(int64(a.wantedTTL()))
	return a.ttl()
}

// followLease changes the lease to the length that is wanted. A shorter one leaves less time to end an alone run before it
// can lapse: what runs has been promised more, so its end is waited for, and what starts from now on is promised less.
func (c *core) followLease(ctx context.Context) {
	a := c.a
	s, from, to := a.lease.Load(), a.ttl(), a.wantedTTL()
	if s == nil || c.tuning || from == to || to < from && c.anyAlone() {
		return
	}
	c.tuning = true
	if to < from {
		a.length.Store(int64(to))
	}
	a.wg.Go(func() {
		err := s.SetTTL(ctx, to)
		if err == nil {
			a.length.Store(int64(to))
			a.Logger.Info("the lease has another length", "was", from, "is", to)
		} else {
			a.length.Store(int64(from))
			a.Logger.Warn("the lease keeps its length for now", "error", err)
			sleep(ctx, time.Second)
		}
		a.tell(func() { c.tuning = false })
	})
}

// anyAlone tells whether an alone run is alive.
func (c *core) anyAlone() bool {
	for _, alive := range c.alive {
		for _, r := range alive {
			if r.job.Kind == job.KindAlone {
				return true
			}
		}
	}
	return false
}
