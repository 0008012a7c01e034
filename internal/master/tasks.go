package master

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// previewed is how many firings an answer shows.
const previewed = 5

// Apply is [Master.ApplyDocuments] of tasks alone.
func (m *Master) Apply(ctx context.Context, tasks []job.Task, o ApplyOptions) ([]Applied, error) {
	return m.ApplyDocuments(ctx, job.Documents{Tasks: tasks}, o)
}

// ApplyDocuments brings tasks, and what they use, to what the documents say. All of them are checked before the first is written; each is then
// written by itself, what is used before what uses it, and applying the same again finds nothing to do. With DryRun nothing is written.
func (m *Master) ApplyDocuments(ctx context.Context, docs job.Documents, o ApplyOptions) ([]Applied, error) {
	return m.applyDocuments(ctx, docs, o, anyRevision)
}

// applyDocuments is [Master.ApplyDocuments] of documents that replace the version of a revision alone.
func (m *Master) applyDocuments(ctx context.Context, docs job.Documents, o ApplyOptions, rev int64) ([]Applied, error) {
	now := m.Now()
	var f job.Faults
	seen := map[job.TaskRef]int{}
	applied := func(ref job.TaskRef) bool { _, ok := seen[ref]; return ok }
	for i := range docs.Templates {
		addFaults(&f, fmt.Sprintf("templates[%d]", i), docs.Templates[i].Valid())
	}
	tasks := make([]whole, len(docs.Tasks))
	for i := range docs.Tasks {
		path := fmt.Sprintf("tasks[%d]", i)
		t, err := m.resolve(ctx, docs.Tasks[i], docs.Templates)
		if err != nil {
			if job.CodeOf(err) == job.CodeUnavailable {
				return nil, err
			}
			addFaults(&f, path, err)
			continue
		}
		if first, twice := seen[t.Ref()]; twice {
			f.Add(path, "task %s is there twice, as tasks[%d] too", t.Ref(), first)
		}
		seen[t.Ref()] = i
		addFaults(&f, path, t.Valid())
		addFaults(&f, path, t.NeverFires(now))
		m.checkCalendars(ctx, &f, path, t.Rule())
		tasks[i] = t
	}
	entries, _, err := m.store().Tasks().List(ctx)
	if err != nil {
		return nil, err
	}
	all, err := m.willBe(ctx, entries, tasks, docs.Templates)
	if err != nil {
		return nil, err
	}
	if len(f.Fields) == 0 {
		checkDepends(&f, all, tasks, tasksPath)
		m.checkGroups(ctx, &f, docs.Groups)
		checkSteps(&f, all, tasks, tasksPath)
		checkPruned(&f, all, applied, o.Prune)
	}
	for i := range docs.Receivers {
		addFaults(&f, fmt.Sprintf("receivers[%d]", i), docs.Receivers[i].Valid())
	}
	for i := range docs.Monitors {
		addFaults(&f, fmt.Sprintf("monitors[%d]", i), docs.Monitors[i].Valid())
	}
	if err := m.checkNotified(ctx, &f, &docs, tasks, func(i int) string { return fmt.Sprintf("tasks[%d].", i) }); err != nil {
		return nil, err
	}
	if err := m.checkOthers(ctx, &f, entries, all, tasks, docs.Templates, func(ref job.TaskRef) bool { return !slices.Contains(o.Prune, ref.Group) }); err != nil {
		return nil, err
	}
	for i, group := range o.Prune {
		if err := job.CheckName("group", group); err != nil {
			f.AddError(fmt.Sprintf("prune[%d]", i), err)
		}
	}
	if err := f.Err("nothing was applied"); err != nil {
		return nil, err
	}
	var done []Applied
	for _, r := range docs.Receivers {
		a, _, err := m.receivers().put(ctx, r, rev, o.DryRun)
		if err != nil {
			return done, err
		}
		done = append(done, a)
	}
	templates, err := m.applyTemplates(ctx, docs.Templates, rev, o.DryRun, applied)
	done = append(done, templates...)
	if err != nil {
		return done, err
	}
	put, err := m.putAll(ctx, tasks, rev, o.DryRun)
	done = append(done, put...)
	if err != nil {
		return done, err
	}
	groups, err := m.applyGroups(ctx, docs.Groups, rev, o.DryRun)
	done = append(done, groups...)
	if err != nil {
		return done, err
	}
	for _, doc := range docs.Monitors {
		a, err := m.applyMonitor(ctx, doc, rev, o.DryRun)
		if err != nil {
			return done, err
		}
		done = append(done, a)
	}
	if !o.DryRun {
		m.awaitPlaced(ctx, done)
	}
	pruned, err := m.pruneGroups(ctx, applied, o)
	return append(done, pruned...), err
}

