package job

import (
	"fmt"
	"testing"
	"time"
)

// What is kept of the rules of the past is bounded: of edits beyond that the oldest are forgotten, and what was still due by them
// with them. docs/tasks.md says so.
func TestPastIsBounded(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	task := Task{Name: "a", Command: Line("true"), Timer: "0 * * * *", Kind: "interval"}
	task.Complete()
	e := &TaskEntry{Task: task, CreatedAt: at, UpdatedAt: at, Since: at, Generation: 1}
	for i := range maxEras + 5 {
		at = at.Add(time.Hour)
		rule := e.Task.Rule()
		if err := rule.Valid(); err != nil {
			t.Fatal(err)
		}
		edited := task
		edited.Timer = Timer(fmt.Sprintf("%d * * * *", i+1))
		e = e.Edited(edited, e, rule, time.Time{}, at)
		if want := min(i+1, maxEras); len(e.Past) != want {
			t.Fatalf("after %d edits %d are kept, want %d", i+1, len(e.Past), want)
		}
	}
	if first := e.Past[0]; first.Since.Equal(e.CreatedAt) || !e.Past[len(e.Past)-1].Until.Equal(e.Since) {
		t.Errorf("kept is from %s to %s", first.Since, e.Past[len(e.Past)-1].Until)
	}
	if was := e.EraOf(e.CreatedAt.Add(30 * time.Minute)); was != nil {
		t.Errorf("the first rule is known still: %+v", was)
	}
	// What is settled makes room at once.
	rule := e.Task.Rule()
	if err := rule.Valid(); err != nil {
		t.Fatal(err)
	}
	if e = e.Edited(task, e, rule, at.Add(time.Hour), at.Add(time.Hour)); len(e.Past) != 1 {
		t.Errorf("%d are kept of what is settled", len(e.Past))
	}
}

// What is to be claimed begins behind what is settled, whatever the clock says; what each node has for itself does not.
func TestEditedBehindWhatIsSettled(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	settled, now := at.Add(time.Hour), at.Add(10*time.Minute)
	for was, kinds := range map[KindName]map[KindName]time.Time{
		"interval": {"interval": settled, "alone": settled, "common": now},
		"common":   {"interval": settled, "common": now},
	} {
		for kind, want := range kinds {
			task := Task{Name: "a", Command: Line("true"), Timer: "0 * * * *", Kind: was}
			task.Complete()
			e := &TaskEntry{Task: task, CreatedAt: at, UpdatedAt: at, Since: at, Generation: 1}
			rule := task.Rule()
			if err := rule.Valid(); err != nil {
				t.Fatal(err)
			}
			task.Timer, task.Kind = "30 * * * *", kind
			n := e.Edited(task, e, rule, settled, now)
			if !n.Since.Equal(want) || !n.Past[len(n.Past)-1].Until.Equal(want) || !n.UpdatedAt.Equal(now) {
				t.Errorf("%s to %s: since %s, the past ends at %s, want %s", was, kind, n.Since, n.Past[len(n.Past)-1].Until, want)
			}
		}
	}
}
