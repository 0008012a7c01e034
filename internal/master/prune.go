package master

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rota-dev/rota/job"
)

// willBe is how the tasks, that are as in entries now, stand once documents are applied: those that are written with them, those that follow a
// template of them, and all others. What is to be pruned is among them.
func (m *Master) willBe(ctx context.Context, entries []*job.TaskEntry, tasks []whole, templates []job.Template) (map[job.TaskRef]*job.Task, error) {
	all := make(map[job.TaskRef]*job.Task, len(entries)+len(tasks))
	for _, e := range entries {
		all[e.Ref()] = &e.Task
	}
	for i := range tasks {
		all[tasks[i].Ref()] = &tasks[i].Task
	}
	for _, e := range entries {
		if all[e.Ref()] != &e.Task || !slices.ContainsFunc(templates, func(t job.Template) bool { return slices.Contains(e.Source().Templates, t.Name) }) {
			continue
		}
		w, err := m.resolve(ctx, *e.Source(), templates)
		switch {
		case err == nil:
			all[e.Ref()] = &w.Task
		case job.CodeOf(err) == job.CodeUnavailable:
			return nil, err
		} // else it stays as it is, and checkUsers tells why
	}
	return all, nil
}

// checkPruned tells of the tasks that are to be pruned and that others need which stay: those would wait for ever.
func checkPruned(f *job.Faults, all map[job.TaskRef]*job.Task, keep func(job.TaskRef) bool, groups []string) {
	stays := func(ref job.TaskRef) bool { return keep(ref) || !slices.Contains(groups, ref.Group) }
	needed := map[job.TaskRef][]string{}
	for ref, t := range all {
		if !stays(ref) {
			continue
		}
		for _, need := range t.Needs() {
			if all[need] != nil && !stays(need) {
				needed[need] = append(needed[need], ref.String())
			}
		}
	}
	for _, ref := range sortedRefs(needed) {
		f.AddHint(fmt.Sprintf("prune[%d]", slices.Index(groups, ref.Group)),
			fmt.Sprintf("keep it in the files, take it out of their depends, or delete it by itself: rota delete %s --force", ref),
			"task %s would be deleted, and is needed by %s", ref, someOf(needed[ref]))
	}
}

func sortedRefs[V any](of map[job.TaskRef]V) []job.TaskRef {
	refs := make([]job.TaskRef, 0, len(of))
	for ref := range of {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, compareRefs)
	return refs
}

// someOf lists names in their order, not too many of them.
func someOf(names []string) string {
	const shown = 10
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if n := len(names); n > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), n-shown)
	}
	return strings.Join(names, ", ")
}

// pruneGroups deletes the tasks of groups that were not applied, those that need others first.
func (m *Master) pruneGroups(ctx context.Context, keep func(job.TaskRef) bool, o ApplyOptions) ([]Applied, error) {
	var gone []*job.TaskEntry
	for _, group := range slices.Compact(slices.Sorted(slices.Values(o.Prune))) {
		entries, _, err := m.store().Tasks().List(ctx, group)
		if err != nil {
			return nil, err
		}
		gone = append(gone, slices.DeleteFunc(entries, func(e *job.TaskEntry) bool { return keep(e.Ref()) })...)
	}
	var done []Applied
	for _, e := range usersFirst(gone) {
		if !o.DryRun {
			if err := m.Delete(ctx, e.Ref(), 0); err != nil && !job.IsNotFound(err) {
				return done, err
			}
		}
		old := e.Task
		done = append(done, Applied{Task: e.Ref(), Change: Deleted, Old: &old, NextBefore: m.firings(e, previewed), Nodes: []job.NodeID{}})
	}
	return done, nil
}

// usersFirst puts tasks in an order in which they can be deleted: whoever is cut off in between leaves none that waits for what is gone.
func usersFirst(entries []*job.TaskEntry) []*job.TaskEntry {
	by := map[job.TaskRef]*job.TaskEntry{}
	for _, e := range entries {
		by[e.Ref()] = e
	}
	var order []*job.TaskEntry
	seen := map[job.TaskRef]bool{}
	var walk func(e *job.TaskEntry)
	walk = func(e *job.TaskEntry) {
		if seen[e.Ref()] {
			return
		}
		seen[e.Ref()] = true
		for _, need := range e.Task.Needs() {
			if on := by[need]; on != nil {
				walk(on)
			}
		}
		order = append(order, e)
	}
	for _, ref := range slices.Backward(sortedRefs(by)) {
		walk(by[ref])
	}
	slices.Reverse(order)
	return order
}
