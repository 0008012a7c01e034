package schedule

import (
	"strings"
	"time"
)

// A Range is a stretch of time to exclude, independent of a zone until a schedule uses it. As text it is a date
// ("2026-12-25"), dates with both ends included ("2026-12-24..2026-12-31"), or times of which the second is
// no longer part of it ("2026-12-24T18:00..2026-12-25T06:00", with or without an offset).
type Range struct {
	from, to moment
}

// A moment is a point of the calendar or of real time.
type moment struct {
	seconds int64 // Unix time, or a reading of the clock counted as if it showed UTC
	kind    momentKind
}

type momentKind uint8

const (
	absolute momentKind = iota // Unix time
	reading                    // of a clock
	dateOnly                   // midnight of a date; as the end of a range, of the day after it
)

// Dates gives the range of the dates from first to last, both included; the times of day of its arguments do not matter.
func Dates(first, last time.Time) Range {
	return Range{dateMoment(first), moment{dateMoment(last).seconds + secondsPerDay, dateOnly}}
}

func dateMoment(t time.Time) moment {
	year, month, day := t.Date()
	return moment{daysOf(year, int(month), day) * secondsPerDay, dateOnly}
}

// Between gives the range from one instant to another, the second not included.
func Between(from, to time.Time) Range {
	return Range{moment{from.Unix(), absolute}, moment{ceilUnix(to), absolute}}
}

// ParseRange reads a Range. The error is a *ParseError.
func ParseRange(text string) (Range, error) {
	const allowed = "a date 2026-12-25, dates 2026-12-24..2026-12-31, or times 2026-12-24T18:00..2026-12-25T06:00"
	fail := func(pos, length int, hint string) (Range, error) {
		return Range{}, &ParseError{Expr: clip(text), Field: "range", Pos: pos, Len: length,
			Found: clip(text[pos : pos+length]), Allowed: allowed, Hint: hint}
	}
	first, last, both := strings.Cut(text, "..")
	from, ok := parseMoment(strings.TrimSpace(first))
	if !ok {
		return fail(0, len(first), "")
	}
	if !both {
		if from.kind != dateOnly {
			return fail(0, len(text), "a time alone spans nothing, give its end too")
		}
		return Range{from, moment{from.seconds + secondsPerDay, dateOnly}}, nil
	}
	to, ok := parseMoment(strings.TrimSpace(last))
	if !ok {
		return fail(len(first)+2, len(last), "")
	}
	if to.kind == dateOnly {
		to.seconds += secondsPerDay
	}
	if (from.kind == absolute) == (to.kind == absolute) && to.seconds <= from.seconds {
		return fail(0, len(text), "the end must come after the start")
	}
	return Range{from, to}, nil
}

func (r Range) String() string {
	last := r.to
	if last.kind == dateOnly {
		last.seconds -= secondsPerDay
	}
	if r.from == last && last.kind == dateOnly {
		return last.String()
	}
	return r.from.String() + ".." + last.String()
}

func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r *Range) UnmarshalText(text []byte) error {
	parsed, err := ParseRange(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// Contains tells whether another range lies within this one, each read in UTC.
func (r Range) Contains(o Range) bool {
	return r.from.unix(time.UTC) <= o.from.unix(time.UTC) && o.to.unix(time.UTC) <= r.to.unix(time.UTC)
}

// appendSpans adds the real time that the range covers in a zone.
func (r Range) appendSpans(spans []span, loc *time.Location) []span {
	if r.from.kind != absolute && r.to.kind != absolute {
		return wallSpans(spans, loc, r.from.seconds, r.to.seconds)
	}
	return append(spans, span{r.from.unix(loc), r.to.unix(loc)})
}

// unix gives the first instant at or after the moment.
func (m moment) unix(loc *time.Location) int64 {
	if m.kind == absolute {
		return m.seconds
	}
	return startOf(loc, m.seconds)
}

func (m moment) String() string {
	t := time.Unix(m.seconds, 0).UTC()
	switch m.kind {
	case dateOnly:
		return t.Format("2006-01-02")
	case reading:
		return t.Format("2006-01-02T15:04:05")
	}
	return t.Format("2006-01-02T15:04:05Z")
}

// parseMoment reads 2026-12-01, 2026-12-01T10:00, 2026-12-01T10:00:00, the latter two also with Z or an offset such as +01:00,
// and with a space for the T.
func parseMoment(text string) (moment, bool) {
	if len(text) > len("2006-01-02T15:04:05+00:00") {
		return moment{}, false
	}
	if len(text) > 10 && text[10] == ' ' {
		text = text[:10] + "T" + text[11:]
	}
	for _, form := range [...]struct {
		layout string
		kind   momentKind
	}{
		{"2006-01-02", dateOnly},
		{"2006-01-02T15:04", reading},
		{"2006-01-02T15:04:05", reading},
		{"2006-01-02T15:04Z07:00", absolute},
		{"2006-01-02T15:04:05Z07:00", absolute},
	} {
		t, err := time.Parse(form.layout, text)
		if err == nil && t.Nanosecond() == 0 && t.Year() >= minYear {
			return moment{t.Unix(), form.kind}, true
		}
	}
	return moment{}, false
}

// ParseTime reads a point in time for a window: a date, which is its first instant in the zone, or a time with or without
// an offset; without one it is the zone's. The error is a *ParseError.
func ParseTime(text string, loc *time.Location) (time.Time, error) {
	m, ok := parseMoment(strings.TrimSpace(text))
	if !ok {
		return time.Time{}, &ParseError{Expr: clip(text), Field: "time", Len: len(text), Found: clip(text),
			Allowed: "a date 2026-12-01 or a time 2026-12-01T10:00:00, which may end in Z or an offset such as +01:00"}
	}
	if loc == nil {
		loc = time.UTC
	}
	return time.Unix(m.unix(loc), 0).UTC(), nil
}
