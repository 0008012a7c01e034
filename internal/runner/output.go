package runner

import (
	"fmt"
	"unicode/utf8"
)

// output keeps the head and the tail of what a run writes: the first half of the limit, and of what
// follows the last half, in a ring. Its memory grows with what is written, up to the limit.
type output struct {
	half  int
	head  []byte
	ring  []byte
	next  int // where the ring's oldest byte is, once it is full
	total int64
}

func (o *output) write(p []byte) {
	o.total += int64(len(p))
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

// result returns what was kept, and whether anything was left out. Where it was, a line between head and tail
// says how many bytes:
//
//	[... 123456 bytes left out ...]
//
// The kept bytes stay within the limit; the line comes on top. A character of UTF-8 that the cut
// would split is left out whole.
func (o *output) result() (kept []byte, truncated bool) {
	left := o.total - int64(len(o.head)) - int64(len(o.ring))
	if left == 0 {
		if len(o.ring) == 0 {
			return o.head, false
		}
		kept = make([]byte, 0, len(o.head)+len(o.ring))
		return append(append(kept, o.head...), o.ring...), false
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
	return append(kept, tail...), true
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
