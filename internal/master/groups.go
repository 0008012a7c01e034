package master

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// The types of groups and executions that go over the wire.
type (
	GroupView       = client.GroupView
	GroupRequest    = client.GroupRequest
	ExecutionView   = client.ExecutionView
	ExecutionFilter = client.ExecutionFilter
)

func (m *Master) groupDocuments() *documents[job.Group] {
	return &documents[job.Group]{
		m: m, sort: "group", c: m.store().Groups(), name: (*job.Group).DocumentName,
		list:  func() map[string]*job.Entry[job.Group] { return m.view.groups },
		users: func(context.Context, string) ([]string, error) { return nil, nil },
	}
}

// checkGroups tells what is wrong with groups.
func (m *Master) checkGroups(ctx context.Context, f *job.Faults, groups []job.Group) {
	seen := map[string]int{}
	for i := range groups {
		g, at := &groups[i], fmt.Sprintf("groups[%d]", i)
		if first, twice := seen[g.Name]; twice {
			f.Add(at, "group %s is there twice, as groups[%d] too", g.Name, first)
		}
		seen[g.Name] = i
		addFaults(f, at, g.Valid())
		addFaults(f, at, g.NeverFires(m.Now()))
		m.checkCalendars(ctx, f, at, g.Rule())
	}
}

// checkSteps tells what is wrong with what tasks say as steps of their groups; all is how the tasks will stand.
func checkSteps(f *job.Faults, all map[job.TaskRef]*job.Task, tasks []whole, path func(int) string) {
	for i := range tasks {
		tasks[i].CheckStep(f, trimLast(path(i)), func(ref job.TaskRef) *job.Task { return all[ref] })
	}
}

func trimLast(s string) string {
	if n := len(s); n > 0 && s[n-1] == '.' {
		return s[:n-1]
	}
	return s
}

// applyGroups writes what is said of groups.
func (m *Master) applyGroups(ctx context.Context, list []job.Group, rev int64, dry bool) (done []Applied, err error) {
	for _, g := range list {
		g.Complete()
		a, e, err := m.groupDocuments().put(ctx, g, rev, dry)
		if err != nil {
			return done, err
		}
		a.NextAfter = m.groupFirings(e, nil)
		var old job.Entry[job.Group]
		if a.OldDocument != nil && json.Unmarshal(a.OldDocument, &old.Document) == nil {
			a.NextBefore = m.groupFirings(&old, nil)
		}
		done = append(done, a)
	}
	return done, nil
}

// groupFirings are the next instants of a group's timer; none while it is paused.
func (m *Master) groupFirings(e *job.Entry[job.Group], state *job.GroupState) []time.Time {
	r := e.Document.Rule()
	if r == nil || m.withCalendars(r).Valid() != nil || state != nil && state.Paused {
		return nil
	}
	var list []time.Time
	for i := r.Next(m.Now()); !i.IsZero() && len(list) < previewed; i = r.Next(i) {
		list = append(list, i.In(r.Schedule.Location()))
	}
	return list
}

