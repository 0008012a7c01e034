package job

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Which tasks can never be on one node, so that a same-node dependency between them could never be met. What may change is not held
// against anybody: a success counts for ever, and the node may have had other conditions then. So a task for nodes with !Mounted may well be
// needed by one for nodes with Mounted, if a task may set that condition. Labels are what a node is: nothing that runs changes them.

// maxApart bounds how many of the tasks that another one needs are looked at, the nearest first.
const maxApart = 100

// MaySet tells of the name of a condition whether the results of any of some tasks may set it. It looks at them when it is first asked; they
// must not change then.
func MaySet(tasks map[TaskRef]*Task) func(condition string) bool {
	var patterns []string
	looked := false
	return func(condition string) bool {
		if !looked {
			looked = true
			for _, t := range tasks {
				patterns = append(patterns, t.Allow.Conditions...)
			}
			slices.Sort(patterns)
			patterns = slices.Compact(patterns)
		}
		return slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := path.Match(p, condition)
			return ok && err == nil
		})
	}
}

// fellow is a task that another one needs on its own node, near or far.
type fellow struct {
	*Task
	way string // from the one that needs it
}

// fellows are the tasks that a task needs on its own node, by a dependency, that one first.
func (t *Task) fellows(first *Task, find func(TaskRef) *Task) []fellow {
	seen := map[TaskRef]bool{t.Ref(): true, first.Ref(): true}
	list := []fellow{{first, t.Ref().String() + " -> " + first.Ref().String()}}
	for i := 0; i < len(list) && len(list) < maxApart; i++ {
		for _, d := range list[i].Depends {
			on := find(d.Ref(list[i].Group))
			if d.Strategy != SameNode || on == nil || seen[on.Ref()] {
				continue
			}
			seen[on.Ref()] = true
			list = append(list, fellow{on, list[i].way + " -> " + on.Ref().String()})
		}
	}
	return list
}

// apartFrom says why a task, by one of its dependencies, can never have what it needs on its own node, or "": a task that it needs can't be
// where it is, or where another one is that it needs too. others are those of its dependencies before.
func (t *Task) apartFrom(list, others []fellow, settable func(string) bool) string {
	for i, x := range list {
		if why := apart(t, x.Task, settable); why != "" {
			text := fmt.Sprintf("%s never runs on a node of %s", x.Ref(), t.Ref())
			if i > 0 {
				text += ", which needs it there (" + x.way + ")"
			}
			return text + ": " + why
		}
	}
	for _, x := range list {
		for _, y := range others {
			if why := apart(y.Task, x.Task, settable); why != "" {
				return fmt.Sprintf("%s never runs on a node of %s, and %s needs both on its own (%s; %s): %s", x.Ref(), y.Ref(), t.Ref(), y.way, x.way, why)
			}
		}
	}
	return ""
}

// apart says why two tasks can never have been on the same node, or "".
func apart(a, b *Task, settable func(string) bool) string {
	if a.Ref() == b.Ref() {
		return ""
	}
	if namedApart(a, b) {
		return fmt.Sprintf("%s names %s, and %s names %s", a.Ref(), namesOf(a), b.Ref(), namesOf(b))
	}
	wants, other := a.wants(), b.wants()
	for _, w := range wants {
		i := slices.IndexFunc(other, func(o want) bool { return o.key == w.key })
		if i < 0 || !w.label && !other[i].label && settable(w.key) {
			continue
		}
		if both := w.and(other[i]); both.none() {
			return fmt.Sprintf("%s wants %s, and %s wants %s", a.Ref(), w.text, b.Ref(), other[i].text)
		}
	}
	return ""
}

// namedApart tells whether two tasks name nodes, and none of them is the other's.
func namedApart(a, b *Task) bool {
	never := func(named, other *Task) bool {
		return PlainNames(named.Nodes) && len(other.Nodes) > 0 && !slices.ContainsFunc(named.Nodes, func(n NodeID) bool { return NamesNode(other.Nodes, n) })
	}
	return never(a, b) || never(b, a)
}

func namesOf(t *Task) string {
	names := make([]string, 0, len(t.Nodes))
	for _, n := range t.Nodes {
		names = append(names, string(n))
	}
	return strings.Join(names, ", ")
}

// want is all that a task wants of one key: one of some values, or all but some, or that a node has it not.
type want struct {
	key    string
	text   string
	label  bool // it must be a label
	not    bool
	values []string
	absent bool // a node without it will do
}

// wants are what a task wants of the labels and conditions of its nodes, by key.
func (t *Task) wants() []want {
	var list []want
	add := func(w want) {
		i := slices.IndexFunc(list, func(o want) bool { return o.key == w.key })
		if i < 0 {
			list = append(list, w)
			return
		}
		both := list[i].and(w)
		both.text = list[i].text + ", " + w.text
		list[i] = both
	}
	for k, v := range t.Labels {
		add(want{key: k, text: k + "=" + v, label: true, values: []string{v}})
	}
	where, err := ParseSelector(t.Where)
	if err != nil {
		return list // told by Valid
	}
	for _, r := range where.parts {
		// KEY is any value of it, !KEY none
		add(want{key: r.key, text: r.String(), not: r.not != (len(r.values) == 0), values: r.values, absent: r.not})
	}
	slices.SortFunc(list, func(a, b want) int { return strings.Compare(a.key, b.key) })
	return list
}

// and is what fulfils both.
func (w want) and(o want) want {
	both := want{key: w.key, label: w.label || o.label, absent: w.absent && o.absent}
	has := func(in want) func(string) bool {
		return func(v string) bool { return slices.Contains(in.values, v) != in.not }
	}
	switch {
	case w.not && o.not:
		both.not, both.values = true, slices.Concat(w.values, o.values)
	case w.not:
		both.values = slices.DeleteFunc(slices.Clone(o.values), func(v string) bool { return !has(w)(v) })
	default:
		both.values = slices.DeleteFunc(slices.Clone(w.values), func(v string) bool { return !has(o)(v) })
	}
	return both
}

// none tells whether nothing fulfils it.
func (w want) none() bool { return !w.not && len(w.values) == 0 && !w.absent }
