package history

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// start runs this test binary as another process in a role.
func start(t *testing.T, role, dsn string, attr *syscall.SysProcAttr) (c *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	c = exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), "HISTORY_TEST_CHILD="+role, "HISTORY_TEST_DSN="+dsn)
	c.SysProcAttr = attr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err = c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c, bufio.NewScanner(out)
}

// TestKill9: what a process acknowledged before it was killed is there, once, and its database opens at once.
func TestKill9(t *testing.T) { // ancestor 42
	t.Parallel()
	path := filepath.Join(t.TempDir(), "h.db")
	for range 3 {
		writer, lines := start(t, "write", path, nil)
		var acknowledged []string
		for len(acknowledged) < 100 && lines.Scan() {
			id, ok := strings.CutPrefix(lines.Text(), "stored ")
			if !ok {
				t.Fatalf("the writer says: %s", lines.Text())
			}
			acknowledged = append(acknowledged, id)
		}
		if err := writer.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it still said before it died
			if id, ok := strings.CutPrefix(lines.Text(), "stored "); ok {
				acknowledged = append(acknowledged, id)
			}
		}
		_ = writer.Wait()
		d := mustOpen(t, path, Options{})
		for _, id := range acknowledged {
			if _, err := d.Record(context.Background(), id); err != nil {
				t.Fatalf("an acknowledged record: %v", err)
			}
		}
		for i := range 10 {
			task := name("task", i)
			totals, err := d.Totals(context.Background(), job.Ref("g", task))
			days, err2 := d.Stats(context.Background(), job.StatsFilter{Group: "g", Task: task})
			n := int64(len(all(t, d, job.RecordFilter{Task: task})))
			if err != nil || err2 != nil || totals[job.Ref("g", task)].Count[job.Success] != n || days[0].Count[job.Success] != n {
				t.Errorf("%s: %d records, statistics say %v and %v, %v %v", task, n, totals, days, err, err2)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecondMasterIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "h.db")
	holder, lines := start(t, "hold", path, nil)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("the first master says: %s", lines.Text())
	}
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, dsn := range []string{path, "sqlite:" + path, link} {
		_, err := Open(context.Background(), dsn, Options{})
		wantCode(t, err, job.CodeConflict)
		for _, s := range []string{path, fmt.Sprintf("pid %d", holder.Process.Pid), "PostgreSQL"} {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%v does not say %q", err, s)
			}
		}
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	d := mustOpen(t, path, Options{})
	_, err := Open(context.Background(), path, Options{})
	wantCode(t, err, job.CodeConflict) // in the same process too
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path, Options{})
}

// A process that is being forked while the history closes has a copy of every descriptor until it executes its program: it does not keep the lock.
func TestTheLockGoesWithTheHistory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "h.db")
	d := mustOpen(t, path, Options{})
	fd, err := syscall.Dup(int(d.file.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path, Options{})
}

func TestNewerSQLiteIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "h.db")
	d := mustOpen(t, path, Options{})
	if _, err := d.write.Exec("INSERT INTO rota_schema (version_id, is_applied) VALUES (99, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	before := sum(t, path)
	_, err := Open(context.Background(), path, Options{})
	wantCode(t, err, job.CodeConflict)
	if !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), fmt.Sprintf("up to %d", newestVersion())) {
		t.Errorf("%v does not say the versions", err)
	}
	if sum(t, path) != before {
		t.Error("the file was changed")
	}
}

