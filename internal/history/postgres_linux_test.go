package history

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
)

func TestOnPostgreSQL(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	t.Run("contract", func(t *testing.T) {
		t.Parallel()
		contract(t, func(t *testing.T, opt Options) *DB { return mustOpen(t, server.Database(t), opt) })
	})
	t.Run("what can't be opened is explained", func(t *testing.T) {
		t.Parallel()
		testPostgresRefusals(t, server)
	})
	t.Run("masters that start together migrate once", func(t *testing.T) {
		t.Parallel()
		testStartTogether(t, server.Database(t))
	})
	t.Run("a newer schema is refused untouched", func(t *testing.T) {
		t.Parallel()
		testNewerPostgres(t, server.Database(t))
	})
	t.Run("commits wait for the disk", func(t *testing.T) {
		t.Parallel()
		d := mustOpen(t, server.Database(t)+"&synchronous_commit=off", Options{})
		var on string
		if err := d.write.QueryRow("SHOW synchronous_commit").Scan(&on); err != nil || on != "on" {
			t.Errorf("synchronous_commit is %q, %v", on, err)
		}
	})
}

func testPostgresRefusals(t *testing.T, server *pgtest.Server) {
	server.Exec(t, "postgres", "CREATE ROLE guest LOGIN PASSWORD 'guest'", "CREATE DATABASE closed", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	wrong := "not-the-password"
	away, _ := url.Parse(server.DSN("postgres", wrong, "closed"))
	away.Host = "127.0.0.1:1"
	for _, c := range []struct {
		dsn  string
		code job.Code
		says []string
	}{
		{server.DSN("postgres", wrong, "closed"), job.CodeUnauthorized, []string{"password", `"postgres"`, "127.0.0.1"}},
		{server.DSN("postgres", server.Password, "absent"), job.CodeInvalid, []string{`no database "absent"`, "createdb"}},
		{server.DSN("guest", "guest", "closed"), job.CodeForbidden, []string{`"guest"`, "GRANT CREATE"}},
		{away.String(), job.CodeUnavailable, []string{"127.0.0.1:1", "check that the server runs"}},
		{"postgres://u:" + wrong + "@host:port/x", job.CodeInvalid, []string{"the form is postgres://"}},
		{"postgres://u:" + wrong + "@host/x?sslmode=sometimes", job.CodeInvalid, []string{"sslmode"}},
	} {
		_, err := Open(context.Background(), c.dsn, Options{})
		wantCode(t, err, c.code)
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%v does not say %q", err, s)
			}
		}
		if strings.Contains(err.Error(), wrong) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func testStartTogether(t *testing.T, dsn string) {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			d, err := Open(context.Background(), dsn, Options{MaxOpen: 3})
			if err != nil {
				t.Error(err)
				return
			}
			defer d.Close()
			if _, err := d.Insert(context.Background(), []job.ExecutionRecord{record(job.Ref("g", "t"), name("r", i), job.Success, epoch)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d := mustOpen(t, dsn, Options{})
	if n := len(all(t, d, job.RecordFilter{})); n != 4 {
		t.Errorf("%d records, want 4", n)
	}
}

func testNewerPostgres(t *testing.T, dsn string) {
	d := mustOpen(t, dsn, Options{})
	if _, err := d.write.Exec("INSERT INTO rota_schema (version_id, is_applied) VALUES (99, true)"); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), dsn, Options{})
	wantCode(t, err, job.CodeConflict)
	if !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), fmt.Sprintf("up to %d", newestVersion())) {
		t.Errorf("%v does not say the versions", err)
	}
}

// TestOutage stops PostgreSQL under a history, by a crash and by a shutdown, and starts it again. While it is away
// each call says so, and afterwards each works by itself; what was acknowledged is there.
func TestOutage(t *testing.T) { // ancestor 42
	t.Parallel()
	ctx := context.Background()
	server := pgtest.Start(t, "fsync=on")
	d := mustOpen(t, server.Database(t), Options{MaxOpen: 4, Timeout: 20 * time.Second})
	ref := job.Ref("g", "t")
	calls := map[string]func() error{
		"ping":   func() error { return d.Ping(ctx) },
		"record": func() error { _, err := d.Record(ctx, name("r", 0)); return err },
		"list":   func() error { _, err := d.Records(ctx, job.RecordFilter{}); return err },
		"latest": func() error { _, err := d.Latest(ctx); return err },
		"search": func() error { _, err := d.Records(ctx, job.RecordFilter{Search: "x"}); return err },
		"stats":  func() error { _, err := d.Stats(ctx, job.StatsFilter{By: job.ByDay}); return err },
		"totals": func() error { _, err := d.Totals(ctx); return err },
		"handle": func() error {
			return d.MarkHandled(ctx, []job.Handled{{ID: name("r", 0), Outcome: job.Success}}, epoch)
		},
		"prune": func() error { _, err := d.Prune(ctx, job.Retention{MaxAge: time.Hour}, epoch); return err },
	}
	n := 0
	for _, stop := range []func(){server.Crash, server.Stop} {
		writing, down, up := make(chan struct{}), make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { // a writer that repeats each batch until it is acknowledged
			refused := false
			for i := 0; ; {
				rec := []job.ExecutionRecord{record(ref, name("r", n), job.Success, epoch.Add(time.Duration(n)*time.Second))}
				_, err := d.Insert(ctx, rec)
				switch {
				case err == nil:
					n++
					if i++; i == 5 {
						close(writing)
					}
					if refused {
						return
					}
				case job.CodeOf(err) != job.CodeUnavailable:
					t.Errorf("inserting while PostgreSQL stops: %v (code %s)", err, job.CodeOf(err))
					return
				case !refused:
					refused = true
					close(down)
				default:
					<-up
				}
			}
		})
		<-writing
		stop()
		<-down
		for name, call := range calls {
			if err := call(); job.CodeOf(err) != job.CodeUnavailable {
				t.Errorf("%s while PostgreSQL is away: %v (code %q)", name, err, job.CodeOf(err))
			}
		}
		server.Restart(t)
		close(up)
		wg.Wait()
		for name, call := range calls {
			if err := call(); err != nil {
				t.Errorf("%s after PostgreSQL came back: %v", name, err)
			}
		}
	}
	if got := all(t, d, job.RecordFilter{Limit: 1000}); len(got) != n {
		t.Errorf("%d records, want the %d that were acknowledged", len(got), n)
	}
	if st, err := d.Stats(ctx, job.StatsFilter{Group: ref.Group, Task: ref.Name}); err != nil || st[0].Count[job.Success] != int64(n) {
		t.Errorf("statistics count %v, %v, want %d", st, err, n)
	}
}
