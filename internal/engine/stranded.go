package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// Why a task waits, on a node, for what can't come to it there as things are.

// maxStranded is how many nodes are told of one by one.
const maxStranded = 5

// Stranded says of the nodes of a task on which what it depends on is not placed, why not; one sentence for each of the first of them.
func (s *State) Stranded(ref job.TaskRef) []string {
	t := s.tasks[ref]
	if t == nil || t.entry == nil || !s.tied(t) {
		return nil
	}
	var list []string
	more := 0
	for _, id := range sortedJobs(t) {
		for _, why := range s.stranded(t, id, s.placing) {
			if len(list) < maxStranded {
				list = append(list, fmt.Sprintf("%s waits on %s: its same-node dependency %s", ref, id, why))
			} else {
				more++
			}
		}
	}
	if more > 0 {
		list = append(list, fmt.Sprintf("There are %d more like these.", more))
	}
	return list
}

// stranded says what a task lacks on a node and can't get there.
func (s *State) stranded(t *task, id job.NodeID, now time.Time) (list []string) {
	for _, d := range t.depends {
		if d.Strategy != job.SameNode || s.met(t, d, id, now) {
			continue
		}
		if why := s.notThere(d.Ref(t.ref.Group), id); why != "" {
			list = append(list, why)
		}
	}
	return list
}

// unmetThere is unmet, with why what is lacking can't come to be there.
func (s *State) unmetThere(t *task, id job.NodeID, now time.Time) []string {
	return s.unmetBut(t, id, now, func(t *task, d job.Depend) string {
		if d.Strategy != job.SameNode || id == "" {
			return ""
		}
		if why := s.notThere(d.Ref(t.ref.Group), id); why != "" {
			return "; " + why
		}
		return ""
	})
}

// notThere says that a task is not on a node, and where it is instead, or of what it needs itself there; "" where it may come to succeed there.
func (s *State) notThere(ref job.TaskRef, id job.NodeID) string {
	seen := map[job.TaskRef]bool{}
	var look func(job.TaskRef) string
	look = func(ref job.TaskRef) string {
		x := s.tasks[ref]
		if x == nil || x.entry == nil || seen[ref] {
			return ""
		}
		seen[ref] = true
		if s.spent(x) {
			var on []job.NodeID
			for _, n := range slices.Sorted(maps.Keys(x.facts)) {
				if n != "" && x.succeededOn(n) {
					on = append(on, n)
				}
			}
			return fmt.Sprintf("%s runs only once, and has succeeded%s", ref, someNodes(" on ", on))
		}
		if _, bound := x.jobs[id]; !bound {
			return fmt.Sprintf("%s is not placed there (%s%s)", ref, s.placedAt(x), s.because(x, id))
		}
		for _, d := range x.depends {
			if d.Strategy == job.SameNode && !s.met(x, d, id, s.placing) {
				if why := look(d.Ref(ref.Group)); why != "" {
					return ref.String() + " is there and waits itself: " + why
				}
			}
		}
		return ""
	}
	return look(ref)
}

func (s *State) placedAt(x *task) string {
	if len(x.jobs) == 0 {
		return x.ref.String() + " is on no node"
	}
	return x.ref.String() + someNodes(" is on ", sortedJobs(x))
}

// because says why a task is not on a node.
func (s *State) because(x *task, id job.NodeID) string {
	if n := s.nodes[id]; n == nil || n.node == nil {
		return ""
	}
	switch why := s.unfit(x, id); {
	case why != "":
		return "; " + strings.Replace(strings.Replace(why, "the task's", "its", 1), "the task", "it", 1)
	case s.nodes[id].node.Cordoned:
		return "; the node is cordoned"
	case x.limit() > 0:
		return fmt.Sprintf(": max_nodes %d", x.limit())
	}
	return ""
}

func someNodes(before string, ids []job.NodeID) string {
	if len(ids) == 0 {
		return ""
	}
	var names []string
	for _, id := range ids[:min(len(ids), maxStranded)] {
		names = append(names, string(id))
	}
	text := before + strings.Join(names, ", ")
	if more := len(ids) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
