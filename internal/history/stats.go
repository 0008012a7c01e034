package history

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

const dayUS = int64(24 * time.Hour / time.Microsecond)

// dayOf is the day, since 1970 in UTC, in which a time in microseconds lies.
func dayOf(us int64) int64 {
	day := us / dayUS
	if us%dayUS < 0 {
		day--
	}
	return day
}

// dayKey names a row of node_days; without the node, of task_days.
type dayKey struct {
	task, day int64
	node      string
}

// days are summaries to be added to those that are stored.
type days map[dayKey]*summary

func (d days) at(task, ended int64, node string) *summary {
	k := dayKey{task, dayOf(ended), node}
	if d[k] == nil {
		d[k] = &summary{}
	}
	return d[k]
}

// writeDays adds summaries to those of their days, of the tasks on their nodes and of the tasks as a whole. The locks of the
// tasks are held.
func (d *DB) writeDays(ctx context.Context, tx *sql.Tx, nodes days) error {
	whole := make(days)
	for k, s := range nodes {
		k.node = ""
		if whole[k] == nil {
			whole[k] = &summary{}
		}
		whole[k].merge(s)
	}
	if err := d.addDays(ctx, tx, "task_days", "task, day", whole, func(k dayKey) []any { return []any{k.task, k.day} }); err != nil {
		return err
	}
	return d.addDays(ctx, tx, "node_days", "task, day, node", nodes, func(k dayKey) []any { return []any{k.task, k.day, k.node} })
}

func (d *DB) addDays(ctx context.Context, tx *sql.Tx, table, columns string, add days, tuple func(dayKey) []any) error {
	keys := make([]dayKey, 0, len(add))
	for k := range add {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b dayKey) int {
		return cmp.Or(cmp.Compare(a.task, b.task), cmp.Compare(a.node, b.node), cmp.Compare(a.day, b.day))
	})
	return chunks(len(keys), rowsAtOnce, func(from, to int) error {
		q := d.query("SELECT " + columns + ", body FROM " + table + " WHERE (" + columns + ") IN (")
		q.values(to-from, func(i int) []any { return tuple(keys[from+i]) }).add(")")
		err := q.each(ctx, tx, func(rows *sql.Rows) error {
			var k dayKey
			var body sql.RawBytes
			dest := []any{&k.task, &k.day, &k.node}[:len(tuple(k))]
			if err := rows.Scan(append(dest, &body)...); err != nil {
				return err
			}
			return add[k].decode(body)
		})
		if err != nil {
			return err
		}
		q = d.insertInto(""+table+" ("+columns+", body) ").values(to-from, func(i int) []any {
			return append(tuple(keys[from+i]), add[keys[from+i]].encode())
		})
		_, err = q.add(" ON CONFLICT ("+columns+") DO UPDATE SET body = excluded.body").exec(ctx, tx)
		return err
	})
}

// sumUp makes the summaries of tasks whose records were stored by a program that kept none.
func (d *DB) sumUp(ctx context.Context) error {
	var refs []job.TaskRef
	err := d.query("SELECT grp, name FROM tasks WHERE summed = 0").each(ctx, d.write, func(rows *sql.Rows) error {
		var ref job.TaskRef
		err := rows.Scan(&ref.Group, &ref.Name)
		refs = append(refs, ref)
		return err
	})
	if err != nil || len(refs) == 0 {
		return err
	}
	d.log.Info("history: statistics are made of the records that are there", "tasks", len(refs))
	for _, ref := range refs {
		err := d.once(ctx, func(ctx context.Context, tx *sql.Tx) error {
			tasks, err := lockTasks(ctx, d, tx, []job.TaskRef{ref})
			if err != nil {
				return err
			}
			return d.summarise(ctx, tx, tasks[ref])
		})
		if err != nil {
			return fmt.Errorf("sum up the records of %s: %w", ref, err)
		}
	}
	return nil
}

// summarise makes a task's summaries, unless it has them. Its lock is held.
func (d *DB) summarise(ctx context.Context, tx *sql.Tx, t *taskState) error {
	if t.summed {
		return nil
	}
	sums := make(days)
	err := d.query("SELECT node, class, began, ended FROM records WHERE task = ?", t.id).each(ctx, tx, func(rows *sql.Rows) error {
		var node string
		var class, began, ended int64
		if err := rows.Scan(&node, &class, &began, &ended); err != nil {
			return err
		}
		if o := classOutcome(class); o != "" {
			sums.at(t.id, ended, node).add(o, max(ended-began, 0))
		}
		return nil
	})
	if err == nil {
		err = d.writeDays(ctx, tx, sums)
	}
	if err == nil {
		_, err = d.query("UPDATE tasks SET summed = 1 WHERE id = ?", t.id).exec(ctx, tx)
	}
	t.summed = err == nil
	return err
}

