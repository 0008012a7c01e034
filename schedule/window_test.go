package schedule_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/schedule"
)

func ranges(t *testing.T, texts ...string) []schedule.Range {
	t.Helper()
	var list []schedule.Range
	for _, text := range texts {
		r, err := schedule.ParseRange(text)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := schedule.ParseRange(r.String()); err != nil || again != r {
			t.Errorf("%s is written %s, which reads as %v, %v", text, r, again, err)
		}
		list = append(list, r)
	}
	return list
}

func TestWindow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, zone, expr string
		start, end       string
		exclude          []string
		from, to         string
		want             []string
	}{
		{"start belongs to it, end does not", "UTC", "0 * * * *", "2026-12-01T05:00", "2026-12-01T07:00", nil,
			"2026-12-01", "2026-12-02", []string{"01T05:00Z", "01T06:00Z"}},
		{"a date", "Europe/Berlin", "0 6 * * *", "", "", []string{"2026-12-25"},
			"2026-12-24", "2026-12-27", []string{"24T06:00+01:00", "26T06:00+01:00"}},
		{"dates", "Europe/Berlin", "0 6 * * *", "", "", []string{"2026-12-24..2026-12-31"},
			"2026-12-23", "2027-01-02", []string{"23T06:00+01:00", "01T06:00+01:00"}},
		{"dates are the zone's", "Pacific/Auckland", "0 0,23 * * *", "", "", []string{"2026-12-25"},
			"2026-12-24T12:00", "2026-12-26T12:00", []string{"24T23:00+13:00", "26T00:00+13:00"}},
		{"times", "UTC", "0 * * * *", "", "", []string{"2026-12-01T01:00..2026-12-01T03:00", "2026-12-01T02:00Z..2026-12-01T05:00+01:00"},
			"2026-12-01", "2026-12-01T05:00", []string{"01T00:00Z", "01T04:00Z", "01T05:00Z"}},
		{"with @every too", "UTC", "@every 8h", "2026-12-02", "", []string{"2026-12-03"},
			"2026-12-01", "2026-12-04", []string{"02T00:00Z", "02T08:00Z", "02T16:00Z", "04T00:00Z"}},
		{"a date whose midnight does not exist", "America/Sao_Paulo", "30 0 * * *", "", "", []string{"2018-11-04"},
			"2018-11-03", "2018-11-06", []string{"03T00:30-03:00", "05T00:30-02:00"}},
		{"a date that the clock comes back to", "America/St_Johns", "30,59 * * * *", "", "", []string{"2010-11-06"},
			"2010-11-05T23:45", "2010-11-07T01:00", []string{"05T23:59-02:30", "07T00:30-03:30", "07T00:59-03:30"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			loc := zone(t, test.zone)
			w := schedule.Window{Exclude: ranges(t, test.exclude...)}
			for text, into := range map[string]*time.Time{test.start: &w.Start, test.end: &w.End} {
				if text != "" {
					*into, _ = schedule.ParseTime(text, loc)
				}
			}
			s := parse(t, test.expr, schedule.Options{Location: loc, Window: w})
			if got := local(t, s, test.from, test.to); !slices.Equal(got, test.want) {
				t.Errorf("got %v\nwant %v", got, test.want)
			}
		})
	}
}

func TestRangeErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "..", "2026-12-25..", "..2026-12-25", "2026-12-25..2026-12-24", "2026-12-25T10:00", "2026-02-30",
		"2026-12-25T10:00..2026-12-25T10:00", "christmas", strings.Repeat("9", 1000)} {
		_, err := schedule.ParseRange(text)
		var e *schedule.ParseError
		if !errors.As(err, &e) || len(err.Error()) > 300 {
			t.Errorf("%q: %v", text, err)
		}
	}
	w := schedule.Window{Start: time.Unix(100, 0), End: time.Unix(100, 0)}
	if _, err := schedule.Parse("@daily", schedule.Options{Window: w}); err == nil {
		t.Error("a window that is empty is taken")
	}
}

