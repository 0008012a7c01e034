package job

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Depend names a task that must have succeeded first.
type Depend struct {
	Task     string         `json:"task"`               // of the same group where it names none
	Strategy DependStrategy `json:"strategy,omitempty"` // default: at-least-once
	Within   Duration       `json:"within,omitempty"`   // how old the success may be; 0: of any age
}

// DependStrategy says where a dependency must have succeeded.
type DependStrategy string

// The strategies.
const (
	SameNode    DependStrategy = "same-node"     // on the node that is to run the task
	AtLeastOnce DependStrategy = "at-least-once" // on some node
)

// DependStrategies are all of them.
var DependStrategies = []DependStrategy{SameNode, AtLeastOnce}

// Bounds of dependencies.
const (
	maxDepends = 50
	maxWithin  = 10 * 365 * 24 * time.Hour
)

// Ref is the task that is named, by one of a group.
func (d Depend) Ref(group string) TaskRef {
	if g, name, ok := strings.Cut(d.Task, "/"); ok {
		return Ref(g, name)
	}
	return Ref(group, d.Task)
}

// Text says what must be, for a person: default/mount on this node within 24h.
func (d Depend) Text(group string) string {
	s := d.Ref(group).String()
	if d.Strategy == SameNode {
		s += " on this node"
	}
	if d.Within > 0 {
		s += " within " + d.Within.String()
	}
	return s
}

