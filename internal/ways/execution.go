package ways

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/job"
)

// publishAfter is how long a run lives, unless it writes much or somebody asks, before it gets a log.
const publishAfter = time.Second

// execution is a run in this process, alive or ended. It implements [job.Execution].
type execution struct {
	r        *Runner
	exec     job.Exec
	out      *output
	mask     *secrets.Masker
	progress chan job.Progress
	done     chan struct{}
	ctx      context.Context // ends when the run is to end; its cause says why
	cancel   context.CancelCauseFunc
	now      chan struct{} // closed to end the grace

	mu    sync.Mutex
	over  job.Outcome // what the end from outside makes of it; empty: there was none
	ended bool
	exit  job.Exit // set before done is closed
}

// stopped is why an execution was ended from outside.
type stopped string

func (s stopped) Error() string { return string(s) }

// begin starts an execution: work is run in a goroutine, and what it returns is how it ended, unless that was decided from
// outside. It must return soon after ctx ended, but may use the grace.
func (r *Runner) begin(e job.Exec, mask *secrets.Masker, work func(*execution) job.Exit) *execution {
	if e.Grace <= 0 {
		e.Grace = job.DefaultGrace
	}
	if e.OutputLimit <= 0 {
		e.OutputLimit = job.DefaultOutputLimit
	}
	x := &execution{
		r: r, exec: e, mask: mask, out: &output{half: max(e.OutputLimit/2, 1)},
		progress: make(chan job.Progress, 1), done: make(chan struct{}), now: make(chan struct{}),
	}
	if r.Logs != nil {
		x.out.begin = func() (*runlog.Writer, error) {
			w, err := r.Logs.Create(runlog.ID{Run: e.Run, Attempt: e.Attempt})
			if err != nil {
				r.Logger.Warn("a run has no log; its output stays in its record alone", "run", e.Run, "attempt", e.Attempt, "error", err)
			}
			return w, err
		}
	}
	x.ctx, x.cancel = context.WithCancelCause(context.Background())
	r.add(x)
	begin := time.Now()
	var timeout *time.Timer
	if e.Timeout > 0 {
		timeout = time.AfterFunc(e.Timeout, func() { x.stop(job.Timeout, "timeout after "+job.Duration(e.Timeout).String()) })
	}
	publish := time.AfterFunc(publishAfter, x.out.publishNow)
	go func() {
		exit := work(x)
		if timeout != nil {
			timeout.Stop()
		}
		publish.Stop()
		exit.Begin, exit.End = begin, time.Now()
		x.finish(exit)
	}()
	return x
}

// finish closes Done with how it went. Who ended it from outside has the last word.
func (x *execution) finish(exit job.Exit) {
	x.mu.Lock()
	x.ended = true
	if x.over != "" && exit.Outcome != job.Lost {
		cause := context.Cause(x.ctx).Error()
		if exit.Reason != "" && exit.Outcome == x.over {
			cause += "; " + exit.Reason
		}
		exit.Outcome, exit.Reason, exit.EndedBy = x.over, cause, job.EndedByKill
		if x.over == job.Timeout {
			exit.EndedBy = job.EndedByTimeout
		}
	}
	x.mu.Unlock()
	if exit.Outcome == job.Success {
		exit.Reason = ""
	}
	exit.Reason = x.mask.String(exit.Reason)
	x.out.close(&exit)
	x.cancel(nil)
	x.exit = exit
	x.r.remove(x)
	close(x.done)
}

// stop ends the run from outside; only the first call counts.
func (x *execution) stop(outcome job.Outcome, cause string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended || x.over != "" {
		return
	}
	x.over = outcome
	x.cancel(stopped(cause))
}

// Pid is 0: there is no process.
func (x *execution) Pid() int { return 0 }

// StartTicks is 0.
func (x *execution) StartTicks() uint64 { return 0 }

func (x *execution) Kill(by string) {
	if by == "" {
		by = "an unnamed caller"
	}
	x.stop(job.Killed, "killed by "+by)
}

func (x *execution) KillNow(by string) {
	x.mu.Lock()
	select {
	case <-x.now:
	default:
		close(x.now)
	}
	x.mu.Unlock()
	x.Kill(by)
}

func (x *execution) Done() <-chan struct{} { return x.done }

// Exit is the zero value until Done is closed.
func (x *execution) Exit() job.Exit {
	select {
	case <-x.done:
		return x.exit
	default:
		return job.Exit{}
	}
}

func (x *execution) Publish() { x.out.publishNow() }

func (x *execution) Progress() <-chan job.Progress { return x.progress }

// Release does nothing: what ended is forgotten by itself.
func (x *execution) Release() {}

// tell passes on how far the run is. An older word that nobody took makes way.
func (x *execution) tell(p job.Progress) {
	for {
		select {
		case x.progress <- p:
			return
		default:
		}
		select {
		case <-x.progress:
		default:
		}
	}
}

// grace waits for something until the grace is over or ended; false: it did not come.
func (x *execution) grace(d time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
	case <-x.now:
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// failed is the exit of a run that did not go well.
func failed(format string, args ...any) job.Exit {
	return job.Exit{Outcome: job.Failed, EndedBy: job.EndedByExit, Reason: fmt.Sprintf(format, args...)}
}

// explained is an error as a reason: with its hint.
func explained(err error) string {
	var e *job.Error
	if errors.As(err, &e) && e.Hint != "" && !strings.Contains(err.Error(), e.Hint) {
		return err.Error() + "; " + e.Hint
	}
	return err.Error()
}

// takeResult puts a result into an exit, if it is one.
func takeResult(x *job.Exit, from string, b []byte) {
	switch b = bytes.TrimSpace(b); {
	case len(b) == 0:
	case len(b) > job.MaxResult:
		x.ResultError = fmt.Sprintf("%s has %d bytes, at most %d are kept", from, len(b), job.MaxResult)
	case !json.Valid(b):
		x.ResultError = from + " is not JSON"
	default:
		x.Result = bytes.Clone(b)
	}
}
