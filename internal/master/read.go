package master

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Tasks lists the tasks of a group, of a name, or all.
func (m *Master) Tasks(ctx context.Context, group, name string) ([]TaskView, error) {
	views := []TaskView{}
	m.view.with(func() {
		running := m.view.runningByTask()
		for ref, e := range m.view.tasks {
			if (group == "" || ref.Group == group) && (name == "" || ref.Name == name) {
				views = append(views, TaskView{TaskEntry: *e, Nodes: m.view.state.Bound(ref), Running: running[ref]})
			}
		}
	})
	slices.SortFunc(views, func(a, b TaskView) int { return compareRefs(a.Ref(), b.Ref()) })
	return views, m.complete(ctx, views)
}

// complete adds to the views what needs no lock: the next firings, and the latest records, or why those are not known.
func (m *Master) complete(ctx context.Context, views []TaskView) error {
	refs := make([]job.TaskRef, len(views))
	for i := range views {
		refs[i] = views[i].Ref()
	}
	var latest map[job.TaskRef]job.ExecutionRecord
	unknown, err := m.ask(ctx, func(ctx context.Context) (err error) {
		latest, err = m.latest(ctx, refs)
		return err
	})
	if err != nil {
		return err
	}
	for i := range views {
		v := &views[i]
		v.LastUnknown = unknown
		v.Next = m.firings(&v.TaskEntry, previewed)
		if r, ok := latest[v.Ref()]; ok {
			v.Last = &r
		}
	}
	return nil
}

// latest is the newest record of each task. No refs are none, not all.
func (m *Master) latest(ctx context.Context, refs []job.TaskRef) (map[job.TaskRef]job.ExecutionRecord, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	return m.History.Latest(ctx, refs...)
}

// Task shows one task, where it is and why not elsewhere, and what history sums up of it.
func (m *Master) Task(ctx context.Context, ref job.TaskRef) (*TaskView, error) {
	return surely(ctx, m, func() (*TaskView, error) { return m.task(ctx, ref) })
}