// GroupViews lists the groups: those of which something is said, and those that tasks are in.
func (m *Master) GroupViews(ctx context.Context) ([]GroupView, error) {
	counted, err := m.Groups(ctx)
	if err != nil {
		return nil, err
	}
	var views []GroupView
	at := map[string]int{}
	for i, g := range counted {
		views, at[g.Name] = append(views, GroupView{Group: g}), i
	}
	m.view.with(func() {
		for name, e := range m.view.groups {
			i, ok := at[name]
			if !ok {
				i = len(views)
				views, at[name] = append(views, GroupView{Group: Group{Name: name}}), i
			}
			views[i].Document, views[i].Timer = e, m.view.groupStates[name]
		}
		for _, e := range m.view.executions {
			if i, ok := at[e.Group]; ok && !e.Ended() {
				views[i].Active++
			}
		}
	})
	for i := range views {
		if v := &views[i]; v.Document != nil {
			v.Next = m.groupFirings(v.Document, v.Timer)
		}
	}
	slices.SortFunc(views, func(a, b GroupView) int { return compareText(a.Name, b.Name) })
	return views, nil
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// GroupOf shows one group.
func (m *Master) GroupOf(ctx context.Context, name string) (*GroupView, error) {
	return surely(ctx, m, func() (*GroupView, error) { return m.groupOf(ctx, name) })
}

func (m *Master) groupOf(ctx context.Context, name string) (*GroupView, error) {
	views, err := m.GroupViews(ctx)
	if err != nil {
		return nil, err
	}
	for i := range views {
		v := &views[i]
		if v.Name != name {
			continue
		}
		if list, _, err := m.History.Executions(ctx, job.ExecutionFilter{Group: name, Limit: 1}); err == nil && len(list) > 0 {
			last := m.executionView(&list[0], false)
			v.Last = &last
		}
		return v, nil
	}
	return nil, m.noGroup(name, views)
}

func (m *Master) noGroup(name string, views []GroupView) error {
	var names []string
	for i := range views {
		names = append(names, views[i].Name)
	}
	return job.Errorf(job.CodeNotFound, "there is no group %s", name).WithHint("%s", nearHint(name, names, "rota get groups"))
}

// DeleteGroup removes what is said of a group, and its timer; with tasks also its tasks, those that depend on others first. Executions
// that are under way go on: they have all that they need.
func (m *Master) DeleteGroup(ctx context.Context, name string, tasks bool) error {
	if err := job.CheckName("group", name); err != nil {
		return err
	}
	gone := false
	if tasks {
		entries, _, err := m.store().Tasks().List(ctx, name)
		if err != nil {
			return err
		}
		specs := make([]*job.Task, len(entries))
		for i, e := range entries {
			specs[i] = &e.Task
		}
		order, err := job.StepOrder(specs)
		if err != nil { // what is not there can't be waited for
			order = specs
		}
		for _, t := range slices.Backward(order) {
			if err := m.Delete(ctx, t.Ref(), 0); err != nil && !job.IsNotFound(err) {
				return err
			}
			gone = true
		}
	}
	err := m.groupDocuments().Delete(ctx, name)
	if job.IsNotFound(err) && gone {
		return nil
	}
	if job.IsNotFound(err) && m.hasTasks(name) {
		return job.Errorf(job.CodeNotFound, "nothing is said of group %s but that tasks are in it", name).
			WithHint("delete those too with: rota delete group %s --with-tasks", name)
	}
	return err
}

func (m *Master) hasTasks(group string) (found bool) {
	m.view.with(func() {
		for ref := range m.view.tasks {
			found = found || ref.Group == group
		}
	})
	return found
}

// PauseGroup stops a group's timer, ResumeGroup starts it again. What was due in between is told as skipped. Doing it twice is doing it once.
func (m *Master) PauseGroup(ctx context.Context, name, by string) error {
	return m.setGroupPaused(ctx, name, true, by)
}

// ResumeGroup is the opposite of PauseGroup.
func (m *Master) ResumeGroup(ctx context.Context, name, by string) error {
	return m.setGroupPaused(ctx, name, false, by)
}

func (m *Master) setGroupPaused(ctx context.Context, name string, paused bool, by string) error {
	entry, err := m.groupDocuments().One(ctx, name)
	if err != nil {
		return err
	}
	if entry.Document.Timer == "" {
		return job.Errorf(job.CodeConflict, "group %s has no timer to pause", name).WithHint("its tasks are paused each by itself: rota pause TASK")
	}
	for {
		s, err := m.store().GroupStates().Get(ctx, name)
		switch {
		case job.IsNotFound(err) || err == nil && !s.Created.Equal(entry.CreatedAt):
			rev := int64(0)
			if err == nil {
				rev = s.Revision
			}
			s = &job.GroupState{
				Group: name, Created: entry.CreatedAt, At: entry.CreatedAt.UTC().Truncate(time.Second), Rule: m.withCalendars(entry.Document.Rule()), Revision: rev,
			}
		case err != nil:
			return err
		}
		if s.Paused == paused {
			return nil
		}
		now := m.Now().UTC().Truncate(time.Millisecond)
		if s.Paused = paused; paused {
			s.PausedAt = now
		} else {
			s.ResumedAt = now
		}
		rev, err := m.store().GroupStates().Put(ctx, s)
		if job.IsConflict(err) {
			continue
		}
		if err != nil {
			return err
		}
		m.Logger.Info("group paused or resumed", "group", name, "paused", paused, "by", by)
		m.view.await(ctx, func() bool { v := m.view.groupStates[name]; return v != nil && v.Revision >= rev })
		return nil
	}
}
