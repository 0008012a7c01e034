package runner

import (
	"time"

	"github.com/rota-dev/rota/job"
)

const (
	// maxParts leaves room for the line that says what was left out, and the part that it splits.
	maxParts = job.MaxOutputParts - 2
	// sameTime is within what time pieces of the same stream count as one.
	sameTime = 10 * time.Millisecond
	// longest is the time beyond which pieces are no longer told apart by merging what is near, but by merging what follows.
	longest = 24 * time.Hour
)

// part is a piece of output, which reaches to the next.
type part struct {
	at     int64
	stream job.Stream // empty: both
	time   time.Time
	merged int
}

// parts remembers which stream each byte of an output came from, and when, in bounded memory: where there are too many, those
// of one stream that are near in time become one, and in the end neighbours of any stream.
type parts struct {
	list   []part
	window time.Duration // within which pieces of one stream are one; grows
}

func (p *parts) add(at int64, stream job.Stream, now time.Time) {
	if n := len(p.list); n > 0 {
		last := &p.list[n-1]
		if last.stream == stream && now.Sub(last.time) <= max(p.window, sameTime) {
			last.merged++
			return
		}
	}
	p.list = append(p.list, part{at: at, stream: stream, time: now})
}

// full tells whether the next part may not be told apart from others.
func (p *parts) full() bool { return len(p.list) >= maxParts }

// shrink forgets the parts that lie between two offsets, and merges others until there is room again.
func (p *parts) shrink(from, to int64) {
	kept := p.list[:0]
	for i, one := range p.list {
		if one.at >= from && i+1 < len(p.list) && p.list[i+1].at <= to {
			continue
		}
		kept = append(kept, one)
	}
	p.list = kept
	p.window = max(p.window, sameTime)
	for len(p.list) > maxParts*3/4 {
		if p.window < longest {
			p.window *= 4
			p.merge(func(a, b part) bool { return a.stream == b.stream && b.time.Sub(a.time) <= p.window })
			continue
		}
		odd := false
		p.merge(func(part, part) bool { odd = !odd; return odd })
	}
}

// merge joins neighbours, each with the last one that stayed, where they are the same.
func (p *parts) merge(same func(a, b part) bool) {
	kept := p.list[:1]
	for _, one := range p.list[1:] {
		last := &kept[len(kept)-1]
		if !same(*last, one) {
			kept = append(kept, one)
			continue
		}
		if last.stream != one.stream {
			last.stream = ""
		}
		last.merged += 1 + one.merged
	}
	p.list = kept
}

// of are the parts of the bytes in [from, to), as a record has them, where the first byte is at a place of the record's output.
func (p *parts) of(from, to int64, place int) []job.OutputPart {
	var list []job.OutputPart
	for i, one := range p.list {
		end := to
		if i+1 < len(p.list) {
			end = min(p.list[i+1].at, to)
		}
		begin := max(one.at, from)
		if begin >= end {
			continue
		}
		list = append(list, job.OutputPart{
			At: place + int(begin-from), Stream: one.stream, Time: one.time.UTC().Truncate(time.Millisecond), Merged: one.merged,
		})
	}
	return list
}
