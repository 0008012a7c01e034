package history

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// A master tells of the instants of a node that is away, many in one record, and can't know what the node has done meanwhile. What
// the node says of an instant itself counts, whichever record comes first: the instant leaves the other one. A record that has
// lost all its instants stays, and accounts for none.

const yielded = "; the node has told of all of them itself since"

// owedRow is such a record in the database.
type owedRow struct {
	seq, task, until int64
	node             string
	detail           detail
	changed          bool
}

// ofNode tells whether a row is a node's own word of instants.
func (r *row) ofNode() bool {
	return r.instant != nil && r.node != "" && r.accounts && len(r.owed.Owed) == 0
}

// span is the first and the last instant of a row, in microseconds.
func (r *row) span() (first, last int64) {
	first = *r.instant
	last = first
	if r.until != nil {
		last = max(first, *r.until)
	}
	return first, last
}

// reown gives a row the instants that are left of those it told of.
func (r *row) reown(left []job.Stretch) (err error) {
	r.owed.Owed = left
	instant, until, n := owedColumns(left)
	r.instant, r.until, r.instants = instant, until, n
	before := len(r.detail)
	r.detail, err = json.Marshal(r.owed)
	r.bytes += int64(len(r.detail) - before)
	return err
}

func owedColumns(left []job.Stretch) (instant, until *int64, n int64) {
	if len(left) == 0 {
		return nil, nil, 0
	}
	first, last := left[0].First, left[0].Last()
	for _, s := range left {
		if s.Last().After(last) {
			last = s.Last()
		}
	}
	return optional(first), optional(last), int64(job.CountInstants(left))
}

// readOwed reads the records that may have to yield to the rows.
func (b *batch) readOwed(ctx context.Context, rows []*row) error {
	type key struct {
		task int64
		node string
	}
	first := map[key]int64{}
	var keys []key
	for _, r := range rows {
		if t := b.tasks[r.ref]; t.owing && r.ofNode() {
			k := key{t.id, r.node}
			at, _ := r.span()
			if old, ok := first[k]; !ok {
				keys, first[k] = append(keys, k), at
			} else {
				first[k] = min(old, at)
			}
		}
	}
	for _, k := range keys {
		q := b.d.query("SELECT seq, until, detail FROM records WHERE owed = 1 AND task = ? AND node = ? AND until >= ?", k.task, k.node, first[k])
		err := q.each(ctx, b.tx, func(rows *sql.Rows) error {
			o := &owedRow{task: k.task, node: k.node}
			var det sql.RawBytes
			if err := rows.Scan(&o.seq, &o.until, &det); err != nil {
				return err
			}
			b.owed = append(b.owed, o)
			return json.Unmarshal(det, &o.detail)
		})
		if err != nil {
			return fmt.Errorf("read what node %s owes: %w", clip(k.node), err)
		}
	}
	return nil
}

// yield takes the instants of a row that is stored from the records that told of them.
func (b *batch) yield(task int64, r *row) {
	if !r.ofNode() {
		return
	}
	first, last := r.span()
	for _, o := range b.owed {
		if o.task == task && o.node == r.node && first <= o.until {
			before := job.CountInstants(o.detail.Owed)
			o.detail.Owed = job.WithoutInstants(o.detail.Owed, fromMicros(first), fromMicros(last))
			o.changed = o.changed || job.CountInstants(o.detail.Owed) != before
		}
	}
}

// writeOwed writes the records that have yielded.
func (b *batch) writeOwed(ctx context.Context) error {
	for _, o := range b.owed {
		if !o.changed {
			continue
		}
		instant, until, n := owedColumns(o.detail.Owed)
		if n == 0 {
			o.detail.Reason += yielded
		}
		det, err := json.Marshal(o.detail)
		if err != nil {
			return err
		}
		_, err = b.d.query("UPDATE records SET instant = ?, until = ?, instants = ?, owed = ?, detail = ? WHERE seq = ?", instant, until, n, bit(n > 0), det, o.seq).exec(ctx, b.tx)
		if err != nil {
			return err
		}
	}
	return nil
}

// clockSlack is by how much a node's clock may be behind the instants that it tells of.
const clockSlack = time.Hour

