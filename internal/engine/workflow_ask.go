package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// Which runs of a step are asked for, and where.

// stepping is what all runs of a step have in common.
type stepping struct {
	s      *job.Step
	placed []job.NodeID // the nodes that its task selects
	limits bool         // only those of s.Nodes
	config map[string]string
	params map[string]string
	names  [][]string // of the data that it uses
	data   map[string]json.RawMessage
	once   bool
	beyond *task // with what it depends on outside of its group
}

// prepare looks up what the runs of a step need. The error says why it can't run.
func (v *advance) prepare(s *job.Step) (*stepping, error) {
	t := &s.Task.Task
	p := &stepping{s: s, names: t.DataNames(), once: t.Mode == job.OnlyOnce}
	p.placed = v.s.WouldPlace(s.Task)
	if p.limits = v.limited(s); p.limits || !s.Kind.Kind().Claimed() {
		p.limits = len(s.Nodes) > 0
	}
	var names [][]string
	for _, n := range t.ConfigNames() {
		names = append(names, []string{"config", n})
	}
	p.config = v.s.configOf(v.next.Group, names)
	given := v.next.Params
	if len(t.Params) > 0 {
		given = map[string]string{}
		for k, value := range v.next.Params {
			if _, ok := t.Params[k]; ok {
				given[k] = value
			}
		}
	}
	var err error
	if p.params, err = job.Arguments(t.Params, given); err != nil {
		return nil, err
	}
	if p.data, err = v.next.Data(p.names); err != nil {
		return nil, err
	}
	p.beyond = v.beyond(t)
	return p, nil
}

// beyond is a task with those of its dependencies that are in other groups; nil: there are none.
func (v *advance) beyond(t *job.Task) *task {
	var depends []job.Depend
	for _, d := range t.Depends {
		if d.Ref(t.Group).Group != t.Group {
			depends = append(depends, d)
		}
	}
	if len(depends) == 0 {
		return nil
	}
	return &task{ref: t.Ref(), depends: depends}
}

// limited tells whether a step must run where steps before it have succeeded.
func (v *advance) limited(s *job.Step) bool {
	return slices.ContainsFunc(s.Depends, v.binds)
}

// binds tells whether a dependency says on which nodes a step may run. One that ran nowhere does not.
func (v *advance) binds(d job.StepDepend) bool {
	return d.SameNode && len(v.next.Step(d.Step).Lanes) > 0
}

