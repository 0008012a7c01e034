package store

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/rota-dev/rota/job"
)

// readings are the documents of one sort that this process has read last. Each change of a document is told to several watches, of the
// master and of the node in one process: it is read once, and of a document that has only grown since, what it has grown by.
type readings[T any] struct {
	k *kind[T]

	mu   sync.Mutex
	last map[string]reading[T] // by key below the prefix
}

type reading[T any] struct {
	data []byte
	mod  int64
	v    *T // shared by all that were told of it
}

// maxReadings bounds what is kept of documents that nobody hears of any more.
const maxReadings = 4096

// readings are those of a kind that has them; nil: it has none.
func readingsOf[T any](s *Store, k *kind[T]) *readings[T] {
	if k.grow == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.readings[k.root].(*readings[T])
	if !ok {
		r = &readings[T]{k: k, last: map[string]reading[T]{}}
		s.readings[k.root] = r
	}
	return r
}

// value is what stands under a key: as it was read before if it is the same, else by read.
func (r *readings[T]) value(key string, kv *keyValue, read func() (*T, error)) (*T, error) {
	if r == nil {
		return read()
	}
	r.mu.Lock() // also while it is read: who waits for it would read the same
	defer r.mu.Unlock()
	was := r.last[key]
	if was.v != nil && was.mod == kv.mod && bytes.Equal(was.data, kv.value) {
		return was.v, nil
	}
	v, ok := r.grown(was, kv)
	if !ok {
		var err error
		if v, err = read(); err != nil {
			return nil, err
		}
	}
	if len(r.last) >= maxReadings {
		clear(r.last)
	}
	r.last[key] = reading[T]{data: kv.value, mod: kv.mod, v: v}
	return v, nil
}

// grown is a document that is the one before, with more fields behind the others.
func (r *readings[T]) grown(was reading[T], kv *keyValue) (*T, bool) {
	n := len(was.data) - 1 // without its closing brace
	if was.v == nil || n < 1 || len(kv.value) <= n || !bytes.Equal(kv.value[:n], was.data[:n]) || kv.value[n] != ',' {
		return nil, false
	}
	v, ok := r.k.grow(was.v, append([]byte{'{'}, kv.value[n+1:]...))
	if ok {
		r.k.stamp(v, kv)
	}
	return v, ok
}

// forget drops a document that is gone.
func (r *readings[T]) forget(key string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, key)
}

// growDispatch adds the mark of the start, which is the last field that a dispatch gets.
func growDispatch(d *job.Dispatch, more []byte) (*job.Dispatch, bool) {
	var mark struct {
		Started *job.Started `json:"started"`
	}
	dec := json.NewDecoder(bytes.NewReader(more))
	dec.DisallowUnknownFields()
	if dec.Decode(&mark) != nil || mark.Started == nil {
		return nil, false
	}
	v := *d
	v.Started = mark.Started
	return &v, true
}
