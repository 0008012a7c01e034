package node

import (
	"context"
	"fmt"
	"strconv"
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
	lock     *job.Lock // held; alone tasks only
	epoch    int64     // of the lease under which the lock is held
	begin    time.Time // of the first attempt; zero: none was made

	ctx    context.Context // ends when the run is to end
	cancel context.CancelFunc

	mu   sync.Mutex
	by   string        // who killed it
	exec job.Execution // alive now
}

func newRun(ctx context.Context, a *Agent, j *job.Job, id job.RunID, trigger job.Trigger) *run {
	r := &run{a: a, job: j, id: id, trigger: trigger}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

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

// killer is who killed the run, or "". A run that ends with the agent was killed by its stop.
func (r *run) killer() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == "" && r.ctx.Err() != nil {
		return stoppedCause
	}
	return r.by
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

// queues tells whether the run waits for its turn. What is caught up comes in order, whatever the policy is
// for instants that are due now.
func (r *run) queues() bool {
	return r.job.Overlap == job.OverlapQueue || r.trigger == job.TriggerCatchup
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
	if r.dispatch == nil && r.job.Deadline == 0 {
		return ""
	}
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
	rec.Instant, rec.Trigger, rec.Fence, rec.Session = r.instant, r.trigger, r.fence, r.a.session
	if r.dispatch != nil {
		rec.Cause = r.dispatch.Cause
	}
	return rec
}

// live takes the run from its place in the book to its record: the lock, the mark on the dispatch, the
// attempts. It runs in a goroutine of its own.
func (r *run) live() {
	if r.job.Kind == job.KindAlone {
		if outcome, reason := r.takeLock(); outcome != "" {
			r.close(r.record(r.a.Now().UTC(), outcome, reason))
			return
		}
		defer r.releaseLock()
	}
	if r.dispatch != nil {
		if rec, ok := r.markStarted(); !ok {
			if rec != nil {
				r.close(*rec)
			}
			return
		}
	}
	r.execute()
}

func (r *run) close(rec job.ExecutionRecord) { r.a.end(&rec) }

// markStarted marks the dispatch, so that it can't start again. Where that is refused, the dispatch was taken back
// and whoever did it wrote the record; where etcd is away for too long, the record says so.
func (r *run) markStarted() (*job.ExecutionRecord, bool) {
	ctx, cancel := context.WithDeadline(r.ctx, r.a.wall(r.startBy()))
	defer cancel()
	s := r.a.leaseSession(ctx)
	for wait := firstBackoff; s != nil; wait = min(2*wait, lastBackoff) {
		fence, err := s.StartDispatch(ctx, r.dispatch)
		if err == nil {
			if r.lock == nil {
				r.fence = fence
			}
			return nil, true
		}
		if job.IsConflict(err) || job.IsNotFound(err) {
			return nil, false
		}
		if !sleep(ctx, wait) {
			break
		}
	}
	now := r.a.Now().UTC()
	if by := r.killer(); by != "" {
		rec := r.record(now, job.Killed, "killed by "+by+" before it started")
		return &rec, false
	}
	rec := r.record(now, job.Missed, "the coordinator could not be reached to mark its start")
	return &rec, false
}

// execute makes the attempts and ends the run with its record.
func (r *run) execute() {
	a := r.a
	r.begin = a.Now().UTC()
	rec := r.record(r.begin, job.Lost, "")
	rec.Attempt = r.firstAttempt()
	if err := a.spool.begin(&rec); err != nil {
		a.end(ptr(r.record(a.Now().UTC(), job.Failed, fmt.Sprintf("not started: %v", err))))
		return
	}
	if r.dispatch == nil && r.trigger == job.TriggerTimer {
		a.metrics.late(r.begin.Sub(fireTime(r.job, r.instant)))
	}
	a.metrics.running.Inc()
	defer a.metrics.running.Dec()

	policy := r.job.RetryPolicy()
	var attempts []job.Attempt
	for n := 1; ; n++ {
		rec.Attempt = r.firstAttempt() + n - 1
		exit := r.attempt(&rec, n)
		r.fill(&rec, exit)
		again := (exit.Outcome == job.Failed || exit.Outcome == job.Timeout) && n <= policy.Count
		if !again {
			break
		}
		attempts = append(attempts, note(&rec, exit))
		if !sleep(r.ctx, policy.Wait(n+1)) {
			rec.Outcome, rec.Reason = job.Killed, "killed by "+r.killer()+" before its next attempt"
			break
		}
	}
	rec.Attempts = bounded(attempts)
	a.end(&rec)
}

// firstAttempt is the number of the first attempt: more than 1 where the run takes up a lost one.
func (r *run) firstAttempt() int {
	if r.dispatch != nil && r.dispatch.Attempt > 0 {
		return r.dispatch.Attempt
	}
	return 1
}

// attempt is one execution.
func (r *run) attempt(rec *job.ExecutionRecord, n int) job.Exit {
	a, j := r.a, r.job
	refused := func(err error) job.Exit {
		now := a.Now().UTC()
		return job.Exit{Outcome: job.Failed, Reason: err.Error(), Begin: now, End: now}
	}
	filled, err := j.Fill(r.scope())
	if err != nil {
		return refused(err)
	}
	x, err := a.Runner.Start(r.ctx, job.Exec{
		Run: r.id, Attempt: rec.Attempt, Argv: filled.Argv, Env: append(filled.Env, r.environment(rec.Attempt)...),
		Dir: filled.Dir, User: j.User, Stdin: []byte(filled.Stdin),
		Timeout: time.Duration(j.Timeout) * time.Second, Grace: time.Duration(j.Grace) * time.Second,
		Tied: j.Kind == job.KindAlone,
	})
	if err != nil {
		if by := r.killer(); by != "" {
			now := a.Now().UTC()
			return job.Exit{Outcome: job.Killed, Reason: "killed by " + by + " before it started", Begin: now, End: now}
		}
		return refused(err)
	}
	p := r.process(x, rec.Attempt)
	if err := a.spool.started(p); err != nil {
		a.Logger.Error("the spool's disk refuses the process of a run", "run", r.id, "error", err)
	}
	s := a.lease.Load()
	if s != nil {
		s.SetProcess(p)
		defer s.UnsetProcess(p)
	}
	rec.Pid = x.Pid()
	r.alive(x)
	defer r.alive(nil)
	if j.Kind == job.KindAlone {
		r.guard(x)
	}
	<-x.Done()
	return x.Exit()
}

// guard ends the execution of an alone task before the lease that holds its lock can lapse.
func (r *run) guard(x job.Execution) {
	grace := time.Duration(r.job.Grace) * time.Second
	if grace <= 0 {
		grace = job.DefaultGrace
	}
	t := time.NewTicker(r.a.Lease / 50)
	defer t.Stop()
	for {
		select {
		case <-x.Done():
			return
		case <-t.C:
		}
		s := r.a.lease.Load()
		left := s.Left()
		switch {
		case s.Epoch() != r.epoch, left <= r.a.Lease/10:
			r.kill(leaseCause)
			x.KillNow(leaseCause)
		case left <= grace+r.a.Lease/10 && left < r.a.Lease/2:
			r.kill(leaseCause)
		}
	}
}

const leaseCause = "the end of the node's lease"

// fill takes what an execution left into the record.
func (r *run) fill(rec *job.ExecutionRecord, x job.Exit) {
	rec.Outcome, rec.Reason, rec.ExitCode, rec.Signal = x.Outcome, x.Reason, x.ExitCode, x.Signal
	rec.EndTime = x.End.UTC()
	rec.Output, rec.OutputBytes, rec.OutputTruncated = string(x.Output), x.OutputBytes, x.OutputTruncated
	rec.Result = x.Result
	if x.Usage != (job.Usage{}) {
		rec.Usage = &x.Usage
	}
}

// note is an attempt as its record lists it.
func note(rec *job.ExecutionRecord, x job.Exit) job.Attempt {
	out := x.Output
	if len(out) > job.MaxAttemptOutput {
		out = out[len(out)-job.MaxAttemptOutput:]
	}
	return job.Attempt{
		Attempt: rec.Attempt, BeginTime: x.Begin.UTC(), EndTime: x.End.UTC(), Outcome: x.Outcome, Reason: x.Reason,
		ExitCode: x.ExitCode, Signal: x.Signal, Output: string(out),
	}
}

// bounded keeps the output of the latest attempts only.
func bounded(list []job.Attempt) []job.Attempt {
	const keep = 8
	for i := range max(0, len(list)-keep) {
		list[i].Output = ""
	}
	return list
}

func (r *run) scope() job.Scope {
	s := job.Scope{Config: r.job.Config, Node: r.a.self.Load(), Instant: r.instant, Task: r.job.Ref(), Run: r.id}
	if r.dispatch != nil {
		s.Params = r.dispatch.Params
		if s.Instant.IsZero() {
			s.Instant = r.dispatch.RequestedAt
		}
	}
	return s
}

// environment is what a run sees besides its own variables.
func (r *run) environment(attempt int) []string {
	env := []string{
		"ROTA_TASK=" + r.job.Name, "ROTA_GROUP=" + r.job.Group, "ROTA_JOB=" + r.job.ID, "ROTA_RUN=" + string(r.id),
		"ROTA_NODE=" + string(r.a.ID), "ROTA_ATTEMPT=" + strconv.Itoa(attempt),
	}
	if !r.instant.IsZero() {
		env = append(env, "ROTA_INSTANT="+r.instant.UTC().Format(time.RFC3339))
	}
	if r.fence > 0 {
		env = append(env, "ROTA_FENCE="+strconv.FormatInt(r.fence, 10))
	}
	return env
}

func (r *run) process(x job.Execution, attempt int) *job.Process {
	return &job.Process{
		ID: strconv.Itoa(x.Pid()), JobID: r.job.ID, Group: r.job.Group, NodeID: r.a.ID, Time: r.a.Now().UTC(),
		Run: r.id, Name: r.job.Name, Instant: r.instant, Trigger: r.trigger, Attempt: attempt, User: r.job.User,
		Command: r.job.Command, Fence: r.fence, BootID: r.a.BootID, StartTicks: x.StartTicks(), Session: r.a.session,
	}
}

func ptr[T any](v T) *T { return &v }
