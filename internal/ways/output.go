package ways

import (
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
)

// output keeps the head and the tail of what a run writes, and passes all of it on to a log, once there is one. It is safe
// for concurrent use.
type output struct {
	begin func() (*runlog.Writer, error) // makes the log; nil: there are none

	mu     sync.Mutex
	half   int
	head   []byte
	tail   []byte // up to twice the half, of which the end counts
	parts  []part
	total  int64
	tried  bool
	log    *runlog.Writer
	closed bool // what comes later is thrown away
}

// part is a piece of one stream, which reaches to the next.
type part struct {
	at     int64
	stream job.Stream // empty: both
	time   time.Time
	merged int
}

const (
	maxParts = job.MaxOutputParts - 2 // there is a line of our own, and the part that it splits
	sameTime = 10 * time.Millisecond  // pieces of a stream within it count as one
)

// stream is a writer to one stream of the output.
func (o *output) stream(s job.Stream) streamWriter { return streamWriter{o, s} }

type streamWriter struct {
	o *output
	s job.Stream
}

// Write never fails.
func (w streamWriter) Write(p []byte) (int, error) {
	w.o.write(w.s, p)
	return len(p), nil
}

func (o *output) write(s job.Stream, p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(p) == 0 {
		return
	}
	now := time.Now()
	if o.total+int64(len(p)) > 2*int64(o.half) {
		o.publish()
	}
	o.note(s, now)
	o.total += int64(len(p))
	if o.log != nil {
		o.log.Write(s, now, p)
	}
	n := min(o.half-len(o.head), len(p))
	o.head = append(o.head, p[:n]...)
	if p = p[n:]; len(p) >= o.half {
		o.tail, p = o.tail[:0], p[len(p)-o.half:]
	}
	o.tail = append(o.tail, p...)
	if over := len(o.tail) - o.half; over > o.half {
		o.tail = append(o.tail[:0], o.tail[over:]...)
	}
}

// note remembers whose the next byte is. Where there are too many parts, those that are left out are forgotten, and then the
// latest become one.
func (o *output) note(s job.Stream, now time.Time) {
	if n := len(o.parts); n > 0 {
		last := &o.parts[n-1]
		if last.stream == s && now.Sub(last.time) <= sameTime {
			last.merged++
			return
		}
		if n >= maxParts {
			kept := o.parts[:0]
			for i, p := range o.parts {
				if p.at < int64(o.half) || i+1 == n || o.parts[i+1].at > o.total-int64(o.half) {
					kept = append(kept, p)
				}
			}
			o.parts = kept
		}
		if n = len(o.parts); n >= maxParts {
			last = &o.parts[n-1]
			last.merged++
			if last.stream != s {
				last.stream = ""
			}
			return
		}
	}
	o.parts = append(o.parts, part{at: o.total, stream: s, time: now})
}

// publishNow begins the log, with what was written so far.
func (o *output) publishNow() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.publish()
	}
}

// publish is called with mu held, and before anything was left out. A log that can't be made says so once; the record has
// the output all the same.
func (o *output) publish() {
	if o.tried || o.begin == nil {
		return
	}
	o.tried = true
	w, err := o.begin()
	if err != nil {
		return
	}
	o.log = w
	all := append(append([]byte(nil), o.head...), o.tail...)
	for i, p := range o.parts {
		end := o.total
		if i+1 < len(o.parts) {
			end = o.parts[i+1].at
		}
		w.Write(p.stream, p.time, all[p.at:end])
	}
}

// close ends the output and puts it into an exit.
func (o *output) close(x *job.Exit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.log != nil {
		_ = o.log.Close() // the log has said it to its logger
	}
	x.OutputBytes = o.total
	x.Output, x.OutputParts, x.OutputTruncated = o.result()
}

// result is what was kept, with a line in the middle that says how many bytes were left out. A character that the cut would
// split is left out whole. mu is held.
func (o *output) result() (out []byte, list []job.OutputPart, truncated bool) {
	tail := o.tail[max(0, len(o.tail)-o.half):]
	out = append(out, o.head...)
	if int64(len(out)+len(tail)) == o.total {
		return append(out, tail...), o.between(0, o.total, 0), false
	}
	for n := 1; n < utf8.UTFMax && n <= len(out); n++ {
		if utf8.RuneStart(out[len(out)-n]) {
			if !utf8.FullRune(out[len(out)-n:]) {
				out = out[:len(out)-n]
			}
			break
		}
	}
	for n := 0; n < utf8.UTFMax && n < len(tail); n++ {
		if utf8.RuneStart(tail[n]) {
			tail = tail[n:]
			break
		}
	}
	list = append(o.between(0, int64(len(out)), 0), job.OutputPart{At: len(out)})
	left := o.total - int64(len(out)+len(tail))
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	out = fmt.Appendf(out, "[... %d bytes left out ...]\n", left)
	list = append(list, o.between(o.total-int64(len(tail)), o.total, len(out))...)
	return append(out, tail...), list, true
}

// between are the parts of the bytes in [from, to), the first of which is at a place of the record's output.
func (o *output) between(from, to int64, place int) []job.OutputPart {
	var list []job.OutputPart
	for i, p := range o.parts {
		end := to
		if i+1 < len(o.parts) {
			end = min(o.parts[i+1].at, to)
		}
		if begin := max(p.at, from); begin < end {
			list = append(list, job.OutputPart{
				At: place + int(begin-from), Stream: p.stream, Time: p.time.UTC().Truncate(time.Millisecond), Merged: p.merged,
			})
		}
	}
	return list
}
