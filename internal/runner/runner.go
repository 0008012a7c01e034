//go:build linux

package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/cgroup"
	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
)

// Runner implements [job.Runner]. It is safe for concurrent use.
type Runner struct {
	log     *slog.Logger
	logs    *runlog.Dir // nil: none
	gate    chan struct{}
	null    int  // /dev/null, the stdin of those that are given none
	session bool // children get a session of their own
	loop    *loop
	groups  *cgroup.Tree
	results *results
	users   accounts
	scans   scans
	orphans *orphans
	tied    tied
	scratch *scratch
	pid     int    // of this process
	ticks   uint64 // when it started

	mu      sync.Mutex
	closed  bool
	running map[int]*execution // by pid
	live    sync.WaitGroup     // one for each Start that goes on and each execution that has not ended
}

var _ job.Runner = (*Runner)(nil)

// New makes a runner. The process becomes a child sub-reaper for good (PR_SET_CHILD_SUBREAPER): what the
// descendants of its children leave behind becomes its child, so that no process of a run gets lost, and the runner
// buries those that die. A program that starts children of its own beside the runner keeps their exit status, if it either
// leaves them in its own process group or waits for them at once. The descriptors that the process inherited,
// but for 0, 1 and 2, are marked close-on-exec.
func New(o Options) (*Runner, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Starts <= 0 {
		o.Starts = 2 * runtime.NumCPU()
	}
	results, err := newResults(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := closeInherited(); err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become a child sub-reaper: %w", err)
	}
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	loop, err := newLoop()
	if err != nil {
		unix.Close(null)
		return nil, err
	}
	scratch, err := newScratch()
	if err != nil {
		loop.close()
		unix.Close(null)
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	ticks, err := StartTicks(os.Getpid())
	if err != nil {
		o.Logger.Warn("it can't be told when this process started", "error", err)
	}
	var groups *cgroup.Tree
	if !o.NoGroups {
		groups = cgroup.Open(o.Logger)
	}
	r := &Runner{
		log: o.Logger, logs: o.Logs, gate: make(chan struct{}, o.Starts), null: null,
		session: hasTerminal(), groups: groups, loop: loop, results: results, running: map[int]*execution{},
		scratch: scratch, pid: os.Getpid(), ticks: ticks,
	}
	r.orphans = startOrphans(r)
	return r, nil
}

// Start begins an execution. ctx counts only until it has begun: it ends the wait for a turn to fork, not the
// execution. An error says why nothing was executed, and carries a [job.Code]: CodeInvalid where the execution can't be
// started on this node as it is, CodeForbidden where the agent lacks a right, CodeExhausted where the node lacks
// resources, CodeUnavailable after Close. The error of a ctx that ended is ctx's.
func (r *Runner) Start(ctx context.Context, e job.Exec) (job.Execution, error) {
	return r.StartThen(ctx, e, nil)
}

// StartThen is Start, and calls then when the execution has ended, once, unless it was not started. That is done by the goroutine that saw the
// end, which has others to serve, so that then must not wait; it may come before StartThen returns.
func (r *Runner) StartThen(ctx context.Context, e job.Exec, then func(job.Execution)) (job.Execution, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, job.Errorf(job.CodeUnavailable, "the runner is closed")
	}
	r.live.Add(1)
	r.mu.Unlock()
	x, err := r.start(ctx, e, then, nil)
	if err != nil {
		r.live.Done()
		return nil, err
	}
	return x, nil
}

