package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// committer gathers what many callers want written into few transactions. While one is under way the others gather;
// when nothing is, the first goes at once. So a lone caller waits for nobody, and under load a run
// costs etcd a fraction of a transaction.
//
// Every operation given to it may safely be done twice: it is repeated until etcd has answered.
type committer struct {
	s *Store

	mu     sync.Mutex
	urgent []*work // claims, locks, starts: somebody waits to run
	bulk   []*work // records, processes
	ended  bool
	wake   chan struct{}
}

// work is one operation on its way.
type work struct {
	ctx   context.Context
	op    *Op
	alone bool // it goes in a transaction of its own: the one it was in was refused
	res   txnResult
	err   error
	done  chan struct{} // closed when res or err is set
	// settled, if not nil, is called when nothing more will be sent for it, and before done is closed.
	settled func()
}

// maxBulkBytes bounds the records in one transaction, so that a claim does not wait long behind them.
const maxBulkBytes = 512 << 10

func newCommitter(s *Store) *committer { return &committer{s: s, wake: make(chan struct{}, 1)} }

// do hands in an operation and waits for its result. An error of [job.CodeUnavailable] leaves open whether it
// has been done. For settled see work.
func (c *committer) do(ctx context.Context, op *Op, settled func()) (*txnResult, error) {
	w := c.submit(ctx, true, op, settled)
	select {
	case <-w.done:
	case <-ctx.Done():
		select {
		case <-w.done:
		default:
			return nil, job.Errorf(job.CodeUnavailable, "no answer from etcd in time: %w", ctx.Err())
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	return &w.res, nil
}

// submit hands in an operation; its done is closed when it is settled.
func (c *committer) submit(ctx context.Context, urgent bool, op *Op, settled func()) *work {
	w := &work{ctx: ctx, op: op, done: make(chan struct{}), settled: settled}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case op.err != nil:
		w.finish(op.err)
	case c.ended:
		w.finish(errEnded)
	case urgent:
		c.urgent = append(c.urgent, w)
	default:
		c.bulk = append(c.bulk, w)
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return w
}

func (w *work) finish(err error) {
	w.err = err
	if w.settled != nil {
		w.settled()
	}
	close(w.done)
}

var errEnded = job.Errorf(job.CodeUnavailable, "the session has ended")

// run commits until ctx ends; then everything that waits is given up.
func (c *committer) run(ctx context.Context) {
	b := backoff{min: 20 * time.Millisecond, max: time.Second}
	full := false // etcd's space was used up at the last attempt
	limit := firstAttemptTimeout
	for ctx.Err() == nil {
		batch := c.take(full)
		if len(batch) == 0 {
			if full {
				full = false
				b.wait(ctx)
				continue
			}
			select {
			case <-c.wake:
			case <-ctx.Done():
			}
			continue
		}
		err := c.commit(ctx, limit, batch)
		switch {
		case err == nil:
			limit = firstAttemptTimeout
			b.reset()
		case errors.Is(err, errNoSpace):
			c.putBack(batch)
			if full {
				b.wait(ctx)
			}
			full = true
		case definite(err):
			c.refuse(batch, err)
		default:
			limit = min(2*limit, lastAttemptTimeout)
			c.putBack(batch)
			b.wait(ctx)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, w := range append(c.urgent, c.bulk...) {
		w.finish(errEnded)
	}
	c.urgent, c.bulk = nil, nil
}

// take removes the next batch from the queues. With freeing it takes only what makes room in etcd.
func (c *committer) take(freeing bool) []*work {
	c.mu.Lock()
	defer c.mu.Unlock()
	var taken []*work
	var b batch
	for _, q := range [...]*[]*work{&c.urgent, &c.bulk} {
		limit := maxTxnBytes
		if q == &c.bulk {
			limit = maxBulkBytes
		}
		rest := (*q)[:0]
		for i, w := range *q {
			if err := w.ctx.Err(); err != nil {
				w.finish(job.Errorf(job.CodeUnavailable, "no answer from etcd in time: %w", err))
				continue
			}
			if b.slots >= maxTxnOps || len(taken) > 0 && taken[0].alone {
				rest = append(rest, (*q)[i:]...)
				break
			}
			if freeing && !w.op.frees() || w.alone && len(taken) > 0 || !b.fits(w.op, limit) {
				rest = append(rest, w)
				continue
			}
			b.add(w.op)
			taken = append(taken, w)
		}
		clear((*q)[len(rest):])
		*q = rest
	}
	return taken
}

// putBack returns a batch to the front of the queues.
func (c *committer) putBack(batch []*work) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.urgent = append(batch, c.urgent...)
}

// refuse deals with a refusal: of one operation it is its result; of several each goes again by itself, so
// that one does not take down the others.
func (c *committer) refuse(batch []*work, err error) {
	if len(batch) == 1 {
		batch[0].finish(coded(err, "write"))
		return
	}
	for _, w := range batch {
		w.alone = true
	}
	c.putBack(batch)
}

func (c *committer) commit(ctx context.Context, limit time.Duration, batch []*work) error {
	ops := make([]*Op, len(batch))
	for i, w := range batch {
		ops[i] = w.op
	}
	once, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := c.s.kv.Txn(once, compose(c.s.prefix, nil, ops, func(op *Op) []request { return op.otherwise }))
	if err != nil {
		return err
	}
	for i, res := range outcomes(r, nil, ops) {
		batch[i].res = res
		batch[i].finish(nil)
	}
	return nil
}
