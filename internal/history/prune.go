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
// than Options.Grace ago, nor one that r holds. Totals go on counting what it removed, statistics do until they are too old
// themselves, and Succeeded goes on knowing it. What it had removed when it fails stays removed, and is counted in the result.
//
// The size of history is that of the records, texts and rows with their places in the indexes, as far as that can be
// told of a record alone. Neither database gives room that becomes free back to the system; both use it again.
func (d *DB) Prune(ctx context.Context, r job.Retention, now time.Time) (int, error) {
	p := &pruning{d: d, hold: r.Hold, ended: math.MaxInt64, stored: math.MaxInt64}
	if d.opt.Grace > 0 {
		p.stored = now.Add(-d.opt.Grace).UnixMicro()
	}
	if r.MaxAge > 0 {
		p.ended = now.Add(-r.MaxAge).UnixMicro()
		if err := p.oldest(ctx, math.MaxInt64); err != nil {
			return p.removed, err
		}
		p.ended = math.MaxInt64
	}
	if r.MaxPerTask > 0 {
		if err := p.many(ctx, int64(r.MaxPerTask)); err != nil {
			return p.removed, err
		}
	}
	if r.MaxBytes > 0 {
		size, err := d.size(ctx)
		if err == nil && size > r.MaxBytes {
			err = p.oldest(ctx, size-r.MaxBytes)
		}
		if err != nil {
			return p.removed, err
		}
	}
	if r.StatsAge > 0 {
		return p.removed, d.pruneDays(ctx, dayOf(now.Add(-r.StatsAge).UnixMicro()))
	}
	return p.removed, nil
}

// size is how many bytes the records take.
func (d *DB) size(ctx context.Context) (size int64, err error) {
	err = d.call(ctx, "measure records", func(ctx context.Context) error {
		return d.read.QueryRowContext(ctx, "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM tasks").Scan(&size)
	})
	return size, err
}

// pruning is one call of Prune.
type pruning struct {
	d             *DB
	hold          map[job.TaskRef]time.Time
	ended, stored int64 // records that ended, or were stored, at these times or later stay
	removed       int
	bytes         int64 // how much was removed
}

// oldest removes the records that ended first, of all tasks, until that many bytes are gone.
func (p *pruning) oldest(ctx context.Context, bytes int64) error {
	d := p.d
	var classes []stream
	err := d.call(ctx, "prune records", func(ctx context.Context) (err error) {
		classes, err = d.streams(ctx, d.read, prefix{}, func(int64) bool { return true })
		return err
	})
	if err != nil || len(classes) == 0 {
		return err
	}
	until := p.bytes + min(bytes, math.MaxInt64-p.bytes)
	return p.each(ctx, place{math.MinInt64, math.MinInt64}, func(at place) *query {
		if p.bytes >= until {
			return nil
		}
		q := d.query("SELECT u.ended, u.seq, u.instant, u.until, t.grp, t.name FROM (")
		for i, c := range classes {
			if i > 0 {
				q.add(" UNION ALL ")
			}
			q.add("SELECT * FROM (SELECT ended, seq, task, instant, until FROM records WHERE class = ? AND ended < ? AND (ended, seq) > (?, ?) ORDER BY ended, seq LIMIT ?) AS s",
				c.class, p.ended, at.ended, at.seq, int64(pruneChunk))
		}
		return q.add(") AS u JOIN tasks t ON t.id = u.task ORDER BY u.ended, u.seq LIMIT ?", int64(pruneChunk))
	})
}