// start begins an execution, which is lent unless that is nil.
func (r *Runner) start(ctx context.Context, e job.Exec, then func(job.Execution), lent *Lent) (*execution, error) {
	acc, err := r.users.lookup(e.User)
	if err != nil {
		return nil, err
	}
	result, err := r.results.path(acc)
	if err != nil {
		return nil, err
	}
	c, err := r.prepare(e, result, acc)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(e.Limits.Valid(), r.groups.Check(e.Limits)); err != nil {
		return nil, err
	}
	if e.Grace <= 0 {
		e.Grace = job.DefaultGrace
	}
	if e.OutputLimit <= 0 {
		e.OutputLimit = job.DefaultOutputLimit
	}
	x := &execution{
		r: r, marker: "ROTA_RESULT=" + result, result: result, acc: acc, grace: e.Grace, pidfd: -1,
		done: make(chan struct{}), exited: make(chan struct{}), now: make(chan struct{}), tied: e.Tied > 0, out: output{half: max(e.OutputLimit/2, 1)},
	}
	x.limits, x.then = e.Limits, then
	if x.lent = lent; lent != nil {
		lent.x = x
		x.then = func(job.Execution) { lent.k.Ended(lent) }
	}
	x.logID, x.from = runlog.ID{Run: e.Run, Attempt: e.Attempt}, e.ResultFrom
	if x.tied {
		if err := r.tied.check(e.Tied); err != nil {
			return nil, err
		}
	}
	if err := x.spawn(ctx, c, e.Stdin); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.running[x.pid] = x
	r.mu.Unlock()
	if x.tied {
		r.tied.add(x, e)
	}
	if x.lent != nil {
		e.Timeout = 0 // whoever goes on with it sees to that
	}
	x.watch(e.Timeout)
	r.orphans.expect()
	return x, nil
}

// spawn waits for its turn and executes the command. After an error nothing is left open.
func (x *execution) spawn(ctx context.Context, c *command, stdin []byte) error {
	gate := x.r.gate
	select {
	case gate <- struct{}{}:
	default:
		select {
		case gate <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("wait for a turn to start %s: %w", c.path, context.Cause(ctx))
		}
	}
	defer func() { <-gate }()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start %s: %w", c.path, context.Cause(ctx))
	}
	if x.lent != nil && !x.lent.k.Admit() {
		return ErrElsewhere
	}

	in := x.r.null
	if len(stdin) > 0 {
		fd, err := newInput(stdin)
		if err != nil {
			return exhausted(err)
		}
		defer unix.Close(fd)
		in = fd
	}
	var pipes [2]pipe
	for i, s := range [...]job.Stream{job.Stdout, job.Stderr} {
		p, err := newPipe(s, x.acc)
		if err != nil {
			closePipes(pipes[:i])
			return exhausted(err)
		}
		pipes[i] = p
	}
	if err := x.execute(c, in, pipes[:]); err != nil {
		closePipes(pipes[:])
		return err
	}
	for i, p := range pipes {
		x.outs[i] = source{fd: p.r, w: p.w, stream: p.stream, x: x}
	}
	return nil
}

// execute forks, into a control group where there are any.
func (x *execution) execute(c *command, in int, pipes []pipe) (err error) {
	b := birth{limits: x.limits}
	if b.leaf, err = x.r.groups.Take(x.limits); err != nil {
		if !x.limits.IsZero() {
			return err
		}
		if x.lent != nil {
			return ErrElsewhere
		}
		x.r.log.Warn("a run has no control group", "error", err)
	}
	x.begin = time.Now()
	if x.lent != nil {
		if x.leaf = b.leaf; !x.lent.keep(pipes) {
			b.leaf.Release()
			return ErrElsewhere
		}
	}
	spawn := func() { x.pid, x.pidfd, err = c.spawn(in, pipes[0].w, pipes[len(pipes)-1].w, x.r.session, b) }
	spawn()
	switch {
	case x.lent == nil:
	case err == nil:
		x.lent.k.Born(x.pid, x.pidfd)
	case groupMayRefuse(err): // who executes it next finds out
		b.leaf.Release()
		return ErrElsewhere
	}
	if refusal := err; b.leaf != nil && x.limits.IsZero() && groupMayRefuse(err) {
		b.leaf.Release()
		b.leaf = nil
		if spawn(); err == nil {
			x.r.groups.Disable()
			x.r.log.Warn("commands can't be started in control groups here; they are contained without", "group", x.r.groups.Facts().Dir, "error", refusal)
		}
	}
	if err != nil {
		b.leaf.Release()
		var e *job.Error
		if errors.As(err, &e) {
			return err
		}
		return c.explain(err)
	}
	x.leaf = b.leaf
	return nil
}

