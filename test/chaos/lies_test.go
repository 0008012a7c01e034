package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

var begin = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// fine is a history and the journal that belongs to it, of a task of each sort: nothing is wrong with it.
func fine() (*evidence, []duty) {
	duties := []duty{
		{job.Task{Name: "common", Kind: "common", Timer: "* * * * * *"}, []job.NodeID{"n1", "n2"}},
		{job.Task{Name: "interval", Kind: "interval", Timer: "* * * * * *"}, nil},
		{job.Task{Name: "alone", Kind: "alone", Timer: "* * * * * *"}, nil},
		{job.Task{Name: "asked", Kind: "interval"}, nil},
		{job.Task{Name: "first", Kind: "common", Mode: job.OnlyOnce}, []job.NodeID{"n1", "n2"}},
	}
	e := &evidence{records: map[string][]job.ExecutionRecord{}, asked: map[string][]job.RunID{}, from: begin, to: begin.Add(3 * time.Second)}
	run := func(task string, second int, node job.NodeID, timed bool) {
		at := begin.Add(time.Duration(second) * time.Second)
		l := &life{
			task: task, instant: "-", run: fmt.Sprint(task, second, node), node: node, begins: 1, begin: int64(second) * 1000, last: int64(second)*1000 + 500,
			wall: at.Add(time.Millisecond), ended: true, fence: int64(second),
		}
		r := job.ExecutionRecord{ID: l.run, Node: node, Outcome: job.Success}
		if timed {
			l.instant, r.Instant = job.FormatInstant(at), at
		}
		e.lives, e.records[task] = append(e.lives, l), append(e.records[task], r)
	}
	for second := 1; second <= 3; second++ {
		for _, n := range []job.NodeID{"n1", "n2"} {
			run("common", second, n, true)
		}
		run("interval", second, "n1", true)
		run("alone", second, job.NodeID(fmt.Sprint("n", second)), true)
		run("asked", second, "n1", false)
		e.asked[fmt.Sprint("key-", second)] = []job.RunID{job.RunID(fmt.Sprint("asked", second, "n1"))}
	}
	run("first", 1, "n1", false)
	run("first", 1, "n2", false)
	return e, duties
}

// of is the life of a run.
func (e *evidence) of(run string) *life {
	for _, l := range e.lives {
		if l.run == run {
			return l
		}
	}
	panic("there is no run " + run)
}

// record is that of a run.
func (e *evidence) record(task, run string) *job.ExecutionRecord {
	for i := range e.records[task] {
		if e.records[task][i].ID == run {
			return &e.records[task][i]
		}
	}
	panic("there is no record " + run)
}

// drop leaves out the life of a run.
func (e *evidence) drop(run string) {
	for i, l := range e.lives {
		if l.run == run {
			e.lives = append(e.lives[:i], e.lives[i+1:]...)
			return
		}
	}
	panic("there is no run " + run)
}

// again is a second life, like that of a run.
func (e *evidence) again(of, run string, node job.NodeID) {
	l := *e.of(of)
	l.run, l.node = run, node
	l.begin, l.last = l.last+1, l.last+2
	e.lives = append(e.lives, &l)
}

