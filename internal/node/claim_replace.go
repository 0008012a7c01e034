package node

import (
	"context"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A run of an alone task with overlap replace that finds the task's lock held elsewhere leaves word with its own keys whose end it
// waits for. The leader asks the holder's node for that. Without a leader it waits, as long as a run that queues would.

// replaces tells whether the run ends the one before it, wherever that is.
func (r *run) replaces() bool {
	return r.job.Kind == job.KindAlone && r.job.Overlap == job.OverlapReplace && !r.madeUp()
}

// due is when the run was due: its instant, or when it was asked for.
func (r *run) due() time.Time {
	if r.instant.IsZero() && r.dispatch != nil {
		return r.dispatch.RequestedAt.UTC()
	}
	return r.instant
}

// wish is the word that a waiting run leaves.
type wish struct {
	r     *run
	s     *store.Session
	told  job.RunID // whose end it asked for last
	epoch int64     // of the lease under which that stands
	ever  bool      // it may stand
}

// ask leaves word, unless that stands already.
func (w *wish) ask(ctx context.Context, holder *job.Lock) {
	epoch := w.s.Epoch()
	if w.told == holder.Run && w.epoch == epoch {
		return
	}
	w.ever = true
	err := w.s.Replace(ctx, job.Replacement{Run: w.r.id, Task: w.r.job.Ref(), Holder: *holder})
	if err != nil {
		if ctx.Err() == nil {
			w.r.a.Logger.Warn("the run before could not be asked to end yet", "run", w.r.id, "holder", holder.Run, "error", err)
		}
		return // asked again with the next look at the lock
	}
	w.told, w.epoch = holder.Run, epoch
}

// drop takes the word back. Where etcd does not answer it goes with the lease; a leader does nothing twice for it.
func (w *wish) drop() {
	if !w.ever {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.r.ctx), lastBackoff)
	defer cancel()
	if err := w.s.Replaced(ctx, w.r.id); err != nil {
		w.r.a.Logger.Warn("a wait for another run's end could not be taken back", "run", w.r.id, "error", err)
	}
}
