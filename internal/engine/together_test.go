package engine_test

import (
	"flag"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/seed"
)

// isOn tells whether a task is bound to a node.
func (c *checks) isOn(e *job.TaskEntry, id job.NodeID) bool {
	_, is := c.w.jobs[string(id)+"/"+job.JobHash(e.Ref(), id)]
	return is
}

// runsOn tells whether what a task needs on its own node is, as some placing has it, on a node, or has succeeded there.
func (c *checks) runsOn(e *job.TaskEntry, id job.NodeID, placed func(*job.TaskEntry, job.NodeID) bool) bool {
	for _, d := range e.Task.Depends {
		if d.Strategy != job.SameNode {
			continue
		}
		x := c.w.tasks[d.Ref("default")]
		switch {
		case x == nil:
			return false
		case d.Within == 0 && c.remembered(x, id):
		case c.spent(x) || !placed(x, id) || !c.runsOn(x, id, placed):
			return false
		}
	}
	return true
}

// remembered tells whether it is known that a task has succeeded on a node.
func (c *checks) remembered(e *job.TaskEntry, id job.NodeID) bool {
	f := c.w.facts[factKey(e.Ref(), id)]
	return f != nil && !f.Success.IsZero() && !f.Success.Before(e.CreatedAt)
}

// spent tells whether a task is one that runs once on one of its nodes, and has.
func (c *checks) spent(e *job.TaskEntry) bool {
	f := c.w.facts[factKey(e.Ref(), "")]
	return e.Task.Mode == job.OnlyOnce && e.Task.Kind.Kind().Claimed() && f != nil && !f.Success.IsZero()
}

// together looks, when everybody is there, whether each task is on a node on which what it needs there is too. Every placing is tried: where there is
// one that has a node for each task, the engine must have found one.
func (c *checks) together() {
	ids := []job.NodeID{"n1", "n2", "n3"}
	refs := []job.TaskRef{job.Ref("", "a"), job.Ref("", "b"), job.Ref("", "c"), job.Ref("", "d")}
	served := func(placed func(*job.TaskEntry, job.NodeID) bool) (lonely job.TaskRef) {
		for _, ref := range refs {
			e, found := c.w.tasks[ref], false
			if e == nil || c.spent(e) {
				continue
			}
			for _, id := range ids {
				found = found || placed(e, id) && c.runsOn(e, id, placed)
			}
			if !found {
				return ref
			}
		}
		return lonely
	}
	lonely := served(c.isOn)
	if lonely == (job.TaskRef{}) {
		return
	}
	for all := range 1 << 12 {
		placing := map[job.TaskRef]int{}
		allowed := true
		for k, ref := range refs {
			set := all >> (3 * k) & 7
			placing[ref] = set
			e := c.w.tasks[ref]
			if e == nil {
				allowed = allowed && set == 0
				continue
			}
			fit := 0
			for i, id := range ids {
				if selects(&e.Task, c.w.nodes[id]) {
					fit |= 1 << i
				}
			}
			most := bits.OnesCount(uint(fit))
			if e.Task.MaxNodes > 0 {
				most = min(most, e.Task.MaxNodes)
			}
			allowed = allowed && set&^fit == 0 && bits.OnesCount(uint(set)) == most
		}
		if !allowed {
			continue
		}
		if served(func(e *job.TaskEntry, id job.NodeID) bool { return placing[e.Ref()]>>(id[1]-'1')&1 == 1 }) == (job.TaskRef{}) {
			c.fail("%s is on no node that has what it needs there; there could be one: %v", lonely, placing)
			return
		}
	}
}

// agreed looks, at rest, whether one who leads anew, and looks at every task, leaves them where they are.
func (c *checks) agreed() {
	w, old := c.w, c.w.masters[0]
	w.relist()
	for _, a := range w.leader().Plan(w.now) {
		switch a := a.(type) {
		case engine.PutJob:
			c.fail("a new leader puts %s on %s, which waits for %q: the old one has overlooked something", a.Job.Ref(), a.Job.NodeID, a.Job.Waits)
		case engine.DeleteJob:
			c.fail("a new leader takes a job from %s: the old one has overlooked something", a.Node)
		}
	}
	w.masters[0] = old
}

