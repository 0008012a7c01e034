package engine

import (
	"maps"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// A task names calendars, its jobs carry their ranges: a node needs nobody to know its holidays. A calendar that changes is to the
// tasks that name it what an edit of their rule is: it holds from then on, and what was due before is judged by what held
// before. A task whose calendar is not there is left alone, for it would run on holidays; its jobs keep what they have.

func (e CalendarPut) apply(s *State) {
	name := e.Entry.Calendar.Name
	if old := s.calendars[name]; old != nil && old.Revision >= e.Entry.Revision && e.Entry.Revision > 0 {
		return
	}
	s.calendars[name] = e.Entry
	for t := range s.excluding[name] {
		s.adopt(t)
	}
	s.adoptGroups(name)
}

func (e CalendarDeleted) apply(s *State) {
	delete(s.calendars, e.Name)
	for t := range s.excluding[e.Name] {
		s.adopt(t)
	}
	s.adoptGroups(e.Name)
}

func (s *State) setCalendars(t *task, names []string) {
	for _, name := range t.calendars {
		if delete(s.excluding[name], t); len(s.excluding[name]) == 0 {
			delete(s.excluding, name)
		}
	}
	t.calendars = names
	for _, name := range names {
		if s.excluding[name] == nil {
			s.excluding[name] = map[*task]struct{}{}
		}
		s.excluding[name][t] = struct{}{}
	}
}

// resolve gives an entry and its rule with the ranges of their calendars, and the first calendar that there is not. The rules
// are not parsed.
func (s *State) resolve(written *job.TaskEntry) (entry *job.TaskEntry, rule *job.Rule, lacks string) {
	e := *written
	rule = e.Task.Rule()
	lacks = rule.Resolve(s.ranges)
	var changes []time.Time
	for name := range rule.Calendars {
		c := s.calendars[name]
		for _, p := range c.Past {
			changes = append(changes, p.Until)
		}
		changes = append(changes, c.Since)
	}
	slices.SortFunc(changes, time.Time.Compare)
	e.Past = slices.Clip(e.Past)
	for _, until := range changes {
		if !until.After(e.Since) {
			continue
		}
		was := job.Era{Kind: e.Task.Kind, Since: e.Since, Until: until}
		if rule.Mode == job.Cycle {
			was.Rule = e.Task.Rule()
			was.Rule.Resolve(func(name string) ([]string, bool) {
				c := s.calendars[name]
				if c == nil {
					return nil, false
				}
				return c.RangesAt(until), true
			})
		}
		e.Past, e.Since = append(e.Past, was), until
	}
	return &e, rule, lacks
}

func (s *State) ranges(name string) ([]string, bool) {
	c := s.calendars[name]
	if c == nil {
		return nil, false
	}
	return c.Calendar.Ranges, true
}

// bind makes the task's job on a node.
func (t *task) bind(id job.NodeID, candidates []job.NodeID, since time.Time) *job.Job {
	j := job.Bind(t.entry, id, candidates, since)
	if t.rule != nil {
		j.Rules.Calendars = t.rule.Calendars
	}
	return j
}

// Resolved gives an entry with its calendars: since when its rule holds, what held before, and its rule, valid where the error is
// nil.
func (s *State) Resolved(e *job.TaskEntry) (*job.TaskEntry, *job.Rule, error) {
	entry, rule, lacks := s.resolve(e)
	parseEras(entry)
	if lacks != "" {
		return entry, rule, job.Errorf(job.CodeConflict, "there is no calendar %s", lacks)
	}
	return entry, rule, rule.Valid()
}

// Calendars are the names of those that there are, sorted.
func (s *State) Calendars() []string { return slices.Sorted(maps.Keys(s.calendars)) }

// Excluding lists the tasks that name a calendar, sorted.
func (s *State) Excluding(name string) []job.TaskRef {
	refs := []job.TaskRef{}
	for t := range s.excluding[name] {
		refs = append(refs, t.ref)
	}
	slices.SortFunc(refs, func(a, b job.TaskRef) int { return byRef(&task{ref: a}, &task{ref: b}) })
	return refs
}
