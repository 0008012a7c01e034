package engine

import (
	"fmt"
	"maps"
	"slices"

	"github.com/rota-dev/rota/job"
)

// Placement says where a task is, and of every other node why it is not there.
type Placement = job.Placement

// Bound lists the nodes to which a task is bound.
func (s *State) Bound(ref job.TaskRef) []job.NodeID {
	t := s.tasks[ref]
	if t == nil {
		return []job.NodeID{}
	}
	return slices.AppendSeq([]job.NodeID{}, slices.Values(slices.Sorted(maps.Keys(t.jobs))))
}

// WouldPlace lists the nodes on which a task would be, were it this one.
func (s *State) WouldPlace(e *job.TaskEntry) []job.NodeID {
	entry, rule, _ := s.resolve(e)
	t := &task{ref: e.Ref(), entry: entry, rule: rule}
	if known := s.tasks[t.ref]; known != nil {
		t.jobs = known.jobs
	}
	return s.selected(t)
}

// Explain says of each node whether the task is bound to it, and why not.
func (s *State) Explain(ref job.TaskRef) []Placement {
	t := s.tasks[ref]
	if t == nil {
		return nil
	}
	var list []Placement
	for _, id := range slices.Sorted(maps.Keys(s.nodes)) {
		p := Placement{Node: id, Online: s.online(id)}
		_, p.Bound = t.jobs[id]
		if p.Reason = s.unfit(t, id); p.Reason == "" && !p.Bound && s.nodes[id].node.Cordoned {
			p.Reason = "the node is cordoned"
		}
		list = append(list, p)
	}
	return list
}

// unfit says why a task's names and labels do not select a node, or "".
func (s *State) unfit(t *task, id job.NodeID) string {
	n := s.nodes[id]
	switch {
	case t.lacks != "":
		return "there is no calendar " + t.lacks
	case t.unreadable || t.entry != nil && t.rule == nil:
		return "the task can't be read"
	case t.entry == nil:
		return "the task is gone"
	case n == nil || n.node == nil:
		return "the node is not registered"
	}
	if names := t.entry.Task.Nodes; len(names) > 0 && !slices.Contains(names, id) {
		return "the task names other nodes"
	}
	for _, k := range slices.Sorted(maps.Keys(t.rule.Labels)) {
		if v, ok := n.node.Labels[k]; !ok || v != t.rule.Labels[k] {
			return fmt.Sprintf("the task wants label %s=%s", k, t.rule.Labels[k])
		}
	}
	return ""
}
