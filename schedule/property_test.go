package schedule_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/schedule"
	"github.com/rota-dev/rota/test/seed"
)

var _ = seed.Fix()

// expressions draws timers of the whole dialect.
func expressions() *rapid.Generator[string] {
	field := func(low, high int, special ...string) *rapid.Generator[string] {
		n := rapid.IntRange(low, high)
		item := rapid.Custom(func(t *rapid.T) string {
			a, b, step := n.Draw(t, "a"), n.Draw(t, "b"), rapid.IntRange(1, high+5).Draw(t, "step")
			forms := append([]string{
				"*", "*", "*", fmt.Sprint(a), fmt.Sprint(a), fmt.Sprintf("%d-%d", min(a, b), max(a, b)),
				fmt.Sprintf("*/%d", step), fmt.Sprintf("%d/%d", a, step), fmt.Sprintf("%d-%d/%d", min(a, b), max(a, b), step),
				"H", fmt.Sprintf("H/%d", step), fmt.Sprintf("H(%d-%d)", min(a, b), max(a, b)), fmt.Sprintf("%d~%d", min(a, b), max(a, b)), "~",
			}, special...)
			return rapid.SampledFrom(forms).Draw(t, "form")
		})
		return rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(item, 1, 3).Draw(t, "items"), ",")
		})
	}
	return rapid.Custom(func(t *rapid.T) string {
		kind := rapid.IntRange(0, 9).Draw(t, "kind")
		switch kind {
		case 0:
			return fmt.Sprintf("@every %ds", rapid.IntRange(1, 1e6).Draw(t, "seconds"))
		case 1:
			return rapid.SampledFrom([]string{"@daily", "@hourly", "@monthly", "@yearly", "@reboot", "@at 2026-12-01,2027-03-28T02:30"}).Draw(t, "macro")
		}
		parts := []string{
			field(0, 59).Draw(t, "minute"), field(0, 23).Draw(t, "hour"),
			field(1, 31, "L", "L-3", "LW", "15W", "31W", "1W").Draw(t, "dom"), field(1, 12, "FEB").Draw(t, "month"),
			field(0, 7, "5L", "1#2", "SUN#5", "MON-FRI").Draw(t, "dow"),
		}
		if kind >= 8 {
			parts = append([]string{field(0, 59).Draw(t, "second")}, parts...)
		}
		if kind == 9 {
			parts = append(parts, field(2020, 2040).Draw(t, "year"))
		}
		return strings.Join(parts, " ")
	})
}

// drawn gives a schedule with all its options, if what was drawn exists.
func drawn(t *rapid.T) (*schedule.Schedule, schedule.Options) {
	exprs := rapid.SliceOfN(expressions(), 1, 3).Draw(t, "exprs")
	loc, err := schedule.LoadLocation(rapid.SampledFrom(schedule.ZoneNames()).Draw(t, "zone"))
	if err != nil {
		t.Fatal(err)
	}
	o := schedule.Options{
		Location: loc, Seed: rapid.String().Draw(t, "seed"),
		Anchor: time.Unix(rapid.Int64Range(-1e10, 1e10).Draw(t, "anchor"), 0),
		DST: schedule.DST{
			Gap:     schedule.Gap(rapid.IntRange(0, 1).Draw(t, "gap")),
			Overlap: schedule.Overlap(rapid.IntRange(0, 1).Draw(t, "overlap")),
		},
	}
	if rapid.Bool().Draw(t, "window") {
		day := rapid.Custom(func(t *rapid.T) time.Time {
			return time.Date(2026, 1, 1+rapid.IntRange(0, 800).Draw(t, "day"), 0, 0, 0, 0, time.UTC)
		})
		a, b := day.Draw(t, "a"), day.Draw(t, "b")
		if b.Before(a) {
			a, b = b, a
		}
		o.Window.Exclude = append(o.Window.Exclude, schedule.Dates(a, b), schedule.Between(b, b.Add(time.Hour)))
	}
	s, err := schedule.ParseAll(exprs, o)
	if err != nil {
		t.Skip(err)
	}
	return s, o
}

func instant() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		from := rapid.SampledFrom([]int64{-3e9, 0, 1.7e9, 1.774e9, 1.793e9, 4e9}).Draw(t, "base")
		return time.Unix(from+rapid.Int64Range(0, 4e7).Draw(t, "seconds"), rapid.Int64Range(0, 1).Draw(t, "nanos"))
	})
}

// Next only moves ahead, Prev leads back the same way, and what lies between two instants is found from anywhere in between.
func TestNextAndPrevAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, _ := drawn(t)
		at := instant().Draw(t, "at")
		for range 20 {
			next := s.Next(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("%s: after %v comes %v", s, at, next)
			}
			if back := s.Prev(next.Add(time.Nanosecond)); !back.Equal(next) {
				t.Fatalf("%s: the last instant up to %v is %v", s, next, back)
			}
			if back := s.Prev(next); back.After(at) {
				t.Fatalf("%s: from %v Next skips %v", s, at, back)
			}
			middle := at.Add(next.Sub(at) / time.Duration(rapid.IntRange(2, 9).Draw(t, "part")))
			if again := s.Next(middle); !again.Equal(next) {
				t.Fatalf("%s: after %v comes %v, after %v comes %v", s, at, next, middle, again)
			}
			at = next
		}
	})
}

func TestNormalFormParsesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, o := drawn(t)
		again, err := schedule.Parse(s.String(), o)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if again.String() != s.String() || !again.Equal(s) {
			t.Fatalf("%s becomes %s", s, again)
		}
		at := instant().Draw(t, "at")
		if a, b := s.Next(at), again.Next(at); !a.Equal(b) {
			t.Fatalf("%s: %v and %v", s, a, b)
		}
		if s.Describe() == "" {
			t.Fatalf("%s has no description", s)
		}
		s.Warnings(at)
	})
}

