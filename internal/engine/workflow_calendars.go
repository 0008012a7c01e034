package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// A group's timer may name calendars. The rule by which it fires stands in the group's state with their ranges, so that a calendar that changes is to
// the timer what an edit is: it holds from then on, also where nobody led at that time.

// adoptGroup reads a group's rule anew.
func (s *State) adoptGroup(g *group) {
	g.dirty, g.rule, g.lacks = true, nil, false
	if g.entry == nil {
		return
	}
	if g.rule = g.entry.Document.Rule(); g.rule != nil {
		unknown := g.rule.Resolve(s.ranges)
		g.lacks = g.rule.Valid() != nil || unknown != ""
	}
}

// adoptGroups does so for those that name a calendar.
func (s *State) adoptGroups(calendar string) {
	for _, g := range s.groups {
		if g.entry != nil && g.names(calendar) {
			s.adoptGroup(g)
		}
	}
}

func (g *group) names(calendar string) bool {
	return g.rule != nil && slices.Contains(g.rule.CalendarNames(), calendar)
}

// GroupsExcluding lists the groups whose timers name a calendar, sorted.
func (s *State) GroupsExcluding(calendar string) []string {
	var names []string
	for name, g := range s.groups {
		if g.entry != nil && g.names(calendar) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return names
}

// turn is the next change of the rule after what is told: the rule that comes to hold, or nil, and when. Where there is none up to now, it may
// be one that is still to come.
func (s *State) turn(g *group, state *job.GroupState, now time.Time) (rule *job.Rule, at time.Time, edited bool) {
	if g.lacks {
		return nil, time.Time{}, false
	}
	for _, at := range s.turns(g, state) {
		if !at.Truncate(time.Second).After(state.At) {
			continue
		}
		if r, ok := s.ruleAfter(g, state, at); ok && !r.Same(state.Rule) {
			if at.After(now) { // by the clock of the master that wrote it
				return nil, at, false
			}
			return r, at, true
		}
	}
	return g.rule, state.At, !g.rule.Same(state.Rule)
}

// turns are the times at which the rule may have changed, in their order.
func (s *State) turns(g *group, state *job.GroupState) []time.Time {
	list := []time.Time{g.entry.UpdatedAt}
	for _, r := range []*job.Rule{state.Rule, g.rule} {
		if r == nil {
			continue
		}
		for _, name := range r.CalendarNames() {
			c := s.calendars[name]
			if c == nil {
				continue
			}
			for _, p := range c.Past {
				list = append(list, p.Until)
			}
			list = append(list, c.Since)
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	return list
}

// ruleAfter is the rule that held just after a time; false where it is not known. Before the latest edit it is the one that the state has.
func (s *State) ruleAfter(g *group, state *job.GroupState, at time.Time) (*job.Rule, bool) {
	of := state.Rule
	if !at.Before(g.entry.UpdatedAt) {
		of = g.rule
	}
	if of == nil {
		return nil, true
	}
	r, had := *of, of.Calendars
	r.Resolve(func(name string) ([]string, bool) {
		if c := s.calendars[name]; c != nil {
			return c.RangesAt(at.Add(1)), true
		}
		ranges, ok := had[name] // it is gone, and was in force up to the edit
		return ranges, ok
	})
	return &r, r.Valid() == nil
}
