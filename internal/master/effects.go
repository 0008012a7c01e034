package master

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// effects are what follows from a record.
func (m *Master) effects(rec *job.ExecutionRecord, now time.Time) []engine.Action {
	var actions []engine.Action
	var refused []string
	m.view.with(func() { actions, refused = m.view.state.React(rec, now) })
	m.tellRefused(rec, strings.Join(refused, "; "))
	return actions
}

// maxRefused bounds of how many tasks it is remembered what their results were refused.
const maxRefused = 10_000

// tellRefused warns of what a result was refused, once until the task's results are refused something else, or nothing: each record has it among its
// effects. handling is held.
func (m *Master) tellRefused(rec *job.ExecutionRecord, why string) {
	ref := rec.Ref()
	level := slog.LevelWarn
	switch {
	case why == "":
		if len(rec.Result) > 0 {
			delete(m.refused, ref)
		}
		return
	case m.refused[ref] == why:
		level = slog.LevelDebug
	case m.refused == nil, len(m.refused) >= maxRefused:
		m.refused = map[job.TaskRef]string{}
	}
	m.refused[ref] = why
	m.Logger.Log(context.Background(), level, "a result asked for what it may not have", "task", rec.TaskID, "record", rec.ID, "refused", why)
}

// notYet leaves out the runs that have been asked for already: one that has come and gone since would start again.
func (m *Master) notYet(ctx context.Context, actions []engine.Action) ([]engine.Action, error) {
	var left []engine.Action
	for _, a := range actions {
		run, nodes := job.RunID(""), []job.NodeID(nil)
		switch a := a.(type) {
		case engine.StartExecution:
			_, err := m.execution(ctx, a.Execution.Group, a.Execution.ID)
			if err == nil {
				continue
			}
			if !job.IsNotFound(err) {
				return nil, err
			}
		case engine.CreateDispatch:
			run, nodes = a.Dispatch.Run, m.whereabouts(a.Dispatch)
		case engine.Start:
			run, nodes = a.Dispatches[0].Run, m.whereabouts(a.Dispatches[0])
		case engine.CreateWaiting:
			run = a.Waiting.Run
			m.view.with(func() { nodes = m.view.state.Bound(a.Waiting.Ref()) })
		}
		if run != "" {
			_, known, err := m.asked(ctx, run, nodes)
			if err != nil {
				return nil, err
			}
			if known {
				continue
			}
		}
		left = append(left, a)
	}
	return left, nil
}

// whereabouts are the nodes on which a dispatch may be: where the engine chooses the node, it might have
// chosen another one before.
func (m *Master) whereabouts(d *job.Dispatch) []job.NodeID {
	nodes := []job.NodeID{d.Node}
	if d.Job.Kind.Claimed() {
		m.view.with(func() { nodes = append(nodes, m.view.state.Bound(d.Job.Ref())...) })
	}
	return nodes
}

// asked tells whether a run has been asked for, and of which node. It moves from a dispatch to a record on its way to
// one in history, and is looked for in this order, so that it can't slip through between two looks.
func (m *Master) asked(ctx context.Context, run job.RunID, nodes []job.NodeID) (node job.NodeID, known bool, err error) {
	m.view.with(func() {
		if d := m.view.dispatch[run]; d != nil {
			node, known = d.Node, true
		} else if w := m.view.waiting[run]; w != nil {
			node, known = w.Node, true
		}
	})
	if known {
		return node, true, nil
	}
	if w, err := m.waitingRun(ctx, run); err != nil || w != nil {
		return "", w != nil, err
	}
	for _, n := range nodes {
		if _, err := m.store().Dispatches().Get(ctx, string(n), string(run)); !job.IsNotFound(err) {
			return n, err == nil, err
		}
		if _, err := m.store().Records().Get(ctx, string(n), string(run)); !job.IsNotFound(err) {
			return n, err == nil, err
		}
	}
	rec, err := m.History.Record(ctx, string(run))
	if job.IsNotFound(err) {
		return "", false, nil
	}
	return rec.Node, err == nil, err
}

// due is a record that came at a revision, and what follows from it.
type due struct {
	rec     *job.ExecutionRecord
	actions []engine.Action
	rev     int64
}

// bringAbout lets what follows from records happen: for each record in one transaction with the mark that it has, so that it never
// happens again, whoever leads and whatever was written since. What is more than one transaction takes happens piece by piece,
// each idempotent by its name or its value, and is marked then.
func (m *Master) bringAbout(ctx context.Context, l *store.Leadership, list []due) error {
	for i := range list {
		var err error
		if list[i].actions, err = m.decided(ctx, l, list[i].actions); err != nil {
			return err
		}
	}
	for again := false; len(list) > 0; again = true {
		var ops []store.Op
		var of []due
		for _, d := range list {
			if again { // one of its dispatches may be there
				var err error
				if d.actions, err = m.notYet(ctx, d.actions); err != nil {
					return err
				}
			}
			effects, err := m.effectOps(ctx, d)
			if err != nil {
				return err
			}
			if len(effects) == 0 {
				continue
			}
			op := store.All(append(effects, store.MarkRecord(d.rec, d.rev, m.Now()))...)
			if op.Err() != nil {
				if err := m.apart(ctx, l, d); err != nil {
					return err
				}
				continue
			}
			ops, of = append(ops, op), append(of, d)
		}
		done, err := l.Do(ctx, ops...)
		if err != nil {
			return err
		}
		list = nil
		for i, d := range of {
			if done[i] {
				continue
			}
			same, err := m.stands(ctx, d)
			if err != nil {
				return err
			}
			if same {
				list = append(list, d)
			}
		}
	}
	return nil
}

