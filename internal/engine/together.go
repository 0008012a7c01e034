package engine

import (
	"cmp"
	"slices"

	"github.com/rota-dev/rota/job"
)

// Tasks that must be on one node: a task with a same-node dependency, and what it depends on so, near or far, are a party. Of the
// tasks that choose among nodes (max_nodes), what is depended on chooses first, and looks where all that need it may be; what depends on it
// follows. See docs/decisions/0020. Where all that are in a party are on every node that they select there is nothing to choose, and none of this
// costs anything.

// company is a task among all that are in a party with it.
type company struct {
	s       *State
	members []member // those that are depended on before those that depend on them
	self    int
	parties []int // the members on whose parties the task has an eye: all that need it
	away    bool  // the task is thought to be nowhere
	ok, had []bool
}

// member is one of them, as the task sees it.
type member struct {
	task  *task
	depth int // of the longest way to what depends on nothing
	needs []need
	spent bool // it ran once, and does so nowhere any more
	where func(job.NodeID, *job.Node) bool
}

// need is a dependency on another member.
type need struct {
	at    int
	lasts bool // a success counts for ever
}

// spot is a node among which a task chooses.
type spot struct {
	id     job.NodeID
	own    bool // what the task itself depends on is there
	able   bool // the node can run it
	bound  bool
	parts  []bool // of the parties, in which the node is good
	served int    // how many these are
	load   int
	rank   uint64
}

// tied tells whether a task is in a party with others.
func (s *State) tied(t *task) bool {
	return len(s.fellows[t.ref]) > 0 || slices.ContainsFunc(t.depends, func(d job.Depend) bool { return d.Strategy == job.SameNode })
}

// around lists the tasks that are in a party with one, itself among them, in any order.
func (s *State) around(t *task) map[*task]bool {
	found := map[*task]bool{t: true}
	list := []*task{t}
	for len(list) > 0 { // those that need it
		for x := range s.fellows[list[0].ref] {
			if !found[x] && x.ref != t.ref {
				found[x] = true
				list = append(list, x)
			}
		}
		list = list[1:]
	}
	for x := range found {
		list = append(list, x)
	}
	for len(list) > 0 { // all that these need
		x := list[len(list)-1]
		list = list[:len(list)-1]
		for _, d := range x.depends {
			if d.Strategy != job.SameNode {
				continue
			}
			if y := s.lookUp(t, d.Ref(x.ref.Group)); y != nil && !found[y] {
				found[y] = true
				list = append(list, y)
			}
		}
	}
	return found
}

// lookUp finds a task by its name. One that is only thought of stands for the one of its name.
func (s *State) lookUp(t *task, ref job.TaskRef) *task {
	if ref == t.ref {
		return t
	}
	return s.tasks[ref]
}

// elsewhere has those choose again whose choice looks at where a task is, may be, or has succeeded.
func (s *State) elsewhere(t *task) {
	if len(s.limited) == 0 || !s.tied(t) {
		return
	}
	for x := range s.around(t) {
		if _, chooses := s.limited[x]; chooses && !s.placedNow[x] {
			s.dirty(x)
		}
	}
}

// companyOf is a task's company, or nil where it has none. Tasks that go round in a circle, or need what there is not, can run
// nowhere: they look at nobody, and nobody looks at them.
func (s *State) companyOf(t *task) *company {
	if t.entry == nil || t.rule == nil || !s.tied(t) {
		return nil
	}
	all := s.around(t)
	waiting := make([]*task, 0, len(all))
	for x := range all {
		waiting = append(waiting, x)
	}
	slices.SortFunc(waiting, byRef)
	c := &company{s: s, self: -1}
	index := make(map[*task]int, len(all))
	for found := true; found; { // each round takes those whose needs were taken before
		found = false
		rest := waiting[:0]
		for _, x := range waiting {
			m, ok := s.member(t, x, index, c.members)
			if !ok {
				rest = append(rest, x)
				continue
			}
			found = true
			index[x] = len(c.members)
			c.members = append(c.members, m)
		}
		waiting = rest
	}
	at, ok := index[t]
	if !ok {
		return nil
	}
	c.self = at
	c.ok, c.had = make([]bool, len(c.members)), make([]bool, len(c.members))
	c.look()
	return c
}

