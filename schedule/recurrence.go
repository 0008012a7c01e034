package schedule

import (
	"strings"
)

// A recurrence is an RRULE.
type recurrence struct {
	line     int
	freq     string
	interval int
	count    int // 0: no limit
	until    *calendarTime
	weekdays uint8 // BYDAY of a weekly rule, bit 0 Sunday; 0: that of the start
	sunday   bool  // weeks start on Sunday

	// What an exporter may repeat of the start, checked against it.
	month, monthDay int
}

func (p property) recurrence() (*recurrence, error) {
	r := &recurrence{line: p.line, interval: 1}
	byDay := ""
	for part := range strings.SplitSeq(strings.TrimSuffix(p.value, ";"), ";") {
		name, value, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(part)), "=")
		n, isNumber := number(value)
		ok := true
		switch name {
		case "FREQ":
			r.freq = value
			switch value {
			case "DAILY", "WEEKLY", "MONTHLY", "YEARLY":
			default:
				return nil, p.errorf("has FREQ=%s; supported are DAILY, WEEKLY, MONTHLY and YEARLY", clip(value))
			}
		case "INTERVAL":
			r.interval, ok = n, isNumber && n > 0 && n <= 10_000
		case "COUNT":
			r.count, ok = n, isNumber && n > 0
		case "UNTIL":
			until, err := p.time(value)
			if err != nil {
				return nil, err
			}
			r.until = until
		case "WKST":
			r.sunday, ok = value == "SU", value == "SU" || value == "MO"
		case "BYMONTH":
			r.month, ok = n, isNumber && n >= 1 && n <= 12
		case "BYMONTHDAY":
			r.monthDay, ok = n, isNumber && n >= 1 && n <= 31
		case "BYDAY":
			byDay = value
		default:
			return nil, p.errorf("has %s, which is not supported; write its dates as events of their own", clip(name))
		}
		if !ok {
			return nil, p.errorf("has %s=%s, which is not supported", name, clip(value))
		}
	}
	switch {
	case r.freq == "":
		return nil, p.errorf("has no FREQ")
	case r.count > 0 && r.until != nil:
		return nil, p.errorf("has both COUNT and UNTIL")
	case byDay != "" && r.freq != "WEEKLY":
		return nil, p.errorf("has BYDAY with FREQ=%s; it is supported with WEEKLY only", r.freq)
	case r.month > 0 && r.freq != "YEARLY", r.monthDay > 0 && r.freq != "YEARLY" && r.freq != "MONTHLY":
		return nil, p.errorf("has BYMONTH or BYMONTHDAY with FREQ=%s, which is not supported", r.freq)
	}
	for day := range strings.SplitSeq(byDay, ",") {
		i := strings.Index("SUMOTUWETHFRSA", day)
		if byDay != "" && (len(day) != 2 || i%2 != 0) {
			return nil, p.errorf("has BYDAY=%s; supported are lists of MO, TU, WE, TH, FR, SA and SU", clip(byDay))
		}
		if byDay != "" {
			r.weekdays |= 1 << (i / 2)
		}
	}
	return r, nil
}

// A calendar turns events into ranges.
type calendar struct {
	from, to int64
	steps    int                       // left of maxCalendarSteps
	moved    map[string][]calendarTime // by UID: occurrences that other events replace
	ranges   []Range
}

func (c *calendar) expand(e *event) error {
	if e.cancelled {
		return nil
	}
	length, err := e.length()
	if err != nil {
		return err
	}
	if e.rule == nil {
		return c.add(e, *e.start, length)
	}
	r := e.rule
	year, month, day := dateOf(floorDiv(e.start.wall, secondsPerDay))
	if r.month > 0 && r.month != month || r.monthDay > 0 && r.monthDay != day {
		return &CalendarError{r.line, "RRULE", "has a BYMONTH or BYMONTHDAY other than that of DTSTART, which is not supported"}
	}
	timeOfDay := e.start.wall - floorDiv(e.start.wall, secondsPerDay)*secondsPerDay
	seen := 0
	for n := 0; ; n++ {
		if c.steps--; c.steps < 0 {
			return &CalendarError{r.line, "RRULE", "repeats more often than is read"}
		}
		d, valid, past := r.nth(n, year, month, day)
		t := calendarTime{d*secondsPerDay + timeOfDay, e.start.date, e.start.loc}
		switch {
		case past || r.count > 0 && seen == r.count || t.unix() > c.to+spread || r.until != nil && r.after(t):
			return nil
		case !valid:
			continue
		}
		seen++
		if err := c.add(e, t, length); err != nil {
			return err
		}
	}
}