// addFaults takes the fields of an error over, below a path.
func addFaults(f *job.Faults, path string, err error) {
	if err == nil {
		return
	}
	var e *job.Error
	if errors.As(err, &e) && len(e.Fields) > 0 {
		for _, field := range e.Fields {
			if field.Path != "" {
				field.Path = path + "." + field.Path
			} else {
				field.Path = path
			}
			f.Fields = append(f.Fields, field)
		}
		return
	}
	f.Add(path, "%v", err)
}

// anyRevision, as any other that is negative, replaces whatever is there.
const anyRevision int64 = -1

// Put is [Master.PutDocument] of a task.
func (m *Master) Put(ctx context.Context, t job.Task, rev int64) (Applied, error) {
	return m.PutDocument(ctx, job.Documents{Tasks: []job.Task{t}}, rev)
}

// PutDocument writes one document in the place of the version of a revision; 0: there must be none, negative: whatever is there. One that says the
// same as before is left as it is. The paths of faults are those in the document.
func (m *Master) PutDocument(ctx context.Context, doc job.Documents, rev int64) (Applied, error) {
	if n := doc.Len(); n != 1 {
		return Applied{}, job.Errorf(job.CodeInvalid, "found %d documents, want one", n)
	}
	done, err := m.applyDocuments(ctx, doc, ApplyOptions{}, rev)
	if err != nil {
		return Applied{}, inDocument(err)
	}
	return done[0], nil
}

// inDocument takes the place of the only document off the paths of an error.
func inDocument(err error) error {
	var e *job.Error
	if !errors.As(err, &e) {
		return err
	}
	one := *e
	one.Fields = slices.Clone(e.Fields)
	for i := range one.Fields {
		_, rest, _ := strings.Cut(one.Fields[i].Path, "]")
		one.Fields[i].Path = strings.TrimLeft(rest, ".: ")
	}
	return &one
}

// awaitPlaced waits until the leader has carried changes out, so that what is asked for next finds the tasks where
// they belong. Without a leader it gives up soon: what was written stands all the same.
func (m *Master) awaitPlaced(ctx context.Context, applied []Applied) {
	m.view.await(ctx, func() bool { // what was placed once is not looked at again: there may be very many
		for ; len(applied) > 0; applied = applied[1:] {
			if a := &applied[0]; a.Kind == "" && a.Change != Unchanged && !m.view.state.Placed(a.Task) {
				return false
			}
		}
		return true
	})
}

// putting is how many tasks are written at once: etcd syncs its log for all of them together.
const putting = 16

// putAll writes tasks, and tells of those that were written, in their order.
func (m *Master) putAll(ctx context.Context, tasks []whole, rev int64, dry bool) (done []Applied, err error) {
	all := make([]*Applied, len(tasks))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(putting)
	for i := range tasks {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			a, err := m.put(ctx, tasks[i], rev, dry)
			if err == nil {
				all[i] = &a
			}
			return err
		})
	}
	err = g.Wait()
	for _, a := range all {
		if a != nil {
			done = append(done, *a)
		}
	}
	return done, err
}

