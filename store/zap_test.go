package store

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// syncBuffer is a buffer that several goroutines may write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestMemberStartsAndStopsQuietly(t *testing.T) {
	t.Parallel()
	var out syncBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	dir := filepath.Join(t.TempDir(), "etcd")
	for range 2 { // a new one, and one that was there before
		srv, err := Embed(t.Context(), EmbedOptions{Dir: dir, Logger: log, unsafeNoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, "took too long") && !strings.Contains(line, "slow fdatasync") && !strings.Contains(line, "overloaded") { // of a busy machine
			t.Error(line)
		}
	}
}

func TestOnlyHarmlessMessagesAreQuiet(t *testing.T) {
	t.Parallel()
	var out syncBuffer
	z := zapTo(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	const serving = "setting up serving from embedded etcd failed."
	for _, c := range []struct {
		message string
		err     error
		want    string
	}{
		{serving, errors.New("accept unix client.sock: use of closed network connection"), "DEBUG"},
		{serving, errors.New("accept unix client.sock: too many open files"), "WARN"},
		{"simple token is not cryptographically signed", nil, "DEBUG"},
		{"failed to update storage version", errors.New("the disk is full"), "WARN"},
		{"apply request took too long", nil, "WARN"},
		{"d3c357c5594b1ec0 cannot campaign at term 2 since there are still pending configuration changes to apply", nil, "DEBUG"},
	} {
		z.Warn(c.message, zap.Error(c.err))
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := lines[len(lines)-1]; !strings.Contains(last, "level="+c.want+" ") || !strings.Contains(last, c.message) {
			t.Errorf("%s, %v: %s; want it as %s", c.message, c.err, last, c.want)
		}
	}
}

func TestTheEndOfEtcdIsExplained(t *testing.T) {
	t.Parallel()
	var out syncBuffer
	z := zapTo(slog.New(slog.NewTextHandler(&out, nil))).WithOptions(zap.WithFatalHook(zapcore.WriteThenGoexit))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		z.Fatal("failed to commit tx", zap.Error(syscall.ENOSPC))
	}()
	<-ended
	for _, want := range []string{"failed to commit tx", "no space left on device", "this process ends with it", "making room"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q: %s", want, out.String())
		}
	}
}
