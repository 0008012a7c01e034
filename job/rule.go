package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rota-dev/rota/schedule"
)

// Rule says when a job runs, and on which nodes a task may.
type Rule struct {
	ID     string            `json:"id"`
	Mode   RuleMode          `json:"mode"`
	Timer  string            `json:"timer"` // several: a line each
	Labels map[string]string `json:"labels"`

	Timezone string   `json:"timezone,omitempty"`
	Start    string   `json:"start,omitempty"`
	End      string   `json:"end,omitempty"`
	Exclude  []string `json:"exclude,omitempty"`
	Gap      string   `json:"dst_gap,omitempty"`
	Repeat   string   `json:"dst_overlap,omitempty"`
	Seed     string   `json:"seed,omitempty"` // from which H and ~ are drawn
	// Calendars are the ranges of the calendars that Exclude names, as they were when the rule was resolved: a job carries
	// them, a task does not. One that is named and not here excludes nothing.
	Calendars map[string][]string `json:"calendars,omitempty"`

	// Schedule is the parsed timer. Valid sets it; it is nil where there is no timer.
	Schedule *schedule.Schedule `json:"-"`
	// Boot tells that Schedule is that of one boot of a node; see [Rule.AtBoot].
	Boot bool `json:"-"`
}

// Valid checks the mode and the timer and parses the timer once. All faults come in one error.
func (r *Rule) Valid() error {
	var f Faults
	r.check(&f, "")
	return f.Err("the rule is not valid")
}

// RuleModes are all of them.
var RuleModes = []RuleMode{OnlyOnce, ManyOnce, Cycle}

func (r *Rule) check(f *Faults, prefix string) {
	lines := Timer(r.Timer).Lines()
	switch r.Mode {
	case Cycle:
		if len(lines) == 0 {
			f.AddHint(prefix+"timer", `write one, such as "*/5 * * * *" or "@every 90s"`, "mode cycle needs a timer")
		}
	case OnlyOnce, ManyOnce:
		if len(lines) > 0 {
			f.AddHint(prefix+"timer", "leave the timer out, or use mode cycle", "mode %s has no timer", r.Mode)
		}
	default:
		// ancestor 24: a rule of an unknown mode is refused before it is stored
		f.AddHint(prefix+"mode", wantOneOf(r.Mode, RuleModes), "mode %q is not known", r.Mode)
	}
	r.parse(f, prefix, lines)
}

// parse sets Schedule where there is a timer, or adds what is wrong with it.
func (r *Rule) parse(f *Faults, prefix string, lines []string) {
	before := len(f.Fields)
	opts := schedule.Options{Seed: r.Seed, Location: time.UTC}
	if loc, err := schedule.LoadLocation(zoneName(r.Timezone)); err != nil {
		addParseErrors(f, prefix+"timezone", err)
	} else if loc == time.Local {
		f.AddHint(prefix+"timezone", "name the zone, such as Europe/Berlin", "Local is another zone on another machine")
	} else {
		opts.Location = loc
	}
	if err := opts.DST.Gap.UnmarshalText([]byte(r.Gap)); err != nil {
		f.AddHint(prefix+"dst.gap", wantOneOf(r.Gap, []string{"run", "skip"}), "%q is not known", r.Gap)
	}
	if err := opts.DST.Overlap.UnmarshalText([]byte(r.Repeat)); err != nil {
		f.AddHint(prefix+"dst.overlap", wantOneOf(r.Repeat, []string{"once", "twice"}), "%q is not known", r.Repeat)
	}
	opts.Window = r.window(f, prefix, opts.Location)
	if len(lines) == 0 {
		return
	}
	if len(lines) > schedule.MaxTimers {
		f.Add(prefix+"timer", "there are %d timers, at most %d are allowed", len(lines), schedule.MaxTimers)
		return
	}
	s, err := schedule.ParseAll(lines, opts)
	if err != nil {
		r.addTimerErrors(f, prefix, lines, err)
		return
	}
	if len(f.Fields) == before {
		r.Schedule = s
	}
}

// window reads Start, End and Exclude.
func (r *Rule) window(f *Faults, prefix string, loc *time.Location) schedule.Window {
	var w schedule.Window
	read := func(path, text string) time.Time {
		if text == "" {
			return time.Time{}
		}
		t, err := schedule.ParseTime(text, loc)
		if err != nil {
			addParseErrors(f, prefix+path, err)
		}
		return t
	}
	w.Start, w.End = read("start", r.Start), read("end", r.End)
	if !w.Start.IsZero() && !w.End.IsZero() && !w.End.After(w.Start) {
		f.Add(prefix+"end", "the end is not after the start")
		w = schedule.Window{}
	}
	if len(r.Exclude) > maxExclude {
		f.Add(prefix+"exclude", "there are %d ranges, at most %d are allowed", len(r.Exclude), maxExclude)
		return w
	}
	exclude := func(path, text string) {
		x, err := schedule.ParseRange(text)
		if err != nil {
			addParseErrors(f, prefix+path, err)
			return
		}
		w.Exclude = append(w.Exclude, x)
	}
	size := textBytes(r.Exclude)
	for i, text := range r.Exclude {
		path := "exclude[" + strconv.Itoa(i) + "]"
		name, ok := CalendarRef(text)
		if !ok {
			exclude(path, text)
			continue
		}
		if err := CheckName("calendar", name); err != nil {
			f.AddError(prefix+path, err)
			continue
		}
		size += textBytes(r.Calendars[name])
		for n, text := range r.Calendars[name] {
			exclude("calendars."+name+"["+strconv.Itoa(n)+"]", text)
		}
	}
	if size > maxExcludeBytes {
		f.AddHint(prefix+"exclude", "exclude less, or split the task", "what is excluded has %d bytes as text, calendars included; at most %d are allowed",
			size, maxExcludeBytes)
	}
	return w
}