// A schedule all of whose instants are excluded ends its search.
func TestExcludedForEver(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{"* * * * *", "@every 1s", "0 0 29 2 *"} {
		s := parse(t, expr, schedule.Options{Window: schedule.Window{Exclude: ranges(t, "0001-01-01..9999-12-31")}})
		if at := s.Next(time.Unix(0, 0)); !at.IsZero() {
			t.Errorf("%s: next is %v", expr, at)
		}
		if at := s.Prev(time.Unix(0, 0)); !at.IsZero() {
			t.Errorf("%s: last was %v", expr, at)
		}
	}
}

const holidays = `BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:DAYLIGHT
DTSTART:19810329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
END:VTIMEZONE
BEGIN:VEVENT
UID:1
SUMMARY:New Year\, all
  of it
DTSTART;VALUE=DATE:20200101
RRULE:FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=1
EXDATE;VALUE=DATE:20280101
END:VEVENT
BEGIN:VEVENT
UID:2
SUMMARY:Summer break
DTSTART;VALUE=DATE:20270801
DTEND;VALUE=DATE:20270815
END:VEVENT
BEGIN:VEVENT
UID:3
SUMMARY:Maintenance
DTSTART;TZID=Europe/Berlin:20270301T220000
DTEND;TZID=Europe/Berlin:20270302T010000
RRULE:FREQ=MONTHLY;COUNT=3
BEGIN:VALARM
TRIGGER:-PT15M
DURATION:PT5M
END:VALARM
END:VEVENT
BEGIN:VEVENT
UID:3
RECURRENCE-ID;TZID=Europe/Berlin:20270401T220000
DTSTART;TZID=Europe/Berlin:20270405T220000
DURATION:PT3H
END:VEVENT
BEGIN:VEVENT
UID:4
DTSTART:20270104T120000Z
DURATION:PT1H
RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR;UNTIL=20270122T120000Z
END:VEVENT
BEGIN:VEVENT
UID:5
DTSTART;VALUE=DATE:20270601
STATUS:CANCELLED
END:VEVENT
BEGIN:VEVENT
UID:6
DTSTART;VALUE=DATE:20270131
RRULE:FREQ=MONTHLY;COUNT=2
END:VEVENT
BEGIN:VEVENT
UID:7
DTSTART:20270901T080000
DTEND:20270901T090000
RRULE:FREQ=DAILY;INTERVAL=10;COUNT=2
END:VEVENT
END:VCALENDAR
`

