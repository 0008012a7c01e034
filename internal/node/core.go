package node

import (
	"context"
	"fmt"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// core is the goroutine that owns the clock and the book of runs. Its methods are called by that goroutine alone;
// others reach it through the agent's inbox.
type core struct {
	a     *Agent
	clock *clock

	runs   map[job.RunID]*run // everything that has begun to be and not ended
	alive  map[string][]*run  // by job: what holds a place of the job's concurrency, oldest first
	queue  map[string][]*run  // by job: what waits for a place, in order
	killed map[job.RunID]kill // kills that came before their run did
	walked map[string]time.Time

	stopping bool
}

type kill struct {
	by string
	at time.Time
}

const (
	tick         = time.Second      // the wall clock is looked at as often, so that a step is noticed
	keepEvery    = 10 * time.Second // cursors of instants that others ran are kept as often
	killMemory   = time.Minute
	maxQueue     = 100 // runs of one job that wait for their turn
	stoppedCause = "the agent stopped"
)

func newCore(a *Agent) *core {
	return &core{
		a: a, clock: newClock(), runs: map[job.RunID]*run{}, alive: map[string][]*run{}, queue: map[string][]*run{},
		killed: map[job.RunID]kill{}, walked: map[string]time.Time{},
	}
}

// run is the core's life: until ctx ends, and then until nothing runs any more.
func (c *core) run(ctx context.Context) {
	id := string(c.a.ID)
	jobs := c.a.store().Jobs().Watch(ctx, id).Events()
	dispatches := c.a.store().Dispatches().Watch(ctx, id).Events()
	kills := c.a.store().Kills().Watch(ctx, id).Events()
	self := c.a.store().Nodes().Watch(ctx, id).Events()
	timer := time.NewTimer(tick)
	defer timer.Stop()
	keep := time.NewTicker(keepEvery)
	defer keep.Stop()

	for ctx.Err() == nil {
		timer.Reset(c.fireDue(ctx))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-keep.C:
			c.keepCursors()
		case f := <-c.a.inbox:
			f()
		case batch, ok := <-jobs:
			if !ok {
				jobs = nil
			}
			for _, e := range batch {
				c.jobEvent(e)
			}
		case batch, ok := <-dispatches:
			if !ok {
				dispatches = nil
			}
			for _, e := range batch {
				c.dispatchEvent(ctx, e)
			}
		case batch, ok := <-self:
			if !ok {
				self = nil
			}
			for _, e := range batch {
				if e.Type == store.Put {
					c.a.self.Store(e.Value)
				}
			}
		case batch, ok := <-kills:
			if !ok {
				kills = nil
			}
			for _, e := range batch {
				c.killEvent(ctx, e)
			}
		}
	}
	c.stop()
}

// stop ends everything that has begun and waits for it.
func (c *core) stop() {
	c.stopping = true
	c.keepCursors()
	for _, waiting := range c.queue {
		for _, r := range waiting {
			c.told(r, job.Missed, stoppedCause+" before its turn came")
		}
	}
	clear(c.queue)
	for _, r := range c.runs {
		r.kill(stoppedCause)
	}
	idle := make(chan struct{})
	go func() {
		c.a.wg.Wait()
		close(idle)
	}()
	for {
		select {
		case f := <-c.a.inbox:
			f()
		case <-idle:
			for len(c.a.inbox) > 0 {
				(<-c.a.inbox)()
			}
			return
		}
	}
}

// tell has the core do something. It must not be called by the core itself.
func (a *Agent) tell(f func()) { a.inbox <- f }

// fireDue fires what is due and returns how long to wait for the next.
func (c *core) fireDue(ctx context.Context) time.Duration {
	for {
		now := c.a.Now()
		e := c.clock.due(now)
		if e == nil {
			break
		}
		d := decide(e.job, e.cursor, now)
		if !d.cursor.After(e.cursor) {
			// The wake was computed from a prior rule's instant that is no more; look again from now.
			d.cursor = now
		}
		c.clock.advance(e, d.cursor)
		if e.job.Kind.Claimed() {
			c.walked[e.job.Hash] = d.cursor
		}
		for _, s := range d.told {
			rec := s.record(e.job, now.UTC())
			c.a.end(&rec)
		}
		for _, f := range d.run {
			c.fire(ctx, e.job, f)
		}
	}
	next := c.clock.next()
	if next.IsZero() {
		return tick
	}
	return max(0, min(next.Sub(c.a.Now()), tick))
}

// fire begins a firing: at once, or by claiming it.
func (c *core) fire(ctx context.Context, j *job.Job, f firing) {
	r := newRun(ctx, c.a, j, j.Firing(f.instant), f.trigger)
	r.instant = f.instant
	if c.runs[r.id] != nil {
		r.cancel()
		return
	}
	if j.Kind.Claimed() {
		c.a.wg.Go(func() { c.claim(r) })
		return
	}
	c.admit(r)
}

