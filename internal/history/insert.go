package history

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/rota-dev/rota/job"
)

// Insert implements [job.History]. Records are taken in their order, as though each came alone, and written
// together: a batch of one hundred is about ten statements.
//
// A record is bent before it is refused: output beyond 256 KiB is cut in the middle and marked as
// truncated, bytes that are no text are kept in output and replaced elsewhere, a result that is no JSON becomes a
// string. What can't be stored at all (no id, no name, an unknown outcome, over a megabyte besides its output)
// is refused with [job.CodeInvalid]: nothing is stored, and the error's Fields name each such record by the path
// records[i], so that the caller can go on without them.
//
// An id that another task's record has already stays with that one.
func (d *DB) Insert(ctx context.Context, recs []job.ExecutionRecord) ([]bool, error) {
	if len(recs) == 0 {
		return nil, nil
	}
	rows, err := encodeAll(recs)
	if err != nil {
		return nil, err
	}
	var b *batch
	err = d.change(ctx, "insert records", func(ctx context.Context, tx *sql.Tx) error {
		b = &batch{d: d, tx: tx, now: d.opt.Now().UnixMicro(), days: make(days)}
		return b.insert(ctx, rows)
	})
	if err != nil {
		return nil, err
	}
	d.checkpoints.note(len(recs))
	for i := range recs {
		s := b.standing[rows[i].id]
		recs[i].Number, recs[i].IsHandle = s.number, s.handled
	}
	return b.stored, nil
}

// batch is one transaction of Insert.
type batch struct {
	d        *DB
	tx       *sql.Tx
	now      int64
	tasks    map[job.TaskRef]*taskState
	standing map[string]*standing // by record id
	stored   []bool
	days     days // what the records add to the summaries
	owed     []*owedRow
}

// standing is a record as it stands in the database, and as it will when write is set.
type standing struct {
	seq, number, task int64
	outcome           job.Outcome
	ended, bytes      int64
	node              string
	handled           bool
	old               bool // in the database
	write             *row
}

// rowsAtOnce bounds the rows of a statement: SQLite takes 32,766 values, PostgreSQL 65,535.
const rowsAtOnce = 200

func (b *batch) insert(ctx context.Context, rows []*row) (err error) {
	if b.tasks, err = lockTasks(ctx, b.d, b.tx, refsOf(rows)); err != nil {
		return err
	}
	for _, t := range b.tasks {
		if err = b.d.summarise(ctx, b.tx, t); err != nil {
			return err
		}
	}
	if err = b.readStanding(ctx, rows); err != nil {
		return err
	}
	if err = b.readOwed(ctx, rows); err != nil {
		return err
	}
	if err = b.settleOwed(ctx, rows); err != nil {
		return err
	}
	b.stored = make([]bool, len(rows))
	for i, r := range rows {
		b.stored[i] = b.take(r)
	}
	var writes []*standing
	done := make(map[string]bool, len(rows))
	for _, r := range rows {
		if s := b.standing[r.id]; s.write != nil && !done[r.id] {
			done[r.id] = true
			writes = append(writes, s)
		}
	}
	if len(writes) == 0 {
		return nil
	}
	if err = b.writeOwed(ctx); err != nil {
		return err
	}
	if err = b.bindJobs(ctx, writes); err != nil {
		return err
	}
	if err = chunks(len(writes), rowsAtOnce, func(from, to int) error { return b.writeRows(ctx, writes[from:to]) }); err != nil {
		return err
	}
	if err = chunks(len(writes), rowsAtOnce, func(from, to int) error { return b.writeBodies(ctx, writes[from:to]) }); err != nil {
		return err
	}
	if err = b.writeTasks(ctx, writes); err != nil {
		return err
	}
	return b.d.writeDays(ctx, b.tx, b.days)
}

// readStanding reads what is there already under the ids. The locks on their tasks are held, so it stays so.
func (b *batch) readStanding(ctx context.Context, rows []*row) error {
	b.standing = make(map[string]*standing, len(rows))
	ids := make([]string, 0, len(rows))
	for _, r := range rows {
		ids = append(ids, r.id)
	}
	return chunks(len(ids), rowsAtOnce, func(from, to int) error {
		q := b.d.query("SELECT id, seq, number, task, class, ended, handled_at, node, bytes FROM records WHERE id")
		return in(q, ids[from:to]).each(ctx, b.tx, func(rows *sql.Rows) error {
			var id string
			var class int64
			var handled sql.Null[int64]
			s := &standing{old: true}
			if err := rows.Scan(&id, &s.seq, &s.number, &s.task, &class, &s.ended, &handled, &s.node, &s.bytes); err != nil {
				return err
			}
			s.outcome, s.handled = classOutcome(class), handled.Valid
			b.standing[id] = s
			return nil
		})
	})
}

// take decides about one record, and tells whether it is stored.
func (b *batch) take(r *row) bool {
	t := b.tasks[r.ref]
	s := b.standing[r.id]
	switch {
	case s == nil && r.hollow():
		b.standing[r.id] = &standing{task: t.id, outcome: r.outcome, handled: true} // its node has told of everything
		return false
	case s == nil:
		t.numbers++
		b.yield(t.id, r)
		s = &standing{number: t.numbers, task: t.id}
		b.standing[r.id] = s
	case s.task != t.id:
		b.d.log.Warn("a record has the id of another task's record and is not stored", "record", r.id, "task", r.ref.String())
		return false
	case !r.outcome.Supersedes(s.outcome):
		return false
	default:
		t.delta(s.outcome, -1)
		b.days.at(t.id, s.ended, s.node).drop(s.outcome)
	}
	r.taskID, r.no = t.id, s.number
	t.delta(r.outcome, 1)
	t.bytes += r.bytes - s.bytes
	b.days.at(t.id, r.ended, r.node).add(r.outcome, r.durationUS)
	if r.outcome == job.Success {
		t.successUS += r.durationUS
	}
	s.outcome, s.handled, s.write = r.outcome, r.handledAt != nil, r
	s.ended, s.node, s.bytes = r.ended, r.node, r.bytes
	return true
}

