package engine

import (
	"maps"
	"strconv"

	"github.com/rota-dev/rota/job"
)

// What is known of tasks, nodes, and the jobs that bind the ones to the others.

func (e TaskPut) apply(s *State) {
	t := s.task(e.Entry.Ref())
	if t.written != nil && t.written.Revision >= e.Entry.Revision && e.Entry.Revision > 0 {
		return
	}
	t.written = e.Entry
	s.setCalendars(t, e.Entry.Task.Rule().CalendarNames())
	s.adopt(t)
}

// adopt takes over the entry of a task, as it is kept or as its calendars have come to make it.
func (s *State) adopt(t *task) {
	entry, rule, lacks := s.resolve(t.written)
	if lacks != "" {
		s.vacate(t)
		t.unreadable, t.lacks = true, lacks
		return
	}
	if rule.Valid() != nil {
		rule = nil // it was valid when it was stored; another version may read it otherwise
	}
	parseEras(entry)
	if t.entry == nil || !t.entry.CreatedAt.Equal(entry.CreatedAt) {
		t.placed = t.entry == nil && len(t.jobs) > 0
	}
	t.entry, t.rule, t.unreadable, t.lacks = entry, rule, false, ""
	where, err := job.ParseSelector(entry.Task.Where)
	if t.where = where; err != nil {
		t.rule = nil // as above
	}
	if delete(s.limited, t); entry.Task.MaxNodes > 0 {
		s.limited[t] = struct{}{}
	}
	s.setNames(t, entry.Task.ConfigNames())
	s.setDepends(t, entry.Task.Depends)
	s.changed(t)
	s.dirty(t)
	s.rouse(t)
}

func (e TaskDeleted) apply(s *State) {
	if t := s.tasks[e.Task]; t != nil {
		s.vacate(t)
		t.written, t.unreadable = nil, false
		s.setCalendars(t, nil)
		s.changed(t)
		s.dirty(t)
		s.rouse(t)
		s.forget(t)
	}
}

func (e TaskUnreadable) apply(s *State) {
	t := s.task(e.Task)
	s.vacate(t)
	t.written, t.unreadable = nil, true
	s.setCalendars(t, nil)
	s.changed(t)
}

// vacate takes the entry away.
func (s *State) vacate(t *task) {
	s.setNames(t, nil)
	s.setDepends(t, nil)
	delete(s.limited, t)
	t.entry, t.rule, t.stamp, t.lacks = nil, nil, 0, ""
}

func (s *State) setNames(t *task, names []string) {
	for _, name := range t.names {
		if delete(s.naming[name], t); len(s.naming[name]) == 0 {
			delete(s.naming, name)
		}
	}
	t.names = names
	for _, name := range names {
		if s.naming[name] == nil {
			s.naming[name] = map[*task]struct{}{}
		}
		s.naming[name][t] = struct{}{}
	}
}

func (e NodePut) apply(s *State) {
	n := s.node(e.Node.ID)
	old := n.node
	n.node = e.Node
	delete(s.unreadable, n.id)
	s.came[n.id] = struct{}{}
	if old != nil && old.Cordoned == e.Node.Cordoned && maps.Equal(old.Labels, e.Node.Labels) && maps.Equal(old.Conditions, e.Node.Conditions) {
		return
	}
	s.relabel(n.id, old, e.Node)
	s.dirtyNodes[n.id] = struct{}{}
}

func (e NodeDeleted) apply(s *State) {
	if _, was := s.unreadable[e.Node]; was {
		delete(s.unreadable, e.Node)
		s.dirtyNodes[e.Node] = struct{}{}
	}
	n := s.nodes[e.Node]
	if n == nil {
		return
	}
	s.relabel(n.id, n.node, nil)
	n.node = nil
	if n.presence == nil {
		delete(s.nodes, e.Node)
	}
	s.dirtyNodes[e.Node] = struct{}{}
}

func (e NodeUnreadable) apply(s *State) {
	if n := s.nodes[e.Node]; n == nil || n.node == nil { // else what was known of it goes on
		s.unreadable[e.Node] = struct{}{}
		s.dirtyNodes[e.Node] = struct{}{}
	}
}

// relabel keeps the index of labels.
func (s *State) relabel(id job.NodeID, old, now *job.Node) {
	if old != nil {
		for k, v := range old.Labels {
			l := label{k, v}
			if delete(s.labelled[l], id); len(s.labelled[l]) == 0 {
				delete(s.labelled, l)
			}
		}
	}
	if now != nil {
		for k, v := range now.Labels {
			l := label{k, v}
			if s.labelled[l] == nil {
				s.labelled[l] = map[job.NodeID]struct{}{}
			}
			s.labelled[l][id] = struct{}{}
		}
	}
}

func (e NodeOnline) apply(s *State) {
	n := s.node(e.Presence.Node)
	if n.presence == nil || n.presence.Session != e.Presence.Session {
		n.changed = e.At
	}
	n.presence = e.Presence
	s.came[n.id] = struct{}{}
	s.arrived = true
	delete(s.departed, e.Presence.Node)
}

func (e NodeOffline) apply(s *State) {
	n := s.nodes[e.Node]
	if n == nil || n.presence == nil {
		return
	}
	n.presence, n.changed = nil, e.At
	s.departed[e.Node] = struct{}{}
	delete(s.slow, e.Node)
	if n.node == nil {
		delete(s.nodes, e.Node)
	}
}

func (e JobPut) apply(s *State) {
	t := s.task(e.Job.Ref())
	if old, ok := t.jobs[e.Job.NodeID]; ok && old.rev >= e.Revision {
		return
	}
	s.bind(t, e.Job, e.Revision)
	if t.entry == nil || t.jobs[e.Job.NodeID].stamp != t.stamp {
		s.dirty(t)
	}
	s.placedOn(t, e.Job.NodeID)
}

// bind notes a job. Of its strings only the hash is kept, and that of nodes unknown.
func (s *State) bind(t *task, j *job.Job, rev int64) {
	t.placed = true
	id := j.NodeID
	if n := s.nodes[id]; n != nil {
		id = n.id
	}
	if _, had := t.jobs[id]; !had {
		s.load[id]++
	}
	t.jobs[id] = jobState{rev: rev, stamp: parseStamp(j.Stamp), since: j.Since.UnixNano()}
	if s.byHash[j.Hash] != t {
		s.byHash[j.Hash] = t
	}
}

func (e JobDeleted) apply(s *State) {
	t := s.byHash[e.Hash]
	if t == nil {
		return
	}
	delete(s.byHash, e.Hash)
	if _, had := t.jobs[e.Node]; had {
		if s.load[e.Node]--; s.load[e.Node] == 0 {
			delete(s.load, e.Node)
		}
	}
	delete(t.jobs, e.Node)
	s.dirty(t)
	if len(t.jobs) == 0 {
		s.rouse(t)
	}
	s.forget(t)
}

// Stamps are written as 16 hexadecimal digits. What is not of that form is the stamp of no task.
func formatStamp(n uint64) string {
	s := strconv.FormatUint(n, 16)
	return "0000000000000000"[len(s):] + s
}

func parseStamp(s string) uint64 {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0
	}
	return n
}
