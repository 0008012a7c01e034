package master

import (
	"context"
	"slices"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// What the leader does for executions beside what the engine plans: it looks up in history what became of runs that others asked for, and brings
// what has ended there.

// keepExecutions does so until ctx ends. While history is away it waits, and nothing is lost.
func (m *Master) keepExecutions(ctx context.Context, l *store.Leadership) {
	for sleep(ctx, m.keepOnce(ctx, l)) {
	}
}

func (m *Master) keepOnce(ctx context.Context, l *store.Leadership) (pause time.Duration) {
	err := m.learnSteps(ctx)
	if err == nil {
		err = m.archive(ctx, l)
	}
	if err != nil {
		if ctx.Err() == nil {
			m.Logger.Warn("executions wait", "error", err)
		}
		return time.Second
	}
	return planEvery / 5
}

// learnSteps tells the engine what became of runs of which it does not know.
func (m *Master) learnSteps(ctx context.Context) error {
	var runs []job.RunID
	m.view.with(func() { runs = m.view.state.UnknownSteps() })
	for part := range slices.Chunk(runs, 500) {
		ids := make([]string, len(part))
		for i, run := range part {
			ids[i] = string(run)
		}
		recs, err := m.History.Ended(ctx, ids)
		if err != nil {
			return err
		}
		m.view.with(func() {
			for i := range recs {
				m.view.state.Apply(stepEnd(&recs[i]))
			}
			m.view.state.Apply(engine.StepsLearned{Runs: part})
		})
		m.view.wake()
	}
	return nil
}

// stepsEnded tells the engine which runs have ended. Of a record that history did not store it has another version, perhaps: that is
// looked up.
func (m *Master) stepsEnded(recs []job.ExecutionRecord, stored []bool) {
	m.view.with(func() {
		for i := range recs {
			if stored[i] {
				m.view.state.Apply(stepEnd(&recs[i]))
			} else {
				m.view.state.Apply(engine.StepUnsure{Run: job.RunID(recs[i].ID)})
			}
		}
	})
	m.view.wake()
}

func stepEnd(r *job.ExecutionRecord) engine.StepEnd {
	return engine.StepEnd{Run: job.RunID(r.ID), Node: r.Node, Outcome: r.Outcome, Reason: r.Reason, Result: r.Result}
}

// archive brings executions that have ended into history, and then deletes them from etcd.
func (m *Master) archive(ctx context.Context, l *store.Leadership) error {
	var ended []*job.GroupExecution
	m.view.with(func() {
		for _, e := range m.view.executions {
			if e.Ended() {
				ended = append(ended, e)
			}
		}
	})
	slices.SortFunc(ended, func(a, b *job.GroupExecution) int { return a.EndedAt.Compare(b.EndedAt) })
	var ops []store.Op
	for _, e := range ended {
		kept := e.Clone()
		kept.Revision = 0
		if err := m.History.PutExecution(ctx, kept); err != nil {
			if job.CodeOf(err) == job.CodeInvalid {
				m.Logger.Error("an execution can't be kept in history and is left alone", "execution", e.ID, "error", err)
				continue
			}
			return err
		}
		if err := m.tellOfExecution(ctx, kept); err != nil {
			return err
		}
		ops = append(ops, store.DeleteExecution(e))
	}
	if len(ops) == 0 {
		return nil
	}
	_, err := l.Do(ctx, ops...)
	return err
}

// The rest is called with the view's lock held.

func (v *view) execution(parts []string, e *job.GroupExecution, ev store.Event[job.GroupExecution]) {
	id := parts[1]
	if e == nil {
		delete(v.executions, id)
		v.state.Apply(engine.ExecutionDeleted{ID: id})
		v.m.hub.publish(Event{Type: client.EventExecution, Change: "deleted", Key: ev.Key, At: v.m.Now().UTC()})
		return
	}
	v.executions[id] = e
	v.state.Apply(engine.ExecutionPut{Execution: e})
	told := v.m.executionView(e, false)
	v.m.hub.publish(Event{Type: client.EventExecution, Change: "put", Key: ev.Key, At: v.m.Now().UTC(), Object: &told})
}

func (v *view) group(parts []string, e *job.Entry[job.Group], ev store.Event[job.Entry[job.Group]]) {
	name := parts[0]
	switch {
	case e != nil:
		v.groups[name] = e
		v.state.Apply(engine.GroupPut{Entry: e})
	case ev.Type == store.Unreadable:
		delete(v.groups, name)
		v.state.Apply(engine.GroupUnreadable{Name: name})
	default:
		delete(v.groups, name)
		v.state.Apply(engine.GroupDeleted{Name: name})
	}
}

func (v *view) groupState(parts []string, s *job.GroupState, ev store.Event[job.GroupState]) {
	switch {
	case s != nil:
		v.groupStates[parts[0]] = s
		v.state.Apply(engine.GroupStatePut{State: s})
	case ev.Type != store.Unreadable: // else what is known of it goes on
		delete(v.groupStates, parts[0])
		v.state.Apply(engine.GroupStateDeleted{Name: parts[0]})
	}
}
