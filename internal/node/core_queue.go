package node

import (
	"fmt"
	"slices"

	"github.com/rota-dev/rota/job"
)

// The book of runs. A job has as many places as its concurrency allows; what comes when they are taken is dealt with as
// the job's overlap policy says.
//
// The instants of a common job are told to the spool in their order, by the core alone: a run as it gets its place, what
// does not run when its turn comes. So a crash at any moment leaves no instant behind the cursor of which nobody heard.

// maxQueue is how many runs of one job wait for their turn at most, besides those that are caught up.
const maxQueue = 100

// turn is what stands in a job's queue: a run that waits for a place, or something to be told, which waits because an
// instant before it does.
type turn struct {
	run  *run     // nil: instants that do not run
	told *verdict // nil: it waits for its place
	job  *job.Job
}

// admit gives a run its place, or deals with it as the job's overlap policy says.
func (c *core) admit(r *run) {
	j := r.job
	c.runs[r.id] = r
	if c.stopping {
		c.leave(r)
		return
	}
	if k, ok := c.killed[r.id]; ok {
		delete(c.killed, r.id)
		c.settle(r, job.Killed, "killed by "+k.by+" before it started")
		return
	}
	if r.dispatch == nil && j.Kind.Claimed() { // to claim it may have taken long
		switch e := c.clock.entries[j.Hash]; {
		case e == nil:
			c.told(r, job.Skipped, deletedReason)
			c.forget(j.Hash, j)
			return
		case e.job.Pause:
			c.told(r, job.Skipped, "the task was paused before its turn came")
			return
		}
	}
	waiting := len(c.queue[j.Hash]) > 0
	switch {
	case !waiting && c.place(j) && !c.full():
		c.launch(r)
	case c.full() && c.fits(r):
		c.queue[j.Hash] = append(c.queue[j.Hash], turn{run: r, job: j})
		c.hold(j.Hash)
	case j.Overlap == job.OverlapReplace && !r.madeUp():
		c.replace(r)
	case r.dispatch == nil && c.onlyYielding(j.Hash): // they make no instant of the timer skip: it comes next
		c.queue[j.Hash] = slices.Insert(c.queue[j.Hash], c.behindTold(j.Hash), turn{run: r, job: j})
		for _, o := range c.alive[j.Hash] {
			o.stepAside()
		}
	case r.queues() && c.waiting(j.Hash) < r.queueLimit():
		c.queue[j.Hash] = append(c.queue[j.Hash], turn{run: r, job: j})
	case r.queues():
		c.settle(r, job.Skipped, fmt.Sprintf("%d runs were waiting already", r.queueLimit()))
	case len(c.alive[j.Hash]) > 0:
		c.settle(r, job.Skipped, fmt.Sprintf("run %s was still alive", c.alive[j.Hash][0].id))
	default:
		c.settle(r, job.Skipped, "others were waiting already")
	}
}

// onlyYielding tells whether nothing is alive or waits for a place but what gives way to the timer.
func (c *core) onlyYielding(hash string) bool {
	for _, r := range c.alive[hash] {
		if !r.yields() {
			return false
		}
	}
	return !slices.ContainsFunc(c.queue[hash], func(t turn) bool { return t.told == nil && !t.run.yields() })
}

// behindTold is the place in the queue behind everything that waits to be told.
func (c *core) behindTold(hash string) int {
	for i, t := range slices.Backward(c.queue[hash]) {
		if t.told != nil {
			return i + 1
		}
	}
	return 0
}

// place tells whether another run of a job may start now. The job's latest version says how many may.
func (c *core) place(j *job.Job) bool {
	parallel := j.Parallel
	if e := c.clock.entries[j.Hash]; e != nil {
		j = e.job
	}
	switch {
	case j.Kind == job.KindAlone: // its lock allows one anywhere
		return len(c.alive[j.Hash]) == 0
	case parallel > 0:
		return len(c.alive[j.Hash]) < parallel
	case j.Overlap == job.OverlapAllow:
		return true
	}
	return len(c.alive[j.Hash]) < max(j.Concurrency, 1)
}

// waiting counts the runs that wait for a place.
func (c *core) waiting(hash string) (n int) {
	for _, t := range c.queue[hash] {
		if t.told == nil {
			n++
		}
	}
	return n
}

// replace kills the oldest run for a new one, which starts when that has ended. What waited is replaced too.
func (c *core) replace(r *run) {
	hash := r.job.Hash
	c.callOff(hash, "replaced by a later run before it started", true)
	c.queue[hash] = []turn{{run: r, job: r.job}}
	if alive := c.alive[hash]; len(alive) > 0 {
		alive[0].kill("the run that replaces it")
	}
	c.pump(hash)
}

// launch starts a run in a goroutine of its own.
func (c *core) launch(r *run) {
	c.alive[r.job.Hash] = append(c.alive[r.job.Hash], r)
	if r.ordered() {
		r.note()
	}
	c.a.wg.Go(func() {
		next := c.ended
		if again := r.live(); again {
			next = c.again
		}
		c.a.tell(func() { next(r) })
	})
}

