package node

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// execute makes the attempts and ends the run with its one record, in which they are listed.
func (r *run) execute() { r.pursue(1, nil, nil) }

// pursue goes on with the attempts from the nth on; taken is that one's execution where an earlier life began it.
func (r *run) pursue(n int, attempts []job.Attempt, taken *job.Adopted) {
	a := r.a
	rec := r.record(r.begin, job.Lost, "")
	rec.Session = r.session
	a.metrics.running.Inc()
	defer a.metrics.running.Dec()

	policy := r.job.RetryPolicy()
	var last job.Execution // ended; the runner keeps it until the next attempt has begun, or the record is safe
	release := func() {
		if last != nil {
			last.Release()
		}
		last = nil
	}
	for ; ; n++ {
		rec.Attempt = r.firstAttempt() + n - 1
		var x job.Execution
		var exit job.Exit
		inherited := taken != nil
		if inherited {
			x, rec.Pid = taken.Execution, taken.Pid()
			exit = r.attend(x, taken.Begin, rec.Attempt)
			taken = nil
		} else {
			x, exit = r.attempt(&rec, n, attempts)
		}
		if r.left {
			return // the next life takes it up
		}
		if x != nil {
			release()
			last = x
		}
		if n == 1 && !exit.Begin.IsZero() {
			rec.BeginTime = exit.Begin.UTC()
			r.begin = rec.BeginTime
		}
		r.job.Success.Judge(&exit)
		r.fill(&rec, exit)
		again := (exit.Outcome == job.Failed || exit.Outcome == job.Timeout) && n <= policy.Count
		if !again {
			break
		}
		attempts = append(attempts, note(&rec, exit))
		wait := policy.Wait(n + 1)
		if inherited { // some of it has passed
			wait -= min(max(a.Now().Sub(exit.End), 0), wait)
		}
		if !r.rest(wait, last) { // ancestor 23
			if r.left {
				return
			}
			rec.Outcome, rec.Reason = job.Killed, "killed by "+r.killedBy()+" before its next attempt"
			rec.EndTime = a.Now().UTC()
			break
		}
	}
	rec.Attempts = bounded(attempts)
	a.end(&rec)
	release()
}

// rest waits between two attempts; false where it was ended. The wait goes on in the next life where the agent leaves what runs, and
// the runner holds the attempt before.
func (r *run) rest(d time.Duration, last job.Execution) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.life.Done():
		return false
	case <-r.a.leaving:
		if last != nil && last.Pid() != 0 {
			r.leaves()
		} else {
			r.kill(stopCause)
		}
		return false
	}
}

// leaves notes that the run goes on without the agent.
func (r *run) leaves() {
	r.left = true
	r.a.left.Add(1)
}

// firstAttempt is the number of the first attempt: more than 1 where the run takes up a lost one.
func (r *run) firstAttempt() int {
	if r.dispatch != nil && r.dispatch.Attempt > 0 {
		return r.dispatch.Attempt
	}
	return 1
}

// attempt is one execution; it is nil where it could not begin.
func (r *run) attempt(rec *job.ExecutionRecord, n int, before []job.Attempt) (job.Execution, job.Exit) {
	a, j := r.a, r.job
	now := a.Now().UTC()
	exit := job.Exit{Outcome: job.Failed, Begin: now, End: now}
	filled, err := j.Fill(r.scope())
	if err != nil {
		exit.Reason = err.Error()
		return nil, exit
	}
	ctx, cancel, tied := r.life, context.CancelFunc(func() {}), time.Duration(0)
	if j.Kind == job.KindAlone {
		select {
		case <-r.hasLock():
		case <-r.life.Done():
			exit.Outcome, exit.Reason = job.Killed, "killed by "+r.killedBy()+" before it started"
			return nil, exit
		}
		now := a.SinceBoot() // first: should the agent be stopped in between, the end is too early, and not too late
		left := r.lockLeft()
		tied = now + left
		if left <= 0 {
			r.kill(leaseCause)
		}
		ctx, cancel = context.WithTimeoutCause(r.life, left, errLease)
	}
	x, err := a.start(ctx, job.Exec{
		Run: r.id, Attempt: rec.Attempt, Way: filled.Way, Argv: filled.Argv, Env: append(filled.Env, r.environment(rec.Attempt)...),
		Dir: filled.Dir, User: j.User, Stdin: []byte(filled.Stdin),
		ResultFrom: j.ResultFrom, Timeout: time.Duration(j.Timeout) * time.Second, Grace: time.Duration(j.Grace) * time.Second,
		Limits: j.Limits, Tied: tied, TiedGrace: a.ttl() / 5, Note: r.legacy(before),
	})
	over := context.Cause(ctx)
	cancel()
	if err != nil {
		exit.End, exit.Reason = a.Now().UTC(), err.Error()
		if errors.Is(over, errLease) {
			r.kill(leaseCause)
		}
		if by := r.killedBy(); by != "" {
			exit.Outcome, exit.Reason = job.Killed, "killed by "+by+" before it started"
		}
		return nil, exit
	}
	if n == 1 && r.dispatch == nil && r.trigger == job.TriggerTimer {
		a.metrics.late(a.Now().Sub(fireTime(j, r.instant)))
	}
	rec.Pid = x.Pid()
	select {
	case <-x.Done(): // nobody need hear of a process that is gone
		return x, x.Exit()
	default:
		return x, r.attend(x, a.Now(), rec.Attempt)
	}
}