// bindJobs gives each row the key of its job, and notes first successes. The locks on the tasks are held, so
// nobody else inserts the same.
func (b *batch) bindJobs(ctx context.Context, writes []*standing) error {
	type key struct {
		task      int64
		node, job string
	}
	type state struct {
		id        int64
		succeeded bool
		success   bool
	}
	jobs := make(map[key]*state, len(writes))
	var keys []key
	for _, s := range writes {
		k := key{s.write.taskID, s.write.node, s.write.jobID}
		if jobs[k] == nil {
			jobs[k] = &state{}
			keys = append(keys, k)
		}
		jobs[k].success = jobs[k].success || s.write.outcome == job.Success
	}
	read := func(rows *sql.Rows) error {
		var k key
		var id, succeeded int64
		if err := rows.Scan(&id, &k.task, &k.node, &k.job, &succeeded); err != nil {
			return err
		}
		jobs[k].id, jobs[k].succeeded = id, succeeded != 0
		return nil
	}
	tuple := func(k key) []any { return []any{k.task, k.node, k.job} }
	err := chunks(len(keys), rowsAtOnce, func(from, to int) error {
		q := b.d.query("SELECT id, task, node, job_id, succeeded FROM jobs WHERE (task, node, job_id) IN (")
		return q.values(to-from, func(i int) []any { return tuple(keys[from+i]) }).add(")").each(ctx, b.tx, read)
	})
	if err != nil {
		return err
	}
	var fresh []key
	var first []int64
	for _, k := range keys {
		switch s := jobs[k]; {
		case s.id == 0:
			fresh = append(fresh, k)
		case s.success && !s.succeeded:
			first = append(first, s.id)
		}
	}
	err = chunks(len(fresh), rowsAtOnce, func(from, to int) error {
		q := b.d.insertInto("jobs (task, node, job_id, succeeded) ").values(to-from, func(i int) []any {
			k := fresh[from+i]
			return append(tuple(k), bit(jobs[k].success))
		})
		return q.add(" RETURNING id, task, node, job_id, succeeded").each(ctx, b.tx, read)
	})
	if err != nil {
		return err
	}
	for _, s := range writes {
		s.write.jobSeq = jobs[key{s.write.taskID, s.write.node, s.write.jobID}].id
	}
	return chunks(len(first), rowsAtOnce, func(from, to int) error {
		_, err := in(b.d.query("UPDATE jobs SET succeeded = 1 WHERE id"), first[from:to]).exec(ctx, b.tx)
		return err
	})
}

// writeRows inserts what is new and replaces what is superseded.
func (b *batch) writeRows(ctx context.Context, writes []*standing) error {
	var fresh []*standing
	for _, s := range writes {
		if !s.old {
			fresh = append(fresh, s)
		} else if err := b.replaceRow(ctx, s); err != nil {
			return err
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	q := b.d.insertInto("records (id, task, number, job, grp, node, class, began, ended, instant, until, instants, handled_at, stored_at, bytes, detail, owed) ")
	q.values(len(fresh), func(i int) []any {
		r := fresh[i].write
		return []any{r.id, r.taskID, r.no, r.jobSeq, r.ref.Group, r.node, r.class, r.began, r.ended, r.instant, r.until, r.instants, r.handledAt, b.now, r.bytes, r.detail, bit(len(r.owed.Owed) > 0)}
	})
	n := 0
	err := q.add(" ON CONFLICT (id) DO NOTHING RETURNING id, seq").each(ctx, b.tx, func(rows *sql.Rows) error {
		var id string
		var seq int64
		if err := rows.Scan(&id, &seq); err != nil {
			return err
		}
		b.standing[id].seq = seq
		n++
		return nil
	})
	if err == nil && n != len(fresh) { // another master inserted the same id for another task meanwhile
		return fmt.Errorf("write %d records: %w", len(fresh), errRetry)
	}
	return err
}

// replaceRow puts a record in the place of one that it supersedes. The lock of its task is held.
func (b *batch) replaceRow(ctx context.Context, s *standing) error {
	r := s.write
	_, err := b.d.query(`UPDATE records SET job = ?, node = ?, class = ?, began = ?, ended = ?, instant = ?, until = ?, instants = ?,
		handled_at = ?, stored_at = ?, bytes = ?, detail = ? WHERE seq = ?`,
		r.jobSeq, r.node, r.class, r.began, r.ended, r.instant, r.until, r.instants, r.handledAt, b.now, r.bytes, r.detail, s.seq).exec(ctx, b.tx)
	return err
}

// writeBodies writes what lists leave out, for the records that have any of it, or may have had.
func (b *batch) writeBodies(ctx context.Context, writes []*standing) error {
	var with []*standing
	for _, s := range writes {
		if r := s.write; s.old || len(r.output) > 0 || len(r.result) > 0 || len(r.attempts) > 0 {
			with = append(with, s)
		}
	}
	if len(with) == 0 {
		return nil
	}
	q := b.d.insertInto("record_bodies (seq, output, result, attempts, parts) ").values(len(with), func(i int) []any {
		r := with[i].write
		return []any{with[i].seq, r.output, r.result, r.attempts, r.parts}
	})
	q.add(" ON CONFLICT (seq) DO UPDATE SET output = excluded.output, result = excluded.result, attempts = excluded.attempts, parts = excluded.parts")
	_, err := q.exec(ctx, b.tx)
	return err
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
