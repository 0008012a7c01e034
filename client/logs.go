package client

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/rota-dev/rota/job"
)

// The types of a log's events.
const (
	LogOutput  = "output"  // Chunk is what the run wrote
	LogAttempt = "attempt" // the output of a further attempt follows
	LogNotice  = "notice"  // Text is what a person should know: what is missing, what is waited for
	LogEnd     = "end"     // the last event: Run tells where the run stands
	LogError   = "error"   // the last event of a log that can't be shown to its end: Problem says why
)

// LogEvent is one event of a run's log.
type LogEvent struct {
	Type string `json:"type"`
	// At is where the log goes on after the event: give it as From of [LogOptions] to resume there.
	At    job.LogPosition `json:"at"`
	Chunk *job.Chunk      `json:"chunk,omitempty"`
	Text  string          `json:"text,omitempty"`
	// Run tells at the end where the run stands, with its record (without output) where it has ended.
	Run      *RunView    `json:"run,omitempty"`
	Outcome  job.Outcome `json:"outcome,omitempty"` // at the end, of a run that has ended
	ExitCode *int        `json:"exit_code,omitempty"`
	Problem  *Problem    `json:"problem,omitempty"`
}

// LogOptions say what to read of a log.
type LogOptions struct {
	From   job.LogPosition // zero: the beginning
	Follow bool            // wait for the end of the run, rather than end with what it has written so far
}

// Log yields what a run has written, on whichever node, and with Follow what it writes until its end. The last event is of type
// [LogEnd], or an error. A connection that is lost is made anew and goes on where it broke off, without a gap and without
// anything twice. That lasts until the context ends, which is not reported, or the server refuses.
func (c *Client) Log(ctx context.Context, run job.RunID, o LogOptions) iter.Seq2[LogEvent, error] {
	return func(yield func(LogEvent, error) bool) {
		s := &logStream{client: c, run: run, at: o.From, follow: o.Follow, yield: yield}
		for try := 0; ; try++ {
			err := s.read(ctx, func() { try, s.connected = 0, true })
			if errors.Is(err, errStop) || ctx.Err() != nil {
				return
			}
			lost := job.CodeOf(err) == job.CodeUnavailable && (s.connected || try < c.retries)
			if s.refused != nil {
				err, lost = s.refused, false
			}
			if !lost {
				yield(LogEvent{}, err)
				return
			}
			if !pause(ctx, try) {
				return
			}
		}
	}
}

// logStream is what lasts over the connections of one Log.
type logStream struct {
	client    *Client
	run       job.RunID
	at        job.LogPosition // where it goes on
	follow    bool
	connected bool
	refused   error // what the server said in the stream
	yield     func(LogEvent, error) bool
}

// read reads one connection until it ends; it calls alive once it is made.
func (s *logStream) read(ctx context.Context, alive func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := get(nil, "runs", string(s.run), "log").set("follow", strconv.FormatBool(s.follow))
	r.header = http.Header{"Accept": {"text/event-stream"}}
	if s.at != (job.LogPosition{}) {
		r.header.Set("Last-Event-ID", s.at.String())
	}
	resp, err := s.client.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	err = readEvents(resp.Body, func(m message) error {
		watchdog.Reset(silence)
		if m.data == "" {
			return nil
		}
		alive()
		var e LogEvent
		if err := json.Unmarshal([]byte(m.data), &e); err != nil {
			return job.Errorf(job.CodeInternal, "read an event of a log: %w", err)
		}
		if e.Type == LogError && e.Problem != nil {
			s.refused = e.Problem.Err()
			return errStop
		}
		if e.At != (job.LogPosition{}) {
			s.at = e.At
		}
		if !s.yield(e, nil) || e.Type == LogEnd {
			return errStop
		}
		return nil
	})
	if s.refused != nil {
		return s.refused
	}
	var e *job.Error
	if errors.Is(err, errStop) || errors.As(err, &e) {
		return err
	}
	return job.Errorf(job.CodeUnavailable, "the log of run %s broke off: %w", s.run, err)
}
