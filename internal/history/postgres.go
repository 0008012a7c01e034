package history

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/rota-dev/rota/job"
)

// openPostgres opens a pool. A server or a role that acknowledges commits before they are durable is overruled,
// connection by connection.
func (d *DB) openPostgres(ctx context.Context, dsn string) error {
	d.dialect = postgres
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		var parse *pgconn.ParseConfigError
		if errors.As(err, &parse) { // its text has the dsn with the password masked
			return job.Errorf(job.CodeInvalid, "history dsn: %w", err).WithHint("the form is postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require")
		}
		return job.Errorf(job.CodeInvalid, "history dsn: it can't be read").WithHint("the form is postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "rota"
	}
	if cfg.StatementCacheCapacity == 512 { // the default; a statement of ours may have 3,000 values, and the server keeps each
		cfg.StatementCacheCapacity = 64
	}
	durable := func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
		return err
	}
	db := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(durable))
	size := cmp.Or(max(d.opt.MaxOpen, 0), 10)
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(time.Hour)
	d.read, d.write = db, db

	bounded, cancel := context.WithTimeout(ctx, d.opt.Timeout)
	defer cancel()
	var fsync string
	if err := db.QueryRowContext(bounded, "SHOW fsync").Scan(&fsync); err != nil {
		return postgresFault(cfg, err)
	}
	if fsync == "off" {
		d.log.Warn("PostgreSQL runs with fsync off: a loss of power there loses history", "host", cfg.Host, "database", cfg.Database)
	}
	version, err := schemaVersion(bounded, db)
	if err == nil {
		err = d.refuseNewer(version)
	}
	if err == nil && version < newestVersion() {
		err = d.migrate(ctx, db)
	}
	return postgresFault(cfg, err)
}

// postgresFault explains what opening a database may meet.
func postgresFault(cfg *pgx.ConnConfig, err error) error {
	var coded *job.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	host := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "28P01":
			return job.Errorf(job.CodeUnauthorized, "PostgreSQL at %s does not take the password of %q", host, cfg.User).WithHint("check user and password of --db")
		case "28000":
			return job.Errorf(job.CodeUnauthorized, "PostgreSQL at %s does not let %q in: %s", host, cfg.User, pg.Message).WithHint("check the user of --db, sslmode and the server's pg_hba.conf")
		case "3D000":
			return job.Errorf(job.CodeInvalid, "PostgreSQL at %s has no database %q", host, cfg.Database).WithHint("create it: createdb -O %s %s", cfg.User, cfg.Database)
		case "42501":
			return job.Errorf(job.CodeForbidden, "PostgreSQL at %s does not allow %q to create the tables in %q: %s", host, cfg.User, cfg.Database, pg.Message).
				WithHint("make it the owner of the database, or GRANT CREATE ON SCHEMA public TO %s", cfg.User)
		}
	}
	var network *net.OpError // the driver's own text has a line for each attempt
	if errors.As(err, &network) {
		err = network
	}
	return job.Errorf(job.CodeUnavailable, "PostgreSQL at %s is not available: %w", host, err).
		WithHint("check that the server runs, that host and port of --db are right, and that no firewall is between")
}