func sum(t *testing.T, path string) [32]byte {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

func TestWhatIsNoHistoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, foreign := filepath.Join(dir, "notes.txt"), filepath.Join(dir, "foreign.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec("CREATE TABLE songs (id INTEGER)"); err != nil {
		t.Fatal(err)
	}
	other.Close()
	for _, c := range []struct {
		dsn  string
		code job.Code
		says string
	}{
		{"", job.CodeInvalid, "no history database is named"},
		{"sqlite:", job.CodeInvalid, "names no file"},
		{":memory:", job.CodeInvalid, "memory"},
		{"mysql://u:p@host/db", job.CodeInvalid, `"mysql" is not supported`},
		{text, job.CodeInvalid, "is not an SQLite database"},
		{foreign, job.CodeConflict, "another program"},
		{dir, job.CodeUnavailable, "directory"},
		{filepath.Join(dir, "absent", "h.db"), job.CodeInvalid, "there is no directory"},
	} {
		_, err := Open(context.Background(), c.dsn, Options{})
		wantCode(t, err, c.code)
		if !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v does not say %q", c.dsn, err, c.says)
		}
	}
	if b, err := os.ReadFile(text); err != nil || !strings.HasPrefix(string(b), "not a database\nnot a") {
		t.Errorf("the text file was changed: %v", err)
	}
}

// TestNoPermission opens as a user who may not write.
func TestNoPermission(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	dir, err := os.MkdirTemp("", "history")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"new.db", "there.db"} {
		path = filepath.Join(dir, path)
		if strings.HasSuffix(path, "there.db") {
			mustOpen(t, path, Options{}).Close()
		}
		c, lines := start(t, "open", path, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
		var said []string
		for lines.Scan() {
			said = append(said, lines.Text())
		}
		_ = c.Wait()
		if got := strings.Join(said, "\n"); !strings.HasPrefix(got, "forbidden: ") || !strings.Contains(got, "uid 65534 must be able") {
			t.Errorf("without permission for %s: %q", path, got)
		}
	}
}

// TestFilePathsAndModes: any path works, and nobody else can read the file.
func TestFilePathsAndModes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "it's 100% a?b#c&d=e.db")
	d := mustOpen(t, path, Options{})
	insert(t, d, record(job.Ref("g", "t"), "a", job.Success, epoch))
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		st, err := os.Stat(path + suffix)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, mode %v, want 0600", filepath.Base(path)+suffix, err, st.Mode())
		}
	}
	var mode, sync string
	if err := d.write.QueryRow("SELECT (SELECT journal_mode FROM pragma_journal_mode), (SELECT synchronous FROM pragma_synchronous)").Scan(&mode, &sync); err != nil || mode != "wal" || sync != "2" {
		t.Errorf("journal_mode %s, synchronous %s, %v; want wal and 2 (FULL)", mode, sync, err)
	}
}

// TestFileThatVanishes: commits into a file that nobody will find again are not acknowledged.
func TestFileThatVanishes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "h.db")
	d := mustOpen(t, path, Options{})
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	_, err := d.Insert(context.Background(), []job.ExecutionRecord{record(job.Ref("g", "t"), "a", job.Success, epoch)})
	wantCode(t, err, job.CodeUnavailable)
	wantCode(t, d.Ping(context.Background()), job.CodeUnavailable)
	if err := os.Rename(path+".old", path); err != nil {
		t.Fatal(err)
	}
	insert(t, d, record(job.Ref("g", "t"), "a", job.Success, epoch))
}

// TestFullDisk: a commit that finds no room fails, nothing of it stays, and writing goes on when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	d := openSQLite(t, Options{})
	ref := job.Ref("g", "t")
	insert(t, d, record(ref, "first", job.Success, epoch))
	var pages int
	if err := d.write.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		if _, err := d.write.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages + 1)
	big := record(ref, "big", job.Success, epoch.Add(time.Minute))
	big.Output = strings.Repeat("x", 100_000)
	_, err := d.Insert(context.Background(), []job.ExecutionRecord{big})
	wantCode(t, err, job.CodeUnavailable)
	if ids := all(t, d, job.RecordFilter{}); len(ids) != 1 {
		t.Errorf("records after a full disk: %v", ids)
	}
	limit(1 << 30)
	recs := []job.ExecutionRecord{big}
	if _, err := d.Insert(context.Background(), recs); err != nil || recs[0].Number != 2 {
		t.Errorf("after there is room again: number %d, %v, want 2", recs[0].Number, err)
	}
}
