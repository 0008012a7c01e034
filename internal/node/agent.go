package node

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Options are what an agent needs. Zero times take the defaults.
type Options struct {
	ID     job.NodeID
	Labels map[string]string // set on the node at each start; labels that people set besides stay
	Dir    string            // the agent's own folder
	Store  *store.Store
	Runner job.Runner
	Logs   *runlog.Dir // of the runs, which masters may ask for; nil: there are none
	Policy Policy      // the node's own word on what may run; nil: everything
	Facts  job.Facts
	BootID string
	// BootTime is when the machine booted; zero: unknown, and @reboot never fires.
	BootTime time.Time
	Logger   *slog.Logger

	Lease     time.Duration // how long the node's lease lives; default 10 s
	StopGrace time.Duration // how long Run waits for runs and records at the end; default 15 s
	Window    int           // how many records the node keeps in etcd at most; default 5000
	// Leftover ends a process that an earlier life of the agent started, if it is still the same one.
	Leftover func(p *job.Process) error
	Now      func() time.Time // default time.Now
	Alarm    Alarm            // wakes for what is due, and is stopped at the end of Run; default a timer of Go
	// Segment makes a file of the spool, which must not be there yet; nil: on the disk.
	Segment func(path string) (SpoolFile, error)
	// SinceBoot is the boot-time clock, by which tied executions end: it goes on while the machine is suspended.
	SinceBoot func() time.Duration
}

// Agent fires the jobs of one node. Its life is one call of Run.
type Agent struct {
	Options
	session string // names this life of the agent
	spool   *spool
	core    *core
	metrics *Metrics
	boot    time.Time // the instant of @reboot; zero: unknown
	// haunted tells that processes of an earlier life could not be ended. Then its locks stay until its lease lapses.
	haunted bool
	heirs   map[job.RunID]*heritage // runs that earlier lives left
	leave   atomic.Bool             // the stop leaves what runs to the next life
	leaving chan struct{}           // closed when it does
	left    atomic.Int64            // how many runs were left

	self     atomic.Pointer[job.Node] // as it is registered, with the labels that people set
	lease    atomic.Pointer[store.Session]
	length   atomic.Int64  // of the lease, in nanoseconds; see ttl
	joined   chan struct{} // closed when lease is set for the first time
	stopping chan struct{} // closed when Run is told to end
	inbox    chan func()   // what other goroutines tell the core
	gone     chan struct{} // closed when the core is over
	doubts   doubts
	tries    atomic.Int64   // counts its claims
	starting atomic.Int64   // executions that are about to begin
	wg       sync.WaitGroup // of runs, claims, and what else the core waits for
}

// New opens the agent's spool. The folder must belong to this process alone.
func New(o Options) (*Agent, error) {
	if err := job.CheckName("node", string(o.ID)); err != nil {
		return nil, err
	}
	if o.Lease <= 0 {
		o.Lease = 10 * time.Second
	}
	if o.StopGrace <= 0 {
		o.StopGrace = 15 * time.Second
	}
	if o.Window <= 0 {
		o.Window = 5000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Alarm == nil {
		o.Alarm = goAlarm{time.NewTimer(tick)}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.SinceBoot == nil {
		return nil, job.Errorf(job.CodeInternal, "node %s: Options.SinceBoot is missing", o.ID)
	}
	o.Logger = o.Logger.With("node", string(o.ID))
	if o.Leftover == nil {
		o.Leftover = func(*job.Process) error { return nil }
	}
	if o.Segment == nil {
		o.Segment = createSegment
	}
	sp, err := openSpoolWith(filepath.Join(o.Dir, "spool"), o.Segment)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		Options: o, session: uuid.NewString(), spool: sp, metrics: newMetrics(sp),
		joined: make(chan struct{}), stopping: make(chan struct{}), leaving: make(chan struct{}), inbox: make(chan func(), 1024), gone: make(chan struct{}),
	}
	if a.boot, err = bootInstant(o.Dir, o.BootID, o.BootTime); err != nil {
		o.Logger.Error("@reboot does not fire", "error", err) // rather than with each restart of the agent
	}
	a.core, a.doubts.wake = newCore(a), make(chan struct{}, 1)
	a.self.Store(&job.Node{ID: o.ID, Labels: o.Labels, Facts: o.Facts})
	return a, nil
}

// Session names this life of the agent.
func (a *Agent) Session() string { return a.session }

// Run fires jobs until ctx ends, then ends what runs (unless LeaveRuns was called), hands the records over and leaves. It returns an error only
// where the agent can't be what it should: another live agent has its name.
func (a *Agent) Run(ctx context.Context) error {
	a.adopt(ctx)
	a.settleOrphans()
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	// What must outlast the core: the lease and the hand-over, which see the last records off.
	after, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var rest sync.WaitGroup
	rest.Go(func() { cancel(a.join(after, run)) })
	rest.Go(func() { a.handOver(after) })
	rest.Go(func() { a.tellClock(run) })
	rest.Go(func() { a.followLogs(run) })
	rest.Go(func() { a.hold(after) })

	rest.Go(func() {
		<-run.Done()
		close(a.stopping)
	})
	a.wg.Go(func() { a.settleDoubts(run) })
	a.core.run(run)

	a.flush(ctx)
	stop()
	rest.Wait()
	err := a.quit(context.WithoutCancel(ctx))
	if cause := context.Cause(run); cause != nil && ctx.Err() == nil {
		err = errors.Join(cause, err)
	}
	return errors.Join(err, a.spool.close())
}

func (a *Agent) store() *store.Store { return a.Options.Store }

// leaseSession waits for the lease's session; nil when ctx ends before there is one.
func (a *Agent) leaseSession(ctx context.Context) *store.Session {
	select {
	case <-a.joined:
		return a.lease.Load()
	case <-ctx.Done():
		return nil
	}
}

// settleOrphans ends what an earlier life left running and records it as lost: nobody can say how it went.
func (a *Agent) settleOrphans() {
	for _, o := range a.spool.orphans() {
		if a.heirs[job.RunID(o.Record.ID)] != nil {
			continue
		}
		reason := "the agent ended before it could tell how the run went"
		if p := o.Process; p != nil {
			if err := a.Leftover(p); err != nil {
				a.Logger.Error("a process of an earlier life could not be ended", "run", p.Run, "pid", p.ID, "error", err)
				reason += "; process " + p.ID + " may still be alive"
				a.haunted = true
			}
		}
		rec := o.Record
		rec.Outcome, rec.Reason, rec.EndTime = job.Lost, reason, a.Now().UTC()
		a.end(&rec)
	}
}

// end spools a record. An error needs nothing of the caller: the record is safe for as long as the agent lives.
func (a *Agent) end(rec *job.ExecutionRecord) {
	rec.Success = rec.Outcome == job.Success
	rec.Node = a.ID // whatever the job says: a node can't write another's records
	if rec.Session == "" {
		rec.Session = a.session
	}
	if err := a.spool.end(rec); err != nil {
		a.Logger.Error("the spool's disk refuses a record; it is kept in memory until it is handed over", "run", rec.ID, "error", err)
	}
	a.metrics.outcome(rec)
}

// sleep waits; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Ready says why the agent can't fire everything it should, or nil.
func (a *Agent) Ready() error {
	s := a.lease.Load()
	if s == nil {
		return job.Errorf(job.CodeUnavailable, "the node has not joined yet")
	}
	return s.Err()
}
