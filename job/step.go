package job

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What tasks say as steps of their group.

// texts calls a function with every text of the task in which steps and item may be named, and whether it is an expression alone.
func (t *Task) stepTexts(use func(field, text string, alone bool)) {
	if t.When != "" {
		use("when", t.When, true)
	}
	if t.ForEach != "" {
		use("foreach", t.ForEach, true)
	}
	t.valueTexts(func(s string) {
		if hasValues(s) {
			use("", s, false)
		}
	})
}

// dataNames are the names of steps and of the item that the task's values use, by their text: what a run of it must be given.
func (t *Task) dataNames(alone bool) map[string][]string {
	names := map[string][]string{}
	t.stepTexts(func(_, text string, expression bool) {
		if expression != alone {
			return
		}
		for _, n := range namesIn(text, expression) {
			if n.data() {
				names[n.text] = n.path
			}
		}
	})
	return names
}

// DataNames are the words of the names of steps and of the item that the task's values use, in the order of their texts.
func (t *Task) DataNames() [][]string {
	names := t.dataNames(false)
	list := make([][]string, 0, len(names))
	for _, text := range slices.Sorted(maps.Keys(names)) {
		list = append(list, names[text])
	}
	return list
}

func namesIn(text string, alone bool) []valueName {
	if alone {
		x, faults := readExpression(text)
		if len(faults) > 0 {
			return nil
		}
		return x.part.names
	}
	t, faults := parseText(text)
	if len(faults) > 0 {
		return nil
	}
	var names []valueName
	for _, p := range t.parts {
		names = append(names, p.names...)
	}
	return names
}

// checkStep checks what a task says as a step of its group, as far as that can be known of it alone.
func (t *Task) checkStep(f *Faults, prefix string) {
	if t.MaxParallel < 0 || t.MaxParallel > MaxExecutionParallel {
		f.Add(prefix+"max_parallel", "%d is not from 0 to %d", t.MaxParallel, MaxExecutionParallel)
	}
	step := false
	for _, field := range [...]struct{ path, text string }{{"when", t.When}, {"foreach", t.ForEach}} {
		if field.text == "" {
			continue
		}
		step = true
		x := checkExpression(f, prefix+field.path, field.text)
		if x == nil {
			continue
		}
		for _, n := range x.part.names {
			switch n.path[0] {
			case "item":
				f.AddHint(prefix+field.path, "it is known once the list is", "there is no item yet")
			case "node", "instant", "run":
				f.AddHint(prefix+field.path, "use config, params or steps", "%s is not known before the step runs", n.text)
			}
		}
	}
	names := t.dataNames(false)
	for _, text := range slices.Sorted(maps.Keys(names)) {
		if names[text][0] == "item" && t.ForEach == "" {
			f.AddHint(prefix+"foreach", "say for what it runs: foreach: LIST", "{{ %s }} is used, but there is no foreach", text)
			break
		}
		step = true
	}
	if t.ForEach != "" && t.Mode == OnlyOnce {
		f.AddHint(prefix+"mode", "use manyonce", "a task that runs only once does not run for each item of a list")
	}
	if step && t.Mode == Cycle {
		f.AddHint(prefix+"timer", "give the timer to the group (groups: - name: "+t.Group+")",
			"a task that says when, foreach or {{ steps.… }} runs as a step of its group, and has no timer of its own")
	}
}

// CheckStep looks whether what a task says of steps can be: that the steps are there and come before it. find gives a task as it will
// be, or nil. Faults are told below the path of the task.
func (t *Task) CheckStep(f *Faults, path string, find func(TaskRef) *Task) {
	var before map[string]bool
	told := map[string]bool{}
	t.stepTexts(func(field, text string, alone bool) {
		for _, n := range namesIn(text, alone) {
			if n.path[0] != "steps" || len(n.path) < 2 || told[field+n.path[1]] {
				continue
			}
			name, at := n.path[1], path
			if field != "" {
				at = strings.TrimPrefix(path+"."+field, ".")
			}
			if before == nil {
				before = t.before(find)
			}
			switch {
			case before[name]:
				continue
			case name == t.Name:
				f.AddHint(at, "name a step before it", "step %s names itself", name)
			case find(Ref(t.Group, name)) == nil:
				hint := didYouMean(name, slices.Sorted(maps.Keys(before)))
				if hint == "" {
					hint = "the steps of a group are its tasks"
				}
				f.AddHint(at, hint, "there is no step %q in group %s", name, t.Group)
			default:
				f.AddHint(at, fmt.Sprintf("add depends: [{task: %s}]", name), "step %s is not before step %s", name, t.Name)
			}
			told[field+name] = true
		}
	})
}

// before are the names of the tasks of the group on which a task depends, near and far.
func (t *Task) before(find func(TaskRef) *Task) map[string]bool {
	all := map[string]bool{}
	var walk func(*Task)
	walk = func(at *Task) {
		for _, d := range at.Depends {
			ref := d.Ref(t.Group)
			if ref.Group != t.Group || all[ref.Name] || ref.Name == t.Name {
				continue
			}
			if next := find(ref); next != nil {
				all[ref.Name] = true
				walk(next)
			}
		}
	}
	walk(t)
	return all
}
