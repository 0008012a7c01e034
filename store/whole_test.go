package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// What follows from a record happens together with the mark that it has, or not at all. ancestors 45, 49
func TestAllOrNothing(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		do := func(op Op) bool {
			t.Helper()
			return must(s.Do(ctx, op))[0]
		}
		rec := testRecord("r1", "n1")
		rec.Output, rec.Result = "words", []byte(`{"global":{"A":"1"}}`)
		must(s.Do(ctx, PutRecord(rec)))
		at := must(s.Records().First(ctx, 1, "n1"))[0].Revision
		effects := func(rev int64) Op {
			return All(PutConfig(&Config{Key: "A", Value: "1"}, 0), CreateDispatch(testDispatch("next", "n1")), CreateDispatch(testDispatch("next", "n1")), MarkRecord(rec, rev, day))
		}
		if do(effects(at-1)) || fx.read("config/global/A") != nil || fx.read("dispatch/n1/next") != nil {
			t.Error("effects of a record that has changed")
		}
		must(s.Do(ctx, PutConfig(&Config{Key: "A", Value: "theirs"}, 0)))
		if do(effects(at)) || fx.read("dispatch/n1/next") != nil {
			t.Error("half of the effects")
		}
		must(s.Do(ctx, DeleteDispatch("n1", "next", 0)))
		if err := s.Config().Delete(ctx, 0, "", "A"); err != nil {
			t.Fatal(err)
		}
		if !do(effects(at)) || do(effects(at)) {
			t.Error("the effects have not happened once")
		}
		got := must(s.Records().Get(ctx, "n1", "r1"))
		if !got.IsHandle || !got.HandleTime.Equal(day) || got.Output != "" || got.Result != nil || got.Outcome != rec.Outcome {
			t.Errorf("the record is %+v", got)
		}
		if fx.read("dispatch/n1/next") == nil {
			t.Error("there is no next run")
		}
		if op := All(PutConfig(&Config{Key: "A", Value: "1"}, 0), PutConfig(&Config{Key: "A", Value: "2"}, 0)); job.CodeOf(op.Err()) != job.CodeInvalid {
			t.Errorf("two values at once: %v", op.Err())
		}
		var many []Op
		for i := range maxTxnOps + 1 {
			many = append(many, PutConfig(&Config{Key: fmt.Sprint("M", i), Value: "v"}, 0))
		}
		if op := All(many...); job.CodeOf(op.Err()) != job.CodeInvalid {
			t.Errorf("too much for one transaction: %v", op.Err())
		}
		if !do(All(many[:maxTxnOps]...)) {
			t.Error("as much as one transaction takes was refused")
		}
	})
}

// The record of a claim whose holder is gone is written while the claim stands as it was read, and over nothing that its
// node has handed over. ancestor 22
func TestLoseClaim(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s, task := t.Context(), fx.client(), job.Ref("", "nightly")
		at := func(m int) time.Time { return day.Add(time.Duration(m) * time.Minute) }
		must(s.Do(ctx, InitFloor(task, day)))
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		claim := func(m int) *job.Claim {
			t.Helper()
			must(ss.Claim(ctx, job.Claim{Task: task, Instant: at(m), Job: "h"}))
			return must(s.Claims().Get(ctx, task.Group, task.Name, job.FormatInstant(at(m))))
		}
		lose := func(c *job.Claim, id string) bool {
			t.Helper()
			r := testRecord(id, "n1")
			r.Outcome = job.Lost
			return must(s.Do(ctx, LoseClaim(c, r)))[0]
		}
		one := claim(1)
		other := *one
		other.Fence--
		if lose(&other, "lost") || fx.read("records/n1/lost") != nil {
			t.Error("a claim that is not the one that was read was lost")
		}
		if !lose(one, "lost") || fx.read("records/n1/lost") == nil || lose(one, "lost") {
			t.Error("it was not lost once")
		}
		two := claim(2)
		must(s.Do(ctx, PutRecord(testRecord("told", "n1"))))
		if lose(two, "told") || must(s.Records().Get(ctx, "n1", "told")).Outcome == job.Lost {
			t.Error("the node's own word was overwritten")
		}
		must(s.Do(ctx, Settle(task, at(0), at(2), nil, false)))
		if lose(two, "late") || fx.read("records/n1/late") != nil {
			t.Error("a claim that is settled was lost")
		}
		if op := LoseClaim(&job.Claim{Task: task}, testRecord("../x", "n1")); job.CodeOf(op.Err()) != job.CodeInvalid {
			t.Errorf("%v", op.Err())
		}
	})
}

