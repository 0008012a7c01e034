package app

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// stream prints what a run has written, and with Follow what it writes until its end, and tells where the run stood then. When
// ctx ends there is neither a state nor an error.
func (c *cli) stream(ctx context.Context, cl *client.Client, id job.RunID, o client.LogOptions, v *logView, out io.Writer) (*client.RunView, error) {
	for e, err := range cl.Log(ctx, id, o) {
		if err != nil {
			return nil, err
		}
		switch e.Type {
		case client.LogOutput:
			if err := v.print(out, e.Chunk.Stream, e.Chunk.Time, e.Chunk.Data); err != nil {
				return nil, err
			}
		case client.LogAttempt:
			c.sayf("attempt %d of run %s:", e.At.Attempt, id)
		case client.LogNotice:
			c.sayf("%s", e.Text)
		case client.LogEnd:
			return e.Run, nil
		}
	}
	return nil, nil
}

// logsOf streams the log of a run for `rota logs`.
func (c *cli) logsOf(ctx context.Context, cl *client.Client, id job.RunID, follow bool, v *logView) error {
	at, err := c.stream(ctx, cl, id, client.LogOptions{Follow: follow}, v, c.Out)
	switch {
	case err != nil:
		return err
	case at == nil:
		c.sayf("detached; the run goes on: rota logs -f %s (end it: rota kill %s)", id, id)
		return &exitError{exitInterrupted}
	case at.Record != nil:
		c.sayf("%s", outcomeLine(at.Record))
		return nil
	case follow:
		return job.Errorf(job.CodeUnavailable, "how run %s ends is not known yet", id).WithHint("see later: rota logs -f %s", id)
	}
	c.sayf("run %s of %s is %s; follow it: rota logs -f %s", id, at.Task, at.State, id)
	return nil
}

// followAll prints what several runs write, as they write it: of one run byte for byte, of several line by line, each line with
// where it is from. It returns when all have ended, or ctx. told says of which runs all was printed.
func (w *waiting) followAll(ctx context.Context) (told []bool) {
	told = make([]bool, len(w.runs))
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, id := range w.runs {
		out := w.Out
		if len(w.runs) > 1 {
			lines := &prefixed{mu: &mu, w: w.Out, label: func() string { return w.names[i] + ": " }}
			out = lines
			defer lines.flush()
		}
		wg.Go(func() {
			v, err := w.stream(ctx, w.cl, id, client.LogOptions{Follow: true}, &logView{}, out)
			if told[i] = v != nil; err != nil {
				w.sayf("run %s can't be followed: %s; its whole output comes when it has ended", id, oneLine(err.Error()))
			}
		})
	}
	wg.Wait()
	return told
}

// prefixed writes whole lines, each with a prefix.
type prefixed struct {
	mu    *sync.Mutex // of w
	w     io.Writer
	label func() string // what each line begins with; asked for before the first

	prefix string
	rest   []byte // of a line that has no end yet
}

// longestLine is how long a line may be that is kept together.
const longestLine = 64 << 10

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	var out []byte
	for {
		n := bytes.IndexByte(p.rest, '\n') + 1
		if n == 0 && len(p.rest) > longestLine {
			n = len(p.rest)
		}
		if n == 0 {
			break
		}
		if p.prefix == "" {
			p.prefix = p.label()
		}
		out = append(append(out, p.prefix...), p.rest[:n]...)
		p.rest = p.rest[n:]
		if out[len(out)-1] != '\n' {
			out = append(out, '\n')
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// flush writes what has no end.
func (p *prefixed) flush() {
	if len(p.rest) > 0 {
		_, _ = p.Write([]byte("\n"))
	}
}
