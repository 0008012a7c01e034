package job_test

import (
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

// The whole state table: a row for the state before, a column for the state after.
const stateTable = `
          pending running success failed timeout killed lost skipped missed
pending   -       x       -       x      -       x      x    x       x
running   -       -       x       x      x       x      x    -       -
success   -       -       -       -      -       -      -    -       -
failed    -       -       -       -      -       -      -    -       -
timeout   -       -       -       -      -       -      -    -       -
killed    -       -       -       -      -       -      -    -       -
lost      -       -       x       x      x       x      -    x       -
skipped   -       -       -       -      -       -      -    -       -
missed    -       -       x       x      x       x      x    x       -
`

func TestStateTable(t *testing.T) {
	t.Parallel()
	rows := strings.Split(strings.TrimSpace(stateTable), "\n")
	states := strings.Fields(rows[0])
	if len(states) != 2+len(job.Outcomes) {
		t.Fatal("the table lacks a state")
	}
	for _, row := range rows[1:] {
		cells := strings.Fields(row)
		from := job.RunState(cells[0])
		for i, to := range states {
			want := cells[i+1] == "x"
			if got := from.CanBecome(job.RunState(to)); got != want {
				t.Errorf("%s can become %s: %t", from, to, got)
			}
			old, now := job.Outcome(from), job.Outcome(to)
			if old.Valid() && now.Valid() && now.Supersedes(old) != want {
				t.Errorf("%s supersedes %s: %t", now, old, !want)
			}
		}
	}
	if job.RunState("").CanBecome(job.StateRunning) || job.Outcome("started").Valid() {
		t.Error("a state that is none")
	}
}

// ancestor 48: a late record never overwrites one that knows as much, and knowledge never gets less: along every chain of
// records that supersede each other no outcome comes twice.
func TestSupersedingEnds(t *testing.T) {
	t.Parallel()
	var follow func(o job.Outcome, seen map[job.Outcome]bool)
	follow = func(o job.Outcome, seen map[job.Outcome]bool) {
		if seen[o] {
			t.Fatalf("%s supersedes itself by way of %v", o, seen)
		}
		seen[o] = true
		for _, next := range job.Outcomes {
			if next.Supersedes(o) {
				follow(next, seen)
			}
		}
		delete(seen, o)
	}
	for _, o := range job.Outcomes {
		follow(o, map[job.Outcome]bool{})
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o        job.Outcome
		ran, bad bool
	}{
		{job.Success, true, false}, {job.Failed, true, true}, {job.Timeout, true, true}, {job.Killed, true, true},
		{job.Lost, true, true}, {job.Skipped, false, false}, {job.Missed, false, true},
	} {
		if c.o.Ran() != c.ran || c.o.Bad() != c.bad {
			t.Errorf("%s: ran %t, bad %t", c.o, c.o.Ran(), c.o.Bad())
		}
	}
}

// On the wire a kind is the seed's number; people write its name.
func TestKinds(t *testing.T) {
	t.Parallel()
	for n, name := range []job.KindName{"common", "alone", "interval"} {
		if k := job.Kind(n); k.Name() != name || name.Kind() != k || k.Claimed() != (n > 0) {
			t.Errorf("kind %d: name %s, number of it %d, claimed %t", n, k.Name(), name.Kind(), k.Claimed())
		}
	}
	if job.KindCommon != 0 || job.KindAlone != 1 || job.KindInterval != 2 {
		t.Error("the numbers are the seed's")
	}
	if job.Kind(3).Name() != "" || job.Kind(-1).Name() != "" || job.KindName("x").Kind() != job.KindCommon {
		t.Error("what is no kind has no name")
	}
}

// ancestor 17: onlyonce has one spelling, which is the seed's wire form, wherever it is compared.
func TestModesAreTheSeeds(t *testing.T) {
	t.Parallel()
	if job.OnlyOnce != "onlyonce" || job.ManyOnce != "manyonce" || job.Cycle != "cycle" {
		t.Error("the spelling has changed")
	}
	for _, other := range []job.RuleMode{"OnlyOnce", "onceonly", "only_once", "once", ""} {
		if r := (&job.Rule{Mode: other}); r.Valid() == nil {
			t.Errorf("mode %q is taken", other)
		}
	}
}
