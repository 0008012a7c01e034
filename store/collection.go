package store

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/rota-dev/rota/job"
)

// Collection is all values of one sort. Keys and prefixes are given as the parts that the value's key has after its
// root, such as ("default", "backup") for a task.
type Collection[T any] struct {
	s *Store
	k *kind[T]
}

// How many keys are read at once. etcd looks at all keys of a range to count them, however few are asked for; so each page of what is not bulky
// is twice as long as the one before, up to the largest.
const (
	pageSize        = 1000
	largestPageSize = 8 * pageSize
	bulkyPageSize   = 64
)

// Get reads one value. It is [job.CodeNotFound] where there is none.
func (c *Collection[T]) Get(ctx context.Context, key ...string) (*T, error) {
	rel, err := c.k.key(key...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	r, err := c.s.kv.Range(ctx, request{key: c.s.full(rel)})
	if err != nil {
		return nil, coded(err, "read %s", rel)
	}
	if len(r.kvs) == 0 {
		return nil, c.notFound(key)
	}
	return c.k.unmarshal(rel, &r.kvs[0])
}

func (c *Collection[T]) notFound(key []string) error {
	return job.Errorf(job.CodeNotFound, "there is no %s %s", c.k.sort, strings.Join(key, "/"))
}

// List reads all values below a prefix, at one revision. A document that cannot be read is left
// alone, logged, and not in the list.
func (c *Collection[T]) List(ctx context.Context, prefix ...string) (items []*T, rev int64, err error) {
	entries, rev, err := c.gather(ctx, 0, prefix)
	if err != nil {
		return nil, 0, err
	}
	items = make([]*T, 0, len(entries))
	for i := range entries {
		if entries[i].Err == nil {
			items = append(items, entries[i].Value)
		}
	}
	return items, rev, nil
}

// gather reads the first n entries, or all when n is 0, at one revision.
func (c *Collection[T]) gather(ctx context.Context, n int, prefix []string) (entries []Entry[T], rev int64, err error) {
	size, grows := c.page(), !c.k.bulky
	if n > 0 {
		size, grows = min(size, int64(n)), false
	}
	for try := 0; ; try++ {
		entries, err = nil, nil
		for p, e := range c.pages(ctx, size, grows, prefix...) {
			if err = e; err != nil {
				break
			}
			entries, rev = append(entries, p.entries...), p.rev
			if n > 0 && len(entries) >= n {
				return entries[:n], rev, nil
			}
		}
		if err == nil {
			return entries, rev, nil
		}
		if try == 2 || !errors.Is(err, errCompacted) { // else there was a compaction between two pages
			return nil, 0, err
		}
	}
}

// Entry is one key of a collection as it was read. Value is nil and Err is set where the document cannot be read.
type Entry[T any] struct {
	Key      string // below the store's prefix
	Value    *T
	Revision int64 // of its last write
	Err      error
}

// Pages reads all entries below a prefix, at one revision, size of them at a time, in the order of their keys. It
// ends after the first error.
func (c *Collection[T]) Pages(ctx context.Context, size int, prefix ...string) iter.Seq2[[]Entry[T], error] {
	return func(yield func([]Entry[T], error) bool) {
		for p, err := range c.pages(ctx, int64(size), false, prefix...) {
			if !yield(p.entries, err) {
				return
			}
		}
	}
}

// First reads the first n entries below a prefix, in the order of their keys.
func (c *Collection[T]) First(ctx context.Context, n int, prefix ...string) ([]Entry[T], error) {
	if n <= 0 {
		return nil, nil
	}
	entries, _, err := c.gather(ctx, n, prefix)
	return entries, err
}

func (c *Collection[T]) page() int64 {
	if c.k.bulky {
		return bulkyPageSize
	}
	return pageSize
}

type page[T any] struct {
	entries []Entry[T]
	rev     int64 // at which all pages are read
}

func (c *Collection[T]) pages(ctx context.Context, size int64, grows bool, prefix ...string) iter.Seq2[page[T], error] {
	return func(yield func(page[T], error) bool) {
		key, end, err := c.k.span(prefix...)
		if err != nil {
			yield(page[T]{}, err)
			return
		}
		key, end = c.s.full(key), c.s.full(end)
		for rev := int64(0); ; {
			once, cancel := context.WithTimeout(ctx, attemptTimeout)
			r, err := c.s.kv.Range(once, request{key: key, end: end, limit: max(size, 1), rev: rev})
			cancel()
			if err != nil {
				yield(page[T]{}, coded(err, "list %s", c.k.root))
				return
			}
			if rev == 0 {
				rev = r.rev
			}
			p := page[T]{entries: make([]Entry[T], len(r.kvs)), rev: rev}
			for i := range r.kvs {
				p.entries[i] = c.entry(&r.kvs[i])
			}
			if !yield(p, nil) || !r.more || len(r.kvs) == 0 {
				return
			}
			key = r.kvs[len(r.kvs)-1].key + "\x00"
			if grows {
				size = min(2*size, largestPageSize)
			}
		}
	}
}

func (c *Collection[T]) entry(kv *keyValue) Entry[T] { return c.entryBy(nil, kv) }

// entryBy is entry for who shares what is read with others, who must not change it either; nil: with nobody.
func (c *Collection[T]) entryBy(r *readings[T], kv *keyValue) Entry[T] {
	e := Entry[T]{Key: strings.TrimPrefix(kv.key, c.s.prefix), Revision: kv.mod}
	e.Value, e.Err = r.value(e.Key, kv, func() (*T, error) { return c.k.unmarshal(e.Key, kv) })
	if e.Err != nil {
		c.s.unreadable(e.Key, kv.mod, e.Err)
	}
	return e
}

// Count counts the keys below a prefix, readable or not.
func (c *Collection[T]) Count(ctx context.Context, prefix ...string) (int64, error) {
	key, end, err := c.k.span(prefix...)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	r, err := c.s.kv.Range(ctx, request{key: c.s.full(key), end: c.s.full(end), countOnly: true})
	if err != nil {
		return 0, coded(err, "count %s", c.k.root)
	}
	return r.count, nil
}

// Put writes a value in the place of the version that was read: the one of its Revision, 0 (or a sort without
// revisions) meaning that there must be none. It returns the new revision and leaves v as it is. It is
// [job.CodeConflict] where something else is there, and [job.CodeInvalid] where v would not be read back.
func (c *Collection[T]) Put(ctx context.Context, v *T) (rev int64, err error) {
	return c.putWhere(ctx, v)
}

// errBesides refuses a write for what must hold besides that its version is the one that was read.
var errBesides = errors.New("what must hold besides does not")

// putWhere is Put where something holds besides, else errBesides.
func (c *Collection[T]) putWhere(ctx context.Context, v *T, besides ...compare) (rev int64, err error) {
	key, data, err := c.k.marshal(v)
	if err != nil {
		return 0, err
	}
	if _, err := c.k.unmarshal(key, &keyValue{value: data}); err != nil {
		return 0, err
	}
	var read int64
	if c.k.revision != nil {
		read = *c.k.revision(v)
	}
	full := c.s.full(key)
	r, err := c.edit(ctx, &txn{
		when:      append([]compare{atRevision(full, read)}, besides...),
		then:      []request{{action: put, key: full, value: data}},
		otherwise: []request{{key: full}},
	}, func(now *keyValue) bool { return now != nil && bytes.Equal(now.value, data) })
	if err != nil {
		return 0, coded(err, "write %s", key)
	}
	if !r.done && (r.now == nil && read == 0 || r.now != nil && r.now.mod == read) {
		return 0, errBesides
	}
	if r.now == nil && !r.done {
		return 0, job.Errorf(job.CodeConflict, "%s %s is gone since it was read", c.k.sort, c.name(v)).
			WithHint("read it again, then repeat the change")
	}
	if !r.done && read == 0 {
		return 0, job.Errorf(job.CodeConflict, "%s %s exists already", c.k.sort, c.name(v))
	}
	if !r.done {
		return 0, job.Errorf(job.CodeConflict, "%s %s has changed since it was read: revision %d is now %d", c.k.sort, c.name(v), read, r.now.mod).
			WithHint("read it again, then repeat the change")
	}
	return r.rev, nil
}

func (c *Collection[T]) name(v *T) string { return strings.Join(c.k.parts(v), "/") }

// Delete removes exactly one value, of the revision that was read, or whatever is there when rev is 0. It is
// [job.CodeNotFound] or [job.CodeConflict] where that is not there.
func (c *Collection[T]) Delete(ctx context.Context, rev int64, key ...string) error {
	rel, err := c.k.key(key...)
	if err != nil {
		return err
	}
	full := c.s.full(rel)
	cond := compare{key: full, target: byMod, op: '>'}
	if rev != 0 {
		cond = atRevision(full, rev)
	}
	r, err := c.edit(ctx, &txn{
		when:      []compare{cond},
		then:      []request{{action: del, key: full}},
		otherwise: []request{{key: full}},
	}, func(now *keyValue) bool { return now == nil })
	switch {
	case err != nil:
		return coded(err, "delete %s", rel)
	case r.done:
		return nil
	case r.now == nil:
		return c.notFound(key)
	}
	return job.Errorf(job.CodeConflict, "%s %s has changed since it was read: revision %d is now %d",
		c.k.sort, strings.Join(key, "/"), rev, r.now.mod).WithHint("read it again, then repeat the change")
}

// edited is what came of an edit: done at a revision, or refused because of what is there now (nil: nothing).
type edited struct {
	done bool
	rev  int64
	now  *keyValue
}

// edit runs a transaction whose otherwise reads the key. Where an answer was lost and the key then
// stands as the edit wanted it, the edit has happened.
func (c *Collection[T]) edit(ctx context.Context, t *txn, wanted func(now *keyValue) bool) (e edited, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	unsure := false
	err = c.s.attempt(ctx, func(ctx context.Context) error {
		r, err := c.s.kv.Txn(ctx, t)
		if err != nil {
			unsure = unsure || !definite(err)
			return err
		}
		e = edited{done: r.ok, rev: r.rev}
		if r.ok {
			return nil
		}
		if kvs := r.results[0].kvs; len(kvs) > 0 {
			e.now = &kvs[0]
		}
		if unsure && wanted(e.now) {
			e.done = true
			if e.now != nil {
				e.rev = e.now.mod
			}
		}
		return nil
	})
	return e, err
}