// settleOwed leaves to the rows that tell of a node that is away only the instants of which the node has not told itself, in the
// database or in this batch.
func (b *batch) settleOwed(ctx context.Context, rows []*row) error {
	for _, r := range rows {
		if len(r.owed.Owed) == 0 || b.standing[r.id] != nil {
			continue
		}
		first, last := r.span()
		left := r.owed.Owed
		without := func(from, to int64) { left = job.WithoutInstants(left, fromMicros(from), fromMicros(to)) }
		for _, o := range rows {
			if o.ref == r.ref && o.node == r.node && o.ofNode() {
				without(o.span())
			}
		}
		q := b.d.query("SELECT r.instant, r.until FROM jobs j JOIN records r ON r.job = j.id WHERE j.task = ? AND j.node = ? AND r.ended >= ? AND r.class IN (",
			b.tasks[r.ref].id, r.node, first-clockSlack.Microseconds())
		for i, c := range accounting {
			if i > 0 {
				q.add(", ")
			}
			q.mark(c)
		}
		err := q.add(") AND r.owed = 0 AND r.instant IS NOT NULL").each(ctx, b.tx, func(rows *sql.Rows) error {
			var instant int64
			var until sql.Null[int64]
			if err := rows.Scan(&instant, &until); err != nil {
				return err
			}
			if to := max(instant, until.V); to >= first && instant <= last {
				without(instant, to)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read what node %s has told: %w", clip(r.node), err)
		}
		if err := r.reown(left); err != nil {
			return err
		}
		b.tasks[r.ref].owing = true
	}
	return nil
}

// accounting are the classes of the records that account for instants.
var accounting = func() (list []int64) {
	for _, o := range outcomes {
		for _, t := range triggers {
			if t.Accounts() {
				list = append(list, classOf(o, t))
			}
		}
	}
	return list
}()

// toldAtOnce is how many records of a job are looked at to say what its node has told.
const toldAtOnce = 1000

// Told implements [job.History]. It looks at the latest thousand records of the job.
func (d *DB) Told(ctx context.Context, task job.TaskRef, node job.NodeID, from time.Time) (recs []job.ExecutionRecord, since time.Time, err error) {
	task = job.Ref(task.Group, task.Name)
	err = d.call(ctx, "read what a node has told", func(ctx context.Context) error {
		var oldest, lowest sql.Null[int64]
		var jobs []any
		q := d.query(`SELECT r.number, r.ended FROM tasks t JOIN records r ON r.task = t.id WHERE t.name = ? AND t.grp = ? ORDER BY r.number LIMIT 1`, task.Name, task.Group)
		if err := q.each(ctx, d.read, func(rows *sql.Rows) error { return rows.Scan(&lowest, &oldest) }); err != nil || !oldest.Valid {
			return err
		}
		if lowest.V > 1 { // of what ended before that, some may have been pruned
			since = fromMicros(oldest.V)
		}
		q = d.query("SELECT j.id FROM tasks t JOIN jobs j ON j.task = t.id WHERE t.name = ? AND t.grp = ? AND j.node = ?", task.Name, task.Group, string(node))
		err := q.each(ctx, d.read, func(rows *sql.Rows) error {
			var id int64
			err := rows.Scan(&id)
			jobs = append(jobs, id)
			return err
		})
		if err != nil || len(jobs) == 0 {
			return err
		}
		ended := int64(math.MinInt64)
		if !from.IsZero() {
			ended = from.Add(-clockSlack).UnixMicro()
		}
		keys, err := d.walk(ctx, d.read, prefix{column: "job", values: jobs},
			window{from: first, since: ended, limit: toldAtOnce, keep: func(class int64) bool { return slices.Contains(accounting, class) }})
		if err != nil {
			return err
		}
		if len(keys) == toldAtOnce {
			since = laterOf(since, fromMicros(keys[len(keys)-1].ended))
		}
		recs, err = d.fetch(ctx, keys, false)
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return recs, since, nil
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// hollow tells whether a row told of a node that is away, and the node has told of everything itself.
func (r *row) hollow() bool { return r.instant == nil && r.tellsOfNode }
