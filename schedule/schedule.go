package schedule

import (
	"iter"
	"slices"
	"time"
)

// Options are what a timer's text does not say. The zero value is UTC, no seed, cronie's daylight saving, no limits.
type Options struct {
	Location *time.Location // nil: UTC
	Seed     string         // H and ~ are drawn from it; a task's name
	Anchor   time.Time      // phase of @every; zero: Unix epoch
	DST      DST            // zero value: as cronie
	Window   Window         // zero: no limits
}

// A Schedule says when a task is due. It is immutable and safe for concurrent use. Its instants are whole seconds.
type Schedule struct {
	loc    *time.Location
	base   *time.Location // Options.Location: what a timer without CRON_TZ is in
	rule   rule
	window *window // nil: no limits
	dst    DST
}

// Next gives the first instant strictly after the given time, in UTC. It is the zero time if there is none.
func (s *Schedule) Next(after time.Time) time.Time {
	u := after.Unix()
	if u >= maxUnix {
		return time.Time{}
	}
	return result(s.next(max(u+1, minUnix)))
}

// Prev gives the last instant strictly before the given time, in UTC. It is the zero time if there is none.
func (s *Schedule) Prev(before time.Time) time.Time {
	u := before.Unix()
	if before.Nanosecond() == 0 {
		if u <= minUnix {
			return time.Time{}
		}
		u--
	}
	if u < minUnix {
		return time.Time{}
	}
	return result(s.prev(min(u, maxUnix)))
}

func result(u int64, ok bool) time.Time {
	if !ok {
		return time.Time{}
	}
	return time.Unix(u, 0).UTC()
}

func (s *Schedule) next(u int64) (int64, bool) {
	if s.window == nil {
		return s.rule.next(u)
	}
	u = max(u, s.window.start)
	for {
		t, ok := s.rule.next(u)
		if !ok || t >= s.window.end {
			return 0, false
		}
		x, excluded := s.window.excluded(t)
		if !excluded {
			return t, true
		}
		u = x.to
	}
}

func (s *Schedule) prev(u int64) (int64, bool) {
	if s.window == nil {
		return s.rule.prev(u)
	}
	u = min(u, s.window.end-1)
	for {
		t, ok := s.rule.prev(u)
		if !ok || t < s.window.start {
			return 0, false
		}
		x, excluded := s.window.excluded(t)
		if !excluded {
			return t, true
		}
		u = x.from - 1
	}
}

// Each yields the instants after from, up to and including to, in order.
func (s *Schedule) Each(from, to time.Time) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for t := s.Next(from); !t.IsZero() && !t.After(to); t = s.Next(t) {
			if !yield(t) {
				return
			}
		}
	}
}

// Count gives the number of instants after from, up to and including to, but stops counting at limit.
func (s *Schedule) Count(from, to time.Time, limit int) int {
	n := 0
	for range s.Each(from, to) {
		if n == limit {
			break
		}
		n++
	}
	return n
}

// Location gives the zone of the schedule: what CRON_TZ= says if all its timers agree on it, otherwise that of the options.
func (s *Schedule) Location() *time.Location { return s.loc }

// Reboot tells whether the task is also due when its node starts.
func (s *Schedule) Reboot() bool {
	return slices.ContainsFunc(s.rules(), func(r rule) bool { _, ok := r.(reboot); return ok })
}

// RebootOnly tells whether the task is due when its node starts, and never by time.
func (s *Schedule) RebootOnly() bool {
	return !slices.ContainsFunc(s.rules(), func(r rule) bool { _, ok := r.(reboot); return !ok })
}

// Equal tells whether both schedules have the same normal form, zone, daylight-saving policy, window and phase. Equal schedules
// are due at the same instants, so one can stand for the other.
func (s *Schedule) Equal(t *Schedule) bool {
	return s.loc == t.loc && s.base == t.base && s.dst == t.dst && s.window.equal(t.window) &&
		s.String() == t.String() && slices.EqualFunc(s.rules(), t.rules(), samePhase)
}

// samePhase compares what the normal form of two rules does not show.
func samePhase(a, b rule) bool {
	e, ok := a.(*every)
	return !ok || *e == *b.(*every)
}

func (s *Schedule) rules() []rule {
	if u, ok := s.rule.(union); ok {
		return u
	}
	return []rule{s.rule}
}
