package history

import (
	"context"
	"database/sql"
	"math"
	"time"

	"github.com/rota-dev/rota/job"
)

// Record implements [job.History].
func (d *DB) Record(ctx context.Context, id string) (job.ExecutionRecord, error) {
	rec, err := d.one(ctx, d.selectRecords(true).add(" WHERE r.id = ?", id))
	if err == nil && rec == nil {
		return job.ExecutionRecord{}, job.Errorf(job.CodeNotFound, "there is no record %q", clip(id))
	}
	return value(rec), err
}

// RecordByNumber implements [job.History].
func (d *DB) RecordByNumber(ctx context.Context, task job.TaskRef, number int64) (job.ExecutionRecord, error) {
	task = job.Ref(task.Group, task.Name)
	rec, err := d.one(ctx, d.selectRecords(true).add(" WHERE r.task = (SELECT id FROM tasks WHERE name = ? AND grp = ?) AND r.number = ?", task.Name, task.Group, number))
	if err == nil && rec == nil {
		return job.ExecutionRecord{}, job.Errorf(job.CodeNotFound, "task %s has no record #%d", task, number)
	}
	return value(rec), err
}

func (d *DB) one(ctx context.Context, q *query) (rec *job.ExecutionRecord, err error) {
	err = d.call(ctx, "read a record", func(ctx context.Context) error {
		return q.each(ctx, d.read, func(rows *sql.Rows) error {
			r, _, err := scanRecord(rows, true)
			rec = &r
			return err
		})
	})
	return rec, err
}

func value(rec *job.ExecutionRecord) job.ExecutionRecord {
	if rec == nil {
		return job.ExecutionRecord{}
	}
	return *rec
}

// MarkHandled implements [job.History]. Records that are handled already keep their time, and those that are
// gone, or were superseded, are passed over.
func (d *DB) MarkHandled(ctx context.Context, done []job.Handled, at time.Time) error {
	if len(done) == 0 {
		return nil
	}
	ids := make(map[job.Outcome][]string)
	for _, h := range done {
		ids[h.Outcome] = append(ids[h.Outcome], h.ID)
	}
	return d.change(ctx, "mark records as handled", func(ctx context.Context, tx *sql.Tx) error {
		for _, o := range outcomes {
			err := chunks(len(ids[o]), rowsAtOnce, func(from, to int) error {
				q := d.query("UPDATE records SET handled_at = ? WHERE handled_at IS NULL AND class >> 4 = ? AND id",
					at.UnixMicro(), outcomeNumber(o))
				_, err := in(q, ids[o][from:to]).exec(ctx, tx)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Latest implements [job.History]. It follows the pointer that each task's row has, so it costs a look-up
// a task.
func (d *DB) Latest(ctx context.Context, refs ...job.TaskRef) (map[job.TaskRef]job.ExecutionRecord, error) {
	latest := make(map[job.TaskRef]job.ExecutionRecord)
	err := d.call(ctx, "read the latest records", func(ctx context.Context) error {
		for range 3 { // again where a record was pruned between the two reads: its task has a newer one now
			seqs, err := d.pointers(ctx, refs)
			if err != nil {
				return err
			}
			recs, err := d.fetch(ctx, seqs, false)
			if err != nil {
				return err
			}
			for _, r := range recs {
				latest[r.Ref()] = r
			}
			if len(recs) == len(seqs) {
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return latest, nil
}

// pointers reads where the latest records of tasks are; without refs, of every task.
func (d *DB) pointers(ctx context.Context, refs []job.TaskRef) (at []place, err error) {
	read := func(rows *sql.Rows) error {
		var p place
		err := rows.Scan(&p.ended, &p.seq)
		at = append(at, p)
		return err
	}
	const from = "SELECT latest_ended, latest FROM tasks WHERE latest IS NOT NULL"
	if len(refs) == 0 {
		err = d.query(from).each(ctx, d.read, read)
		return at, err
	}
	err = chunks(len(refs), rowsAtOnce, func(a, b int) error {
		q := d.query(from+" AND (name, grp) IN (").values(b-a, func(i int) []any {
			ref := job.Ref(refs[a+i].Group, refs[a+i].Name)
			return []any{ref.Name, ref.Group}
		})
		return q.add(")").each(ctx, d.read, read)
	})
	return at, err
}

// Settled implements [job.History]. A record of several instants is listed where any of them may lie in
// (from, to]. Besides the fields that the port names, a record has its task, number and trigger.
func (d *DB) Settled(ctx context.Context, task job.TaskRef, from, to time.Time) ([]job.ExecutionRecord, error) {
	return d.ofInstants(ctx, task, from, to, job.Trigger.Accounts)
}

// Backfilled implements [job.History].
func (d *DB) Backfilled(ctx context.Context, task job.TaskRef, from, to time.Time) ([]job.ExecutionRecord, error) {
	return d.ofInstants(ctx, task, from, to, func(t job.Trigger) bool { return t == job.TriggerBackfill })
}

func (d *DB) ofInstants(ctx context.Context, task job.TaskRef, from, to time.Time, of func(job.Trigger) bool) ([]job.ExecutionRecord, error) {
	task = job.Ref(task.Group, task.Name)
	const columns = "SELECT r.id, r.node, r.number, r.class, r.instant, r.until, r.instants FROM tasks t JOIN records r ON r.task = t.id WHERE t.name = ? AND t.grp = ?"
	after, last := floorMicros(from), floorMicros(to)
	if after >= last {
		return nil, nil
	}
	q := d.query(columns+" AND r.instant > ? AND r.instant <= ?", task.Name, task.Group, after, last)
	q.add(" UNION ALL "+columns+" AND r.until > ? AND r.instant <= ?", task.Name, task.Group, after, after)
	q.add(" ORDER BY 5, 3")
	var recs []job.ExecutionRecord
	err := d.call(ctx, "read settled instants", func(ctx context.Context) error {
		return q.each(ctx, d.read, func(rows *sql.Rows) error {
			rec := job.ExecutionRecord{Group: task.Group, Name: task.Name, TaskID: task.String()}
			var class, instant int64
			var until sql.Null[int64]
			if err := rows.Scan(&rec.ID, &rec.Node, &rec.Number, &class, &instant, &until, &rec.Count); err != nil {
				return err
			}
			rec.Outcome, rec.Trigger, rec.Instant = classOutcome(class), classTrigger(class), fromMicros(instant)
			if !of(rec.Trigger) {
				return nil
			}
			rec.Success = rec.Outcome == job.Success
			if until.Valid {
				rec.Until = fromMicros(until.V)
			}
			recs = append(recs, rec)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return recs, nil
}

func floorMicros(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return t.UnixMicro()
}

// Succeeded implements [job.History]. It holds for ever: a task that runs once and never again does not run
// anew because its record was pruned.
func (d *DB) Succeeded(ctx context.Context, task job.TaskRef) ([]job.NodeID, error) {
	task = job.Ref(task.Group, task.Name)
	var nodes []job.NodeID
	q := d.query("SELECT DISTINCT j.node FROM tasks t JOIN jobs j ON j.task = t.id WHERE t.name = ? AND t.grp = ? AND j.succeeded = 1 AND j.node <> '' ORDER BY j.node", task.Name, task.Group)
	err := d.call(ctx, "read where a task succeeded", func(ctx context.Context) error {
		return q.each(ctx, d.read, func(rows *sql.Rows) error {
			var n job.NodeID
			err := rows.Scan(&n)
			nodes = append(nodes, n)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return nodes, nil
}
