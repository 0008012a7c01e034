package master

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

const (
	planEvery  = 500 * time.Millisecond // what time alone brings about is looked for as often
	pruneEvery = 10 * time.Minute
	soon       = 20 * time.Millisecond
)

// term is one leadership.
type term struct {
	*store.Leadership
	whole atomic.Bool // what history has above the floors is known
}

// lead does a leader's work until the term or ctx ends.
func (m *Master) lead(ctx context.Context, l *store.Leadership) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		select {
		case <-l.Done():
			cancel()
		case <-ctx.Done():
		}
	})
	if !m.takeOver(ctx) {
		cancel()
		return
	}
	t := &term{Leadership: l}
	wg.Go(func() { m.drain(ctx, l) })
	wg.Go(func() { m.prune(ctx) })
	wg.Go(func() { m.tellClock(ctx, l) })
	wg.Go(func() { m.learn(ctx, t) })
	wg.Go(func() { m.learnBackfills(ctx) })
	wg.Go(func() { m.keepExecutions(ctx, l) })
	wg.Go(func() { m.sweepConfig(ctx, l) })
	wg.Go(func() { m.learnTold(ctx) })
	wg.Go(func() { m.learnFacts(ctx, l) })
	wg.Go(func() { m.deliver(ctx) })
	wg.Go(func() { m.watchAlerts(ctx) })
	wg.Go(func() { m.watchMonitors(ctx, l) })
	m.plan(ctx, t)
	cancel()
}

// takeOver waits until the view is whole, and tells the engine that it decides from now on.
func (m *Master) takeOver(ctx context.Context) bool {
	if !m.view.waitSynced(ctx) {
		return false
	}
	m.view.with(func() { m.view.state.Apply(engine.Began{At: m.Now()}) })
	return true
}

// learn completes the engine's state with what only a leader needs: which instants above the floors
// history has already. Until then nothing is said to be missed or lost; all else goes on, however long history is away.
func (m *Master) learn(ctx context.Context, t *term) {
	var floors map[job.TaskRef]time.Time
	m.view.with(func() { floors = m.view.state.Floors() })
	for ref, floor := range floors {
		for {
			recs, err := m.History.Settled(ctx, ref, floor, m.Now().Add(24*time.Hour))
			if err == nil {
				m.recorded(recs)
				break
			}
			if ctx.Err() != nil {
				return
			}
			m.Logger.Warn("history can't be read yet", "error", err)
			if !sleep(ctx, time.Second) {
				return
			}
		}
	}
	t.whole.Store(true)
	m.view.wake()
}

// plan carries out what the engine plans, until ctx ends.
func (m *Master) plan(ctx context.Context, t *term) {
	tick := time.NewTicker(planEvery)
	defer tick.Stop()
	for {
		for {
			var actions []engine.Action
			m.view.with(func() { actions = m.view.state.Plan(m.Now()) })
			if len(actions) == 0 {
				m.renew(ctx)
				break
			}
			refused, err := m.carryOut(ctx, t, actions)
			if errors.Is(err, store.ErrNotLeader) || ctx.Err() != nil {
				return
			}
			if err != nil {
				m.Logger.Warn("the plan could not be carried out; it is made anew", "error", err)
				if !sleep(ctx, time.Second) {
					return
				}
			} else if refused && !sleep(ctx, soon) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-m.view.changed:
		case <-tick.C:
		}
	}
}

