package history

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/rota-dev/rota/job"
)

// CopyOptions of a copy.
type CopyOptions struct {
	Options
	// Progress, unless nil, is told after each step how many rows of a table have been compared, and how many of them written.
	Progress func(table string, compared, written int64)
}

// Copied says what a copy came to.
type Copied struct {
	Records  int64 // that the history has
	Written  int64 // rows, of any table, that were written or removed this time
	Finished bool  // false: a master still writes to the old one
}

// copiedTable is a table as a copy sees it. Rows are told apart by keys and compared by columns (none: by all); what belongs to a
// row and changes with it alone comes along.
type copiedTable struct {
	name    string
	keys    []string
	compare []string
	with    string // a table with the same key
}

// copiedTables are all tables that a history consists of, but for its identity.
var copiedTables = []copiedTable{
	{name: "tasks", keys: []string{"id"}},
	{name: "jobs", keys: []string{"id"}},
	{name: "records", keys: []string{"seq"}, compare: []string{"id", "class", "ended", "number", "handled_at", "stored_at", "alerted", "owed", "instant", "until", "bytes"}, with: "record_bodies"},
	{name: "task_days", keys: []string{"task", "day"}},
	{name: "node_days", keys: []string{"task", "node", "day"}},
	{name: "alerts", keys: []string{"name"}},
	{name: "deliveries", keys: []string{"id"}},
	{name: "executions", keys: []string{"seq"}},
}

// Copy brings a history from SQLite to PostgreSQL, with its statistics, counters and numbers. It compares what both have and writes what
// differs, so that it may be broken off and begun again, and run while a master works with the old one: then it is not finished, and says
// so. Once nobody works with the old one, both are compared to the last row; then the old one is marked as moved, and the new one is the
// same history in another place. After that a further copy changes nothing.
//
// [job.CodeConflict]: the database holds another history.
func Copy(ctx context.Context, from, to string, opt CopyOptions) (c Copied, err error) {
	if isPostgres(from) || !isPostgres(to) {
		return c, job.Errorf(job.CodeInvalid, "a history can be copied from SQLite to PostgreSQL").
			WithHint("give --from sqlite:PATH and --to postgres://USER:PASSWORD@HOST/DATABASE; from PostgreSQL to PostgreSQL, use pg_dump")
	}
	src, still, err := openSource(ctx, sqlitePath(from), opt.Options)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst := newDB(opt.Options)
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := dst.open(ctx, to); err != nil {
		return c, err
	}
	cp := &copying{src: src, dst: dst, opt: opt}
	done, err := cp.begin(ctx, placeOf(to))
	if err != nil || done {
		c.Finished = done
		if err == nil {
			c.Records, err = cp.count(ctx, dst)
		}
		return c, err
	}
	for _, t := range copiedTables {
		if err := cp.table(ctx, t); err != nil {
			return c, fmt.Errorf("copy %s: %w", t.name, err)
		}
	}
	if err := cp.renumber(ctx); err != nil {
		return c, err
	}
	c.Written = cp.written
	if c.Records, err = cp.count(ctx, dst); err != nil || !still {
		return c, err
	}
	if err := cp.verify(ctx); err != nil {
		return c, err
	}
	c.Finished = true
	return c, cp.finish(ctx, placeOf(to))
}

// placeOf is where a history is, as people are told.
func placeOf(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return "PostgreSQL"
	}
	return "PostgreSQL at " + u.Host + u.Path
}

// openSource opens the old history. still tells that nobody else works with it, and nobody can until it is closed.
func openSource(ctx context.Context, path string, opt Options) (d *DB, still bool, err error) {
	d = newDB(opt)
	err = d.open(ctx, path)
	if err == nil {
		return d, true, nil
	}
	_ = d.Close()
	if !job.IsConflict(err) {
		return nil, false, err
	}
	d = newDB(opt)
	d.dialect = sqlite
	abs, fault := resolve(path)
	if fault != nil {
		return nil, false, fault
	}
	d.path = abs
	if d.read, fault = d.pool(2, "mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(1)"); fault != nil {
		return nil, false, fault
	}
	version, fault := schemaVersion(ctx, d.read)
	if fault != nil || version != newestVersion() {
		return nil, false, errors.Join(err, d.Close()) // in use by a master of another version: it must be stopped
	}
	return d, false, nil
}

// copying is one copy.
type copying struct {
	src, dst *DB
	opt      CopyOptions
	id       string
	written  int64
}

