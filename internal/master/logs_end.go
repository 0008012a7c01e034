package master

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// over decides, when all that came was passed on, whether that was all; then it tells what is left to tell.
func (l *follower) over() (bool, error) {
	switch {
	case l.v.Record != nil:
		return l.overEnded()
	case l.v.State == job.StatePending || l.seat == nil:
		if l.Follow {
			return false, nil
		}
		return true, l.end()
	}
	st, now := l.seat.status(), l.m.Now()
	switch {
	case !l.Follow && (st.quiet || st.gone):
		return true, l.end()
	case !l.offline.IsZero():
		return l.overAway(now)
	case st.called.IsZero() && now.Sub(st.began) > callLimit:
		return true, l.uncalled()
	case !st.called.IsZero() && now.Sub(st.called) > silenceLimit:
		return true, job.Errorf(job.CodeUnavailable, "node %s has sent nothing of the log of run %s for %s", l.v.Node, l.Run, now.Sub(st.called).Round(time.Second)).
			WithHint("is it overloaded, or cut off from this master? the log of its agent may say more")
	}
	return false, nil
}

// uncalled says why a node that is alive may not have called.
func (l *follower) uncalled() error {
	return job.Errorf(job.CodeUnavailable, "node %s does not reach this master at %v, where it should send the log of run %s", l.v.Node, l.m.reachedAt(l.v.Node), l.Run).
		WithHint("start the master with an address that nodes can reach: --listen HOST:PORT, or --advertise URL where that is another one")
}

// overAway deals with a run whose node is offline: it may come back, and it may not.
func (l *follower) overAway(now time.Time) (bool, error) {
	limit := l.m.awayLimit()
	away := now.Sub(l.offline)
	switch {
	case !l.told:
		l.told = true
		return false, l.notice("node %s is offline; the run may go on there: waiting for it up to %s", l.v.Node, limit)
	case away <= limit && l.Follow:
		return false, nil
	}
	if err := l.notice("node %s has been offline for %s; how the run ended is not known yet", l.v.Node, away.Round(time.Second)); err != nil {
		return true, err
	}
	return true, l.end()
}

// awayLimit is how long a follower waits for a node that is offline.
func (m *Master) awayLimit() time.Duration { return 3*m.Lease + 30*time.Second }

// overEnded deals with a run that has ended: its log is read to the end, or what is left of it is in the record.
func (l *follower) overEnded() (bool, error) {
	rec := l.v.Record
	switch {
	case rec.Attempt == 0, l.at.Attempt > rec.Attempt:
		return true, l.end()
	case l.settled():
		return true, l.endWithRecord("")
	case l.seat == nil:
		return false, nil
	}
	st, now := l.seat.status(), l.m.Now()
	switch {
	case st.gone:
		return true, l.endWithRecord("the node does not have the whole log (any more)")
	case !l.offline.IsZero() && now.Sub(l.offline) > goneLimit:
		return true, l.endWithRecord(fmt.Sprintf("node %s is offline", l.v.Node))
	case st.called.IsZero() && now.Sub(st.began) > callLimit:
		return true, l.endWithRecord(l.uncalled().Error())
	case !st.called.IsZero() && now.Sub(st.called) > silenceLimit:
		return true, l.endWithRecord(fmt.Sprintf("node %s sends nothing more", l.v.Node))
	}
	return false, nil
}

// endWithRecord tells what the record has from here on, and the end. why says why it is the record that answers, where that
// makes a difference.
func (l *follower) endWithRecord(why string) error {
	rec := l.v.Record
	if why != "" && rec.OutputTruncated {
		if err := l.notice("%s: this is what the run's record has, the head and the tail of the output", why); err != nil {
			return err
		}
	}
	for i := range rec.Attempts {
		a := &rec.Attempts[i]
		if a.Attempt < l.at.Attempt {
			continue
		}
		if a.Attempt > l.at.Attempt {
			l.at = job.LogPosition{Attempt: a.Attempt}
		}
		if err := l.tail(a); err != nil {
			return err
		}
	}
	if l.at.Attempt < rec.Attempt {
		l.at = job.LogPosition{Attempt: rec.Attempt}
	}
	for _, c := range recordedOutput(rec, l.at.Offset) {
		if err := l.output(&c); err != nil {
			return err
		}
	}
	return l.end()
}