// attend stays with an execution until it ends, or goes on without the agent.
func (r *run) attend(x job.Execution, begin time.Time, attempt int) job.Exit {
	a := r.a
	r.alive(x)
	defer r.alive(nil)
	p := r.process(x, attempt)
	p.Time = begin.UTC()
	if err := a.spool.started(p); err != nil {
		a.Logger.Error("the spool's disk refuses the process of a run", "run", r.id, "error", err)
	}
	defer func() {
		if s := a.lease.Load(); s != nil && !r.left {
			s.UnsetProcess(p)
		}
	}()
	if r.job.Kind == job.KindAlone { // both end with the execution, or when the agent leaves what runs
		var guarded sync.WaitGroup
		guarded.Go(func() { r.guard(x) })
		defer guarded.Wait()
	}
	if !watch(x, p, a) {
		r.leaves()
		return job.Exit{}
	}
	return x.Exit()
}

// watch waits for the end of an execution and shows its progress meanwhile, once a second at most, where its process is known.
// It tells whether that came before the agent leaves what runs. What an earlier life began may be watched before the agent has joined; it is
// registered as soon as that has happened.
func watch(x job.Execution, p *job.Process, a *Agent) (ended bool) {
	leaving, joined := a.leaving, a.joined
	s := a.lease.Load()
	if s != nil {
		joined = nil
		s.SetProcess(p)
	}
	all := x.Progress()
	news := all
	var pause <-chan time.Time
	for {
		select {
		case <-x.Done():
			return true
		case <-leaving:
			if x.Pid() == 0 { // it can't outlive this process, and is ended before it
				x.Kill(stopCause)
				leaving = nil
				continue
			}
			select {
			case <-x.Done():
				return true
			default:
				return false
			}
		case <-joined:
			joined, s = nil, a.lease.Load()
			s.SetProcess(p)
		case <-pause:
			news = all
		case said := <-news:
			now := *p
			now.Progress = &said
			if s != nil {
				s.SetProcess(&now)
			}
			news, pause = nil, time.After(time.Second)
		}
	}
}

// fill takes what an execution left into the record.
func (r *run) fill(rec *job.ExecutionRecord, x job.Exit) {
	rec.Outcome, rec.Reason, rec.ExitCode, rec.Signal = x.Outcome, x.Reason, x.ExitCode, x.Signal
	rec.EndedBy = x.EndedBy
	rec.EndTime = x.End.UTC()
	rec.Output, rec.OutputBytes, rec.OutputTruncated = string(x.Output), x.OutputBytes, x.OutputTruncated
	rec.OutputParts, rec.Result, rec.ResultError, rec.Usage = x.OutputParts, x.Result, x.ResultError, nil
	if x.Usage != (job.Usage{}) {
		rec.Usage = &x.Usage
	}
}

// note is an attempt as its record lists it.
func note(rec *job.ExecutionRecord, x job.Exit) job.Attempt {
	out := string(x.Output)
	if len(out) > job.MaxAttemptOutput {
		out = validTail(out, job.MaxAttemptOutput)
	}
	return job.Attempt{
		Attempt: rec.Attempt, BeginTime: x.Begin.UTC(), EndTime: x.End.UTC(), Outcome: x.Outcome, Reason: x.Reason,
		ExitCode: x.ExitCode, Signal: x.Signal, EndedBy: x.EndedBy, Output: out,
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
	s := job.Scope{Config: r.job.Config, Params: r.job.Params, Node: r.a.self.Load(), Instant: r.instant, Task: r.job.Ref(), Run: r.id}
	if r.dispatch != nil {
		s.Params = maps.Clone(s.Params)
		if s.Params == nil {
			s.Params = map[string]string{}
		}
		maps.Copy(s.Params, r.dispatch.Params)
		s.Data = r.dispatch.Data
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
	if r.dispatch != nil && r.dispatch.Execution != "" {
		env = append(env, "ROTA_EXECUTION="+r.dispatch.Execution)
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
		ID: processID(x, r.id), JobID: r.job.ID, Group: r.job.Group, NodeID: r.a.ID, Time: r.a.Now().UTC(),
		Run: r.id, Name: r.job.Name, Instant: r.instant, Trigger: r.trigger, Attempt: attempt, User: r.job.User,
		Command: r.job.What(), Fence: r.fence, BootID: r.a.BootID, StartTicks: x.StartTicks(), Session: r.a.session,
	}
}