func (m *Master) task(ctx context.Context, ref job.TaskRef) (*TaskView, error) {
	views, err := m.Tasks(ctx, ref.Group, ref.Name)
	if err != nil {
		return nil, err
	}
	if len(views) == 0 {
		return nil, m.noTask(ref)
	}
	v := &views[0]
	m.view.with(func() { v.Placing = m.view.state.Explain(ref) })
	if v.LastUnknown == "" {
		v.LastUnknown, err = m.ask(ctx, func(ctx context.Context) error {
			stats, err := m.Stats(ctx, job.StatsFilter{Group: ref.Group, Task: ref.Name})
			if err == nil {
				v.Stats = &stats[0]
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if r := v.Task.Rule(); r.Mode == job.Cycle && r.Valid() == nil {
		v.Timer = r.Schedule.Describe()
	}
	return v, nil
}

// noTask says that there is no such task, and which one was probably meant: first of all one of that name in another
// group.
func (m *Master) noTask(ref job.TaskRef) error {
	var names, twins []string
	monitor := false
	m.view.with(func() {
		monitor = ref.Group == job.MonitorGroup && m.view.monitors[ref.Name] != nil
		for r := range m.view.tasks {
			names = append(names, r.String())
			if r.Name == ref.Name {
				twins = append(twins, r.String())
			}
		}
	})
	if monitor {
		return job.Errorf(job.CodeNotFound, "%s is a monitor, not a task: others run it, and only tell", ref).
			WithHint("what they told: rota get records --task %s; since when: rota get monitors", ref)
	}
	slices.Sort(names) // of several that are equally near always the same
	hint := nearHint(ref.String(), names, "rota get tasks")
	if len(twins) > 0 {
		slices.Sort(twins)
		hint = fmt.Sprintf("did you mean %s?", strings.Join(twins[:min(len(twins), 3)], " or "))
	}
	return job.Errorf(job.CodeNotFound, "there is no task %s", ref).WithHint("%s", hint)
}

// explained gives an error that says that a task is not there its hint.
func (m *Master) explained(ref job.TaskRef, err error) error {
	if job.IsNotFound(err) {
		return m.noTask(ref)
	}
	return err
}

// Next lists the firings to come, soonest first, one of each task.
func (m *Master) Next(ctx context.Context, group, name string, limit int) ([]Upcoming, error) {
	views, err := m.Tasks(ctx, group, name)
	if err != nil {
		return nil, err
	}
	list := []Upcoming{}
	for _, v := range views {
		if len(v.Next) > 0 {
			list = append(list, Upcoming{Task: v.Ref(), Next: v.Next[0], Last: v.Last})
		}
	}
	if name == "" {
		groups, err := m.GroupViews(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			if len(g.Next) > 0 && (group == "" || g.Name == group) {
				list = append(list, Upcoming{Group: g.Name, Next: g.Next[0]})
			}
		}
	}
	slices.SortFunc(list, func(a, b Upcoming) int {
		return cmp.Or(a.Next.Compare(b.Next), compareRefs(a.Task, b.Task), cmp.Compare(a.Group, b.Group))
	})
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, nil
}

// Groups counts the groups.
func (m *Master) Groups(context.Context) ([]Group, error) {
	groups := map[string]*Group{}
	m.view.with(func() {
		running := m.view.runningByTask()
		for ref, e := range m.view.tasks {
			g := groups[ref.Group]
			if g == nil {
				g = &Group{Name: ref.Group}
				groups[ref.Group] = g
			}
			g.Tasks++
			g.Running += running[ref]
			if e.Paused {
				g.Paused++
			}
		}
	})
	list := []Group{}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, *groups[name])
	}
	return list, nil
}

// Jobs lists the jobs, with how each stands.
func (m *Master) Jobs(ctx context.Context, f JobFilter) ([]*job.Job, error) {
	var prefix []string
	if f.Node != "" {
		prefix = []string{string(f.Node)}
	}
	all, _, err := m.store().Jobs().List(ctx, prefix...)
	if err != nil {
		return nil, err
	}
	jobs := []*job.Job{}
	refs := map[job.TaskRef]bool{}
	for _, j := range all {
		if (f.Group == "" || j.Group == f.Group) && (f.Task == "" || j.Name == f.Task) {
			jobs = append(jobs, j)
			refs[j.Ref()] = true
		}
	}
	slices.SortFunc(jobs, func(a, b *job.Job) int {
		return cmp.Or(compareRefs(a.Ref(), b.Ref()), cmp.Compare(a.NodeID, b.NodeID))
	})
	var past *past
	unknown, err := m.ask(ctx, func(ctx context.Context) (err error) {
		past, err = m.past(ctx, jobs, refs)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.standing(jobs, past, unknown != "")
	return jobs, nil
}

// detailed is up to how many jobs an answer looks each up in history.
const detailed = 200

// past is what history tells of jobs.
type past struct {
	last    map[string]job.ExecutionRecord // by job
	average map[job.TaskRef]int64
}

// past reads the latest run and the average time of jobs: of each when they are few, else of those of which the
// task's latest record tells.
func (m *Master) past(ctx context.Context, jobs []*job.Job, refs map[job.TaskRef]bool) (*past, error) {
	p := &past{last: map[string]job.ExecutionRecord{}, average: map[job.TaskRef]int64{}}
	if len(refs) == 0 {
		return p, nil
	}
	names := slices.Collect(maps.Keys(refs))
	latest, err := m.latest(ctx, names)
	if err != nil {
		return nil, err
	}
	totals, err := m.History.Totals(ctx, names...)
	if err != nil {
		return nil, err
	}
	for ref, t := range totals {
		p.average[ref] = t.AverageMS
	}
	for _, j := range jobs {
		r, ok := latest[j.Ref()]
		if ok && r.JobID != j.ID && len(jobs) <= detailed {
			page, err := m.History.Records(ctx, job.RecordFilter{JobID: j.ID, Limit: 1})
			if err != nil {
				return nil, err
			}
			if ok = len(page.Records) > 0; ok {
				r = page.Records[0]
			}
		}
		if ok && r.JobID == j.ID {
			p.last[j.ID] = r
		}
	}
	return p, nil
}

// standing fills in how jobs stand, as far as it is known.
func (m *Master) standing(jobs []*job.Job, p *past, unknown bool) {
	alive := map[string]*job.Process{}
	m.view.with(func() {
		for _, p := range m.view.processes {
			alive[p.JobID] = p
		}
	})
	for _, j := range jobs {
		if r := alive[j.ID]; r != nil {
			j.RunStatus = &job.RunStatus{Status: string(job.StateRunning), StartTime: r.Time, RecordID: string(r.Run)}
		} else if unknown {
			j.RunStatus = &job.RunStatus{Status: "unknown"}
		}
		if unknown {
			continue
		}
		j.AvgTime = p.average[j.Ref()]
		if r, ok := p.last[j.ID]; ok && j.RunStatus == nil {
			j.RunStatus = &job.RunStatus{Status: string(r.Outcome), StartTime: r.BeginTime, EndTime: r.EndTime, RecordID: r.ID}
		}
	}
}

// Processes lists the runs that are alive.
func (m *Master) Processes(_ context.Context, f JobFilter) ([]*job.Process, error) {
	list := []*job.Process{}
	m.view.with(func() {
		for _, p := range m.view.processes {
			if (f.Group == "" || p.Group == f.Group) && (f.Task == "" || p.Name == f.Task) && (f.Node == "" || p.NodeID == f.Node) {
				list = append(list, p)
			}
		}
	})
	slices.SortFunc(list, func(a, b *job.Process) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Run, b.Run)) })
	return list, nil
}

// Config lists the configuration of a group, with the global one where group is empty, or all of it.
func (m *Master) Config(ctx context.Context, group string) ([]store.Config, error) {
	all, _, err := m.store().Config().List(ctx)
	if err != nil {
		return nil, err
	}
	list := []store.Config{}
	for _, c := range all {
		if (group == "" || c.Group == group) && c.DeletedAt.IsZero() {
			one := *c
			one.AsOf = 0 // the masters' own
			list = append(list, one)
		}
	}
	return list, nil
}

// SetConfig sets a value of a group, or of all where group is empty.
func (m *Master) SetConfig(ctx context.Context, group, key, value string) error {
	_, err := m.store().Do(ctx, store.PutConfig(&store.Config{Group: group, Key: key, Value: value}, store.Any))
	return err
}

// DeleteConfig removes a value. What is left in its place says when, for the results of runs from before that.
func (m *Master) DeleteConfig(ctx context.Context, group, key string) error {
	for {
		old, err := m.store().Config().Get(ctx, group, key)
		switch {
		case job.CodeOf(err) == job.CodeInvalid:
			return m.store().Config().Delete(ctx, 0, group, key) // nobody can read it
		case err != nil:
			return err
		case !old.DeletedAt.IsZero():
			return job.Errorf(job.CodeNotFound, "there is no configuration %s", key)
		}
		done, err := m.store().Do(ctx, store.PutConfig(&store.Config{Group: group, Key: key, DeletedAt: m.Now().UTC()}, old.Revision))
		if err != nil || done[0] {
			return err
		}
	}
}

// keepDeleted is how long it is remembered that a value was deleted.
const keepDeleted = 24 * time.Hour

// sweepConfig forgets what was deleted long ago, once no record waits any more that may be older than that.
func (m *Master) sweepConfig(ctx context.Context, l *store.Leadership) {
	for sleep(ctx, time.Hour) {
		all, _, err := m.store().Config().List(ctx)
		if err != nil {
			continue
		}
		var ops []store.Op
		for _, c := range all {
			if !c.DeletedAt.IsZero() && m.Now().Sub(c.DeletedAt) >= keepDeleted {
				ops = append(ops, store.DeleteConfig(c.Group, c.Key, c.Revision))
			}
		}
		if n, err := m.store().Records().Count(ctx); len(ops) == 0 || err != nil || n > 0 {
			continue
		}
		if _, err := l.Do(ctx, ops...); err != nil {
			m.Logger.Warn("deleted configuration is kept for longer", "error", err)
		}
	}
}

// Status sums up the whole.
func (m *Master) Status(ctx context.Context) Status {
	s := Status{Master: m.ID, Version: m.Version, Uptime: m.uptime(), Ready: true}
	if err := m.Ready(ctx); err != nil {
		s.Ready = false
		s.Reasons = append(s.Reasons, err.Error())
	}
	if leader, _, err := m.store().Leader(ctx); err == nil {
		s.Leader = leader
	}
	if s.Ready && s.Leader == "" {
		s.Reasons = append(s.Reasons, "no master leads: tasks run, but changes are not carried out")
	}
	if alarm, err := m.store().Alarm(ctx); err == nil && alarm != "" {
		s.Reasons = append(s.Reasons, "etcd has raised the alarm "+alarm)
	}
	m.view.with(func() {
		s.Tasks, s.Nodes, s.Online = len(m.view.tasks), len(m.view.nodes), len(m.view.online)
		s.Jobs, s.Running = len(m.view.jobs), len(m.view.processes)
		s.Reasons = append(s.Reasons, m.view.skewed(slices.Sorted(maps.Keys(m.view.online)))...)
		s.Reasons = append(s.Reasons, m.view.expiring(m.Now())...)
		for _, key := range slices.Sorted(maps.Keys(m.view.bad)) {
			s.Reasons = append(s.Reasons, key+" "+m.view.bad[key])
		}
	})
	return s
}

func (v *view) runningByTask() map[job.TaskRef]int {
	n := map[job.TaskRef]int{}
	for _, p := range v.processes {
		n[job.Ref(p.Group, p.Name)]++
	}
	return n
}

func compareRefs(a, b job.TaskRef) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
}

// nearHint suggests the nearest of the names, or how to see them all.
func nearHint(name string, names []string, all string) string {
	if near := job.Near(name, names); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "see them with: " + all
}
