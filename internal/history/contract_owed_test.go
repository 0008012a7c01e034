package history

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// testOwed: a node and a master tell of the same instants, in records of one and of many, in any order and more than once. In the end
// each instant is in one record: the node's own where it told of it.
func testOwed(t *testing.T, d *DB) {
	ctx := context.Background()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		ref := job.Ref("owed", fmt.Sprint("task-", run))
		at := func(i int) time.Time { return epoch.Add(time.Duration(i) * time.Minute) }
		const most = 30
		told, owes := map[int]bool{}, map[int]bool{} // by the node; by the master
		var recs []job.ExecutionRecord
		for i := 0; i < most; {
			n := rapid.IntRange(1, 6).Draw(rt, "length")
			n = min(n, most-i)
			r := record(ref, fmt.Sprintf("%d-n-%d", run, i), job.Success, at(i+n).Add(time.Second))
			r.Node, r.JobID, r.Instant = "n1", "j1", at(i)
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				n = 1
			case 1:
				r.Outcome, r.Success, r.Until, r.Count = job.Missed, false, at(i+n-1), n
			default: // it says nothing
				i += n
				continue
			}
			for k := i; k < i+n; k++ {
				told[k] = true
			}
			recs, i = append(recs, r), i+n
		}
		for i := 0; i < most; {
			n := min(rapid.IntRange(1, 12).Draw(rt, "length"), most-i)
			if rapid.Bool().Draw(rt, "tells") {
				r := record(ref, fmt.Sprintf("%d-m-%d", run, i), job.Missed, at(most))
				r.Node, r.JobID = "n1", "j1"
				for k := i; k < i+n; k++ {
					if rapid.IntRange(0, 3).Draw(rt, "is one") > 0 {
						r.Owed, owes[k] = job.AddInstant(r.Owed, at(k)), true
					}
				}
				if len(r.Owed) > 0 {
					r.Instant, r.Until, r.Count = r.Owed[0].First, r.Owed[len(r.Owed)-1].Last(), job.CountInstants(r.Owed)
					recs = append(recs, r)
				}
			}
			i += n
		}
		other := record(ref, fmt.Sprintf("%d-other", run), job.Success, at(3)) // of another node
		other.Node, other.JobID, other.Instant = "n2", "j2", at(2)
		recs = append(recs, other)
		order := rapid.Permutation(append(slices.Clone(recs), recs...)).Draw(rt, "order")
		for len(order) > 0 {
			n := rapid.IntRange(1, len(order)).Draw(rt, "batch")
			if _, err := d.Insert(ctx, slices.Clone(order[:n])); err != nil {
				rt.Fatal(err)
			}
			order = order[n:]
		}
		all := list(t, d, job.RecordFilter{Group: ref.Group, Task: ref.Name, Node: "n1", Limit: 1000})
		for i := range most {
			var by []job.ExecutionRecord
			for _, r := range all {
				if r.Covers(at(i)) && !r.Instant.IsZero() {
					by = append(by, r)
				}
			}
			want := 0
			if told[i] || owes[i] {
				want = 1
			}
			if len(by) != want || want == 1 && (len(by[0].Owed) == 0) != told[i] {
				rt.Fatalf("instant %d, told by its node: %v, by a master: %v, is in %v", i, told[i], owes[i], by)
			}
		}
		for _, r := range all {
			if len(r.Owed) == 0 {
				continue
			}
			last := r.Owed[len(r.Owed)-1].Last()
			if n := job.CountInstants(r.Owed); r.Count != n || !r.Instant.Equal(r.Owed[0].First) || !r.Until.Equal(last) {
				rt.Fatalf("of %d instants from %s to %s it says: %s", n, r.Owed[0].First, last, r)
			}
		}
		if s, err := d.Settled(ctx, ref, at(-1), at(most)); err != nil || slices.ContainsFunc(s, func(r job.ExecutionRecord) bool { return r.Instant.IsZero() }) {
			rt.Fatalf("settled: %v, %v", s, err)
		}
		got, since, err := d.Told(ctx, ref, "n1", at(0))
		if err != nil || !since.IsZero() {
			rt.Fatalf("told since %s, %v", since, err)
		}
		for i := range most {
			if is := slices.ContainsFunc(got, func(r job.ExecutionRecord) bool { return !r.Instant.IsZero() && r.Covers(at(i)) }); is != (told[i] || owes[i]) {
				rt.Fatalf("instant %d is told: %v", i, is)
			}
		}
	})
}

// testTold: of what may have been pruned nothing is said to be untold.
func testTold(t *testing.T, d *DB) {
	ctx := context.Background()
	ref := job.Ref("g", "t")
	var recs []job.ExecutionRecord
	for i := range 10 {
		r := record(ref, fmt.Sprint("r", i), job.Success, epoch.Add(time.Duration(i)*time.Hour+time.Second))
		r.Node, r.JobID, r.Instant = job.NodeID(fmt.Sprint("n", i%2)), fmt.Sprint("j", i%2), epoch.Add(time.Duration(i)*time.Hour)
		recs = append(recs, r)
	}
	insert(t, d, recs...)
	if _, since, err := d.Told(ctx, ref, "n1", time.Time{}); err != nil || !since.IsZero() {
		t.Errorf("since %s, %v", since, err)
	}
	if _, err := d.Prune(ctx, job.Retention{MaxPerTask: 4}, epoch); err != nil {
		t.Fatal(err)
	}
	got, since, err := d.Told(ctx, ref, "n1", time.Time{})
	if err != nil || len(got) != 2 || !since.Equal(epoch.Add(6*time.Hour+time.Second)) {
		t.Errorf("%d records, since %s, %v", len(got), since, err)
	}
	if got, _, err := d.Told(ctx, ref, "nobody", time.Time{}); err != nil || len(got) != 0 {
		t.Errorf("of a node that there is not: %v, %v", got, err)
	}
	if got, since, err := d.Told(ctx, job.Ref("g", "no"), "n1", time.Time{}); err != nil || len(got) != 0 || !since.IsZero() {
		t.Errorf("of a task that there is not: %v, %s, %v", got, since, err)
	}
}
