package history

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// ChangeAlerts implements [job.Alerts].
func (d *DB) ChangeAlerts(ctx context.Context, in []job.AlertInput, decide func(i int, old job.Alert) (job.Alert, []job.Delivery, bool)) error {
	if len(in) == 0 {
		return nil
	}
	return d.change(ctx, "change alerts", func(ctx context.Context, tx *sql.Tx) error {
		for i := range in {
			if in[i].Record != "" {
				count := d.counts
				if in[i].Key.Sort == job.AlertGroup {
					count = d.executionCounts
				}
				counts, err := count(ctx, tx, in[i])
				if err != nil {
					return err
				}
				if !counts {
					continue
				}
			}
			old, err := d.alert(ctx, tx, in[i].Key.String())
			if err != nil {
				return err
			}
			a, messages, changed := decide(i, old)
			if !changed {
				continue
			}
			a.Key, a.Version = old.Key, old.Version
			if err := d.writeAlert(ctx, tx, a); err != nil {
				return err
			}
			if err := d.writeDeliveries(ctx, tx, messages); err != nil {
				return err
			}
		}
		return nil
	})
}

// counts notes that people are told of a record, and tells whether they have to be: it stands as it was read, and they have not been.
func (d *DB) counts(ctx context.Context, tx *sql.Tx, in job.AlertInput) (bool, error) {
	class, found := int64(0), false
	var alerted sql.Null[int64]
	err := d.query("SELECT class, alerted FROM records WHERE id = ?", in.Record).each(ctx, tx, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(&class, &alerted)
	})
	if err != nil || !found || classOutcome(class) != in.Outcome || alerted.Valid && alerted.V == class {
		return false, err
	}
	n, err := d.query("UPDATE records SET alerted = class WHERE id = ? AND class = ? AND (alerted IS NULL OR alerted <> class)", in.Record, class).exec(ctx, tx)
	return n == 1, err
}

// executionCounts notes that people are told of an execution, and tells whether they have to be: it is there, and they have not been.
func (d *DB) executionCounts(ctx context.Context, tx *sql.Tx, in job.AlertInput) (bool, error) {
	n, err := d.query("UPDATE executions SET alerted = 1 WHERE id = ? AND alerted = 0", in.Record).exec(ctx, tx)
	return n == 1, err
}

func (d *DB) alert(ctx context.Context, tx *sql.Tx, key string) (job.Alert, error) {
	a := job.Alert{Key: key}
	err := d.query("SELECT state, due, version FROM alerts WHERE name = ?", key).each(ctx, tx, func(rows *sql.Rows) error {
		var due sql.Null[int64]
		var state []byte
		err := rows.Scan(&state, &due, &a.Version)
		if a.State = state; due.Valid {
			a.Due = fromMicros(due.V)
		}
		return err
	})
	return a, err
}

// writeAlert puts an alert in the place of the version that was read.
func (d *DB) writeAlert(ctx context.Context, tx *sql.Tx, a job.Alert) error {
	now := d.opt.Now().UnixMicro()
	var n int64
	var err error
	if a.Version == 0 {
		q := d.insertInto("alerts (name, state, due, version, changed) VALUES ").tuple(a.Key, []byte(a.State), optional(a.Due), int64(1), now)
		n, err = q.add(" ON CONFLICT (name) DO NOTHING").exec(ctx, tx)
	} else {
		n, err = d.query("UPDATE alerts SET state = ?, due = ?, version = version + 1, changed = ? WHERE name = ? AND version = ?",
			[]byte(a.State), optional(a.Due), now, a.Key, a.Version).exec(ctx, tx)
	}
	if err == nil && n != 1 {
		return fmt.Errorf("write alert %s: %w", a.Key, errRetry)
	}
	return err
}

