package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// What starts by itself and has no timer: a task that runs once on each of its nodes, and a passive one that another task needs.
// That it was started stands in its fact, which is written in one transaction with the dispatch: so it is started once, whoever
// leads, whatever was restarted or applied anew.

// Start creates dispatches and writes the facts that say so, in one transaction: nothing is done where the facts are not
// those that were read, or a run was asked for before.
type Start struct {
	Task       job.TaskRef // the one to look at again where that was refused
	Facts      []*job.Fact
	Dispatches []*job.Dispatch
}

func (Start) isAction() {}

// maxStarts is about how many runs one plan starts.
const maxStarts = 2000

// stir has a task looked at: something may start.
func (s *State) stir(t *task) {
	if t.entry == nil && len(t.requests) == 0 {
		return
	}
	s.stirred[t] = nil
}

// starts says what starts now.
func (s *State) starts(now time.Time) []Action {
	s.giveUps(now)
	s.arrivals()
	if len(s.stirred) == 0 {
		return s.dropFacts()
	}
	list := make([]*task, 0, len(s.stirred))
	for t := range s.stirred {
		list = append(list, t)
	}
	slices.SortFunc(list, byRef)
	p := &starting{s: s, now: now, written: map[string]bool{}}
	for _, t := range list {
		if len(p.actions) >= maxStarts {
			break // the others stay stirred
		}
		on := s.stirred[t]
		delete(s.stirred, t)
		p.requests(t)
		if t.entry != nil && t.rule != nil && !t.entry.Paused {
			p.own(t, on)
		}
	}
	return append(p.actions, s.dropFacts()...)
}

// starting is one round of starts.
type starting struct {
	s       *State
	now     time.Time
	actions []Action
	written map[string]bool // the facts that this round writes: what else would write them comes with the next
}

// take tells whether facts may be written in this round, and notes that they are.
func (p *starting) take(facts ...*job.Fact) bool {
	for _, f := range facts {
		if p.written[f.Task.String()+"/"+string(f.Node)] {
			return false
		}
	}
	for _, f := range facts {
		p.written[f.Task.String()+"/"+string(f.Node)] = true
	}
	return true
}

// own starts what is a task's own: its one run, and what its timer or that run needs.
func (p *starting) own(t *task, on []job.NodeID) {
	once := t.entry.Task.Mode == job.OnlyOnce && !t.entry.Task.Passive
	if !once && (len(t.depends) == 0 || t.entry.Task.Mode != job.Cycle) {
		return
	}
	if once && t.entry.Task.Kind.Kind().Claimed() {
		p.once(t, "")
		return
	}
	if on == nil || slices.Contains(on, "") {
		on = sortedJobs(t)
	}
	slices.Sort(on)
	for _, id := range slices.Compact(on) {
		if _, bound := t.jobs[id]; !bound {
			continue
		}
		if once {
			p.once(t, id)
		} else if p.s.ready(id) {
			p.demand(t, id)
		}
	}
}