func (m *Master) put(ctx context.Context, t whole, rev int64, dry bool) (Applied, error) {
	var settled time.Time // as etcd says, where that is beyond what the entry was made of
	for {
		old, err := m.store().Tasks().Get(ctx, t.Group, t.Name)
		if err != nil && !job.IsNotFound(err) {
			return Applied{}, err
		}
		var now int64
		if old != nil {
			now = old.Revision
		}
		if err := revisionMatches("task "+t.Ref().String(), now, rev); err != nil {
			return Applied{}, err
		}
		entry := m.entry(t.Task, old, settled)
		entry.Written, entry.TemplateGenerations = t.written, t.generations
		a := m.applied(entry, old)
		if a.Change == Unchanged || dry {
			return a, nil
		}
		written, floor, err := m.write(ctx, entry, old)
		if job.IsConflict(err) {
			settled = floor
			continue
		}
		if err != nil {
			return Applied{}, err
		}
		m.view.await(ctx, func() bool {
			e := m.view.tasks[t.Ref()]
			return e != nil && e.Revision >= written
		})
		return a, nil
	}
}

// write writes an entry in the place of another. Where it is refused because instants are settled that its rule makes due, floor says up to which.
func (m *Master) write(ctx context.Context, entry, old *job.TaskEntry) (rev int64, floor time.Time, err error) {
	if entry.Task.Kind.Kind().Claimed() && (old == nil || !entry.Since.Equal(old.Since)) {
		return m.store().PutClaimed(ctx, entry)
	}
	rev, err = m.store().Tasks().Put(ctx, entry)
	return rev, time.Time{}, err
}

// revisionMatches tells, as a conflict, that what is there (of a revision; 0: nothing is) is not what is to be replaced.
func revisionMatches(what string, now, rev int64) error {
	switch {
	case rev < 0 || rev == now:
		return nil
	case rev == 0:
		return job.Errorf(job.CodeConflict, "%s exists already", what)
	case now == 0:
		return job.Errorf(job.CodeConflict, "%s was deleted meanwhile", what)
	}
	return job.Errorf(job.CodeConflict, "%s was changed meanwhile", what).WithHint("read it again, and edit that")
}

// entry is what is to be kept of a task in the place of what was. What is to be claimed counts from the present on, or from where its instants are
// settled, if the clock says that this is still to come.
func (m *Master) entry(t job.Task, old *job.TaskEntry, settled time.Time) (e *job.TaskEntry) {
	now := m.Now().UTC().Truncate(time.Millisecond)
	m.view.with(func() {
		if floor := m.view.state.Floor(t.Ref()); floor.After(settled) {
			settled = floor
		}
		if old != nil {
			resolved, rule, _ := m.view.state.Resolved(old) // what does not fit any more concerns what is still to come
			e = old.Edited(t, resolved, rule, settled, now)
			return
		}
		since := now
		if t.Kind.Kind().Claimed() && settled.After(now) { // of a task of this name that was deleted just now
			since = settled
		}
		e = &job.TaskEntry{Task: t, CreatedAt: since, UpdatedAt: since, Since: since, Generation: 1}
	})
	return e
}

// applied says what writing an entry in the place of another does.
func (m *Master) applied(e, old *job.TaskEntry) Applied {
	t := *e.Source()
	a := Applied{Task: e.Ref(), Change: Created, New: &t, NextAfter: m.firings(e, previewed), Nodes: []job.NodeID{}}
	if old != nil {
		was := *old.Source()
		a.Old, a.NextBefore, a.Change = &was, m.firings(old, previewed), Configured
		if was.Equal(&t) && old.Task.Equal(&e.Task) && maps.Equal(old.TemplateGenerations, e.TemplateGenerations) {
			a.Change = Unchanged
		}
	}
	m.view.with(func() { a.Nodes = append(a.Nodes, m.view.state.WouldPlace(e)...) })
	if len(a.Nodes) == 0 {
		a.Warnings = append(a.Warnings, "no node matches: it waits for one that does")
	}
	if r := t.Rule(); r.Valid() == nil && r.Schedule != nil {
		a.Warnings = append(a.Warnings, r.Schedule.Warnings(m.Now())...)
	}
	return a
}

