package ways

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what must happen soon.
const patience = 30 * time.Second

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func newRunner(t *testing.T, o Options) *Runner {
	t.Helper()
	r := New(o)
	t.Cleanup(func() {
		r.KillAll("the end of the test")
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// newSecrets makes a folder of secrets.
func newSecrets(t *testing.T, values map[string]string) secrets.Dir {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, v := range values {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return secrets.Dir(dir)
}

// variables are those that a node gives every run.
func variables() []string {
	return []string{"ROTA_TASK=hook", "ROTA_GROUP=shop", "ROTA_JOB=j", "ROTA_RUN=run1", "ROTA_NODE=n1", "ROTA_ATTEMPT=2",
		"ROTA_INSTANT=2026-12-01T10:00:00Z", "ROTA_FENCE=77"}
}

func start(t *testing.T, r *Runner, e job.Exec) job.Execution {
	t.Helper()
	if e.Run == "" {
		e.Run, e.Attempt, e.Env = "run1", 2, append(e.Env, variables()...)
	}
	x, err := r.Start(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func wait(t *testing.T, x job.Execution) job.Exit {
	t.Helper()
	select {
	case <-x.Done():
		return x.Exit()
	case <-time.After(patience):
		x.KillNow("the test")
		t.Fatal("it does not end")
		return job.Exit{}
	}
}
