package history

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func ignoreMissing(err error) error {
	if job.IsNotFound(err) {
		return nil
	}
	return err
}

// testExecutions: an execution is kept once, comes back as it was, and is found by what a person asks for.
func testExecutions(t *testing.T, d *DB) {
	ctx := context.Background()
	make := func(i int, status job.ExecutionStatus) *job.GroupExecution {
		end := epoch.Add(time.Duration(i) * time.Minute)
		return &job.GroupExecution{
			ID: name("ex", i), Group: name("g", i%2), Key: "k", Trigger: job.TriggerRun, Status: status, BeganAt: end.Add(-time.Minute), EndedAt: end,
			CreatedAt: end.Add(-time.Minute), MaxParallel: 1, OnFailure: job.FailureStops,
			Steps: []job.Step{{
				Name: "a", Kind: "common", State: job.StepSuccess, Lanes: "sfa", Nodes: []job.NodeID{"n1"},
				Items: []json.RawMessage{json.RawMessage(`"x"`)}, Results: map[int]json.RawMessage{1: json.RawMessage(`{"n":1}`)},
			}},
		}
	}
	var want []string
	for i := range 12 {
		e := make(i, job.ExecutionStatuses[2+i%3])
		for range 2 {
			if err := d.PutExecution(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, e.ID)
	}
	slices.Reverse(want)
	first := make(3, job.ExecutionStatuses[2])
	changed := *first
	changed.Reason = "another word"
	if err := d.PutExecution(ctx, &changed); err != nil {
		t.Fatal(err)
	}
	got, err := d.Execution(ctx, first.ID)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "what comes back", got, first)
	decided := 0
	for _, id := range []string{"ex-none", first.ID, first.ID} { // people are told of one that is there, once
		err := d.ChangeAlerts(ctx, []job.AlertInput{{Key: job.AlertKey{Sort: job.AlertGroup, Ref: "g1"}, Record: id}}, func(_ int, old job.Alert) (job.Alert, []job.Delivery, bool) {
			decided++
			return old, nil, false
		})
		wantCode(t, err, "")
	}
	wantSame(t, "decided", decided, 1)
	if _, err := d.Execution(ctx, "ex-none"); !job.IsNotFound(err) {
		t.Errorf("one that there is not: %v", err)
	}
	if err := d.PutExecution(ctx, &job.GroupExecution{ID: "ex-a", Group: "g"}); job.CodeOf(err) != job.CodeInvalid {
		t.Errorf("one that has not ended: %v", err)
	}

	pages := func(f job.ExecutionFilter) (ids []string) {
		t.Helper()
		for {
			list, next, err := d.Executions(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			for i := range list {
				ids = append(ids, list[i].ID)
				if list[i].Steps[0].Items != nil || list[i].Steps[0].Results != nil {
					t.Error("a list has what is long")
				}
			}
			if f.Cursor = next; next == "" {
				return ids
			}
		}
	}
	wantSame(t, "all", pages(job.ExecutionFilter{Limit: 5}), want)
	wantSame(t, "pages that end just so", pages(job.ExecutionFilter{Limit: 6}), want)
	var odd, failed []string
	for i, id := range want {
		if n := 11 - i; n%2 == 1 {
			odd = append(odd, id)
			if n%3 == 1 {
				failed = append(failed, id)
			}
		}
	}
	wantSame(t, "of a group", pages(job.ExecutionFilter{Group: name("g", 1), Limit: 2}), odd)
	wantSame(t, "of a group and a status", pages(job.ExecutionFilter{Group: name("g", 1), Status: job.ExecutionFailed}), failed)
	wantSame(t, "since", pages(job.ExecutionFilter{Since: epoch.Add(9 * time.Minute)}), want[:3])

	insert(t, d, record(job.Ref("g", "a"), "r1", job.Success, epoch), record(job.Ref("g", "a"), "r2", job.Failed, epoch))
	recs, err := d.Ended(ctx, []string{"r2", "none", "r1"})
	if err != nil || len(recs) != 2 {
		t.Errorf("ended: %v, %v", recs, err)
	}

	n, err := d.PruneExecutions(ctx, epoch.Add(2*time.Minute))
	if err != nil || n != 2 {
		t.Errorf("pruned %d, %v", n, err)
	}
	wantSame(t, "after pruning", pages(job.ExecutionFilter{}), want[:10])
}
