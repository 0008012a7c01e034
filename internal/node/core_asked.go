package node

import (
	"context"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

func (c *core) dispatchEvent(ctx context.Context, e store.Event[job.Dispatch]) {
	switch e.Type {
	case store.Put:
		c.dispatch(ctx, e.Value)
	case store.Unreadable:
		c.a.Logger.Error("a dispatch can't be read and is left alone", "key", e.Key, "error", e.Err)
	}
}

// dispatch begins a run that was asked for, unless it is known. One that another life of the agent has marked as started
// does not start again: if that life had noted how it went, the spool knew it.
func (c *core) dispatch(ctx context.Context, d *job.Dispatch) {
	if c.runs[d.Run] != nil || c.a.spool.knows(d.Run) {
		return
	}
	r := newRun(ctx, c.a, d.Job, d.Run, d.Trigger)
	own := *d // what the watch tells is shared; the start is marked on our copy
	r.instant, r.dispatch = d.Instant, &own
	switch {
	case d.Started != nil && d.Started.Session == c.a.session:
		r.cancel() // the echo of our own mark
	case d.Started != nil: // ancestor 15
		r.begin = d.Started.At
		c.told(r, job.Lost, "the agent ended before it could tell how the run went")
	case !d.NotAfter.IsZero() && c.a.Now().After(d.NotAfter): // ancestor 21
		c.told(r, job.Missed, "it could not start by "+d.NotAfter.Format(time.RFC3339))
	default:
		c.admit(r)
	}
}

func (c *core) killEvent(ctx context.Context, e store.Event[job.Kill]) {
	if e.Type != store.Put {
		return
	}
	k := e.Value
	switch r := c.runs[k.Run]; {
	case r == nil:
		c.killed[k.Run] = kill{by: k.By, at: c.a.Now()}
	case !c.killWaiting(r, k.By):
		r.kill(k.By)
	}
	c.a.wg.Go(func() {
		for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
			if _, err := c.a.store().Do(ctx, store.DeleteKill(k.Node, k.Run)); err == nil || !sleep(ctx, wait) {
				return
			}
		}
	})
}

// killWaiting kills a run that waits for its place, and tells whether it did. That an instant is killed is told in
// its turn.
func (c *core) killWaiting(r *run, by string) bool {
	hash := r.job.Hash
	i := slices.IndexFunc(c.queue[hash], func(t turn) bool { return t.run == r })
	if i < 0 {
		return false
	}
	reason := "killed by " + by + " before it started"
	if r.ordered() {
		r.cancel()
		c.queue[hash][i].told = &verdict{outcome: job.Killed, reason: reason}
	} else {
		c.queue[hash] = slices.Delete(c.queue[hash], i, i+1)
		c.told(r, job.Killed, reason)
	}
	c.pump(hash)
	return true
}
