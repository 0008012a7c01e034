package job

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/rota-dev/rota/schedule"
)

// Calendar is a named set of ranges that tasks exclude: exclude: [calendar:NAME]. It is what a person writes; see
// [CalendarEntry] for what is kept.
type Calendar struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Ranges      []string `json:"ranges"`           // as [schedule.Range] writes them, sorted
	Source      string   `json:"source,omitempty"` // the file it was read from
	// Through is the date up to which repeating events were unrolled: the calendar says nothing of what is after it. Empty
	// where nothing was unrolled.
	Through string `json:"through,omitempty"`
}

// CalendarEntry is a calendar as it is kept.
type CalendarEntry struct {
	Calendar  Calendar  `json:"calendar"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// Since is when the present ranges came to be, zero where there were none before; Past are those that held before, in their
	// order. So a change concerns only what is due after it.
	Since    time.Time   `json:"since,omitzero"`
	Past     []RangesEra `json:"past,omitempty"`
	Revision int64       `json:"revision,omitempty"` // the store's, of the version that was read
}

// RangesEra is a time that has ended, in which a calendar had other ranges.
type RangesEra struct {
	Ranges []string  `json:"ranges"`
	Until  time.Time `json:"until"` // inclusive
}

// What a calendar keeps: its ranges from a year before it is set, and of repeating events what comes within five years.
const (
	calendarPast   = 366 * 24 * time.Hour
	calendarFuture = 5 * 366 * 24 * time.Hour
)

// maxExcludeBytes is the most bytes that a rule's ranges may have as text, those of its calendars included: each job carries
// them, so that it stays below 64 KiB.
const maxExcludeBytes = 60 << 10

// calendarPrefix begins an entry of exclude that names a calendar.
const calendarPrefix = "calendar:"

// CalendarRef is the name of the calendar that an entry of exclude means; false where it means none.
func CalendarRef(exclude string) (name string, ok bool) {
	name, ok = strings.CutPrefix(strings.TrimSpace(exclude), calendarPrefix)
	return strings.TrimSpace(name), ok
}

// Complete writes the ranges in one form: sorted, each once, without those that ended more than a year ago. What is
// no range stays for Valid to find.
func (c *Calendar) Complete(now time.Time) {
	past := schedule.Between(time.Unix(0, 0), now.Add(-calendarPast))
	kept := make([]string, 0, len(c.Ranges))
	for _, text := range c.Ranges {
		r, err := schedule.ParseRange(strings.TrimSpace(text))
		switch {
		case err != nil:
			kept = append(kept, text)
		case !past.Contains(r):
			kept = append(kept, r.String())
		}
	}
	slices.Sort(kept)
	c.Ranges = slices.Compact(kept)
}

// Valid reports every fault of the calendar in one error.
func (c *Calendar) Valid() error {
	var f Faults
	if c.Name == "" {
		f.AddHint("name", "give it one", "the calendar has no name")
	} else if err := CheckName("calendar", c.Name); err != nil {
		f.AddError("name", err)
	}
	checkText(&f, "description", c.Description, maxDescription)
	checkText(&f, "source", c.Source, maxPath)
	if c.Through != "" {
		if _, err := time.Parse(time.DateOnly, c.Through); err != nil {
			f.Add("through", "%q is not a date", c.Through)
		}
	}
	for i, text := range c.Ranges {
		if _, err := schedule.ParseRange(text); err != nil {
			addParseErrors(&f, fmt.Sprintf("ranges[%d]", i), err)
		}
		if len(f.Fields) >= maxFaults {
			break
		}
	}
	if n := textBytes(c.Ranges); n > maxExcludeBytes {
		f.AddHint("ranges", "leave out what is long past or far ahead, or make two calendars of it",
			"%d ranges have %d bytes as text, at most %d are allowed", len(c.Ranges), n, maxExcludeBytes)
	}
	return f.Err("calendar " + c.Name + " is not valid")
}

// Equal tells whether two calendars say the same.
func (c *Calendar) Equal(o *Calendar) bool {
	return c.Name == o.Name && c.Description == o.Description && c.Source == o.Source && c.Through == o.Through &&
		slices.Equal(c.Ranges, o.Ranges)
}

// RangesAt are the ranges that held just before a time, as far back as is known.
func (e *CalendarEntry) RangesAt(t time.Time) []string {
	for _, p := range e.Past {
		if !t.After(p.Until) {
			return p.Ranges
		}
	}
	return e.Calendar.Ranges
}

// Edited is the entry in the place of this one that says what c says.
func (e *CalendarEntry) Edited(c Calendar, now time.Time) *CalendarEntry {
	n := *e
	n.Calendar, n.UpdatedAt = c, now
	if slices.Equal(e.Calendar.Ranges, c.Ranges) {
		return &n
	}
	if n.Since = now; !now.After(e.Since) {
		n.Since = e.Since.Add(tick)
	}
	n.Past = nil
	size := 0
	for _, p := range slices.Backward(append(slices.Clip(e.Past), RangesEra{e.Calendar.Ranges, n.Since})) {
		if size += textBytes(p.Ranges); len(n.Past) > 0 && (size > maxEraBytes || len(n.Past) == maxEras || now.Sub(p.Until) > keepEra) {
			break
		}
		n.Past = append(n.Past, p)
	}
	slices.Reverse(n.Past)
	return &n
}

// Valid reports every fault of the entry.
func (e *CalendarEntry) Valid() error { return e.Calendar.Valid() }

// ReadCalendar reads a calendar's file: iCalendar where it begins so, else YAML or JSON, which is a list of ranges or an object
// with description and ranges. The name is the file's, without its extension, unless name says another.
func ReadCalendar(name, file string, data []byte, now time.Time) (Calendar, error) {
	c := Calendar{Name: name, Source: filepath.Base(file)}
	if name == "" {
		c.Name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	}
	fail := func(err error) (Calendar, error) {
		return Calendar{}, Errorf(CodeInvalid, "%s: %w", file, err)
	}
	if IsICalendar(data) {
		until := now.Add(calendarFuture)
		ranges, err := schedule.ReadCalendar(bytes.NewReader(data), now.Add(-calendarPast), until)
		if err != nil {
			return fail(err)
		}
		for _, r := range ranges {
			c.Ranges = append(c.Ranges, r.String())
		}
		c.Through = until.UTC().Format(time.DateOnly)
	} else if err := c.decode(data); err != nil {
		return fail(err)
	}
	c.Complete(now)
	if err := c.Valid(); err != nil {
		return fail(err)
	}
	if len(c.Ranges) == 0 {
		return fail(Errorf(CodeInvalid, "it excludes nothing from a year ago on").WithHint("give it ranges, such as 2026-12-25 or 2026-12-24..2026-12-31"))
	}
	return c, nil
}

// IsICalendar tells whether data is of that form.
func IsICalendar(data []byte) bool {
	head := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
	const begin = "BEGIN:VCALENDAR"
	return len(head) >= len(begin) && strings.EqualFold(string(head[:len(begin)]), begin)
}

// calendarFile is a calendar as it is written in YAML or JSON, where it is more than a list of ranges.
type calendarFile struct {
	Description string   `json:"description,omitempty" yaml:"description"`
	Ranges      []string `json:"ranges,omitempty" yaml:"ranges"`
}

// decode reads YAML or JSON.
func (c *Calendar) decode(data []byte) error {
	if len(data) > MaxTaskFile {
		return Errorf(CodeInvalid, "it has more than %d bytes", MaxTaskFile)
	}
	if yaml.Unmarshal(data, &c.Ranges) == nil {
		return nil
	}
	c.Ranges = nil
	var v calendarFile
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&v); err != nil {
		return Errorf(CodeInvalid, "it is no calendar: %w", err).
			WithHint("write a list of ranges, or description: and ranges:; an iCalendar file begins with BEGIN:VCALENDAR")
	}
	c.Description, c.Ranges = v.Description, v.Ranges
	return nil
}

// textBytes is what texts take in a JSON list.
func textBytes(list []string) (n int) {
	for _, s := range list {
		n += len(s) + len(`"",`)
	}
	return n
}