// stalled hears that a run that was asked for waits for etcd. An instant of the timer that waits for its place gets it.
func (c *core) stalled(r *run) {
	if slices.ContainsFunc(c.queue[r.job.Hash], func(t turn) bool { return t.told == nil && t.run.dispatch == nil }) {
		r.stepAside()
	}
}

// again has a run that gave its place away wait for another one.
func (c *core) again(r *run) {
	if c.stopping {
		c.ended(r)
		return
	}
	c.queue[r.job.Hash] = append(c.queue[r.job.Hash], turn{run: r, job: r.job})
	c.free(r)
	if outcome, reason := r.ended(); outcome != "" { // meanwhile
		c.queue[r.job.Hash] = slices.DeleteFunc(c.queue[r.job.Hash], func(t turn) bool { return t.run == r })
		c.told(r, outcome, reason)
	}
	c.pump(r.job.Hash)
}

// ended frees a run's place and gives it to the next in the queue.
func (c *core) ended(r *run) {
	r.cancel()
	delete(c.runs, r.id)
	c.free(r)
	c.pumpHeld()
	c.pump(r.job.Hash)
	if r.dispatch == nil {
		c.forget(r.job.Hash, r.job) // if the job went while it ran
	}
}

// free takes a run's place away.
func (c *core) free(r *run) {
	hash := r.job.Hash
	alive := c.alive[hash][:0]
	for _, o := range c.alive[hash] {
		if o != r {
			alive = append(alive, o)
		}
	}
	clear(c.alive[hash][len(alive):])
	c.alive[hash] = alive
	if len(alive) == 0 {
		delete(c.alive, hash)
	}
}

// pump deals with what stands at the head of a job's queue, as far as there are places.
func (c *core) pump(hash string) {
	for len(c.queue[hash]) > 0 {
		t := c.queue[hash][0]
		if t.told == nil && !c.place(t.job) {
			return
		}
		if t.told == nil && c.full() {
			c.hold(hash)
			return
		}
		c.queue[hash][0] = turn{}
		c.queue[hash] = c.queue[hash][1:]
		if t.told != nil {
			c.tellTurn(t)
		} else if late := t.run.tooLate(c.a.Now()); late != "" {
			c.told(t.run, job.Missed, late)
		} else {
			c.launch(t.run)
		}
	}
	delete(c.queue, hash)
}

// tellTurn tells what a turn has to tell.
func (c *core) tellTurn(t turn) {
	if t.run != nil {
		c.told(t.run, t.told.outcome, t.told.reason)
		return
	}
	rec := t.told.record(t.job, c.a.Now().UTC())
	c.a.end(&rec)
}

// tellInTurn tells what became of instants that do not run, behind those that wait.
func (c *core) tellInTurn(j *job.Job, v verdict) {
	q := c.queue[j.Hash]
	if len(q) == 0 {
		c.tellTurn(turn{told: &v, job: j})
		return
	}
	if last := q[len(q)-1]; last.run == nil && last.job == j && last.told.join(v) {
		return
	}
	c.queue[j.Hash] = append(q, turn{told: &v, job: j})
}

// settle ends a run that will not start, in its turn.
func (c *core) settle(r *run, outcome job.Outcome, reason string) {
	if !r.ordered() || len(c.queue[r.job.Hash]) == 0 {
		c.told(r, outcome, reason)
		return
	}
	r.cancel()
	delete(c.runs, r.id)
	v := verdict{first: r.instant, last: r.instant, count: 1, outcome: outcome, reason: reason}
	c.tellInTurn(r.job, v)
}

// told ends a run that did not start, with its reason.
func (c *core) told(r *run, outcome job.Outcome, reason string) {
	r.cancel()
	delete(c.runs, r.id)
	rec := r.record(c.a.Now().UTC(), outcome, reason)
	c.a.end(&rec)
}

// callOff tells of the waiting runs of a job, of all firings or of everything, that they will not start, and ends those
// that have their place and wait for something else, such as a lock.
func (c *core) callOff(hash, reason string, asked bool) {
	which := func(r *run) bool { return asked || r.dispatch == nil }
	var stay []turn // runs that were asked for only, so that nothing that is told now overtakes an instant
	for _, t := range c.queue[hash] {
		switch {
		case t.told != nil:
			c.tellTurn(t)
		case which(t.run):
			c.told(t.run, job.Skipped, reason)
		default:
			stay = append(stay, t)
		}
	}
	if delete(c.queue, hash); len(stay) > 0 {
		c.queue[hash] = stay
	}
	for _, r := range c.alive[hash] {
		if which(r) {
			r.callOff(reason)
		}
	}
}

// leaveWaiting drops what waits, as the agent stops: the next life comes to it again, because the cursor and the dispatches
// stand where they stood. What is claimed nobody can come to again.
func (c *core) leaveWaiting() {
	for _, q := range c.queue {
		for _, t := range q {
			if t.run != nil {
				c.leave(t.run)
			}
		}
	}
	clear(c.queue)
}

func (c *core) leave(r *run) {
	if r.dispatch == nil && r.job.Kind.Claimed() {
		c.told(r, job.Missed, stopped+"its turn came")
		return
	}
	r.cancel()
	delete(c.runs, r.id)
}
