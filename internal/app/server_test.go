package app

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// log is what a server says.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// boot starts a server, waits until it is ready, and closes it at the end of the test.
func boot(t *testing.T, cfg ServerConfig) (*Server, *log) {
	t.Helper()
	out := &log{}
	s, err := Start(t.Context(), cfg, out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s, out
}

func alone(data string) ServerConfig {
	return ServerConfig{Role: RoleUp, Data: data, Listen: "127.0.0.1:0", Name: "n1"}
}

// descriptors are the files that this process has open below a folder.
func descriptors(t *testing.T, below string) (open []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, below) {
			open = append(open, to)
		}
	}
	return open
}

// busy tells whether a line is etcd's word on a machine that has much else to do.
func busy(line string) bool {
	return strings.Contains(line, "etcd: ") &&
		(strings.Contains(line, "took too long") || strings.Contains(line, "slow fdatasync") || strings.Contains(line, "overloaded"))
}

// A fresh start, a restart and their stops say nothing that worries anybody, and leave no file open and no
// temporary file behind. That no goroutine stays is checked after all tests.
func TestStartAndStopAreClean(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	var token []byte
	for life := range 2 {
		s, out := boot(t, alone(data))
		if len(descriptors(t, data)) == 0 {
			t.Error("no file of the data folder is open, which the check below relies on")
		}
		for range 2 { // the second time does nothing
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		for line := range strings.Lines(out.String()) {
			if (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) && !busy(line) {
				t.Errorf("life %d: %s", life, line)
			}
		}
		if open := descriptors(t, data); len(open) > 0 {
			t.Errorf("life %d: %v are still open", life, open)
		}
		if _, err := net.DialTimeout("tcp", s.listener.Addr().String(), time.Second); err == nil {
			t.Error("it still listens")
		}
		left, err := filepath.Glob(filepath.Join(data, "*.*[0-9]"))
		if err != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, err)
		}
		b, err := os.ReadFile(filepath.Join(data, "admin.token"))
		if err != nil || life > 0 && !bytes.Equal(b, token) {
			t.Errorf("the token was %q and is %q, %v", token, b, err)
		}
		token = b
	}
}

// Runs that are alive at the stop are ended, and their records are in history before the database is closed.
func TestStopRecordsWhatRan(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s, _ := boot(t, alone(data))
	ref := job.Ref("", "hang")
	if _, err := s.apply(t.Context(), job.Documents{Tasks: []job.Task{{Name: "hang", Command: job.Args("sleep", "600")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.master.Run(t.Context(), client.RunRequest{Task: ref}); err != nil {
		t.Fatal(err)
	}
	await(t, "it runs", func() bool {
		list, err := s.master.Processes(t.Context(), client.JobFilter{})
		return err == nil && len(list) == 1
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ = boot(t, alone(data))
	page, err := s.history.Records(t.Context(), job.RecordFilter{Group: ref.Group, Task: ref.Name})
	if err != nil || len(page.Records) != 1 || page.Records[0].Outcome != job.Killed || page.Records[0].Number != 1 {
		t.Errorf("%+v, %v", page.Records, err)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// A master and two nodes on one etcd start and stop in any order.
func TestPartsStartAndStop(t *testing.T) {
	t.Parallel()
	etcd, err := store.Embed(t.Context(), store.EmbedOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Close() })
	m, _ := boot(t, ServerConfig{Role: RoleMaster, Data: t.TempDir(), Listen: "127.0.0.1:0", Name: "m", Etcd: etcd.ClientURLs(), Lease: 2 * time.Second})
	n1, _ := boot(t, ServerConfig{Role: RoleNode, Data: t.TempDir(), Name: "n1", Etcd: etcd.ClientURLs(), Lease: 2 * time.Second})
	n2, _ := boot(t, ServerConfig{Role: RoleNode, Data: t.TempDir(), Listen: "127.0.0.1:0", Name: "n2", Etcd: etcd.ClientURLs(), Lease: 2 * time.Second})
	await(t, "both nodes are on line", func() bool { return m.master.Status(t.Context()).Online == 2 })

	// A third one that calls itself n1 ends with the reason; the first one goes on.
	twin, err := Start(t.Context(), ServerConfig{Role: RoleNode, Data: t.TempDir(), Name: "n1", Etcd: etcd.ClientURLs(), Lease: 2 * time.Second}, &log{})
	if err != nil {
		t.Fatal(err)
	}
	if err := twin.Wait(t.Context()); !job.IsConflict(err) || !strings.Contains(err.Error(), "node n1 is registered by another process") {
		t.Error(err)
	}
	if err := twin.Close(); err != nil {
		t.Errorf("what was told once is told again: %v", err)
	}
	if err := n1.agent.Ready(); err != nil {
		t.Error(err)
	}
	for _, s := range []*Server{n1, m, n2} { // n2 outlives the master
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What fails on the way leaves nothing open.
func TestFailedStartIsClean(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	cfg := alone(data)
	cfg.DB = "sqlite:" + filepath.Join(data, "no", "such", "folder.db")
	if _, err := Start(t.Context(), cfg, &log{}); job.CodeOf(err) != job.CodeInvalid {
		t.Error(err)
	}
	if open := descriptors(t, data); len(open) > 0 {
		t.Errorf("%v are still open", open)
	}
	boot(t, alone(data))
}