func (d *DB) writeDeliveries(ctx context.Context, tx *sql.Tx, list []job.Delivery) error {
	for i := range list {
		m := &list[i]
		q := d.insertInto("deliveries (id, receiver, subject, task, node, event, record, status, attempts, created, next_at, done_at, answer, summary, message) VALUES ")
		q.tuple(m.ID, m.Receiver, m.Subject, m.Task, string(m.Node), string(m.Event), m.Record, string(m.Status), int64(m.Attempts), m.Created.UnixMicro(),
			optional(m.NextAt), optional(m.DoneAt), m.Answer, m.Into, []byte(m.Message))
		if _, err := q.add(" ON CONFLICT (id) DO NOTHING").exec(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// DueAlerts implements [job.Alerts].
func (d *DB) DueAlerts(ctx context.Context, now time.Time, limit int) (keys []string, err error) {
	err = d.call(ctx, "read the alerts that are due", func(ctx context.Context) error {
		return d.query("SELECT name FROM alerts WHERE due IS NOT NULL AND due <= ? ORDER BY due LIMIT ?", now.UnixMicro(), int64(limit)).each(ctx, d.read, func(rows *sql.Rows) error {
			var key string
			err := rows.Scan(&key)
			keys = append(keys, key)
			return err
		})
	})
	return keys, err
}

const deliveryColumns = "SELECT id, receiver, subject, task, node, event, record, status, attempts, created, next_at, done_at, answer, summary, message FROM deliveries"

func (d *DB) deliveries(ctx context.Context, what string, q *query) (list []job.Delivery, err error) {
	err = d.call(ctx, what, func(ctx context.Context) error {
		list = nil
		return q.each(ctx, d.read, func(rows *sql.Rows) error {
			var m job.Delivery
			var created int64
			var next, done sql.Null[int64]
			var message []byte
			err := rows.Scan(&m.ID, &m.Receiver, &m.Subject, &m.Task, &m.Node, &m.Event, &m.Record, &m.Status, &m.Attempts, &created, &next, &done, &m.Answer, &m.Into, &message)
			m.Created, m.Message = fromMicros(created), message
			if next.Valid {
				m.NextAt = fromMicros(next.V)
			}
			if done.Valid {
				m.DoneAt = fromMicros(done.V)
			}
			list = append(list, m)
			return err
		})
	})
	return list, err
}

// Deliveries implements [job.Alerts].
func (d *DB) Deliveries(ctx context.Context, f job.DeliveryFilter) ([]job.Delivery, error) {
	var where []string
	var args []any
	add := func(cond string, arg any) { where, args = append(where, cond), append(args, arg) }
	if f.Receiver != "" {
		add("receiver = ?", f.Receiver)
	}
	if f.Task != "" {
		add("task = ?", f.Task)
	}
	if f.Status != "" {
		add("status = ?", string(f.Status))
	}
	text := deliveryColumns
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	limit := f.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	return d.deliveries(ctx, "list deliveries", d.query(text+" ORDER BY created DESC, seq DESC LIMIT ?", append(args, int64(min(limit, maxLimit)))...))
}

// DueDeliveries implements [job.Alerts].
func (d *DB) DueDeliveries(ctx context.Context, now time.Time, limit int) ([]job.Delivery, error) {
	return d.deliveries(ctx, "read the messages that are due",
		d.query(deliveryColumns+" WHERE next_at IS NOT NULL AND next_at <= ? ORDER BY next_at, seq LIMIT ?", now.UnixMicro(), int64(limit)))
}

// SentTimes implements [job.Alerts].
func (d *DB) SentTimes(ctx context.Context, receiver string, since time.Time) (times []time.Time, err error) {
	err = d.call(ctx, "count what was sent", func(ctx context.Context) error {
		times = nil
		q := d.query("SELECT done_at FROM deliveries WHERE receiver = ? AND status = ? AND done_at > ? ORDER BY done_at LIMIT ?",
			receiver, string(job.DeliverySent), since.UnixMicro(), int64(4000))
		return q.each(ctx, d.read, func(rows *sql.Rows) error {
			var at int64
			err := rows.Scan(&at)
			times = append(times, fromMicros(at))
			return err
		})
	})
	return times, err
}

// PutDeliveries implements [job.Alerts].
func (d *DB) PutDeliveries(ctx context.Context, list []job.Delivery) error {
	return d.change(ctx, "write deliveries", func(ctx context.Context, tx *sql.Tx) error {
		if err := d.writeDeliveries(ctx, tx, list); err != nil {
			return err
		}
		for i := range list {
			m := &list[i]
			// What is done stays so: a leader that was overtaken says nothing more.
			_, err := d.query("UPDATE deliveries SET status = ?, attempts = ?, next_at = ?, done_at = ?, answer = ?, summary = ? WHERE id = ? AND done_at IS NULL",
				string(m.Status), int64(m.Attempts), optional(m.NextAt), optional(m.DoneAt), m.Answer, m.Into, m.ID).exec(ctx, tx)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// PruneAlerts implements [job.Alerts].
func (d *DB) PruneAlerts(ctx context.Context, before time.Time) error {
	for _, text := range []string{
		"SELECT id FROM deliveries WHERE created < ? AND next_at IS NULL ORDER BY created LIMIT 500",
		"SELECT name FROM alerts WHERE changed < ? AND due IS NULL ORDER BY changed LIMIT 500",
	} {
		for {
			n := 0
			err := d.change(ctx, "prune alerts", func(ctx context.Context, tx *sql.Tx) error {
				var ids []string
				err := d.query(text, before.UnixMicro()).each(ctx, tx, func(rows *sql.Rows) error {
					var id string
					err := rows.Scan(&id)
					ids = append(ids, id)
					return err
				})
				if n = len(ids); err != nil || n == 0 {
					return err
				}
				from := "DELETE FROM deliveries WHERE id"
				if strings.Contains(text, "FROM alerts") {
					from = "DELETE FROM alerts WHERE name"
				}
				_, err = in(d.query(from), slices.Clip(ids)).exec(ctx, tx)
				return err
			})
			if err != nil {
				return err
			}
			if n < 500 {
				break
			}
		}
	}
	return nil
}
