package apitest

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

func (m *Master) applyTemplate(t job.Template, dry bool) master.Applied {
	a := master.Applied{Kind: "template", Name: t.Name, Change: master.Created}
	e := job.Entry[job.Template]{Document: t, CreatedAt: Now, UpdatedAt: Now, Generation: 1}
	if old := m.templates[t.Name]; old != nil {
		before, _ := json.Marshal(old.Document)
		after, _ := json.Marshal(t)
		if a.Change = master.Configured; string(before) == string(after) {
			a.Change = master.Unchanged
		}
		e.Generation = old.Generation + 1
	}
	if !dry && a.Change != master.Unchanged {
		m.rev++
		e.Revision = m.rev
		m.templates[t.Name] = &e
	}
	return a
}

// Templates lists templates.
func (m *Master) Templates(context.Context) ([]job.Entry[job.Template], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []job.Entry[job.Template]
	for _, name := range slices.Sorted(maps.Keys(m.templates)) {
		out = append(out, *m.templates[name])
	}
	return out, m.fail()
}

// Template reads one.
func (m *Master) Template(_ context.Context, name string) (*job.Entry[job.Template], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return nil, err
	}
	e := m.templates[name]
	if e == nil {
		return nil, job.Errorf(job.CodeNotFound, "there is no template %s", name)
	}
	c := *e
	return &c, nil
}

// DeleteTemplate deletes one that no task names.
func (m *Master) DeleteTemplate(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return err
	}
	for _, ref := range slices.SortedFunc(maps.Keys(m.tasks), byRef) {
		if slices.Contains(m.tasks[ref].Task.Templates, name) {
			return job.Errorf(job.CodeConflict, "template %s is used by task %s", name, ref)
		}
	}
	if m.templates[name] == nil {
		return job.Errorf(job.CodeNotFound, "there is no template %s", name)
	}
	delete(m.templates, name)
	return nil
}
