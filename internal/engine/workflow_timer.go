package engine

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// The timers of groups. The leader fires them: how far it came stands in the group's state, which is written in one transaction with the
// executions that the instants begin. What nobody fired in time is caught up with, or told, by the group's policy.

type group struct {
	name    string
	entry   *job.Entry[job.Group] // nil: there is none, or it can't be read
	gone    bool                  // there is none
	rule    *job.Rule             // of the entry, with what its calendars say now
	lacks   bool                  // what its calendars say is not known: the timer goes on with what it has
	state   *job.GroupState       // nil: none
	writing bool                  // the answer to our last write has come, but the watch has not told of it yet
	dirty   bool
	look    time.Time
}

// The events of groups.
type (
	GroupPut          struct{ Entry *job.Entry[job.Group] }
	GroupDeleted      struct{ Name string }
	GroupUnreadable   struct{ Name string }
	GroupStatePut     struct{ State *job.GroupState }
	GroupStateDeleted struct{ Name string }
)

// The actions of groups.
type (
	// FireGroup writes a group's state in the place of the version of its Revision, while the group is still of that revision, and begins the
	// executions of the instants that the state counts as fired, in one transaction.
	FireGroup struct {
		State      *job.GroupState
		Revision   int64 // of the group
		Executions []*job.GroupExecution
	}
	// DropGroupState removes the state of a group that is gone.
	DropGroupState struct{ State *job.GroupState }
)

func (FireGroup) isAction()      {}
func (DropGroupState) isAction() {}

func (s *State) group(name string) *group {
	g := s.groups[name]
	if g == nil {
		g = &group{name: name, gone: true}
		s.groups[name] = g
	}
	g.dirty = true
	return g
}

func (s *State) rouseGroup(name string) {
	if g := s.groups[name]; g != nil {
		g.dirty = true
	}
	for _, x := range s.executions {
		if x.spec.Group == name && x.spec.Queue && x.spec.Status == job.ExecutionWaiting {
			x.dirty = true
		}
	}
}

func (e GroupPut) apply(s *State) {
	g := s.group(e.Entry.Document.Name)
	if g.entry != nil && g.entry.Revision >= e.Entry.Revision && e.Entry.Revision > 0 {
		return
	}
	g.entry, g.gone = e.Entry, false
	if r := e.Entry.Document.Rule(); r != nil && r.Valid() != nil {
		g.entry = nil // it was valid when it was stored; another version may read it otherwise
	}
	s.adoptGroup(g)
}

func (e GroupDeleted) apply(s *State) {
	g := s.group(e.Name)
	g.entry, g.gone = nil, true
	s.adoptGroup(g)
}

func (e GroupUnreadable) apply(s *State) {
	g := s.group(e.Name)
	g.entry, g.gone = nil, false
	s.adoptGroup(g)
}

func (e GroupStatePut) apply(s *State) {
	g := s.group(e.State.Group)
	if g.state != nil && g.state.Revision >= e.State.Revision && e.State.Revision > 0 {
		return
	}
	g.writing = false
	g.state = e.State
}

func (e GroupStateDeleted) apply(s *State) {
	g := s.group(e.Name)
	g.state, g.writing = nil, false
}

// fired notes that the watch will tell of a write, where it has not done so before the answer came.
func (s *State) fired(written *job.GroupState) {
	if g := s.groups[written.Group]; g != nil && g.revision() == written.Revision {
		g.writing = true
	}
}

// revision is that of the state, 0 where there is none.
func (g *group) revision() int64 {
	if g.state == nil {
		return 0
	}
	return g.state.Revision
}

