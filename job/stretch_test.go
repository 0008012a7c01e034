package job

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Stretches are sets of instants: what is put in is there, what is taken out is not, and nothing else changes.
func TestStretches(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		var list []Stretch
		var want []time.Time
		for range rapid.IntRange(1, 40).Draw(t, "instants") {
			at = at.Add(time.Duration(rapid.SampledFrom([]int{1, 60, 60, 60, 3600}).Draw(t, "step")) * time.Second)
			list, want = AddInstant(list, at), append(want, at)
		}
		for range rapid.IntRange(0, 5).Draw(t, "cuts") {
			i := rapid.IntRange(0, len(want)).Draw(t, "from") - 1
			from := want[max(i, 0)].Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "around")) * time.Second)
			to := from.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 59, 120, 7200}).Draw(t, "length")) * time.Second)
			list = WithoutInstants(list, from, to)
			want = slices.DeleteFunc(want, func(i time.Time) bool { return !i.Before(from) && !i.After(to) })
			if len(want) == 0 {
				break
			}
		}
		var got []time.Time
		for _, s := range list {
			for i := range s.Count {
				got = append(got, s.at(i))
			}
		}
		if !slices.EqualFunc(got, want, time.Time.Equal) || CountInstants(list) != len(want) {
			t.Fatalf("found %v, want %v", got, want)
		}
		r := ExecutionRecord{Owed: list}
		for _, i := range want {
			if !r.Covers(i) || r.Covers(i.Add(time.Second)) != slices.ContainsFunc(want, i.Add(time.Second).Equal) {
				t.Fatalf("%v covers %s wrongly", list, i)
			}
		}
	})
}
