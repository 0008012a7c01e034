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
	where, err := job.ParseSelector(entry.Task.Where)
	if err != nil {
		return nil
	}
	t := &task{ref: e.Ref(), entry: entry, rule: rule, where: where, depends: entry.Task.Depends}
	if was := s.tasks[t.ref]; was != nil {
		t.jobs, t.known = was.jobs, was.known
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
		if p.Reason = s.unfit(t, id); p.Reason == "" && !p.Bound {
			p.Reason = s.passedOver(t, id)
		}
		if unmet := s.unmetThere(t, id, s.placing); p.Reason == "" && len(unmet) > 0 {
			p.Reason = waitsFor(unmet)
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
	if names := t.entry.Task.Nodes; !job.NamesNode(names, id) {
		if slices.ContainsFunc(names, func(n job.NodeID) bool { return n[0] == '!' && !job.NamesNode([]job.NodeID{n}, id) }) {
			return "the task's nodes leave it out"
		}
		return "the task names other nodes"
	}
	for _, k := range slices.Sorted(maps.Keys(t.rule.Labels)) {
		if v, ok := n.node.Labels[k]; !ok || v != t.rule.Labels[k] {
			return fmt.Sprintf("the task wants label %s=%s", k, t.rule.Labels[k])
		}
	}
	if unmet := t.where.Unmet(n.node); unmet != "" {
		return "the task wants " + unmet
	}
	return ""
}

// passedOver says why a node that a task selects does not have it.
func (s *State) passedOver(t *task, id job.NodeID) string {
	n := s.nodes[id].node
	switch limit := t.limit(); {
	case n.Draining:
		return "the node is draining"
	case n.Cordoned:
		return "the node is cordoned"
	case limit > 0 && len(t.jobs) >= limit && s.online(id):
		return fmt.Sprintf("max_nodes is %d, and others were chosen", limit)
	case limit > 0 && len(t.jobs) >= limit:
		return fmt.Sprintf("max_nodes is %d, others were chosen, and it is offline", limit)
	}
	return ""
}