// moves are the edits and events that change where tasks may be that must be together.
func (p *people) moves() {
	w := p.w
	switch p.n(8) {
	case 0, 1, 2:
		p.tied()
	case 3:
		p.changeNode()
	case 4, 5:
		p.life()
	case 6:
		p.run()
		for _, id := range slices.Sorted(maps.Keys(p.sims)) {
			if s := p.sims[id]; s.alive {
				s.dispatches(job.Success) // starts
				s.dispatches(job.Success) // ends
			}
		}
	case 7:
		w.pass(time.Duration(p.n(3))*lease, time.Second)
	}
}

// tied edits or deletes one of the tasks that may have to be together.
func (p *people) tied() {
	name := one(p.t, "a", "b", "c", "d")
	if ref := job.Ref("", name); p.n(8) == 0 && p.w.tasks[ref] != nil {
		p.w.deleteTask(ref)
		return
	}
	t := job.Task{
		Name: name, Command: job.Line("true"), MaxNodes: p.n(3), Kind: job.KindName(one(p.t, "common", "interval")),
		Nodes: one(p.t, nil, nil, []job.NodeID{"n1", "n2"}, []job.NodeID{"n2", "n3"}, []job.NodeID{"n1"}, []job.NodeID{"n3"}),
	}
	if p.n(4) == 0 {
		t.Labels = map[string]string{"role": "x"}
	}
	switch p.n(4) {
	case 0:
		t.Timer = "* * * * *"
	case 1:
		t.Mode = job.OnlyOnce
	}
	for _, on := range map[string][]string{"b": {"a"}, "c": one(p.t, []string{"a"}, []string{"b"}, []string{"a", "b"}), "d": {"c"}}[name] {
		if p.n(4) > 0 {
			t.Depends = append(t.Depends, job.Depend{
				Task: on, Strategy: one(p.t, job.SameNode, job.SameNode, job.AtLeastOnce), Within: job.Duration(p.n(2)) * job.Duration(time.Minute),
			})
		}
	}
	p.w.apply(t)
}

var more = flag.Int("more", 0, "how many more worlds TestTogether looks at after that of ROTA_SEED")

// TestTogether lets people and nodes do at random what moves tasks that must be together. After each step the plans come to an end, a leader that looks at
// everything anew moves nothing, and, where everybody is there, each task is on a node that has what it needs, if there could be one.
func TestTogether(t *testing.T) {
	t.Parallel()
	base, given := seed.Of()
	worlds := uint64(300)
	switch {
	case given:
		worlds = 1 + uint64(*more)
	case testing.Short():
		worlds = 50
	}
	for n := range worlds {
		wrong := rapid.Custom(func(t *rapid.T) []string {
			w := newWorld(1)
			p := &people{t: t, w: w, sims: map[job.NodeID]*sim{}}
			for _, id := range []job.NodeID{"n1", "n2", "n3"} {
				p.sims[id] = &sim{id: id, w: w}
				w.putNode(&job.Node{ID: id, Labels: map[string]string{"role": "x"}, CreatedAt: w.now})
				p.sims[id].start()
			}
			for range 30 {
				w.now = w.now.Add(time.Second)
				p.moves()
				clear(w.done) // that a task which becomes one that runs once has run before is no matter here
				if !w.rest(100) {
					w.checks.fail("the plans do not come to an end")
				}
				w.checks.placed()
				w.checks.agreed()
				if p.everybody() {
					w.checks.together()
				}
				if len(w.checks.wrong) > 0 {
					return append(w.checks.wrong, w.journal...)
				}
			}
			return nil
		}).Example(int(base + n))
		if len(wrong) > 0 {
			t.Fatalf("%s\n\nROTA_SEED=%d shows it alone", strings.Join(wrong, "\n"), base+n)
		}
	}
}

// everybody tells whether all nodes are there and take what they are given.
func (p *people) everybody() bool {
	for id := range p.sims {
		if n := p.w.nodes[id]; n == nil || n.Cordoned || p.w.online[id] == nil {
			return false
		}
	}
	return true
}
