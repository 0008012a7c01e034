package job_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

var calendarNow = time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)

func TestReadCalendar(t *testing.T) {
	for _, c := range []struct {
		name, file, text, want string
	}{
		{"", "holidays.ics", "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20261225\r\nDTEND;VALUE=DATE:20261227\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", "2026-12-25..2026-12-26"},
		{"", "a.yaml", "[2026-12-31, 2026-12-24..2026-12-26, 2026-12-31]", "2026-12-24..2026-12-26 2026-12-31"},
		{"b", "a.yaml", "description: x\nranges:\n  - 2026-12-31\n  - 2019-01-01 # long past\n", "2026-12-31"},
		{"b", "a.json", `{"ranges":["2026-12-24T18:00..2026-12-25T06:00"]}`, "2026-12-24T18:00:00..2026-12-25T06:00:00"},
		{"", "a.yaml", "[2019-01-01]", "!excludes nothing"},
		{"", "a.yaml", "[2026-13-01]", "!ranges[0]"},
		{"", "a.yaml", "dates: [2026-12-01]", "!it is no calendar"},
		{"", "no name.yaml", "[2026-12-31]", "!name"},
		{"", "a.ics", "BEGIN:VCALENDAR\nEND:VEVENT", "!calendar line 2"},
		{"", "a.yaml", "[" + strings.Repeat("2026-12-24T18:00..2026-12-25T06:00, ", 10) + strings.Repeat("x", 61<<10) + "]", "!bytes"},
	} {
		got, err := job.ReadCalendar(c.name, c.file, []byte(c.text), calendarNow)
		if want, fails := strings.CutPrefix(c.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), c.file) {
				t.Errorf("%s %.40q: %v", c.file, c.text, err)
			}
			continue
		}
		if err != nil || strings.Join(got.Ranges, " ") != c.want || got.Source != c.file {
			t.Errorf("%s %.40q: %+v, %v", c.file, c.text, got, err)
		}
	}
}

// What stands in a task's window reaches the job that a node reads, and what it fires by.
func TestWindowReachesTheJob(t *testing.T) {
	tasks, err := job.ReadTasks("a.yaml", []byte(`
name: a
command: ["true"]
timer: "30 2 * * *"
timezone: Europe/Berlin
start: 2027-03-27
end: 2027-03-31
exclude: [2027-03-29]
dst: {gap: skip}
`))
	if err != nil {
		t.Fatal(err)
	}
	written, err := job.CreateJobFromTask(&tasks[0], "n1", calendarNow)
	if err != nil {
		t.Fatal(err)
	}
	var j job.Job
	if err := j.Decode([]byte(written.String())); err != nil {
		t.Fatal(err)
	}
	due, _ := job.Instants(j.Rules, nil, j.Since, calendarNow, calendarNow.AddDate(1, 0, 0), 10)
	var got []string
	for _, i := range due {
		got = append(got, i.Format(time.RFC3339))
	}
	// The 28th falls into the gap, the 29th is excluded, the 31st is past the end.
	if want := []string{"2027-03-27T01:30:00Z", "2027-03-30T00:30:00Z"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRebootIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"timer: '@reboot'":                             "",
		"timer: '@reboot; 0 3 * * *'":                  "does not stand beside other timers",
		"timer: ['@reboot', '@daily']":                 "does not stand beside other timers",
		"timer: '@reboot'\nkind: interval":             "use kind common",
		"timer: '@reboot'\nkind: alone":                "use kind common",
		"timer: '@daily'\nexclude: ['calendar:a b']":   "calendar name",
		"timer: '@daily'\nexclude: ['calendar:a']":     "",
		"timer: '@daily'\nexclude: ['calender:a']":     "exclude",
		"timer: '@daily'\nkind: alone\noverlap: allow": "overlap",
	} {
		_, err := job.ReadTasks("a.yaml", []byte("name: a\ncommand: 'true'\n"+text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
