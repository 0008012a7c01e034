package sim

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rota-dev/rota/test/seed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// number is what a variable of the environment says, or else what is said here.
func number(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// TestScenarios plays as many scenarios as ROTA_SIM_SEEDS says, the same each time unless ROTA_RANDOM or ROTA_SEED is set.
func TestScenarios(t *testing.T) {
	t.Parallel()
	base, _ := seed.Of()
	var sum tally
	t.Run("seeds", func(t *testing.T) {
		for n := range number("ROTA_SIM_SEEDS", 40) {
			t.Run(fmt.Sprint(base+n), func(t *testing.T) {
				t.Parallel()
				out := play(t, draw(base+n), "")
				sum.add(out)
				if len(out.wrong) > 0 {
					report(t, draw(base+n), "", out)
				}
			})
		}
	})
	t.Log(sum.String())
}

// TestReplay plays the scenario that ROTA_SIM names, as a failure has printed it.
func TestReplay(t *testing.T) {
	name := os.Getenv("ROTA_SIM")
	if name == "" {
		t.Skip("ROTA_SIM names no scenario")
	}
	sc, err := named(name)
	if err != nil {
		t.Fatal(err)
	}
	if out := play(t, sc, bug(os.Getenv("ROTA_SIM_BUG"))); len(out.wrong) > 0 {
		report(t, sc, bug(os.Getenv("ROTA_SIM_BUG")), out)
	}
}

// report makes a failure smaller, and tells of it.
func report(t *testing.T, sc *scenario, b bug, out outcome) {
	t.Errorf("%s\n\nROTA_SIM=%q go test -run TestReplay ./test/sim", out.wrong[0], sc.name())
	small, again, tries := shrink(t, sc, b, out.wrong[0].promise, time.Duration(number("ROTA_SIM_SHRINK", 60))*time.Second)
	if len(again.wrong) == 0 {
		t.Logf("it did not happen again\n%s\n%s", sc, out.seen.story(out.wrong[0], 200))
		return
	}
	t.Logf("after %d tries\n%s\nROTA_SIM=%q go test -run TestReplay ./test/sim\n\n%s\n\n%s", tries, small, small.name(), again.wrong[0], again.seen.story(again.wrong[0], 200))
}

// tally sums up what was played.
type tally struct {
	mu              sync.Mutex
	played          int
	virtual, real   time.Duration
	starts, records int
}

func (s *tally) add(o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.played++
	s.virtual, s.real, s.starts, s.records = s.virtual+o.virtual, s.real+o.real, s.starts+o.starts, s.records+o.records
}

func (s *tally) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d clusters lived for %s, with %d executions and %d records: %.2f cluster-days a minute",
		s.played, s.virtual.Round(time.Minute), s.starts, s.records, s.virtual.Hours()/24/s.real.Minutes())
}

// TestDeliberateBugs shows that the simulator sees.
func TestDeliberateBugs(t *testing.T) {
	t.Parallel()
	base, _ := seed.Of()
	for b, breaks := range bugs {
		t.Run(strings.ReplaceAll(string(b), " ", "-"), func(t *testing.T) {
			t.Parallel()
			for n := range uint64(breaks.within) {
				out := play(t, draw(base+n), b)
				if i := slices.IndexFunc(out.wrong, func(v violation) bool { return slices.Contains(breaks.of, v.promise) }); i >= 0 {
					t.Logf("found in scenario %d: %s", n+1, out.wrong[i])
					return
				}
			}
			t.Errorf("not found in %d scenarios", breaks.within)
		})
	}
}

// The numbers of scenarios are those that docs/simulator.md states.
func TestBoundsAreStated(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	for b, breaks := range bugs {
		if row := fmt.Sprintf("| %s | %s | %d |", b, strings.Join(breaks.of, " or "), breaks.within); !strings.Contains(string(page), row) {
			t.Errorf("docs/simulator.md has no row that begins with %q", row)
		}
	}
}

// The same seed is the same scenario, and a name says all of it.
func TestNames(t *testing.T) {
	t.Parallel()
	for n := range uint64(300) {
		s := draw(n + 1)
		again, err := named(s.name())
		if err != nil || again.String() != draw(n+1).String() {
			t.Fatalf("%v\n%s\n%s", err, s, again)
		}
	}
	for _, wrong := range []string{"", "masters=1", "seed=x", "seed=1 length=1", "seed=1 whatever=2"} {
		if _, err := named(wrong); err == nil {
			t.Errorf("%q names a scenario", wrong)
		}
	}
}
