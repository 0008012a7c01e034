package node

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// run is a firing or a dispatch on its way from being due to its record.
type run struct {
	a        *Agent
	job      *job.Job
	id       job.RunID
	instant  time.Time
	trigger  job.Trigger
	dispatch *job.Dispatch // nil: of a timer
	fence    int64
	session  string    // of the life that began it
	try      int64     // of its claim
	lock     job.Lock  // of an alone task: asked for or held; Fence is 0 while it is not known to be held
	epoch    int64     // of the lease under which the lock is held
	begin    time.Time // of the first attempt; zero: none was made
	open     bool      // the spool knows that it began

	ctx    context.Context    // ends when the run is to end, and with the agent
	life   context.Context    // ends when the run is to end: what has begun may outlive the agent
	cancel context.CancelFunc // of both

	mu      sync.Mutex
	by      string        // who killed it
	off     string        // why it was called off before it started
	started bool          // it can't be called off any more
	exec    job.Execution // alive now
	left    bool          // it goes on without the agent
	stalled func()        // not nil: etcd does not answer whether it may start; it has it give its place to others until it does
	aside   bool          // it gave its place away
	// regained is closed when an alone run that an earlier life began has its lock again; nil: this life began it.
	regained chan struct{}
}

func newRun(ctx context.Context, a *Agent, j *job.Job, id job.RunID, trigger job.Trigger) *run {
	r := &run{a: a, job: j, id: id, trigger: trigger, session: a.session}
	r.bind(ctx)
	return r
}

// bind makes the run end with ctx, as far as it has not begun.
func (r *run) bind(ctx context.Context) {
	own, end := context.WithCancel(ctx)
	life, endLife := context.WithCancel(context.WithoutCancel(ctx))
	r.ctx, r.life, r.cancel = own, life, func() {
		end()
		endLife()
	}
}

// ordered tells whether the run is an instant that only this node accounts for, so that it is told in its turn.
func (r *run) ordered() bool { return r.dispatch == nil && !r.job.Kind.Claimed() }

// kill ends the run wherever it stands. Only the first call counts.
func (r *run) kill(by string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by != "" {
		return
	}
	r.by = by
	r.cancel()
	if r.exec != nil {
		r.exec.Kill(by)
	}
}

// killNow is kill without grace, also after a kill.
func (r *run) killNow(by string) {
	r.kill(by)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.exec != nil {
		r.exec.KillNow(by)
	}
}

// callOff ends a run that has not started yet.
func (r *run) callOff(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.started && r.off == "" {
		r.off = reason
		r.cancel()
	}
}

// starts closes the time in which the run can be called off; false where it was.
func (r *run) starts() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = r.off == ""
	return r.started
}

// killer is who killed the run, or "". A run that ends with the agent was killed by its stop.
func (r *run) killer() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == "" && r.ctx.Err() != nil {
		return stopCause
	}
	return r.by
}

// stopped tells whether it was the stop of the agent, and nothing else, that ended the run before its start.
func (r *run) stopped() bool {
	r.mu.Lock()
	off := r.off
	r.mu.Unlock()
	return off == "" && r.killer() == stopCause
}

// killedBy is who killed the run, or "".
func (r *run) killedBy() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by
}

// ended says how the run ended before its start, if something ended it.
func (r *run) ended() (outcome job.Outcome, reason string) {
	r.mu.Lock()
	off := r.off
	r.mu.Unlock()
	if off != "" {
		return job.Skipped, off
	}
	if by := r.killer(); by != "" {
		return job.Killed, "killed by " + by + " before it started"
	}
	return "", ""
}

// alive sets the execution that a kill must reach.
func (r *run) alive(x job.Execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exec = x
	if x != nil && r.by != "" {
		x.Kill(r.by)
	}
}

// madeUp tells whether the run makes up for an instant of the past, or is one of many of a step or a list: such runs wait for each other, whatever the
// policy is for instants that are due now.
func (r *run) madeUp() bool {
	return r.trigger == job.TriggerCatchup || r.trigger == job.TriggerBackfill || r.trigger == job.TriggerGroup || r.listed()
}

// listed tells whether the run is one of many that somebody asked for at once.
func (r *run) listed() bool { return r.dispatch != nil && r.dispatch.Listed }

// yields tells whether the run gives way to the instants of the timer: those neither skip nor wait because of it.
func (r *run) yields() bool { return r.trigger == job.TriggerBackfill || r.listed() || r.stalls() }

// stalls tells whether the run waits for etcd, which the instants of its job's timer need not.
func (r *run) stalls() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stalled != nil
}

// stepAside has a run that stalls give its place away.
func (r *run) stepAside() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stalled != nil {
		r.aside = true
		r.stalled()
	}
}

// isAside tells whether the run gave its place away.
func (r *run) isAside() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.aside
}

// stall says whether the run waits for etcd; a call of aside ends the waiting. It tells whether the run was to give its place away meanwhile.
func (r *run) stall(aside func()) (gave bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gave = r.aside
	r.stalled, r.aside = aside, false
	return gave
}

