package master

import (
	"context"
	"errors"
	"sync"
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

// lead does a leader's work until the term or ctx ends.
func (m *Master) lead(ctx context.Context, l *store.Leadership) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {})
	defer stop()
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
	wg.Go(func() { m.drain(ctx, l) })
	wg.Go(func() { m.prune(ctx) })
	m.plan(ctx, l)
	cancel()
}

// takeOver completes the engine's state with what only a leader needs: which instants above the floors
// history has already.
func (m *Master) takeOver(ctx context.Context) bool {
	for !m.view.synced() {
		if !sleep(ctx, soon) {
			return false
		}
	}
	var floors map[job.TaskRef]time.Time
	m.view.with(func() {
		m.view.state.Apply(engine.Began{At: m.Now()})
		floors = m.view.state.Floors()
	})
	for ref, floor := range floors {
		for {
			recs, err := m.History.Settled(ctx, ref, floor, m.Now().Add(24*time.Hour))
			if err == nil {
				m.recorded(recs)
				break
			}
			m.Logger.Warn("history can't be read yet", "error", err)
			if !sleep(ctx, time.Second) {
				return false
			}
		}
	}
	return true
}

// plan carries out what the engine plans, until ctx ends.
func (m *Master) plan(ctx context.Context, l *store.Leadership) {
	t := time.NewTicker(planEvery)
	defer t.Stop()
	for {
		for {
			var actions []engine.Action
			m.view.with(func() { actions = m.view.state.Plan(m.Now()) })
			if len(actions) == 0 {
				break
			}
			refused, err := m.carryOut(ctx, l, actions)
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
		case <-t.C:
		}
	}
}

// carryOut does the actions and applies what came of them. What was refused, or of which nobody knows, is planned
// anew.
func (m *Master) carryOut(ctx context.Context, l *store.Leadership, actions []engine.Action) (refused bool, err error) {
	var ops []store.Op
	var of []engine.Action
	var direct []job.ExecutionRecord
	for _, a := range actions {
		if p, ok := a.(engine.PutRecord); ok {
			direct = append(direct, *p.Record)
			continue
		}
		for _, op := range m.ops(a) {
			ops, of = append(ops, op), append(of, a)
		}
	}
	if len(ops) > 0 {
		var done []bool
		done, err = l.Do(ctx, ops...)
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
	if err == nil && len(direct) > 0 {
		err = m.handle(ctx, l, direct)
	}
	return refused, err
}

// ops are the writes of an action. None means that it can't be carried out as things stand.
func (m *Master) ops(a engine.Action) []store.Op {
	switch a := a.(type) {
	case engine.PutJob:
		return []store.Op{store.PutJob(a.Job, a.Revision)}
	case engine.DeleteJob:
		return []store.Op{store.DeleteJob(a.Node, a.Hash, a.Revision)}
	case engine.CreateDispatch:
		return []store.Op{store.CreateDispatch(a.Dispatch)}
	case engine.FailDispatch:
		return []store.Op{store.FailDispatch(a.Dispatch, a.Record)}
	case engine.InitFloor:
		return []store.Op{store.InitFloor(a.Task, a.At)}
	case engine.Settle:
		return []store.Op{store.Settle(a.Task, a.From, a.To, a.Record, a.Record != nil)}
	case engine.DropTask:
		return []store.Op{store.DropFloor(a.Task, a.Floor)}
	case engine.SetConfig:
		return []store.Op{store.PutConfig(&store.Config{Group: a.Group, Key: a.Key, Value: a.Value}, store.Any)}
	case engine.SetCondition:
		return m.conditionOp(a)
	}
	return nil
}

func (m *Master) conditionOp(a engine.SetCondition) []store.Op {
	m.view.mu.Lock()
	defer m.view.mu.Unlock()
	n := m.view.nodes[a.Node]
	if n == nil || n.Conditions[a.Type] == a.Status {
		return nil
	}
	n = n.Clone()
	if n.Conditions == nil {
		n.Conditions = map[string]string{}
	}
	n.Conditions[a.Type] = a.Status
	return []store.Op{store.PutNode(n)}
}

// prune keeps history within its retention.
func (m *Master) prune(ctx context.Context) {
	if m.Retention == (job.Retention{}) {
		return
	}
	for {
		n, err := m.History.Prune(ctx, m.Retention, m.Now())
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
