package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// silence is how long a stream may be without a sign of life; the server gives one every 15 seconds.
const silence = 45 * time.Second

// Events yields what changes, from now on, of the given types or of all. It lasts until the context ends, which it does
// not report, or the server refuses, which is the last thing that it yields. A connection that is lost is made
// anew; an event of type [EventGap] tells that some may be missing.
func (c *Client) Events(ctx context.Context, types ...string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s := &stream{client: c, types: types, yield: yield}
		for try := 0; ; try++ {
			err := s.follow(ctx, func() { try = 0 })
			if errors.Is(err, errStop) || ctx.Err() != nil {
				return
			}
			lost := job.CodeOf(err) == job.CodeUnavailable && (s.last != "" || try < c.retries)
			if !lost {
				yield(Event{}, err)
				return
			}
			if !pause(ctx, try) {
				return
			}
		}
	}
}

var errStop = errors.New("the reader stopped")

// stream is what lasts over the connections of one Events.
type stream struct {
	client *Client
	types  []string
	yield  func(Event, error) bool
	last   string // id of the newest event; empty before the first connection
}

// follow reads one connection until it ends; it calls alive once it is made.
func (s *stream) follow(ctx context.Context, alive func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := get(nil, "events")
	r.header = http.Header{"Accept": {"text/event-stream"}}
	for _, t := range s.types {
		r.set("type", t)
	}
	if s.last != "" {
		r.header.Set("Last-Event-ID", s.last)
	}
	resp, err := s.client.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	alive()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	err = readEvents(resp.Body, func(m message) error {
		watchdog.Reset(silence)
		if m.id != "" {
			s.last = m.id
		}
		if m.data == "" {
			return nil
		}
		var e Event
		if err := json.Unmarshal([]byte(m.data), &e); err != nil {
			return job.Errorf(job.CodeInternal, "read an event: %w", err)
		}
		if !s.yield(e, nil) {
			return errStop
		}
		return nil
	})
	var e *job.Error
	if errors.Is(err, errStop) || errors.As(err, &e) {
		return err
	}
	return job.Errorf(job.CodeUnavailable, "the stream of events broke off: %w", err)
}

// message is one message of a stream, or, without data, a sign of life.
type message struct{ id, data string }

// maxMessage is the longest line that a stream may have.
const maxMessage = 4 << 20

// readEvents reads server-sent events until the stream ends, which is io.EOF, or f fails.
func readEvents(r io.Reader, f func(message) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 16<<10), maxMessage)
	var m message
	var data []string
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			m.data = strings.Join(data, "\n")
			if err := f(m); err != nil {
				return err
			}
			m, data = message{}, nil
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			m.id = value
		case "data":
			data = append(data, value)
		case "":
			if err := f(message{}); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}
