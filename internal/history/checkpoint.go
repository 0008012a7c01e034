package history

import (
	"context"
	"database/sql"
	"sync/atomic"
)

// checkpointEvery is after how many records, stored or removed, the log of SQLite is brought into its file: some 40 MB of pages in a large
// history.
const checkpointEvery = 2000

// checkpoints bring SQLite's log into its file beside the writer, which goes on meanwhile: left to itself a commit now and then
// would do that for all before it, and take several hundred milliseconds. The writer still does when the log is
// much larger (wal_autocheckpoint), which then finds most of it done, and begins the log anew.
type checkpoints struct {
	db      *sql.DB // one connection of their own
	written atomic.Int64
	wake    chan struct{}
	stop    chan struct{}
	done    chan struct{}
}

func startCheckpoints(db *sql.DB) *checkpoints {
	c := &checkpoints{db: db, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for {
			select {
			case <-c.stop:
				return
			case <-c.wake:
			}
			var busy, log, moved int64
			// Where it fails, or a reader is in its way, the next one goes on.
			_ = c.db.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &log, &moved)
		}
	}()
	return c
}

// note counts records that were written.
func (c *checkpoints) note(records int) {
	if c == nil {
		return
	}
	n := c.written.Add(int64(records))
	if n/checkpointEvery == (n-int64(records))/checkpointEvery {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default: // one is due already
	}
}

// close waits for the one that is under way.
func (c *checkpoints) close() {
	if c == nil {
		return
	}
	close(c.stop)
	<-c.done
	_ = c.db.Close()
}