// What is settled by a task's rule is refused where the task, or a calendar that it names, has changed since.
func TestWhile(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s, task := t.Context(), fx.client(), job.Ref("", "nightly")
		entry := &job.TaskEntry{Task: job.Task{Name: "nightly", Command: job.Line("true")}, CreatedAt: day, Since: day}
		entry.Task.Complete()
		trev := must(s.Tasks().Put(ctx, entry))
		crev := must(s.Calendars().Put(ctx, &job.CalendarEntry{Calendar: job.Calendar{Name: "c"}, CreatedAt: day, Since: day}))
		must(s.Do(ctx, InitFloor(task, day)))
		at := func(m int) time.Time { return day.Add(time.Duration(m) * time.Minute) }
		floor := 0
		try := func(what string, want bool, op Op) {
			t.Helper()
			if done := must(s.Do(ctx, op))[0]; done != want {
				t.Errorf("%s: %v", what, done)
			} else if done {
				floor++
			}
		}
		settle := func() Op { return Settle(task, at(floor), at(floor+1), nil, false) }
		try("as they are", true, settle().WhileTask(task, trev).WhileCalendar("c", crev))
		try("another task", false, settle().WhileTask(task, trev-1))
		try("another calendar", false, settle().WhileTask(task, trev).WhileCalendar("c", crev-1))
		try("no calendar", false, settle().WhileCalendar("other", crev))
		entry.Revision = trev
		now := must(s.Tasks().Put(ctx, entry))
		try("the task was edited", false, settle().WhileTask(task, trev))
		try("the new version", true, settle().WhileTask(task, now))
		if err := s.Calendars().Delete(ctx, 0, "c"); err != nil {
			t.Fatal(err)
		}
		try("the calendar is gone", false, settle().WhileCalendar("c", crev))
		if op := settle().WhileTask(job.Ref("", "../x"), 1); job.CodeOf(op.Err()) != job.CodeInvalid {
			t.Errorf("%v", op.Err())
		}
	})
}

// What a node owes is told by the leader only while the node is away and its job is as it was read; then the job begins
// behind what was told, in the same step.
func TestTellAway(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		j := testJob("backup", "n1")
		must(s.Do(ctx, PutJob(j, 0)))
		rev := fx.read(j.Key()).mod
		tell := func(id string, rev int64, since time.Time) bool {
			t.Helper()
			moved := j.Clone()
			moved.Since = since
			return must(s.Do(ctx, TellAway(moved, rev, testRecord(id, "n1"))))[0]
		}
		if tell("a", rev-1, day) || fx.read("records/n1/a") != nil {
			t.Error("told of a job that has changed")
		}
		if !tell("a", rev, day) || fx.read("records/n1/a") == nil || !must(s.Jobs().Get(ctx, "n1", j.Hash)).Since.Equal(day) {
			t.Error("it was not told")
		}
		if tell("b", rev, day.Add(time.Hour)) {
			t.Error("told twice")
		}
		rev = fx.read(j.Key()).mod
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		if tell("b", rev, day.Add(time.Hour)) || fx.read("records/n1/b") != nil {
			t.Error("told of a node that is there")
		}
		if err := ss.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if !tell("b", rev, day.Add(time.Hour)) {
			t.Error("it was not told again")
		}
		must(s.Do(ctx, DeleteJob("n1", j.Hash, 0)))
		if tell("c", rev, day.Add(2*time.Hour)) || fx.read("records/n1/c") != nil {
			t.Error("told of a job that is gone")
		}
	})
}