// carryOut does the actions and applies what came of them. What was refused, or of which nobody knows, is planned
// anew; what can't be done now the engine plans again by itself.
func (m *Master) carryOut(ctx context.Context, t *term, actions []engine.Action) (refused bool, err error) {
	var ops []store.Op
	var of []engine.Action
	for _, a := range actions {
		switch a := a.(type) {
		case engine.PutRecord:
			if !t.whole.Load() {
				continue
			}
		case engine.TellAway:
			if !t.whole.Load() {
				continue
			}
		case engine.Settle:
			if a.Record != nil && !t.whole.Load() {
				continue
			}
		}
		for _, op := range m.ops(a) {
			if err := op.Err(); err != nil { // it would be refused again and again; the others must not wait for it
				m.Logger.Error("what was planned can't be written", "error", err)
				continue
			}
			ops, of = append(ops, op), append(of, a)
		}
	}
	if len(ops) > 0 {
		var done []bool
		done, err = t.Do(ctx, ops...)
		m.view.with(func() {
			for i, a := range of {
				if i < len(done) && done[i] {
					m.view.state.Apply(engine.Done{Action: a})
				} else {
					refused = true
					m.view.state.Apply(engine.Refused{Action: a})
				}
			}
		})
	}
	return refused, err
}

// ops are the writes of an action. None means that it can't be carried out as things stand.
func (m *Master) ops(a engine.Action) []store.Op {
	switch a := a.(type) {
	case engine.PutJob:
		rev := a.Revision
		if rev == 0 { // a job that can't be read makes way for the one that should be there
			m.view.with(func() { rev = m.view.badJobs[a.Job.Key()] })
		}
		return []store.Op{store.PutJob(a.Job, rev)}
	case engine.DeleteJob:
		return []store.Op{store.DeleteJob(a.Node, a.Hash, a.Revision)}
	case engine.CreateDispatch:
		return []store.Op{store.CreateDispatch(a.Dispatch)}
	case engine.CreateKill:
		return []store.Op{store.CreateKill(a.Kill)}
	case engine.FailDispatch:
		return []store.Op{store.FailDispatch(a.Dispatch, a.Record)}
	case engine.MoveDispatch:
		return []store.Op{store.MoveDispatch(a.Dispatch, a.To)}
	case engine.AdvanceBackfill:
		return []store.Op{store.AdvanceBackfill(a.Backfill, a.Dispatches)}
	case engine.DropBackfill:
		return []store.Op{store.DeleteBackfill(a.Backfill)}
	case engine.AdvanceExecution:
		return []store.Op{store.AdvanceExecution(a.Execution, a.Dispatches, a.Facts)}
	case engine.StartExecution:
		return []store.Op{store.CreateExecution(a.Execution)}
	case engine.KillStep:
		return []store.Op{store.CreateKill(a.Kill)}
	case engine.FireGroup:
		return []store.Op{store.FireGroup(a.State, a.Revision, a.Executions)}
	case engine.DropGroupState:
		return []store.Op{store.DropGroupState(a.State)}
	case engine.InitFloor:
		return []store.Op{store.InitFloor(a.Task, a.At)}
	case engine.Settle:
		op := store.Settle(a.Task, a.From, a.To, a.Record, a.Record != nil).WhileTask(a.Task, a.Revision)
		for name, rev := range a.Calendars {
			op = op.WhileCalendar(name, rev)
		}
		return []store.Op{op}
	case engine.TellAway:
		op := store.TellAway(a.Job, a.Revision, a.Record).WhileTask(a.Record.Ref(), a.Task)
		for name, rev := range a.Calendars {
			op = op.WhileCalendar(name, rev)
		}
		return []store.Op{op}
	case engine.PutRecord:
		return []store.Op{store.LoseClaim(a.Claim, a.Record)}
	case engine.DropTask:
		return []store.Op{store.DropFloor(a.Task, a.Floor)}
	}
	return startOps(a)
}

// prune keeps history within its retention.
func (m *Master) prune(ctx context.Context) {
	if m.Retention.IsZero() {
		return
	}
	for {
		n, err := m.History.Prune(ctx, m.retention(), m.Now())
		if age := m.Retention.MaxAge; err == nil && age > 0 {
			_, err = m.History.PruneExecutions(ctx, m.Now().Add(-age))
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.Logger.Warn("history could not be pruned", "error", err)
		case n > 0:
			m.Logger.Info("pruned history", "records", n)
		}
		if !sleep(ctx, pruneEvery) {
			return
		}
	}
}
