package schedule

import (
	"strings"
	"time"
)

// A calendarTime is a DATE or DATE-TIME: a reading of a clock and whose clock it is.
type calendarTime struct {
	wall int64
	date bool
	loc  *time.Location // nil: of whichever zone the schedule is in
}

// unix places a time without a zone in UTC, which is good enough to compare it with a horizon.
func (t calendarTime) unix() int64 {
	if t.loc == nil {
		return t.wall
	}
	return startOf(t.loc, t.wall)
}

// is tells whether two times mean the same occurrence: a date stands for any time of its day.
func (t calendarTime) is(u calendarTime) bool {
	switch {
	case t.date || u.date:
		return floorDiv(t.wall, secondsPerDay) == floorDiv(u.wall, secondsPerDay)
	case t.loc != nil && u.loc != nil && t.loc != u.loc:
		return t.unix() == u.unix()
	}
	return t.wall == u.wall
}

func (t calendarTime) moment() moment {
	switch {
	case t.date:
		return moment{t.wall, dateOnly}
	case t.loc == nil:
		return moment{t.wall, reading}
	}
	return moment{t.unix(), absolute}
}

// time reads one value of the property: 20261225, 20261225T100000, or the latter with Z.
func (p property) time(value string) (*calendarTime, error) {
	value = strings.TrimSpace(value)
	var t calendarTime
	var err error
	var wall time.Time
	text, utc := strings.CutSuffix(value, "Z")
	if t.date = len(text) == 8 && !utc; t.date {
		wall, err = time.Parse("20060102", text)
	} else {
		wall, err = time.Parse("20060102T150405", text)
	}
	if err != nil || wall.Year() < minYear || wall.Nanosecond() != 0 {
		return nil, p.errorf("%q is neither a date 20261225 nor a time 20261225T100000, with or without Z", clip(value))
	}
	t.wall = wall.Unix()
	zone := p.params["TZID"]
	switch {
	case utc:
		t.loc = time.UTC
	case !t.date && zone != "":
		t.loc, err = calendarZone(zone)
		if err != nil {
			return nil, p.errorf("has an unknown time zone: %v", err)
		}
	}
	return &t, nil
}

// calendarZone also takes names of the form /vendor/version/Europe/Berlin.
func calendarZone(name string) (*time.Location, error) {
	loc, err := LoadLocation(name)
	rest := name
	for range 8 {
		_, after, more := strings.Cut(rest, "/")
		if err == nil || !more || len(name) > 256 {
			break
		}
		rest = after
		if found, failed := LoadLocation(rest); failed == nil && strings.Contains(rest, "/") {
			return found, nil
		}
	}
	return loc, err
}

// duration reads P2W, P1D, PT1H30M and the like. Days are those of the calendar.
func (p property) duration() (days, seconds int64, err error) {
	text, ok := strings.CutPrefix(strings.TrimPrefix(strings.ToUpper(p.value), "+"), "P")
	inTime, any := false, false
	for ok && text != "" {
		if text[0] == 'T' && !inTime {
			inTime, text = true, text[1:]
			continue
		}
		digits := 0
		for digits < len(text) && '0' <= text[digits] && text[digits] <= '9' {
			digits++
		}
		n, valid := number(text[:digits])
		if !valid || digits == len(text) || n > 1_000_000 {
			ok = false
			break
		}
		switch unit := text[digits]; {
		case unit == 'W' && !inTime:
			days += 7 * int64(n)
		case unit == 'D' && !inTime:
			days += int64(n)
		case unit == 'H' && inTime:
			seconds += 3600 * int64(n)
		case unit == 'M' && inTime:
			seconds += 60 * int64(n)
		case unit == 'S' && inTime:
			seconds += int64(n)
		default:
			ok = false
		}
		any, text = true, text[digits+1:]
	}
	if !ok || !any {
		return 0, 0, p.errorf("%q is not a duration such as P1D or PT1H30M", clip(p.value))
	}
	return days, seconds, nil
}
