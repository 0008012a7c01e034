package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// An alone task with overlap replace: the node whose run is due finds the task's lock held by an earlier run, on a node that it
// can't write to. So it leaves word beside its own keys, and the leader asks the holder's node to end that run. The lock alone
// decides who runs; this only makes it free.

// wish is what a waiting run asks for, and whether it was carried out.
type wish struct {
	*job.Replacement
	done  bool
	again time.Time // not before this: it was refused
}

func (e ReplacementPut) apply(s *State) {
	k := dispatchKey{e.Replacement.Node, e.Replacement.Run}
	if old := s.wishes[k]; old != nil && old.Holder.Run == e.Replacement.Holder.Run {
		return
	}
	s.wishes[k] = &wish{Replacement: e.Replacement}
}

func (e ReplacementDeleted) apply(s *State) { delete(s.wishes, dispatchKey{e.Node, e.Run}) }

// killed notes that a kill was asked for.
func (s *State) killed(a CreateKill) {
	if w := s.wishes[dispatchKey{a.On, a.For}]; w != nil && w.Holder.Run == a.Kill.Run {
		w.done = true
	}
}

// refusedKill puts a wish off: the kill stands already, or nobody knows.
func (s *State) refusedKill(a CreateKill) {
	if w := s.wishes[dispatchKey{a.On, a.For}]; w != nil {
		w.again = s.planned.Add(s.poll())
	}
}

// replacements asks for the ends of the runs that others wait to replace.
func (s *State) replacements(now time.Time) []Action {
	var actions []Action
	for _, w := range s.wishes {
		if w.done || now.Before(w.again) || !s.mayReplace(w) {
			continue
		}
		actions = append(actions, CreateKill{For: w.Run, On: w.Node, Kill: &job.Kill{
			Run: w.Holder.Run, Node: w.Holder.Node, At: now.UTC(), By: fmt.Sprintf("run %s on node %s, which replaces it", w.Run, w.Node),
		}})
	}
	slices.SortFunc(actions, func(a, b Action) int {
		x, y := a.(CreateKill), b.(CreateKill)
		return cmp.Or(cmp.Compare(x.Kill.Node, y.Kill.Node), cmp.Compare(x.Kill.Run, y.Kill.Run), cmp.Compare(x.For, y.For))
	})
	return slices.CompactFunc(actions, func(a, b Action) bool { return *a.(CreateKill).Kill == *b.(CreateKill).Kill })
}

// mayReplace tells whether a wish is one of its task's own: a node can end no other run by it.
func (s *State) mayReplace(w *wish) bool {
	t := s.tasks[w.Task]
	if t == nil || t.entry == nil || t.entry.Task.Kind.Kind() != job.KindAlone || t.entry.Task.Overlap != job.OverlapReplace {
		return false
	}
	if _, bound := t.jobs[w.Node]; !bound || !s.online(w.Holder.Node) {
		return false // of a node that is gone the lock goes with its lease
	}
	if d := s.dispatches[dispatchKey{w.Holder.Node, w.Holder.Run}]; d != nil {
		return d.Job.Ref() == w.Task
	}
	return job.FiringID(w.Task, "", w.Holder.Due) == w.Holder.Run
}
