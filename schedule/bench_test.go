package schedule_test

import (
	"testing"
	"time"

	"github.com/rota-dev/rota/schedule"
)

var timers = []struct{ name, expr, zone string }{
	{"every5minutes", "*/5 * * * *", "Europe/Berlin"},
	{"daily", "30 2 * * *", "Europe/Berlin"},
	{"weekdays", "0 9 * * MON-FRI", "America/New_York"},
	{"dailyUTC", "30 2 * * *", "UTC"},
	{"seconds", "*/10 * * * * *", "Europe/Berlin"},
	{"lastDay", "0 0 L * *", "Europe/Berlin"},
	{"yearly", "0 0 1 1 *", "Europe/Berlin"},
	{"leapMonday", "0 0 29 2 */7", "Europe/Berlin"},
	{"every90s", "@every 90s", "UTC"},
	{"far", "30 2 1 6 *", "America/New_York"},
}

func BenchmarkNext(b *testing.B) {
	bench(b, (*schedule.Schedule).Next)
}

func BenchmarkPrev(b *testing.B) {
	bench(b, (*schedule.Schedule).Prev)
}

func bench(b *testing.B, search func(*schedule.Schedule, time.Time) time.Time) {
	for _, timer := range timers {
		b.Run(timer.name, func(b *testing.B) {
			s := parse(b, timer.expr, schedule.Options{Location: zone(b, timer.zone)})
			from := time.Date(2026, 11, 22, 17, 30, 0, 0, time.UTC)
			b.ReportAllocs()
			for b.Loop() {
				search(s, from)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	loc := zone(b, "Europe/Berlin")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = schedule.Parse("*/5 9-17 * * MON-FRI", schedule.Options{Location: loc})
	}
}

func parse(tb testing.TB, expr string, o schedule.Options) *schedule.Schedule {
	tb.Helper()
	s, err := schedule.Parse(expr, o)
	if err != nil {
		tb.Fatalf("%s: %v", expr, err)
	}
	return s
}

func zone(tb testing.TB, name string) *time.Location {
	tb.Helper()
	loc, err := schedule.LoadLocation(name)
	if err != nil {
		tb.Fatal(err)
	}
	return loc
}