func TestEveryIsAnchored(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		period := rapid.Int64Range(1, 1e7).Draw(t, "period")
		anchor := time.Unix(rapid.Int64Range(-1e10, 1e10).Draw(t, "anchor"), 0)
		s, err := schedule.Parse(fmt.Sprintf("@every %ds", period), schedule.Options{Anchor: anchor})
		if err != nil {
			t.Fatal(err)
		}
		at := instant().Draw(t, "at")
		next := s.Next(at)
		if (next.Unix()-anchor.Unix())%period != 0 || next.Sub(at) > time.Duration(period)*time.Second || !next.After(at) {
			t.Fatalf("every %d s from %v on, after %v: %v", period, anchor, at, next)
		}
	})
}

func TestJitter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed, at, limit := rapid.String().Draw(t, "seed"), instant().Draw(t, "at"), time.Duration(rapid.Int64().Draw(t, "max"))
		d := schedule.Jitter(seed, at, limit)
		if d < 0 || limit > 0 && d >= limit || limit <= 0 && d != 0 || d != schedule.Jitter(seed, at.UTC(), limit) {
			t.Fatalf("%v of %v", d, limit)
		}
	})
	// What was drawn once must never move.
	if d := schedule.Jitter("nightly-backup", time.Unix(1_800_000_000, 0), time.Hour); d != 1699210704496 {
		t.Error(d)
	}
	var buckets [10]int
	for i := range 10_000 {
		buckets[schedule.Jitter(fmt.Sprint("task", i), time.Unix(0, 0), 10*time.Second)/time.Second]++
	}
	for i, n := range buckets {
		if n < 850 || n > 1150 {
			t.Errorf("%d of 10,000 fall into part %d of 10", n, i)
		}
	}
}

func TestHSpreads(t *testing.T) {
	t.Parallel()
	var minutes [60]int
	for i := range 6000 {
		s := parse(t, "H H * * *", schedule.Options{Seed: fmt.Sprint("task", i)})
		minutes[s.Next(time.Unix(0, 0)).Minute()]++
	}
	for m, n := range minutes {
		if n < 50 || n > 160 {
			t.Errorf("%d of 6,000 tasks run in minute %d", n, m)
		}
	}
}

// Extreme arguments neither panic nor hang.
func TestExtremeTimes(t *testing.T) {
	t.Parallel()
	for _, timer := range []string{"* * * * * *", "0 0 29 2 *", "@every 1s", "@every 292w", "@at 2026-12-01", "0 0 0 1 1 * 2199", "@reboot"} {
		s := parse(t, timer, schedule.Options{Location: zone(t, "Africa/Casablanca"), Anchor: time.Unix(1<<62, 0)})
		for _, u := range []int64{-1 << 63, -1 << 62, -62135596801, -62135596800, 0, 253402300798, 253402300799, 253402300800, 1 << 62, 1<<63 - 1} {
			at := time.Unix(u, 999_999_999)
			next, prev := s.Next(at), s.Prev(at)
			if u > 1<<62 || u < -1<<62 {
				continue // a time.Time of these is not what it says
			}
			if !next.IsZero() && (!next.After(at) || next.Year() > 9999) || !prev.IsZero() && !prev.Before(at) {
				t.Errorf("%s at %d: next %v, last %v", timer, u, next, prev)
			}
		}
		if next := s.Next(time.Time{}); !next.IsZero() && next.Year() > 2199 {
			t.Errorf("%s: first %v", timer, next)
		}
	}
}

// A wildcard timer that is due in the gap only is never due; the search for it ends.
func TestNeverDueOutsideOfTheGap(t *testing.T) {
	t.Parallel()
	s := parse(t, "*/5 2 * 3 */7", schedule.Options{Location: zone(t, "Europe/Berlin"),
		Window: schedule.Window{Start: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}})
	if s.Next(time.Now()).IsZero() {
		t.Error("the other Sundays of March are not found")
	}
	s = parse(t, "*/5 2 * 3 7L", schedule.Options{Location: zone(t, "Europe/Berlin")})
	if at := s.Next(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)); !at.IsZero() {
		t.Errorf("due at %v", at)
	}
}

func TestNextDoesNotAllocate(t *testing.T) {
	at := time.Date(2026, 11, 22, 17, 30, 0, 0, time.UTC)
	for _, timer := range timers {
		s := parse(t, timer.expr+"; @every 7h; @at 2030-01-01", schedule.Options{Location: zone(t, timer.zone),
			Window: schedule.Window{Exclude: ranges(t, "2026-11-23")}})
		if n := testing.AllocsPerRun(10, func() { s.Next(at); s.Prev(at) }); n > 0 {
			t.Errorf("%s: %v allocations", timer.expr, n)
		}
	}
}

func TestSchedulesAreSmall(t *testing.T) {
	const limit = 150
	keep := make([]*schedule.Schedule, 2000)
	loc := zone(t, "Europe/Berlin")
	before := heap()
	for i := range keep {
		keep[i] = parse(t, "30 2 * * MON-FRI", schedule.Options{Location: loc})
	}
	size := (heap() - before) / uint64(len(keep))
	runtime.KeepAlive(keep)
	if size > limit {
		t.Errorf("a schedule takes %d bytes", size)
	} else {
		t.Logf("a schedule takes %d bytes, of which %d are its head", size, unsafe.Sizeof(*keep[0]))
	}
}
