package node

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Bounds of the hand-over.
const (
	batchRecords  = 200
	batchBytes    = 512 << 10
	batchPatience = 5 * time.Millisecond // at least this passes between two batches, so that they fill under load
	yieldFor      = time.Second          // and at most so long a batch waits while many executions are about to begin: what is due comes first
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
		for began := time.Now(); a.crowded() && time.Since(began) < yieldFor; {
			if !sleep(ctx, batchPatience) {
				return
			}
		}
		recs, unread := a.spool.next(batchRecords, batchBytes)
		if unread != nil {
			a.Logger.Error("records in the spool can't be read", "error", unread)
		}
		if len(recs) == 0 && unread == nil {
			select {
			case <-a.spool.ready:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := unread
		if len(recs) > 0 {
			err = a.handOverBatch(ctx, s, &w, recs)
		}
		pause := batchPatience
		if err == nil {
			backoff = firstBackoff
		} else if ctx.Err() == nil {
			if !errors.Is(err, errFull) {
				a.Logger.Warn("records wait in the spool", "waiting", a.spool.waiting(), "error", err)
			}
			pause = backoff
			backoff = min(2*backoff, lastBackoff)
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// crowded tells whether so many executions are about to begin that they wait for the processors. What the masters do with a record costs
// about as much as to begin another one, often on the same machine; the spool has the record meanwhile.
func (a *Agent) crowded() bool { return a.starting.Load() > int64(8*runtime.NumCPU()) }

// handOverBatch hands over as many of the records as the window has room for. Where one is refused, each goes by itself, and
// the one behind the others, so that it is in nobody's way.
func (a *Agent) handOverBatch(ctx context.Context, s *store.Session, w *window, recs []job.ExecutionRecord) error {
	n, err := w.room(len(recs))
	if err != nil {
		return err
	}
	recs = recs[:n]
	err = s.HandOver(ctx, recs, dispatched(recs))
	if err == nil {
		a.handedOver(recs)
		return nil
	}
	if !refused(err) || ctx.Err() != nil {
		return err
	}
	var refusals error
	for i := range recs {
		one := recs[i : i+1]
		err := s.HandOver(ctx, one, dispatched(one))
		switch {
		case err == nil:
			a.handedOver(one)
		case refused(err):
			a.Logger.Error("a record is refused, and tried again later", "run", one[0].ID, "error", err)
			a.spool.setAside(one[0].ID)
			refusals = errors.Join(refusals, err)
		default:
			return err
		}
	}
	return refusals
}

func (a *Agent) handedOver(recs []job.ExecutionRecord) {
	if err := a.spool.ack(ids(recs)); err != nil {
		a.Logger.Error("the spool's disk refuses to forget; records will be handed over twice, which does no harm", "error", err)
	}
}

// refused tells whether an error is about what was handed over, and not about etcd.
func refused(err error) bool {
	switch job.CodeOf(err) {
	case job.CodeInvalid, job.CodeExhausted, job.CodeInternal, job.CodeForbidden:
		return true
	}
	return false
}

// dispatched are the runs among the records whose dispatches end with them.
func dispatched(recs []job.ExecutionRecord) []job.RunID {
	var runs []job.RunID
	for i := range recs {
		if endsDispatch(&recs[i]) {
			runs = append(runs, job.RunID(recs[i].ID))
		}
	}
	return runs
}

func endsDispatch(rec *job.ExecutionRecord) bool {
	return rec.Trigger != job.TriggerTimer && rec.Trigger != job.TriggerCatchup
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

var errFull = errors.New("the node's window of records in etcd is full")

// room is how many of n records may be put now; at least one, or it is errFull.
func (w *window) room(n int) (int, error) {
	if w.put+n > w.limit {
		in, err := w.count()
		if err != nil {
			return 0, err
		}
		w.put = int(in)
	}
	n = min(n, w.limit-w.put)
	if n <= 0 {
		return 0, errFull
	}
	w.put += n
	return n, nil
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
