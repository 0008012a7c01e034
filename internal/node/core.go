package node

import (
	"context"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// core is the goroutine that owns the clock and the book of runs. Its methods are called by that goroutine alone;
// others reach it through the agent's inbox. It waits for nothing but its events and its own disk.
type core struct {
	a     *Agent
	clock *clock
	pass  time.Time // the time of day of the pass through the clock that is under way; zero: none is

	runs   map[job.RunID]*run // everything that has begun to be and not ended
	alive  map[string][]*run  // by job: what holds a place of the job's concurrency, oldest first
	queue  map[string][]turn  // by job: what waits for a place, in order
	killed map[job.RunID]kill // kills that came before their run did
	walked map[string]time.Time
	gone   map[string][]grave // by job: what is remembered of those that are not there any more
	held   []string           // jobs whose next run waits because the node is full, in the order in which they came to wait

	goneCount, goneBytes int

	synced   bool                // the clock has all jobs that there are
	doubtful map[string]*job.Job // jobs that may have to be forgotten then, as they were

	stopping bool
	claiming int  // claims that are asked for and not answered yet
	telling  bool // that the node is drained
	tuning   bool // the length of the lease
}

type kill struct {
	by string
	at time.Time
}

const (
	tick       = time.Second      // the wall clock is looked at as often, so that a step is noticed
	keepEvery  = 10 * time.Second // cursors of instants that others ran are kept as often
	killMemory = time.Minute
	passSlice  = 256 // jobs that are dealt with before other events have their turn
	stopCause  = "the agent's stop"
	stopped    = "the agent stopped before "
)

func newCore(a *Agent) *core {
	c := &core{
		a: a, clock: newClock(), runs: map[job.RunID]*run{}, alive: map[string][]*run{}, queue: map[string][]turn{},
		killed: map[job.RunID]kill{}, walked: map[string]time.Time{}, gone: map[string][]grave{}, doubtful: map[string]*job.Job{},
	}
	c.unearth()
	return c
}

// run is the core's life: until ctx ends, and then until nothing runs any more. It begins when the node has joined: before
// that another agent may be alive under its name, and what is due would run twice.
func (c *core) run(ctx context.Context) {
	defer close(c.a.gone)
	defer c.stop()
	alarm := c.a.Alarm
	defer alarm.Stop()
	c.takeUp(ctx)
	select {
	case <-c.a.joined:
	case <-ctx.Done():
		return
	}
	id := string(c.a.ID)
	jobs := c.a.store().Jobs().Watch(ctx, id).Events()
	dispatches := c.a.store().Dispatches().Watch(ctx, id).Events()
	kills := c.a.store().Kills().Watch(ctx, id).Events()
	self := c.a.store().Nodes().Watch(ctx, id).Events()
	keep := time.NewTicker(keepEvery)
	defer keep.Stop()

	for ctx.Err() == nil {
		alarm.Reset(c.fireDue(ctx))
		c.tellDrained(ctx)
		c.followLease(ctx)
		select {
		case <-ctx.Done():
		case <-alarm.C():
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
					c.selfEvent(e.Value)
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
}

// stop ends everything that has begun and waits for it, up to the agent's grace: what will not end then is killed
// without any, and what survives that is left to the next life of the agent.
func (c *core) stop() {
	c.stopping = true
	c.keepCursors()
	c.leaveWaiting()
	if c.a.leave.Load() {
		c.leaveRuns()
	} else {
		for _, r := range c.runs {
			r.kill(stopCause)
		}
	}
	idle := make(chan struct{})
	go func() {
		c.a.wg.Wait()
		close(idle)
	}()
	grace := time.NewTimer(c.a.StopGrace)
	defer grace.Stop()
	forced := false
	for {
		select {
		case f := <-c.a.inbox:
			f()
		case <-idle:
			for len(c.a.inbox) > 0 {
				(<-c.a.inbox)()
			}
			return
		case <-grace.C:
			if forced {
				c.a.Logger.Error("runs could not be ended and are left behind", "runs", len(c.runs))
				return
			}
			forced = true
			for _, r := range c.runs {
				r.killNow(stopCause)
			}
			grace.Reset(killPatience)
		}
	}
}

// killPatience is how long processes have to die of SIGKILL.
const killPatience = 5 * time.Second

// tell has the core do something. It must not be called by the core itself.
func (a *Agent) tell(f func()) {
	select {
	case a.inbox <- f:
	case <-a.gone:
	}
}

// fireDue deals with what is due, or some of it, and returns how long to wait before it is called again. All that is
// dealt with in one pass is judged by the time at which the pass began: what is late because there is much of it is
// on time.
func (c *core) fireDue(ctx context.Context) time.Duration {
	if c.pass.IsZero() {
		c.pass = c.a.Now()
	}
	for range passSlice { // of a job with many instants there is one a slice
		e := c.clock.due(c.pass)
		if e == nil {
			c.pass = time.Time{}
			next := c.clock.next()
			if next.IsZero() {
				return tick
			}
			return max(0, min(next.Sub(c.a.Now()), tick))
		}
		if more := c.deal(ctx, e); more {
			break
		}
	}
	return 0
}

// deal decides on a job's instants that are due, and tells whether there were many.
func (c *core) deal(ctx context.Context, e *entry) (many bool) {
	d := decide(e.job, e.cursor, c.pass)
	if !d.cursor.After(e.cursor) {
		// It can't be: something was due. But a clock that turned on the spot would stop every job.
		c.a.Logger.Error("a job is due and has no instant", "task", e.job.TaskID, "cursor", e.cursor)
		c.clock.wakeAt(e, c.pass.Add(tick))
		return false
	}
	c.clock.advance(e, d.cursor)
	for _, v := range d.verdicts {
		if j := e.job.At(v.first); v.trigger == "" {
			c.tellInTurn(j, v)
		} else {
			c.fire(ctx, j, v)
		}
	}
	// What waits here and was not claimed, because the kind was another one then, is in no spool yet.
	if e.job.Kind.Claimed() && (len(e.job.Past) == 0 || len(c.queue[e.job.Hash]) == 0) {
		c.walked[e.job.Hash] = d.cursor
	}
	return d.instants > passSlice
}

// fire begins a firing: at once, or by claiming it.
func (c *core) fire(ctx context.Context, j *job.Job, v verdict) {
	r := newRun(ctx, c.a, j, j.Firing(v.first), v.trigger)
	r.instant = v.first
	if c.runs[r.id] != nil {
		r.cancel()
		return
	}
	if c.draining() {
		r.cancel()
		c.turnAway(j, v)
		return
	}
	if j.Kind.Claimed() {
		c.claiming++
		c.a.wg.Go(func() {
			c.claim(r)
			c.a.tell(func() { c.claiming-- })
		})
		return
	}
	c.admit(r)
}

func (c *core) jobEvent(e store.Event[job.Job]) {
	switch e.Type {
	case store.Put:
		c.putJob(e.Value)
	case store.Delete:
		c.dropJob(job.GetIDFromKey(e.Key))
	case store.Unreadable:
		c.a.Logger.Error("a job can't be read and is left alone", "key", e.Key, "error", e.Err)
	case store.Synced:
		c.synced = true
		for hash, was := range c.doubtful {
			c.forget(hash, was)
		}
		clear(c.doubtful)
	}
}

func (c *core) putJob(j *job.Job) {
	j = c.a.booted(j)
	cursor := c.a.spool.cursor(j.Hash)
	c.hear(j, cursor)
	switch e := c.clock.entries[j.Hash]; {
	case e == nil:
		cursor = c.recall(j, cursor)
	case len(j.Past) == 0 && !j.Rules.Same(e.job.Rules): // no edit: it was deleted and made again, and we did not hear of it
		c.bury(e.job)
		c.recall(j, time.Time{})
	}
	if cursor.IsZero() {
		cursor = j.Since
	}
	if cursor.IsZero() { // written by a stranger; all of the past is not meant
		cursor = c.a.Now()
	}
	c.clock.set(j.Behind(cursor), cursor)
	if j.Pause {
		c.callOff(j.Hash, "the task was paused before its turn came", false)
	}
	c.pump(j.Hash)
}

func (c *core) dropJob(hash string) {
	var was *job.Job
	if e := c.clock.entries[hash]; e != nil {
		was = e.job
	}
	c.clock.remove(hash)
	delete(c.walked, hash)
	c.callOff(hash, deletedReason, true)
	c.forget(hash, was)
}

const deletedReason = "the task was deleted, or moved, before its turn came"

// forget drops the cursor of a job that the clock does not have any more, and remembers for a while how far it came. If the task comes
// back it counts from then, but for what has been dealt with by then. was is the job as it was last, nil where nobody knows.
func (c *core) forget(hash string, was *job.Job) {
	if c.clock.entries[hash] != nil {
		return
	}
	if !c.synced { // its run, which an earlier life began, ended before we heard what jobs there are
		c.doubtful[hash] = was
		return
	}
	if was != nil {
		c.bury(was)
	}
	if err := c.a.spool.forget(hash); err != nil {
		c.a.Logger.Error("the spool's disk refuses to forget a job", "job", hash, "error", err)
	}
}

// keepCursors notes how far the clock came with the jobs whose instants other nodes ran, and forgets old kills and jobs that went long ago.
func (c *core) keepCursors() {
	c.clearGraves(c.a.Now().Add(-keepGone))
	if len(c.walked) > 0 {
		if err := c.a.spool.advance(c.walked); err != nil {
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
