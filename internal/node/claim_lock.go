package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rota-dev/rota/job"
)

// lockPoll is how often a run that waits for the lock of its task asks for it.
const lockPoll = 500 * time.Millisecond

// takeLock takes the lock of an alone task. Not to get it is told by outcome and reason.
func (r *run) takeLock() (outcome job.Outcome, reason string) {
	ctx, cancel := context.WithDeadline(r.ctx, r.a.wall(r.startBy()))
	defer cancel()
	s := r.a.leaseSession(ctx)
	if s == nil {
		return job.Missed, "the coordinator could not be reached for the task's lock"
	}
	r.lock = job.Lock{Task: r.job.Ref(), Node: r.a.ID, Session: r.a.session, Run: r.id, At: r.a.Now().UTC(), Due: r.due()}
	w := wish{r: r, s: s}
	defer w.drop()
	var err error
	var holder *job.Lock
	for wait := firstBackoff; ; {
		r.epoch = s.Epoch()
		var fence int64
		fence, holder, err = s.Lock(ctx, r.lock)
		if err == nil && holder == nil {
			r.lock.Fence, r.fence = fence, fence
			return "", ""
		}
		if holder != nil && r.replaces() {
			if holder.Due.After(r.lock.Due) {
				return job.Skipped, fmt.Sprintf("run %s on node %s, which is due later, replaced it before it started", holder.Run, holder.Node)
			}
			w.ask(ctx, holder)
		} else if holder != nil && !r.queues() {
			return job.Skipped, fmt.Sprintf("run %s on node %s was still alive", holder.Run, holder.Node)
		}
		pause := lockPoll
		if err != nil {
			pause, wait = wait, min(2*wait, lastBackoff)
		}
		if !sleep(ctx, pause) {
			break
		}
	}
	outcome, reason = r.ended()
	switch {
	case outcome != "":
		return outcome, reason
	case holder != nil:
		return job.Skipped, fmt.Sprintf("it waited for run %s on node %s until its time was over", holder.Run, holder.Node)
	}
	return job.Missed, fmt.Sprintf("the coordinator could not be reached for the task's lock: %v", err)
}

// releaseLock gives the lock back, also one that was asked for and of which nobody knows whether it was given, however often it
// takes: a lock that stays would stop the task. When the agent stops or the lease is lost, the lock goes with the lease.
func (r *run) releaseLock() {
	if r.lock.Run == "" || r.left {
		return
	}
	lock, a := r.lock, r.a
	unlock := func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), lastBackoff)
		defer cancel()
		s := a.lease.Load()
		if s == nil {
			return false // of a run that an earlier life began
		}
		err := s.Unlock(ctx, lock)
		if err != nil {
			a.Logger.Warn("a lock could not be given back yet", "task", lock.Task.String(), "error", err)
		}
		return err == nil
	}
	if unlock() { // before the next run in the queue asks for it
		return
	}
	a.wg.Go(func() {
		for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
			t := time.NewTimer(wait)
			select {
			case <-a.stopping:
				t.Stop()
				return
			case <-t.C:
			}
			if unlock() {
				return
			}
		}
	})
}

const leaseCause = "the end of the node's lease"

var errLease = errors.New(leaseCause)

// lockLeft is how long the lock is certain to stand, without the margin in which what it protects is killed.
func (r *run) lockLeft() time.Duration {
	s := r.a.lease.Load()
	left := s.Left()
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Epoch() != r.epoch {
		return 0
	}
	return left - r.a.ttl()/10
}

// guard ends the execution of an alone task before the lease that holds its lock can lapse: with grace if there is
// time for it.
func (r *run) guard(x job.Execution) {
	grace := time.Duration(r.job.Grace) * time.Second
	if grace <= 0 {
		grace = job.DefaultGrace
	}
	select {
	case <-r.hasLock(): // until then its runner alone sees to that
	case <-x.Done():
		return
	case <-r.a.leaving:
		return
	}
	t := time.NewTicker(r.a.ttl() / 50)
	defer t.Stop()
	for {
		switch left := r.lockLeft(); {
		case left <= 0:
			r.killNow(leaseCause)
		case left <= grace && left < r.a.ttl()*2/5:
			r.kill(leaseCause)
		}
		select {
		case <-x.Done():
			return
		case <-r.a.leaving: // the runner goes on to see to it
			return
		case <-t.C:
		}
	}
}

// hasLock is closed as soon as the run is known to have its task's lock.
func (r *run) hasLock() <-chan struct{} {
	if r.regained != nil {
		return r.regained
	}
	c := make(chan struct{})
	close(c)
	return c
}