// PlanExecution makes an execution of a group as it is now, with its defaults; who begins it, and why, is not said in it yet. The error
// says why the group can't be run.
func (s *State) PlanExecution(name string, params map[string]string) (*job.GroupExecution, error) {
	spec := job.Group{Name: name}
	if g := s.groups[name]; g != nil && g.entry != nil {
		spec = g.entry.Document
	} else if g != nil && !g.gone {
		return nil, job.Errorf(job.CodeUnavailable, "the document of group %s can't be read here", name)
	}
	values, err := job.Arguments(spec.Params, params)
	if err != nil {
		return nil, err
	}
	var entries []*job.TaskEntry
	for ref, t := range s.tasks {
		if ref.Group != name {
			continue
		}
		if t.written == nil && t.unreadable {
			return nil, job.Errorf(job.CodeUnavailable, "task %s can't be read here", ref)
		}
		if t.written != nil {
			entries = append(entries, t.written)
		}
	}
	slices.SortFunc(entries, func(a, b *job.TaskEntry) int { return strings.Compare(a.Task.Name, b.Task.Name) })
	e, err := job.NewGroupExecution(&spec, entries)
	if err == nil {
		e.Params = values
	}
	return e, err
}

// MaxExecutions is how many executions may be under way at once.
const MaxExecutions = 1000

func (s *State) underWay() (n int) {
	for _, x := range s.executions {
		if !x.spec.Ended() {
			n++
		}
	}
	return n
}

// maxFired is how many executions one action begins.
const maxFired = 10

// fireGroups fires the timers of groups.
func (s *State) fireGroups(now time.Time) []Action {
	var actions []Action
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		g := s.groups[name]
		if g.writing || !g.dirty && (g.look.IsZero() || now.Before(g.look)) {
			continue
		}
		g.dirty, g.look = false, time.Time{}
		if g.gone {
			if g.state != nil {
				actions = append(actions, DropGroupState{State: g.state})
			} else {
				delete(s.groups, name)
			}
			continue
		}
		if g.entry == nil {
			continue
		}
		if a := s.fire(g, now); a != nil {
			actions = append(actions, *a)
			g.dirty = true
		}
	}
	return actions
}