// nth gives the n-th candidate, in days since 1970, of a rule that starts at a date; it is not valid where it
// comes before the start or falls on a day that does not exist, and past once the calendar's end is reached.
func (r *recurrence) nth(n, year, month, day int) (days int64, valid, past bool) {
	start := daysOf(year, month, day)
	step := int64(n) * int64(r.interval)
	switch r.freq {
	case "DAILY":
		days, valid = start+step, true
	case "WEEKLY":
		if r.weekdays == 0 {
			days, valid = start+7*step, true
			break
		}
		offset := weekdayOf(start) // how far the start is into its week
		if !r.sunday {
			offset = (offset + 6) % 7
		}
		days = start - int64(offset) + int64(n/7)*int64(r.interval)*7 + int64(n%7)
		valid = days >= start && r.weekdays>>weekdayOf(days)&1 != 0
	case "MONTHLY":
		m := int64(month-1) + step
		y := int64(year) + m/12
		if y > maxYear {
			return 0, false, true
		}
		month = int(m%12) + 1
		days, valid = daysOf(int(y), month, day), day <= monthLength(int(y), month)
	default:
		y := int64(year) + step
		if y > maxYear {
			return 0, false, true
		}
		days, valid = daysOf(int(y), month, day), day <= monthLength(int(y), month)
	}
	return days, valid, days > daysOf(maxYear, 12, 31)
}

// after tells whether an occurrence comes after UNTIL.
func (r *recurrence) after(t calendarTime) bool {
	switch {
	case r.until.date || t.date:
		return floorDiv(t.wall, secondsPerDay) > floorDiv(r.until.wall, secondsPerDay)
	case r.until.loc == nil || t.loc == nil:
		return t.wall > r.until.wall
	}
	return t.unix() > r.until.unix()
}

// length gives how long an event lasts on its own clock.
func (e *event) length() (int64, error) {
	length := e.days*secondsPerDay + e.seconds
	switch {
	case e.end == nil && length == 0 && e.start.date:
		return secondsPerDay, nil
	case e.end == nil:
	case e.end.date != e.start.date || (e.end.loc == nil) != (e.start.loc == nil):
		return 0, &CalendarError{e.line, "VEVENT", "has a DTSTART and a DTEND of different kinds"}
	case e.end.loc == e.start.loc:
		length = e.end.wall - e.start.wall
	default:
		length = e.end.unix() - e.start.unix()
	}
	if length < 0 {
		return 0, &CalendarError{e.line, "VEVENT", "ends before it starts"}
	}
	if length == 0 && e.start.date {
		length = secondsPerDay
	}
	return length, nil
}

// add excludes one occurrence unless it was taken out or lies outside of the horizon.
func (c *calendar) add(e *event, t calendarTime, length int64) error {
	end := t
	end.wall += length
	if length == 0 || t.wall+length < c.from-2*spread || t.wall > c.to+2*spread || end.wall > maxUnix {
		return nil
	}
	if c.steps -= 1 + len(e.except) + len(c.moved[e.uid]); c.steps < 0 {
		return &CalendarError{e.line, "VEVENT", "has more exceptions than are read"}
	}
	for _, x := range e.except {
		if x.is(t) {
			return nil
		}
	}
	if e.replaces == nil {
		for _, x := range c.moved[e.uid] {
			if x.is(t) {
				return nil
			}
		}
	}
	if len(c.ranges) == maxRanges {
		return &CalendarError{e.line, "VEVENT", "is one too many to exclude"}
	}
	c.ranges = append(c.ranges, Range{t.moment(), end.moment()})
	return nil
}
