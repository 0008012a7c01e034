package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// What a task depends on, and where that has succeeded. Successes that matter are kept as facts beside the tasks, not looked
// up in history: so every master knows them, they outlive the records, and a history that is away stops nobody. Of
// a task that comes to matter, history is looked through once; until then nothing of it counts.

// The events of facts.
type (
	FactPut     struct{ Fact *job.Fact }
	FactDeleted struct {
		Task job.TaskRef
		Node job.NodeID
	}
)

// DropFacts removes what is known of a task that nobody asks about any more. Revision is the task's.
type DropFacts struct {
	Task     job.TaskRef
	Revision int64
}

func (DropFacts) isAction() {}

// known is what is known of a task's successes.
type known struct {
	facts         map[job.NodeID]*job.Fact
	latest, first time.Time // of all nodes; see count
}

func (e FactPut) apply(s *State) {
	t := s.task(e.Fact.Task)
	old := t.facts[e.Fact.Node]
	if old != nil && old.Revision >= e.Fact.Revision {
		return
	}
	if t.facts == nil {
		t.facts = map[job.NodeID]*job.Fact{}
	}
	t.facts[e.Fact.Node] = e.Fact
	s.fact(t, old, e.Fact)
}

func (e FactDeleted) apply(s *State) {
	t := s.tasks[e.Task]
	if t == nil || t.facts[e.Node] == nil {
		return
	}
	old := t.facts[e.Node]
	delete(t.facts, e.Node)
	s.fact(t, old, nil)
	s.forget(t)
}

// fact notes that a fact has changed.
func (s *State) fact(t *task, old, now *job.Fact) {
	if now != nil {
		t.count(now)
	} else {
		t.latest, t.first = time.Time{}, time.Time{}
		for _, f := range t.facts {
			t.count(f)
		}
	}
	s.learning(t)
	if now != nil {
		s.stirOn(t, now.Node)
	}
	if old == nil || now == nil || !old.Success.Equal(now.Success) || old.Run != now.Run {
		s.expires = time.Time{}
		s.news(t.ref)
		s.elsewhere(t)
	}
}

func (k *known) count(f *job.Fact) {
	if f.Success.After(k.latest) {
		k.latest = f.Success
	}
	if !f.First.IsZero() && (k.first.IsZero() || f.First.Before(k.first)) {
		k.first = f.First
	}
}

// learned tells whether history has been looked through for the task's successes.
func (t *task) learned() bool { return t.facts[""] != nil }

// matters tells whether anybody asks where a task has succeeded.
func (s *State) matters(t *task) bool {
	return t.entry != nil && (t.entry.Task.Mode == job.OnlyOnce || t.entry.Task.Passive || len(s.depended[t.ref]) > 0)
}

// learning keeps the list of tasks of which history must be read, and of those of which nobody needs to know any more.
func (s *State) learning(t *task) {
	delete(s.unlearned, t.ref)
	delete(s.idle, t)
	switch {
	case t.unreadable:
	case s.matters(t):
		if !t.learned() {
			s.unlearned[t.ref] = struct{}{}
		}
	case len(t.facts) > 0:
		s.idle[t] = struct{}{}
	}
}

// Unlearned lists the tasks of which somebody asks where they have succeeded, and history has not been looked through.
func (s *State) Unlearned() []job.TaskRef {
	refs := make([]job.TaskRef, 0, len(s.unlearned))
	for ref := range s.unlearned {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b job.TaskRef) int { return strings.Compare(a.String(), b.String()) })
	return refs
}

// Learned tells whether it is known where a task has succeeded, or nobody asks.
func (s *State) Learned(ref job.TaskRef) bool {
	_, not := s.unlearned[ref]
	return !not
}

func (s *State) setDepends(t *task, depends []job.Depend) {
	s.elsewhere(t) // those that were in a party with it
	defer s.elsewhere(t)
	for _, d := range t.depends {
		ref := d.Ref(t.ref.Group)
		unlist(s.depended, ref, t)
		unlist(s.fellows, ref, t)
		if x := s.tasks[ref]; x != nil {
			s.learning(x)
		}
	}
	t.depends = depends
	delete(s.expiring, t)
	for _, d := range depends {
		ref := d.Ref(t.ref.Group)
		list(s.depended, ref, t)
		if d.Strategy == job.SameNode {
			list(s.fellows, ref, t)
		}
		if d.Within > 0 {
			s.expiring[t], s.expires = struct{}{}, time.Time{}
		}
		if x := s.tasks[ref]; x != nil {
			s.learning(x)
		}
	}
}

func list(of map[job.TaskRef]map[*task]struct{}, ref job.TaskRef, t *task) {
	if of[ref] == nil {
		of[ref] = map[*task]struct{}{}
	}
	of[ref][t] = struct{}{}
}

func unlist(of map[job.TaskRef]map[*task]struct{}, ref job.TaskRef, t *task) {
	if delete(of[ref], t); len(of[ref]) == 0 {
		delete(of, ref)
	}
}

