package schedule

import (
	"fmt"
	"time"
)

// Warnings lists what may surprise the author of the schedule, seen from a point in time: clocks that change while a timer is
// due, days that many months lack, steps that start again, timers that are due rarely or never again.
func (s *Schedule) Warnings(from time.Time) []string {
	var list []string
	for _, r := range s.rules() {
		if c, ok := r.(*cron); ok {
			list = append(list, c.warnFields()...)
			list = append(list, c.warnClock(from.Unix())...)
		}
	}
	return append(list, s.warnRare(from)...)
}

func (s *Schedule) warnRare(from time.Time) []string {
	next := s.Next(from)
	if next.IsZero() {
		if last := s.Prev(from); !last.IsZero() {
			return []string{"never runs again, the last time was " + s.show(last.Unix())}
		}
		if s.Reboot() {
			return nil
		}
		return []string{"never runs"}
	}
	const year = 366 * 24 * time.Hour
	after := s.Next(next)
	switch {
	case next.Sub(from) > year:
		return []string{"is rare, it runs next at " + s.show(next.Unix())}
	case !after.IsZero() && after.Sub(next) > year:
		return []string{"is rare, it runs at " + s.show(next.Unix()) + " and not again before " + s.show(after.Unix())}
	}
	return nil
}

func (c *cron) warnFields() []string {
	var list []string
	for _, kind := range [...]fieldKind{fieldSecond, fieldMinute, fieldHour, fieldDom} {
		if text := c.warnStep(kind); text != "" {
			list = append(list, text)
		}
	}
	if dom, dow := c.describeDom(), c.describeDow(); dom != "" && dow != "" {
		if c.stars&(starDom|starDow) == 0 {
			list = append(list, "day of month and day of week are both given: it runs on "+dom+" and also on "+dow)
		} else {
			list = append(list, "one of the day fields starts with *, so both must match: it runs on "+dom+" only if it is "+dow)
		}
	}
	if text := c.warnShortMonths(); text != "" {
		list = append(list, text)
	}
	return list
}

// warnStep finds steps that do not divide their field, so that they start again too early.
func (c *cron) warnStep(kind fieldKind) string {
	f, values := &fields[kind], c.values(kind)
	whole := map[fieldKind]string{fieldSecond: "minute", fieldMinute: "hour", fieldHour: "day", fieldDom: "month"}[kind]
	size := f.last() - f.min + 1
	unit := f.name
	if kind == fieldDom {
		unit = "day"
	}
	if c.set(kind).star && len(values) == 1 {
		return fmt.Sprintf("the step is longer than the %s: it runs once every %s, at %s %d", whole, whole, unit, f.min)
	}
	step, even := progression(values)
	if len(values) == 2 && c.set(kind).star {
		step, even = values[1]-values[0], true
	}
	first, last := 0, 0
	if len(values) > 0 {
		first, last = values[0]-f.min, values[len(values)-1]-f.min
	}
	if !even || step == 1 || first >= step || last+step < size || first+size-last == step {
		return ""
	}
	if kind == fieldDom {
		return fmt.Sprintf("every %s day starts again each month: day %d is followed by day %d", ordinal(step), last+1, first+1)
	}
	return fmt.Sprintf("every %d %ss starts again each %s: %s %d is followed by %s %d, %d %ss later",
		step, unit, whole, unit, last, unit, first, first+size-last, unit)
}

// warnShortMonths finds days that some of the months lack, unless they are the end of a range of days.
func (c *cron) warnShortMonths() string {
	days := c.dom
	if c.stars&starDom != 0 {
		days = 0
	}
	if c.extra != nil {
		days |= c.extra.nearest
	}
	for day := 31; day > 28; day-- {
		if days>>day&1 == 0 || days>>(day-1)&1 != 0 {
			continue
		}
		var lacking uint16
		for month := 1; month <= 12; month++ {
			if monthLength(2001, month) < day {
				lacking |= 1 << month
			}
		}
		switch lacking &= c.month; {
		case lacking == 0:
		case c.month == 1<<2:
			return "29 February exists in leap years only"
		case day == 29:
			return "day 29 is left out in February, except in leap years; the last day is L"
		default:
			return fmt.Sprintf("day %d is left out in months that lack it; the last day is L", day)
		}
	}
	return ""
}

// warnClock says what the next jump ahead and the next step back that concern the timer will do. It looks three years ahead.
func (c *cron) warnClock(from int64) []string {
	const horizon = 3 * 366 * secondsPerDay
	var list []string
	var gap, overlap bool
	every := c.hour == 1<<24-1 && c.wild() // keeps to real time, so that nothing is lost or doubled
	for u := from; u < from+horizon && !every && !(gap && overlap); {
		seg := segmentAt(c.loc, u)
		if seg.end >= from+horizon {
			break
		}
		next := segmentAt(c.loc, seg.end)
		mark, first := highWater(c.loc, next), next.first()
		if mark < first && !gap {
			if w, ok := c.nextWall(mark); ok && w < first {
				gap = true
				list = append(list, c.warnGap(w, next))
			}
		}
		if mark > first && !overlap {
			if w, ok := c.nextWall(first); ok && w < mark {
				overlap = true
				list = append(list, c.warnOverlap(w, next))
			}
		}
		u = seg.end
	}
	return list
}

func (c *cron) warnGap(w int64, next segment) string {
	text := fmt.Sprintf("in %s the clock jumps over %s", c.loc, showWall(w, "2006-01-02 15:04:05"))
	end := showWall(next.first(), "15:04:05")
	switch {
	case c.wild():
		return text + ": a timer whose minute or hour starts with * does not run then; write the range out to have it run at " + end
	case c.dst.Gap == GapSkip:
		return text + ": it does not run then (gap: skip)"
	}
	return text + ": it runs once, at " + end
}

func (c *cron) warnOverlap(w int64, next segment) string {
	text := fmt.Sprintf("in %s the clock shows %s twice", c.loc, showWall(w, "2006-01-02 15:04:05"))
	switch {
	case c.wild():
		return text + ": a timer whose minute or hour starts with * runs each time"
	case c.dst.Overlap == OverlapTwice:
		return text + ": it runs each time (overlap: twice)"
	}
	return text + ": it runs the first time only"
}

func showWall(w int64, layout string) string {
	text := time.Unix(w, 0).UTC().Format(layout)
	if text[len(text)-3:] == ":00" {
		return text[:len(text)-3]
	}
	return text
}
