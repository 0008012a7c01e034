package job

import (
	"maps"
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

	// Schedule is the parsed timer. Valid sets it; it is nil where there is no timer.
	Schedule *schedule.Schedule `json:"-"`
}

// Valid checks the mode and the timer and parses the timer once. All faults come in one error.
func (r *Rule) Valid() error {
	var f Faults
	r.check(&f, "")
	return f.Err("the rule is not valid")
}

func (r *Rule) check(f *Faults, prefix string) {
	lines := Timer(r.Timer).Lines()
	switch r.Mode {
	case Cycle:
		if len(lines) == 0 {
			f.AddHint(prefix+"timer", `write one, such as "*/5 * * * *" or "@every 90s"`, "mode cycle needs a timer")
			return
		}
	case OnlyOnce, ManyOnce:
		if len(lines) > 0 {
			f.AddHint(prefix+"timer", "leave the timer out, or use mode cycle", "mode %s has no timer", r.Mode)
		}
		return
	default:
		f.AddHint(prefix+"mode", "want onlyonce, manyonce or cycle", "mode %q is not known", r.Mode)
		return
	}
	r.parse(f, prefix, lines)
}

// parse sets Schedule, or adds what is wrong with it.
func (r *Rule) parse(f *Faults, prefix string, lines []string) {
	loc, err := schedule.LoadLocation(zoneName(r.Timezone))
	if err != nil {
		f.Add(prefix+"timezone", "%v", err)
		return
	}
	opts := schedule.Options{Location: loc, Seed: r.Seed}
	if r.Gap != "" {
		if err := opts.DST.Gap.UnmarshalText([]byte(r.Gap)); err != nil {
			f.Add(prefix+"dst.gap", "%v", err)
		}
	}
	if r.Repeat != "" {
		if err := opts.DST.Overlap.UnmarshalText([]byte(r.Repeat)); err != nil {
			f.Add(prefix+"dst.overlap", "%v", err)
		}
	}
	s, err := schedule.ParseAll(lines, opts)
	if err != nil {
		f.Add(prefix+"timer", "%v", err)
		return
	}
	r.Schedule = s
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
		strings.Join(r.Exclude, "\n") == strings.Join(o.Exclude, "\n") && r.Gap == o.Gap && r.Repeat == o.Repeat
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

// clone copies the rule deeply, but for the schedule, which never changes.
func (r *Rule) clone() *Rule {
	if r == nil {
		return nil
	}
	c := *r
	c.Labels = maps.Clone(r.Labels)
	c.Exclude = append([]string(nil), r.Exclude...)
	return &c
}