// groupMayRefuse tells whether it may be the control group for which a command could not be started: before Linux 5.7, in containers that
// forbid clone3, and where the group is not the agent's to start processes in.
func groupMayRefuse(err error) bool {
	return slices.ContainsFunc([]syscall.Errno{syscall.ENOSYS, syscall.EPERM, syscall.EACCES, syscall.EINVAL, syscall.EOPNOTSUPP, syscall.EBUSY},
		func(no syscall.Errno) bool { return errors.Is(err, no) })
}

func closePipes(pipes []pipe) {
	for _, p := range pipes {
		p.close()
	}
}

// exhausted is the error of a start for which the node lacked a descriptor or memory.
func exhausted(err error) error {
	return job.Errorf(job.CodeExhausted, "start a command: %w", err).WithHint("raise the agent's limit of open files (LimitNOFILE), or run less at once")
}

// watch puts an execution that has begun under the eyes of the loop and its timeout.
func (x *execution) watch(timeout time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var age time.Duration
	if x.heir != nil {
		age = max(SinceBoot()-x.heir.born, 0)
	}
	if timeout > 0 {
		x.timer = time.AfterFunc(max(timeout-age, 0), func() { x.stop(job.Timeout, "timeout after "+short(timeout)) })
	}
	events := uint32(unix.EPOLLIN)
	if x.lent != nil {
		events |= unix.EPOLLET // what was read stays there
	} else {
		x.tick = time.AfterFunc(max(logAfter-age, 0), x.second)
	}
	for i := range x.outs {
		s := &x.outs[i]
		if err := x.r.loop.watchFor(s.fd, s, events); err != nil {
			x.r.log.Error("output can't be watched", "pid", x.pid, "error", err)
		}
	}
	if x.pidfd < 0 {
		go x.await()
		return
	}
	if err := x.r.loop.watch(x.pidfd, waiter{x}, true); err != nil {
		go x.await()
	}
}

// short writes a duration without zero units at its end: 30m, not 30m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Hold lets tied executions live until a later time. It dies with this process and sleeps while that is stopped, so that the
// promise Exclusive needs the runner in a process of its own: see package guard.
func (r *Runner) Hold(until time.Duration) { r.tied.hold(until) }

// KillAll ends every execution that is running now, as [job.Execution] Kill does. It does not wait.
func (r *Runner) KillAll(by string) {
	r.mu.Lock()
	running := slices.Collect(maps.Values(r.running))
	r.mu.Unlock() // an execution that ends takes its own lock first, then ours
	for _, x := range running {
		x.Kill(by)
	}
}

// Close refuses further starts, waits until every execution has ended, and leaves nothing open. It kills nobody: who will not wait
// calls KillAll first. Background children that executions left behind live on; what they write to
// the output of their run can't be read any more. Closing again does nothing.
func (r *Runner) Close() error {
	r.mu.Lock()
	first := !r.closed
	r.closed = true
	r.mu.Unlock()
	r.live.Wait()
	if !first {
		return nil
	}
	return errors.Join(r.shut(), r.results.clean())
}

// shut closes everything, when nothing is alive.
func (r *Runner) shut() error {
	r.tied.close()
	r.orphans.close()
	r.loop.close()
	r.groups.Close()
	r.scratch.close()
	return unix.Close(r.null)
}

// forget is told that an execution has ended.
func (r *Runner) forget(x *execution) {
	r.mu.Lock()
	if r.running[x.pid] == x { // the number may be another's by now
		delete(r.running, x.pid)
	}
	r.mu.Unlock()
}

// main tells whether pid is the main process of an execution.
func (r *Runner) main(pid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[pid] != nil
}