// queues tells whether the run waits for its turn.
func (r *run) queues() bool { return r.job.Overlap == job.OverlapQueue || r.madeUp() }

// queueLimit is how many runs may wait when it comes to wait too.
func (r *run) queueLimit() int {
	switch {
	case r.listed():
		return math.MaxInt // each is a key in etcd while it waits: the masters bound them
	case r.madeUp():
		return maxCatchup
	}
	return maxQueue
}

// startBy is until when the run may start.
func (r *run) startBy() time.Time {
	switch {
	case r.dispatch != nil && !r.dispatch.NotAfter.IsZero():
		return r.dispatch.NotAfter
	case r.dispatch == nil && r.job.Deadline > 0:
		return fireTime(r.job, r.instant).Add(time.Duration(r.job.Deadline) * time.Second)
	}
	return r.a.Now().Add(maxWait)
}

// tooLate says why the run may not start any more, or "".
func (r *run) tooLate(now time.Time) string {
	if by := r.startBy(); now.After(by) {
		return "its turn did not come by " + by.UTC().Format(time.RFC3339)
	}
	return ""
}

// record begins the run's record.
func (r *run) record(now time.Time, outcome job.Outcome, reason string) job.ExecutionRecord {
	begin := r.begin
	if begin.IsZero() {
		begin = now
	}
	rec := job.CreateExecutionRecord(r.job, r.id, begin, now, outcome, reason)
	rec.Instant, rec.Trigger, rec.Fence = r.instant, r.trigger, r.fence
	if r.dispatch != nil {
		rec.Cause, rec.Params, rec.Execution = r.dispatch.Cause, r.dispatch.Params, r.dispatch.Execution
	}
	return rec
}

// note tells the spool that the run begins. A disk that refuses stops nobody: what is started at most once is marked in
// etcd, and an instant of a common job counts, if this life of the agent ends now, as one that nobody came to.
func (r *run) note() {
	r.begin, r.open = r.a.Now().UTC(), true
	rec := r.record(r.begin, job.Lost, "")
	rec.Attempt, rec.Session = r.firstAttempt(), r.session
	if err := r.a.spool.begin(&rec); err != nil {
		r.a.Logger.Error("the spool's disk refuses the begin of a run", "run", r.id, "error", err)
	}
}

// live takes the run from its place in the book to its record: the lock, the mark on the dispatch, the
// attempts. It runs in a goroutine of its own. again: it gave its place away and has not begun.
func (r *run) live() (again bool) {
	if r.job.Kind == job.KindAlone {
		defer r.releaseLock()
		if outcome, reason := r.takeLock(); outcome != "" {
			switch {
			case !r.stopped():
				r.close(outcome, reason)
			case r.dispatch == nil: // nobody else can claim its instant
				r.close(job.Missed, stopped+"it had the lock of its task")
			} // else the dispatch stands as it stood, and the next life comes to it
			return false
		}
	}
	if r.dispatch != nil {
		outcome, reason, ours := r.markStarted()
		if gave := r.stall(nil); !ours {
			if outcome != "" {
				r.close(outcome, reason)
			}
			return gave && outcome == ""
		}
	}
	if !r.starts() {
		outcome, reason := r.ended()
		r.close(outcome, reason)
		return false
	}
	if !r.open {
		r.note()
	}
	r.execute()
	return false
}

// close ends a run that did not start.
func (r *run) close(outcome job.Outcome, reason string) {
	rec := r.record(r.a.Now().UTC(), outcome, reason)
	r.a.end(&rec)
}

// patience is how long a run that was asked for is thought to be about to start while etcd does not answer.
const patience = time.Second

// markStarted marks the dispatch, so that it can't start again. Where that is refused, the dispatch was taken back
// and whoever did it wrote the record: there is no outcome, nor where the run gave its place away. Where etcd is away for too long, the outcome
// says so.
func (r *run) markStarted() (outcome job.Outcome, reason string, ours bool) {
	ctx, cancel := context.WithDeadline(r.ctx, r.a.wall(r.startBy()))
	defer cancel()
	limit := patience
	for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
		fence, err := r.markOnce(ctx, limit)
		limit *= 2
		if err == nil {
			if r.lock.Fence == 0 {
				r.fence = fence
			}
			return "", "", true
		}
		if job.IsConflict(err) || job.IsNotFound(err) {
			return "", "", false
		}
		if !r.job.Kind.Claimed() && !r.stalls() { // the others of a claimed job wait for etcd too
			r.stall(cancel)
			r.a.tell(func() { r.a.core.stalled(r) })
		}
		if !sleep(ctx, wait) {
			break
		}
	}
	if outcome, reason = r.ended(); outcome == "" && !r.isAside() {
		outcome, reason = job.Missed, "the coordinator could not be reached to mark its start"
	}
	return outcome, reason, false
}

func (r *run) markOnce(ctx context.Context, limit time.Duration) (fence int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s := r.a.leaseSession(ctx)
	if s == nil {
		return 0, ctx.Err()
	}
	return s.StartDispatch(ctx, r.dispatch)
}