// admit gives a run its place, or deals with it as the job's overlap policy says.
func (c *core) admit(r *run) {
	c.runs[r.id] = r
	if c.stopping {
		c.told(r, job.Missed, stoppedCause+" before it started")
		return
	}
	if k, ok := c.killed[r.id]; ok {
		delete(c.killed, r.id)
		c.told(r, job.Killed, "killed by "+k.by+" before it started")
		return
	}
	j := r.job
	alive := c.alive[j.Hash]
	// The runs of an alone task are told apart by its lock, wherever they are.
	if len(alive) < max(j.Concurrency, 1) || j.Overlap == job.OverlapAllow || j.Kind == job.KindAlone {
		c.launch(r)
		return
	}
	switch {
	case j.Overlap == job.OverlapReplace:
		for _, w := range c.queue[j.Hash] {
			c.told(w, job.Skipped, "replaced by a later run before it started")
		}
		c.queue[j.Hash] = []*run{r}
		alive[0].kill("the run that replaces it")
	case r.queues() && len(c.queue[j.Hash]) < maxQueue:
		c.queue[j.Hash] = append(c.queue[j.Hash], r)
	case r.queues():
		c.told(r, job.Skipped, fmt.Sprintf("%d runs were waiting already", maxQueue))
	default:
		c.told(r, job.Skipped, fmt.Sprintf("run %s was still alive", alive[0].id))
	}
}

// launch starts a run in a goroutine of its own.
func (c *core) launch(r *run) {
	c.alive[r.job.Hash] = append(c.alive[r.job.Hash], r)
	c.a.wg.Go(func() {
		r.live()
		c.a.tell(func() { c.ended(r) })
	})
}

// ended frees a run's place and gives it to the next in the queue.
func (c *core) ended(r *run) {
	r.cancel()
	delete(c.runs, r.id)
	hash := r.job.Hash
	alive := c.alive[hash][:0]
	for _, o := range c.alive[hash] {
		if o != r {
			alive = append(alive, o)
		}
	}
	c.alive[hash] = alive
	if len(alive) == 0 {
		delete(c.alive, hash)
	}
	for len(c.queue[hash]) > 0 && len(c.alive[hash]) < max(r.job.Concurrency, 1) {
		next := c.queue[hash][0]
		c.queue[hash] = c.queue[hash][1:]
		if late := next.tooLate(c.a.Now()); late != "" {
			c.told(next, job.Missed, late)
			continue
		}
		c.launch(next)
	}
	if len(c.queue[hash]) == 0 {
		delete(c.queue, hash)
	}
}

// told ends a run that did not start, with its reason.
func (c *core) told(r *run, outcome job.Outcome, reason string) {
	r.cancel()
	delete(c.runs, r.id)
	rec := r.record(c.a.Now().UTC(), outcome, reason)
	c.a.end(&rec)
}

func (c *core) jobEvent(e store.Event[job.Job]) {
	switch e.Type {
	case store.Put:
		cursor := c.a.spool.cursor(e.Value.Hash)
		if cursor.IsZero() {
			cursor = e.Value.Since
		}
		c.clock.set(e.Value, cursor)
	case store.Delete:
		hash := job.GetIDFromKey(e.Key)
		c.clock.remove(hash)
		delete(c.walked, hash)
		c.a.spool.forget(hash)
		for _, r := range c.queue[hash] {
			c.told(r, job.Skipped, "the task was deleted, or moved, before its turn came")
		}
		delete(c.queue, hash)
	case store.Unreadable:
		c.a.Logger.Error("a job can't be read and is left alone", "key", e.Key, "error", e.Err)
	}
}

func (c *core) dispatchEvent(ctx context.Context, e store.Event[job.Dispatch]) {
	switch e.Type {
	case store.Put:
		c.dispatch(ctx, e.Value)
	case store.Unreadable:
		c.a.Logger.Error("a dispatch can't be read and is left alone", "key", e.Key, "error", e.Err)
	}
}

func (c *core) dispatch(ctx context.Context, d *job.Dispatch) {
	if c.runs[d.Run] != nil || c.a.spool.knows(d.Run) {
		return
	}
	r := newRun(ctx, c.a, d.Job, d.Run, d.Trigger)
	r.instant, r.dispatch = d.Instant, d
	switch {
	case d.Started != nil && d.Started.Session == c.a.session:
		r.cancel() // the echo of our own mark
	case d.Started != nil:
		r.begin = d.Started.At
		c.told(r, job.Lost, "the agent ended before it could tell how the run went")
	case !d.NotAfter.IsZero() && c.a.Now().After(d.NotAfter):
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
	if r := c.runs[k.Run]; r != nil {
		if waiting := c.unqueue(r); waiting {
			c.told(r, job.Killed, "killed by "+k.By+" before it started")
		} else {
			r.kill(k.By)
		}
	} else {
		c.killed[k.Run] = kill{by: k.By, at: c.a.Now()}
	}
	c.a.wg.Go(func() {
		for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
			if _, err := c.a.store().Do(ctx, store.DeleteKill(k.Node, k.Run)); err == nil || !sleep(ctx, wait) {
				return
			}
		}
	})
}

// unqueue takes a run out of its queue, if it stands in it.
func (c *core) unqueue(r *run) bool {
	q := c.queue[r.job.Hash]
	for i, o := range q {
		if o == r {
			c.queue[r.job.Hash] = append(q[:i:i], q[i+1:]...)
			return true
		}
	}
	return false
}

// keepCursors notes how far the clock came with the jobs whose instants other nodes ran, and forgets old kills.
func (c *core) keepCursors() {
	if len(c.walked) > 0 {
		if err := c.a.spool.keep(c.walked); err != nil {
			c.a.Logger.Error("the spool's disk refuses the cursors", "error", err)
		}
		c.walked = map[string]time.Time{}
	}
	for id, k := range c.killed {
		if c.a.Now().Sub(k.at) > killMemory {
			delete(c.killed, id)
		}
	}
}
