package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

const (
	rankGrace = 250 * time.Millisecond // by so much each candidate lets the one before it go first
	maxRank   = 8                      // who ranks lower waits no longer than this rank does
	minWait   = 10 * time.Second       // a claim is tried for so long at least, when etcd is away
	maxWait   = time.Hour              // and no longer than this, where neither deadline nor next instant bound it
	lockPoll  = 500 * time.Millisecond
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
		}
	}
	r.cancel()
}

var errOthers = errors.New("the instant is another node's, or settled")

// claimed tries to claim until the firing's time is over.
func (r *run) claimed() (fence int64, err error) {
	a, j := r.a, r.job
	place := min(job.RankOf(string(r.id), j.Candidates, a.ID), maxRank)
	if !sleep(r.ctx, time.Duration(place)*rankGrace) {
		return 0, r.ctx.Err()
	}
	ctx, cancel := context.WithDeadline(r.ctx, a.wall(r.claimBy()))
	defer cancel()
	s := a.leaseSession(ctx)
	if s == nil {
		return 0, ctx.Err()
	}
	for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
		fence, err = s.Claim(ctx, job.Claim{
			Task: j.Ref(), Instant: r.instant, Node: a.ID, Session: a.session, Job: j.Hash, At: a.Now().UTC(),
		})
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

// takeLock takes the lock of an alone task. Not to get it is told by outcome and reason.
func (r *run) takeLock() (outcome job.Outcome, reason string) {
	ctx, cancel := context.WithDeadline(r.ctx, r.a.wall(r.startBy()))
	defer cancel()
	s := r.a.leaseSession(ctx)
	if s == nil {
		return job.Missed, "the coordinator could not be reached for the task's lock"
	}
	lock := job.Lock{Task: r.job.Ref(), Node: r.a.ID, Session: r.a.session, Run: r.id, At: r.a.Now().UTC()}
	var err error
	var holder *job.Lock
	for wait := firstBackoff; ; {
		r.epoch = s.Epoch()
		lock.Fence, holder, err = s.Lock(ctx, lock)
		if err == nil && holder == nil {
			r.lock, r.fence = &lock, lock.Fence
			return "", ""
		}
		if holder != nil && !r.queues() {
			return job.Skipped, fmt.Sprintf("run %s on node %s was still alive", holder.Run, holder.Node)
		}
		pause := lockPoll
		if err != nil {
			pause, wait = wait, min(2*wait, lastBackoff)
		}
		if sleep(ctx, pause) {
			continue
		}
		switch {
		case r.killer() != "":
			return job.Killed, "killed by " + r.killer() + " before it started"
		case holder != nil:
			return job.Skipped, fmt.Sprintf("it waited for run %s on node %s until its time was over", holder.Run, holder.Node)
		}
		return job.Missed, fmt.Sprintf("the coordinator could not be reached for the task's lock: %v", err)
	}
}

// releaseLock gives the lock back, however often it takes: a lock that stays would stop the task. When the agent
// stops or the lease is lost, the lock goes with the lease.
func (r *run) releaseLock() {
	if r.lock == nil {
		return
	}
	lock, a := *r.lock, r.a
	a.wg.Go(func() {
		for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
			ctx, cancel := context.WithTimeout(context.Background(), lastBackoff)
			err := a.lease.Load().Unlock(ctx, lock)
			cancel()
			if err == nil {
				return
			}
			a.Logger.Warn("a lock could not be given back yet", "task", lock.Task.String(), "error", err)
			select {
			case <-a.stopping:
				return
			case <-time.After(wait):
			}
		}
	})
}
