package store

import (
	"reflect"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// counted is a kind that counts how often a dispatch is read whole.
func counted() (*kind[job.Dispatch], *int) {
	k, n := *dispatchKind, 0
	k.decode = func(data []byte, parts []string) (*job.Dispatch, error) {
		n++
		return dispatchKind.decode(data, parts)
	}
	return &k, &n
}

func document(t *testing.T, d *job.Dispatch, mod int64) *keyValue {
	t.Helper()
	_, data, err := dispatchKind.marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return &keyValue{key: "dispatch/n1/r1", value: data, create: 1, mod: mod}
}

// What several watches hear of is read once; the mark of a start is added to what was read before. What comes of it is what whoever
// reads it anew gets, and what was told before stays as it was told.
func TestReadingsAreWhatStands(t *testing.T) {
	t.Parallel()
	k, whole := counted()
	r := &readings[job.Dispatch]{k: k, last: map[string]reading[job.Dispatch]{}}
	read := func(kv *keyValue) *job.Dispatch {
		t.Helper()
		get := func() (*job.Dispatch, error) { return k.unmarshal(kv.key, kv) }
		got, err := r.value(kv.key, kv, get)
		if err != nil {
			t.Fatal(err)
		}
		now := *whole
		want, err := get()
		if *whole = now; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("at %d it is told as %+v, and is %+v (%v)", kv.mod, got, want, err)
		}
		return got
	}
	asked := job.Dispatch{Run: "r1", Node: "n1", Job: &job.Job{Name: "a", Group: "g", NodeID: "n1", Command: "true"}, Trigger: job.TriggerRun, RequestedAt: time.Unix(7, 8).UTC()}
	started := asked
	started.Started = &job.Started{Session: "s1", At: time.Unix(9, 10).UTC()}
	again := asked
	again.Started = &job.Started{Session: "s2", At: time.Unix(11, 12).UTC()}
	other := started
	other.Cause = "somebody"

	first := read(document(t, &asked, 5))
	if read(document(t, &asked, 5)) != first || *whole != 1 {
		t.Errorf("the second watch reads it again: %d times", *whole)
	}
	kept := *first
	mark := read(document(t, &started, 6))
	if *whole != 1 || read(document(t, &started, 6)) != mark {
		t.Errorf("a mark has it read again: %d times", *whole)
	}
	if !reflect.DeepEqual(*first, kept) {
		t.Errorf("what was told has changed: %+v", first)
	}
	for i, kv := range []*keyValue{
		document(t, &asked, 5),   // a watch that is behind
		document(t, &again, 7),   // grown from that
		document(t, &started, 8), // another mark in the place of the first
		document(t, &other, 9),
		document(t, &other, 10), // written again
		{key: "dispatch/n1/r1", value: append(document(t, &asked, 0).value, ' '), mod: 11},
		document(t, &started, 12),
	} {
		before := *whole
		read(kv)
		if read := *whole - before; read != 1 && i != 1 || i == 1 && read != 0 {
			t.Errorf("document %d is read whole %d times", i, read)
		}
	}
	for _, more := range []string{`,"started":{},"cause":"x"}`, `,"cause":"x"}`, `,"started":null}`, `,"revision":4}`} {
		data := document(t, &asked, 0).value
		read(document(t, &asked, 20))
		before := *whole
		if read(&keyValue{key: "dispatch/n1/r1", value: append(data[:len(data)-1:len(data)-1], more...), mod: 21}); *whole == before {
			t.Errorf("%s is taken for a mark", more)
		}
	}
	if r.forget("dispatch/n1/r1"); len(r.last) != 0 {
		t.Error("what is gone is kept")
	}
	bad := &keyValue{key: "dispatch/n1/r1", value: []byte("{}"), mod: 30}
	for range 2 {
		if _, err := r.value(bad.key, bad, func() (*job.Dispatch, error) { return k.unmarshal(bad.key, bad) }); err == nil {
			t.Error("what can't be read is told")
		}
	}
}