// Each lie is found, and for what it is; and what is fine is found to be fine.
func TestJudge(t *testing.T) {
	t.Parallel()
	missed := func(r *job.ExecutionRecord) { r.Outcome, r.Reason = job.Missed, "its node was away" }
	for name, c := range map[string]struct {
		lie  func(e *evidence)
		want string
	}{
		"nothing":                 {func(*evidence) {}, ""},
		"missed, with its reason": {func(e *evidence) { e.drop("interval2n1"); missed(e.record("interval", "interval2n1")) }, ""},
		"lost, and it ran": {func(e *evidence) {
			r := e.record("alone", "alone2n2")
			r.Outcome, r.Reason = job.Lost, "the guard died"
		}, ""},
		"no record":           {func(e *evidence) { e.records["interval"] = e.records["interval"][1:] }, "accounted: interval has 0 records"},
		"no record of a node": {func(e *evidence) { e.records["common"] = e.records["common"][1:] }, "accounted: common has 0 records"},
		"two records": {func(e *evidence) {
			r := *e.record("interval", "interval1n1")
			r.ID = "x"
			e.records["interval"] = append(e.records["interval"], r)
		}, "accounted: interval has 2 records"},
		"a record twice":        {func(e *evidence) { e.records["asked"] = append(e.records["asked"], e.records["asked"][0]) }, "is in history twice"},
		"no reason":             {func(e *evidence) { e.drop("interval2n1"); e.record("interval", "interval2n1").Outcome = job.Missed }, "nobody says why"},
		"a double":              {func(e *evidence) { e.again("interval2n1", "x", "n2") }, "once: interval ran 2 times"},
		"a double on a node":    {func(e *evidence) { e.again("common2n1", "x", "n1") }, "once: common ran 2 times"},
		"one run twice":         {func(e *evidence) { e.of("asked1n1").begins = 2 }, "once: run asked1n1 of asked was executed 2 times"},
		"success without a run": {func(e *evidence) { e.drop("interval2n1") }, "succeeded on n1, and nothing ran"},
		"success of half a run": {func(e *evidence) { e.of("interval2n1").ended = false }, "its end is told: false"},
		"success elsewhere":     {func(e *evidence) { e.of("interval2n1").node = "n2" }, "it ran on n2"},
		"missed, and it ran":    {func(e *evidence) { missed(e.record("interval", "interval2n1")) }, "but it ran on n1"},
		"failed, and it did not": {func(e *evidence) {
			r := e.record("interval", "interval2n1")
			r.Outcome, r.Reason = job.Failed, "exit 3"
		}, "kept: history says that interval"},
		"too early":                   {func(e *evidence) { e.of("interval2n1").wall = begin }, "whose clock is right"},
		"too early, by a wrong clock": {func(e *evidence) { e.of("interval2n1").wall = begin; e.clocks = []span{{"n1", 1500, 2500}} }, ""},
		"an overlap":                  {func(e *evidence) { e.of("alone1n1").last = 2001 }, "exclusive: alone"},
		"an overlap that one saw":     {func(e *evidence) { e.of("alone2n2").overlapped = true }, "another process held the task"},
		"an overlap nobody prevents":  {func(e *evidence) { e.of("alone1n1").last = 2001; e.deaf = []span{{"n1", 1200, 1300}} }, ""},
		"an overlap, deaf elsewhere":  {func(e *evidence) { e.of("alone1n1").last = 2001; e.deaf = []span{{"n2", 1200, 1300}} }, "exclusive: alone"},
		"an overlap, deaf at a time":  {func(e *evidence) { e.of("alone1n1").last = 2001; e.deaf = []span{{"n1", 100, 900}} }, "exclusive: alone"},
		"a fence that falls":          {func(e *evidence) { e.of("alone2n2").fence = 1 }, "has the fence 1"},
		"a key of two runs":           {func(e *evidence) { e.asked["key-1"] = append(e.asked["key-1"], "x") }, "the key key-1 is the runs"},
		"a run of two keys":           {func(e *evidence) { e.asked["key-1"] = e.asked["key-2"] }, "are both the run"},
		"a run that nobody asked for": {func(e *evidence) { delete(e.asked, "key-1") }, "nobody asked for it"},
		"a request without a record":  {func(e *evidence) { e.records["asked"] = e.records["asked"][1:] }, "of the key key-1 has 0 records"},
		"a first success twice": {func(e *evidence) {
			e.again("first1n1", "x", "n1")
			r := *e.record("first", "first1n1")
			r.ID = "x"
			e.records["first"] = append(e.records["first"], r)
		}, "once: first succeeded 2 times"},
		"nothing of a first":           {func(e *evidence) { e.drop("first1n2"); e.records["first"] = e.records["first"][:1] }, "nothing is told of first on n2"},
		"a first run without a record": {func(e *evidence) { e.again("first1n1", "x", "n1") }, "has no record"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, duties := fine()
			c.lie(e)
			found := strings.Join(e.judge(duties).faults, "\n")
			if c.want == "" && found != "" || !strings.Contains(found, c.want) {
				t.Errorf("found %q", found)
			}
		})
	}
}
