package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Describe says in a sentence without a full stop when the schedule is due: "at 02:30 on Monday through Friday".
func (s *Schedule) Describe() string {
	var parts []string
	for _, r := range s.rules() {
		parts = append(parts, s.describe(r))
	}
	return strings.Join(parts, "; and ")
}

func (s *Schedule) describe(r rule) string {
	switch r := r.(type) {
	case *cron:
		text := r.describe()
		if r.loc != s.base {
			text += " (" + r.loc.String() + ")"
		}
		return text
	case *every:
		return "every " + spell(r.period)
	case instants:
		const few = 5
		if len(r) > few {
			return fmt.Sprintf("at %d times from %s through %s", len(r), s.show(r[0]), s.show(r[len(r)-1]))
		}
		times := make([]string, len(r))
		for i, u := range r {
			times[i] = s.show(u)
		}
		return "at " + enumerate(times)
	}
	return "when the node starts"
}

// show writes an instant on the schedule's clock.
func (s *Schedule) show(u int64) string { return time.Unix(u, 0).In(s.loc).Format(time.RFC3339) }

// spell writes seconds in words, without a leading "1".
func spell(seconds int64) string {
	var parts []string
	for _, unit := range [...]struct {
		name string
		size int64
	}{{"day", secondsPerDay}, {"hour", 3600}, {"minute", 60}, {"second", 1}} {
		n := seconds / unit.size
		seconds -= n * unit.size
		switch {
		case n == 1 && seconds == 0 && len(parts) == 0:
			return unit.name
		case n == 1:
			parts = append(parts, "1 "+unit.name)
		case n > 1:
			parts = append(parts, strconv.FormatInt(n, 10)+" "+unit.name+"s")
		}
	}
	return enumerate(parts)
}

// enumerate writes "a, b and c".
func enumerate(items []string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	last := len(items) - 1
	return strings.Join(items[:last], ", ") + " and " + items[last]
}

// progression gives the distance between at least three evenly spaced values.
func progression(values []int) (step int, ok bool) {
	if len(values) < 3 {
		return 0, false
	}
	step = values[1] - values[0]
	for i := 2; i < len(values); i++ {
		if values[i]-values[i-1] != step {
			return 0, false
		}
	}
	return step, true
}

func (c *cron) describe() string {
	day := c.describeDays()
	seconds, minutes, hours := c.values(fieldSecond), c.values(fieldMinute), c.values(fieldHour)

	// A few times of day are simply listed.
	const few = 6
	if len(minutes)*len(hours) <= few {
		within, second := "", seconds[0]
		if len(seconds) > 1 {
			within, second = strings.TrimSuffix(describeSteps("second", "minute", seconds, 60), " of every minute")+" in the minute ", 0
		}
		var times []string
		for _, h := range hours {
			for _, m := range minutes {
				times = append(times, clock(h, m, second))
			}
		}
		if day == "" {
			day = " every day"
		}
		return within + "at " + enumerate(times) + day
	}

	text := describeMinutes(minutes, hours)
	switch every := len(minutes) == 60; {
	case len(seconds) == 1 && seconds[0] == 0:
	case every && len(seconds) == 1:
		text = "at second " + strconv.Itoa(seconds[0]) + " of " + text
	case every:
		text = describeSteps("second", "minute", seconds, 60) + strings.TrimPrefix(text, "every minute")
	case len(seconds) == 1:
		text += fmt.Sprintf(", %d seconds past", seconds[0])
	default:
		text += ", " + describeSteps("second", "minute", seconds, 60)
	}
	return text + day
}

func clock(hour, minute, second int) string {
	if second == 0 {
		return fmt.Sprintf("%02d:%02d", hour, minute)
	}
	return fmt.Sprintf("%02d:%02d:%02d", hour, minute, second)
}

// values lists a field's values; years as they are written.
func (c *cron) values(kind fieldKind) []int {
	s := c.set(kind)
	list := s.bits.values()
	if kind == fieldYear {
		for i := range list {
			list[i] += firstYear
		}
	}
	return list
}

// describeSteps says which of the size small units within a larger one are meant: "every 15 minutes", "at minutes 5 and 7
// of every hour".
func describeSteps(unit, larger string, values []int, size int) string {
	step, even := progression(values)
	first, last := values[0], values[len(values)-1]
	units := unit + "s"
	name := "every " + unit
	if step > 1 {
		name = fmt.Sprintf("every %d %s", step, units)
	}
	switch {
	case len(values) == size:
		return name
	case even && size%step == 0 && first == 0 && last+step == size:
		return name
	case even && size%step == 0 && first < step && last+step >= size:
		return fmt.Sprintf("%s from %s %d of every %s", name, unit, first, larger)
	case even:
		return fmt.Sprintf("%s from %s %d through %d of every %s", name, unit, first, last, larger)
	case len(values) == 1:
		return fmt.Sprintf("at %s %d of every %s", unit, first, larger)
	}
	return "at " + units + " " + numbers(values) + " of every " + larger
}

func numbers(values []int) string {
	items := make([]string, len(values))
	for i, v := range values {
		items[i] = strconv.Itoa(v)
	}
	return enumerate(items)
}

func describeMinutes(minutes, hours []int) string {
	step, even := progression(hours)
	first, last := hours[0], hours[len(hours)-1]
	if len(minutes) == 1 {
		m := minutes[0]
		every := "every hour"
		if step > 1 {
			every = fmt.Sprintf("every %d hours", step)
		}
		switch {
		case len(hours) == 24 && m == 0, even && m == 0 && first == 0 && last+step == 24:
			return every
		case len(hours) == 24:
			return fmt.Sprintf("at minute %d of every hour", m)
		case even:
			return every + " from " + clock(first, m, 0) + " through " + clock(last, m, 0)
		}
	}
	text := describeSteps("minute", "hour", minutes, 60)
	switch {
	case len(hours) == 24:
		return text
	case even && step == 1, len(hours) == 1:
		return text + " from " + clock(first, 0, 0) + " through " + clock(last, 59, 0)
	}
	return text + " in hours " + numbers(hours)
}
