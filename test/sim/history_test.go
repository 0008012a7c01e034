package sim

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// archive is history as one life of a master reaches it, over a network that takes time and fails.
type archive struct {
	job.History
	w      *world
	client string
	dead   chan struct{} // closed when the master is
}

// away is how it stands with history.
type away struct {
	mu      sync.Mutex
	down    int
	answers int // lost
}

func (a *away) edit(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

var errAway = job.Errorf(job.CodeUnavailable, "history is away")

// call surrounds a call with what may become of it.
func (a *archive) call(ctx context.Context, what string, f func() error) error {
	number := a.w.net.number(a.client + " history " + what)
	at := func(after bool) error {
		a.w.net.stand(process(a.client))
		side := "before"
		if after {
			side = "after"
		}
		if !wait(ctx, a.w.d.between(20*time.Microsecond, time.Millisecond, "history", a.client, what, number, side)) {
			return job.Errorf(job.CodeUnavailable, "history: %w", ctx.Err())
		}
		a.w.net.stand(process(a.client))
		select {
		case <-a.dead:
			return errAway
		default:
		}
		a.w.away.mu.Lock()
		defer a.w.away.mu.Unlock()
		if a.w.away.down > 0 || after && a.w.away.answers > 0 && a.w.d.chance(0.5, "history", a.client, what, number, "lost") {
			return errAway
		}
		return nil
	}
	if err := at(false); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return at(true)
}

func (a *archive) Insert(ctx context.Context, recs []job.ExecutionRecord) (stored []bool, err error) {
	err = a.call(ctx, "insert", func() error {
		stored, err = a.w.bugs.insert(ctx, a.History, recs)
		if err == nil {
			a.w.seen.recorded(a.client, recs, stored)
		}
		return err
	})
	return stored, err
}

func (a *archive) MarkHandled(ctx context.Context, done []job.Handled, at time.Time) error {
	return a.call(ctx, "mark", func() error { return a.History.MarkHandled(ctx, done, at) })
}

func (a *archive) Record(ctx context.Context, id string) (rec job.ExecutionRecord, err error) {
	err = a.call(ctx, "record", func() error { rec, err = a.History.Record(ctx, id); return err })
	return rec, err
}

func (a *archive) Settled(ctx context.Context, task job.TaskRef, from, to time.Time) (recs []job.ExecutionRecord, err error) {
	err = a.call(ctx, "settled", func() error { recs, err = a.History.Settled(ctx, task, from, to); return err })
	return recs, err
}

func (a *archive) Told(ctx context.Context, task job.TaskRef, node job.NodeID, from time.Time) (recs []job.ExecutionRecord, since time.Time, err error) {
	err = a.call(ctx, "told", func() error { recs, since, err = a.History.Told(ctx, task, node, from); return err })
	return recs, since, err
}

func (a *archive) Succeeded(ctx context.Context, task job.TaskRef) (nodes []job.NodeID, err error) {
	err = a.call(ctx, "succeeded", func() error { nodes, err = a.History.Succeeded(ctx, task); return err })
	return nodes, err
}

func (a *archive) Latest(ctx context.Context, refs ...job.TaskRef) (recs map[job.TaskRef]job.ExecutionRecord, err error) {
	err = a.call(ctx, "latest", func() error { recs, err = a.History.Latest(ctx, refs...); return err })
	return recs, err
}

func (a *archive) Ping(ctx context.Context) error {
	return a.call(ctx, "ping", func() error { return a.History.Ping(ctx) })
}

func (a *archive) ChangeAlerts(ctx context.Context, in []job.AlertInput, decide func(i int, old job.Alert) (job.Alert, []job.Delivery, bool)) error {
	return a.call(ctx, "alerts", func() error { return a.History.ChangeAlerts(ctx, in, decide) })
}

// server is where a master runs: the lives of it, one after the other.
type server struct {
	w     *world
	name  string
	busy  chan struct{}
	lives int
	clock clock
	life  *masterLife // nil: it is down
}

func (s *server) alone(f func()) {
	s.busy <- struct{}{}
	f()
	<-s.busy
}

func (w *world) newServer(i int) *server {
	return &server{w: w, name: "m" + strconv.Itoa(i+1), busy: make(chan struct{}, 1)}
}
