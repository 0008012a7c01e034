package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
)

// maxRanges bounds what one window may exclude.
const maxRanges = 100_000

// A Window limits the instants of a schedule. It narrows @every, @at and cron timers alike.
type Window struct {
	Start   time.Time // the first instant allowed; zero: no limit
	End     time.Time // the first instant no longer allowed; zero: no limit
	Exclude []Range   // read in the schedule's zone
}

// window is a Window resolved in a zone.
type window struct {
	start, end int64
	spans      []span // ascending, disjoint, not adjacent
}

// A span is the stretch of Unix seconds [from, to).
type span struct{ from, to int64 }

// resolve gives nil for a window without limits.
func (w Window) resolve(loc *time.Location) (*window, error) {
	if w.Start.IsZero() && w.End.IsZero() && len(w.Exclude) == 0 {
		return nil, nil
	}
	if len(w.Exclude) > maxRanges {
		return nil, fmt.Errorf("window: %d excluded ranges, at most %d are allowed", len(w.Exclude), maxRanges)
	}
	r := &window{start: beginning, end: ending}
	if !w.Start.IsZero() {
		r.start = ceilUnix(w.Start)
	}
	if !w.End.IsZero() {
		r.end = ceilUnix(w.End)
	}
	if r.start >= r.end {
		return nil, errors.New("window: the end is not after the start")
	}
	var spans []span
	for _, x := range w.Exclude {
		spans = x.appendSpans(spans, loc)
	}
	r.spans = merge(spans)
	return r, nil
}

// ceilUnix gives the first whole second at or after t.
func ceilUnix(t time.Time) int64 {
	u := t.Unix()
	if t.Nanosecond() > 0 {
		u++
	}
	return max(beginning, min(u, ending))
}

// merge sorts spans and joins those that touch.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var joined []span
	for _, s := range spans {
		if s.from >= s.to {
			continue
		}
		if n := len(joined); n > 0 && s.from <= joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, s.to)
			continue
		}
		joined = append(joined, s)
	}
	return slices.Clip(joined)
}

// excluded gives the span that contains u.
func (w *window) excluded(u int64) (span, bool) {
	i := sort.Search(len(w.spans), func(i int) bool { return w.spans[i].to > u })
	if i == len(w.spans) || w.spans[i].from > u {
		return span{}, false
	}
	return w.spans[i], true
}

func (w *window) equal(v *window) bool {
	if w == nil || v == nil {
		return w == v
	}
	return w.start == v.start && w.end == v.end && slices.Equal(w.spans, v.spans)
}

// wallSpans gives the stretches of real time during which a zone's clock shows a reading in [from, to). There may be several:
// where a clock goes back over midnight, a date has two parts.
func wallSpans(spans []span, loc *time.Location, from, to int64) []span {
	for u := from - spread; u < to+spread; {
		seg := segmentAt(loc, u)
		s := span{max(u, from-seg.offset), min(seg.end, to-seg.offset)}
		if s.from < s.to {
			spans = append(spans, s)
		}
		u = seg.end
		// Far from both ends every clock is inside.
		if solid := to - spread; u > from+spread && u < solid {
			spans = append(spans, span{u, solid})
			u = solid
		}
	}
	return spans
}

// startOf gives the first instant at which a zone's clock shows w or more.
func startOf(loc *time.Location, w int64) int64 {
	for u := w - spread; ; {
		seg := segmentAt(loc, u)
		if seg.end+seg.offset > w {
			return max(u, w-seg.offset)
		}
		u = seg.end
	}
}

// occurrences gives the instants at which a fixed timer with the single reading w is due.
func occurrences(loc *time.Location, w int64, dst DST) []int64 {
	var list []int64
	for u := w - spread; u < w+spread; {
		seg := segmentAt(loc, u)
		mark, first := highWater(loc, seg), seg.first()
		from := seg.start
		if mark > first && dst.Overlap == OverlapOnce {
			from = mark - seg.offset
		}
		switch t := w - seg.offset; {
		case mark <= w && w < first && dst.Gap == GapRun:
			list = append(list, seg.start)
		case from <= t && t < seg.end:
			list = append(list, t)
		}
		u = seg.end
	}
	return list
}
