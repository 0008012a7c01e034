package node

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// execute makes the attempts and ends the run with its one record, in which they are listed.
func (r *run) execute() {
	a := r.a
	rec := r.record(r.begin, job.Lost, "")
	a.metrics.running.Inc()
	defer a.metrics.running.Dec()

	policy := r.job.RetryPolicy()
	var attempts []job.Attempt
	for n := 1; ; n++ {
		rec.Attempt = r.firstAttempt() + n - 1
		exit := r.attempt(&rec, n)
		if n == 1 && !exit.Begin.IsZero() {
			rec.BeginTime = exit.Begin.UTC()
		}
		r.fill(&rec, exit)
		again := (exit.Outcome == job.Failed || exit.Outcome == job.Timeout) && n <= policy.Count
		if !again {
			break
		}
		attempts = append(attempts, note(&rec, exit))
		if !sleep(r.ctx, policy.Wait(n+1)) { // ancestor 23
			rec.Outcome, rec.Reason = job.Killed, "killed by "+r.killer()+" before its next attempt"
			rec.EndTime = a.Now().UTC()
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
	now := a.Now().UTC()
	exit := job.Exit{Outcome: job.Failed, Begin: now, End: now}
	filled, err := j.Fill(r.scope())
	if err != nil {
		exit.Reason = err.Error()
		return exit
	}
	ctx, cancel, tied := r.ctx, context.CancelFunc(func() {}), time.Duration(0)
	if j.Kind == job.KindAlone {
		now := a.SinceBoot() // first: should the agent be stopped in between, the end is too early, and not too late
		left := r.lockLeft()
		tied = now + left
		if left <= 0 {
			r.kill(leaseCause)
		}
		ctx, cancel = context.WithTimeoutCause(r.ctx, left, errLease)
	}
	x, err := a.start(ctx, job.Exec{
		Run: r.id, Attempt: rec.Attempt, Way: filled.Way, Argv: filled.Argv, Env: append(filled.Env, r.environment(rec.Attempt)...),
		Dir: filled.Dir, User: j.User, Stdin: []byte(filled.Stdin),
		ResultFrom: j.ResultFrom, Timeout: time.Duration(j.Timeout) * time.Second, Grace: time.Duration(j.Grace) * time.Second,
		Limits: j.Limits, Tied: tied, TiedGrace: a.Lease * 2 / 5,
	})
	over := context.Cause(ctx)
	cancel()
	if err != nil {
		exit.End, exit.Reason = a.Now().UTC(), err.Error()
		if errors.Is(over, errLease) {
			r.kill(leaseCause)
		}
		if by := r.killer(); by != "" {
			exit.Outcome, exit.Reason = job.Killed, "killed by "+by+" before it started"
		}
		return exit
	}
	if n == 1 && r.dispatch == nil && r.trigger == job.TriggerTimer {
		a.metrics.late(a.Now().Sub(fireTime(j, r.instant)))
	}
	r.alive(x)
	defer r.alive(nil)
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
	if j.Kind == job.KindAlone {
		r.guard(x)
	}
	watch(x, p, s)
	return x.Exit()
}

// watch waits for the end of an execution and shows its progress meanwhile, once a second at most, where its process is known.
func watch(x job.Execution, p *job.Process, s *store.Session) {
	all := x.Progress()
	news := all
	var pause <-chan time.Time
	for {
		select {
		case <-x.Done():
			return
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
		ID: processID(x, r.id), JobID: r.job.ID, Group: r.job.Group, NodeID: r.a.ID, Time: r.a.Now().UTC(),
		Run: r.id, Name: r.job.Name, Instant: r.instant, Trigger: r.trigger, Attempt: attempt, User: r.job.User,
		Command: r.job.What(), Fence: r.fence, BootID: r.a.BootID, StartTicks: x.StartTicks(), Session: r.a.session,
	}
}