// many removes what exceeds a number of records a task.
func (p *pruning) many(ctx context.Context, keep int64) error {
	type task struct{ id, upTo int64 }
	for after := int64(0); ; {
		var tasks []task
		n := 0
		q := p.d.query(`SELECT t.id, t.numbers, (SELECT MIN(r.number) FROM records r WHERE r.task = t.id)
			FROM tasks t WHERE t.id > ? AND t.numbers > ? ORDER BY t.id LIMIT 1000`, after, keep)
		err := p.d.call(ctx, "prune records", func(ctx context.Context) error {
			return q.each(ctx, p.d.read, func(rows *sql.Rows) error {
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
			return err
		}
		for _, t := range tasks {
			err := p.each(ctx, place{}, func(at place) *query {
				return p.d.query(`SELECT r.number, r.seq, r.instant, r.until, t.grp, t.name FROM records r JOIN tasks t ON t.id = r.task
					WHERE r.task = ? AND r.number > ? AND r.number <= ? ORDER BY r.number LIMIT ?`, t.id, at.ended, t.upTo, int64(pruneChunk))
			})
			if err != nil {
				return err
			}
		}
	}
}

// each removes the records that next finds after a place, chunk by chunk. Its statement yields an order, a seq, instants and a
// task; nil ends it.
func (p *pruning) each(ctx context.Context, at place, next func(at place) *query) error {
	for q := next(at); q != nil; q = next(at) {
		var seqs []int64
		var refs []job.TaskRef
		n := 0
		err := p.d.call(ctx, "prune records", func(ctx context.Context) error {
			return q.each(ctx, p.d.read, func(rows *sql.Rows) error {
				var ref job.TaskRef
				var seq int64
				var instant, until sql.Null[int64]
				if err := rows.Scan(&at.ended, &seq, &instant, &until, &ref.Group, &ref.Name); err != nil {
					return err
				}
				at.seq = seq
				n++
				if !p.holds(ref, max(instant.V, until.V), instant.Valid) {
					seqs, refs = append(seqs, seq), append(refs, ref)
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		if len(seqs) > 0 {
			if err := p.remove(ctx, seqs, refs); err != nil {
				return err
			}
		}
		if n < pruneChunk {
			return nil
		}
	}
	return nil
}

// holds tells whether a record is still needed to account for instants up to the last one of it.
func (p *pruning) holds(ref job.TaskRef, last int64, instant bool) bool {
	after, held := p.hold[ref]
	return held && instant && last > after.UnixMicro()
}

// remove deletes candidates that still may go, under the locks of their tasks.
func (p *pruning) remove(ctx context.Context, seqs []int64, refs []job.TaskRef) error {
	d := p.d
	var gone []int64
	var bytes map[int64]int64
	err := d.change(ctx, "prune records", func(ctx context.Context, tx *sql.Tx) error {
		gone, bytes = gone[:0], make(map[int64]int64)
		if _, err := lockTasks(ctx, d, tx, refs); err != nil {
			return err
		}
		q := in(d.query("DELETE FROM records WHERE seq"), seqs)
		q.add(" AND ended < ? AND stored_at < ? AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.id = records.task AND t.latest = records.seq) RETURNING seq, task, bytes", p.ended, p.stored)
		err := q.each(ctx, tx, func(rows *sql.Rows) error {
			var seq, task, n int64
			err := rows.Scan(&seq, &task, &n)
			gone = append(gone, seq)
			bytes[task] += n
			return err
		})
		if err != nil || len(gone) == 0 {
			return err
		}
		slices.Sort(gone)
		if _, err = in(d.query("DELETE FROM record_bodies WHERE seq"), gone).exec(ctx, tx); err != nil {
			return err
		}
		tasks := make([]int64, 0, len(bytes))
		for id := range bytes {
			tasks = append(tasks, id)
		}
		q = d.query("UPDATE tasks SET bytes = tasks.bytes - v.column2 FROM (").values(len(tasks), func(i int) []any { return []any{tasks[i], bytes[tasks[i]]} })
		_, err = q.add(") AS v WHERE tasks.id = v.column1").exec(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	d.checkpoints.note(len(gone))
	p.removed += len(gone)
	for _, n := range bytes {
		p.bytes += n
	}
	return nil
}

// pruneDays removes the statistics of the days before one, some tasks at a time.
func (d *DB) pruneDays(ctx context.Context, before int64) error {
	const tasks = 100
	var last int64
	err := d.call(ctx, "prune statistics", func(ctx context.Context) error {
		return d.read.QueryRowContext(ctx, "SELECT COALESCE(MAX(id), 0) FROM tasks").Scan(&last)
	})
	for id := int64(0); id <= last && err == nil; id += tasks {
		var some int64
		err = d.call(ctx, "prune statistics", func(ctx context.Context) error {
			return d.query("SELECT COUNT(*) FROM (SELECT 1 FROM task_days WHERE task >= ? AND task < ? AND day < ? LIMIT 1) AS s", id, id+tasks, before).
				each(ctx, d.read, func(rows *sql.Rows) error { return rows.Scan(&some) })
		})
		if err != nil || some == 0 {
			continue
		}
		err = d.change(ctx, "prune statistics", func(ctx context.Context, tx *sql.Tx) error {
			for _, table := range []string{"node_days", "task_days"} { // in this order: what is left is found again by the second
				if _, err := d.query("DELETE FROM "+table+" WHERE task >= ? AND task < ? AND day < ?", id, id+tasks, before).exec(ctx, tx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return err
}
