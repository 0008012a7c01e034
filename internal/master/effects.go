package master

import (
	"cmp"
	"context"
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
	for _, why := range refused {
		m.Logger.Warn("a result asked for what it may not have", "task", rec.TaskID, "record", rec.ID, "refused", why)
	}
	return actions
}

// notYet leaves out the runs that have been asked for already: one that has come and gone since would start again.
func (m *Master) notYet(ctx context.Context, actions []engine.Action) ([]engine.Action, error) {
	var left []engine.Action
	for _, a := range actions {
		if c, ok := a.(engine.CreateDispatch); ok {
			_, known, err := m.asked(ctx, c.Dispatch.Run, m.whereabouts(c.Dispatch))
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
		}
	})
	if known {
		return node, true, nil
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

// bringAbout lets effects happen. Each is idempotent by its name or its value. asOf are the revisions of the records, by id.
func (m *Master) bringAbout(ctx context.Context, l *store.Leadership, actions []engine.Action, asOf map[string]int64) error {
	var ops []store.Op
	var configs []engine.SetConfig
	conditions := map[job.NodeID][]engine.SetCondition{}
	for _, a := range actions {
		if c, ok := a.(engine.SetConfig); ok {
			configs = append(configs, c)
			continue
		}
		if c, ok := a.(engine.SetCondition); ok {
			conditions[c.Node] = append(conditions[c.Node], c)
			continue
		}
		for _, op := range m.ops(a) {
			if err := op.Err(); err != nil {
				m.Logger.Error("what a result asked for can't be written", "error", err)
				continue
			}
			ops = append(ops, op)
		}
	}
	if len(ops) > 0 {
		if _, err := l.Do(ctx, ops...); err != nil {
			return err
		}
	}
	for _, c := range configs {
		if err := m.setConfig(ctx, l, c, asOf[c.Record]); err != nil {
			return err
		}
	}
	for node, list := range conditions {
		if err := m.setConditions(ctx, l, node, list); err != nil {
			return err
		}
	}
	return nil
}

// setConfig writes what a result says, unless somebody has written after the record came: so what happens again after a leader's
// death does not undo what a person, or a later record, has set since.
func (m *Master) setConfig(ctx context.Context, l *store.Leadership, c engine.SetConfig, asOf int64) error {
	for {
		old, err := m.store().Config().Get(ctx, c.Group, c.Key)
		rev := int64(0)
		switch {
		case job.CodeOf(err) == job.CodeInvalid:
			rev = store.Any // nobody can read it
		case err != nil && !job.IsNotFound(err):
			return err
		case err == nil && cmp.Or(old.AsOf, old.Revision) >= asOf:
			return nil
		case err == nil:
			rev = old.Revision
		}
		op := store.PutConfig(&store.Config{Group: c.Group, Key: c.Key, Value: c.Value, AsOf: asOf}, rev)
		if err := op.Err(); err != nil {
			m.Logger.Error("what a result asked for can't be written", "error", err)
			return nil
		}
		done, err := l.Do(ctx, op)
		if err != nil || done[0] {
			return err
		}
	}
}

// setConditions writes conditions into a node, whoever else writes to it. One that is gone has none.
func (m *Master) setConditions(ctx context.Context, l *store.Leadership, id job.NodeID, list []engine.SetCondition) error {
	for {
		n, err := m.store().Nodes().Get(ctx, string(id))
		if job.IsNotFound(err) || job.CodeOf(err) == job.CodeInvalid {
			m.Logger.Warn("the conditions of a node can't be kept", "node", id, "error", err)
			return nil
		}
		if err != nil {
			return err
		}
		if n.Conditions == nil {
			n.Conditions = map[string]string{}
		}
		changed := false
		for _, c := range list {
			if old, ok := n.Conditions[c.Type]; !ok || old != c.Status {
				n.Conditions[c.Type], changed = c.Status, true
			}
		}
		op := store.PutNode(n)
		if err := op.Err(); err != nil {
			m.Logger.Error("the conditions of a node can't be written", "node", id, "error", err)
			return nil
		}
		if !changed {
			return nil
		}
		done, err := l.Do(ctx, op)
		if err != nil {
			return err
		}
		if done[0] {
			return nil
		}
	}
}
