package master

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Calendars lists the calendars.
func (m *Master) Calendars(context.Context) ([]CalendarView, error) {
	list := []CalendarView{}
	m.view.with(func() {
		for name := range m.view.calendars {
			list = append(list, m.view.calendarView(name))
		}
	})
	slices.SortFunc(list, func(a, b CalendarView) int { return cmp.Compare(a.Calendar.Name, b.Calendar.Name) })
	return list, nil
}

func (v *view) calendarView(name string) CalendarView {
	return CalendarView{CalendarEntry: *v.calendars[name], Tasks: v.state.Excluding(name), Groups: v.state.GroupsExcluding(name)}
}

// Calendar shows one calendar.
func (m *Master) Calendar(ctx context.Context, name string) (*CalendarView, error) {
	return surely(ctx, m, func() (*CalendarView, error) { return m.calendar(ctx, name) })
}

func (m *Master) calendar(_ context.Context, name string) (*CalendarView, error) {
	var c *CalendarView
	m.view.with(func() {
		if m.view.calendars[name] != nil {
			one := m.view.calendarView(name)
			c = &one
		}
	})
	if c == nil {
		return nil, m.noCalendar(name)
	}
	return c, nil
}

func (m *Master) noCalendar(name string) *job.Error {
	var names []string
	m.view.with(func() { names = m.view.state.Calendars() })
	return job.Errorf(job.CodeNotFound, "there is no calendar %s", name).WithHint("%s", nearHint(name, names, "rota get calendars"))
}

