package schedule_test

import (
	"slices"
	"testing"
	"time"

	"github.com/rota-dev/rota/schedule"
)

// local lists the instants of a schedule after one local time, up to another, on the clock of its zone.
func local(t *testing.T, s *schedule.Schedule, from, to string) []string {
	t.Helper()
	var list []string
	at := func(text string) time.Time {
		u, err := schedule.ParseTime(text, s.Location())
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for u := range s.Each(at(from).Add(-time.Second), at(to)) {
		list = append(list, u.In(s.Location()).Format("02T15:04Z07:00"))
	}
	return list
}

// ancestor 28
func TestClockChanges(t *testing.T) {
	t.Parallel()
	skip, twice := schedule.DST{Gap: schedule.GapSkip}, schedule.DST{Overlap: schedule.OverlapTwice}
	for _, test := range []struct {
		name, zone, expr string
		dst              schedule.DST
		from, to         string
		want             []string
	}{
		{"fixed in a gap", "Europe/Berlin", "30 2 * * *", schedule.DST{}, "2027-03-27", "2027-03-29",
			[]string{"27T02:30+01:00", "28T03:00+02:00"}},
		{"several in a gap run once", "Europe/Berlin", "0,20,40 2 * * *", schedule.DST{}, "2027-03-28", "2027-03-29",
			[]string{"28T03:00+02:00"}},
		{"a run at the gap's end is not doubled", "Europe/Berlin", "0 2,3 * * *", schedule.DST{}, "2027-03-28", "2027-03-29",
			[]string{"28T03:00+02:00"}},
		{"fixed in a gap, skipped", "Europe/Berlin", "30 2 * * *", skip, "2027-03-27", "2027-03-30",
			[]string{"27T02:30+01:00", "29T02:30+02:00"}},
		{"wildcard over a gap", "Europe/Berlin", "30 * * * *", schedule.DST{}, "2027-03-28T01:00", "2027-03-28T05:00",
			[]string{"28T01:30+01:00", "28T03:30+02:00", "28T04:30+02:00"}},
		{"wildcard minutes inside a gap", "Europe/Berlin", "*/30 2 * * *", schedule.DST{}, "2027-03-28", "2027-03-29T02:15",
			[]string{"29T02:00+02:00"}},
		{"written out minutes inside a gap", "Europe/Berlin", "0-59/30 2 * * *", schedule.DST{}, "2027-03-28", "2027-03-29T02:15",
			[]string{"28T03:00+02:00", "29T02:00+02:00"}},
		{"fixed in an overlap", "Europe/Berlin", "30 2 * * *", schedule.DST{}, "2026-10-25", "2026-10-26",
			[]string{"25T02:30+02:00"}},
		{"fixed in an overlap, twice", "Europe/Berlin", "30 2 * * *", twice, "2026-10-25", "2026-10-26",
			[]string{"25T02:30+02:00", "25T02:30+01:00"}},
		{"wildcard in an overlap", "Europe/Berlin", "30 * * * *", schedule.DST{}, "2026-10-25T01:00", "2026-10-25T04:00",
			[]string{"25T01:30+02:00", "25T02:30+02:00", "25T02:30+01:00", "25T03:30+01:00"}},
		{"a range is not a wildcard", "Europe/Berlin", "30 0-23 * * *", schedule.DST{}, "2026-10-25T01:00", "2026-10-25T04:00",
			[]string{"25T01:30+02:00", "25T02:30+02:00", "25T03:30+01:00"}},
		{"after the overlap all is as before", "Europe/Berlin", "0 3 * * *", schedule.DST{}, "2026-10-25", "2026-10-26",
			[]string{"25T03:00+01:00"}},
		{"half an hour", "Australia/Lord_Howe", "15 2 * * *", schedule.DST{}, "2026-10-04", "2026-10-05",
			[]string{"04T02:30+11:00"}},
		{"half an hour back", "Australia/Lord_Howe", "45 1 * * *", schedule.DST{}, "2026-04-05", "2026-04-06",
			[]string{"05T01:45+11:00"}},
		{"midnight is skipped, Brazil", "America/Sao_Paulo", "0 0 * * *", schedule.DST{}, "2018-11-03", "2018-11-05",
			[]string{"03T00:00-03:00", "04T01:00-02:00", "05T00:00-02:00"}},
		{"midnight is skipped, Lebanon", "Asia/Beirut", "@daily", schedule.DST{}, "2026-03-28", "2026-03-30",
			[]string{"28T00:00+02:00", "29T01:00+03:00", "30T00:00+03:00"}},
		{"midnight is skipped, Egypt", "Africa/Cairo", "30 0 * * *", schedule.DST{}, "2026-04-23", "2026-04-25T12:00",
			[]string{"23T00:30+02:00", "24T01:00+03:00", "25T00:30+03:00"}},
		{"a lost day is not made up for", "Pacific/Apia", "30 2 * * *", schedule.DST{}, "2011-12-29", "2011-12-31T12:00",
			[]string{"29T02:30-10:00", "31T02:30+14:00"}},
		{"a lost day, 30th of the month", "Pacific/Apia", "0 12 30 * *", schedule.DST{}, "2011-12-01", "2012-01-31",
			[]string{"30T12:00+14:00"}},
		{"a lost day, Kwajalein", "Pacific/Kwajalein", "0 12 * * *", schedule.DST{}, "1993-08-20", "1993-08-22T13:00",
			[]string{"20T12:00-12:00", "22T12:00+12:00"}},
		{"a new base offset", "Asia/Pyongyang", "15 0 * * *", schedule.DST{}, "2018-05-04", "2018-05-06",
			[]string{"04T00:15+08:30", "05T00:15+09:00"}},
		{"a new base offset ahead", "Asia/Pyongyang", "45 23 4 5 *", schedule.DST{}, "2018-05-04", "2018-05-06",
			[]string{"05T00:00+09:00"}},
		{"three hours are a change of the clock", "Antarctica/Casey", "0 3 * * *", schedule.DST{}, "2009-10-18", "2009-10-19",
			[]string{"18T05:00+11:00"}},
		{"where a rule takes over from the table", "America/Ciudad_Juarez", "30 23 * * *", schedule.DST{}, "2022-11-29", "2022-12-01",
			[]string{"29T23:30-06:00", "30T23:30-07:00"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := parse(t, test.expr, schedule.Options{Location: zone(t, test.zone), DST: test.dst})
			if got := local(t, s, test.from, test.to); !slices.Equal(got, test.want) {
				t.Errorf("%s\n got %v\nwant %v", test.expr, got, test.want)
			}
		})
	}
}

func TestAtOnAChangingClock(t *testing.T) {
	t.Parallel()
	berlin := zone(t, "Europe/Berlin")
	for _, test := range []struct {
		expr string
		dst  schedule.DST
		want string // the normal form; empty: an error
	}{
		{"@at 2027-03-28T02:30", schedule.DST{}, "@at 2027-03-28T01:00:00Z"},
		{"@at 2027-03-28T02:30", schedule.DST{Gap: schedule.GapSkip}, ""},
		{"@at 2027-10-31T02:30", schedule.DST{}, "@at 2027-10-31T00:30:00Z"},
		{"@at 2027-10-31T02:30", schedule.DST{Overlap: schedule.OverlapTwice}, "@at 2027-10-31T00:30:00Z,2027-10-31T01:30:00Z"},
		{"@at 2027-10-31T02:30+01:00", schedule.DST{}, "@at 2027-10-31T01:30:00Z"},
		{"CRON_TZ=Pacific/Apia @at 2011-12-30T12:00", schedule.DST{}, ""},
	} {
		s, err := schedule.Parse(test.expr, schedule.Options{Location: berlin, DST: test.dst})
		if (err != nil) != (test.want == "") || err == nil && s.String() != test.want {
			t.Errorf("%s: %v, %v", test.expr, s, err)
		}
	}
}

// The zone is the task's, never the node's.
// ancestor 28
func TestZones(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	tokyo := zone(t, "Asia/Tokyo")
	for expr, want := range map[string]string{
		"0 9 * * *":                       "2026-07-02T00:00:00Z",
		"CRON_TZ=Europe/Berlin 0 9 * * *": "2026-07-01T07:00:00Z",
		"TZ=UTC 0 9 * * *":                "2026-07-01T09:00:00Z",
		"CRON_TZ=Europe/Berlin 0 9 * * *; CRON_TZ=America/New_York 0 0 * * *": "2026-07-01T04:00:00Z",
	} {
		s := parse(t, expr, schedule.Options{Location: tokyo})
		if got := s.Next(at); got.Format(time.RFC3339) != want || got.Location() != time.UTC {
			t.Errorf("%s: next is %v, want %s", expr, got, want)
		}
	}
	if s := parse(t, "0 9 * * *", schedule.Options{}); s.Location() != time.UTC {
		t.Errorf("without a zone it is %v", s.Location())
	}
	if s := parse(t, "TZ=Europe/Berlin @daily", schedule.Options{}); s.Location() != zone(t, "Europe/Berlin") {
		t.Errorf("the zone of the text is lost: %v", s.Location())
	}
}

func TestLocationsAreShared(t *testing.T) {
	t.Parallel()
	if again := zone(t, "Europe/Berlin"); again != zone(t, "Europe/Berlin") {
		t.Error("each task would hold its own table")
	}
	for _, name := range []string{"../etc/passwd", "/etc/localtime", "Europe", "0", "Europe/Berlin\x00", "EST5EDT,M3", "."} {
		if loc, err := schedule.LoadLocation(name); err == nil {
			t.Errorf("%q gave %v", name, loc)
		}
	}
}

func TestZoneinfoOverrides(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("ZONEINFO", dir)
	if loc := zone(t, "Europe/Paris"); loc.String() != "Europe/Paris" {
		t.Errorf("what the override lacks comes from the embedded data, got %v", loc)
	}
	copyZone(t, dir, "Asia/Tokyo", "Europe/Madrid")
	at := time.Date(2026, 7, 1, 0, 0, 0, 0, zone(t, "Europe/Madrid"))
	if _, offset := at.Zone(); offset != 9*3600 {
		t.Errorf("offset is %d", offset)
	}
}

func TestPolicyText(t *testing.T) {
	t.Parallel()
	var dst schedule.DST
	for _, text := range []string{"run", "skip"} {
		if err := dst.Gap.UnmarshalText([]byte(text)); err != nil || dst.Gap.String() != text {
			t.Errorf("%s: %v, %v", text, dst.Gap, err)
		}
	}
	for _, text := range []string{"once", "twice"} {
		if err := dst.Overlap.UnmarshalText([]byte(text)); err != nil || dst.Overlap.String() != text {
			t.Errorf("%s: %v, %v", text, dst.Overlap, err)
		}
	}
	if dst.Gap.UnmarshalText([]byte("never")) == nil || dst.Overlap.UnmarshalText([]byte("thrice")) == nil {
		t.Error("unknown words are taken")
	}
	if _, err := schedule.Parse("@daily", schedule.Options{DST: schedule.DST{Gap: 9}}); err == nil {
		t.Error("an unknown policy is taken")
	}
}