// Needs are the tasks without which the task can't begin, each once: those it depends on, and the steps of its group that it names.
// Itself is not among them.
func (t *Task) Needs() []TaskRef {
	var refs []TaskRef
	add := func(ref TaskRef) {
		if ref != t.Ref() && !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	for _, d := range t.Depends {
		add(d.Ref(t.Group))
	}
	t.stepTexts(func(_, text string, alone bool) {
		for _, n := range namesIn(text, alone) {
			if n.path[0] == "steps" && len(n.path) > 1 {
				add(Ref(t.Group, n.path[1]))
			}
		}
	})
	return refs
}

func (t *Task) checkDepends(f *Faults, prefix string) {
	at := prefix + "depends"
	if len(t.Depends) > maxDepends {
		f.Add(at, "there are %d dependencies, at most %d are allowed", len(t.Depends), maxDepends)
		return
	}
	seen := map[string]bool{}
	for i, d := range t.Depends {
		item := fmt.Sprintf("%s[%d]", at, i)
		ref, err := ParseRef(d.Ref(t.Group).String())
		if d.Task == "" {
			f.AddHint(item+".task", "write task: NAME, or GROUP/NAME", "it names no task")
			continue
		}
		if err != nil {
			f.AddError(item+".task", err)
			continue
		}
		// ancestor 26: an unknown strategy waits for nothing and for ever; it is refused
		checkEnum(f, item+".strategy", d.Strategy, DependStrategies)
		if d.Within < 0 || d.Within.Std() > maxWithin {
			f.Add(item+".within", "%s is not from 0 to %s", d.Within, Duration(maxWithin))
		}
		if ref == t.Ref() && t.Name != "" {
			f.AddHint(item+".task", "remove it", "task %s depends on itself", ref)
		}
		if key := ref.String() + " " + string(d.Strategy); seen[key] {
			f.Add(item, "%s is there twice", d.Text(t.Group))
		} else {
			seen[key] = true
		}
	}
	if t.Passive && t.Mode == Cycle {
		f.AddHint(prefix+"passive", "remove it, or the timer", "a passive task starts only when another one needs it, and this one has a timer")
	}
}

// Dependencies looks for what can't be in the dependencies of tasks: a task that there is not, a cycle, and what can
// never be met. find gives a task as it will be, or nil; settable tells of a condition whether any task may set it, see [MaySet].
// Each fault is told below the path of the task that brings it about.
func (t *Task) Dependencies(f *Faults, path string, find func(TaskRef) *Task, settable func(condition string) bool) {
	var there []fellow
	for i, d := range t.Depends {
		at, ref := fmt.Sprintf("%s.depends[%d]", path, i), d.Ref(t.Group)
		on := find(ref)
		switch {
		case ref == t.Ref():
			continue // told by Valid
		case on == nil:
			f.AddHint(at+".task", "apply it first, or together with this one", "there is no task %s", ref)
			continue
		case d.Within > 0 && on.Mode == OnlyOnce:
			f.AddHint(at+".within", "remove it", "%s has mode onlyonce: a success that is too old is never followed by another", ref)
		case d.Strategy == SameNode:
			list := t.fellows(on, find)
			if why := t.apartFrom(list, there, settable); why != "" {
				f.AddHint(at, "let both select a common node, use strategy at-least-once, or, for a condition, have a task that may set it (allow.conditions)", "%s", why)
			}
			there = append(there, list...)
		}
		if cycle := findCycle(t, on, find); cycle != "" {
			f.AddHint(at+".task", "one of them must not depend on the next", "the dependencies go in a circle: %s", cycle)
		}
	}
}

// findCycle is a way from a task back to itself that begins with a dependency of it, or "".
func findCycle(t, first *Task, find func(TaskRef) *Task) string {
	seen := map[TaskRef]bool{}
	var walk func(*Task) []string
	walk = func(at *Task) []string {
		if at.Ref() == t.Ref() {
			return []string{at.Ref().String()}
		}
		if seen[at.Ref()] {
			return nil
		}
		seen[at.Ref()] = true
		for _, d := range at.Depends {
			if next := find(d.Ref(at.Group)); next != nil {
				if way := walk(next); way != nil {
					return append([]string{at.Ref().String()}, way...)
				}
			}
		}
		return nil
	}
	if way := walk(first); way != nil {
		return strings.Join(append([]string{t.Ref().String()}, way...), " -> ")
	}
	return ""
}

// Waiting is a run that was asked for and waits until what its task depends on has succeeded. It is written once, and once more
// for each passive task that is started for it; then it becomes a [Dispatch], or a record that says why it did not run.
type Waiting struct {
	Run         RunID             `json:"run"`
	Group       string            `json:"group"`
	Name        string            `json:"name"`           // of the task
	Node        NodeID            `json:"node,omitempty"` // empty: of the leader's choice
	Trigger     Trigger           `json:"trigger"`
	Key         string            `json:"key"` // of the request; see [CauseID]
	Params      map[string]string `json:"params,omitempty"`
	Cause       string            `json:"cause,omitempty"`
	Instant     time.Time         `json:"instant,omitzero"`
	Attempt     int               `json:"attempt,omitempty"`
	Force       bool              `json:"force,omitempty"`
	Listed      bool              `json:"listed,omitempty"`   // see [Dispatch]
	Parallel    int               `json:"parallel,omitempty"` // of those that are listed, on a node at a time; 0: as the task says
	RequestedAt time.Time         `json:"requested_at"`
	NotAfter    time.Time         `json:"not_after"`           // it is given up after this
	Triggered   []string          `json:"triggered,omitempty"` // the passive tasks that were started for it
	Revision    int64             `json:"revision,omitempty"`  // the store's, of the version that was read
}

// Ref is the reference of the task.
func (w *Waiting) Ref() TaskRef { return Ref(w.Group, w.Name) }

// Clone copies it deeply, but for what never changes.
func (w *Waiting) Clone() *Waiting {
	c := *w
	c.Triggered = slices.Clone(w.Triggered)
	return &c
}

// Valid reports every fault.
func (w *Waiting) Valid() error {
	var f Faults
	for _, n := range [...]struct{ path, sort, name string }{{"run", "run", string(w.Run)}, {"group", "group", w.Group}, {"name", "task", w.Name}} {
		if err := CheckName(n.sort, n.name); err != nil {
			f.AddError(n.path, err)
		}
	}
	if w.Node != "" {
		if err := CheckName("node", string(w.Node)); err != nil {
			f.AddError("node", err)
		}
	}
	if w.NotAfter.IsZero() {
		f.Add("not_after", "there is none: it would wait for ever")
	}
	return f.Err("waiting run " + string(w.Run) + " is not valid")
}

// Fact is what must be known for ever of a task on a node, also when the record that told of it is gone: that it succeeded,
// and that it was started by itself. Facts are kept of tasks that run only once, that others depend on, and that are passive. The
// one without a node says that history was looked through for earlier ones, and has what is of the task and of no node.
type Fact struct {
	Task TaskRef `json:"-"`
	Node NodeID  `json:"-"`
	// Success is the end of the latest success; zero: there was none.
	Success time.Time `json:"success,omitzero"`
	// First is the end of the first success that is known.
	First time.Time `json:"first,omitzero"`
	// Asked names the need for which it was last started by itself.
	Asked string `json:"asked,omitempty"`
	Tries int    `json:"tries,omitempty"` // how often that did not come to run
	// Run is the run of an onlyonce task that is under way, or was asked for.
	Run      RunID `json:"run,omitempty"`
	Revision int64 `json:"revision,omitempty"` // the store's, of the version that was read
}

// Succeed notes a success.
func (f *Fact) Succeed(at time.Time) {
	if f.First.IsZero() || at.Before(f.First) {
		f.First = at
	}
	if at.After(f.Success) {
		f.Success = at
	}
}

// DecodeFact reads a fact of a task on a node.
func DecodeFact(data []byte, task TaskRef, node NodeID) (*Fact, error) {
	f := new(Fact)
	if err := json.Unmarshal(data, f); err != nil {
		return nil, err
	}
	f.Task, f.Node = task, node
	return f, nil
}
