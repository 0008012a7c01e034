package node

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A master that follows a run asks for its log by a key below the node's prefix. The node calls it and sends what it has from where the
// master has come to, then what comes, in batches; each answer says what is wanted next. So a node needs no port, a cut costs nothing but
// time, and an agent that was started anew finds the key and goes on.

const (
	maxUploads = 64                     // logs that are sent at once; what exceeds that waits
	logQuiet   = 200 * time.Millisecond // without anything new after so long, the master is told that there is no more for now
	logLook    = 250 * time.Millisecond // a log that is not there is looked for as often
	logLife    = 10 * time.Second       // a sign of life is sent as often
)

// followLogs sends logs to the masters that ask for them, until ctx ends.
func (a *Agent) followLogs(ctx context.Context) {
	if a.Logs == nil || a.leaseSession(ctx) == nil {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, maxUploads)
	calls := map[string]context.CancelFunc{}
	for batch := range a.store().Follows().Watch(ctx, string(a.ID)).Events() {
		for _, e := range batch {
			id := job.GetIDFromKey(e.Key)
			switch e.Type {
			case store.Put:
				if calls[id] != nil {
					continue
				}
				call, cancel := context.WithCancel(ctx)
				calls[id] = cancel
				f := e.Value
				wg.Go(func() {
					select {
					case places <- struct{}{}:
						newUpload(a, f).run(call)
						<-places
					case <-call.Done():
					}
				})
			case store.Delete, store.Unreadable:
				if cancel := calls[id]; cancel != nil {
					cancel()
					delete(calls, id)
				}
			}
		}
	}
	for _, cancel := range calls {
		cancel()
	}
}

// executing is what a run executes now, and whether the agent has the run.
func (a *Agent) executing(ctx context.Context, id job.RunID) (x job.Execution, known bool) {
	type answer struct {
		x     job.Execution
		known bool
	}
	c := make(chan answer, 1)
	a.tell(func() {
		r := a.core.runs[id]
		if r == nil {
			c <- answer{}
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		c <- answer{r.exec, true}
	})
	select {
	case v := <-c:
		return v.x, v.known
	case <-a.gone:
	case <-ctx.Done():
	}
	return nil, true // nobody can say
}

// upload sends one log.
type upload struct {
	a *Agent
	f *job.Follow
	caller

	reader *runlog.Reader  // nil: none is open
	at     job.LogPosition // where it stands
	held   *job.Chunk      // what it has read and the last batch had no room for
	quiet  bool            // that there was no more for now was told
	absent bool            // that there is no log was told
}

func newUpload(a *Agent, f *job.Follow) *upload { return &upload{a: a, f: f, caller: newCaller(f)} }

// run sends until the master wants no more, or ctx ends.
func (u *upload) run(ctx context.Context) {
	defer u.close()
	defer u.hangUp()
	hello := &job.LogBatch{}
	next, wait := hello, firstBackoff
	for ctx.Err() == nil {
		wanted, err := u.call(ctx, next)
		if err != nil {
			if ctx.Err() == nil {
				u.a.Logger.Info("a log can't be sent to the master that asks for it; it is tried again", "run", u.f.Run, "master", u.f.Master, "error", err)
			}
			if !sleep(ctx, wait) {
				return
			}
			next, wait = hello, min(2*wait, lastBackoff) // who knows what arrived
			continue
		}
		wait = firstBackoff
		switch {
		case wanted.Over:
			return
		case wanted.Hold:
			next = hello
		default:
			if next, err = u.batch(ctx, wanted.At); err != nil {
				if ctx.Err() == nil {
					u.a.Logger.Warn("a log can't be read", "run", u.f.Run, "attempt", wanted.At.Attempt, "error", err)
				}
				u.close()
				next = hello
				if !sleep(ctx, time.Second) {
					return
				}
			}
		}
	}
}

func (u *upload) close() {
	if u.reader != nil {
		if err := u.reader.Close(); err != nil {
			u.a.Logger.Debug("a log could not be closed", "error", err)
		}
	}
	u.reader, u.held = nil, nil
}

// batch reads what follows a position. Where there is nothing it waits, yet not longer than a sign of life may take.
func (u *upload) batch(ctx context.Context, at job.LogPosition) (*job.LogBatch, error) {
	b := &job.LogBatch{At: at}
	if at.Attempt < 1 {
		return nil, job.Errorf(job.CodeInvalid, "the master wants attempt %d", at.Attempt)
	}
	if u.reader == nil || u.at != at {
		u.close()
		if here, err := u.open(ctx, b); !here || err != nil {
			return b, err
		}
	}
	err := u.fill(ctx, b)
	u.at = at
	if n := len(b.Chunks); n > 0 {
		u.at.Offset = b.Chunks[n-1].End()
		u.quiet = false
	}
	switch {
	case errors.Is(err, io.EOF):
		b.Complete = true
	case errors.Is(err, runlog.ErrTorn):
		b.Torn = true
	case job.IsNotFound(err): // it was removed to make room for others
	case err != nil:
		return nil, err
	default:
		return b, nil
	}
	u.close()
	return b, nil
}

// open looks for the log at the batch's position. Where it is not there the batch says what is instead.
func (u *upload) open(ctx context.Context, b *job.LogBatch) (here bool, err error) {
	life := time.NewTimer(logLife)
	defer life.Stop()
	for {
		x, known := u.a.executing(ctx, u.f.Run) // first: what ends after this is still there below
		if x != nil {
			x.Publish()
		}
		r, err := u.a.Logs.Reader(runlog.ID{Run: u.f.Run, Attempt: b.At.Attempt}, b.At.Offset)
		if err == nil {
			u.reader, u.at, u.quiet, u.absent = r, b.At, false, false
			return true, nil
		}
		if !job.IsNotFound(err) {
			return false, err
		}
		attempts, err := u.a.Logs.Attempts(u.f.Run)
		if err != nil {
			return false, err
		}
		later := slices.IndexFunc(attempts, func(n int) bool { return n > b.At.Attempt })
		if later >= 0 {
			b.Missing, b.Next = true, attempts[later]
			return false, nil
		}
		if !known && !u.absent {
			b.Missing, b.Gone, u.absent = true, true, true
			return false, nil
		}
		look := time.NewTimer(logLook)
		select {
		case <-look.C:
		case <-life.C:
			b.Missing, b.Gone = true, !known
			look.Stop()
			return false, nil
		case <-ctx.Done():
			look.Stop()
			return false, ctx.Err()
		}
	}
}

// fill reads chunks into the batch: it waits for the first, and takes what else is there.
func (u *upload) fill(ctx context.Context, b *job.LogBatch) error {
	size := 0
	now, cancel := context.WithCancel(ctx)
	cancel()
	for len(b.Chunks) < job.MaxLogChunks {
		c, err := u.next(ctx, now, len(b.Chunks) == 0)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			u.quiet = len(b.Chunks) == 0
			b.Quiet = u.quiet
			return nil
		default:
			return err
		}
		if size += len(c.Data); size > job.MaxLogBatch {
			u.held = &c
			return nil
		}
		b.Chunks = append(b.Chunks, c)
	}
	return nil
}

// next is the next chunk; the first of a batch is waited for.
func (u *upload) next(ctx, now context.Context, first bool) (job.Chunk, error) {
	if c := u.held; c != nil {
		u.held = nil
		return *c, nil
	}
	if !first {
		return u.reader.Next(now)
	}
	patience := logQuiet
	if u.quiet {
		patience = logLife
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return u.reader.Next(ctx)
}