// fire is the next step of a group's timer, or nil.
func (s *State) fire(g *group, now time.Time) *FireGroup {
	state := job.GroupState{Group: g.name}
	if g.state != nil {
		state = *g.state
	}
	a := &FireGroup{State: &state, Revision: g.entry.Revision}
	if g.state == nil || !state.Created.Equal(g.entry.CreatedAt) {
		if g.lacks || g.rule == nil && g.state == nil {
			return nil
		}
		rev := state.Revision
		state = job.GroupState{Group: g.name, Created: g.entry.CreatedAt, At: g.entry.CreatedAt.UTC().Truncate(time.Second), Rule: g.rule, Revision: rev}
		return a
	}
	rule, until := state.Rule, now
	next, at, edited := s.turn(g, &state, now)
	if edited { // what was due before the edit is the old rule's
		until = earliest(now, at)
	}
	if rule != nil && rule.Schedule == nil && rule.Valid() != nil {
		rule = nil // another version may read it otherwise
	}
	f := &firing{s: s, g: g, state: &state, now: now}
	more := rule != nil && f.walk(rule, until)
	if edited && !more {
		state.At, state.Rule = latest(state.At, at.UTC().Truncate(time.Second)), next
	}
	a.Executions = f.list
	if state.At.Equal(g.state.At) && (!edited || more) {
		if rule != nil && !state.Paused {
			if next := rule.Next(state.At); !next.IsZero() {
				g.look = next
			}
		}
		if !edited && !at.IsZero() && (g.look.IsZero() || at.Before(g.look)) {
			g.look = at
		}
		return nil
	}
	return a
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// firing walks over the instants of a group that are due.
type firing struct {
	s     *State
	g     *group
	state *job.GroupState
	now   time.Time
	list  []*job.GroupExecution
	held  []time.Time // instants that share what becomes of them
	fate  fate
}

// fate is what becomes of an instant.
type fate struct {
	status job.ExecutionStatus // missed or skipped; empty: it begins
	reason string
	late   bool
}

// walk deals with what is due up to a time, and tells whether there is more.
func (f *firing) walk(rule *job.Rule, until time.Time) (more bool) {
	n := 0
	for i := rule.Next(f.state.At); !i.IsZero() && !i.After(until); i = rule.Next(i) {
		if f.state.Paused && f.state.PausedFor(i) {
			more = true // told in one row when it is resumed, before an edit that came after it counts
			break
		}
		if n++; n > maxWalk || len(f.list) >= maxFired {
			more = true
			break
		}
		fate := f.fateOf(i, rule, until)
		if fate.status == "" {
			f.flush()
			f.begin(i, fate.late)
		} else {
			if fate != f.fate {
				f.flush()
			}
			f.held, f.fate = append(f.held, i), fate
		}
		f.state.At = i
	}
	f.flush()
	return more
}

func (f *firing) fateOf(i time.Time, rule *job.Rule, until time.Time) fate {
	spec := &f.g.entry.Document
	deadline := spec.Deadline.Std()
	if deadline <= 0 {
		deadline = job.DefaultDeadline
	}
	late := f.now.Sub(i) > deadline
	switch {
	case f.state.PausedFor(i):
		return fate{status: job.ExecutionSkipped, reason: "the group was paused"}
	case f.s.underWay()+len(f.list) >= MaxExecutions:
		return fate{status: job.ExecutionSkipped, reason: "too many executions were under way"}
	case !late && spec.Overlap == job.OverlapSkip:
		if id := f.alive(); id != "" {
			return fate{status: job.ExecutionSkipped, reason: "execution " + id + " was still under way"}
		}
	case late && spec.Catchup == job.CatchupOne:
		if next := rule.Next(i); next.IsZero() || next.After(until) {
			return fate{late: true}
		}
		return fate{status: job.ExecutionMissed, reason: "no master led, and a later instant is caught up with"}
	case late && spec.Catchup == job.CatchupAll:
		return fate{late: true}
	case late:
		return fate{status: job.ExecutionMissed, reason: "no master began it within " + job.Duration(deadline).String()}
	}
	return fate{}
}

// alive is an execution of the group that has not ended.
func (f *firing) alive() string {
	for _, e := range f.list {
		if !e.Ended() {
			return e.ID
		}
	}
	ids := []string{}
	for _, x := range f.s.executions {
		if x.spec.Group == f.g.name && !x.spec.Ended() {
			ids = append(ids, x.spec.ID)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return slices.Min(ids)
}

// begin begins the execution of an instant.
func (f *firing) begin(i time.Time, late bool) {
	e, err := f.s.PlanExecution(f.g.name, nil)
	if err != nil {
		e = &job.GroupExecution{Group: f.g.name, Status: job.ExecutionFailed, Reason: err.Error(), BeganAt: f.now.UTC(), EndedAt: f.now.UTC(), Steps: []job.Step{}}
	}
	e.Trigger, e.Queue = job.TriggerTimer, f.g.entry.Document.Overlap == job.OverlapQueue
	if late {
		e.Trigger, e.Queue = job.TriggerCatchup, f.g.entry.Document.Overlap != job.OverlapAllow
	}
	e.Instant = i.UTC()
	f.add(e, "timer/"+job.FormatInstant(i))
}

func (f *firing) add(e *job.GroupExecution, key string) {
	e.Key, e.ID, e.CreatedAt = key, job.ExecutionID(f.g.name, key), f.now.UTC()
	e.CreatedAt = e.CreatedAt.Add(time.Duration(len(f.list))) // in the order of their instants
	f.list = append(f.list, e)
}

// flush writes one row for the instants that share it.
func (f *firing) flush() {
	if len(f.held) == 0 {
		return
	}
	first, last := f.held[0].UTC(), f.held[len(f.held)-1].UTC()
	e := &job.GroupExecution{
		Group: f.g.name, Trigger: job.TriggerTimer, Instant: first, Status: f.fate.status, Reason: f.fate.reason, BeganAt: f.now.UTC(), EndedAt: f.now.UTC(), Steps: []job.Step{},
	}
	key := "timer/" + job.FormatInstant(first)
	if n := len(f.held); n > 1 {
		e.Until, e.Count = last, n
		key = "instants/" + job.FormatInstant(first) + "/" + job.FormatInstant(last)
	}
	f.add(e, key)
	f.held = nil
}
