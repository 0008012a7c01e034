//go:build linux

package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

func TestResult(t *testing.T) {
	users := []string{""}
	if os.Geteuid() == 0 {
		users = append(users, "nobody")
	}
	r := newRunner(t, Options{})
	for _, user := range users {
		for line, want := range map[string]struct{ result, note string }{
			`true`:                                     {},
			`: >$ROTA_RESULT`:                          {},
			`echo ' {"a": [1]}' >$ROTA_RESULT`:         {result: `{"a": [1]}`},
			`echo '{' >$ROTA_RESULT`:                   {note: "is not JSON"},
			`head -c 65537 /dev/zero >$ROTA_RESULT`:    {note: "it has 65537 bytes, at most 65536 are kept"},
			`mkdir $ROTA_RESULT; echo >$ROTA_RESULT/x`: {note: "is not a file of user"},
			`ln -s /etc/passwd $ROTA_RESULT`:           {note: "is a symbolic link"},
			`mkfifo $ROTA_RESULT`:                      {note: "is not a file of user"},
		} {
			e := sh(line + " 2>/dev/null")
			e.User = user
			x := run(t, r, e)
			if line != `mkdir $ROTA_RESULT; echo >$ROTA_RESULT/x` && x.Outcome != job.Success {
				t.Errorf("%q as %q: %+v\n%s", line, user, x, x.Output)
			}
			if string(x.Result) != want.result || !strings.Contains(x.Reason, want.note) || want.note == "" && x.Reason != "" {
				t.Errorf("%q as %q: result %q, reason %q", line, user, x.Result, x.Reason)
			}
		}
	}
	for _, dir := range []string{r.results.dir, r.results.foreign} {
		if left, err := filepath.Glob(dir + "/user-*/*"); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	// A failure keeps its result.
	if x := run(t, r, sh("echo 1 >$ROTA_RESULT; exit 4")); string(x.Result) != "1" || x.Reason != "exit status 4" {
		t.Errorf("got %+v", x)
	}
}

// Other users reach their results also where the runner's directory is closed to them, and what an earlier life left
// is removed.
func TestResultsOfOtherUsersElsewhere(t *testing.T) {
	needsRoot(t)
	home := t.TempDir()
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	first, err := New(Options{Dir: home + "/run"})
	if err != nil {
		t.Fatal(err)
	}
	e := sh("echo 1 >$ROTA_RESULT")
	e.User = "nobody"
	if x := run(t, first, e); string(x.Result) != "1" {
		t.Errorf("got %+v", x)
	}
	old := first.results.foreign
	if st, err := os.Stat(old); err != nil || strings.HasPrefix(old, home) || st.Mode().Perm() != 0o711 {
		t.Errorf("%s: %v", old, err)
	}
	second := newRunner(t, Options{Dir: home + "/run"}) // as if the first had been killed
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("%s of the earlier life is still there: %v", old, err)
	}
	if x := run(t, second, e); string(x.Result) != "1" {
		t.Errorf("got %+v", x)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}
