package node

import (
	"context"
	"errors"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

const (
	rankGrace = 250 * time.Millisecond // by so much each candidate lets the one before it go first
	maxRank   = 8                      // who ranks lower waits no longer than this rank does
	minWait   = 10 * time.Second       // a claim is tried for so long at least, when etcd is away
	maxWait   = time.Hour              // and no longer than this, where neither deadline nor next instant bound it
)

// claim takes a firing for this node, or leaves it to another. It waits through an outage of etcd until
// the firing's time is over; then the master's audit says what became of it.
func (c *core) claim(r *run) {
	fence, err := r.claimed()
	switch {
	case err == nil:
		r.fence = fence
		c.a.metrics.claims.WithLabelValues("won").Inc()
		c.a.tell(func() { c.admit(r) })
		return
	case errors.Is(err, errOthers):
		c.a.metrics.claims.WithLabelValues("others").Inc()
	default:
		c.a.metrics.claims.WithLabelValues("failed").Inc()
		if r.ctx.Err() == nil {
			c.a.Logger.Warn("an instant could not be claimed in its time", "task", r.job.TaskID, "instant", r.instant, "error", err)
			c.a.doubts.add(r)
		}
	}
	r.cancel()
}

var errOthers = errors.New("the instant is another node's, or settled")

// claimed tries to claim until the firing's time is over.
func (r *run) claimed() (fence int64, err error) {
	a, j := r.a, r.job
	ctx, cancel := context.WithDeadline(r.ctx, a.wall(r.claimBy()))
	defer cancel()
	place := min(job.RankOf(string(r.id), j.Candidates, a.ID), maxRank)
	if !sleep(ctx, time.Duration(place)*rankGrace) {
		return 0, ctx.Err()
	}
	s := a.leaseSession(ctx)
	if s == nil {
		return 0, ctx.Err()
	}
	// One number for all the times that it is asked for: another run of the instant, which this life has told of, is not taken for this
	// one. There was such a run where the task was deleted, and made again before an instant that had been claimed ahead of its time.
	r.try = a.tries.Add(1)
	claim := job.Claim{Task: j.Ref(), Instant: r.instant, Node: a.ID, Session: a.session, Job: j.Hash, At: a.Now().UTC(), Try: r.try}
	for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
		fence, err = s.Claim(ctx, claim)
		var taken *store.ClaimedError
		if errors.As(err, &taken) || errors.Is(err, store.ErrSettled) {
			return 0, errOthers
		}
		if err == nil || !sleep(ctx, wait) {
			return fence, err
		}
	}
}

// claimBy is until when a firing may be claimed: its deadline; without one, the task's next instant.
func (r *run) claimBy() time.Time {
	if r.job.Deadline > 0 {
		return fireTime(r.job, r.instant).Add(time.Duration(r.job.Deadline) * time.Second)
	}
	by := r.instant.Add(maxWait)
	if next := r.job.Rules.Next(r.instant); !next.IsZero() && next.Before(by) {
		by = next
	}
	if least := r.a.Now().Add(minWait); by.Before(least) {
		by = least
	}
	return by
}

// wall turns a time of the agent's clock into one of the process's, for contexts.
func (a *Agent) wall(t time.Time) time.Time { return time.Now().Add(t.Sub(a.Now())) }
