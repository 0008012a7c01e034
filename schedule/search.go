package schedule

import "time"

// A rule yields instants, in Unix seconds. Both searches are bounded and do not allocate.
type rule interface {
	// next gives the first instant at or after u.
	next(u int64) (int64, bool)
	// prev gives the last instant at or before u.
	prev(u int64) (int64, bool)
}

func (c *cron) next(u int64) (int64, bool) {
	firstYear, lastYear := c.limits()
	if firstYear > minYear {
		u = max(u, daysOf(firstYear, 1, 1)*secondsPerDay-spread)
	}
	limit := int64(maxUnix)
	if lastYear == maxYear {
		limit = min(limit, u+calendarCycle)
	}
	for u <= limit {
		seg := segmentAt(c.loc, u)
		from := u
		if !c.wild() && u < seg.start+maxShift {
			mark, first := highWater(c.loc, seg), seg.first()
			if mark < first && u == seg.start && c.dst.Gap == GapRun {
				if w, ok := c.nextWall(mark); ok && w < first {
					return u, true
				}
			}
			if mark > first && c.dst.Overlap == OverlapOnce {
				from = max(from, mark-seg.offset)
			}
		}
		w, ok := c.nextWall(from + seg.offset)
		if ok && w-seg.offset < seg.end {
			return w - seg.offset, w-seg.offset <= maxUnix
		}
		u = seg.end
		// Once every clock is past the reading we looked from, nothing is due until one comes near w.
		if seg.end > from+spread {
			if !ok {
				return 0, false
			}
			u = max(u, w-seg.offset-2*spread)
		}
	}
	return 0, false
}

func (c *cron) prev(u int64) (int64, bool) {
	firstYear, lastYear := c.limits()
	if lastYear < maxYear {
		u = min(u, daysOf(lastYear+1, 1, 1)*secondsPerDay+spread)
	}
	limit := int64(minUnix)
	if firstYear == minYear {
		limit = max(limit, u-calendarCycle)
	}
	for u >= limit {
		seg := segmentAt(c.loc, u)
		w, ok := c.prevWall(u + seg.offset)
		t := w - seg.offset
		if ok && (t >= seg.start+maxShift || c.wild() && t >= seg.start) {
			return t, t >= minUnix
		}
		if !c.wild() && seg.start > beginning {
			mark, first := highWater(c.loc, seg), seg.first()
			from := seg.start
			if mark > first && c.dst.Overlap == OverlapOnce {
				from = mark - seg.offset
			}
			if ok && t >= from {
				return t, true
			}
			if mark < first && c.dst.Gap == GapRun {
				if w, ok := c.prevWall(first - 1); ok && w >= mark {
					return seg.start, true
				}
			}
		}
		before := seg.start - 1
		if seg.start < u-spread {
			if !ok {
				return 0, false
			}
			before = min(before, w-seg.offset+2*spread)
		}
		u = before
	}
	return 0, false
}

// every is due at phase plus each multiple of period, both in seconds of real time; 0 <= phase < period.
type every struct {
	period, phase int64
}

func newEvery(period time.Duration, anchor time.Time) *every {
	p := int64(period / time.Second)
	var phase int64
	if !anchor.IsZero() {
		phase = anchor.Unix() % p
		if phase < 0 {
			phase += p
		}
	}
	return &every{p, phase}
}

func (e *every) next(u int64) (int64, bool) {
	t := e.phase - floorDiv(e.phase-u, e.period)*e.period
	return t, t <= maxUnix
}

func (e *every) prev(u int64) (int64, bool) {
	t := e.phase + floorDiv(u-e.phase, e.period)*e.period
	return t, t >= minUnix
}

// instants is a list of due times, ascending, without duplicates.
type instants []int64

func (l instants) next(u int64) (int64, bool) {
	for i := 0; i < len(l); i++ {
		if l[i] >= u {
			return l[i], true
		}
	}
	return 0, false
}

func (l instants) prev(u int64) (int64, bool) {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i] <= u {
			return l[i], true
		}
	}
	return 0, false
}

// reboot is never due by time.
type reboot struct{}

func (reboot) next(int64) (int64, bool) { return 0, false }
func (reboot) prev(int64) (int64, bool) { return 0, false }

// union is due whenever one of its rules is.
type union []rule

func (r union) next(u int64) (int64, bool) {
	var best int64
	var found bool
	for i := range r {
		if t, ok := r[i].next(u); ok && (!found || t < best) {
			best, found = t, true
		}
	}
	return best, found
}

func (r union) prev(u int64) (int64, bool) {
	var best int64
	var found bool
	for i := range r {
		if t, ok := r[i].prev(u); ok && (!found || t > best) {
			best, found = t, true
		}
	}
	return best, found
}
