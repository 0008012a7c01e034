package schedule_test

import (
	"testing"
	"time"

	"github.com/rota-dev/rota/schedule"
)

// Special days against a walk over the days of forty years.
func TestSpecialDays(t *testing.T) {
	t.Parallel()
	last := func(d time.Time) int { return time.Date(d.Year(), d.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day() }
	working := func(d time.Time) bool { return d.Weekday() != time.Saturday && d.Weekday() != time.Sunday }
	nearest := func(d time.Time, day int) bool {
		if day > last(d) {
			return false
		}
		for _, shift := range []int{0, -1, 1, -2, 2} {
			if n := day + shift; n >= 1 && n <= last(d) {
				if at := time.Date(d.Year(), d.Month(), n, 0, 0, 0, 0, time.UTC); working(at) {
					return d.Day() == n
				}
			}
		}
		return false
	}
	for expr, due := range map[string]func(time.Time) bool{
		"0 0 L * *":        func(d time.Time) bool { return d.Day() == last(d) },
		"0 0 L-3 * *":      func(d time.Time) bool { return d.Day() == last(d)-3 },
		"0 0 L-30 * *":     func(d time.Time) bool { return d.Day() == last(d)-30 },
		"0 0 1,L * ?":      func(d time.Time) bool { return d.Day() == 1 || d.Day() == last(d) },
		"0 0 15W * *":      func(d time.Time) bool { return nearest(d, 15) },
		"0 0 1W * *":       func(d time.Time) bool { return nearest(d, 1) },
		"0 0 30W * *":      func(d time.Time) bool { return nearest(d, 30) },
		"0 0 31W * *":      func(d time.Time) bool { return nearest(d, 31) },
		"0 0 LW * *":       func(d time.Time) bool { return nearest(d, last(d)) },
		"0 0 * * FRIL":     func(d time.Time) bool { return d.Weekday() == time.Friday && d.Day()+7 > last(d) },
		"0 0 * * 7L":       func(d time.Time) bool { return d.Weekday() == time.Sunday && d.Day()+7 > last(d) },
		"0 0 * * MON#2":    func(d time.Time) bool { return d.Weekday() == time.Monday && (d.Day()-1)/7 == 1 },
		"0 0 * * 0#5":      func(d time.Time) bool { return d.Weekday() == time.Sunday && (d.Day()-1)/7 == 4 },
		"0 0 L * MON#1":    func(d time.Time) bool { return d.Day() == last(d) || d.Weekday() == time.Monday && d.Day() <= 7 },
		"0 0 13 * FRI":     func(d time.Time) bool { return d.Day() == 13 || d.Weekday() == time.Friday },
		"0 0 */13 * FRI":   func(d time.Time) bool { return d.Day()%13 == 1 && d.Weekday() == time.Friday },
		"0 0 29 2 *":       func(d time.Time) bool { return d.Month() == time.February && d.Day() == 29 },
		"0 0 29 FEB */8":   func(d time.Time) bool { return d.Month() == 2 && d.Day() == 29 && d.Weekday() == time.Sunday },
		"0 0 0 1 * * 2101": func(d time.Time) bool { return d.Day() == 1 && d.Year() == 2101 },
		"0 0 0 ? * SAT-SUN 2085-2087/2": func(d time.Time) bool {
			return !working(d) && (d.Year() == 2085 || d.Year() == 2087)
		},
	} {
		s := parse(t, expr, schedule.Options{})
		first, end := time.Date(2080, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)
		next, before := s.Next(first.Add(-1)), time.Time{}
		for day := first; day.Before(end); day = day.AddDate(0, 0, 1) {
			if due(day) != next.Equal(day) {
				t.Errorf("%s: on %s the oracle says %v, next is %v", expr, day.Format(time.DateOnly), due(day), next)
				break
			}
			if prev := s.Prev(day); !before.IsZero() && !prev.Equal(before) {
				t.Errorf("%s: before %s it was due %v, not %v", expr, day.Format(time.DateOnly), before, prev)
				break
			}
			if due(day) {
				before, next = day, s.Next(day)
			}
		}
	}
}
