package history

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"strconv"
	"time"
)

// A list is read in two steps. The first finds which classes the prefix has, by hopping through the index from
// one to the next: a handful of look-ups, however many records there are. The second reads the
// head of each class that the filter wants, which the index has in order, and merges them.

// window is the part of a prefix's records that is wanted: after the place from, ended at since or later.
type window struct {
	from  place
	since int64
	limit int
	keep  func(class int64) bool
}

// stream is one range of an index: the records of one class of one value of the prefix.
type stream struct {
	value any
	class int64
}

// streamsAtOnce bounds the parts of one statement; SQLite allows 500.
const streamsAtOnce = 64

// walk finds the places of the newest records of a prefix within a window.
func (d *DB) walk(ctx context.Context, r runner, p prefix, w window) ([]place, error) {
	streams, err := d.streams(ctx, r, p, w.keep)
	if err != nil {
		return nil, err
	}
	limit := strconv.Itoa(w.limit) // written out: a planner that does not know it would rather sort
	var keys []place
	err = chunks(len(streams), streamsAtOnce, func(from, to int) error {
		q := d.query("SELECT ended, seq FROM (")
		for i, s := range streams[from:to] {
			if i > 0 {
				q.add(" UNION ALL ")
			}
			q.add("SELECT ended, seq FROM (SELECT ended, seq FROM records WHERE ")
			if p.column != "" {
				q.add(p.column+" = ? AND ", s.value)
			}
			q.add("class = ? AND ended >= ? AND (ended, seq) < (?, ?)", s.class, w.since, w.from.ended, w.from.seq)
			if p.group != "" {
				q.add(" AND grp = ?", p.group)
			}
			q.add(" ORDER BY ended DESC, seq DESC LIMIT " + limit + ") AS s")
		}
		q.add(") AS u ORDER BY ended DESC, seq DESC LIMIT " + limit)
		return q.each(ctx, r, func(rows *sql.Rows) error {
			var k place
			err := rows.Scan(&k.ended, &k.seq)
			keys = append(keys, k)
			return err
		})
	})
	slices.SortFunc(keys, func(a, b place) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	return keys[:min(len(keys), w.limit)], err
}

// streams finds the classes that the values of a prefix have, and keeps those that are wanted.
func (d *DB) streams(ctx context.Context, r runner, p prefix, keep func(int64) bool) ([]stream, error) {
	var streams []stream
	if p.column == "" {
		q := d.query(`WITH RECURSIVE c (class) AS (
			SELECT MIN(class) FROM records
			UNION ALL SELECT (SELECT MIN(r.class) FROM records r WHERE r.class > c.class) FROM c WHERE c.class IS NOT NULL
		) SELECT class FROM c WHERE class IS NOT NULL`)
		err := q.each(ctx, r, func(rows *sql.Rows) error {
			var s stream
			if err := rows.Scan(&s.class); err != nil {
				return err
			}
			if keep(s.class) {
				streams = append(streams, s)
			}
			return nil
		})
		return streams, err
	}
	err := chunks(len(p.values), rowsAtOnce, func(from, to int) error {
		q := d.query("WITH RECURSIVE p (i, value) AS (").values(to-from, func(i int) []any { return []any{int64(from + i), p.values[from+i]} })
		q.add(`), c (i, value, class) AS (
			SELECT p.i, p.value, (SELECT MIN(r.class) FROM records r WHERE r.` + p.column + ` = p.value) FROM p
			UNION ALL SELECT c.i, c.value, (SELECT MIN(r.class) FROM records r WHERE r.` + p.column + ` = c.value AND r.class > c.class)
			FROM c WHERE c.class IS NOT NULL
		) SELECT i, class FROM c WHERE class IS NOT NULL`)
		return q.each(ctx, r, func(rows *sql.Rows) error {
			var i, class int64
			if err := rows.Scan(&i, &class); err != nil {
				return err
			}
			if keep(class) {
				streams = append(streams, stream{p.values[i], class})
			}
			return nil
		})
	})
	return streams, err
}

// newest finds the newest records of a prefix.
func (d *DB) newest(ctx context.Context, r runner, p prefix, n int) ([]place, error) {
	return d.walk(ctx, r, p, window{from: first, since: math.MinInt64, limit: n, keep: func(int64) bool { return true }})
}

// ceilMicros is a bound in microseconds: times are stored without what is finer.
func ceilMicros(t time.Time) int64 {
	us := t.UnixMicro()
	if t.After(time.UnixMicro(us)) {
		us++
	}
	return us
}
