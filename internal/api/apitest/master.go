// Package apitest holds a master in memory, for tests of the API and of what speaks to it. It keeps what it is told
// and decides nothing: a run stays pending until the test ends it.
package apitest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Now is the time at which the fake lives: 1 December 2026, 10:00 UTC.
var Now = time.Unix(1796119200, 0).UTC()

// Master is a master in memory. It is safe for concurrent use.
type Master struct {
	mu    sync.Mutex
	rev   int64
	tasks map[job.TaskRef]*job.TaskEntry
	nodes map[job.NodeID]*master.NodeView
	runs  map[job.RunID]*master.RunView
	// by id
	backfills  map[string]*master.BackfillView
	records    []job.ExecutionRecord
	config     map[[2]string]store.Config
	members    []client.Member
	templates  named[job.Template]
	receivers  named[job.Receiver]
	monitors   named[job.Monitor]
	deliveries []job.Delivery
	pings      []job.Ping
	calendars  map[string]*job.CalendarEntry
	groups     groups
	subs       map[chan master.Event]bool
	watched    *sync.Cond // subs has changed
	// Fail is what every method returns where it is set.
	Fail error
	// OnRun, where it is set, is called for each run that is asked for.
	OnRun func(m *Master, run master.RunHandle)
}

// New makes a master that knows nothing but the nodes, which are online.
func New(nodes ...job.NodeID) *Master {
	m := &Master{
		tasks: map[job.TaskRef]*job.TaskEntry{}, nodes: map[job.NodeID]*master.NodeView{}, runs: map[job.RunID]*master.RunView{}, backfills: map[string]*master.BackfillView{},
		config: map[[2]string]store.Config{}, calendars: map[string]*job.CalendarEntry{}, subs: map[chan master.Event]bool{},
	}
	m.watched = sync.NewCond(&m.mu)
	for _, id := range nodes {
		m.nodes[id] = &master.NodeView{Node: job.Node{ID: id, Labels: map[string]string{"host": string(id)}}, Online: true, Since: Now}
	}
	return m
}

func (m *Master) fail() error { return m.Fail }

// Emit sends an event to everyone who watches; who does not read in time misses it.
func (m *Master) Emit(e master.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.emit(e)
}

func (m *Master) emit(e master.Event) {
	for c := range m.subs {
		select {
		case c <- e:
		default:
		}
	}
}

// AwaitWatchers waits until so many watch.
func (m *Master) AwaitWatchers(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.subs) != n {
		m.watched.Wait()
	}
}

// Subscribe yields events until the context ends.
func (m *Master) Subscribe(ctx context.Context) <-chan master.Event {
	c := make(chan master.Event, 64)
	m.mu.Lock()
	m.subs[c] = true
	m.watched.Broadcast()
	m.mu.Unlock()
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.subs, c)
		m.watched.Broadcast()
		close(c)
	})
	return c
}

// Apply stores tasks.
func (m *Master) Apply(ctx context.Context, tasks []job.Task, o master.ApplyOptions) ([]master.Applied, error) {
	return m.ApplyDocuments(ctx, job.Documents{Tasks: tasks}, o)
}

// ApplyDocuments stores tasks and templates.
func (m *Master) ApplyDocuments(_ context.Context, docs job.Documents, o master.ApplyOptions) ([]master.Applied, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applyDocuments(docs, o)
}

func (m *Master) applyDocuments(docs job.Documents, o master.ApplyOptions) ([]master.Applied, error) {
	tasks := docs.Tasks
	if err := m.fail(); err != nil {
		return nil, err
	}
	if err := m.checkPruned(tasks, o.Prune); err != nil {
		return nil, err
	}
	var out []master.Applied
	var kept []job.TaskRef
	for _, r := range docs.Receivers {
		out = append(out, m.receivers.apply(m, "receiver", r.Name, r, o.DryRun))
	}
	for _, d := range docs.Monitors {
		out = append(out, m.monitors.apply(m, "monitor", d.Name, d, o.DryRun))
	}
	for _, t := range docs.Templates {
		out = append(out, m.templates.apply(m, "template", t.Name, t, o.DryRun))
	}
	for _, g := range docs.Groups {
		out = append(out, m.groups.documents.apply(m, "group", g.Name, g, o.DryRun))
	}
	for _, t := range tasks {
		kept = append(kept, t.Ref())
		out = append(out, m.apply(t, o.DryRun))
	}
	for _, ref := range slices.SortedFunc(maps.Keys(m.tasks), byRef) {
		if slices.Contains(o.Prune, ref.Group) && !slices.Contains(kept, ref) {
			old := m.tasks[ref].Task
			out = append(out, master.Applied{Task: ref, Change: master.Deleted, Old: &old})
			if !o.DryRun {
				delete(m.tasks, ref)
			}
		}
	}
	return out, nil
}

