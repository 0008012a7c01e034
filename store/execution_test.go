package store

import (
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// An execution advances together with the dispatches and facts that it counts, a group's cursor with the executions that it began; or not at all.
func TestExecutionOps(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		do := func(op Op) bool {
			t.Helper()
			done, err := s.Do(ctx, op)
			if err != nil {
				t.Fatal(err)
			}
			return done[0]
		}
		make := func(id string) *job.GroupExecution {
			return &job.GroupExecution{
				ID: id, Group: "g", Key: id, Status: job.ExecutionRunning, CreatedAt: day, MaxParallel: 1, OnFailure: job.FailureStops,
				Steps: []job.Step{{Name: "a", Kind: "interval", State: job.StepRunning, Lanes: job.NewLanes(3)}},
			}
		}
		e := make("ex-1")
		if !do(CreateExecution(e)) || do(CreateExecution(make("ex-1"))) != false {
			t.Error("it was begun twice, or not at all")
		}
		read := func() *job.GroupExecution {
			t.Helper()
			return must(s.Executions().Get(ctx, "g", "ex-1"))
		}
		dispatch := func(lane int) *job.Dispatch {
			j := &job.Job{NodeID: "n1", Group: "g", Name: "a", Command: "true"}
			return &job.Dispatch{Run: e.Run(&e.Steps[0], lane), Node: "n1", Job: j, Trigger: job.TriggerGroup, Execution: "ex-1"}
		}
		fact := &job.Fact{Task: job.Ref("g", "a"), Node: "n1", Run: "r"}
		stale, next := read(), read()
		next.Steps[0].Lanes = "a--"
		if !do(AdvanceExecution(next, []*job.Dispatch{dispatch(0)}, []*job.Fact{fact})) || read().Steps[0].Lanes != "a--" {
			t.Error("it has not advanced")
		}
		stale.Steps[0].Lanes = "-a-"
		if do(AdvanceExecution(stale, []*job.Dispatch{dispatch(1)}, nil)) {
			t.Error("it advanced from where it does not stand any more")
		}
		next = read()
		next.Steps[0].Lanes = "aa-"
		if do(AdvanceExecution(next, []*job.Dispatch{dispatch(1)}, []*job.Fact{fact})) || do(AdvanceExecution(next, []*job.Dispatch{dispatch(0)}, nil)) {
			t.Error("it advanced although a fact is not as it was, or a run was asked for before")
		}
		if n := must(s.Dispatches().Count(ctx, "n1")); n != 1 || read().Steps[0].Lanes != "a--" {
			t.Errorf("%d dispatches, %s", n, read().Steps[0].Lanes)
		}
		if do(DeleteExecution(stale)) || !do(DeleteExecution(read())) || !do(DeleteExecution(stale)) {
			t.Error("deleted")
		}

		g := &job.Entry[job.Group]{Document: job.Group{Name: "g", Timer: "@hourly"}, CreatedAt: day, Generation: 1}
		rev := must(s.Groups().Put(ctx, g))
		state := &job.GroupState{Group: "g", Created: day, At: day}
		if do(FireGroup(state, rev+1, []*job.GroupExecution{make("ex-2")})) || !do(FireGroup(state, rev, []*job.GroupExecution{make("ex-2")})) {
			t.Error("fired while the group is another, or not at all")
		}
		if do(FireGroup(state, rev, []*job.GroupExecution{make("ex-3")})) {
			t.Error("fired twice from the same state")
		}
		now := must(s.GroupStates().Get(ctx, "g"))
		now.At = day.Add(time.Hour)
		if do(FireGroup(now, rev, []*job.GroupExecution{make("ex-2")})) || do(DropGroupState(now)) {
			t.Error("an execution was begun twice, or the state of a group dropped that there is")
		}
		if err := s.Groups().Delete(ctx, 0, "g"); err != nil {
			t.Fatal(err)
		}
		if !do(DropGroupState(now)) {
			t.Error("the state of a group that is gone stays")
		}
		if n := must(s.Executions().Count(ctx)); n != 1 {
			t.Errorf("%d executions", n)
		}
	})
}
