package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// asking is a master as the node sees it: it takes one log from 1:0 on, and sometimes breaks a call off after it took the batch.
type asking struct {
	*httptest.Server
	mu    sync.Mutex
	text  bytes.Buffer
	at    job.LogPosition
	calls int
	gone  bool
	more  chan struct{} // receives at each call
}

func newAsking(t *testing.T) *asking {
	m := &asking{at: job.LogPosition{Attempt: 1}, more: make(chan struct{}, 1)}
	m.Server = httptest.NewUnstartedServer(http.HandlerFunc(m.take))
	m.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	m.StartTLS()
	t.Cleanup(m.Close)
	return m
}

func (m *asking) take(w http.ResponseWriter, r *http.Request) {
	var b job.LogBatch
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil || r.Header.Get("Authorization") != "Bearer secret" || r.URL.Path != job.LogPath+"f1" {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() {
		select {
		case m.more <- struct{}{}:
		default:
		}
	}()
	m.calls++
	if b.At == m.at {
		for _, c := range b.Chunks {
			m.text.Write(c.Data)
			m.at.Offset = c.End()
		}
		if b.Complete || b.Missing && b.Next > 0 {
			m.at = job.LogPosition{Attempt: m.at.Attempt + 1}
		}
		m.gone = b.Gone
	}
	if m.calls%4 == 3 {
		panic(http.ErrAbortHandler)
	}
	_ = json.NewEncoder(w).Encode(job.LogWanted{At: m.at})
}

// until waits until the node has sent what it should.
func (m *asking) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		m.mu.Lock()
		done := ok()
		m.mu.Unlock()
		if done {
			return
		}
		select {
		case <-m.more:
		case <-late:
			t.Fatalf("it never happened: %s; %d bytes up to %s in %d calls", what, m.text.Len(), m.at, m.calls)
		}
	}
}

func (m *asking) pin() string {
	sum := sha256.Sum256(m.Certificate().Raw)
	return hex.EncodeToString(sum[:])
}

// agent lives until the returned function is called.
func agentWithLogs(t *testing.T, s *store.Store, dir string, logs *runlog.Dir) (end func()) {
	t.Helper()
	a, err := New(Options{
		ID: "n1", Dir: dir, Store: s, Runner: &doubleRunner{}, Logs: logs, BootID: "boot", Lease: 2 * time.Second,
		SinceBoot: func() time.Duration { return time.Since(epoch) }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	end = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(end)
	return end
}

func followed(t *testing.T, s *store.Store, f *job.Follow) {
	t.Helper()
	a, err := s.Announce(t.Context(), store.Master{ID: "m1"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Follow(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// A master that asks gets the whole log, once, while it is written: over addresses that are dead, calls that break off, attempts, and a new
// life of the agent.
func TestLogIsSentToTheMasterThatAsks(t *testing.T) {
	t.Parallel()
	mem := store.NewMemory(store.MemoryOptions{})
	s := mem.Store()
	t.Cleanup(func() { _ = s.Close(); _ = mem.Close() })
	m := newAsking(t)
	logs, err := runlog.Open(runlog.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	w, err := logs.Create(runlog.ID{Run: "r1", Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	write := func(from, to int) {
		for i := from; i < to; i++ {
			line := fmt.Sprintf("line %d %s \x00\xff\n", i, strings.Repeat("x", 100))
			want.WriteString(line)
			w.Write(job.Stdout, time.Now(), []byte(line))
		}
	}
	write(0, 5000)
	dir := t.TempDir()
	followed(t, s, &job.Follow{
		ID: "f1", Node: "n1", Run: "r1", Master: "m1", URLs: []string{"http://127.0.0.1:1", m.URL}, Token: "secret", Pin: m.pin(),
	})
	end := agentWithLogs(t, s, dir, logs)
	m.until(t, "what was written is sent", func() bool { return m.text.Len() == want.Len() })
	end()
	write(5000, 6000)
	agentWithLogs(t, s, dir, logs)
	m.until(t, "the next life goes on", func() bool { return m.text.Len() == want.Len() })
	write(6000, 6100)
	m.until(t, "what comes is sent", func() bool { return m.text.Len() == want.Len() })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m.until(t, "the end is told", func() bool { return m.at.Attempt == 2 })
	if w, err = logs.Create(runlog.ID{Run: "r1", Attempt: 3}); err != nil {
		t.Fatal(err)
	}
	write(0, 10)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m.until(t, "an attempt without a log is passed over, and the end told", func() bool { return m.at.Attempt == 4 && m.gone })
	if !bytes.Equal(m.text.Bytes(), want.Bytes()) {
		t.Errorf("%d bytes came of %d, and they differ", m.text.Len(), want.Len())
	}
}

// A node sends nothing to whoever does not show the certificate that the master named.
func TestLogIsSentToTheRightMasterAlone(t *testing.T) {
	t.Parallel()
	m := newAsking(t)
	for _, pin := range []string{"", strings.Repeat("0", 64)} {
		c := newCaller(&job.Follow{ID: "f1", URLs: []string{m.URL}, Token: "secret", Pin: pin})
		if _, err := c.call(t.Context(), &job.LogBatch{}); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("pin %q: %v", pin, err)
		}
		c.hangUp()
	}
	c := newCaller(&job.Follow{ID: "f1", URLs: []string{m.URL}, Token: "secret", Pin: m.pin()})
	defer c.hangUp()
	if at, err := c.call(t.Context(), &job.LogBatch{}); err != nil || at.At.Attempt != 1 || m.calls != 1 {
		t.Errorf("%v, %v after %d calls", at, err, m.calls)
	}
	for _, url := range []string{"", "ftp://x", "unix:///run/rota", "http://"} {
		c := newCaller(&job.Follow{ID: "f1", URLs: []string{url}})
		if _, err := c.call(t.Context(), &job.LogBatch{}); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%q: %v", url, err)
		}
	}
}
