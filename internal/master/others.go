package master

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rota-dev/rota/job"
)

// What is applied may also concern tasks that are not: those that follow a template that changes, and those that depend on a task that does. They
// are checked as if they were applied, with all tasks as they will be; what was wrong with them before is not told again.

// checkOthers tells of the tasks that tasks and templates which are about to be written would make invalid. stays tells which of the others are not
// about to be pruned; entries is how the tasks stand, all how they will.
func (m *Master) checkOthers(
	ctx context.Context, f *job.Faults, entries []*job.TaskEntry, all map[job.TaskRef]*job.Task, tasks []whole, templates []job.Template, stays func(job.TaskRef) bool,
) error {
	sound := len(f.Fields) == 0
	o := &others{m: m, ctx: ctx, all: all, was: map[job.TaskRef]*job.Task{}, settable: job.MaySet(all)}
	for _, e := range entries {
		o.was[e.Ref()] = &e.Task
	}
	written, changed := map[job.TaskRef]bool{}, map[job.TaskRef]string{}
	for i := range tasks {
		ref := tasks[i].Ref()
		if written[ref] = true; o.was[ref] == nil || !o.was[ref].Equal(&tasks[i].Task) {
			changed[ref] = tasksPath(i)
		}
	}
	for _, e := range entries {
		i := slices.IndexFunc(templates, func(t job.Template) bool { return slices.Contains(e.Source().Templates, t.Name) })
		if i < 0 || written[e.Ref()] {
			continue
		}
		path := fmt.Sprintf("templates[%d]", i)
		w, err := m.resolve(ctx, *e.Source(), templates)
		if job.CodeOf(err) == job.CodeUnavailable {
			return err
		}
		if err == nil {
			err = w.Valid()
		}
		var found job.Faults
		if addFaults(&found, path+": task "+e.Ref().String(), err); err == nil && sound {
			o.check(&found, path, e.Ref(), true)
			if !e.Task.Equal(&w.Task) {
				changed[e.Ref()] = path
			}
		}
		by := named(templates, e.Source().Templates)
		for _, fault := range found.Fields {
			fault.Message += by
			f.Fields = append(f.Fields, fault)
		}
	}
	if sound && len(f.Fields) == 0 {
		o.dependents(f, changed, func(ref job.TaskRef) bool { return o.was[ref] != nil && !written[ref] && stays(ref) })
	}
	return nil
}

// named says by which templates a fault comes.
func named(templates []job.Template, uses []string) string {
	var names []string
	for _, t := range templates {
		if slices.Contains(uses, t.Name) {
			names = append(names, t.Name)
		}
	}
	return " (by template " + strings.Join(names, " and ") + ")"
}

// others are tasks that are not written themselves.
type others struct {
	m        *Master
	ctx      context.Context
	was, all map[job.TaskRef]*job.Task // as the tasks are, and as they will be
	settable func(string) bool         // of a condition, whether a task may set it
}

// check tells what comes to be wrong with a task; follows: with itself too, else with what it depends on alone.
func (o *others) check(f *job.Faults, path string, ref job.TaskRef, follows bool) {
	look := func(all map[job.TaskRef]*job.Task) (found job.Faults) {
		t, at := all[ref], path+": task "+ref.String()
		find := func(r job.TaskRef) *job.Task { return all[r] }
		if follows {
			addFaults(&found, at, t.NeverFires(o.m.Now()))
			o.m.checkCalendars(o.ctx, &found, at, t.Rule())
		}
		t.Dependencies(&found, at, find, o.settable)
		t.CheckStep(&found, at, find)
		return found
	}
	before := look(o.was)
	for _, fault := range look(o.all).Fields {
		if !slices.ContainsFunc(before.Fields, func(b job.FieldError) bool { return b.Message == fault.Message }) {
			f.Fields = append(f.Fields, fault)
		}
	}
}

// dependents checks those that need, near or far, a task that changes; changed has its path in the request.
func (o *others) dependents(f *job.Faults, changed map[job.TaskRef]string, concerned func(job.TaskRef) bool) {
	users := map[job.TaskRef][]job.TaskRef{}
	for ref, t := range o.all {
		for _, d := range t.Depends {
			on := d.Ref(t.Group)
			users[on] = append(users[on], ref)
		}
	}
	seen := map[job.TaskRef]bool{}
	for _, from := range sortedRefs(changed) {
		for list := []job.TaskRef{from}; len(list) > 0; {
			next := users[list[0]]
			list = list[1:]
			slices.SortFunc(next, compareRefs)
			for _, ref := range next {
				if seen[ref] {
					continue
				}
				seen[ref] = true
				list = append(list, ref)
				if _, told := changed[ref]; !told && concerned(ref) {
					o.check(f, changed[from], ref, false)
				}
			}
		}
	}
}
