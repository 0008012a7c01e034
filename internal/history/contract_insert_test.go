package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// full sets every field of a record, those too that are added to the type one day.
func full(t *testing.T) job.ExecutionRecord {
	var rec job.ExecutionRecord
	fill(t, reflect.ValueOf(&rec).Elem(), 1)
	rec.Outcome, rec.Success, rec.Trigger, rec.Number = job.Success, true, job.TriggerCatchup, 1
	rec.TaskID = rec.Ref().String()
	rec.Owed = []job.Stretch{{First: epoch, Step: 60, Count: 3}, {First: epoch.Add(time.Hour), Count: 1}} // which say the same as:
	rec.Instant, rec.Until, rec.Count = epoch, epoch.Add(time.Hour), 4
	rec.Result = json.RawMessage(`{ "next": ["a",  1.50] }`)
	return rec
}

func fill(t *testing.T, v reflect.Value, n int) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = epoch.Add(time.Duration(n) * 1234567 * time.Microsecond)
		return
	case *json.RawMessage:
		*x = json.RawMessage(`null`)
		return
	case *[]byte: // the form that output has in JSON; a record in memory has it in Output
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text-%d", n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(n) + 1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0), n)
		fill(t, v.Index(1), n+1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, n)
		fill(t, value, n+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n+i)
		}
	default:
		t.Fatalf("a record has a field of kind %s, which this test can't fill", v.Kind())
	}
}

func testRoundTrip(t *testing.T, d *DB) {
	ctx := context.Background()
	want := full(t)
	insert(t, d, want)
	got, err := d.Record(ctx, want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("a record came back changed:\n got %s\nwant %s", got, want)
	}
	if got, err = d.RecordByNumber(ctx, want.Ref(), 1); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("by number: %v\n got %s\nwant %s", err, got, want)
	}
	short := want.Clone()
	short.Output, short.Result, short.Attempts, short.OutputParts = "", nil, nil, nil
	if got := list(t, d, job.RecordFilter{})[0]; !reflect.DeepEqual(got, short) {
		t.Fatalf("in a list:\n got %s\nwant %s", got, short)
	}
	if got := list(t, d, job.RecordFilter{WithOutput: true})[0]; !reflect.DeepEqual(got, want) {
		t.Fatalf("in a list with output:\n got %s\nwant %s", got, want)
	}
	empty := job.ExecutionRecord{ID: "empty", Name: "t", Outcome: job.Missed}
	insert(t, d, empty)
	empty.Group, empty.TaskID, empty.Number = "default", "default/t", 1
	if got, err = d.Record(ctx, "empty"); err != nil || !reflect.DeepEqual(got, empty) {
		t.Fatalf("an almost empty record: %v\n got %s\nwant %s", err, got, empty)
	}
}

// testAnyBytes: output comes back byte for byte; elsewhere what is no text is replaced as JSON replaces it.
func testAnyBytes(t *testing.T, d *DB) {
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		bytes := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) })
		n++
		rec := record(job.Ref("", "bytes"), fmt.Sprint("bytes-", n), job.Failed, epoch)
		rec.Output, rec.Reason, rec.Command, rec.User = bytes.Draw(rt, "output"), bytes.Draw(rt, "reason"), bytes.Draw(rt, "command"), bytes.Draw(rt, "user")
		rec.Attempts = []job.Attempt{{Attempt: 1, Outcome: job.Timeout, Output: bytes.Draw(rt, "attempt")}}
		recs := []job.ExecutionRecord{rec}
		if _, err := d.Insert(context.Background(), recs); err != nil {
			rt.Fatal(err)
		}
		got, err := d.Record(context.Background(), rec.ID)
		if err != nil {
			rt.Fatal(err)
		}
		if got.Output != rec.Output || got.Attempts[0].Output != rec.Attempts[0].Output { // ancestor 42
			rt.Fatalf("output %q came back as %q, an attempt's %q as %q", rec.Output, got.Output, rec.Attempts[0].Output, got.Attempts[0].Output)
		}
		if !reflect.DeepEqual(viaJSON(rt, got), viaJSON(rt, recs[0])) {
			rt.Fatalf("the record came back as\n%s, want\n%s", got, recs[0])
		}
	})
}

