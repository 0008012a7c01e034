package history

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// testSearch compares searches, page by page and with other filters, with a look at each record.
func testSearch(t *testing.T, d *DB) {
	texts := []string{"", "plain", "Connection REFUSED by peer", "\x00NUL\x00 inside", "\xff\xfe\x80bytes", "ünïcode Ärger", `a "quoted" \n word`, strings.Repeat("long ", 3000) + "needle"}
	var recs []job.ExecutionRecord
	for i := range 400 {
		r := record(job.Ref("g", name("task", i%3)), name("r", i), job.Outcomes[i%len(job.Outcomes)], epoch.Add(time.Duration(i/3)*time.Second))
		r.Node, r.JobID = job.NodeID(name("n", i%4)), name("job", i%12)
		r.Output = texts[i%len(texts)]
		if i%5 == 0 {
			r.Reason = strings.ToValidUTF8(texts[i/5%len(texts)], "?")
		}
		recs = append(recs, r)
	}
	insert(t, d, recs...)
	lower := func(s string) string { return string(lowered(nil, []byte(s))) }
	rapid.Check(t, func(rt *rapid.T) {
		f := job.RecordFilter{
			Search: rapid.SampledFrom([]string{"plain", "connection refused", "CONNECTION", "\x00nul", "\xfe\x80", "Ärger", "ärger", `"QUOTED" \n`, "needle", "nothing has this", "%", "_"}).Draw(rt, "search"),
			Task:   rapid.SampledFrom([]string{"", "task-0001"}).Draw(rt, "task"), Node: rapid.SampledFrom([]job.NodeID{"", "n-0002"}).Draw(rt, "node"),
			Outcome: rapid.SampledFrom([][]job.Outcome{nil, {job.Failed, job.Lost}}).Draw(rt, "outcomes"),
			Since:   rapid.SampledFrom([]time.Time{{}, epoch.Add(40 * time.Second)}).Draw(rt, "since"), Limit: rapid.SampledFrom([]int{1, 7, 100}).Draw(rt, "limit"),
		}
		var want []string
		for _, r := range recs {
			if selects(f, r) && (strings.Contains(lower(r.Output), lower(f.Search)) || strings.Contains(lower(r.Reason), lower(f.Search))) {
				want = append(want, r.ID)
			}
		}
		slices.Reverse(want)
		got := all(t, d, f)
		if !slices.Equal(sorted(got), sorted(want)) {
			rt.Fatalf("%+v: got %v, want %v", f, got, want)
		}
	})
	_, err := d.Records(context.Background(), job.RecordFilter{Search: strings.Repeat("x", MaxSearch+1)})
	wantCode(t, err, job.CodeInvalid)
}

// testLongSearch: a search that finds little stops after a bounded number of records, says how far it got, and goes on there.
func testLongSearch(t *testing.T, d *DB) {
	ctx := context.Background()
	const n = searchedRecords + 3*searchChunk/2
	for i := 0; i < n; i += 1000 {
		var recs []job.ExecutionRecord
		for k := i; k < min(i+1000, n); k++ {
			r := record(job.Ref("g", "t"), fmt.Sprint("r", k), job.Success, epoch.Add(time.Duration(k)*time.Second))
			if k == 5 {
				r.Output = "the needle"
			}
			recs = append(recs, r)
		}
		insert(t, d, recs...)
	}
	f := job.RecordFilter{Search: "Needle"}
	first, err := d.Records(ctx, f)
	if err != nil || len(first.Records) != 0 || first.Next == "" {
		t.Fatalf("the first page: %v, %v", first, err)
	}
	if want := epoch.Add(time.Duration(n-searchedRecords) * time.Second); !first.Searched.Equal(want) {
		t.Errorf("it has searched back to %s, want %s", first.Searched, want)
	}
	f.Cursor = first.Next
	second, err := d.Records(ctx, f)
	if err != nil || len(second.Records) != 1 || second.Records[0].ID != "r5" || second.Next != "" || !second.Searched.IsZero() {
		t.Errorf("the second page: %v, %v", second, err)
	}
}

// TestLowered: only ASCII letters change, and the length never does.
func TestLowered(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		in := rapid.SliceOf(rapid.Byte()).Draw(rt, "bytes")
		before := bytes.Clone(in)
		got := lowered([]byte("what was there"), in)
		if !bytes.Equal(in, before) || len(got) != len(in) {
			rt.Fatalf("%q became %q", before, got)
		}
		for i, c := range got {
			if c != in[i] && !(in[i] >= 'A' && in[i] <= 'Z' && c == in[i]|0x20) || c >= 'A' && c <= 'Z' {
				rt.Fatalf("%q became %q", in, got)
			}
		}
	})
}