// decided carries out what is decided by what stands in the store, not by what was seen: each has a transaction of its own, and is
// not done again. The others are left.
func (m *Master) decided(ctx context.Context, l *store.Leadership, actions []engine.Action) (left []engine.Action, err error) {
	for _, a := range actions {
		switch a := a.(type) {
		case engine.Start:
			for i, d := range a.Dispatches {
				why, err := m.startOnce(ctx, l.Do, a.Facts[i].Node, d)
				if err != nil {
					return nil, err
				}
				if why != "" {
					m.Logger.Info("a run that was asked for is not started", "task", a.Task.String(), "node", d.Node, "reason", why)
				}
			}
		case engine.Ended:
			if err := m.remember(ctx, l, a); err != nil {
				return nil, err
			}
		default:
			left = append(left, a)
		}
	}
	return left, nil
}

// stands tells whether a record is still in etcd as it came. If not, what follows from it has happened and an answer was lost, or a
// later version is on its way, which has effects of its own.
func (m *Master) stands(ctx context.Context, d due) (bool, error) {
	es, err := m.store().Records().First(ctx, 1, string(d.rec.Node), d.rec.ID)
	if err != nil || len(es) == 0 {
		return false, err
	}
	return es[0].Revision == d.rev, nil
}

// apart lets what follows from a record happen in several transactions.
func (m *Master) apart(ctx context.Context, l *store.Leadership, d due) error {
	for {
		ops, err := m.effectOps(ctx, d)
		if err != nil {
			return err
		}
		if len(ops) > 0 {
			if _, err := l.Do(ctx, ops...); err != nil {
				return err
			}
		}
		var values []engine.Action // of which somebody else may have written another version meanwhile
		for _, a := range d.actions {
			switch a.(type) {
			case engine.SetConfig, engine.SetCondition:
				values = append(values, a)
			}
		}
		if d.actions = values; len(ops) == 0 || len(values) == 0 {
			break
		}
	}
	_, err := l.Do(ctx, store.MarkRecord(d.rec, d.rev, m.Now()))
	return err
}

// effectOps are the writes of what follows from a record, as things stand. What can't be written is left out.
func (m *Master) effectOps(ctx context.Context, d due) ([]store.Op, error) {
	var ops []store.Op
	conditions := map[job.NodeID][]engine.SetCondition{}
	for _, a := range d.actions {
		var some []store.Op
		switch a := a.(type) {
		case engine.SetConfig:
			op, err := m.configOp(ctx, a, d.rev)
			if err != nil {
				return nil, err
			}
			some = op
		case engine.SetCondition:
			conditions[a.Node] = append(conditions[a.Node], a)
		default:
			some = m.ops(a)
		}
		ops = m.writable(ops, some)
	}
	for _, id := range slices.Sorted(maps.Keys(conditions)) {
		some, err := m.conditionsOp(ctx, id, conditions[id], d.rev)
		if err != nil {
			return nil, err
		}
		ops = m.writable(ops, some)
	}
	return ops, nil
}

func (m *Master) writable(ops, more []store.Op) []store.Op {
	for _, op := range more {
		if err := op.Err(); err != nil {
			m.Logger.Error("what a result asked for can't be written", "error", err)
			continue
		}
		ops = append(ops, op)
	}
	return ops
}

// configOp writes what a result says, unless somebody has written, or deleted it, after the record came: so what is handled late does
// not undo what a person, or a later record, has set since.
func (m *Master) configOp(ctx context.Context, c engine.SetConfig, asOf int64) ([]store.Op, error) {
	old, err := m.store().Config().Get(ctx, c.Group, c.Key)
	rev := int64(0)
	switch {
	case job.CodeOf(err) == job.CodeInvalid:
		rev = store.Any // nobody can read it
	case err != nil && !job.IsNotFound(err):
		return nil, err
	case err == nil && cmp.Or(old.AsOf, old.Revision) >= asOf:
		return nil, nil
	case err == nil:
		rev = old.Revision
	}
	return []store.Op{store.PutConfig(&store.Config{Group: c.Group, Key: c.Key, Value: c.Value, AsOf: asOf}, rev)}, nil
}

// conditionsOp writes conditions into a node, but for those that a later record has set. A node that is gone has none.
func (m *Master) conditionsOp(ctx context.Context, id job.NodeID, list []engine.SetCondition, asOf int64) ([]store.Op, error) {
	n, err := m.store().Nodes().Get(ctx, string(id))
	if job.IsNotFound(err) || job.CodeOf(err) == job.CodeInvalid {
		m.Logger.Warn("the conditions of a node can't be kept", "node", id, "error", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if n.Conditions == nil {
		n.Conditions = map[string]string{}
	}
	if n.ConditionsAsOf == nil {
		n.ConditionsAsOf = map[string]int64{}
	}
	changed, came := false, maps.Clone(n.ConditionsAsOf)
	for _, c := range list {
		if came[c.Type] < asOf {
			n.Conditions[c.Type], n.ConditionsAsOf[c.Type], changed = c.Status, asOf, true
		}
	}
	if !changed {
		return nil, nil
	}
	return []store.Op{store.PutNode(n)}, nil
}