// viaJSON is a record as it is after a way over the wire.
func viaJSON(t *rapid.T, r job.ExecutionRecord) job.ExecutionRecord {
	got, err := job.ParseExecutionRecord([]byte(r.String()))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func testIdempotent(t *testing.T, d *DB) { // ancestor 42
	ref := job.Ref("g", "t")
	recs := []job.ExecutionRecord{record(ref, "a", job.Success, epoch), record(ref, "b", job.Failed, epoch), record(ref, "a", job.Success, epoch)}
	wantSame(t, "stored", insert(t, d, recs...), []bool{true, true, false})
	if err := d.MarkHandled(context.Background(), []job.Handled{{ID: "a", Outcome: job.Success}}, epoch); err != nil {
		t.Fatal(err)
	}
	again := []job.ExecutionRecord{record(ref, "b", job.Success, epoch.Add(time.Hour)), record(ref, "a", job.Success, epoch), record(ref, "c", job.Success, epoch)}
	wantSame(t, "stored the second time", insert(t, d, again...), []bool{false, false, true})
	for i, want := range []struct {
		number  int64
		handled bool
	}{{2, false}, {1, true}, {3, false}} {
		if again[i].Number != want.number || again[i].IsHandle != want.handled {
			t.Errorf("record %s: number %d, handled %v, want %+v", again[i].ID, again[i].Number, again[i].IsHandle, want)
		}
	}
	b, err := d.Record(context.Background(), "b")
	if err != nil || b.Outcome != job.Failed || !b.EndTime.Equal(epoch) {
		t.Errorf("the record that came first does not stand: %s, %v", b, err)
	}
	other := record(job.Ref("g", "other"), "a", job.Success, epoch)
	wantSame(t, "stored under the id of another task's record", insert(t, d, other), []bool{false})
	if p := list(t, d, job.RecordFilter{}); len(p) != 3 {
		t.Errorf("there are %d records, want 3", len(p))
	}
}

func testSupersede(t *testing.T, d *DB) {
	ctx := context.Background()
	for _, inOne := range []bool{false, true} {
		for _, old := range job.Outcomes {
			for _, next := range job.Outcomes {
				ref := job.Ref("g", fmt.Sprintf("%s-%s-%v", old, next, inOne))
				a, b := record(ref, ref.Name, old, epoch), record(ref, ref.Name, next, epoch.Add(-time.Minute))
				a.Output, b.Reason, b.Trigger = "old", "new", job.TriggerRetry
				recs := []job.ExecutionRecord{record(ref, ref.Name+"-before", job.Failed, epoch.Add(-time.Hour)), a, b}
				var stored []bool
				if inOne {
					stored = insert(t, d, recs...)
				} else {
					stored = append(insert(t, d, recs[:2]...), insert(t, d, recs[2:]...)...)
				}
				wins := next.Supersedes(old)
				wantSame(t, ref.Name, stored, []bool{true, true, wins})
				got, err := d.Record(ctx, ref.Name)
				if err != nil {
					t.Fatal(err)
				}
				want := a
				if wins {
					want = b
				}
				want.Number = 2
				wantSame(t, ref.Name, got, want)
				totals, err := d.Totals(ctx, ref)
				if err != nil {
					t.Fatal(err)
				}
				days, err := d.Stats(ctx, job.StatsFilter{Group: ref.Group, Task: ref.Name})
				if err != nil {
					t.Fatal(err)
				}
				count := map[job.Outcome]int64{job.Failed: 1}
				count[want.Outcome]++
				wantSame(t, ref.Name+" counts", totals[ref].Count, count)
				wantSame(t, ref.Name+" counts of days", days[0].Count, count)
			}
		}
	}
}

// testSupersedeViews: the row of a superseded record moves in every view, and its effects are to happen.
func testSupersedeViews(t *testing.T, d *DB) {
	ctx := context.Background()
	ref := job.Ref("g", "t")
	lost := record(ref, "x", job.Lost, epoch.Add(time.Hour))
	lost.Node, lost.JobID = "n1", "j1"
	insert(t, d, record(ref, "w", job.Failed, epoch.Add(time.Minute)), lost, record(ref, "v", job.Skipped, epoch.Add(2*time.Minute)))
	if err := d.MarkHandled(ctx, []job.Handled{{ID: "x", Outcome: job.Lost}}, epoch); err != nil {
		t.Fatal(err)
	}
	won := record(ref, "x", job.Success, epoch)
	won.Node, won.JobID = "n2", "j2"
	recs := []job.ExecutionRecord{won}
	if _, err := d.Insert(ctx, recs); err != nil || recs[0].IsHandle || recs[0].Number != 2 {
		t.Fatalf("superseding: %v, handled %v, number %d; want it unhandled, with its number", err, recs[0].IsHandle, recs[0].Number)
	}
	wantSame(t, "order", all(t, d, job.RecordFilter{Task: "t"}), []string{"v", "w", "x"})
	wantSame(t, "old node", all(t, d, job.RecordFilter{Node: "n1"}), nil)
	wantSame(t, "new node", all(t, d, job.RecordFilter{Node: "n2"}), []string{"x"})
	wantSame(t, "new job", all(t, d, job.RecordFilter{JobID: "j2"}), []string{"x"})
	wantSame(t, "lost ones", all(t, d, job.RecordFilter{Outcome: []job.Outcome{job.Lost}}), nil)
	latest, err := d.Latest(ctx, ref)
	if err != nil || latest[ref].ID != "v" {
		t.Fatalf("the latest is %s, %v, want v: x ended earlier than was thought", latest[ref].ID, err)
	}
	nodes, err := d.Succeeded(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "succeeded", nodes, []job.NodeID{"n2"})
}

func testNumbers(t *testing.T, d *DB) {
	const writers, rounds, size, tasks = 8, 5, 12, 3
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for r := range rounds {
				recs := make([]job.ExecutionRecord, 0, size)
				for i := range size {
					ref := job.Ref("g", name("task", (i+w)%tasks))
					id := fmt.Sprintf("%s-%d-%d-%d", ref.Name, w/2, r, i/tasks) // two writers have the same records
					recs = append(recs, record(ref, id, job.Success, epoch.Add(time.Duration(i)*time.Second)))
				}
				if _, err := d.Insert(context.Background(), recs); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i := range tasks {
		ref := job.Ref("g", name("task", i))
		n := len(all(t, d, job.RecordFilter{Task: ref.Name}))
		if want := writers / 2 * rounds * size / tasks; n != want {
			t.Errorf("%s has %d records, want %d", ref, n, want)
		}
		for k := range n {
			if _, err := d.RecordByNumber(context.Background(), ref, int64(k+1)); err != nil {
				t.Error(err)
			}
		}
	}
}

func testBadRecords(t *testing.T, d *DB) { // ancestor 42
	ctx := context.Background()
	ref := job.Ref("g", "t")
	good := record(ref, "good", job.Success, epoch)
	noID, noName, strange, nul := good, good, good, good
	noID.ID, noName.Name, noName.ID, strange.Outcome, strange.ID, nul.ID = "", "", "no-name", "exploded", "strange", "a\x00b"
	huge := good
	huge.ID, huge.Command = "huge", strings.Repeat("x", maxRest)
	_, err := d.Insert(ctx, []job.ExecutionRecord{good, noID, noName, strange, nul, huge})
	wantCode(t, err, job.CodeInvalid)
	var paths []string
	var refused *job.Error
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	for _, f := range refused.Fields {
		paths = append(paths, f.Path)
	}
	wantSame(t, "the records that are named", paths, []string{"records[1]", "records[2]", "records[3]", "records[4]", "records[5]"})
	if !strings.Contains(err.Error(), `"strange"`) || !strings.Contains(err.Error(), "exploded") || len(err.Error()) > 2000 {
		t.Errorf("the error does not say what is wrong, or says too much: %v", err)
	}
	if _, err := d.Record(ctx, "good"); !job.IsNotFound(err) {
		t.Errorf("the good record of the refused batch: %v, want it absent", err)
	}

	big, odd := good, good
	big.ID, big.Output = "big", strings.Repeat("é", maxOutput)
	odd.ID, odd.Result, odd.Trigger = "odd", json.RawMessage("{not json"), "moonlight"
	insert(t, d, big, odd)
	got, err := d.Record(ctx, "big")
	if err != nil || len(got.Output) > maxOutput || len(got.Output) < maxOutput-64 || !got.OutputTruncated || strings.ToValidUTF8(got.Output, "") != got.Output {
		t.Errorf("the big output: %v, %d bytes, truncated %v; want it cut between characters", err, len(got.Output), got.OutputTruncated)
	}
	if got, err = d.Record(ctx, "odd"); err != nil || string(got.Result) != `"{not json"` || got.Trigger != "moonlight" {
		t.Errorf("the odd record: %v, %s", err, got)
	}
}