// SetCalendar writes a calendar in the place of the version of a revision, or says what that would do; 0: there must be none, negative: whatever
// is there. What was due by then is judged by what it said before. The tasks that name it are placed anew when it returns.
func (m *Master) SetCalendar(ctx context.Context, c job.Calendar, at int64, dry bool) (*CalendarView, error) {
	c.Ranges = slices.Clone(c.Ranges)
	c.Complete(m.Now())
	if err := c.Valid(); err != nil {
		return nil, err
	}
	for {
		old, err := m.store().Calendars().Get(ctx, c.Name)
		if err != nil && !job.IsNotFound(err) {
			return nil, err
		}
		var there int64
		if old != nil {
			there = old.Revision
		}
		if err := revisionMatches("calendar "+c.Name, there, at); err != nil {
			return nil, err
		}
		now := m.Now().UTC().Truncate(time.Millisecond)
		e, change := job.CalendarEntry{Calendar: c, CreatedAt: now, UpdatedAt: now}, Created
		if old != nil {
			e, change = *old.Edited(c, now), Configured
			if old.Calendar.Equal(&c) {
				change = Unchanged
			}
		}
		v := &CalendarView{CalendarEntry: e, Change: change}
		m.view.with(func() { v.Tasks, v.Groups = m.view.state.Excluding(c.Name), m.view.state.GroupsExcluding(c.Name) })
		if err := m.fits(&c, v.Tasks, v.Groups); err != nil {
			return nil, err
		}
		if dry || change == Unchanged {
			return v, nil
		}
		rev, err := m.store().Calendars().Put(ctx, &e)
		if job.IsConflict(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		v.Revision = rev
		m.view.await(ctx, func() bool {
			known := m.view.calendars[c.Name]
			return known != nil && known.Revision >= rev &&
				!slices.ContainsFunc(v.Tasks, func(ref job.TaskRef) bool { return !m.view.state.Placed(ref) })
		})
		return v, nil
	}
}

// fits tells of the tasks and groups whose rules could not take what a calendar is to say.
func (m *Master) fits(c *job.Calendar, tasks []job.TaskRef, groups []string) error {
	var f job.Faults
	m.view.with(func() {
		check := func(what string, r *job.Rule) {
			r.Resolve(func(name string) ([]string, bool) {
				if name == c.Name {
					return c.Ranges, true
				}
				return m.view.ranges(name)
			})
			addFaults(&f, what, r.Valid())
		}
		for _, ref := range tasks {
			if e := m.view.tasks[ref]; e != nil {
				check("task "+ref.String(), e.Task.Rule())
			}
		}
		for _, name := range groups {
			if e := m.view.groups[name]; e != nil && e.Document.Timer != "" {
				check("group "+name, e.Document.Rule())
			}
		}
	})
	return f.Err("calendar " + c.Name + " does not fit what names it")
}

func (v *view) ranges(name string) ([]string, bool) {
	if c := v.calendars[name]; c != nil {
		return c.Calendar.Ranges, true
	}
	return nil, false
}

// DeleteCalendar removes a calendar that no task and no group names.
func (m *Master) DeleteCalendar(ctx context.Context, name string) error {
	if err := job.CheckName("calendar", name); err != nil {
		return err
	}
	// Asked of the store: a task that was applied through another master may not be in this one's view yet.
	tasks, _, err := m.store().Tasks().List(ctx)
	if err != nil {
		return err
	}
	var users []string
	for _, e := range tasks {
		if slices.Contains(e.Task.Rule().CalendarNames(), name) {
			users = append(users, e.Ref().String())
		}
	}
	groups, _, err := m.store().Groups().List(ctx)
	if err != nil {
		return err
	}
	for _, e := range groups {
		if r := e.Document.Rule(); r != nil && slices.Contains(r.CalendarNames(), name) {
			users = append(users, "group "+e.Document.Name)
		}
	}
	if len(users) > 0 {
		return job.Errorf(job.CodeConflict, "calendar %s is named by %s", name, someOf(users)).WithHint("take calendar:%s out of their exclude first", name)
	}
	if err := m.store().Calendars().Delete(ctx, 0, name); err != nil {
		if job.IsNotFound(err) {
			return m.noCalendar(name)
		}
		return err
	}
	m.view.await(ctx, func() bool { return m.view.calendars[name] == nil })
	return nil
}

// checkCalendars adds the calendars of a rule that there are not, and what they make of it. The rule is resolved by it; it may be nil.
func (m *Master) checkCalendars(ctx context.Context, f *job.Faults, path string, r *job.Rule) {
	if r == nil {
		return
	}
	known := func(name string) bool {
		ok := false
		m.view.with(func() { ok = m.view.calendars[name] != nil })
		if ok {
			return true
		}
		// Set through another master a moment ago it is not in this one's view yet.
		e, err := m.store().Calendars().Get(ctx, name)
		return err == nil && m.view.await(ctx, func() bool { c := m.view.calendars[name]; return c != nil && c.Revision >= e.Revision })
	}
	dot := ""
	if path != "" {
		dot = "."
	}
	all := true
	for i, text := range r.Exclude {
		name, ok := job.CalendarRef(text)
		if !ok || job.CheckName("calendar", name) != nil || known(name) {
			continue
		}
		all = false
		e := m.noCalendar(name)
		f.AddHint(fmt.Sprintf("%s%sexclude[%d]", path, dot, i), e.Hint, "%s", e.Message)
	}
	if !all {
		return
	}
	if m.withCalendars(r).Calendars != nil {
		addFaults(f, path, r.Valid())
	}
}

// withCalendars gives a rule what its calendars say now, and returns it. It is not parsed.
func (m *Master) withCalendars(r *job.Rule) *job.Rule {
	m.view.with(func() { r.Resolve(m.view.ranges) })
	return r
}

// expiring tells of the calendars that tasks or groups name and that end soon.
func (v *view) expiring(now time.Time) (list []string) {
	const soonEnough = 60 * 24 * time.Hour
	for _, name := range v.state.Calendars() {
		c := v.calendars[name]
		if c == nil || c.Calendar.Through == "" || len(v.state.Excluding(name))+len(v.state.GroupsExcluding(name)) == 0 {
			continue
		}
		if end, err := time.Parse(time.DateOnly, c.Calendar.Through); err == nil && end.Sub(now) < soonEnough {
			list = append(list, fmt.Sprintf("calendar %s ends on %s; set it again from its source", name, c.Calendar.Through))
		}
	}
	return list
}

func (v *view) calendar(parts []string, c *job.CalendarEntry, _ store.Event[job.CalendarEntry]) {
	if c == nil {
		delete(v.calendars, parts[0])
		v.state.Apply(engine.CalendarDeleted{Name: parts[0]})
		return
	}
	v.calendars[parts[0]] = c
	v.state.Apply(engine.CalendarPut{Entry: c})
}

func (v *view) replacement(parts []string, r *job.Replacement, _ store.Event[job.Replacement]) {
	if r == nil {
		v.state.Apply(engine.ReplacementDeleted{Node: job.NodeID(parts[0]), Run: job.RunID(parts[1])})
		return
	}
	v.state.Apply(engine.ReplacementPut{Replacement: r})
}
