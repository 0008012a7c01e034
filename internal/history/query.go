package history

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
)

// query is a statement under construction. Its text is written once for both databases, with a ? for
// each value; PostgreSQL is given $1, $2 and so on, SQLite the ? itself, which it binds in constant time.
type query struct {
	text     strings.Builder
	args     []any
	numbered bool
	trace    func(text string, args []any) // of tests: what is executed
}

// add appends text and the values of its marks, in their order. The text holds no ? but marks.
func (q *query) add(text string, args ...any) *query {
	for {
		before, after, found := strings.Cut(text, "?")
		q.text.WriteString(before)
		if !found {
			break
		}
		q.mark(args[0])
		text, args = after, args[1:]
	}
	return q
}

func (q *query) mark(arg any) {
	q.args = append(q.args, arg)
	if !q.numbered {
		q.text.WriteByte('?')
		return
	}
	q.text.WriteByte('$')
	q.text.WriteString(strconv.Itoa(len(q.args)))
}

// tuple appends (?, ?, …).
func (q *query) tuple(args ...any) *query {
	q.text.WriteByte('(')
	for i, arg := range args {
		if i > 0 {
			q.text.WriteByte(',')
		}
		q.mark(arg)
	}
	q.text.WriteByte(')')
	return q
}

// values appends VALUES (…), (…) with n rows. The first row says the type of integers, which PostgreSQL
// could not otherwise know.
func (q *query) values(n int, row func(i int) []any) *query {
	q.text.WriteString("VALUES ")
	for i := range n {
		if i > 0 {
			q.text.WriteByte(',')
			q.tuple(row(i)...)
			continue
		}
		q.text.WriteByte('(')
		for k, arg := range row(0) {
			if k > 0 {
				q.text.WriteByte(',')
			}
			switch arg.(type) {
			case int64, *int64:
				q.text.WriteString("CAST(")
				q.mark(arg)
				q.text.WriteString(" AS BIGINT)")
			case string:
				q.text.WriteString("CAST(")
				q.mark(arg)
				q.text.WriteString(" AS TEXT)")
			default:
				q.mark(arg)
			}
		}
		q.text.WriteByte(')')
	}
	return q
}

// in appends IN (?, ?, …).
func in[T any](q *query, vals []T) *query {
	q.text.WriteString(" IN (")
	for i, v := range vals {
		if i > 0 {
			q.text.WriteByte(',')
		}
		q.mark(v)
	}
	q.text.WriteByte(')')
	return q
}

// insertInto begins an INSERT. On SQLite a fault leaves it half done (OR FAIL): every insert is within a transaction that then
// comes to nothing, and it spares the copies of all changed pages by which a single statement could be undone.
func (d *DB) insertInto(rest string) *query {
	if d.dialect == sqlite {
		return d.query("INSERT OR FAIL INTO " + rest)
	}
	return d.query("INSERT INTO " + rest)
}

// runner executes statements: a pool or a transaction.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (q *query) exec(ctx context.Context, r runner) (int64, error) {
	if q.trace != nil {
		q.trace(q.text.String(), q.args)
	}
	res, err := r.ExecContext(ctx, q.text.String(), q.args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// each calls scan for every row.
func (q *query) each(ctx context.Context, r runner, scan func(*sql.Rows) error) error {
	if q.trace != nil {
		q.trace(q.text.String(), q.args)
	}
	rows, err := r.QueryContext(ctx, q.text.String(), q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// chunks calls f with [from, to) for n things, at most size at a time.
func chunks(n, size int, f func(from, to int) error) error {
	for from := 0; from < n; from += size {
		if err := f(from, min(from+size, n)); err != nil {
			return err
		}
	}
	return nil
}
