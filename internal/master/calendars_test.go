package master_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A calendar that is set, changed and deleted: the tasks that name it follow it, and it stays for as long as one does.
func TestCalendars(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		if _, err := w.admin.Nodes().Put(w.ctx, &job.Node{ID: "n1", CreatedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
		w.until("the node is known", func() bool { n, err := m.Nodes(w.ctx); return err == nil && len(n) == 1 })
		task := job.Task{Name: "a", Command: job.Args("true"), Timer: "0 9 * * *", Exclude: []string{"calendar:holidays"}}
		_, err := m.Apply(w.ctx, []job.Task{task}, master.ApplyOptions{})
		if err == nil || !strings.Contains(err.Error(), "there is no calendar holidays") {
			t.Fatalf("%v", err)
		}
		v, err := m.SetCalendar(w.ctx, job.Calendar{Name: "holidays", Ranges: []string{"2000-01-02"}}, -1, false)
		if err != nil || v.Change != master.Created {
			t.Fatalf("%+v, %v", v, err)
		}
		near := task
		near.Exclude = []string{"calendar:holiday"}
		if _, err := m.Apply(w.ctx, []job.Task{near}, master.ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "did you mean holidays?") {
			t.Errorf("%v", err)
		}
		if _, err := m.Apply(w.ctx, []job.Task{task}, master.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		first := func() time.Time {
			v, err := m.Task(w.ctx, task.Ref())
			if err != nil || len(v.Next) == 0 {
				t.Fatalf("%+v, %v", v, err)
			}
			return v.Next[0]
		}
		if d := first(); d.Day() != 1 {
			t.Errorf("next is %s", d)
		}
		jobs := func() *job.Job {
			list, _, err := w.admin.Jobs().List(w.ctx)
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			return list[0]
		}
		if r := jobs().Rules; !slices.Equal(r.Calendars["holidays"], []string{"2000-01-02"}) {
			t.Errorf("%+v", r)
		}
		// Nothing is written by a dry run, nor where nothing changes.
		other := job.Calendar{Name: "holidays", Ranges: []string{"2000-01-01", "2000-01-02"}}
		if v, err := m.SetCalendar(w.ctx, other, -1, true); err != nil || v.Change != master.Configured || first().Day() != 1 {
			t.Errorf("%+v, %v", v, err)
		}
		if v, err := m.SetCalendar(w.ctx, job.Calendar{Name: "holidays", Ranges: []string{"2000-01-02", "2000-01-02"}}, -1, false); err != nil || v.Change != master.Unchanged {
			t.Errorf("%+v, %v", v, err)
		}
		// An edit replaces the version that was read, and no other.
		for _, rev := range []int64{0, 1 << 40} {
			_, err := m.SetCalendar(w.ctx, other, rev, false)
			code(t, err, job.CodeConflict)
		}
		// It is placed when the answer comes.
		time.Sleep(time.Minute)
		if v, err := m.SetCalendar(w.ctx, other, -1, false); err != nil || v.Change != master.Configured || len(v.Tasks) != 1 {
			t.Errorf("%+v, %v", v, err)
		}
		if j := jobs(); len(j.Rules.Calendars["holidays"]) != 2 || len(j.Past) != 1 || first().Day() != 3 {
			t.Errorf("%s, next %s", j, first())
		}
		if err := m.DeleteCalendar(w.ctx, "holidays"); !job.IsConflict(err) || !strings.Contains(err.Error(), "default/a") {
			t.Errorf("%v", err)
		}
		// A rule that would grow beyond its bounds is refused, whichever way it grows.
		var many []string
		for d := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC); len(many) < 4000; d = d.Add(48 * time.Hour) {
			many = append(many, d.Format(time.DateOnly))
		}
		if _, err := m.SetCalendar(w.ctx, job.Calendar{Name: "many", Ranges: many}, -1, false); err != nil {
			t.Fatal(err)
		}
		both := task
		both.Exclude = append(slices.Clone(task.Exclude), "calendar:many")
		if _, err := m.Apply(w.ctx, []job.Task{both}, master.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := m.SetCalendar(w.ctx, job.Calendar{Name: "holidays", Ranges: many[:2000]}, -1, false); err == nil || !strings.Contains(err.Error(), "default/a") {
			t.Errorf("%v", err)
		}
		if err := m.Delete(w.ctx, task.Ref(), 0); err != nil {
			t.Fatal(err)
		}
		if err := m.DeleteCalendar(w.ctx, "holidays"); err != nil {
			t.Error(err)
		}
		if err := m.DeleteCalendar(w.ctx, "holidays"); !job.IsNotFound(err) {
			t.Errorf("%v", err)
		}
	})
}

// A clock that is off is measured against the leader's, also by a master that does not lead and whose own is off.
func TestClocksAreMeasured(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		follower := w.unserved("m2")
		follower.Options.Now = func() time.Time { return time.Now().Round(0).Add(-time.Hour) }
		follower.serve()
		for _, id := range []job.NodeID{"n1", "n2", "n3"} {
			if _, err := w.admin.Nodes().Put(w.ctx, &job.Node{ID: id, CreatedAt: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		ahead := map[job.NodeID]time.Duration{"n1": 0, "n2": 10 * time.Minute, "n3": -3 * time.Second}
		sessions := map[job.NodeID]*store.Session{}
		for id := range ahead {
			s, err := w.admin.Join(w.ctx, job.Presence{Node: id, Session: "s-" + string(id)}, lease)
			if err != nil {
				t.Fatal(err)
			}
			sessions[id] = s
		}
		beat := func(delay time.Duration) {
			for id, s := range sessions {
				if err := s.PutClock(w.ctx, time.Now().Round(0).Add(ahead[id]-delay)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(20 * time.Second)
		}
		w.until("the follower listens", func() bool { return follower.Ready(w.ctx) == nil })
		beat(0)
		beat(2 * time.Second) // a sample that was long on its way says nothing
		for _, l := range []*life{m, follower} {
			for id, want := range ahead {
				w.until("the clock of "+string(id)+" is known to "+l.name, func() bool {
					n, err := l.Node(w.ctx, id)
					return err == nil && n.Skew != nil && *n.Skew-want.Seconds() < 0.1 && want.Seconds()-*n.Skew < 0.1
				})
			}
			reasons := strings.Join(l.Status(w.ctx).Reasons, "\n")
			if strings.Contains(reasons, "node n1") || !strings.Contains(reasons, "the clock of node n2 is 10m0s ahead") ||
				!strings.Contains(reasons, "the clock of node n3 is 3s behind") {
				t.Errorf("%s says %s", l.name, reasons)
			}
		}
		// Set right, it is told right within three samples; one that falls silent is not known any more.
		ahead["n2"], ahead["n3"] = 0, 0
		for range 3 {
			beat(0)
		}
		if reasons := strings.Join(m.Status(w.ctx).Reasons, "\n"); strings.Contains(reasons, "clock") {
			t.Error(reasons)
		}
		time.Sleep(3 * time.Minute)
		if n, err := m.Node(w.ctx, "n2"); err != nil || n.Skew != nil {
			t.Errorf("%+v, %v", n, err)
		}
		for _, s := range sessions {
			_ = s.Close(w.ctx)
		}
	})
}

// The timer of a group names calendars as that of a task does: one that there is not is refused, the group follows a change, and the calendar stays
// for as long as it is named.
func TestGroupCalendars(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		docs := func(exclude ...string) job.Documents {
			return job.Documents{
				Groups: []job.Group{{Name: "etl", Timer: "*/10 * * * *", Exclude: exclude, Overlap: job.OverlapAllow}},
				Tasks:  []job.Task{task("a", "", func(t *job.Task) { t.Group = "etl" })},
			}
		}
		apply := func(exclude ...string) error {
			_, err := m.ApplyDocuments(w.ctx, docs(exclude...), master.ApplyOptions{})
			return err
		}
		set := func(ranges ...string) *master.CalendarView {
			v, err := m.SetCalendar(w.ctx, job.Calendar{Name: "holidays", Ranges: ranges}, -1, false)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		// tenth is the nth ten minutes since the beginning, without their end.
		tenth := func(n time.Duration) string {
			from := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(10 * n * time.Minute)
			return from.Format("2006-01-02T15:04Z") + ".." + from.Add(10*time.Minute).Format("2006-01-02T15:04Z")
		}
		set(tenth(1), tenth(3))
		if err := apply("calendar:holiday"); job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), "groups[0].exclude[0]: there is no calendar holiday; did you mean holidays?") {
			t.Errorf("%v", err)
		}
		if err := apply("calendar:holidays"); err != nil {
			t.Fatal(err)
		}
		tenths := func() (list []int) {
			g, err := m.GroupOf(w.ctx, "etl")
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range g.Next {
				list = append(list, int(at.Sub(at.Truncate(24*time.Hour)).Minutes())/10)
			}
			return list
		}
		if got := tenths(); !slices.Equal(got, []int{2, 4, 5, 6, 7}) {
			t.Errorf("next on %v", got)
		}
		due := func(want ...int) {
			t.Helper()
			var got []int
			w.until("they have begun", func() bool {
				list, err := m.ListExecutions(w.ctx, master.ExecutionFilter{Group: "etl"})
				if err != nil {
					t.Fatal(err)
				}
				got = nil
				for _, e := range list {
					got = append(got, int(e.Instant.Sub(e.Instant.Truncate(24*time.Hour)).Minutes())/10)
				}
				slices.Sort(got)
				return slices.Equal(got, want)
			})
		}
		time.Sleep(time.Until(time.Date(2000, 1, 1, 0, 35, 0, 0, time.UTC)))
		due(2)
		if v := set(tenth(4)); !slices.Equal(v.Groups, []string{"etl"}) || len(v.Tasks) != 0 {
			t.Errorf("%+v", v)
		}
		if got := tenths(); !slices.Equal(got, []int{5, 6, 7, 8, 9}) {
			t.Errorf("next on %v", got)
		}
		m.end()
		m = w.leader("m2")
		time.Sleep(time.Until(time.Date(2000, 1, 1, 0, 55, 0, 0, time.UTC)))
		due(2, 5)

		if err := m.DeleteCalendar(w.ctx, "holidays"); !job.IsConflict(err) || !strings.Contains(err.Error(), "calendar holidays is named by group etl") {
			t.Errorf("%v", err)
		}
		var many []string
		for d := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC); len(many) < 4000; d = d.Add(48 * time.Hour) {
			many = append(many, d.Format(time.DateOnly))
		}
		if _, err := m.SetCalendar(w.ctx, job.Calendar{Name: "many", Ranges: many}, -1, false); err != nil {
			t.Fatal(err)
		}
		if err := apply("calendar:holidays", "calendar:many"); err != nil {
			t.Fatal(err)
		}
		if _, err := m.SetCalendar(w.ctx, job.Calendar{Name: "holidays", Ranges: many[:2000]}, -1, false); job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), "group etl") {
			t.Errorf("%v", err)
		}
		rule := func(group string) *job.Rule {
			s, err := w.admin.GroupStates().Get(w.ctx, group)
			if err != nil {
				t.Fatal(err)
			}
			return s.Rule
		}
		// The leader takes up the edit of a group that is paused too.
		if err := m.PauseGroup(w.ctx, "etl", "alice"); err != nil {
			t.Fatal(err)
		}
		w.until("the rule is that of the edit", func() bool { return len(rule("etl").Calendars) == 2 })
		// A pause before a leader has written anything of the timer is by the same rule.
		m.end()
		leads, err := w.admin.Campaign(w.ctx, "idle", lease)
		if err != nil {
			t.Fatal(err)
		}
		m = w.master("m3")
		w.until("m3 is ready", func() bool { return m.Ready(w.ctx) == nil })
		late := job.Documents{Groups: []job.Group{{Name: "late", Timer: "*/10 * * * *", Exclude: []string{"calendar:holidays", "calendar:many"}}}}
		if _, err := m.ApplyDocuments(w.ctx, late, master.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := m.PauseGroup(w.ctx, "late", "alice"); err != nil {
			t.Fatal(err)
		}
		if r := rule("late"); len(r.Calendars) != 2 {
			t.Errorf("%+v", r)
		}
		if err := leads.Resign(w.ctx); err != nil {
			t.Fatal(err)
		}
		if err := m.DeleteGroup(w.ctx, "late", false); err != nil {
			t.Fatal(err)
		}
		if err := m.DeleteGroup(w.ctx, "etl", true); err != nil {
			t.Fatal(err)
		}
		if err := m.DeleteCalendar(w.ctx, "holidays"); err != nil {
			t.Error(err)
		}
	})
}
