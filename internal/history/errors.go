package history

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/rota-dev/rota/job"
)

// errRetry asks for the transaction to be run again: what it had read has changed.
var errRetry = errors.New("the records changed under the transaction")

// again tells whether the transaction lost against another one and may be run again.
func again(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "40001", "40P01", "23505": // serialization, deadlock, the other one inserted the same
			return true
		}
	}
	return errors.Is(err, errRetry)
}

// classify gives an error of the database its code. ctx is the caller's: where that has ended, the database is
// not to blame. Errors that have a code already keep it.
func (d *DB) classify(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	var coded *job.Error
	if errors.As(err, &coded) {
		return err
	}
	if ctx.Err() != nil {
		return job.Errorf(job.CodeUnavailable, "history: %s was given up: %w", what, ctx.Err())
	}
	if d.away(err) {
		return job.Errorf(job.CodeUnavailable, "history: %s: %s is not available: %w", what, d.dialect, err)
	}
	return job.Errorf(job.CodeInternal, "history: %s: %w", what, err)
}

// away tells whether an error says that the database is away, or can't work now, rather than that
// it was asked something wrong.
func (d *DB) away(err error) bool {
	var lite *sqlitedriver.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_CANTOPEN,
			sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_NOMEM, sqlitelib.SQLITE_PROTOCOL, sqlitelib.SQLITE_INTERRUPT, sqlitelib.SQLITE_PERM:
			return true
		}
		return false
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "28", "53", "57", "58", "40": // connection, credentials, resources, operator, system, lost races
			return true
		}
		switch pg.Code {
		case "25006", "3D000", "42501", "55P03", "55006", "0A000": // read-only standby, no database, no permission, locks, a changed plan
			return true
		}
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &connect), errors.As(err, &network), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, errRetry), pgconn.SafeToRetry(err):
		return true
	}
	text := err.Error() // neither package exports these
	return strings.Contains(text, "database is closed") || strings.Contains(text, "conn closed") || strings.Contains(text, "conn busy")
}