func TestCalendar(t *testing.T) {
	t.Parallel()
	from, to := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2029, 1, 10, 0, 0, 0, 0, time.UTC)
	for _, data := range []string{holidays, strings.ReplaceAll(holidays, "\n", "\r\n")} {
		list, err := schedule.ReadCalendar(strings.NewReader(data), from, to)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range list {
			got = append(got, r.String())
		}
		want := []string{
			"2027-01-01", "2029-01-01",
			"2027-08-01..2027-08-14",
			"2027-03-01T21:00:00Z..2027-03-02T00:00:00Z", "2027-05-01T20:00:00Z..2027-05-01T23:00:00Z",
			"2027-04-05T20:00:00Z..2027-04-05T23:00:00Z",
			"2027-01-04T12:00:00Z..2027-01-04T13:00:00Z", "2027-01-08T12:00:00Z..2027-01-08T13:00:00Z",
			"2027-01-18T12:00:00Z..2027-01-18T13:00:00Z", "2027-01-22T12:00:00Z..2027-01-22T13:00:00Z",
			"2027-01-31", "2027-03-31",
			"2027-09-01T08:00:00..2027-09-01T09:00:00", "2027-09-11T08:00:00..2027-09-11T09:00:00",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestCalendarErrors(t *testing.T) {
	t.Parallel()
	event := func(lines string) string {
		return "BEGIN:VCALENDAR\nBEGIN:VEVENT\n" + lines + "\nEND:VEVENT\nEND:VCALENDAR\n"
	}
	for data, want := range map[string]string{
		"":                         "calendar line 1: the data ends too early",
		"<html>":                   `calendar line 1: "<html>" is not a property of the form NAME:VALUE`,
		"DTSTART:20270101":         "calendar line 1: DTSTART is out of place; iCalendar data starts with BEGIN:VCALENDAR",
		"BEGIN:VCALENDAR\n":        "calendar line 2: the data ends too early",
		"BEGIN:VCALENDAR\nEND:X\n": `calendar line 2: END "X" ends nothing that is open`,
		event("UID:1"):             "calendar line 2: VEVENT has no DTSTART",
		event("DTSTART:2027"):      `calendar line 3: DTSTART "2027" is neither a date 20261225 nor a time 20261225T100000, with or without Z`,
		event("DTSTART:20270101\nRRULE:FREQ=HOURLY"):                             "calendar line 4: RRULE has FREQ=HOURLY; supported are DAILY, WEEKLY, MONTHLY and YEARLY",
		event("DTSTART:20270101\nRRULE:FREQ=YEARLY;BYDAY=4TH;BYMONTH=11"):        "calendar line 4: RRULE has BYDAY with FREQ=YEARLY; it is supported with WEEKLY only",
		event("DTSTART:20270101\nRRULE:FREQ=MONTHLY;BYSETPOS=1"):                 "calendar line 4: RRULE has BYSETPOS, which is not supported; write its dates as events of their own",
		event("DTSTART:20270101\nRRULE:FREQ=MONTHLY;BYMONTHDAY=5"):               "calendar line 4: RRULE has a BYMONTH or BYMONTHDAY other than that of DTSTART, which is not supported",
		event("DTSTART:20270101\nRRULE:INTERVAL=1"):                              "calendar line 4: RRULE has no FREQ",
		event("DTSTART:20270101\nRRULE:FREQ=DAILY;INTERVAL=0"):                   "calendar line 4: RRULE has INTERVAL=0, which is not supported",
		event("DTSTART:20270101\nRDATE:20270105"):                                "calendar line 4: RDATE is not supported; write its dates as events of their own",
		event("DTSTART:20270105\nDTEND:20270101"):                                "calendar line 2: VEVENT ends before it starts",
		event("DTSTART:20270105\nDTEND:20270106T100000Z"):                        "calendar line 2: VEVENT has a DTSTART and a DTEND of different kinds",
		event("DTSTART;TZID=Europe/Berln:20270105T100000"):                       `calendar line 3: DTSTART has an unknown time zone: time zone, column 1: found "Europe/Berln"; allowed: a name of the IANA database such as Europe/Berlin, UTC, or Local; did you mean Europe/Berlin?`,
		event("DTSTART:20270105\nDURATION:1h"):                                   `calendar line 4: DURATION "1h" is not a duration such as P1D or PT1H30M`,
		event("DTSTART:20270105\nRRULE:FREQ=DAILY;COUNT=2;UNTIL=20270201"):       "calendar line 4: RRULE has both COUNT and UNTIL",
		event("DTSTART:20270105\nSUMMARY;X=\"a:b"):                               `calendar line 4: "SUMMARY;X=\"a:b" is not a property of the form NAME:VALUE`,
		event("DTSTART:20270105\nRRULE:FREQ=WEEKLY;BYDAY=1MO"):                   "calendar line 4: RRULE has BYDAY=1MO; supported are lists of MO, TU, WE, TH, FR, SA and SU",
		event("DTSTART:20270105\nRRULE:FREQ=DAILY\nRRULE:FREQ=DAILY;INTERVAL=2"): "calendar line 5: RRULE is given twice",
	} {
		_, err := schedule.ReadCalendar(strings.NewReader(data), time.Unix(0, 0), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
		if err == nil || err.Error() != want {
			t.Errorf("%q\n got %v\nwant %s", data, err, want)
		}
	}
}