// begin makes sure that the new database may take the copy. done: it has it.
func (c *copying) begin(ctx context.Context, place string) (done bool, err error) {
	from, err := c.src.about(ctx, c.src.read)
	if err != nil {
		return false, c.src.classify(ctx, "read the old history", err)
	}
	if c.id = from[identityID]; c.id == "" {
		return false, job.Errorf(job.CodeConflict, "the old history has never been used").WithHint("start masters with the new one")
	}
	if moved := from[movedTo]; moved != "" && moved != place {
		return false, job.Errorf(job.CodeConflict, "this history was moved to %s", moved)
	}
	err = c.dst.change(ctx, "begin the copy", func(ctx context.Context, tx *sql.Tx) error {
		to, err := c.dst.about(ctx, tx)
		switch {
		case err != nil:
			return err
		case to[copyOf] == c.id:
			return nil
		case to[copyOf] != "":
			return job.Errorf(job.CodeConflict, "the database holds an unfinished copy of another history").WithHint("give an empty database")
		case to[identityID] == c.id && from[movedTo] != "":
			done = true
			return nil
		}
		n := int64(0)
		if err := c.dst.query("SELECT COUNT(*) FROM tasks").each(ctx, tx, func(rows *sql.Rows) error { return rows.Scan(&n) }); err != nil {
			return err
		}
		if n > 0 {
			return job.Errorf(job.CodeConflict, "the database holds a history already, with records of %d tasks", n).WithHint("give an empty database")
		}
		if _, err := c.dst.query("DELETE FROM history_identity").exec(ctx, tx); err != nil {
			return err
		}
		return c.dst.noteAbout(ctx, tx, copyOf, c.id)
	})
	return done, err
}

const copyPage = 400 // rows at once

// table makes a table of the new history equal to the old one's.
func (c *copying) table(ctx context.Context, t copiedTable) error {
	columns, err := c.src.columns(ctx, t.name)
	if err != nil {
		return err
	}
	if len(t.compare) == 0 {
		t.compare = columns
	}
	seen := append(slices.Clone(t.keys), t.compare...)
	var compared, written int64
	for after := []any(nil); ; {
		old, err := c.src.page(ctx, t, seen, after)
		if err != nil {
			return err
		}
		if len(old) == 0 {
			break
		}
		after = old[len(old)-1][:len(t.keys)]
		now, err := c.dst.of(ctx, t.name, t.keys, seen, keysOf(old, len(t.keys)))
		if err != nil {
			return err
		}
		var differ [][]any
		for _, r := range old {
			if !sameRow(r, now[rowKey(r[:len(t.keys)])]) {
				differ = append(differ, r[:len(t.keys)])
			}
		}
		if err := c.write(ctx, t, columns, differ); err != nil {
			return err
		}
		compared, written = compared+int64(len(old)), written+int64(len(differ))
		c.tell(t.name, compared, written)
	}
	gone, err := c.remove(ctx, t)
	c.written += written + gone
	return err
}

func (c *copying) tell(table string, compared, written int64) {
	if c.opt.Progress != nil {
		c.opt.Progress(table, compared, written)
	}
}

// write copies rows, with what belongs to them, in one transaction.
func (c *copying) write(ctx context.Context, t copiedTable, columns []string, keys [][]any) error {
	if len(keys) == 0 {
		return nil
	}
	rows, err := c.src.of(ctx, t.name, t.keys, append(slices.Clone(t.keys), columns...), keys)
	if err != nil {
		return err
	}
	var beside map[string][]any
	var besideColumns []string
	if t.with != "" {
		if besideColumns, err = c.src.columns(ctx, t.with); err != nil {
			return err
		}
		if beside, err = c.src.of(ctx, t.with, t.keys, append(slices.Clone(t.keys), besideColumns...), keys); err != nil {
			return err
		}
	}
	return c.dst.change(ctx, "write copied rows", func(ctx context.Context, tx *sql.Tx) error {
		if t.with != "" {
			if _, err := c.dst.whereKeys(c.dst.query("DELETE FROM "+t.with+" WHERE "), t.keys, keys).exec(ctx, tx); err != nil {
				return err
			}
			if err := c.dst.put(ctx, tx, t.with, t.keys, besideColumns, beside); err != nil {
				return err
			}
		}
		return c.dst.put(ctx, tx, t.name, t.keys, columns, rows)
	})
}

