package schedule

import "time"

const (
	// maxShift is the largest change of a zone's offset that is a change of the clock. A larger one is a
	// correction (cronie's word): what it jumps over is not made up for, what it repeats is run again.
	maxShift = 3 * 60 * 60

	// spread is more than the difference between any two offsets from UTC.
	spread = 28 * 60 * 60

	// The ends of time, far enough out that adding an offset never overflows.
	beginning = -1 << 60
	ending    = 1 << 60
)

// A segment is a stretch [start, end) of real time, in Unix seconds, throughout which a zone's clock is ahead of UTC by
// offset. Neighbours may have the same offset: the seams of a time.Location need not be changes of the clock.
type segment struct {
	start, end, offset int64
}

// segmentAt gives the segment that contains u.
func segmentAt(loc *time.Location, u int64) segment {
	if loc == time.UTC {
		return segment{beginning, ending, 0}
	}
	t := time.Unix(u, 0).In(loc)
	_, offset := t.Zone()
	seg := segment{beginning, ending, int64(offset)}
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		seg.start = start.Unix()
	}
	if !end.IsZero() {
		seg.end = end.Unix()
	}
	// Past a zone's table, where its rule takes over, a Location's years end after 365 days, so on the last
	// day of a leap year the segment seems to end before it began.
	if seg.end <= u {
		seg.end = (floorDiv(u, secondsPerDay) + 1) * secondsPerDay
	}
	seg.start = min(seg.start, u)
	// In the year in which the rule takes over, the segment seems to start where it would have by the rule, though
	// the table has a later change (Ciudad Juárez in November 2022).
	for range 4 {
		if seg.start == beginning {
			break
		}
		_, end := time.Unix(seg.start, 0).In(loc).ZoneBounds()
		if end.IsZero() || end.Unix() <= seg.start || end.Unix() > u {
			break
		}
		seg.start = end.Unix()
	}
	return seg
}

// first is the first reading of the segment's clock.
func (s segment) first() int64 { return s.start + s.offset }

// highWater is cronie's virtual clock at the seam before seg: all readings below it have had their turn. It is less than
// seg.first() after a jump ahead, more after a step back, and equal where nothing changed or the change was a correction.
func highWater(loc *time.Location, seg segment) int64 {
	return highWaterWithin(loc, seg, 8)
}

// highWaterWithin looks back over at most depth segments. One is enough unless a zone changes twice within three hours, which
// none has done; the bound is for zones we are handed.
func highWaterWithin(loc *time.Location, seg segment, depth int) int64 {
	first := seg.first()
	if seg.start <= beginning || depth == 0 {
		return first
	}
	before := segmentAt(loc, seg.start-1)
	mark := seg.start + before.offset
	if seg.start-before.start < maxShift {
		mark = max(mark, highWaterWithin(loc, before, depth-1))
	}
	if jump := first - mark; jump > maxShift || jump < -maxShift {
		return first
	}
	return mark
}