// succeededOn are the nodes on which a step has succeeded.
func succeededOn(s *job.Step) []job.NodeID {
	nodes := slices.Clone(s.On)
	for at := range s.Lanes {
		if node, _ := s.Place(at); node != "" && s.Lanes.Outcome(at) == job.Success && !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// nowhere begins what is said of a step that will never have a node.
const nowhere = "it is on none of the nodes on which step "

// place finds the nodes on which a step runs: of a common task all that are there, else those of which one will be chosen.
func (v *advance) place(s *job.Step) (nodes []job.NodeID, why string) {
	candidates := v.s.WouldPlace(s.Task)
	if len(candidates) == 0 {
		return nil, "no node matches"
	}
	for _, d := range s.Depends {
		if !v.binds(d) {
			continue
		}
		on := succeededOn(v.next.Step(d.Step))
		candidates = slices.DeleteFunc(slices.Clone(candidates), func(id job.NodeID) bool { return !slices.Contains(on, id) })
		if len(candidates) == 0 {
			return nil, nowhere + d.Step + " succeeded"
		}
	}
	var not []string
	for _, id := range candidates {
		if why := v.s.unable(id); why != "" {
			not = append(not, string(id)+": "+why)
		} else {
			nodes = append(nodes, id)
		}
	}
	if len(nodes) > 0 && !s.Kind.Kind().Claimed() {
		for _, n := range not {
			s.AddNote("not on " + n)
		}
	}
	return nodes, strings.Join(not, "; ")
}

// unable says why a node can't run a step now, or "".
func (s *State) unable(id job.NodeID) string {
	n := s.nodes[id]
	switch {
	case n == nil:
		return "there is no such node"
	case n.presence == nil:
		return "it is offline"
	case n.node != nil && n.node.Cordoned:
		return "it is cordoned"
	}
	return ""
}

// ask asks for as many runs of a step as there are places.
func (v *advance) ask(s *job.Step) {
	e := v.next
	if e.Halted() || s.Lanes.Count(job.LaneOpen) == 0 || s.Lanes.Bad() > 0 && v.halts(s) || v.stopped() != "" && !s.Handles() {
		return
	}
	places := e.MaxParallel - e.Running()
	if s.MaxParallel > 0 {
		places = min(places, s.MaxParallel-s.Lanes.Count(job.LaneAsked))
	}
	if places <= 0 || v.full() {
		return
	}
	p, err := v.prepare(s)
	if err != nil {
		if s.Lanes.Count(job.LaneAsked) == 0 {
			v.close(s, job.StepFailed, err.Error())
		}
		return
	}
	asked, why := 0, ""
	for at := 0; at < len(s.Lanes) && places > 0 && !v.full(); at++ {
		if s.Lanes[at] != job.LaneOpen {
			continue
		}
		node, before := v.choose(p, at)
		if node == "" {
			why = before
			if s.Kind.Kind().Claimed() {
				break // the others are no better off
			}
			continue
		}
		if p.once && v.ranOnce(p, at, node) {
			asked++
			continue
		}
		d := v.dispatch(p, at, node)
		v.dispatches, v.bytes = append(v.dispatches, d), v.bytes+len(d.Job.String())
		s.Lanes, s.ReadyAt, v.changed = s.Lanes.With(at, job.LaneAsked), time.Time{}, true
		asked, places = asked+1, places-1
	}
	if asked == 0 && why != "" {
		v.lack(s, why)
	}
}

// full tells whether one action asks for no more.
func (v *advance) full() bool { return len(v.dispatches) >= maxAdvance || v.bytes >= maxAdvanceBytes }

// lack notes that there is no node for the runs that are still to be asked for, and gives them up after a while.
func (v *advance) lack(s *job.Step, why string) {
	v.again(v.s.poll())
	switch {
	case s.ReadyAt.IsZero():
		s.ReadyAt, v.changed = v.now.UTC(), true
		s.AddNote("waits for a node: " + clip(why, 300))
	case v.now.Sub(s.ReadyAt) >= StartWithin:
		for at := range s.Lanes {
			if s.Lanes[at] == job.LaneOpen {
				v.settle(s, at, StepEnd{Outcome: job.Missed, Reason: fmt.Sprintf("no node could run it within %s: %s", job.Duration(StartWithin), why)})
			}
		}
		v.changed = true
	}
}

// choose is the node of a run, or why there is none now.
func (v *advance) choose(p *stepping, at int) (job.NodeID, string) {
	if node, _ := p.s.Place(at); node != "" {
		if why := v.hinders(p, node); why != "" {
			return "", string(node) + ": " + why
		}
		return node, ""
	}
	var on []job.NodeID
	var not []string
	for _, id := range p.placed {
		if p.limits && !slices.Contains(p.s.Nodes, id) {
			continue
		}
		if why := v.hinders(p, id); why != "" {
			not = append(not, string(id)+": "+why)
		} else {
			on = append(on, id)
		}
	}
	if len(on) == 0 {
		return "", strings.Join(append(not, ""), "; ") + "no node can run it"
	}
	return v.leastLoaded(on, v.next.RunKey(p.s, at)), ""
}

func (v *advance) hinders(p *stepping, id job.NodeID) string {
	if why := v.s.unable(id); why != "" {
		return why
	}
	if p.beyond != nil {
		if unmet := v.s.unmet(p.beyond, id, v.now); len(unmet) > 0 {
			return waitsFor(unmet)
		}
	}
	return ""
}

// leastLoaded counts what this plan asks for too, so that many runs spread.
func (v *advance) leastLoaded(on []job.NodeID, key string) job.NodeID {
	mine := map[job.NodeID]int{}
	for _, d := range v.dispatches {
		mine[d.Node]++
	}
	return slices.MinFunc(on, func(a, b job.NodeID) int {
		if d := v.s.waiting[a] + mine[a] - v.s.waiting[b] - mine[b]; d != 0 {
			return d
		}
		return job.CompareRank(key, a, b)
	})
}

// dispatch makes the request for a run.
func (v *advance) dispatch(p *stepping, at int, node job.NodeID) *job.Dispatch {
	e, s := v.next, p.s
	run := e.Run(s, at)
	j := job.Bind(s.Task, node, p.placed, s.Task.CreatedAt)
	j.Config, j.EventID, j.Past = p.config, string(run), nil
	data := p.data
	if s.ForEach != "" {
		j.Parallel = e.MaxParallel
		if s.MaxParallel > 0 {
			j.Parallel = s.MaxParallel
		}
		_, item := s.Place(at)
		data = map[string]json.RawMessage{}
		for k, raw := range p.data {
			data[k] = raw
		}
		job.ItemData(p.names, s.Items[item], data)
	}
	if p.once {
		if t := v.s.tasks[s.Task.Ref()]; t != nil {
			f := t.factOf(t.scope(node))
			f.Run = run
			v.facts = append(v.facts, f)
		}
	}
	return &job.Dispatch{
		Run: run, Node: node, Job: j, Trigger: job.TriggerGroup, Params: p.params, Data: data, Cause: "execution " + e.ID, Execution: e.ID,
		RequestedAt: v.now.UTC(), NotAfter: v.now.UTC().Add(BackfillWithin),
	}
}

// ranOnce deals with a run of a task that runs only once: where it has, that is its success; while it may be about to, the step waits.
func (v *advance) ranOnce(p *stepping, at int, node job.NodeID) bool {
	t := v.s.tasks[p.s.Task.Ref()]
	if t == nil {
		return false
	}
	why := v.s.ranOnce(t, node)
	if why == "" {
		return false
	}
	if f := t.facts[t.scope(node)]; f != nil && !f.Success.IsZero() {
		p.s.AddNote(fmt.Sprintf("not on %s: %s", node, why))
		p.s.Lanes, v.changed = p.s.Lanes.Settle(at, job.Success), true
		return true
	}
	v.again(v.s.poll())
	return true
}

// rescueStep finds another node for a run whose node went away before it started, where the engine chose it.
func (s *State) rescueStep(d *job.Dispatch, now time.Time) *job.Dispatch {
	x := s.executions[d.Execution]
	if x == nil || d.Started != nil || !d.Job.Kind.Claimed() || x.spec.Halted() || !s.gone(d.Node, now) {
		return nil
	}
	at, asked := x.asked[d.Run]
	if !asked {
		return nil
	}
	step := &x.spec.Steps[at.step]
	if step.Task == nil {
		return nil
	}
	v := &advance{s: s, x: x, next: x.spec, now: now}
	p, err := v.prepare(step)
	if err != nil || p.once {
		return nil
	}
	node, _ := v.choose(p, at.at)
	if node == "" || node == d.Node {
		return nil
	}
	to := v.dispatch(p, at.at, node)
	to.RequestedAt, to.NotAfter = d.RequestedAt, d.NotAfter
	return to
}
