package history

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// pruneChunk is how many records one transaction removes at most: some ten milliseconds, between which
// writers have their turn.
const pruneChunk = 200

// Prune implements [job.History]. It never removes the latest record of a task, nor one that was stored less
// than Options.Grace ago. Statistics go on counting what it removed, and Succeeded goes on knowing it.
// What it had removed when it fails stays removed, and is counted in the result.
func (d *DB) Prune(ctx context.Context, r job.Retention, now time.Time) (int, error) {
	stored := int64(math.MaxInt64)
	if d.opt.Grace > 0 {
		stored = now.Add(-d.opt.Grace).UnixMicro()
	}
	total := 0
	if r.MaxAge > 0 {
		n, err := d.pruneOld(ctx, now.Add(-r.MaxAge).UnixMicro(), stored)
		if total += n; err != nil {
			return total, err
		}
	}
	if r.MaxPerTask > 0 {
		n, err := d.pruneMany(ctx, int64(r.MaxPerTask), stored)
		if total += n; err != nil {
			return total, err
		}
	}
	return total, nil
}

// pruneOld removes what ended before a time, class by class, the oldest first.
func (d *DB) pruneOld(ctx context.Context, ended, stored int64) (total int, err error) {
	var classes []stream
	err = d.call(ctx, "prune records", func(ctx context.Context) (err error) {
		classes, err = d.streams(ctx, d.read, prefix{}, func(int64) bool { return true })
		return err
	})
	for _, c := range classes {
		at := place{math.MinInt64, math.MinInt64}
		n, err := d.pruneRange(ctx, ended, stored, func(yield *candidates) *query {
			if yield.last != nil {
				at = *yield.last
			}
			return d.query("SELECT r.ended, r.seq, t.grp, t.name FROM records r JOIN tasks t ON t.id = r.task WHERE r.class = ? AND r.ended < ? AND (r.ended, r.seq) > (?, ?) ORDER BY r.ended, r.seq LIMIT ?",
				c.class, ended, at.ended, at.seq, int64(pruneChunk))
		})
		if total += n; err != nil {
			return total, err
		}
	}
	return total, err
}

// pruneMany removes what exceeds a number of records a task.
func (d *DB) pruneMany(ctx context.Context, keep, stored int64) (total int, err error) {
	type task struct{ id, upTo int64 }
	for after := int64(0); ; {
		var tasks []task
		n := 0
		q := d.query(`SELECT t.id, t.numbers, (SELECT MIN(r.number) FROM records r WHERE r.task = t.id)
			FROM tasks t WHERE t.id > ? AND t.numbers > ? ORDER BY t.id LIMIT 1000`, after, keep)
		err := d.call(ctx, "prune records", func(ctx context.Context) error {
			return q.each(ctx, d.read, func(rows *sql.Rows) error {
				var id, numbers int64
				var lowest sql.Null[int64]
				if err := rows.Scan(&id, &numbers, &lowest); err != nil {
					return err
				}
				if lowest.Valid && lowest.V <= numbers-keep {
					tasks = append(tasks, task{id, numbers - keep})
				}
				after = id
				n++
				return nil
			})
		})
		if err != nil || n == 0 {
			return total, err
		}
		for _, t := range tasks {
			n, err := d.pruneTask(ctx, t.id, t.upTo, stored)
			if total += n; err != nil {
				return total, err
			}
		}
	}
}

func (d *DB) pruneTask(ctx context.Context, id, upTo, stored int64) (int, error) {
	at := int64(0)
	return d.pruneRange(ctx, math.MaxInt64, stored, func(c *candidates) *query {
		if c.last != nil {
			at = c.last.ended
		}
		return d.query("SELECT r.number, r.seq, t.grp, t.name FROM records r JOIN tasks t ON t.id = r.task WHERE r.task = ? AND r.number > ? AND r.number <= ? ORDER BY r.number LIMIT ?",
			id, at, upTo, int64(pruneChunk))
	})
}

// candidates are records that may go.
type candidates struct {
	seqs []int64
	refs []job.TaskRef
	last *place
}

// pruneRange removes the records that next finds, chunk by chunk. next is given the chunk before; its
// statement yields an order, a seq and a task.
func (d *DB) pruneRange(ctx context.Context, ended, stored int64, next func(*candidates) *query) (total int, err error) {
	c := &candidates{}
	for {
		q := next(c)
		c = &candidates{}
		err := d.call(ctx, "prune records", func(ctx context.Context) error {
			return q.each(ctx, d.read, func(rows *sql.Rows) error {
				var at place
				var ref job.TaskRef
				err := rows.Scan(&at.ended, &at.seq, &ref.Group, &ref.Name)
				c.seqs, c.refs, c.last = append(c.seqs, at.seq), append(c.refs, ref), &at
				return err
			})
		})
		if err != nil || len(c.seqs) == 0 {
			return total, err
		}
		n, err := d.remove(ctx, c, ended, stored)
		if total += n; err != nil {
			return total, err
		}
		if len(c.seqs) < pruneChunk {
			return total, nil
		}
	}
}

// remove deletes candidates that still may go, under the locks of their tasks.
func (d *DB) remove(ctx context.Context, c *candidates, ended, stored int64) (int, error) {
	var gone []int64
	err := d.change(ctx, "prune records", func(ctx context.Context, tx *sql.Tx) error {
		gone = gone[:0]
		if _, err := lockTasks(ctx, d, tx, c.refs); err != nil {
			return err
		}
		q := in(d.query("DELETE FROM records WHERE seq"), c.seqs)
		q.add(" AND ended < ? AND stored_at < ? AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.id = records.task AND t.latest = records.seq) RETURNING seq", ended, stored)
		err := q.each(ctx, tx, func(rows *sql.Rows) error {
			var seq int64
			err := rows.Scan(&seq)
			gone = append(gone, seq)
			return err
		})
		if err != nil || len(gone) == 0 {
			return err
		}
		slices.Sort(gone)
		_, err = in(d.query("DELETE FROM record_bodies WHERE seq"), gone).exec(ctx, tx)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(gone), nil
}
