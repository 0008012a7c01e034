package apitest

import (
	"context"
	"maps"
	"slices"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// calendarUsers lists the tasks that name a calendar.
func (m *Master) calendarUsers(name string) []job.TaskRef {
	var refs []job.TaskRef
	for _, ref := range slices.SortedFunc(maps.Keys(m.tasks), byRef) {
		if slices.Contains(m.tasks[ref].Task.Rule().CalendarNames(), name) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// Calendars lists calendars.
func (m *Master) Calendars(context.Context) ([]master.CalendarView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []master.CalendarView
	for _, name := range slices.Sorted(maps.Keys(m.calendars)) {
		out = append(out, master.CalendarView{CalendarEntry: *m.calendars[name], Tasks: m.calendarUsers(name)})
	}
	return out, m.fail()
}

// Calendar reads one.
func (m *Master) Calendar(_ context.Context, name string) (*master.CalendarView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return nil, err
	}
	c := m.calendars[name]
	if c == nil {
		return nil, missing("calendar %s", name)
	}
	return &master.CalendarView{CalendarEntry: *c, Tasks: m.calendarUsers(name)}, nil
}

// SetCalendar writes one.
func (m *Master) SetCalendar(_ context.Context, c job.Calendar, rev int64, dry bool) (*master.CalendarView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return nil, err
	}
	c.Complete(Now)
	if err := c.Valid(); err != nil {
		return nil, err
	}
	var now int64
	if old := m.calendars[c.Name]; old != nil {
		now = old.Revision
	}
	if err := swaps("calendar "+c.Name, now, rev); err != nil {
		return nil, err
	}
	e, change := job.CalendarEntry{Calendar: c, CreatedAt: Now, UpdatedAt: Now}, master.Created
	if old := m.calendars[c.Name]; old != nil {
		if e, change = *old, master.Configured; old.Calendar.Equal(&c) {
			change = master.Unchanged
		}
		e.Calendar = c
	}
	if !dry && change != master.Unchanged {
		m.rev++
		e.Revision = m.rev
		m.calendars[c.Name] = &e
	}
	return &master.CalendarView{CalendarEntry: e, Tasks: m.calendarUsers(c.Name), Change: change}, nil
}

// DeleteCalendar deletes one that no task names.
func (m *Master) DeleteCalendar(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return err
	}
	if m.calendars[name] == nil {
		return missing("calendar %s", name)
	}
	if users := m.calendarUsers(name); len(users) > 0 {
		return job.Errorf(job.CodeConflict, "calendar %s is named by %s", name, users[0])
	}
	delete(m.calendars, name)
	return nil
}

// SetSkew sets how far a node's clock is ahead, in seconds.
func (m *Master) SetSkew(id job.NodeID, seconds float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[id].Skew = &seconds
}
