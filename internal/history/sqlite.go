package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/rota-dev/rota/job"
)

// applicationID marks SQLite files as Rota's: "Rota" in ASCII.
const applicationID = 0x526f7461

// openSQLite opens a file for one process: a lock beside it keeps a second master out. There is one writer, for
// SQLite has no more than that, and it waits in Go rather than in SQLite's busy loop.
//
// synchronous is FULL: with NORMAL a commit outlives a kill -9 but not a loss of power, and the record is
// deleted from etcd on the word of that commit. A batch pays the fsync once.
func (d *DB) openSQLite(ctx context.Context, path string) error {
	d.dialect = sqlite
	if path == "" {
		return job.Errorf(job.CodeInvalid, "the history dsn names no file").WithHint("give sqlite:PATH, such as sqlite:/var/lib/rota/history.db")
	}
	if path == ":memory:" {
		return job.Errorf(job.CodeInvalid, "history can't be kept in memory").WithHint("give the path of a file")
	}
	path, err := resolve(path)
	if err != nil {
		return err
	}
	d.path = path
	if d.file, err = lockFile(path); err != nil {
		return err
	}
	marked, err := d.inspect(ctx)
	if err != nil {
		return err
	}
	const common = "_pragma=busy_timeout(5000)&_pragma=temp_store(MEMORY)"
	if d.write, err = d.pool(1, common+"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(64000)&_pragma=journal_size_limit(536870912)&_pragma=cache_size(-64000)&_txlock=immediate"); err != nil {
		return err
	}
	if err := d.migrate(ctx, d.write); err != nil {
		return d.sqliteFault(err)
	}
	if !marked {
		if _, err := d.write.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
			return d.sqliteFault(err)
		}
	}
	beside, err := d.pool(1, common+"&_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	d.checkpoints = startCheckpoints(beside)
	readers := d.opt.MaxOpen
	if readers <= 0 {
		readers = 4
	}
	if d.read, err = d.pool(readers, common+"&_pragma=query_only(1)&_pragma=cache_size(-8000)"); err != nil {
		return err
	}
	return d.file.remember(path)
}

func (d *DB) pool(size int, params string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: d.path, RawQuery: params}
	c, err := sqlitedriver.NewConnector(u.String())
	if err != nil {
		return nil, d.sqliteFault(err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db, nil
}

// resolve makes a path absolute and free of links, so that one file has one lock, and creates the file,
// readable by its owner only.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("history file %s: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	} else if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(dir, filepath.Base(abs))
	}
	if st, err := os.Stat(filepath.Dir(abs)); errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
		return "", job.Errorf(job.CodeInvalid, "history file %s: there is no directory %s", abs, filepath.Dir(abs)).WithHint("create it, or name another file with --db sqlite:PATH")
	}
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", pathFault(abs, err)
	}
	st, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return "", pathFault(abs, err)
	}
	if !st.Mode().IsRegular() {
		return "", job.Errorf(job.CodeInvalid, "history file %s is not a regular file", abs)
	}
	return abs, nil
}

func pathFault(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return job.Errorf(job.CodeForbidden, "history file %s: %w", path, err).
			WithHint("uid %d must be able to read and write the file and its directory", os.Getuid())
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return job.Errorf(job.CodeUnavailable, "history file %s: %w", path, err)
}

// inspect looks at a file through a connection that can't write, and refuses what is not ours or is newer. It
// tells whether the file has our mark.
func (d *DB) inspect(ctx context.Context) (marked bool, err error) {
	if st, err := os.Stat(d.path); err == nil && st.Size() == 0 {
		return false, nil
	}
	db, err := d.pool(1, "mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(1)")
	if err != nil {
		return false, err
	}
	defer db.Close()
	var id, tables int64
	if err := db.QueryRowContext(ctx, "SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_master)").Scan(&id, &tables); err != nil {
		return false, d.sqliteFault(err)
	}
	version, err := schemaVersion(ctx, db)
	if err != nil {
		return false, d.sqliteFault(err)
	}
	marked = id == applicationID
	if !marked && tables > 0 && version == 0 {
		return false, job.Errorf(job.CodeConflict, "%s is the database of another program", d.path).WithHint("name another file with --db sqlite:PATH")
	}
	return marked, d.refuseNewer(version)
}

// sqliteFault explains what opening a file may meet.
func (d *DB) sqliteFault(err error) error {
	var coded *job.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	var lite *sqlitedriver.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlitelib.SQLITE_NOTADB:
			return job.Errorf(job.CodeInvalid, "%s is not an SQLite database", d.path).WithHint("name another file with --db sqlite:PATH, or move this one away")
		case sqlitelib.SQLITE_CORRUPT:
			return job.Errorf(job.CodeInternal, "history file %s is damaged: %w", d.path, err).WithHint("restore a backup, or move the file away to begin a new history")
		case sqlitelib.SQLITE_CANTOPEN, sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_PERM:
			return job.Errorf(job.CodeForbidden, "history file %s can't be written: %w", d.path, err).
				WithHint("uid %d must be able to read and write the file and its directory", os.Getuid())
		}
	}
	return job.Errorf(job.CodeUnavailable, "open history %s: %w", d.path, err)
}
