package schedule

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	maxCalendarBytes = 8 << 20
	maxCalendarSteps = 1_000_000 // occurrences and exceptions looked at, over all events
)

// A CalendarError says what is wrong at one line of iCalendar data.
type CalendarError struct {
	Line     int // from 1
	Property string
	Problem  string
}

func (e *CalendarError) Error() string {
	return fmt.Sprintf("calendar line %d: %s %s", e.Line, e.Property, e.Problem)
}

// ReadCalendar reads iCalendar data (RFC 5545) and gives what its events cover between two instants, to be excluded. It
// understands VEVENT with DTSTART, DTEND or DURATION, EXDATE, and RRULE with FREQ of DAILY, WEEKLY, MONTHLY and
// YEARLY, INTERVAL, COUNT, UNTIL, and BYDAY with WEEKLY. Cancelled events are left out, moved occurrences (RECURRENCE-ID)
// replace those they were moved from. What it does not understand but would matter is an error, always a *CalendarError.
//
// Dates, and times without a zone, are those of the schedule that uses the range.
func ReadCalendar(r io.Reader, from, to time.Time) ([]Range, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxCalendarBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read calendar: %w", err)
	}
	if len(data) > maxCalendarBytes {
		return nil, &CalendarError{1, "the file", fmt.Sprintf("is larger than %d bytes", maxCalendarBytes)}
	}
	events, err := readEvents(data)
	if err != nil {
		return nil, err
	}
	c := calendar{from: from.Unix(), to: to.Unix(), steps: maxCalendarSteps, moved: map[string][]calendarTime{}}
	for i := range events {
		if e := &events[i]; e.replaces != nil {
			c.moved[e.uid] = append(c.moved[e.uid], *e.replaces)
		}
	}
	for i := range events {
		if err := c.expand(&events[i]); err != nil {
			return nil, err
		}
	}
	return c.ranges, nil
}

// An event is a VEVENT.
type event struct {
	line      int
	uid       string
	start     *calendarTime
	end       *calendarTime
	days      int64 // of DURATION
	seconds   int64 // of DURATION
	rule      *recurrence
	except    []calendarTime
	replaces  *calendarTime // RECURRENCE-ID
	cancelled bool
}

// A property is one unfolded line: NAME;PARAM=VALUE:VALUE.
type property struct {
	line        int
	name, value string
	params      map[string]string
}

func (p property) errorf(format string, args ...any) error {
	return &CalendarError{p.line, p.name, fmt.Sprintf(format, args...)}
}

func readEvents(data []byte) ([]event, error) {
	var events []event
	var open []string // components, outermost first
	var e event
	calendars := 0
	err := eachProperty(data, func(p property) error {
		switch p.name {
		case "BEGIN":
			name := strings.ToUpper(p.value)
			if len(open) == 0 && name != "VCALENDAR" || len(open) > 8 {
				return p.errorf("%q is out of place; iCalendar data starts with BEGIN:VCALENDAR", clip(p.value))
			}
			if name == "VEVENT" {
				e = event{line: p.line}
			}
			open = append(open, name)
		case "END":
			name := strings.ToUpper(p.value)
			if len(open) == 0 || open[len(open)-1] != name {
				return p.errorf("%q ends nothing that is open", clip(p.value))
			}
			open = open[:len(open)-1]
			calendars++
			if name == "VEVENT" {
				if e.start == nil {
					return &CalendarError{e.line, "VEVENT", "has no DTSTART"}
				}
				events = append(events, e)
			}
		default:
			if len(open) == 0 {
				return p.errorf("is out of place; iCalendar data starts with BEGIN:VCALENDAR")
			}
			if open[len(open)-1] == "VEVENT" {
				return e.set(p)
			}
		}
		return nil
	})
	if err == nil && (len(open) > 0 || calendars == 0) {
		err = &CalendarError{1 + bytes.Count(data, []byte("\n")), "the data", "ends too early"}
	}
	return events, err
}

// eachProperty unfolds lines and splits them.
func eachProperty(data []byte, yield func(property) error) error {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxCalendarBytes+1)
	var whole strings.Builder
	start, number := 1, 0
	flush := func() error {
		text := whole.String()
		whole.Reset()
		if strings.TrimSpace(text) == "" {
			return nil
		}
		p, ok := splitProperty(text)
		p.line = start
		if !ok {
			return &CalendarError{start, fmt.Sprintf("%q", clip(text)), "is not a property of the form NAME:VALUE"}
		}
		return yield(p)
	}
	for lines.Scan() {
		number++
		line := strings.TrimSuffix(lines.Text(), "\r")
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			whole.WriteString(line[1:])
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		start = number
		whole.WriteString(line)
	}
	if err := lines.Err(); err != nil {
		return &CalendarError{number + 1, "the line", "can't be read: " + err.Error()}
	}
	return flush()
}

// splitProperty parts a line at the first colon that is not in quotes.
func splitProperty(text string) (property, bool) {
	quoted := false
	var parts []string
	from := 0
	for i := range len(text) {
		switch text[i] {
		case '"':
			quoted = !quoted
		case ';', ':':
			if quoted {
				continue
			}
			parts = append(parts, text[from:i])
			from = i + 1
			if text[i] == ':' {
				p := property{name: strings.ToUpper(parts[0]), value: strings.TrimSpace(text[from:])}
				for _, param := range parts[1:] {
					name, value, _ := strings.Cut(param, "=")
					if p.params == nil {
						p.params = map[string]string{}
					}
					p.params[strings.ToUpper(name)] = strings.Trim(value, `"`)
				}
				return p, p.name != ""
			}
		}
	}
	return property{}, false
}

// set takes over one property of an event.
func (e *event) set(p property) error {
	var err error
	switch p.name {
	case "UID":
		e.uid = p.value
	case "DTSTART":
		e.start, err = p.time(p.value)
	case "DTEND":
		e.end, err = p.time(p.value)
	case "DURATION":
		e.days, e.seconds, err = p.duration()
	case "RECURRENCE-ID":
		e.replaces, err = p.time(p.value)
	case "EXDATE":
		for value := range strings.SplitSeq(p.value, ",") {
			t, err := p.time(value)
			if err != nil {
				return err
			}
			e.except = append(e.except, *t)
		}
	case "STATUS":
		e.cancelled = strings.EqualFold(p.value, "CANCELLED")
	case "RRULE":
		if e.rule != nil {
			return p.errorf("is given twice")
		}
		e.rule, err = p.recurrence()
	case "RDATE", "EXRULE":
		err = p.errorf("is not supported; write its dates as events of their own")
	}
	return err
}
