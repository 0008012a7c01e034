package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// Which nodes a task is bound to. Without a limit it is on every node that its names, labels and conditions select, whether
// that is there or not: see docs/decisions/0004. With one, it is on that many of them, and stays where it is until a node is no
// good any more and there is a better one. Tasks that must be on one node choose with regard to each other: see together.go.

// replaceAfter is how many leases after it went away a node gives its place among a limited number to another.
const replaceAfter = 2

// touched tells whether a node that changed gains or loses the task.
func (s *State) touched(t *task) bool {
	for id := range s.dirtyNodes {
		_, bound := t.jobs[id]
		fits := s.matches(t, id, bound)
		switch {
		case !bound && t.limit() > 0 && t.facts[id] != nil && s.tied(t):
			return true
		case bound && (!fits || t.limit() > 0 && (!s.usable(t, id) || s.tied(t))):
			return true
		case !bound && fits && (t.limit() == 0 || s.lacking(t)):
			return true
		}
	}
	return false
}

// limit is on how many nodes a task is at most; 0: on all.
func (t *task) limit() int {
	if t.entry == nil {
		return 0
	}
	return t.entry.Task.MaxNodes
}

// fits tells whether a task's names, labels and conditions select a node.
func (t *task) fits(n *job.Node) bool {
	return job.NamesNode(t.entry.Task.Nodes, n.ID) && t.rule.Matches(n) && t.where.Matches(n)
}

// matches tells whether a task may be on a node. A cordoned node keeps what it has and gets nothing new.
func (s *State) matches(t *task, id job.NodeID, bound bool) bool {
	if _, opaque := s.unreadable[id]; opaque {
		return bound
	}
	n := s.nodes[id]
	if t.rule == nil || n == nil || n.node == nil || n.node.Cordoned && !bound {
		return false
	}
	return t.fits(n.node)
}

// selected lists the nodes on which a task belongs, in their order. While one question is answered, or one plan made, the answer for
// a task that is tied to others is the same.
func (s *State) selected(t *task) []job.NodeID {
	if t.rule == nil {
		return nil
	}
	if t.limit() == 0 || !s.tied(t) {
		return s.select1(t, nil)
	}
	if s.picked == nil {
		s.picked = map[*task][]job.NodeID{}
		defer func() { s.picked = nil }()
	}
	on, known := s.picked[t]
	if !known {
		on = s.select1(t, s.companyOf(t))
		s.picked[t] = on
	}
	return on
}

func (s *State) select1(t *task, c *company) []job.NodeID {
	if on := s.settledOn(t, c); on != nil {
		return on
	}
	var on []job.NodeID
	add := func(id job.NodeID) {
		_, bound := t.jobs[id]
		if n := s.nodes[id]; n != nil && s.matches(t, id, bound) {
			on = append(on, n.id)
		}
	}
	if names := t.entry.Task.Nodes; job.PlainNames(names) {
		for _, id := range names {
			add(id)
		}
	} else if fewest, ok := s.fewest(t.rule.Labels); ok {
		for id := range fewest {
			add(id)
		}
	} else {
		for id := range s.nodes {
			add(id)
		}
	}
	for id := range s.unreadable {
		if _, bound := t.jobs[id]; bound {
			on = append(on, id)
		}
	}
	slices.Sort(on)
	on = slices.Compact(on)
	switch limit := t.limit(); {
	case limit == 0 || len(on) <= limit:
		return on
	case c != nil:
		return s.chosenTogether(t, c, on, limit)
	default:
		return s.chosen(t, on, limit)
	}
}

// settledOn are the nodes of a limited task that is on as many as it may be, all of them good: then the others need not be looked at.
func (s *State) settledOn(t *task, c *company) []job.NodeID {
	if t.limit() == 0 || len(t.jobs) != t.limit() {
		return nil
	}
	on := make([]job.NodeID, 0, len(t.jobs))
	for id := range t.jobs {
		if !s.matches(t, id, true) || !s.usable(t, id) || c != nil && !c.best(id) {
			return nil
		}
		on = append(on, id)
	}
	slices.Sort(on)
	return on
}

// chosen are the best nodes for a task: where it is and can run, then those that are there, then where it is, then the others. Among
// equals the load decides where the task asks for that, else the rank of the node for the task, which spreads evenly.
func (s *State) chosen(t *task, on []job.NodeID, limit int) []job.NodeID {
	type candidate struct {
		id          job.NodeID
		class, load int
		rank        uint64
	}
	list := make([]candidate, len(on))
	for i, id := range on {
		_, bound := t.jobs[id]
		c := candidate{id: id, rank: job.Rank(t.ref.String(), id)}
		switch usable := s.usable(t, id); {
		case bound && usable:
		case s.online(id) && usable:
			c.class = 1
		case bound:
			c.class = 2
		default:
			c.class = 3
		}
		if t.entry.Task.Spread == job.SpreadLoad && !bound {
			c.load = s.load[id] + s.promised[id]
		}
		list[i] = c
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.load, b.load), cmp.Compare(b.rank, a.rank), cmp.Compare(a.id, b.id))
	})
	on = on[:0]
	for _, c := range list[:limit] {
		on = append(on, c.id)
	}
	slices.Sort(on)
	return on
}

// usable tells whether a node may keep its place among a limited number. That of a common task it keeps while it is away: what was
// due meanwhile is its own to tell.
func (s *State) usable(t *task, id job.NodeID) bool {
	n := s.nodes[id]
	if n == nil || n.node == nil {
		_, opaque := s.unreadable[id]
		return opaque
	}
	return !n.node.Cordoned && !(t.entry.Task.Kind.Kind().Claimed() && s.replaceable(n))
}

func (s *State) replaceable(n *node) bool {
	return n.presence == nil && !s.placing.Before(latest(n.changed, s.began).Add(replaceAfter*s.lease))
}

// lacking tells whether a limited task is on fewer nodes than it may be, or on one than which there may be a better one.
func (s *State) lacking(t *task) bool {
	if len(t.jobs) < t.limit() {
		return true
	}
	c := s.companyOf(t)
	for id := range t.jobs {
		if !s.usable(t, id) || c != nil && !c.best(id) {
			return true
		}
	}
	return false
}

// promise counts the jobs that a plan is about to write, so that those after them spread too.
func (s *State) promise(t *task, on []job.NodeID) {
	if t.limit() == 0 {
		return
	}
	for _, id := range on {
		if _, bound := t.jobs[id]; !bound {
			s.promised[id]++
		}
	}
}

// departures looks for nodes that have been away for long enough to be replaced, and tasks that may have waited for one to come.
func (s *State) departures(now time.Time) {
	s.placing = now
	clear(s.promised)
	if len(s.limited) == 0 {
		clear(s.departed)
		s.arrived = false
		return
	}
	for id := range s.departed {
		n := s.nodes[id]
		switch {
		case n == nil || n.presence != nil:
			delete(s.departed, id)
		case s.replaceable(n):
			delete(s.departed, id)
			for t := range s.limited {
				if _, bound := t.jobs[id]; bound || t.facts[id] != nil && s.tied(t) {
					s.dirty(t)
				}
			}
		}
	}
	if s.arrived {
		s.arrived = false
		for t := range s.limited {
			if s.lacking(t) {
				s.dirty(t)
			}
		}
	}
}

// fewest are the nodes that carry the rarest of some labels.
func (s *State) fewest(labels map[string]string) (nodes map[job.NodeID]struct{}, ok bool) {
	for k, v := range labels {
		if with := s.labelled[label{k, v}]; !ok || len(with) < len(nodes) {
			nodes, ok = with, true
		}
	}
	return nodes, ok
}
