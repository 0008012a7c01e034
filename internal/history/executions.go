package history

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rota-dev/rota/job"
)

// maxExecution is the most bytes that an execution may have as JSON: what stands in etcd has less.
const maxExecution = 4 << 20

// PutExecution implements [job.ExecutionHistory].
func (d *DB) PutExecution(ctx context.Context, e *job.GroupExecution) error {
	if !e.Ended() {
		return job.Errorf(job.CodeInvalid, "execution %s has not ended", e.ID)
	}
	if err := e.Valid(); err != nil {
		return err
	}
	body, err := json.Marshal(e)
	if err != nil {
		return job.Errorf(job.CodeInvalid, "execution %s: %w", e.ID, err)
	}
	brief, err := json.Marshal(e.Brief())
	if err != nil {
		return job.Errorf(job.CodeInvalid, "execution %s: %w", e.ID, err)
	}
	if len(body) > maxExecution {
		return job.Errorf(job.CodeInvalid, "execution %s has %d bytes, at most %d are allowed", e.ID, len(body), maxExecution)
	}
	return d.change(ctx, "keep an execution", func(ctx context.Context, tx *sql.Tx) error {
		q := d.query("INSERT INTO executions (id, grp, status, began, ended, instant, brief, body) VALUES ")
		q.tuple(e.ID, e.Group, string(e.Status), e.BeganAt.UnixMicro(), e.EndedAt.UnixMicro(), optional(e.Instant), brief, body)
		_, err := q.add(" ON CONFLICT (id) DO NOTHING").exec(ctx, tx)
		return err
	})
}

// Execution implements [job.ExecutionHistory].
func (d *DB) Execution(ctx context.Context, id string) (*job.GroupExecution, error) {
	var found *job.GroupExecution
	err := d.call(ctx, "read an execution", func(ctx context.Context) error {
		return d.query("SELECT body FROM executions WHERE id = ?", id).each(ctx, d.read, func(rows *sql.Rows) (err error) {
			found, err = scanExecution(rows)
			return err
		})
	})
	if err == nil && found == nil {
		err = job.Errorf(job.CodeNotFound, "there is no execution %q", clip(id))
	}
	return found, err
}

func scanExecution(rows *sql.Rows, before ...any) (*job.GroupExecution, error) {
	var body []byte
	if err := rows.Scan(append(before, &body)...); err != nil {
		return nil, err
	}
	e := new(job.GroupExecution)
	if err := json.Unmarshal(body, e); err != nil {
		return nil, fmt.Errorf("read an execution: %w", err)
	}
	return e, nil
}

// Executions implements [job.ExecutionHistory].
func (d *DB) Executions(ctx context.Context, f job.ExecutionFilter) (list []job.GroupExecution, next string, err error) {
	at, err := parseCursor(f.Cursor)
	if err != nil {
		return nil, "", err
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	var last place
	err = d.call(ctx, "list executions", func(ctx context.Context) error {
		list = list[:0]
		q := d.query("SELECT ended, seq, brief FROM executions WHERE (ended, seq) < (?, ?)", at.ended, at.seq)
		if f.Group != "" {
			q.add(" AND grp = ?", f.Group)
		}
		if f.Status != "" {
			q.add(" AND status = ?", string(f.Status))
		}
		if !f.Since.IsZero() {
			q.add(" AND ended >= ?", f.Since.UnixMicro())
		}
		q.add(" ORDER BY ended DESC, seq DESC LIMIT ?", int64(limit)+1)
		return q.each(ctx, d.read, func(rows *sql.Rows) error {
			var p place
			e, err := scanExecution(rows, &p.ended, &p.seq)
			if err == nil && len(list) == limit {
				next = last.cursor()
				return nil
			}
			if err == nil {
				list, last = append(list, *e), p
			}
			return err
		})
	})
	return list, next, err
}

// Ended implements [job.ExecutionHistory].
func (d *DB) Ended(ctx context.Context, ids []string) (recs []job.ExecutionRecord, err error) {
	err = d.call(ctx, "read records", func(ctx context.Context) error {
		recs = recs[:0]
		return chunks(len(ids), rowsAtOnce, func(from, to int) error {
			q := d.selectRecords(true).add(" WHERE r.id")
			return in(q, ids[from:to]).each(ctx, d.read, func(rows *sql.Rows) error {
				rec, _, err := scanRecord(rows, true)
				rec.Output = ""
				recs = append(recs, rec)
				return err
			})
		})
	})
	return recs, err
}

// PruneExecutions implements [job.ExecutionHistory].
func (d *DB) PruneExecutions(ctx context.Context, before time.Time) (removed int, err error) {
	for {
		var n int64
		err := d.change(ctx, "prune executions", func(ctx context.Context, tx *sql.Tx) (err error) {
			n, err = d.query(`DELETE FROM executions WHERE seq IN (
				SELECT seq FROM executions WHERE ended < ? ORDER BY ended, seq LIMIT ?)`, before.UnixMicro(), int64(pruneChunk)).exec(ctx, tx)
			return err
		})
		removed += int(n)
		if err != nil || n < pruneChunk {
			return removed, err
		}
	}
}
