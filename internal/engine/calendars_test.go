package engine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

func calendarEntry(rev int64, since time.Time, prior []string, ranges ...string) engine.CalendarPut {
	e := &job.CalendarEntry{Calendar: job.Calendar{Name: "holidays", Ranges: prior}, CreatedAt: noon, Revision: rev}
	if !since.IsZero() {
		e = e.Edited(e.Calendar, noon).Edited(job.Calendar{Name: "holidays", Ranges: ranges}, since)
	}
	e.Calendar.Ranges = ranges
	return engine.CalendarPut{Entry: e}
}

func excluding(kind job.KindName, exclude ...string) *job.TaskEntry {
	t := job.Task{Name: "a", Command: job.Args("true"), Timer: "0 9 * * *", Kind: kind, Exclude: exclude}
	t.Complete()
	return &job.TaskEntry{Task: t, CreatedAt: noon, Since: noon, Generation: 1, Revision: 1}
}

// place applies events, plans, and carries out what concerns jobs.
func place(s *engine.State, now time.Time, events ...engine.Event) (jobs []*job.Job) {
	s.Apply(events...)
	for _, a := range s.Plan(now) {
		if p, ok := a.(engine.PutJob); ok {
			jobs = append(jobs, p.Job)
			s.Apply(engine.JobPut{Job: p.Job, Revision: p.Revision + 1})
		}
	}
	return jobs
}

func withNode() *engine.State {
	s := engine.New(engine.Options{Lease: lease})
	s.Apply(engine.NodePut{Node: &job.Node{ID: "n1", CreatedAt: noon.Add(-time.Hour)}}, engine.Began{At: noon})
	return s
}

