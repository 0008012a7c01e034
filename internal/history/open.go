package history

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// Options of a history. The zero value serves.
type Options struct {
	Logger *slog.Logger // nil: none
	// MaxOpen is how many connections to PostgreSQL are open at most, and how many readers of SQLite, which
	// has one writer besides; 0: 10 and 4.
	MaxOpen int
	// Timeout bounds a call whose context sets no earlier end, so that a database that went silent is
	// noticed; 0: 30 s.
	Timeout time.Duration
	// Grace is how long a record stays after it was stored, whatever retention says; 0: an hour, negative: not at
	// all. A master that died between storing a record and deleting it from etcd hands it over again; had it
	// been pruned meanwhile, it would be stored and acted upon twice.
	Grace time.Duration
	// Now is the clock by which records are stored; nil: time.Now.
	Now func() time.Time
}

// DB is the history in one database. It implements [job.History].
type DB struct {
	read, write *sql.DB // the same pool on PostgreSQL; on SQLite, write has one connection
	dialect     dialect
	opt         Options
	log         *slog.Logger
	path        string // of SQLite's file
	id          string // see ID
	file        *fileLock
	checkpoints *checkpoints                  // of SQLite
	trace       func(text string, args []any) // set by tests before the first call

	mu       sync.RWMutex // guards closed, and that calls grows only before it
	closed   bool
	calls    sync.WaitGroup
	closing  sync.Once
	closeErr error
}

var _ job.History = (*DB)(nil)

type dialect string

const (
	sqlite   dialect = "SQLite"
	postgres dialect = "PostgreSQL"
)

// Open opens the history that dsn names, and creates or migrates its tables:
//
//	sqlite:PATH or PATH     a file of SQLite, for one master
//	postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…   for several (also postgresql://)
//
// Its errors say what to do. [job.CodeUnavailable]: the database can't be reached, try again.
// [job.CodeConflict]: the SQLite file is in use by another master, the file is another program's, or a newer Rota
// wrote the tables; nothing was changed. [job.CodeUnauthorized] and [job.CodeForbidden]: credentials or
// permissions. [job.CodeInvalid]: the dsn is wrong, or the file is no database.
func Open(ctx context.Context, dsn string, opt Options) (*DB, error) {
	d := newDB(opt)
	err := d.open(ctx, dsn)
	if err == nil {
		err = d.identify(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func newDB(opt Options) *DB {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Timeout == 0 {
		opt.Timeout = 30 * time.Second
	}
	if opt.Grace == 0 {
		opt.Grace = time.Hour
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &DB{opt: opt, log: opt.Logger}
}

// open opens the database, whichever history it holds.
func (d *DB) open(ctx context.Context, dsn string) (err error) {
	switch {
	case dsn == "":
		err = job.Errorf(job.CodeInvalid, "no history database is named").WithHint("give sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE")
	case isPostgres(dsn):
		err = d.openPostgres(ctx, dsn)
	case strings.HasPrefix(dsn, "sqlite:"):
		err = d.openSQLite(ctx, sqlitePath(dsn))
	case strings.Contains(dsn, "://"):
		scheme, _, _ := strings.Cut(dsn, "://")
		err = job.Errorf(job.CodeInvalid, "history in %q is not supported", scheme).WithHint("use sqlite:PATH or postgres://…")
	default:
		err = d.openSQLite(ctx, dsn)
	}
	if err != nil {
		return err
	}
	return d.classify(ctx, "sum up records", d.sumUp(ctx))
}

func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

func sqlitePath(dsn string) string {
	return strings.TrimPrefix(strings.TrimPrefix(dsn, "sqlite:"), "//")
}

// Redact is the dsn without its password, for logs.
func Redact(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		scheme, _, _ := strings.Cut(dsn, ":")
		return scheme + ":…"
	}
	if q := u.Query(); q.Has("password") || q.Has("sslpassword") {
		q.Del("password")
		q.Del("sslpassword")
		u.RawQuery = q.Encode()
	}
	if u.User == nil {
		return u.String()
	}
	return u.Redacted()
}

// Close waits for calls that are under way and releases the database. It may be called more than once.
func (d *DB) Close() error {
	d.closing.Do(func() {
		d.mu.Lock()
		d.closed = true
		d.mu.Unlock()
		d.calls.Wait()
		d.checkpoints.close()
		if d.read != nil && d.read != d.write {
			d.closeErr = d.read.Close()
		}
		if d.write != nil {
			if err := d.write.Close(); d.closeErr == nil {
				d.closeErr = err
			}
		}
		d.file.release()
	})
	return d.closeErr
}

// Ping tells whether the database answers, and, on SQLite, whether its file is still the one that was opened.
func (d *DB) Ping(ctx context.Context) error {
	return d.call(ctx, "ping", func(ctx context.Context) error {
		var one int
		return d.read.QueryRowContext(ctx, "SELECT 1").Scan(&one)
	})
}

// call runs f within the timeout and gives its error a code.
func (d *DB) call(ctx context.Context, what string, f func(context.Context) error) error {
	if !d.enter() {
		return job.Errorf(job.CodeUnavailable, "history: %s: it is closed", what)
	}
	defer d.calls.Done()
	if err := d.file.check(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, d.opt.Timeout)
	defer cancel()
	return d.classify(ctx, what, f(bounded))
}

// enter counts a call that begins, unless the history is closed.
func (d *DB) enter() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if !d.closed {
		d.calls.Add(1)
	}
	return !d.closed
}

// change runs f in a transaction, again where another master got in its way.
func (d *DB) change(ctx context.Context, what string, f func(ctx context.Context, tx *sql.Tx) error) error {
	return d.call(ctx, what, func(ctx context.Context) (err error) {
		for range 5 {
			if err = d.once(ctx, f); !again(err) {
				return err
			}
		}
		return err
	})
}

func (d *DB) once(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit there is nothing to roll back
	if err := f(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (d *DB) query(text string, args ...any) *query {
	q := &query{numbered: d.dialect == postgres, trace: d.trace}
	return q.add(text, args...)
}
