package store

import (
	"context"
	"fmt"
	"time"

	"github.com/rota-dev/rota/job"
)

// What a session says of itself besides its processes and locks. It stands under the session's lease, and is gone with it; whoever
// said it says it again.

// PutClock tells what the node's wall clock shows.
func (ss *Session) PutClock(ctx context.Context, at time.Time) error {
	c := job.ClockSample{Node: ss.presence.Node, Session: ss.presence.Session, At: at.UTC()}
	if err := ss.putLeased(ctx, putOp(clockKind, &c, Any)); err != nil {
		return fmt.Errorf("tell the clock: %w", err)
	}
	return nil
}

// Replace tells that a run waits for the end of another. Telling it again replaces what was told.
func (ss *Session) Replace(ctx context.Context, r job.Replacement) error {
	r.Node = ss.presence.Node
	if err := ss.putLeased(ctx, putOp(replaceKind, &r, Any)); err != nil {
		return fmt.Errorf("ask for the end of run %s: %w", r.Holder.Run, err)
	}
	return nil
}

// Replaced takes back that a run waits. It is done also where that was not told.
func (ss *Session) Replaced(ctx context.Context, run job.RunID) error {
	op := deleteOp(replaceKeys, 0, string(ss.presence.Node), string(run))
	if op.err != nil {
		return op.err
	}
	_, err := ss.c.do(ctx, &op, nil)
	return err
}

func (ss *Session) putLeased(ctx context.Context, op Op) error {
	if op.err != nil {
		return op.err
	}
	k := ss.t.use()
	op.then[0].lease = k.id
	_, err := ss.c.do(ctx, &op, k.users.Done)
	return err
}