// A job carries the ranges of the calendars that its task names, and fires by them.
func TestCalendarsAreEmbedded(t *testing.T) {
	s := withNode()
	jobs := place(s, noon, engine.TaskPut{Entry: excluding("common", "calendar:holidays", "2026-12-04")}, calendarEntry(5, time.Time{}, nil, "2026-12-02", "2026-12-03"))
	if len(jobs) != 1 {
		t.Fatalf("%d jobs", len(jobs))
	}
	var read job.Job // as the node reads it
	if err := read.Decode([]byte(jobs[0].String())); err != nil {
		t.Fatal(err)
	}
	if next := read.Rules.Next(noon); !next.Equal(time.Date(2026, 12, 5, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("next is %s", next)
	}
	if more := place(s, noon); len(more) != 0 {
		t.Errorf("placed twice: %v", more)
	}
}

// A calendar that changes places the tasks that name it anew, and no others; what was due before stays judged by what it said then.
func TestCalendarChanges(t *testing.T) {
	s := withNode()
	other := excluding("common")
	other.Task.Name = "b"
	place(s, noon, calendarEntry(5, time.Time{}, nil, "2026-12-03"), engine.TaskPut{Entry: excluding("common", "calendar:holidays")}, engine.TaskPut{Entry: other})
	changed := noon.Add(48 * time.Hour) // on 3 December, at noon: this day is none any more, tomorrow is
	jobs := place(s, changed, calendarEntry(9, changed, []string{"2026-12-03"}, "2026-12-04"))
	if len(jobs) != 1 || jobs[0].Name != "a" || !jobs[0].RuleSince().Equal(changed) || !jobs[0].Since.Equal(noon) {
		t.Fatalf("%v", jobs)
	}
	j := jobs[0]
	if err := j.Check(); err != nil {
		t.Fatal(err)
	}
	due, _ := j.Instants(noon, noon.Add(96*time.Hour), 10)
	var days []int
	for _, i := range due {
		days = append(days, i.Day())
	}
	if !slices.Equal(days, []int{2, 5}) {
		t.Errorf("due on %v: the 3rd was a holiday as it passed, the 4th is one now", days)
	}
	// An edit after it: what holds up to then is what the calendar says now.
	if e, _, err := s.Resolved(&job.TaskEntry{Task: excluding("common", "calendar:holidays").Task, Since: changed.Add(time.Hour)}); err != nil || !e.Since.Equal(changed.Add(time.Hour)) {
		t.Errorf("%+v, %v", e, err)
	}
}

// A task whose calendar is not there is left alone: it is not placed, and what is placed stays as it is.
func TestCalendarMissing(t *testing.T) {
	s := withNode()
	e := excluding("common", "calendar:holidays")
	if jobs := place(s, noon, engine.TaskPut{Entry: e}); len(jobs) != 0 {
		t.Fatalf("placed without its calendar: %v", jobs)
	}
	if p := s.Explain(e.Ref()); len(p) != 1 || !strings.Contains(p[0].Reason, "no calendar holidays") {
		t.Errorf("%+v", p)
	}
	if _, _, err := s.Dispatch(engine.Request{Task: e.Ref(), Key: "k"}, noon); err == nil || !strings.Contains(err.Error(), "no calendar holidays") {
		t.Errorf("%v", err)
	}
	if jobs := place(s, noon, calendarEntry(5, time.Time{}, nil, "2026-12-03")); len(jobs) != 1 {
		t.Fatalf("not placed with it: %v", jobs)
	}
	s.Apply(engine.CalendarDeleted{Name: "holidays"})
	if actions := s.Plan(noon); len(actions) != 0 {
		t.Errorf("%v", actions)
	}
	if got := s.Bound(e.Ref()); len(got) != 1 {
		t.Errorf("bound to %v", got)
	}
	if jobs := place(s, noon, calendarEntry(7, time.Time{}, nil, "2026-12-03")); len(jobs) != 0 {
		t.Errorf("the same again: %v", jobs)
	}
	s.Apply(engine.TaskDeleted{Task: e.Ref()})
	if got := s.Excluding("holidays"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// The audit of a claimed task knows its holidays: nothing is missed on one.
func TestCalendarsInTheAudit(t *testing.T) {
	s := withNode()
	e := excluding("interval", "calendar:holidays")
	place(s, noon, calendarEntry(5, time.Time{}, nil, "2026-12-02"), engine.TaskPut{Entry: e})
	s.Apply(engine.FloorPut{Task: e.Ref(), At: noon})
	var missed []time.Time
	for now := noon; now.Before(noon.Add(72 * time.Hour)); now = now.Add(time.Hour) {
		for _, a := range s.Plan(now) {
			if st, ok := a.(engine.Settle); ok && st.Record != nil {
				missed = append(missed, st.Record.Instant)
				s.Apply(engine.Done{Action: a})
			}
		}
	}
	if len(missed) != 2 || missed[0].Day() != 3 || missed[1].Day() != 4 {
		t.Errorf("missed %v, want the 3rd and the 4th", missed)
	}
}

// The leader ends the run that another one replaces: once, of its task alone, and only for a node that has the task.
func TestReplacements(t *testing.T) {
	s := withNode()
	s.Apply(engine.NodePut{Node: &job.Node{ID: "n2", CreatedAt: noon.Add(-time.Hour)}})
	for _, id := range []job.NodeID{"n1", "n2"} {
		s.Apply(engine.NodeOnline{Presence: &job.Presence{Node: id, Session: "s-" + string(id)}, At: noon})
	}
	e := excluding("alone")
	e.Task.Overlap = job.OverlapReplace
	place(s, noon, engine.TaskPut{Entry: e})
	due := noon.Add(-3 * time.Hour)
	holder := job.Lock{Task: e.Ref(), Node: "n1", Run: job.FiringID(e.Ref(), "", due), Due: due}
	wish := job.Replacement{Node: "n2", Run: "later", Task: e.Ref(), Holder: holder}
	kills := func(r job.Replacement) (list []engine.CreateKill) {
		s.Apply(engine.ReplacementPut{Replacement: &r})
		for _, a := range s.Plan(noon.Add(time.Minute)) {
			if k, ok := a.(engine.CreateKill); ok {
				list = append(list, k)
				s.Apply(engine.Done{Action: a})
			}
		}
		return list
	}
	got := kills(wish)
	if len(got) != 1 || got[0].Kill.Run != holder.Run || got[0].Kill.Node != "n1" || !strings.Contains(got[0].Kill.By, "later") {
		t.Fatalf("%+v", got)
	}
	if again := kills(wish); len(again) != 0 {
		t.Errorf("asked twice: %+v", again)
	}
	for name, change := range map[string]func(*job.Replacement){
		"a run of another task": func(r *job.Replacement) { r.Holder.Run = job.FiringID(job.Ref("", "b"), "", due) },
		"an unbound node":       func(r *job.Replacement) { r.Node = "n3" },
		"no such task":          func(r *job.Replacement) { r.Task = job.Ref("", "b") },
		"a holder that is gone": func(r *job.Replacement) { r.Holder.Node = "n3" },
	} {
		forged := wish
		forged.Run = job.RunID("f-" + strings.ReplaceAll(name, " ", "-"))
		change(&forged)
		if got := kills(forged); len(got) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// groupWorld is a group with a timer at nine each day that excludes holidays.
type groupWorld struct {
	t     *testing.T
	s     *engine.State
	entry *job.Entry[job.Group]
	state *job.GroupState
	fired []string // days of executions, and what became of those that did not begin
	rev   int64
}

func newGroupWorld(t *testing.T, events ...engine.Event) *groupWorld {
	g := job.Group{Name: "default", Timer: "0 9 * * *", Exclude: []string{"calendar:holidays"}, Catchup: job.CatchupAll, Overlap: job.OverlapAllow}
	w := &groupWorld{t: t, entry: &job.Entry[job.Group]{Document: g, CreatedAt: noon, UpdatedAt: noon, Generation: 1, Revision: 1}, rev: 100}
	w.lead(events...)
	return w
}

// lead begins anew with what is kept, as another master does.
func (w *groupWorld) lead(events ...engine.Event) {
	w.s = engine.New(engine.Options{Lease: lease})
	e := excluding("common")
	e.Task.Timer, e.Task.Mode = "", job.ManyOnce
	w.s.Apply(engine.TaskPut{Entry: e}, engine.GroupPut{Entry: w.entry})
	if w.state != nil {
		w.s.Apply(engine.GroupStatePut{State: w.state})
	}
	w.s.Apply(append(events, engine.Began{At: noon})...)
}

// plan plans until nothing is left to do, and carries out what concerns the group.
func (w *groupWorld) plan(now time.Time) {
	w.t.Helper()
	for range 20 {
		idle := true
		for _, a := range w.s.Plan(now) {
			f, ok := a.(engine.FireGroup)
			if !ok {
				continue
			}
			idle = false
			for _, e := range f.Executions {
				day := e.Instant.Format("2")
				if e.Count > 1 {
					day += ".." + e.Until.Format("2")
				}
				if e.Status == job.ExecutionSkipped || e.Status == job.ExecutionMissed {
					day += " " + string(e.Status)
				}
				w.fired = append(w.fired, day)
			}
			w.rev++
			kept := *f.State
			kept.Revision = w.rev
			if kept.Rule != nil { // as it is read back
				r := *kept.Rule
				r.Schedule = nil
				kept.Rule = &r
			}
			w.state = &kept
			w.s.Apply(engine.Done{Action: a}, engine.GroupStatePut{State: w.state})
		}
		if idle {
			return
		}
	}
	w.t.Fatalf("it does not come to rest at %s: %+v", now, w.state)
}

func (w *groupWorld) have(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.fired, want) {
		w.t.Errorf("fired %v, want %v", w.fired, want)
	}
}

func holidays(rev int64, eras ...any) engine.CalendarPut {
	e := &job.CalendarEntry{Calendar: job.Calendar{Name: "holidays", Ranges: []string{eras[0].(string)}}, CreatedAt: noon}
	for i := 1; i < len(eras); i += 2 {
		e = e.Edited(job.Calendar{Name: "holidays", Ranges: []string{eras[i+1].(string)}}, eras[i].(time.Time))
	}
	e.Revision = rev
	return engine.CalendarPut{Entry: e}
}

func day(d, hour int) time.Time { return time.Date(2026, 12, d, hour, 0, 0, 0, time.UTC) }

// The timer of a group keeps its calendars, and follows them as they change.
func TestGroupsKeepCalendars(t *testing.T) {
	w := newGroupWorld(t, holidays(5, "2026-12-03"))
	w.plan(noon)
	for d := 2; d <= 4; d++ {
		w.plan(day(d, 9))
	}
	w.have("2", "4")
	// Changed on the 4th: what was due before is told already, what comes is by what it says now.
	w.s.Apply(holidays(6, "2026-12-03", day(4, 12), "2026-12-05"))
	for d := 4; d <= 6; d++ {
		w.plan(day(d, 13))
	}
	w.have("2", "4", "6")
	if got := w.s.GroupsExcluding("holidays"); !slices.Equal(got, []string{"default"}) {
		t.Errorf("named by %v", got)
	}
	// Should it be gone, the timer goes on with what it knew; a group that is new waits for it.
	w.s.Apply(engine.CalendarDeleted{Name: "holidays"})
	w.plan(day(7, 9))
	w.have("2", "4", "6", "7")
	fresh := newGroupWorld(t)
	fresh.plan(day(2, 12))
	if fresh.have(); fresh.state != nil {
		t.Errorf("it counts without its calendar: %+v", fresh.state)
	}
	fresh.s.Apply(holidays(5, "2026-12-02"))
	fresh.plan(day(3, 10))
	fresh.have("3")
}

// A calendar that changes while nobody leads: each instant is judged by what the calendar said as it was due, also where it came to say
// again what it had said at first, and where the group was edited in between.
func TestGroupsCatchUpByCalendars(t *testing.T) {
	w := newGroupWorld(t, holidays(5, "2026-12-20"))
	w.plan(noon)
	// From the 3rd at noon to the 6th at noon the 4th and the 6th are none.
	w.lead(holidays(9, "2026-12-20", day(3, 12), "2026-12-04", day(5, 12), "2026-12-06", day(6, 12), "2026-12-20"))
	w.plan(day(7, 12))
	w.have("2", "3", "5", "7")

	w = newGroupWorld(t, holidays(5, "2026-12-03"))
	w.plan(noon)
	edited := *w.entry
	edited.Document.Timer, edited.UpdatedAt, edited.Revision = "0 18 * * *", day(4, 12), 2
	w.entry = &edited
	w.lead(holidays(9, "2026-12-03", day(5, 12), "2026-12-06"))
	w.plan(day(7, 12))
	// At nine on the 2nd and the 4th; at six in the evening from the 4th on, and not on the 6th.
	w.have("2", "4", "4", "5")
}

// What fell into a pause is told by what held then, also where an edit or a calendar came during the pause.
func TestGroupsPausedAcrossChanges(t *testing.T) {
	w := newGroupWorld(t, holidays(5, "2026-12-03"))
	w.plan(noon)
	pause := func(paused bool, at time.Time) {
		s := *w.state
		if s.Paused = paused; paused {
			s.PausedAt = at
		} else {
			s.ResumedAt = at
		}
		w.rev++
		s.Revision = w.rev
		w.state = &s
		w.s.Apply(engine.GroupStatePut{State: w.state})
	}
	pause(true, noon.Add(time.Hour))
	w.plan(day(4, 10))
	w.s.Apply(holidays(9, "2026-12-03", day(4, 12), "2026-12-05"))
	w.plan(day(6, 10))
	w.have()
	pause(false, day(6, 11))
	w.plan(day(7, 10))
	w.have("2..4 skipped", "6 skipped", "7")
}
