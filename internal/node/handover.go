package node

import (
	"context"
	"time"

	"github.com/rota-dev/rota/job"
)

// Bounds of the hand-over.
const (
	batchRecords  = 200
	batchBytes    = 512 << 10
	batchPatience = 5 * time.Millisecond // at least this passes between two batches, so that they fill under load
	firstBackoff  = 50 * time.Millisecond
	lastBackoff   = 2 * time.Second
)

// handOver moves records from the spool to etcd, in order, until ctx ends. It never gives up.
func (a *Agent) handOver(ctx context.Context) {
	s := a.leaseSession(ctx)
	if s == nil {
		return
	}
	w := window{limit: a.Window, count: func() (int64, error) { return a.store().Records().Count(ctx, string(a.ID)) }}
	backoff := firstBackoff
	for {
		recs, err := a.spool.next(batchRecords, batchBytes)
		if err != nil {
			a.Logger.Error("the spool can't be read", "error", err)
		}
		if len(recs) == 0 {
			select {
			case <-a.spool.ready:
				continue
			case <-ctx.Done():
				return
			}
		}
		err = w.room(len(recs))
		if err == nil {
			err = s.HandOver(ctx, recs, dispatched(recs))
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if err != errFull {
				a.Logger.Warn("records wait in the spool", "waiting", a.spool.waiting(), "error", err)
			}
			if !sleep(ctx, backoff) {
				return
			}
			backoff = min(2*backoff, lastBackoff)
			continue
		}
		backoff = firstBackoff
		if err := a.spool.ack(ids(recs)); err != nil {
			a.Logger.Error("the spool's disk refuses to forget; records will be handed over twice, which does no harm", "error", err)
		}
		if !sleep(ctx, batchPatience) {
			return
		}
	}
}

// dispatched are the runs among the records whose dispatches end with them.
func dispatched(recs []job.ExecutionRecord) []job.RunID {
	var runs []job.RunID
	for i := range recs {
		if t := recs[i].Trigger; t != job.TriggerTimer && t != job.TriggerCatchup {
			runs = append(runs, job.RunID(recs[i].ID))
		}
	}
	return runs
}

func ids(recs []job.ExecutionRecord) []string {
	list := make([]string, len(recs))
	for i := range recs {
		list[i] = recs[i].ID
	}
	return list
}

// window bounds how many records the node has in etcd. It counts what it puts, and asks only when that reaches the
// limit, for the masters take records out meanwhile.
type window struct {
	limit int
	put   int
	count func() (int64, error)
}

type fullError struct{}

func (fullError) Error() string { return "the node's window of records in etcd is full" }

var errFull error = fullError{}

func (w *window) room(n int) error {
	if w.put+n <= w.limit {
		w.put += n
		return nil
	}
	in, err := w.count()
	if err != nil {
		return err
	}
	w.put = int(in)
	if w.put+n > w.limit {
		return errFull
	}
	w.put += n
	return nil
}

// flush waits until the spool is handed over, as long as there is hope within the agent's grace. What
// remains is handed over in the next life.
func (a *Agent) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.StopGrace)
	defer cancel()
	if a.lease.Load() == nil {
		return
	}
	for a.spool.waiting() > 0 {
		if !sleep(ctx, 10*time.Millisecond) {
			a.Logger.Warn("records stay in the spool until the next start", "waiting", a.spool.waiting())
			return
		}
	}
}