// Stats implements [job.History]. It costs about a microsecond or three for each day of each task that it sums up, and of each node where
// those are told apart; whatever the number of records.
func (d *DB) Stats(ctx context.Context, f job.StatsFilter) ([]job.Stats, error) {
	if !f.By.Valid() {
		return nil, job.Errorf(job.CodeInvalid, "statistics by %q are not kept", clip(string(f.By))).WithHint("there are day, node and task")
	}
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if !f.From.IsZero() {
		from = dayOf(f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		to = dayOf(ceilMicros(f.To)-1) + 1
	}
	sums := make(map[statsKey]*summary)
	if f.By == job.ByNothing {
		sums[statsKey{}] = &summary{}
	}
	err := d.call(ctx, "read statistics", func(ctx context.Context) error {
		return d.daysOf(f, from, to).each(ctx, d.read, func(rows *sql.Rows) error {
			var task job.TaskRef
			var day int64
			var node string
			var body sql.RawBytes
			if err := rows.Scan(&task.Group, &task.Name, &day, &node, &body); err != nil {
				return err
			}
			var k statsKey
			switch f.By {
			case job.ByDay:
				k.day = day
			case job.ByNode:
				k.node = node
			case job.ByTask:
				k.task = task
			}
			if sums[k] == nil {
				sums[k] = &summary{}
			}
			return sums[k].decode(body)
		})
	})
	if err != nil {
		return nil, err
	}
	return statsOf(sums, f.By), nil
}

// daysOf selects the rows that a filter is about.
func (d *DB) daysOf(f job.StatsFilter, from, to int64) *query {
	var q *query
	switch {
	case f.Node != "":
		q = d.query(`SELECT t.grp, t.name, x.day, x.node, x.body FROM (SELECT DISTINCT task FROM jobs WHERE node = ?) m
			JOIN tasks t ON t.id = m.task JOIN node_days x ON x.task = m.task AND x.node = ?`, string(f.Node), string(f.Node))
	case f.By == job.ByNode:
		q = d.query("SELECT t.grp, t.name, x.day, x.node, x.body FROM tasks t JOIN node_days x ON x.task = t.id")
	default:
		q = d.query("SELECT t.grp, t.name, x.day, '', x.body FROM tasks t JOIN task_days x ON x.task = t.id")
	}
	q.add(" WHERE x.day >= ? AND x.day < ?", from, to)
	if f.Task != "" {
		q.add(" AND t.name = ?", f.Task)
	}
	if f.Group != "" {
		q.add(" AND t.grp = ?", f.Group)
	}
	return q
}

// statsKey tells the parts of a division apart.
type statsKey struct {
	day  int64
	node string
	task job.TaskRef
}

func statsOf(sums map[statsKey]*summary, by job.StatsBy) []job.Stats {
	keys := make([]statsKey, 0, len(sums))
	for k := range sums {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b statsKey) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.node, b.node), cmp.Compare(a.task.Group, b.task.Group), cmp.Compare(a.task.Name, b.task.Name))
	})
	list := make([]job.Stats, 0, len(keys))
	for _, k := range keys {
		st := sums[k].stats()
		switch by {
		case job.ByDay:
			st.Day = time.Unix(k.day*86400, 0).UTC()
		case job.ByNode:
			node := job.NodeID(k.node)
			st.Node = &node
		case job.ByTask:
			st.Task = k.task.String()
		}
		if len(st.Count) > 0 || by == job.ByNothing {
			list = append(list, st)
		}
	}
	return list
}

// Totals implements [job.History]. It counts all records that ever were, pruned ones too.
func (d *DB) Totals(ctx context.Context, refs ...job.TaskRef) (map[job.TaskRef]job.Stats, error) {
	text := "SELECT grp, name, success_us"
	for _, o := range outcomes {
		text += ", " + string(o)
	}
	text += " FROM tasks WHERE numbers > 0"
	totals := make(map[job.TaskRef]job.Stats)
	read := func(rows *sql.Rows) error {
		var ref job.TaskRef
		var s summary
		dest := []any{&ref.Group, &ref.Name, &s.sumUS}
		for i := range s.counts {
			dest = append(dest, &s.counts[i])
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		st := job.Stats{Count: make(map[job.Outcome]int64), TotalMS: s.sumUS / 1000}
		for i, n := range s.counts {
			if n != 0 {
				st.Count[outcomes[i]] = n
			}
		}
		if n := st.Count[job.Success]; n > 0 {
			st.AverageMS = s.sumUS / n / 1000
		}
		if rate, ok := job.Rate(st.Count); ok {
			st.Success = &rate
		}
		totals[ref] = st
		return nil
	}
	err := d.call(ctx, "read totals", func(ctx context.Context) error {
		if len(refs) == 0 {
			return d.query(text).each(ctx, d.read, read)
		}
		return chunks(len(refs), rowsAtOnce, func(a, b int) error {
			q := d.query(text+" AND (name, grp) IN (").values(b-a, func(i int) []any {
				ref := job.Ref(refs[a+i].Group, refs[a+i].Name)
				return []any{ref.Name, ref.Group}
			})
			return q.add(")").each(ctx, d.read, read)
		})
	})
	if err != nil {
		return nil, err
	}
	return totals, nil
}