// checkPruned refuses to delete what tasks need that stay.
func (m *Master) checkPruned(tasks []job.Task, groups []string) error {
	after := map[job.TaskRef]*job.Task{}
	for ref, e := range m.tasks {
		if !slices.Contains(groups, ref.Group) {
			after[ref] = &e.Task
		}
	}
	for i := range tasks {
		after[tasks[i].Ref()] = &tasks[i]
	}
	for _, ref := range slices.SortedFunc(maps.Keys(after), byRef) {
		for _, need := range after[ref].Needs() {
			if m.tasks[need] != nil && after[need] == nil {
				return job.Errorf(job.CodeInvalid, "task %s would be deleted, and is needed by %s", need, ref)
			}
		}
	}
	return nil
}

func (m *Master) apply(t job.Task, dry bool) master.Applied {
	a := master.Applied{Task: t.Ref(), New: &t, Change: master.Created, NextAfter: m.firings(&t)}
	m.placed(&t, &a)
	if old := m.tasks[t.Ref()]; old != nil {
		before := old.Task
		a.Old, a.Change, a.NextBefore = &before, master.Configured, m.firings(&before)
		if before.Equal(&t) {
			a.Change = master.Unchanged
		}
	}
	if !dry && a.Change != master.Unchanged {
		m.rev++
		e := &job.TaskEntry{Task: t, CreatedAt: Now, UpdatedAt: Now, Since: Now, Generation: 1, Revision: m.rev}
		if old := m.tasks[t.Ref()]; old != nil {
			e.CreatedAt, e.Generation, e.Paused = old.CreatedAt, old.Generation+1, old.Paused
		}
		m.tasks[t.Ref()] = e
		m.emit(master.Event{Type: "task", Change: "put", Key: "tasks/" + t.Ref().String(), At: Now, Object: e})
	}
	return a
}

func (m *Master) placed(t *job.Task, a *master.Applied) {
	for _, id := range slices.Sorted(maps.Keys(m.nodes)) {
		if (len(t.Nodes) == 0 || slices.Contains(t.Nodes, id)) && t.Rule().Matches(&m.nodes[id].Node) {
			a.Nodes = append(a.Nodes, id)
		}
	}
	if len(a.Nodes) == 0 {
		a.Warnings = append(a.Warnings, "no node matches")
	}
}

func (m *Master) firings(t *job.Task) []time.Time {
	r := t.Rule()
	r.Resolve(func(name string) ([]string, bool) {
		if c := m.calendars[name]; c != nil {
			return c.Calendar.Ranges, true
		}
		return nil, false
	})
	var out []time.Time
	if r.Valid() == nil {
		for i := r.Next(Now); !i.IsZero() && len(out) < 5; i = r.Next(i) {
			out = append(out, i)
		}
	}
	return out
}

func byRef(a, b job.TaskRef) int { return cmp.Compare(a.String(), b.String()) }

func (m *Master) entry(ref job.TaskRef) (*job.TaskEntry, error) {
	if err := m.fail(); err != nil {
		return nil, err
	}
	if e := m.tasks[ref]; e != nil {
		return e, nil
	}
	return nil, job.Errorf(job.CodeNotFound, "there is no task %s", ref)
}

// Delete deletes a task.
func (m *Master) Delete(_ context.Context, ref job.TaskRef, rev int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.entry(ref)
	if err != nil {
		return err
	}
	if rev != 0 && rev != e.Revision {
		return job.Errorf(job.CodeConflict, "task %s has changed since it was read", ref)
	}
	delete(m.tasks, ref)
	return nil
}

// Pause pauses a task.
func (m *Master) Pause(_ context.Context, ref job.TaskRef, _ string) (*job.TaskEntry, error) {
	return m.pause(ref, true)
}