// member makes a member of a task whose needs are members already.
func (s *State) member(t, x *task, index map[*task]int, members []member) (member, bool) {
	if x.entry == nil && !x.unreadable {
		return member{}, false
	}
	m := member{task: x, spent: s.spent(x)}
	for _, d := range x.depends {
		if d.Strategy != job.SameNode {
			continue
		}
		y := s.lookUp(t, d.Ref(x.ref.Group))
		at, ok := index[y]
		if y == nil || !ok {
			return member{}, false
		}
		m.depth = max(m.depth, members[at].depth+1)
		m.needs = append(m.needs, need{at: at, lasts: d.Within == 0})
	}
	return m, true
}

// look decides how the task sees the others: where they are, or where they may come to be.
func (c *company) look() {
	me := &c.members[c.self]
	needing := make([]bool, len(c.members))
	needing[c.self] = true
	for i := range c.members {
		m := &c.members[i]
		if i != c.self && slices.ContainsFunc(m.needs, func(n need) bool { return needing[n.at] }) {
			needing[i] = true
			if !me.spent { // else it can't help anybody any more
				c.parties = append(c.parties, i)
			}
		}
		m.where = c.sees(me, m)
	}
}

// sees tells where a member is: as it is placed, if it doesn't choose or chooses before the task, else wherever it may be.
func (c *company) sees(me, m *member) func(job.NodeID, *job.Node) bool {
	s, x := c.s, m.task
	bound := func(id job.NodeID) bool { _, b := x.jobs[id]; return b }
	switch {
	case m == me:
		return func(job.NodeID, *job.Node) bool { return !c.away }
	case m.spent:
		return func(job.NodeID, *job.Node) bool { return false }
	case x.unreadable || x.rule == nil:
		return func(id job.NodeID, _ *job.Node) bool { return bound(id) }
	case x.limit() == 0:
		return func(id job.NodeID, _ *job.Node) bool { return s.matches(x, id, bound(id)) }
	case cmp.Or(cmp.Compare(m.depth, me.depth), byRef(x, me.task)) < 0:
		on := s.selected(x)
		return func(id job.NodeID, _ *job.Node) bool { _, is := slices.BinarySearch(on, id); return is }
	}
	return func(_ job.NodeID, n *job.Node) bool { return x.fits(n) }
}

// on looks at a node: whether what the task depends on is there or has succeeded there, and which of those that need it can come to run there.
func (c *company) on(id job.NodeID) (own bool, parts []bool, served int) {
	n := c.s.nodes[id]
	if n == nil || n.node == nil { // it can't be read, and is left alone
		return true, nil, len(c.parties)
	}
	for i := range c.members {
		m := &c.members[i]
		needs := true
		for _, on := range m.needs {
			needs = needs && (c.ok[on.at] || on.lasts && c.had[on.at])
		}
		if i == c.self {
			own = needs
		}
		c.had[i] = m.task.succeededOn(id)
		c.ok[i] = needs && m.where(id, n.node)
	}
	if len(c.parties) > 0 {
		parts = make([]bool, len(c.parties))
	}
	for k, i := range c.parties {
		if c.ok[i] {
			parts[k] = true
			served++
		}
	}
	return own, parts, served
}

// best tells whether no node can be better for the task.
func (c *company) best(id job.NodeID) bool {
	own, _, served := c.on(id)
	return own && served == len(c.parties)
}

// without tells of each party whether some node that is there serves it although the task comes to no place there: it has succeeded there.
func (c *company) without() []bool {
	s, t := c.s, c.members[c.self].task
	served := make([]bool, len(c.parties))
	if len(served) == 0 {
		return served
	}
	c.away = true
	for id := range t.facts {
		if n := s.nodes[id]; n == nil || n.node == nil || n.node.Cordoned || s.replaceable(n) || !t.succeededOn(id) {
			continue
		}
		_, parts, _ := c.on(id)
		for k, good := range parts {
			served[k] = served[k] || good
		}
	}
	c.away = false
	return served
}

