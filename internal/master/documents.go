package master

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// documents is one sort of what people write under a name of its own: templates, for one.
type documents[T any] struct {
	m    *Master
	sort string // such as template
	c    *store.Collection[job.Entry[T]]
	name func(*T) string
	// list gives the entries that the view knows. It is called with the view's lock held.
	list func() map[string]*job.Entry[T]
	// users lists who uses a document, as a person would name them: then it can't be deleted.
	users func(ctx context.Context, name string) ([]string, error)
}

// All lists the documents by name.
func (d *documents[T]) All() []job.Entry[T] {
	var all []job.Entry[T]
	d.m.view.with(func() {
		for _, e := range d.list() {
			all = append(all, *e)
		}
	})
	slices.SortFunc(all, func(a, b job.Entry[T]) int { return cmp.Compare(d.name(&a.Document), d.name(&b.Document)) })
	return all
}

// One reads a document from the store: one that was written through another master is found too.
func (d *documents[T]) One(ctx context.Context, name string) (*job.Entry[T], error) {
	if err := job.CheckName(d.sort, name); err != nil {
		return nil, err
	}
	e, err := d.c.Get(ctx, name)
	if job.IsNotFound(err) {
		return nil, d.missing(name)
	}
	return e, err
}

func (d *documents[T]) missing(name string) *job.Error {
	var names []string
	d.m.view.with(func() {
		for n := range d.list() {
			names = append(names, n)
		}
	})
	return job.Errorf(job.CodeNotFound, "there is no %s %s", d.sort, name).WithHint("%s", nearHint(name, names, "rota get "+d.sort+"s"))
}

// put writes a document in the place of the version of a revision, or says what that would do; 0: there must be none, negative:
// whatever is there. A document that says the same as before is left as it is.
func (d *documents[T]) put(ctx context.Context, doc T, at int64, dry bool) (Applied, *job.Entry[T], error) {
	name := d.name(&doc)
	for {
		old, err := d.c.Get(ctx, name)
		if err != nil && !job.IsNotFound(err) {
			return Applied{}, nil, err
		}
		var now int64
		if old != nil {
			now = old.Revision
		}
		if err := revisionMatches(d.sort+" "+name, now, at); err != nil {
			return Applied{}, nil, err
		}
		when := d.m.Now().UTC().Truncate(time.Millisecond)
		e, a := &job.Entry[T]{Document: doc, CreatedAt: when, UpdatedAt: when, Generation: 1}, Applied{Kind: d.sort, Name: name, Change: Created}
		if old != nil {
			if a.Change = Configured; same(&old.Document, &doc) {
				a.Change = Unchanged
				return a, old, nil
			}
			a.OldDocument = asJSON(&old.Document)
			e.CreatedAt, e.Generation, e.Revision = old.CreatedAt, old.Generation+1, old.Revision
		}
		a.NewDocument = asJSON(&doc)
		if dry {
			return a, e, nil
		}
		rev, err := d.c.Put(ctx, e)
		if job.IsConflict(err) {
			continue
		}
		if err != nil {
			return Applied{}, nil, err
		}
		e.Revision = rev
		d.m.view.await(ctx, func() bool {
			known := d.list()[name]
			return known != nil && known.Revision >= rev
		})
		return a, e, nil
	}
}

func same[T any](a, b *T) bool {
	x, y := asJSON(a), asJSON(b)
	return x != nil && bytes.Equal(x, y)
}

// asJSON is a document as JSON; nil: it can't be written so.
func asJSON[T any](doc *T) json.RawMessage {
	b, err := json.Marshal(doc)
	if err != nil {
		return nil
	}
	return b
}

// Delete removes a document that nobody uses.
func (d *documents[T]) Delete(ctx context.Context, name string) error {
	if err := job.CheckName(d.sort, name); err != nil {
		return err
	}
	users, err := d.users(ctx, name)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return job.Errorf(job.CodeConflict, "%s %s is used by %s", d.sort, name, someOf(users)).WithHint("take it out of them first")
	}
	if err := d.c.Delete(ctx, 0, name); err != nil {
		if job.IsNotFound(err) {
			return d.missing(name)
		}
		return err
	}
	d.m.view.await(ctx, func() bool { return d.list()[name] == nil })
	return nil
}

// kept keeps a sort of documents in the view.
func kept[T any](into map[string]*job.Entry[T], changed func(name string)) func([]string, *job.Entry[T], store.Event[job.Entry[T]]) {
	return func(parts []string, e *job.Entry[T], _ store.Event[job.Entry[T]]) {
		if e == nil {
			delete(into, parts[0])
		} else {
			into[parts[0]] = e
		}
		changed(parts[0])
	}
}
