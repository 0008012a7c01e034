package node

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// doubleRunner is a runner whose executions do what a test says.
type doubleRunner struct {
	// behave is called for each execution in a goroutine of its own; nil: it succeeds at once.
	behave func(x *doubleExec)
	// refuse may refuse a start.
	refuse func(e job.Exec) error
	// progress is what each execution says of how far it is; nil: nothing.
	progress chan job.Progress

	mu      sync.Mutex
	dead    bool
	nextPid int
	all     []*doubleExec
	wg      sync.WaitGroup
}

// doubleExec is an execution. Unless it is stubborn it ends as soon as it is killed.
type doubleExec struct {
	job.Exec
	pid   int
	begin time.Time

	mu       sync.Mutex
	stubborn bool          // only KillNow ends it
	killed   chan struct{} // closed by the first Kill
	done     chan struct{}
	exit     job.Exit
	over     bool
	progress chan job.Progress // nil: it says nothing
}

func (x *doubleExec) setStubborn(stubborn bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stubborn = stubborn
}

func (r *doubleRunner) Start(ctx context.Context, e job.Exec) (job.Execution, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if r.refuse != nil {
		if err := r.refuse(e); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return nil, context.Canceled
	}
	r.nextPid++
	x := &doubleExec{Exec: e, pid: r.nextPid, begin: time.Now(), killed: make(chan struct{}), done: make(chan struct{}), progress: r.progress}
	r.all = append(r.all, x)
	behave := r.behave
	r.wg.Go(func() {
		if behave != nil {
			behave(x)
		}
		x.finish(job.Exit{Outcome: job.Success})
	})
	return x, nil
}

func (r *doubleRunner) Hold(time.Duration) {}

// doubleGuard holds what was started until it is released, whatever becomes of the agents.
type doubleGuard struct {
	mu   sync.Mutex
	held []*doubleExec
}

// guarded is a life's end of a doubleGuard. It dies with its runner.
type guarded struct {
	*doubleRunner
	guard *doubleGuard
}

// held is an execution as one life has it.
type held struct {
	*doubleExec
	of guarded
}

func (g guarded) Start(ctx context.Context, e job.Exec) (job.Execution, error) {
	x, err := g.doubleRunner.Start(ctx, e)
	if err != nil {
		return nil, err
	}
	d := x.(*doubleExec)
	g.guard.mu.Lock()
	defer g.guard.mu.Unlock()
	g.guard.held = append(g.guard.held, d)
	return held{d, g}, nil
}

func (g guarded) Adopt(context.Context) (list []job.Adopted, _ error) {
	g.guard.mu.Lock()
	defer g.guard.mu.Unlock()
	for _, x := range g.guard.held {
		list = append(list, job.Adopted{Run: x.Run, Attempt: x.Attempt, Begin: x.begin, Note: x.Note, Execution: held{x, g}})
	}
	return list, nil
}

func (h held) alive() bool {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	return !h.of.dead
}

func (h held) Kill(by string) {
	if h.alive() {
		h.doubleExec.Kill(by)
	}
}

func (h held) KillNow(by string) {
	if h.alive() {
		h.doubleExec.KillNow(by)
	}
}

func (h held) Release() {
	if !h.alive() {
		return
	}
	h.of.guard.mu.Lock()
	defer h.of.guard.mu.Unlock()
	h.of.guard.held = slices.DeleteFunc(h.of.guard.held, func(x *doubleExec) bool { return x == h.doubleExec })
}

// die is the runner's end with its process: nothing starts any more.
func (r *doubleRunner) die() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = true
}

// started lists the executions that began, in order.
func (r *doubleRunner) started() []*doubleExec {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*doubleExec(nil), r.all...)
}

func (x *doubleExec) finish(e job.Exit) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return
	}
	x.over = true
	e.Begin, e.End = x.begin, time.Now()
	x.exit = e
	close(x.done)
}

// takes lets the execution take a time, unless it is killed before.
func (x *doubleExec) takes(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.done:
	}
}

func (x *doubleExec) Pid() int           { return x.pid }
func (x *doubleExec) StartTicks() uint64 { return uint64(x.pid) }
func (x *doubleExec) Kill(by string) {
	x.mu.Lock()
	select {
	case <-x.killed:
	default:
		close(x.killed)
	}
	stubborn := x.stubborn
	x.mu.Unlock()
	if !stubborn {
		x.finish(job.Exit{Outcome: job.Killed, Reason: "killed by " + by})
	}
}
func (x *doubleExec) KillNow(by string) {
	x.finish(job.Exit{Outcome: job.Killed, Reason: "killed by " + by, Signal: "SIGKILL"})
}
func (x *doubleExec) Release()              {}
func (x *doubleExec) Done() <-chan struct{} { return x.done }
func (x *doubleExec) Exit() job.Exit        { return x.exit }

// Publish has nothing to do: a double has no output.
func (x *doubleExec) Publish() {}

// Progress is what the test says.
func (x *doubleExec) Progress() <-chan job.Progress { return x.progress }

// wasKilled tells whether somebody asked it to end.
func (x *doubleExec) wasKilled() bool {
	select {
	case <-x.killed:
		return true
	default:
		return false
	}
}

// end is when it ended; it must have.
func (x *doubleExec) end(t *testing.T) time.Time {
	t.Helper()
	select {
	case <-x.done:
	default:
		t.Fatalf("run %s is still alive", x.Run)
	}
	return x.exit.End
}
