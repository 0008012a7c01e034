package runner

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/rota-dev/rota/job"
)

// output keeps the head and the tail of what a run writes: the first half of the limit, and of what
// follows the last half, in a ring. Its memory grows with what is written, up to the limit.
type output struct {
	half  int
	head  []byte
	ring  []byte
	next  int // where the ring's oldest byte is, once it is full
	total int64
	parts parts
}

func (o *output) write(stream job.Stream, at time.Time, p []byte) {
	o.parts.add(o.total, stream, at)
	o.total += int64(len(p))
	if len(o.parts.list) > maxParts {
		o.parts.shrink(int64(o.half), o.total-int64(o.half))
	}
	o.keep(p)
}

func (o *output) keep(p []byte) {
	if room := o.half - len(o.head); room > 0 {
		n := min(room, len(p))
		o.head = append(o.head, p[:n]...)
		p = p[n:]
	}
	if len(p) > o.half { // only its end can stay
		p = p[len(p)-o.half:]
	}
	if room := o.half - len(o.ring); room > 0 && len(p) > 0 {
		n := min(room, len(p))
		o.ring = append(o.ring, p[:n]...)
		p = p[n:]
	}
	for len(p) > 0 {
		n := copy(o.ring[o.next:], p)
		p = p[n:]
		if o.next += n; o.next == len(o.ring) {
			o.next = 0
		}
	}
}

// full tells whether the next byte would be one that is left out.
func (o *output) full(n int) bool { return o.total+int64(n) > 2*int64(o.half) }

// whole calls f with everything that was written, piece by piece. Nothing may have been left out.
func (o *output) whole(f func(stream job.Stream, at time.Time, p []byte)) {
	kept := append(append(make([]byte, 0, o.total), o.head...), o.ring...)
	for i, p := range o.parts.list {
		end := int64(len(kept))
		if i+1 < len(o.parts.list) {
			end = o.parts.list[i+1].at
		}
		f(p.stream, p.time, kept[p.at:end])
	}
}

// result returns what was kept, whose it is and when it came, and whether anything was left out. Where it was, a
// line between head and tail says how many bytes:
//
//	[... 123456 bytes left out ...]
//
// The kept bytes stay within the limit; the line comes on top. A character of UTF-8 that the cut
// would split is left out whole.
func (o *output) result() (kept []byte, list []job.OutputPart, truncated bool) {
	left := o.total - int64(len(o.head)) - int64(len(o.ring))
	if left == 0 {
		kept = o.head
		if len(o.ring) > 0 {
			kept = append(append(make([]byte, 0, len(o.head)+len(o.ring)), o.head...), o.ring...)
		}
		return kept, o.parts.of(0, o.total, 0), false
	}
	head := o.head[:len(o.head)-partialEnd(o.head)]
	tail := make([]byte, 0, len(o.ring))
	tail = append(append(tail, o.ring[o.next:]...), o.ring[:o.next]...)
	tail = tail[partialStart(tail):]
	left = o.total - int64(len(head)) - int64(len(tail))
	kept = make([]byte, 0, len(head)+len(tail)+64)
	kept = append(kept, head...)
	if len(head) > 0 && head[len(head)-1] != '\n' {
		kept = append(kept, '\n')
	}
	kept = fmt.Appendf(kept, "[... %d bytes left out ...]\n", left)
	list = append(o.parts.of(0, int64(len(head)), 0), job.OutputPart{At: len(head)})
	list = append(list, o.parts.of(o.total-int64(len(tail)), o.total, len(kept))...)
	return append(kept, tail...), list, true
}

// partialEnd is how many bytes at the end of b begin a character that goes on after b.
func partialEnd(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// partialStart is how many bytes at the beginning of b end a character that began before b. Bytes that
// follow no beginning are taken for one only if a character follows them.
func partialStart(b []byte) int {
	for n := 0; n < utf8.UTFMax && n < len(b); n++ {
		if utf8.RuneStart(b[n]) {
			return n
		}
	}
	return 0
}
