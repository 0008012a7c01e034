package master

import (
	"context"
	"maps"
	"slices"

	"github.com/rota-dev/rota/job"
)

// What is kept of a task is whole: what it says and what its templates say. Whoever writes a template writes the tasks that name it
// anew; where that is cut off, the leader goes on with it (renew).

// Templates lists the templates that tasks share.
func (m *Master) Templates(context.Context) ([]job.Entry[job.Template], error) {
	return m.templates().All(), nil
}

// Template reads one.
func (m *Master) Template(ctx context.Context, name string) (*job.Entry[job.Template], error) {
	return m.templates().One(ctx, name)
}

// DeleteTemplate removes one that no task names.
func (m *Master) DeleteTemplate(ctx context.Context, name string) error {
	return m.templates().Delete(ctx, name)
}

func (m *Master) templates() *documents[job.Template] {
	return &documents[job.Template]{
		m: m, sort: "template", c: m.store().Templates(), name: (*job.Template).DocumentName,
		list: func() map[string]*job.Entry[job.Template] { return m.view.templates },
		users: func(ctx context.Context, name string) ([]string, error) {
			entries, _, err := m.store().Tasks().List(ctx)
			var users []string
			for _, e := range entries {
				if slices.Contains(e.Source().Templates, name) {
					users = append(users, "task "+e.Ref().String())
				}
			}
			return users, err
		},
	}
}

// whole is a task as its templates make it.
type whole struct {
	job.Task
	written     *job.Task        // what the person wrote, where that is something else
	generations map[string]int64 // of its templates
}

// resolve makes a task whole. Templates that are applied with it count before those that are kept.
func (m *Master) resolve(ctx context.Context, t job.Task, with []job.Template) (whole, error) {
	t.Complete()
	if len(t.Templates) == 0 && len(t.Args) == 0 {
		return whole{Task: t}, nil
	}
	generations := map[string]int64{}
	var failed error
	task, err := t.Resolve(func(name string) (*job.Template, bool) {
		e, err := m.store().Templates().Get(ctx, name)
		switch {
		case err == nil:
			generations[name] = e.Generation
		case !job.IsNotFound(err):
			failed = err
		}
		if i := slices.IndexFunc(with, func(w job.Template) bool { return w.Name == name }); i >= 0 {
			if err != nil || !same(&with[i], &e.Document) {
				generations[name]++
			}
			return &with[i], true
		}
		if err != nil {
			return nil, false
		}
		return &e.Document, true
	})
	if failed != nil {
		return whole{}, failed
	}
	return whole{Task: task, written: &t, generations: generations}, err
}

// applyTemplates writes templates, and the tasks that name them and are not written anyway.
func (m *Master) applyTemplates(ctx context.Context, list []job.Template, rev int64, dry bool, but func(job.TaskRef) bool) (done []Applied, err error) {
	for _, t := range list {
		a, _, err := m.templates().put(ctx, t, rev, dry)
		if err != nil {
			return done, err
		}
		done = append(done, a)
	}
	if dry || len(list) == 0 {
		return done, nil
	}
	entries, _, err := m.store().Tasks().List(ctx)
	if err != nil {
		return done, err
	}
	for _, e := range entries {
		uses := slices.ContainsFunc(list, func(t job.Template) bool { return slices.Contains(e.Source().Templates, t.Name) })
		if !uses || but(e.Ref()) {
			continue
		}
		if err := m.renewOne(ctx, e); err != nil && !job.IsConflict(err) {
			return done, err
		}
	}
	return done, nil
}

// renewOne writes a task as its templates make it now. A task that was edited meanwhile is a conflict, and none of this business.
func (m *Master) renewOne(ctx context.Context, e *job.TaskEntry) error {
	w, err := m.resolve(ctx, *e.Source(), nil)
	if err != nil {
		return err
	}
	if err := w.Valid(); err != nil {
		return err
	}
	_, err = m.put(ctx, w, e.Revision, false)
	return err
}

// stale lists the tasks of which a template has changed since.
func (v *view) stale(name string) {
	e := v.templates[name]
	if e == nil {
		return
	}
	for ref := range v.using[name] {
		if t := v.tasks[ref]; t != nil && t.TemplateGenerations[name] < e.Generation {
			v.lag[ref] = struct{}{}
		}
	}
}

// uses keeps which tasks name which templates. old and e may be nil.
func (v *view) uses(ref job.TaskRef, old, e *job.TaskEntry) {
	if old != nil {
		for name := range old.TemplateGenerations {
			if delete(v.using[name], ref); len(v.using[name]) == 0 {
				delete(v.using, name)
			}
		}
	}
	delete(v.lag, ref)
	if e == nil {
		return
	}
	for name, generation := range e.TemplateGenerations {
		if v.using[name] == nil {
			v.using[name] = map[job.TaskRef]struct{}{}
		}
		v.using[name][ref] = struct{}{}
		if t := v.templates[name]; t != nil && generation < t.Generation {
			v.lag[ref] = struct{}{}
		}
	}
}

// renew writes the tasks that lag behind their templates. One that can't be renewed is told of, and left as it is until it or a template changes.
func (m *Master) renew(ctx context.Context) {
	var lag []*job.TaskEntry
	m.view.with(func() {
		for ref := range maps.Clone(m.view.lag) {
			if e := m.view.tasks[ref]; e != nil {
				lag = append(lag, e)
			}
			delete(m.view.lag, ref)
		}
	})
	for _, e := range lag {
		err := m.renewOne(ctx, e)
		switch {
		case err == nil, job.IsConflict(err), ctx.Err() != nil:
		case job.CodeOf(err) == job.CodeUnavailable:
			m.view.with(func() { m.view.lag[e.Ref()] = struct{}{} })
		default:
			m.Logger.Error("a task can't follow its template, and stays as it is", "task", e.Ref().String(), "error", err)
		}
	}
}
