package history

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/rota-dev/rota/job"
)

// taskState is a task's row, locked, and what the transaction adds to it.
type taskState struct {
	id, numbers         int64
	latest, latestEnded sql.Null[int64]
	counts              [len(outcomes)]int64 // the columns named by the outcomes
	successUS, bytes    int64
	summed              bool // its records are in the summaries of days
	owing               bool // it has had records of what a node owes; see owed.go
}

func (t *taskState) delta(o job.Outcome, n int64) { t.counts[outcomeNumber(o)-1] += n }

// newer tells whether a record is newer than the latest.
func (t *taskState) newer(ended, seq int64) bool {
	return !t.latest.Valid || cmp.Or(cmp.Compare(ended, t.latestEnded.V), cmp.Compare(seq, t.latest.V)) > 0
}

func refsOf(rows []*row) []job.TaskRef {
	refs := make([]job.TaskRef, 0, len(rows))
	for _, r := range rows {
		refs = append(refs, r.ref)
	}
	return refs
}

// lockTasks locks the rows of tasks until the end of the transaction, always in the same order, and creates
// those that are missing. Whoever writes a task's records holds its lock: so numbers have no gaps, the counters
// are exact, and latest always leads to a record.
func lockTasks(ctx context.Context, d *DB, tx *sql.Tx, refs []job.TaskRef) (map[job.TaskRef]*taskState, error) {
	refs = slices.Clone(refs)
	slices.SortFunc(refs, func(a, b job.TaskRef) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
	refs = slices.Compact(refs)
	states := make(map[job.TaskRef]*taskState, len(refs))
	err := chunks(len(refs), rowsAtOnce, func(from, to int) error {
		q := d.insertInto("tasks (grp, name, summed) ").values(to-from, func(i int) []any { return []any{refs[from+i].Group, refs[from+i].Name, int64(1)} })
		q.add(" ON CONFLICT (name, grp) DO UPDATE SET numbers = tasks.numbers RETURNING grp, name, id, numbers, latest, latest_ended, summed, owing")
		return q.each(ctx, tx, func(rows *sql.Rows) error {
			var ref job.TaskRef
			var summed, owing int64
			t := &taskState{}
			if err := rows.Scan(&ref.Group, &ref.Name, &t.id, &t.numbers, &t.latest, &t.latestEnded, &summed, &owing); err != nil {
				return err
			}
			t.summed, t.owing = summed != 0, owing != 0
			states[ref] = t
			return nil
		})
	})
	return states, err
}

// writeTasks brings numbers, counters and latest of the tasks up to what was written.
func (b *batch) writeTasks(ctx context.Context, writes []*standing) error {
	changed := make(map[int64]*taskState)
	aged := make(map[int64]bool) // the record that was the latest now ends earlier
	for _, s := range writes {
		t := b.tasks[s.write.ref]
		changed[t.id] = t
		if t.latest.Valid && t.latest.V == s.seq && s.write.ended < t.latestEnded.V {
			aged[t.id] = true
		}
	}
	for _, s := range writes {
		if t := b.tasks[s.write.ref]; !aged[t.id] && t.newer(s.write.ended, s.seq) {
			t.latest, t.latestEnded = sql.Null[int64]{V: s.seq, Valid: true}, sql.Null[int64]{V: s.write.ended, Valid: true}
		}
	}
	for id := range aged {
		if err := b.findLatest(ctx, changed[id]); err != nil {
			return err
		}
	}
	states := make([]*taskState, 0, len(changed))
	for _, t := range changed {
		states = append(states, t)
	}
	return chunks(len(states), rowsAtOnce, func(from, to int) error { return b.updateTasks(ctx, states[from:to]) })
}

func (b *batch) updateTasks(ctx context.Context, states []*taskState) error {
	q := b.d.query("UPDATE tasks SET numbers = v.column2, latest = v.column3, latest_ended = v.column4, success_us = tasks.success_us + v.column5, bytes = tasks.bytes + v.column6, owing = v.column7")
	for i, o := range outcomes {
		q.add(fmt.Sprintf(", %[1]s = tasks.%[1]s + v.column%[2]d", o, i+8))
	}
	q.add(" FROM (").values(len(states), func(i int) []any {
		t := states[i]
		args := []any{t.id, t.numbers, t.latest.V, t.latestEnded.V, t.successUS, t.bytes, bit(t.owing)}
		for _, n := range t.counts {
			args = append(args, n)
		}
		return args
	})
	_, err := q.add(") AS v WHERE tasks.id = v.column1").exec(ctx, b.tx)
	return err
}

// findLatest looks for the newest record of a task.
func (b *batch) findLatest(ctx context.Context, t *taskState) error {
	keys, err := b.d.newest(ctx, b.tx, prefix{column: "task", values: []any{t.id}}, 1)
	if err != nil || len(keys) == 0 {
		return err
	}
	t.latest, t.latestEnded = sql.Null[int64]{V: keys[0].seq, Valid: true}, sql.Null[int64]{V: keys[0].ended, Valid: true}
	return nil
}
