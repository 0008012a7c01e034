package history

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// compareStats holds the statistics of a task against a recount of the model, pruned records too, for a window and a node
// drawn at random and each division.
func compareStats(rt *rapid.T, d *DB, ref job.TaskRef, m *model) {
	ctx := context.Background()
	day := func(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }
	from := rapid.SampledFrom([]time.Time{{}, epoch.Add(30 * time.Hour)}).Draw(rt, "from")
	to := rapid.SampledFrom([]time.Time{{}, epoch.Add(50 * time.Hour)}).Draw(rt, "to")
	node := rapid.SampledFrom([]job.NodeID{"", "n1"}).Draw(rt, "of node")
	inWindow := func(r job.ExecutionRecord) bool {
		return (from.IsZero() || !day(r.EndTime).Before(day(from))) && (to.IsZero() || !day(r.EndTime).After(day(to))) && (node == "" || r.Node == node)
	}
	for _, by := range append([]job.StatsBy{job.ByNothing}, job.StatsBys...) {
		parts := map[string][]job.ExecutionRecord{}
		if by == job.ByNothing {
			parts[""] = nil
		}
		for _, r := range m.recs {
			if inWindow(r) {
				key := map[job.StatsBy]string{job.ByDay: day(r.EndTime).Format(time.DateOnly), job.ByNode: string(r.Node), job.ByTask: ref.String()}[by]
				parts[key] = append(parts[key], r)
			}
		}
		got, err := d.Stats(ctx, job.StatsFilter{Group: ref.Group, Task: ref.Name, Node: node, From: from, To: to, By: by})
		if err != nil || len(got) != len(parts) {
			rt.Fatalf("statistics by %q: got %d parts (%v), a recount gives %d", by, len(got), err, len(parts))
		}
		var keys []string
		for _, st := range got {
			key := st.Task
			switch by {
			case job.ByDay:
				key = st.Day.Format(time.DateOnly)
			case job.ByNode:
				key = string(*st.Node)
			}
			keys = append(keys, key)
			compareSum(rt, key, st, parts[key])
		}
		if !slices.IsSorted(keys) {
			rt.Fatalf("statistics by %q are out of order: %v", by, keys)
		}
	}
	totals, err := d.Totals(ctx, ref)
	if st, want := totals[ref], recount(m); err != nil || asText(st.Count) != asText(want) {
		rt.Fatalf("totals: got %v (%v), a recount gives %v", st.Count, err, want)
	}
}

func recount(m *model) map[job.Outcome]int64 {
	count := map[job.Outcome]int64{}
	for _, r := range m.recs {
		count[r.Outcome]++
	}
	return count
}

func asText(count map[job.Outcome]int64) (s string) {
	for _, o := range job.Outcomes {
		s += string(o) + string(rune('0'+count[o])) + " "
	}
	return s
}

// compareSum holds one sum against the records that it is of.
func compareSum(rt *rapid.T, what string, st job.Stats, recs []job.ExecutionRecord) {
	count := map[job.Outcome]int64{}
	var took []float64
	var total time.Duration
	for _, r := range recs {
		count[r.Outcome]++
		if r.Success {
			took = append(took, float64(r.Duration())/float64(time.Millisecond))
			total += r.Duration()
		}
	}
	if asText(st.Count) != asText(count) {
		rt.Fatalf("%s: counts %v, a recount gives %v", what, st.Count, count)
	}
	rate, ok := job.Rate(count)
	if (st.Success != nil) != ok || ok && *st.Success != rate {
		rt.Fatalf("%s: %v succeeded, want %v", what, st.Success, rate)
	}
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	if st.TotalMS != total.Milliseconds() || st.AverageMS != (total/time.Duration(len(took))).Milliseconds() || st.MaxMS != int64(took[len(took)-1]) {
		rt.Fatalf("%s: total %d, average %d, max %d of %v", what, st.TotalMS, st.AverageMS, st.MaxMS, took)
	}
	for q, got := range map[float64]float64{0.5: st.P50MS, 0.9: st.P90MS, 0.99: st.P99MS} {
		want := took[int(math.Ceil(q*float64(len(took))))-1]
		if math.Abs(got-want) > 0.05*want {
			rt.Fatalf("%s: p%v is %v, want %v within 5 %%: %v", what, q*100, got, want, took)
		}
	}
}

// TestSummary: what is written is read again and adds up, and what is no summary is refused.
func TestSummary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var whole, read summary
		for range rapid.IntRange(1, 4).Draw(rt, "parts") {
			var part summary
			for _, us := range rapid.SliceOfN(rapid.Int64Range(0, math.MaxInt64/1000), 0, 30).Draw(rt, "durations") {
				o := rapid.SampledFrom(job.Outcomes).Draw(rt, "outcome")
				part.add(o, us)
				whole.add(o, us)
			}
			b := part.encode()
			if err := read.decode(b); err != nil {
				rt.Fatal(err)
			}
			for n := range len(b) {
				_ = (&summary{}).decode(b[:n]) // an error or not, but no panic
			}
		}
		if string(read.encode()) != string(whole.encode()) {
			rt.Fatalf("got %+v, want %+v", read, whole)
		}
	})
	for _, b := range [][]byte{nil, {}, {0}, {summaryVersion}, {summaryVersion, 2, 2}, {9, 2, 2, 2, 2, 2, 2, 2, 2, 2}} {
		if err := (&summary{}).decode(b); err == nil {
			t.Errorf("%v is taken for a summary", b)
		}
	}
}

// TestBuckets: the duration that stands for a bucket is within 5 % of each in it.
func TestBuckets(t *testing.T) {
	t.Parallel()
	for us := int64(1); us < 1e15; us += us/97 + 1 {
		if rep := representative(bucketOf(us)); math.Abs(rep-float64(us)) > 0.05*float64(us) {
			t.Fatalf("%d µs is in bucket %d, which stands for %v µs", us, bucketOf(us), rep)
		}
	}
}

// testSumUp: the statistics of records that a program without summaries stored are made when the history is opened, and when
// such a task gets its next record.
func testSumUp(t *testing.T, d *DB) {
	ctx := context.Background()
	a, b := job.Ref("g", "a"), job.Ref("g", "b")
	for i, ref := range []job.TaskRef{a, b} {
		insert(t, d, record(ref, name("old", i), job.Success, epoch), record(ref, name("lost", i), job.Lost, epoch.Add(-30*time.Hour)))
	}
	for _, s := range []string{"DELETE FROM task_days", "DELETE FROM node_days", "UPDATE tasks SET summed = 0"} {
		if _, err := d.write.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	insert(t, d, record(a, name("lost", 0), job.Success, epoch.Add(30*time.Hour)))
	if err := d.sumUp(ctx); err != nil {
		t.Fatal(err)
	}
	for _, by := range []job.StatsBy{job.ByTask, job.ByNode} {
		for ref, want := range map[job.TaskRef]map[job.Outcome]int64{a: {job.Success: 2}, b: {job.Success: 1, job.Lost: 1}} {
			st, err := d.Stats(ctx, job.StatsFilter{Group: ref.Group, Task: ref.Name, By: by})
			if err != nil || len(st) != 1 {
				t.Fatalf("%s by %s: %v, %v", ref, by, st, err)
			}
			wantSame(t, ref.String(), st[0].Count, want)
		}
	}
}