// remove takes out of the new table what the old one does not have any more.
func (c *copying) remove(ctx context.Context, t copiedTable) (gone int64, err error) {
	for after := []any(nil); ; {
		now, err := c.dst.page(ctx, t, t.keys, after)
		if err != nil || len(now) == 0 {
			return gone, err
		}
		after = now[len(now)-1]
		old, err := c.src.of(ctx, t.name, t.keys, t.keys, now)
		if err != nil {
			return gone, err
		}
		var extra [][]any
		for _, r := range now {
			if old[rowKey(r)] == nil {
				extra = append(extra, r)
			}
		}
		if len(extra) == 0 {
			continue
		}
		gone += int64(len(extra))
		err = c.dst.change(ctx, "remove rows that are gone", func(ctx context.Context, tx *sql.Tx) error {
			for _, name := range []string{t.with, t.name} {
				if name == "" {
					continue
				}
				if _, err := c.dst.whereKeys(c.dst.query("DELETE FROM "+name+" WHERE "), t.keys, extra).exec(ctx, tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return gone, err
		}
	}
}

// renumber has the new tables go on with the numbers of the old ones.
func (c *copying) renumber(ctx context.Context) error {
	return c.dst.change(ctx, "go on with the numbers", func(ctx context.Context, tx *sql.Tx) error {
		for _, t := range []struct{ name, key string }{{"tasks", "id"}, {"jobs", "id"}, {"records", "seq"}, {"executions", "seq"}} {
			q := fmt.Sprintf("SELECT setval(pg_get_serial_sequence('%[1]s', '%[2]s'), (SELECT COALESCE(MAX(%[2]s), 1) FROM %[1]s))", t.name, t.key)
			if _, err := c.dst.query(q).exec(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *copying) count(ctx context.Context, d *DB) (n int64, err error) {
	err = d.call(ctx, "count records", func(ctx context.Context) error {
		return d.query("SELECT COUNT(*) FROM records").each(ctx, d.read, func(rows *sql.Rows) error { return rows.Scan(&n) })
	})
	return n, err
}

// sums are what must be the same in both. Each is one number, so that it says the same in both databases.
var sums = []string{
	"SELECT COUNT(*) FROM records", "SELECT SUM(seq) FROM records", "SELECT SUM(number) FROM records", "SELECT SUM(class) FROM records",
	"SELECT SUM(ended / 1000000) FROM records", "SELECT SUM(bytes) FROM records", "SELECT COUNT(handled_at) FROM records", "SELECT SUM(LENGTH(detail)) FROM records",
	"SELECT COUNT(*) FROM record_bodies", "SELECT SUM(LENGTH(output)) FROM record_bodies", "SELECT SUM(LENGTH(result)) FROM record_bodies", "SELECT SUM(LENGTH(attempts)) FROM record_bodies",
	"SELECT SUM(numbers) FROM tasks", "SELECT SUM(success + failed + timeout + killed + lost + skipped + missed) FROM tasks", "SELECT SUM(success_us) FROM tasks",
	"SELECT COUNT(*) FROM jobs", "SELECT SUM(succeeded) FROM jobs", "SELECT COUNT(*) FROM task_days", "SELECT SUM(LENGTH(body)) FROM task_days",
	"SELECT COUNT(*) FROM node_days", "SELECT SUM(LENGTH(body)) FROM node_days", "SELECT COUNT(*) FROM alerts", "SELECT COUNT(*) FROM deliveries",
	"SELECT COUNT(*) FROM executions", "SELECT SUM(LENGTH(body)) FROM executions", "SELECT SUM(owed) FROM records", "SELECT SUM(owing) FROM tasks",
}

// verify adds up both.
func (c *copying) verify(ctx context.Context) error {
	for _, text := range sums {
		old, err := c.src.sum(ctx, text)
		if err != nil {
			return err
		}
		now, err := c.dst.sum(ctx, text)
		if err != nil {
			return err
		}
		if old != now {
			return job.Errorf(job.CodeInternal, "the copy is not the same: %q gives %d here and %d there", text, old, now).WithHint("run the copy again; the old history is as it was")
		}
	}
	return nil
}

// finish gives the new history the identity of the old one, which says from now on where it is. The old one first: two that both
// pass for the history would be one too many, and none is mended by running the copy again.
func (c *copying) finish(ctx context.Context, place string) error {
	err := c.src.change(ctx, "mark the old history as moved", func(ctx context.Context, tx *sql.Tx) error {
		return c.src.noteAbout(ctx, tx, movedTo, place)
	})
	if err != nil {
		return err
	}
	return c.dst.change(ctx, "finish the copy", func(ctx context.Context, tx *sql.Tx) error {
		if _, err := c.dst.query("DELETE FROM history_identity").exec(ctx, tx); err != nil {
			return err
		}
		return c.dst.noteAbout(ctx, tx, identityID, c.id)
	})
}

// columns are the names of a table's columns.
func (d *DB) columns(ctx context.Context, table string) (names []string, err error) {
	err = d.call(ctx, "read a table's columns", func(ctx context.Context) error {
		rows, err := d.read.QueryContext(ctx, "SELECT * FROM "+table+" WHERE 1 = 0") //nolint:gosec // one of copiedTables
		if err != nil {
			return err
		}
		defer rows.Close()
		if names, err = rows.Columns(); err != nil {
			return err
		}
		return rows.Err()
	})
	return names, err
}

// page reads some rows in the order of their keys, after one.
func (d *DB) page(ctx context.Context, t copiedTable, columns []string, after []any) (list [][]any, err error) {
	keys := strings.Join(t.keys, ", ")
	q := d.query("SELECT " + strings.Join(columns, ", ") + " FROM " + t.name)
	if after != nil {
		q.add(" WHERE (" + keys + ") > ").tuple(after...)
	}
	q.add(fmt.Sprintf(" ORDER BY %s LIMIT %d", keys, copyPage))
	err = d.call(ctx, "read a page of rows", func(ctx context.Context) error {
		return q.each(ctx, d.read, func(rows *sql.Rows) error {
			r, err := anyRow(rows, len(columns))
			list = append(list, r)
			return err
		})
	})
	return list, err
}

// of reads the rows with some keys, by rowKey of them. The first columns are the keys.
func (d *DB) of(ctx context.Context, table string, keys, columns []string, wanted [][]any) (map[string][]any, error) {
	found := make(map[string][]any, len(wanted))
	q := d.whereKeys(d.query("SELECT "+strings.Join(columns, ", ")+" FROM "+table+" WHERE "), keys, wanted)
	err := d.call(ctx, "read rows", func(ctx context.Context) error {
		return q.each(ctx, d.read, func(rows *sql.Rows) error {
			r, err := anyRow(rows, len(columns))
			if err == nil {
				found[rowKey(r[:len(keys)])] = r
			}
			return err
		})
	})
	return found, err
}

func (d *DB) whereKeys(q *query, keys []string, wanted [][]any) *query {
	q.add("(" + strings.Join(keys, ", ") + ") IN (")
	return q.values(len(wanted), func(i int) []any { return wanted[i] }).add(")")
}

// put writes rows whose first columns are the keys, in the place of those that are there.
func (d *DB) put(ctx context.Context, r runner, table string, keys, columns []string, rows map[string][]any) error {
	list := make([][]any, 0, len(rows))
	for _, row := range rows {
		list = append(list, row[len(keys):])
	}
	var set []string
	for _, name := range columns {
		if !slices.Contains(keys, name) {
			set = append(set, name+" = excluded."+name)
		}
	}
	return chunks(len(list), rowsAtOnce, func(from, to int) error {
		q := d.query("INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES ")
		for i := from; i < to; i++ {
			if i > from {
				q.add(",")
			}
			q.tuple(list[i]...)
		}
		_, err := q.add(" ON CONFLICT ("+strings.Join(keys, ", ")+") DO UPDATE SET "+strings.Join(set, ", ")).exec(ctx, r)
		return err
	})
}

func (d *DB) sum(ctx context.Context, text string) (n int64, err error) {
	err = d.call(ctx, "add up a history", func(ctx context.Context) error {
		return d.query("SELECT CAST(COALESCE(("+text+"), 0) AS BIGINT)").each(ctx, d.read, func(rows *sql.Rows) error { return rows.Scan(&n) })
	})
	return n, err
}

func anyRow(rows *sql.Rows, n int) ([]any, error) {
	row, at := make([]any, n), make([]any, n)
	for i := range row {
		at[i] = &row[i]
	}
	return row, rows.Scan(at...)
}

func keysOf(rows [][]any, n int) [][]any {
	keys := make([][]any, len(rows))
	for i, r := range rows {
		keys[i] = r[:n]
	}
	return keys
}

// rowKey is a key as one text. No name has a NUL.
func rowKey(key []any) string {
	var b strings.Builder
	for _, k := range key {
		fmt.Fprintf(&b, "%v\x00", k)
	}
	return b.String()
}

// sameRow compares what two databases say of a row. Nothing, and no bytes, are the same.
func sameRow(a, b []any) bool {
	return slices.EqualFunc(a, b, func(x, y any) bool {
		p, xBytes := x.([]byte)
		q, yBytes := y.([]byte)
		if xBytes || yBytes {
			return (xBytes || x == nil) && (yBytes || y == nil) && bytes.Equal(p, q)
		}
		return x == y
	})
}
