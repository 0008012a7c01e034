package node

import (
	"context"
	"time"
)

const (
	clockEvery = 20 * time.Second // the node tells what its clock shows as often
	clockFirst = time.Second      // and the first few times so soon, so that the clock is known when the node has just come
	clockSoon  = 3                // times
)

// tellClock tells the masters what the node's wall clock shows, until ctx ends. A sample that etcd does not take at once says
// nothing any more, and is not sent later.
func (a *Agent) tellClock(ctx context.Context) {
	s := a.leaseSession(ctx)
	if s == nil {
		return
	}
	for n := 0; ; n++ {
		once, cancel := context.WithTimeout(ctx, clockFirst)
		err := s.PutClock(once, a.Now().UTC())
		cancel()
		if err != nil && ctx.Err() == nil {
			a.Logger.Debug("the clock could not be told", "error", err)
		}
		wait := clockEvery
		if n < clockSoon {
			wait = clockFirst
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}
