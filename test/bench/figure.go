package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// figure is a row of the report: what was measured, once in each round.
type figure struct {
	Key  string `json:"key"` // names the row in each report
	Of   string `json:"of"`  // the measurement
	What string `json:"what"`
	// Unit is ms, µs, MiB and so on, which hold for one machine, or one of [ratios].
	Unit   string    `json:"unit"`
	Rounds []float64 `json:"rounds"`
	Goal   *goal     `json:"goal,omitempty"`
	// Rising tells that more is better where there is no goal.
	Rising bool   `json:"rising,omitempty"`
	Note   string `json:"note,omitempty"`

	taken bool // over from the last report
}

// ratios are the units of what was measured against something else in the same run, which carries over to other machines.
var ratios = []string{"×", "%", "B", "lost or doubled"}

// goal is what a figure should be: at most Limit, or with AtLeast no less.
type goal struct {
	Limit   float64 `json:"limit"`
	AtLeast bool    `json:"at_least,omitempty"`
}

func atMost(v float64) *goal  { return &goal{Limit: v} }
func atLeast(v float64) *goal { return &goal{Limit: v, AtLeast: true} }

// median is the figure's one number.
func (f figure) median() float64 { return median(f.Rounds) }

// spread is how far the rounds lie apart.
func (f figure) spread() float64 { return slices.Max(f.Rounds) - slices.Min(f.Rounds) }

func (f figure) value() string { return number(f.median()) + " " + f.Unit }

// met tells whether the goal is reached; without one it is.
func (f figure) met() bool {
	switch {
	case f.Goal == nil:
		return true
	case f.Goal.AtLeast:
		return f.median() >= f.Goal.Limit
	}
	return f.median() <= f.Goal.Limit
}

// target is the goal in words.
func (f figure) target() string {
	switch {
	case f.Goal == nil:
		return ""
	case f.Goal.AtLeast:
		return "≥ " + number(f.Goal.Limit) + " " + f.Unit
	}
	return "≤ " + number(f.Goal.Limit) + " " + f.Unit
}

// worse tells whether a figure is worse than it was by more than the rounds of either lie apart, and by more than a twentieth.
func (f figure) worse(before figure) bool {
	d := f.median() - before.median()
	if f.Rising || f.Goal != nil && f.Goal.AtLeast {
		d = -d
	}
	return d > max(f.spread(), before.spread()) && d > math.Abs(before.median())/20
}

// number writes a number with as many digits as say something.
func number(v float64) string {
	switch a := math.Abs(v); {
	case v == math.Trunc(v), a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func median[T int | int64 | float64 | time.Duration](list []T) T {
	s := slices.Clone(list)
	slices.Sort(s)
	return s[len(s)/2]
}

func percentile(list []time.Duration, p float64) time.Duration {
	s := slices.Clone(list)
	slices.Sort(s)
	return s[min(len(s)-1, int(float64(len(s))*p))]
}

func inMS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func inUS(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
