package job

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := map[int]bool{}
		var b Bits
		for _, n := range rapid.SliceOf(rapid.IntRange(0, 200)).Draw(t, "numbers") {
			b.Add(n)
			in[n] = true
		}
		for n := range 220 {
			if b.Has(n) != in[n] {
				t.Fatalf("%d", n)
			}
		}
	})
}

func TestBackfill(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	newOne := func(change ...func(*Backfill)) *Backfill {
		b := &Backfill{
			ID: BackfillID(Ref("", "a"), "k"), Group: "default", Name: "a", From: day, To: day.Add(3 * time.Hour), Parallel: 1, Key: "k",
			Rule: &Rule{Mode: Cycle, Timer: "0 * * * *"}, Count: 3, Lanes: []Lane{{Node: "n1", Next: 2, Settled: Bits{1}}},
		}
		for _, c := range change {
			c(b)
		}
		return b
	}
	b := newOne()
	if err := b.Valid(); err != nil {
		t.Fatal(err)
	}
	// The beginning of the range is part of it, its end is not.
	if list := b.Instants(); len(list) != 3 || !list[0].Equal(day) || !list[2].Equal(day.Add(2*time.Hour)) {
		t.Errorf("instants %v", list)
	}
	if n := b.Lanes[0].Running(); n != 1 {
		t.Errorf("%d run", n)
	}
	// The name of a run is made of task, node, instant and key, and of nothing else.
	run := b.Run("n1", day)
	for what, other := range map[string]RunID{
		"node": b.Run("n2", day), "instant": b.Run("n1", day.Add(time.Hour)), "no node": b.Run("", day),
		"key":  newOne(func(b *Backfill) { b.Key = "k2" }).Run("n1", day),
		"task": newOne(func(b *Backfill) { b.Name = "b" }).Run("n1", day),
	} {
		if other == run {
			t.Errorf("with another %s it is the same run", what)
		}
	}
	if same := newOne(func(b *Backfill) { b.To, b.Parallel, b.By = day.Add(time.Hour), 7, "ann" }).Run("n1", day); same != run {
		t.Error("another range or parallelism makes it another run")
	}
	c := b.Clone()
	c.Lanes[0].Settled.Add(1)
	c.Lanes[0].Next = 3
	if b.Lanes[0].Settled.Has(1) || b.Lanes[0].Next != 2 {
		t.Error("the copy shares its lanes")
	}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var read Backfill
	if err := json.Unmarshal(text, &read); err != nil || read.Valid() != nil || !read.Lanes[0].Settled.Has(0) || len(read.Instants()) != 3 {
		t.Errorf("%s reads as %+v: %v", text, read, err)
	}
	for what, change := range map[string]func(*Backfill){
		"a bad id":         func(b *Backfill) { b.ID = "../x" },
		"no range":         func(b *Backfill) { b.To = b.From },
		"too much at once": func(b *Backfill) { b.Parallel = MaxBackfillParallel + 1 },
		"nothing at once":  func(b *Backfill) { b.Parallel = 0 },
		"no timer":         func(b *Backfill) { b.Rule = &Rule{Mode: ManyOnce} },
		"a bad timer":      func(b *Backfill) { b.Rule = &Rule{Mode: Cycle, Timer: "61 * * * *"} },
		"a cursor beyond":  func(b *Backfill) { b.Lanes[0].Next = 4 },
		"too many":         func(b *Backfill) { b.Count = MaxBackfillInstants + 1 },
		"a bad node":       func(b *Backfill) { b.Lanes[0].Node = "a/b" },
	} {
		if b := newOne(change); CodeOf(b.Valid()) != CodeInvalid {
			t.Errorf("%s is valid", what)
		}
	}
}
