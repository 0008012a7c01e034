package master

import (
	"context"
	"slices"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// Patience with a node that has a log.
const (
	callLimit    = 10 * time.Second // until it calls for the first time
	silenceLimit = 45 * time.Second // between two calls; it gives a sign of life more often
	goneLimit    = 5 * time.Second  // of a node that is offline when the run has ended
	lookEvery    = time.Second      // where the run stands is looked at as often, for events may be missed
)

// LogRequest asks for the log of a run.
type LogRequest struct {
	Run    job.RunID
	From   job.LogPosition // zero: the beginning
	Follow bool            // wait for the end of the run
	Beat   time.Duration   // an event without a type is told as often; 0: 15 s
}

// Log tells what a run has written, and with Follow what it writes until it ends; emit may take its time, and its error ends it. The last
// event is of type [client.LogEnd], and the first one, at once, without a type. An error before that is about the request; a later one
// ends what can't go on.
func (m *Master) Log(ctx context.Context, r LogRequest, emit func(LogEvent) error) error {
	leave, err := m.logs.admit()
	if err != nil {
		return err
	}
	defer leave()
	v, err := m.RunState(ctx, r.Run)
	if err != nil {
		return err
	}
	if r.Beat <= 0 {
		r.Beat = 15 * time.Second
	}
	l := &follower{m: m, LogRequest: r, emit: emit, v: v, at: r.From}
	defer l.leave()
	if err := emit(LogEvent{At: l.at}); err != nil {
		return err
	}
	return l.run(ctx)
}

// follower is one reader of a log.
type follower struct {
	LogRequest
	m    *Master
	emit func(LogEvent) error
	v    *RunView
	at   job.LogPosition // where it goes on; attempt 0 until the first is known
	seat *seat           // nil: it reads from no node

	offline time.Time // since when the node is; zero: it is online
	told    bool      // that it is offline was told
	lost    time.Time // since when nothing is known of the run; zero: something is
}

func (l *follower) run(ctx context.Context) error {
	sub, cancel := context.WithCancel(ctx)
	defer cancel()
	events := l.m.Subscribe(sub)
	defer func() {
		cancel()
		for range events { //nolint:revive // until it is closed
		}
	}()
	beat := time.NewTicker(l.Beat)
	defer beat.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		more, err := l.pump()
		if err != nil {
			return err
		}
		if over, err := l.over(); over || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
			continue
		case <-beat.C:
			err = l.emit(LogEvent{At: l.at})
		case <-look.C:
			err = l.look(ctx)
		case e, ok := <-events:
			switch {
			case !ok:
				return job.Errorf(job.CodeUnavailable, "the master stops").WithHint("ask again, or another master")
			case concerns(e, l.Run):
				err = l.look(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
}

// concerns tells whether an event may say something about a run, or its node.
func concerns(e Event, run job.RunID) bool {
	switch o := e.Object.(type) {
	case *job.ExecutionRecord:
		return o.ID == string(run)
	case job.ExecutionRecord:
		return o.ID == string(run)
	case *job.Process:
		return o.Run == run
	case *job.Dispatch:
		return o.Run == run
	}
	return e.Type == client.EventGap
}

// look reads where the run stands, and whether its node is there.
func (l *follower) look(ctx context.Context) error {
	v, err := l.m.RunState(ctx, l.Run)
	now := l.m.Now()
	switch {
	case err == nil:
		l.v, l.lost = v, time.Time{}
	case job.IsNotFound(err):
		if l.lost.IsZero() {
			l.lost = now
		} else if now.Sub(l.lost) > silenceLimit {
			return err
		}
	case job.CodeOf(err) != job.CodeUnavailable:
		return err
	}
	if l.v.Node == "" {
		return nil
	}
	online := false
	l.m.view.with(func() { online = l.m.view.online[l.v.Node] != nil })
	switch {
	case online:
		if l.told {
			l.told = false
			err = l.notice("node %s is back", l.v.Node)
		} else {
			err = nil
		}
		l.offline = time.Time{}
		return err
	case l.offline.IsZero():
		l.offline = now
	}
	return nil
}

// pump passes on all that there is to read, and gives a channel that tells of more; nil where there is no node to read from.
func (l *follower) pump() (<-chan struct{}, error) {
	if l.seat == nil {
		if err := l.sit(); err != nil || l.seat == nil {
			return nil, err
		}
	}
	for {
		pieces, more, behind := l.seat.read()
		switch {
		case behind:
			l.seat.leave()
			l.seat = nil
			if err := l.sit(); err != nil {
				return nil, err
			}
			continue
		case more != nil:
			closer := l.seat.closer(l.at)
			if closer == l.seat {
				return more, nil
			}
			l.seat = closer
		}
		for i := range pieces {
			if err := l.pass(&pieces[i]); err != nil {
				return nil, err
			}
		}
	}
}

// sit finds a feed, once the run has begun on a node.
func (l *follower) sit() (err error) {
	if l.at.Attempt == 0 {
		if l.at.Attempt = l.firstAttempt(); l.at.Attempt == 0 {
			return nil
		}
	}
	if l.v.Node == "" || l.v.State == job.StatePending || l.settled() {
		return nil
	}
	l.seat, err = l.m.logs.join(l.Run, l.v.Node, l.at)
	return err
}

func (l *follower) leave() {
	if l.seat != nil {
		l.seat.leave()
	}
}

// firstAttempt is the first that the run made, or 0 while it has made none.
func (l *follower) firstAttempt() (first int) {
	switch rec := l.v.Record; {
	case rec != nil && len(rec.Attempts) > 0:
		return rec.Attempts[0].Attempt
	case rec != nil:
		return rec.Attempt
	case l.v.State == job.StatePending:
		return 0
	}
	l.m.view.with(func() {
		if d := l.m.view.dispatch[l.Run]; d != nil {
			first = d.Attempt
		}
	})
	return max(first, 1)
}

// settled tells whether the record alone has all that is still to be told.
func (l *follower) settled() bool {
	rec := l.v.Record
	return rec != nil && (rec.Node == "" || l.at.Attempt > rec.Attempt || l.at.Attempt == rec.Attempt && !rec.OutputTruncated)
}

// pass passes a piece on.
func (l *follower) pass(p *piece) error {
	c := p.chunk
	switch p.mark {
	case torn:
		if err := l.notice("the log of attempt %d breaks off here: what kept it ended before the run did, or its disk was full", p.at.Attempt); err != nil {
			return err
		}
	case skipped:
		if err := l.missing(p.at); err != nil {
			return err
		}
	}
	if p.mark != noMark {
		l.at = p.end()
		return nil
	}
	if p.at.Attempt != l.at.Attempt || c.End() < l.at.Offset {
		return nil
	}
	if skip := l.at.Offset - c.Offset; skip > 0 {
		own := *c // what is in the window is shared
		own.Data, own.Offset = c.Data[skip:], l.at.Offset
		c = &own
	}
	return l.output(c)
}

// output tells of a chunk, and before it of what is missing there.
func (l *follower) output(c *job.Chunk) error {
	if l.at.Offset == 0 && l.at.Attempt > max(l.firstAttempt(), 1) && l.at != l.From {
		if err := l.emit(LogEvent{Type: client.LogAttempt, At: l.at}); err != nil {
			return err
		}
		l.From = l.at // it is told once
	}
	if gap := c.Offset - l.at.Offset; gap > 0 && c.Note == "" { // a note tells of its gap itself, and why it is there
		if err := l.notice("%d bytes are not kept", gap); err != nil {
			return err
		}
	}
	l.at.Offset = c.End()
	if c.Note != "" {
		return l.notice("%s", c.Note)
	}
	return l.emit(LogEvent{Type: client.LogOutput, At: l.at, Chunk: c})
}

// end tells the end.
func (l *follower) end() error {
	v := *l.v
	e := LogEvent{Type: client.LogEnd, At: l.at, Run: &v}
	if rec := v.Record; rec != nil {
		c := rec.Clone()
		c.Output, c.OutputParts = "", nil
		c.Attempts = slices.Clone(c.Attempts)
		for i := range c.Attempts {
			c.Attempts[i].Output = ""
		}
		v.Record, e.Outcome, e.ExitCode = &c, c.Outcome, c.ExitCode
	}
	return l.emit(e)
}