func sortedJobs(t *task) []job.NodeID {
	ids := make([]job.NodeID, 0, len(t.jobs))
	for id := range t.jobs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// ready tells whether a node is there for what starts by itself.
func (s *State) ready(id job.NodeID) bool {
	n := s.nodes[id]
	return n != nil && n.node != nil && n.presence != nil && !n.node.Cordoned
}

// once starts the one run of a task on a node; without a node, of a claimed task on one of its nodes.
func (p *starting) once(t *task, id job.NodeID) {
	s := p.s
	if !t.learned() {
		return
	}
	f := t.factOf(id)
	need := t.version()
	if !f.Success.IsZero() || f.Run != "" || f.Asked == need || id == "" && !s.anyReady(t) || id != "" && !s.ready(id) {
		return
	}
	r := Request{Task: t.ref, Key: fmt.Sprintf("once/%s/%d", need, f.Tries), Trigger: job.TriggerDispatch, Cause: "mode onlyonce"}
	if id != "" {
		r.Nodes = []job.NodeID{id}
	}
	list, _, err := s.Dispatch(r, p.now)
	if err != nil {
		if id != "" {
			p.demand(t, id)
			return
		}
		for _, id := range sortedJobs(t) {
			if s.ready(id) {
				p.demand(t, id)
			}
		}
		return
	}
	if !p.take(f) {
		s.stir(t)
		return
	}
	f.Asked, f.Run = need, list[0].Run
	p.actions = append(p.actions, Start{Task: t.ref, Facts: []*job.Fact{f}, Dispatches: list})
}

func (s *State) anyReady(t *task) bool {
	for id := range t.jobs {
		if s.ready(id) {
			return true
		}
	}
	return false
}

// version names what a task is now: a task that is edited, or made anew, is another one.
func (t *task) version() string {
	return fmt.Sprintf("%d.%d", t.entry.CreatedAt.UnixMilli(), t.entry.Generation)
}

// factOf is what is known of a task on a node, to be changed.
func (t *task) factOf(id job.NodeID) *job.Fact {
	if f := t.facts[id]; f != nil {
		c := *f
		return &c
	}
	return &job.Fact{Task: t.ref, Node: id}
}

// needed is a passive task that another one lacks, and where.
type needed struct {
	task *task
	node job.NodeID
	any  bool // its success elsewhere would do as well
}

// lacking lists the passive tasks that can be started now so that another one may run on a node. Of those that wait themselves
// it is what they wait for.
func (p *starting) lacking(t *task, id job.NodeID, seen map[*task]bool) (list []needed) {
	s := p.s
	if seen[t] {
		return nil
	}
	seen[t] = true
	for _, d := range t.depends {
		x := s.tasks[d.Ref(t.ref.Group)]
		if x == nil || x.entry == nil || x.rule == nil || !x.entry.Task.Passive || s.met(t, d, id, p.now) {
			continue
		}
		on := id
		if _, bound := x.jobs[id]; !bound {
			if d.Strategy == job.SameNode {
				continue
			}
			var there []job.NodeID
			for _, n := range sortedJobs(x) {
				if s.ready(n) {
					there = append(there, n)
				}
			}
			if len(there) == 0 {
				continue
			}
			on = s.leastLoaded(there, x.ref.String(), nil)
		}
		if len(s.unmet(x, on, p.now)) > 0 {
			list = append(list, p.lacking(x, on, seen)...)
		} else {
			list = append(list, needed{x, on, d.Strategy != job.SameNode})
		}
	}
	return list
}

// demand starts the passive tasks that a task lacks on a node, once for each need: where one fails it is for
// people to ask for it again, or to edit it.
func (p *starting) demand(t *task, id job.NodeID) {
	for _, n := range p.lacking(t, id, map[*task]bool{}) {
		x := n.task
		if !x.learned() || p.s.busy(x, n) {
			continue
		}
		scope, latest := n.node, time.Time{}
		if f := x.facts[scope]; f != nil {
			latest = f.Success
		}
		if x.entry.Task.Kind.Kind().Claimed() {
			scope, latest = "", x.latest
		}
		f := x.factOf(scope)
		need := fmt.Sprintf("%s.%d", x.version(), latest.Unix())
		if f.Asked == need || f.Run != "" {
			continue
		}
		list, _, err := p.s.Dispatch(Request{
			Task: x.ref, Nodes: []job.NodeID{n.node}, Key: fmt.Sprintf("depend/%s/%d", need, f.Tries), Trigger: job.TriggerDepend,
			Cause: "task " + t.ref.String() + ", which depends on it",
		}, p.now)
		if err != nil {
			continue
		}
		p.s.stirOn(t, id)
		if !p.take(f) {
			continue
		}
		f.Asked, f.Run = need, list[0].Run
		p.actions = append(p.actions, Start{Task: t.ref, Facts: []*job.Fact{f}, Dispatches: list})
	}
}

// busy tells whether a run of a task is asked for or alive where it is needed, or waits to be.
func (s *State) busy(t *task, n needed) bool {
	if n.any {
		for id := range t.jobs {
			if s.busyOn(t, id) {
				return true
			}
		}
		return false
	}
	return s.busyOn(t, n.node)
}

func (s *State) busyOn(t *task, id job.NodeID) bool {
	if f := t.facts[t.scope(id)]; s.alive[job.JobHash(t.ref, id)] > 0 || f != nil && f.Run != "" {
		return true
	}
	for _, w := range t.requests {
		if w.Node == "" || w.Node == id {
			return true
		}
	}
	return false
}

// marks are the facts that say that a run of an onlyonce task was asked for, or one that another task needs.
func (t *task) marks(r Request, list []*job.Dispatch) (facts []*job.Fact) {
	if (t.entry.Task.Mode != job.OnlyOnce || r.Force) && r.Trigger != job.TriggerDepend {
		return nil
	}
	for _, d := range list {
		f := t.factOf(t.scope(d.Node))
		f.Run = d.Run
		facts = append(facts, f)
	}
	return facts
}

// scope is where it is noted that a task ran once: for the task as a whole, if each instant of it would be one node's.
func (t *task) scope(id job.NodeID) job.NodeID {
	if t.entry.Task.Kind.Kind().Claimed() {
		return ""
	}
	return id
}

// ranOnce says why an onlyonce task does not run on a node again, or "".
func (s *State) ranOnce(t *task, id job.NodeID) string {
	f := t.facts[t.scope(id)]
	switch {
	case !t.learned():
		return "it is not known yet where it has succeeded"
	case f != nil && !f.Success.IsZero() && f.Node == "":
		return "it has succeeded, and runs only once"
	case f != nil && !f.Success.IsZero():
		return "it has succeeded there, and runs only once"
	case f != nil && f.Run != "" || s.alive[job.JobHash(t.ref, id)] > 0:
		return "it is asked for or running there already, and runs only once"
	}
	return ""
}

// Ended tells what must be remembered of a record for ever. It is done by reading, changing and writing the facts: what the
// engine has seen of them may not be the latest.
type Ended struct {
	Task    job.TaskRef
	Node    job.NodeID // empty: no node had a part in it
	Run     job.RunID
	Outcome job.Outcome
	At      time.Time // its end
	Claimed bool      // the task is one that is noted as a whole
}

func (Ended) isAction() {}

// Change makes of a fact what it is after the end, and tells whether that is something new.
func (e Ended) Change(f *job.Fact) bool {
	old := *f
	if e.Outcome == job.Success && (f.Node != "" || e.Claimed) {
		f.Succeed(e.At)
	}
	if f.Run == e.Run {
		f.Run = ""
		if e.Outcome == job.Missed { // it did not come to run: the need is as it was
			f.Asked, f.Tries = "", f.Tries+1
		}
	}
	return *f != old
}

// ended is what must be remembered of a record, or nil.
func (s *State) ended(t *task, rec *job.ExecutionRecord, now time.Time) Action {
	if !s.matters(t) && !t.learned() {
		return nil
	}
	at := rec.EndTime.Add(s.slow[rec.Node])
	if at.After(now) {
		at = now
	}
	if at.Before(t.entry.CreatedAt) {
		return nil // of a task that had the name before
	}
	spec := &t.entry.Task
	if spec.Mode != job.OnlyOnce && !spec.Passive {
		if rec.Outcome != job.Success {
			return nil
		}
		if f := t.facts[rec.Node]; f != nil && !f.Success.IsZero() && !f.Success.Before(t.entry.CreatedAt) && !s.aged(t) {
			return nil
		}
	}
	return Ended{Task: t.ref, Node: rec.Node, Run: job.RunID(rec.ID), Outcome: rec.Outcome, At: at.UTC(), Claimed: spec.Kind.Kind().Claimed()}
}

// aged tells whether somebody asks how old a task's success is.
func (s *State) aged(t *task) bool {
	for d := range s.depended[t.ref] {
		if _, ok := s.expiring[d]; ok {
			return true
		}
	}
	return false
}

func byRun(a, b *job.Waiting) int {
	return cmp.Or(a.RequestedAt.Compare(b.RequestedAt), strings.Compare(string(a.Run), string(b.Run)))
}

// stirOn has a task looked at on one node.
func (s *State) stirOn(t *task, id job.NodeID) {
	nodes, already := s.stirred[t]
	if already && nodes == nil {
		return
	}
	s.stirred[t] = append(nodes, id)
}

// placedOn notes that a task has come to a node.
func (s *State) placedOn(t *task, id job.NodeID) {
	_, starts := s.starters[t]
	_, waits := s.queued[t]
	if starts || waits {
		s.stirOn(t, id)
	}
	if t.entry != nil && t.entry.Task.Passive {
		s.news(t.ref) // it may be started there now
	}
}

// changed notes that a task was written or deleted.
func (s *State) changed(t *task) {
	delete(s.starters, t)
	if t.entry != nil && (t.entry.Task.Mode == job.OnlyOnce && !t.entry.Task.Passive || t.entry.Task.Mode == job.Cycle && len(t.depends) > 0) {
		s.starters[t] = struct{}{}
	}
	s.givesUp = time.Time{}
	s.learning(t)
	s.stir(t)
	s.news(t.ref)
}

// arrivals has those looked at that may start something on nodes that have come, or changed.
func (s *State) arrivals() {
	if len(s.came) == 0 {
		return
	}
	for t := range s.starters {
		for id := range s.came {
			if _, bound := t.jobs[id]; bound {
				s.stirOn(t, id)
			}
		}
	}
	for t := range s.queued {
		s.stir(t)
	}
	clear(s.came)
}

// started notes what was written of facts.
func (s *State) started(facts []*job.Fact) {
	for _, f := range facts {
		t := s.task(f.Task)
		if old := t.facts[f.Node]; old == nil && f.Revision == 0 || old != nil && old.Revision == f.Revision {
			if t.facts == nil {
				t.facts = map[job.NodeID]*job.Fact{}
			}
			t.facts[f.Node] = f
		}
	}
}

// refusedStart has a task looked at again a little later: the watch tells what has changed.
func (s *State) refusedStart(ref job.TaskRef) {
	if t := s.tasks[ref]; t != nil {
		s.stir(t)
	}
}

// notAlive notes the end of a dispatch: who needs another run of its task looks again.
func (s *State) notAlive(j *job.Job) {
	if s.alive[j.Hash]--; s.alive[j.Hash] <= 0 {
		delete(s.alive, j.Hash)
	}
	if t := s.tasks[j.Ref()]; t != nil && (t.entry == nil || t.entry.Task.Passive || t.entry.Task.Mode == job.OnlyOnce) {
		s.stirOn(t, j.NodeID)
		s.news(t.ref)
	}
}