// missing tells of an attempt of which the node has no log, or not the rest. Where the run has ended, its record has the tail.
func (l *follower) missing(at job.LogPosition) error {
	if rec := l.v.Record; rec != nil {
		for i := range rec.Attempts {
			if a := &rec.Attempts[i]; a.Attempt == at.Attempt {
				return l.tail(a)
			}
		}
	}
	return l.notice("of the output of attempt %d nothing more is kept on the node", at.Attempt)
}

// tail tells what a record has of an earlier attempt, unless that was told already.
func (l *follower) tail(a *job.Attempt) error {
	if l.at.Offset > 0 || a.Output == "" {
		return nil
	}
	if len(a.Output) >= job.MaxAttemptOutput/2 {
		if err := l.notice("of attempt %d this is the end of the output:", a.Attempt); err != nil {
			return err
		}
	}
	return l.output(&job.Chunk{Time: a.EndTime, Data: []byte(a.Output)})
}

// leftOut is the line that stands in a record's output for what is not kept.
var leftOut = regexp.MustCompile(`(?m)^\[\.\.\. (\d+) bytes left out \.\.\.\]\n`)

// recordedOutput is what a record has of the last attempt's output from an offset on.
func recordedOutput(rec *job.ExecutionRecord, from int64) (list []job.Chunk) {
	head, tail := headAndTail(rec)
	at := 0 // in the record's output
	for _, p := range rec.Pieces() {
		begin, end := at, at+len(p.Text)
		at = end
		for _, part := range []span{head, tail} {
			if b, e := max(begin, part.begin), min(end, part.end); b < e {
				c := job.Chunk{Offset: part.offset + int64(b-part.begin), Stream: p.Stream, Time: p.Time, Data: []byte(rec.Output[b:e])}
				list = append(list, cut(c, from)...)
			}
		}
	}
	return list
}

// span is a part of a record's output; offset is where it begins in what the run wrote.
type span struct {
	begin, end int
	offset     int64
}

// headAndTail tells the head of a record's output from its tail. What can't be told apart is the head.
func headAndTail(rec *job.ExecutionRecord) (head, tail span) {
	out := rec.Output
	if rec.OutputTruncated {
		for _, at := range leftOut.FindAllStringSubmatchIndex(out, -1) {
			n, err := strconv.ParseInt(out[at[2]:at[3]], 10, 64)
			h, t := at[0], len(out)-at[1]
			if int64(h)+n+int64(t) == rec.OutputBytes+1 && h > 0 {
				h-- // an end of line was put before the mark, and not written by the run
			}
			if err == nil && int64(h)+n+int64(t) == rec.OutputBytes {
				return span{0, h, 0}, span{at[1], len(out), rec.OutputBytes - int64(t)}
			}
		}
	}
	return span{0, len(out), 0}, span{}
}

// cut is what a chunk has from an offset on.
func cut(c job.Chunk, from int64) []job.Chunk {
	if skip := from - c.Offset; skip > 0 {
		skip = min(skip, int64(len(c.Data)))
		c.Data, c.Offset = c.Data[skip:], c.Offset+skip
	}
	if len(c.Data) == 0 {
		return nil
	}
	return []job.Chunk{c}
}

func (l *follower) notice(format string, args ...any) error {
	return l.emit(LogEvent{Type: client.LogNotice, At: l.at, Text: fmt.Sprintf(format, args...)})
}

// reachedAt are the addresses at which a node reaches this master.
func (m *Master) reachedAt(node job.NodeID) []string {
	if m.ReachedAt != nil {
		return m.ReachedAt(node)
	}
	return []string{m.URL}
}