// Resume resumes a task.
func (m *Master) Resume(_ context.Context, ref job.TaskRef, _ string) (*job.TaskEntry, error) {
	return m.pause(ref, false)
}

func (m *Master) pause(ref job.TaskRef, paused bool) (*job.TaskEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.entry(ref)
	if err != nil {
		return nil, err
	}
	m.rev++
	e.Paused, e.Revision = paused, m.rev
	c := *e
	return &c, nil
}

func (m *Master) view(e *job.TaskEntry) master.TaskView {
	a := master.Applied{}
	m.placed(&e.Task, &a)
	v := master.TaskView{TaskEntry: *e, Nodes: a.Nodes, Next: m.firings(&e.Task), Timer: string(e.Task.Timer)}
	for i := range m.records {
		if r := &m.records[i]; r.Ref() == e.Ref() {
			v.Last = r
		}
	}
	return v
}

// Tasks lists tasks.
func (m *Master) Tasks(_ context.Context, group, name string) ([]master.TaskView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []master.TaskView
	for _, ref := range slices.SortedFunc(maps.Keys(m.tasks), byRef) {
		if (group == "" || ref.Group == group) && (name == "" || ref.Name == name) {
			out = append(out, m.view(m.tasks[ref]))
		}
	}
	return out, m.fail()
}

// Task reads one task.
func (m *Master) Task(_ context.Context, ref job.TaskRef) (*master.TaskView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.entry(ref)
	if err != nil {
		return nil, err
	}
	v := m.view(e)
	for _, id := range v.Nodes {
		v.Placing = append(v.Placing, job.Placement{Node: id, Bound: true, Online: true})
	}
	return &v, nil
}

// Groups counts.
func (m *Master) Groups(context.Context) ([]master.Group, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []master.Group
	for _, ref := range slices.SortedFunc(maps.Keys(m.tasks), byRef) {
		if len(out) == 0 || out[len(out)-1].Name != ref.Group {
			out = append(out, master.Group{Name: ref.Group})
		}
		g := &out[len(out)-1]
		g.Tasks++
		if m.tasks[ref].Paused {
			g.Paused++
		}
	}
	return out, m.fail()
}

// SetConfig sets a value.
func (m *Master) SetConfig(_ context.Context, group, key, value string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rev++
	m.config[[2]string{group, key}] = store.Config{Group: group, Key: key, Value: value, Revision: m.rev}
	return m.fail()
}

// DeleteConfig deletes a value.
func (m *Master) DeleteConfig(_ context.Context, group, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.config[[2]string{group, key}]; !ok {
		return job.Errorf(job.CodeNotFound, "there is no value %s", key)
	}
	delete(m.config, [2]string{group, key})
	return m.fail()
}

// Config lists values.
func (m *Master) Config(_ context.Context, group string) ([]store.Config, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []store.Config
	for _, v := range m.config {
		if group == "" || v.Group == group {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b store.Config) int { return cmp.Compare(a.Group+"/"+a.Key, b.Group+"/"+b.Key) })
	return out, m.fail()
}

// Status counts.
func (m *Master) Status(context.Context) master.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := master.Status{
		Ready: m.Fail == nil, Master: "m1", Leader: "m1", Version: "test", Tasks: len(m.tasks), Nodes: len(m.nodes), Online: len(m.nodes),
	}
	if m.Fail != nil {
		s.Reasons = []string{m.Fail.Error()}
	}
	return s
}

// Ready fails where everything does.
func (m *Master) Ready(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fail()
}

// SetFail sets what every method returns.
func (m *Master) SetFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Fail = err
}

// Next lists the firings to come.
func (m *Master) Next(_ context.Context, group, name string, limit int) ([]master.Upcoming, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []master.Upcoming
	for ref, e := range m.tasks {
		if next := m.firings(&e.Task); len(next) > 0 && (group == "" || group == ref.Group) && (name == "" || name == ref.Name) {
			out = append(out, master.Upcoming{Task: ref, Next: next[0], Last: m.view(e).Last})
		}
	}
	slices.SortFunc(out, func(a, b master.Upcoming) int {
		return cmp.Or(a.Next.Compare(b.Next), byRef(a.Task, b.Task))
	})
	return out[:min(len(out), limit)], m.fail()
}

func missing(format string, args ...any) error {
	return job.Errorf(job.CodeNotFound, "there is no %s", fmt.Sprintf(format, args...))
}
