package benchlib

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adhocore/gronx"
	"github.com/robfig/cron/v3"

	"github.com/rota-dev/rota/schedule"
)

// next gives the first instant after a time.
type next func(time.Time) time.Time

var timers = []struct{ name, expr string }{
	{"every minute", "* * * * *"},
	{"every 15 minutes, working hours", "*/15 9-17 * * 1-5"},
	{"daily", "30 2 * * *"},
	{"monthly", "0 0 1 * *"},
	{"leap days", "0 0 29 2 *"},
}

func berlin(t testing.TB) *time.Location {
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

var start = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func rota(t testing.TB, expr string) next {
	s, err := schedule.Parse(expr, schedule.Options{Location: berlin(t)})
	if err != nil {
		t.Fatal(err)
	}
	return s.Next
}

func robfig(t testing.TB, expr string) next {
	s, err := cron.ParseStandard("CRON_TZ=Europe/Berlin " + expr)
	if err != nil {
		t.Fatal(err)
	}
	return s.Next
}

func adhocore(t testing.TB, expr string) next {
	loc := berlin(t)
	return func(at time.Time) time.Time {
		n, err := gronx.NextTickAfter(expr, at.In(loc), false)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

var libraries = []struct {
	name string
	make func(testing.TB, string) next
}{{"rota", rota}, {"robfig/cron", robfig}, {"adhocore/gronx", adhocore}}

// step is a benchmark of one step of a walk.
func step(b *testing.B, f next) {
	at := start
	b.ReportAllocs()
	for b.Loop() {
		if at = f(at); at.IsZero() || at.Year() > 2100 {
			at = start
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, timer := range timers {
		for _, lib := range libraries {
			b.Run(strings.ReplaceAll(timer.name, " ", "_")+"/"+strings.ReplaceAll(lib.name, "/", "-"), func(b *testing.B) {
				step(b, lib.make(b, timer.expr))
			})
		}
	}
}

// TestTable prints the benchmarks as a table: the median of five, the libraries in turn.
func TestTable(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	var out strings.Builder
	out.WriteString("| timer |")
	for _, lib := range libraries {
		out.WriteString(" " + lib.name + " |")
	}
	out.WriteString(" best other ÷ rota |\n|---|---|---|---|---|\n")
	for _, timer := range timers {
		took := make([][]float64, len(libraries))
		for range 5 {
			for i, lib := range libraries {
				f, at, n := lib.make(t, timer.expr), start, 0
				began := time.Now()
				for time.Since(began) < 40*time.Millisecond {
					for range 16 {
						if at = f(at); at.IsZero() || at.Year() > 2100 {
							at = start
						}
					}
					n += 16
				}
				took[i] = append(took[i], float64(time.Since(began).Nanoseconds())/float64(n))
			}
		}
		fmt.Fprintf(&out, "| %s `%s` |", timer.name, timer.expr)
		var medians []float64
		for i := range libraries {
			slices.Sort(took[i])
			medians = append(medians, took[i][2])
			wrong := ""
			if !agree(t, i, timer.expr) {
				wrong = " (wrong)"
				medians[i] = math.Inf(1)
			}
			fmt.Fprintf(&out, " %.0f ns%s |", took[i][2], wrong)
		}
		fmt.Fprintf(&out, " %.1f |\n", min(medians[1], medians[2])/medians[0])
	}
	t.Log("\n" + out.String())
}

// agree tells whether a library's first instants of a timer are those of Rota, away from changes of the clock.
func agree(t testing.TB, i int, expr string) bool {
	f, g, a, b := rota(t, expr), libraries[i].make(t, expr), start, start
	for range 10 {
		if a, b = f(a), g(b); !a.Equal(b) {
			return false
		}
	}
	return true
}

// What is measured is the same. gronx finds no leap day: it gives one in March.
func TestAgree(t *testing.T) {
	for _, timer := range timers {
		for i, lib := range libraries {
			if !agree(t, i, timer.expr) && lib.name != "adhocore/gronx" {
				t.Errorf("%s: rota and %s differ", timer.expr, lib.name)
			}
		}
	}
}