// CalendarNames are the calendars that the rule excludes, sorted.
func (r *Rule) CalendarNames() []string {
	var names []string
	for _, text := range r.Exclude {
		if name, ok := CalendarRef(text); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Resolve takes over the ranges of the calendars that the rule names, of which a function knows, and gives the first name of which
// it does not. The rule must be parsed anew, with Valid.
func (r *Rule) Resolve(ranges func(name string) ([]string, bool)) (unknown string) {
	r.Calendars, r.Schedule = nil, nil
	for _, name := range r.CalendarNames() {
		list, ok := ranges(name)
		if !ok && unknown == "" {
			unknown = name
		}
		if ok {
			if r.Calendars == nil {
				r.Calendars = map[string][]string{}
			}
			r.Calendars[name] = list
		}
	}
	return unknown
}

// addTimerErrors notes what is wrong with the timers, each at its place.
func (r *Rule) addTimerErrors(f *Faults, prefix string, lines []string, err error) {
	list := schedule.Errors(err)
	if len(list) == 0 {
		f.Add(prefix+"timer", "%v", err)
	}
	for _, e := range list {
		path, index := prefix+"timer", min(e.Index, len(lines)-1)
		if len(lines) > 1 {
			path += "[" + strconv.Itoa(index) + "]"
		}
		field := parseFault(path, e)
		field.at.item = e.Pos
		field.at.off = e.Pos + lineOffset(r.Timer, index)
		f.Fields = append(f.Fields, field)
	}
}

// lineOffset is where the nth of [Timer.Lines] begins in the text.
func lineOffset(text string, n int) int {
	off := 0
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); trimmed != "" {
			if n == 0 {
				return off + strings.Index(line, trimmed)
			}
			n--
		}
		off += len(line)
	}
	return 0
}

func addParseErrors(f *Faults, path string, err error) {
	list := schedule.Errors(err)
	if len(list) == 0 {
		f.Add(path, "%v", err)
	}
	for _, e := range list {
		field := parseFault(path, e)
		field.at.off = e.Pos
		f.Fields = append(f.Fields, field)
	}
}

func parseFault(path string, e *schedule.ParseError) FieldError {
	found := "nothing found"
	if e.Found != "" {
		found = fmt.Sprintf("found %q", e.Found)
	}
	return FieldError{Path: path, Message: fmt.Sprintf("%s: %s; allowed: %s", e.Field, found, e.Allowed), Hint: e.Hint}
}

func zoneName(s string) string {
	if strings.TrimSpace(s) == "" {
		return "UTC"
	}
	return s
}

// Same tells whether two rules give the same instants.
func (r *Rule) Same(o *Rule) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.Mode == o.Mode && r.Timer == o.Timer && r.Timezone == o.Timezone && r.Start == o.Start && r.End == o.End &&
		strings.Join(r.Exclude, "\n") == strings.Join(o.Exclude, "\n") && r.Gap == o.Gap && r.Repeat == o.Repeat &&
		maps.EqualFunc(r.Calendars, o.Calendars, slices.Equal)
}

// Matches tells whether the node carries every label of the rule.
func (r *Rule) Matches(n *Node) bool {
	for k, v := range r.Labels {
		if got, ok := n.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Next is the first instant after t, or zero where there is none. The rule must be valid.
func (r *Rule) Next(t time.Time) time.Time {
	if r == nil || r.Schedule == nil {
		return time.Time{}
	}
	return r.Schedule.Next(t)
}

// AtBoot is the rule as a node has it that booted at a time: @reboot is due then, within the rule's window. Any other rule is
// as it was. The rule must be valid.
func (r *Rule) AtBoot(at time.Time) *Rule {
	if r == nil || r.Schedule == nil || !r.Schedule.RebootOnly() || at.IsZero() {
		return r
	}
	c := r.clone()
	c.Timer = "@at " + at.UTC().Format(time.RFC3339)
	if c.Valid() != nil {
		return r
	}
	c.Timer, c.Boot = r.Timer, true
	return c
}

// clone copies the rule deeply, but for the schedule and the ranges of calendars, which never change.
func (r *Rule) clone() *Rule {
	if r == nil {
		return nil
	}
	c := *r
	c.Labels = maps.Clone(r.Labels)
	c.Exclude = append([]string(nil), r.Exclude...)
	c.Calendars = maps.Clone(r.Calendars)
	return &c
}
