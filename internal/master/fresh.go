package master

import (
	"context"
	"time"

	"github.com/rota-dev/rota/job"
)

// The view is milliseconds behind etcd, and whoever was told by one master that something is written may ask another one for it next. So
// before a master refuses because of what its view has or lacks, it makes sure that the view has everything that was in etcd when it was
// asked. What it does not refuse it answers at once: what is listed may be moments old.

// trail is how far one collection of the view is.
type trail struct {
	to    int64 // everything up to it has been applied; guarded by the view's lock
	reach func(rev int64)
}

// catchUp waits until the view has everything that was in etcd when it was called. It is [job.CodeUnavailable] where that is not so within a
// few seconds: then nobody knows whether what the view lacks is there.
func (v *view) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	rev, err := v.m.store().Revision(ctx)
	if err != nil {
		return job.Errorf(job.CodeUnavailable, "whether it is there can't be told now: %w", err)
	}
	behind := func() bool {
		for _, t := range v.trails {
			if t.to < rev {
				return true
			}
		}
		return v.unsynced > 0
	}
	v.with(func() {
		for _, t := range v.trails {
			if t.to < rev {
				t.reach(rev)
			}
		}
	})
	if !v.await(ctx, func() bool { return !behind() }) {
		return job.Errorf(job.CodeUnavailable, "this master is behind what is in etcd").WithHint("try again in a moment")
	}
	return nil
}

// surely answers by the view, and where that refuses, once more when the view has caught up.
func surely[T any](ctx context.Context, m *Master, answer func() (T, error)) (T, error) {
	v, err := answer()
	switch job.CodeOf(err) {
	case job.CodeNotFound, job.CodeConflict, job.CodeInvalid:
	default:
		return v, err
	}
	if behind := m.view.catchUp(ctx); behind != nil {
		return v, behind
	}
	return answer()
}