// news has everybody look again who waits for a task, or for one that waits for it and is started on demand.
func (s *State) news(ref job.TaskRef) {
	seen := map[job.TaskRef]bool{}
	var tell func(job.TaskRef)
	tell = func(ref job.TaskRef) {
		if seen[ref] {
			return
		}
		seen[ref] = true
		for t := range s.depended[ref] {
			if t.entry != nil && t.entry.Task.Mode == job.Cycle {
				s.dirty(t)
			}
			s.stir(t)
			if t.entry != nil && t.entry.Task.Passive {
				tell(t.ref)
			}
		}
	}
	tell(ref)
}

// Dependents lists the tasks that depend on a task, sorted.
func (s *State) Dependents(ref job.TaskRef) []job.TaskRef {
	var refs []job.TaskRef
	for t := range s.depended[ref] {
		refs = append(refs, t.ref)
	}
	slices.SortFunc(refs, func(a, b job.TaskRef) int { return strings.Compare(a.String(), b.String()) })
	return refs
}

// unmet says what a task depends on and has not on a node; without a node, what it has on none of its nodes.
func (s *State) unmet(t *task, id job.NodeID, now time.Time) []string {
	return s.unmetBut(t, id, now, func(*task, job.Depend) string { return "" })
}

// unmetBut adds a remark to each.
func (s *State) unmetBut(t *task, id job.NodeID, now time.Time, remark func(*task, job.Depend) string) []string {
	var list []string
	for _, d := range t.depends {
		if s.met(t, d, id, now) {
			continue
		}
		text := d.Text(t.ref.Group) + remark(t, d)
		if x := s.tasks[d.Ref(t.ref.Group)]; x == nil || x.written == nil && !x.unreadable {
			text += ", which is gone" // ancestor 26
		}
		list = append(list, text)
	}
	return list
}

// met tells whether a dependency has succeeded as of a time. A task that there is not has not, whatever it once did.
func (s *State) met(t *task, d job.Depend, id job.NodeID, now time.Time) bool {
	x := s.tasks[d.Ref(t.ref.Group)]
	if x == nil || x.entry == nil || !x.learned() {
		return false
	}
	first, latest := x.first, x.latest
	if d.Strategy == job.SameNode {
		f := x.facts[id]
		if f == nil {
			return false
		}
		first, latest = f.First, f.Success
	}
	switch {
	case latest.IsZero() || latest.Before(x.entry.CreatedAt):
		return false
	case now.Before(latest): // of an earlier time nothing but the first success is known
		return !first.After(now) && !first.Before(x.entry.CreatedAt)
	}
	return d.Within == 0 || now.Sub(latest) <= d.Within.Std()
}

// waitsFor says in one word what a task has not on a node.
func waitsFor(unmet []string) string { return "waits for " + strings.Join(unmet, " and ") }

// waitedFor says what kept every node of a task from claiming an instant, or "".
func (s *State) waitedFor(t *task, instant time.Time) string {
	if len(t.depends) == 0 || len(t.jobs) == 0 {
		return ""
	}
	why := ""
	for id := range t.jobs {
		unmet := s.unmet(t, id, instant)
		if len(unmet) == 0 {
			return ""
		}
		if w := waitsFor(unmet); why == "" || w < why {
			why = w
		}
	}
	return why
}

// stampWith is the stamp of a job that waits.
func stampWith(stamp uint64, waits []string) uint64 {
	if len(waits) == 0 {
		return stamp
	}
	h := sha256.New()
	_ = binary.Write(h, binary.BigEndian, stamp)
	h.Write([]byte(strings.Join(waits, "\n")))
	return max(1, binary.BigEndian.Uint64(h.Sum(nil)[:8]))
}

// waitsOn says what a job on a node is to wait for: that of a timer.
func (s *State) waitsOn(t *task, id job.NodeID, now time.Time) []string {
	if len(t.depends) == 0 || t.entry.Task.Mode != job.Cycle {
		return nil
	}
	return s.unmet(t, id, now)
}

// expire has those look again whose dependencies may have become too old.
func (s *State) expire(now time.Time) {
	if len(s.expiring) == 0 || now.Before(s.expires) && !now.Before(s.looked) {
		return
	}
	s.looked, s.expires = now, now.Add(time.Hour)
	for t := range s.expiring {
		for _, d := range t.depends {
			x := s.tasks[d.Ref(t.ref.Group)]
			if d.Within == 0 || x == nil {
				continue
			}
			for _, f := range x.facts {
				if at := f.Success.Add(d.Within.Std() + 1); !f.Success.IsZero() && at.After(now) && at.Before(s.expires) {
					s.expires = at
				}
			}
		}
		s.dirty(t)
		s.stir(t)
	}
}

// dropFacts forgets what nobody asks about.
func (s *State) dropFacts() []Action {
	var actions []Action
	for t := range s.idle {
		rev := int64(0)
		if t.written != nil {
			rev = t.written.Revision
		}
		actions = append(actions, DropFacts{Task: t.ref, Revision: rev})
		delete(s.idle, t)
	}
	slices.SortFunc(actions, func(a, b Action) int {
		return strings.Compare(a.(DropFacts).Task.String(), b.(DropFacts).Task.String())
	})
	return actions
}

// dropped notes that a task's facts are gone.
func (s *State) dropped(ref job.TaskRef) {
	if t := s.tasks[ref]; t != nil {
		t.known = known{}
		s.learning(t)
		s.news(ref)
		s.elsewhere(t)
		s.forget(t)
	}
}