// firings are the next instants of an entry; none while it is paused.
func (m *Master) firings(e *job.TaskEntry, n int) []time.Time {
	r := m.withCalendars(e.Task.Rule())
	if e.Paused || r.Mode != job.Cycle || r.Valid() != nil {
		return nil
	}
	from := m.Now()
	if e.Since.After(from) {
		from = e.Since
	}
	var list []time.Time
	for i := r.Next(from); !i.IsZero() && len(list) < n; i = r.Next(i) {
		list = append(list, i.In(r.Schedule.Location()))
	}
	return list
}

// Delete removes a task and its jobs. It returns when no node that is connected will fire it any more than a watch's
// delay from now.
func (m *Master) Delete(ctx context.Context, ref job.TaskRef, rev int64) error {
	if err := m.store().Tasks().Delete(ctx, rev, ref.Group, ref.Name); err != nil {
		return m.explained(ref, err)
	}
	if _, err := m.store().Do(ctx, store.DropTickets(ref)); err != nil {
		m.Logger.Debug("the mark of a deleted task's requests is left behind", "task", ref.String(), "error", err)
	}
	gone := func() bool { return m.view.tasks[ref] == nil }
	m.view.await(ctx, gone)
	var ops []store.Op
	m.view.with(func() {
		for _, id := range m.view.state.Bound(ref) {
			hash := job.JobHash(ref, id)
			// Not those of a task of the same name that is made at this moment.
			if j, ok := m.view.jobs[job.CreateJobKey(id, hash)]; ok && m.view.tasks[ref] == nil {
				ops = append(ops, store.DeleteJob(id, hash, j.rev))
			}
		}
	})
	if len(ops) > 0 {
		if _, err := m.store().Do(ctx, ops...); err != nil {
			// The task is deleted, and the leader removes what is left of it.
			m.Logger.Warn("the jobs of a deleted task are left to the leader", "task", ref.String(), "error", err)
		}
	}
	m.view.await(ctx, func() bool { return m.view.tasks[ref] != nil || len(m.view.state.Bound(ref)) == 0 })
	return nil
}

// Pause stops a task's timer, Resume starts it again. What was due in between is recorded as skipped. Doing it twice
// is doing it once.
func (m *Master) Pause(ctx context.Context, ref job.TaskRef, by string) (*job.TaskEntry, error) {
	return m.setPaused(ctx, ref, true, by)
}

// Resume is the opposite of Pause.
func (m *Master) Resume(ctx context.Context, ref job.TaskRef, by string) (*job.TaskEntry, error) {
	return m.setPaused(ctx, ref, false, by)
}

func (m *Master) setPaused(ctx context.Context, ref job.TaskRef, paused bool, by string) (*job.TaskEntry, error) {
	for {
		e, err := m.store().Tasks().Get(ctx, ref.Group, ref.Name)
		if err != nil {
			return nil, m.explained(ref, err)
		}
		if e.Paused == paused {
			return e, nil
		}
		now := m.Now().UTC().Truncate(time.Millisecond)
		if e.Paused = paused; paused {
			e.PausedAt = now
		} else {
			e.ResumedAt = now
		}
		e.UpdatedAt = now
		rev, err := m.store().Tasks().Put(ctx, e)
		if job.IsConflict(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m.Logger.Info("paused or resumed", "task", ref.String(), "paused", paused, "by", by)
		e.Revision = rev
		m.view.await(ctx, func() bool {
			v := m.view.tasks[ref]
			return v == nil || v.Revision >= rev && m.view.state.Placed(ref)
		})
		return e, nil
	}
}