// succeededOn tells whether a task has ever succeeded on a node, since it is the task that it is.
func (t *task) succeededOn(id job.NodeID) bool {
	f := t.facts[id]
	return t.entry != nil && t.learned() && f != nil && !f.Success.IsZero() && !f.Success.Before(t.entry.CreatedAt)
}

// spent tells whether a task that runs once, on one of its nodes, has.
func (s *State) spent(t *task) bool {
	if t.entry == nil || t.entry.Task.Mode != job.OnlyOnce || !t.entry.Task.Kind.Kind().Claimed() || !t.learned() {
		return false
	}
	return !t.facts[""].Success.IsZero()
}

// chosenTogether are the best nodes for a task in company: first those on which what it depends on is, then those that can run it, then
// those that serve the most of the parties that need it, then where it is. It stays where it is as long as there is nothing better.
func (s *State) chosenTogether(t *task, c *company, on []job.NodeID, limit int) []job.NodeID {
	list, now, served := make([]spot, len(on)), []int(nil), c.without()
	for i, id := range on {
		p := spot{id: id, rank: job.Rank(t.ref.String(), id)}
		p.own, p.parts, p.served = c.on(id)
		if _, p.bound = t.jobs[id]; p.bound {
			now = append(now, i)
		}
		if t.entry.Task.Spread == job.SpreadLoad {
			p.load = s.load[id] + s.promised[id]
		}
		list[i] = p
	}
	for {
		for i := range list {
			list[i].bound = slices.Contains(now, i)
			list[i].able = s.usable(t, list[i].id) && (list[i].bound || s.online(list[i].id))
		}
		next := pick(list, served, limit)
		if len(now) == limit && worth(list, next, served).compare(worth(list, now, served)) <= 0 {
			break
		}
		now = next
	}
	chosen := make([]job.NodeID, 0, limit)
	for _, i := range now {
		chosen = append(chosen, list[i].id)
	}
	slices.Sort(chosen)
	return chosen
}

// pick chooses one place after the other, each with regard to the parties that are served already. The places chosen are sorted.
func pick(list []spot, served []bool, limit int) []int {
	served = slices.Clone(served)
	taken := make([]bool, len(list))
	gains := len(served) > 0
	var chosen []int
	for len(chosen) < limit {
		best, bestGain := -1, 0
		for i := range list {
			if taken[i] {
				continue
			}
			gain := 0
			if gains {
				gain = list[i].gain(served)
			}
			if best < 0 || list[i].before(&list[best], gain, bestGain) {
				best, bestGain = i, gain
			}
		}
		taken[best] = true
		chosen = append(chosen, best)
		gains = gains && bestGain > 0
		for k, good := range list[best].parts {
			served[k] = served[k] || good && list[best].able
		}
	}
	slices.Sort(chosen)
	return chosen
}

// gain is how many parties a place serves that none does yet.
func (p *spot) gain(served []bool) (n int) {
	if !p.able {
		return 0
	}
	for k, good := range p.parts {
		if good && !served[k] {
			n++
		}
	}
	return n
}

// before tells whether a place is chosen before another one.
func (p *spot) before(q *spot, gain, other int) bool {
	yes := func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case a:
			return -1
		}
		return 1
	}
	load := func(p *spot) int {
		if p.bound {
			return 0
		}
		return p.load
	}
	return cmp.Or(
		yes(p.own, q.own), yes(p.able, q.able), cmp.Compare(other, gain), cmp.Compare(q.served, p.served),
		yes(p.bound, q.bound), cmp.Compare(load(p), load(q)), cmp.Compare(q.rank, p.rank), cmp.Compare(p.id, q.id),
	) < 0
}

// worths says what some places are worth together: how many have what the task depends on, can run it, how many parties are served at all, and
// how often.
type worths [4]int

func (w worths) compare(other worths) int { return slices.Compare(w[:], other[:]) }

func worth(list []spot, chosen []int, served []bool) (w worths) {
	served = slices.Clone(served)
	for _, i := range chosen {
		p := &list[i]
		if p.own {
			w[0]++
		}
		if !p.able {
			continue
		}
		w[1]++
		w[3] += p.served
		for k, good := range p.parts {
			served[k] = served[k] || good
		}
	}
	for _, good := range served {
		if good {
			w[2]++
		}
	}
	return w
}
