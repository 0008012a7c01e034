package store

import (
	"cmp"
	"iter"
	"slices"
)

// index is all keys of a [Memory] in their order, in chunks of bounded length, so that a key among millions is found
// and made quickly.
type index struct{ chunks [][]*item }

const maxChunk = 512

// item is a key with its versions since the last compaction, the newest last. A deletion is a version too.
type item struct {
	key      string
	versions []change
}

// live is the newest version, or nil where the key is deleted.
func (it *item) live() *keyValue {
	if n := len(it.versions); n > 0 && !it.versions[n-1].deleted {
		return &it.versions[n-1].kv
	}
	return nil
}

// asOf is the version that stood at a revision, or nil.
func (it *item) asOf(rev int64) *keyValue {
	for i := len(it.versions) - 1; i >= 0; i-- {
		if v := &it.versions[i]; v.kv.mod <= rev {
			if v.deleted {
				return nil
			}
			return &v.kv
		}
	}
	return nil
}

// seek is the place of the first item that is not before key.
func (x *index) seek(key string) (chunk, pos int) {
	chunk, found := slices.BinarySearchFunc(x.chunks, key, func(c []*item, key string) int { return cmp.Compare(c[0].key, key) })
	if found {
		return chunk, 0
	}
	if chunk == 0 {
		return 0, 0
	}
	chunk--
	pos, _ = slices.BinarySearchFunc(x.chunks[chunk], key, func(it *item, key string) int { return cmp.Compare(it.key, key) })
	if pos == len(x.chunks[chunk]) {
		return chunk + 1, 0
	}
	return chunk, pos
}

// ascend yields the items in [key, end), or key alone when end is empty.
func (x *index) ascend(key, end string) iter.Seq[*item] {
	return func(yield func(*item) bool) {
		for c, p := x.seek(key); c < len(x.chunks); c, p = c+1, 0 {
			for _, it := range x.chunks[c][p:] {
				if end == "" && it.key != key || end != "" && it.key >= end || !yield(it) {
					return
				}
			}
		}
	}
}

func (x *index) between(key, end string) []*item { return slices.Collect(x.ascend(key, end)) }

// find is the item of a key, or nil.
func (x *index) find(key string) *item {
	c, p := x.seek(key)
	if c < len(x.chunks) && x.chunks[c][p].key == key {
		return x.chunks[c][p]
	}
	return nil
}

// at is the item of a key, made where it is new.
func (x *index) at(key string) *item {
	c, p := x.seek(key)
	if c < len(x.chunks) && x.chunks[c][p].key == key {
		return x.chunks[c][p]
	}
	it := &item{key: key}
	switch {
	case len(x.chunks) == 0:
		x.chunks = [][]*item{{it}}
		return it
	case p == 0 && c > 0: // behind the end of the chunk before
		c, p = c-1, len(x.chunks[c-1])
	}
	chunk := slices.Insert(x.chunks[c], p, it)
	x.chunks[c] = chunk
	if len(chunk) > maxChunk {
		half := len(chunk) / 2
		x.chunks[c] = slices.Clip(chunk[:half])
		x.chunks = slices.Insert(x.chunks, c+1, slices.Clone(chunk[half:]))
	}
	return it
}

// trim forgets the versions of a key that a compaction makes unreadable, and the key where none is left.
func (x *index) trim(key string, rev int64) {
	it := x.find(key)
	if it == nil {
		return
	}
	keep := 0
	for i := range it.versions {
		if it.versions[i].kv.mod <= rev {
			keep = i
			if it.versions[i].deleted {
				keep = i + 1
			}
		}
	}
	it.versions = slices.Clone(it.versions[keep:])
	if len(it.versions) > 0 {
		return
	}
	c, p := x.seek(key)
	if x.chunks[c] = slices.Delete(x.chunks[c], p, p+1); len(x.chunks[c]) == 0 {
		x.chunks = slices.Delete(x.chunks, c, c+1)
	}
}
