package apitest

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// named is one sort of documents in memory.
type named[T any] struct{ of map[string]*job.Entry[T] }

func (n *named[T]) apply(m *Master, sort, name string, doc T, dry bool) master.Applied {
	a := master.Applied{Kind: sort, Name: name, Change: master.Created}
	e := job.Entry[T]{Document: doc, CreatedAt: Now, UpdatedAt: Now, Generation: 1}
	if old := n.of[name]; old != nil {
		before, _ := json.Marshal(old.Document)
		after, _ := json.Marshal(doc)
		if a.Change = master.Configured; string(before) == string(after) {
			a.Change = master.Unchanged
		}
		e.Generation = old.Generation + 1
		a.OldDocument = before
	}
	if a.Change != master.Unchanged {
		a.NewDocument, _ = json.Marshal(doc)
	}
	if !dry && a.Change != master.Unchanged {
		m.rev++
		e.Revision = m.rev
		if n.of == nil {
			n.of = map[string]*job.Entry[T]{}
		}
		n.of[name] = &e
	}
	return a
}

func (n *named[T]) one(m *Master, sort, name string) (*job.Entry[T], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return nil, err
	}
	e := n.of[name]
	if e == nil {
		return nil, job.Errorf(job.CodeNotFound, "there is no %s %s", sort, name)
	}
	c := *e
	return &c, nil
}

func (n *named[T]) all(m *Master) ([]job.Entry[T], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []job.Entry[T]
	for _, name := range slices.Sorted(maps.Keys(n.of)) {
		out = append(out, *n.of[name])
	}
	return out, m.fail()
}

// remove deletes one, unless a task uses it.
func (n *named[T]) remove(m *Master, sort, name string, uses func(t *job.Task) bool) error {
	if _, err := n.one(m, sort, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ref := range slices.SortedFunc(maps.Keys(m.tasks), byRef) {
		if uses(&m.tasks[ref].Task) {
			return job.Errorf(job.CodeConflict, "%s %s is used by task %s", sort, name, ref)
		}
	}
	delete(n.of, name)
	return nil
}

// PutDocument writes one document by compare-and-swap.
func (m *Master) PutDocument(_ context.Context, doc job.Documents, rev int64) (master.Applied, error) {
	what := doc.What()
	if len(what) != 1 {
		return master.Applied{}, job.Errorf(job.CodeInvalid, "found %d documents, want one", len(what))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.swaps(what[0], rev); err != nil {
		return master.Applied{}, err
	}
	done, err := m.applyDocuments(doc, master.ApplyOptions{})
	if err != nil {
		return master.Applied{}, err
	}
	return done[0], nil
}

// swaps tells, as a conflict, that something else is there than what is to be replaced.
func (m *Master) swaps(what string, rev int64) error {
	sort, name, _ := strings.Cut(what, " ")
	var now int64
	switch sort {
	case "task":
		if ref, err := job.ParseRef(name); err == nil && m.tasks[ref] != nil {
			now = m.tasks[ref].Revision
		}
	case "template":
		now = m.templates.revision(name)
	case "receiver":
		now = m.receivers.revision(name)
	case "monitor":
		now = m.monitors.revision(name)
	case "group":
		now = m.groups.documents.revision(name)
	}
	return swaps(what, now, rev)
}

func swaps(what string, now, rev int64) error {
	if rev >= 0 && now != rev {
		return job.Errorf(job.CodeConflict, "%s has changed since it was read", what)
	}
	return nil
}

func (n *named[T]) revision(name string) int64 {
	if e := n.of[name]; e != nil {
		return e.Revision
	}
	return 0
}

// Templates lists templates.
func (m *Master) Templates(context.Context) ([]job.Entry[job.Template], error) {
	return m.templates.all(m)
}

// Template reads one.
func (m *Master) Template(_ context.Context, name string) (*job.Entry[job.Template], error) {
	return m.templates.one(m, "template", name)
}

// DeleteTemplate deletes one that no task names.
func (m *Master) DeleteTemplate(_ context.Context, name string) error {
	return m.templates.remove(m, "template", name, func(t *job.Task) bool { return slices.Contains(t.Templates, name) })
}
