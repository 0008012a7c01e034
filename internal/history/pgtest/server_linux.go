package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rota-dev/rota/test/port"
)

// Server is a PostgreSQL server. Its methods are for one goroutine, but for DSN and Database.
type Server struct {
	Password string // of the user postgres, who may do everything

	bin, dir string
	port     int
	args     []string
	cred     *syscall.Credential
	proc     *process
	mu       sync.Mutex
	created  int
}

// process is a running server.
type process struct {
	pid   int
	ready chan struct{} // closed when it takes connections
	done  chan struct{} // closed when it has ended
	log   *tail
}

// Start starts a server, which stops at the end of the test. Settings, such as fsync=on, are added to those that
// make tests quick. Where PostgreSQL is not installed, the test fails, or is skipped where the environment
// has ROTA_TEST_NO_POSTGRES=1.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	bin, err := find()
	if err != nil {
		if os.Getenv("ROTA_TEST_NO_POSTGRES") == "1" {
			t.Skipf("%v; skipped, for ROTA_TEST_NO_POSTGRES is set", err)
		}
		t.Fatalf("%v: install it (apt-get install postgresql), or set ROTA_TEST_NO_POSTGRES=1 to do without this test", err)
	}
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{bin: bin, dir: dir, Password: "pg-test-secret"}
	if err := s.create(); err != nil {
		t.Fatal(err)
	}
	s.args = []string{"-D", filepath.Join(dir, "data"), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" + dir, "-c", "fsync=off",
		"-c", "full_page_writes=off", "-c", "shared_buffers=32MB", "-c", "max_connections=50", "-c", "lc_messages=C"}
	for _, v := range settings {
		s.args = append(s.args, "-c", v)
	}
	_, number, _ := net.SplitHostPort(port.Must(t))
	if s.port, err = strconv.Atoi(number); err != nil {
		t.Fatal(err)
	}
	if err = s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(syscall.SIGINT) })
	return s
}

// find looks for the programs of the newest PostgreSQL, where Debian has them or in the PATH.
func find() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return major(b) - major(a) })
	if len(found) > 0 {
		return filepath.Dir(found[0]), nil
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p), nil
	}
	return "", errors.New("PostgreSQL's server programs are not installed")
}

func major(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4])
	return n
}

// create makes the cluster. PostgreSQL refuses root, who becomes postgres or nobody.
func (s *Server) create() error {
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			if u, err = user.Lookup("nobody"); err != nil {
				return err
			}
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
		s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(s.Password+"\n"), 0o644); err != nil {
		return err
	}
	c := exec.Command(filepath.Join(s.bin, "initdb"), "-D", filepath.Join(s.dir, "data"), "-U", "postgres", "-A", "scram-sha-256",
		"--pwfile", password, "-E", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	c.Dir, c.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.cred}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// start starts the server and waits until it takes connections. It dies with this process: the signal for that
// hangs on the thread that started it, which is kept until it ends.
func (s *Server) start() error {
	p := &process{ready: make(chan struct{}), done: make(chan struct{}), log: &tail{}}
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		c := exec.Command(filepath.Join(s.bin, "postgres"), append(slices.Clone(s.args), "-c", "port="+strconv.Itoa(s.port))...)
		c.Dir, c.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.cred, Pdeathsig: syscall.SIGQUIT}
		stderr, err := c.StderrPipe()
		if err == nil {
			err = c.Start()
		}
		if err == nil {
			p.pid = c.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		p.watch(stderr)
		_ = c.Wait()
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	s.proc = p
	select {
	case <-p.ready:
		return nil
	case <-p.done:
		return fmt.Errorf("postgres ended at once:\n%s", p.log)
	case <-time.After(time.Minute):
		s.stop(syscall.SIGQUIT)
		return fmt.Errorf("postgres is not ready after a minute:\n%s", p.log)
	}
}

// watch reads the log until the server ends.
func (p *process) watch(stderr io.Reader) {
	ready := false
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		p.log.add(lines.Text())
		if !ready && strings.Contains(lines.Text(), "ready to accept connections") {
			ready = true
			close(p.ready)
		}
	}
}

func (s *Server) stop(sig syscall.Signal) {
	if s.proc == nil {
		return
	}
	_ = syscall.Kill(s.proc.pid, sig)
	<-s.proc.done
	s.proc = nil
}

// Stop ends the server; connections are cut. Its port stays reserved for Restart by luck alone.
func (s *Server) Stop() { s.stop(syscall.SIGINT) }

// Crash ends the server as a loss of its machine would: nothing is written any more.
func (s *Server) Crash() { s.stop(syscall.SIGQUIT) }

// Restart starts the server again, on the same port with the same data.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// DSN is the address of a database, as a user with a password; the superuser is postgres.
func (s *Server) DSN(user, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Database creates an empty database and returns its address, as superuser.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created++
	name := "test" + strconv.Itoa(s.created)
	s.Exec(t, "postgres", "CREATE DATABASE "+name)
	return s.DSN("postgres", s.Password, name)
}

// Exec executes statements in a database, as superuser.
func (s *Server) Exec(t testing.TB, database string, statements ...string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.DSN("postgres", s.Password, database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// tail keeps the last lines of a log.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
	if len(t.lines) > 50 {
		t.lines = t.lines[1:]
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
