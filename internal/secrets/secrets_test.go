//go:build unix

package secrets_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/job"
)

func folder(t *testing.T, values map[string]string) secrets.Dir {
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

func TestASecretIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"plain": "v", "line": "v\n", "windows": "v\r\n", "lines": "a\nb\n", "blank": " v "})
	for name, want := range map[string]string{"plain": "v", "line": "v", "windows": "v", "lines": "a\nb", "blank": " v "} {
		if got, err := dir.Read(name); err != nil || got != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(string(dir), "plain"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := dir.Read("plain"); err != nil || got != "new" {
		t.Errorf("after a change: %q %v", got, err)
	}
}

// ancestor 64
func TestWhatOthersCanReadIsNoSecret(t *testing.T) {
	t.Parallel()
	for mode, want := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o620: false, 0o601: false} {
		dir := folder(t, map[string]string{"s": "the-value"})
		if err := os.Chmod(filepath.Join(string(dir), "s"), mode); err != nil {
			t.Fatal(err)
		}
		_, err := dir.Read("s")
		if (err == nil) != want || !want && (job.CodeOf(err) != job.CodeForbidden || !strings.Contains(err.Error(), "chmod 600")) {
			t.Errorf("mode %o: %v", mode, err)
		}
		if err != nil && strings.Contains(err.Error(), "the-value") {
			t.Errorf("the value is in the error: %v", err)
		}
	}
	dir := folder(t, map[string]string{"s": "v"})
	if err := os.Chmod(string(dir), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Read("s"); job.CodeOf(err) != job.CodeForbidden || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a folder that others can list: %v", err)
	}
}

func TestASecretThatIsNotThere(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"empty": "\n", "large": strings.Repeat("x", 65<<10)})
	_, err := dir.Read("db-password")
	if path := filepath.Join(string(dir), "db-password"); job.CodeOf(err) != job.CodeNotFound || !strings.Contains(err.Error(), path+" does not exist") ||
		!strings.Contains(err.Error(), "install -m 600") {
		t.Error(err)
	}
	if _, err := secrets.Dir(filepath.Join(string(dir), "nowhere")).Read("a"); job.CodeOf(err) != job.CodeNotFound {
		t.Error(err)
	}
	for _, name := range []string{"empty", "large"} {
		if _, err := dir.Read(name); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"../empty", "/etc/shadow", "", ".", "a\x00b", "a/b"} { // ancestor 62
		if _, err := dir.Read(name); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// However the pieces fall, no value gets through, and nothing else is lost.
func TestMasking(t *testing.T) {
	t.Parallel()
	const value, other = `s3"cret/value+1`, "s3\"cret/other"
	m := &secrets.Masker{}
	m.Add(value)
	m.Add(other)
	m.Add("abc") // too short
	text := "a " + value + " b s3\"cret/val c czMiY3JldC92YWx1ZSsx s3%22cret%2Fvalue%2B1 s3\\\"cret/value+1 abc " + other + value + " s3\"c"
	want := "a [secret] b s3\"cret/val c [secret] [secret] [secret] abc [secret][secret] s3\"c"
	if got := m.String(text); got != want {
		t.Errorf("%s", got)
	}
	for size := 1; size < len(text); size++ {
		var b bytes.Buffer
		w := m.Writer(&b)
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil || b.String() != want {
			t.Fatalf("in pieces of %d: %v %s", size, err, &b)
		}
	}
	var none *secrets.Masker
	if none.String("x") != "x" || (&secrets.Masker{}).String("x") != "x" {
		t.Error("without values text changes")
	}
	var b bytes.Buffer
	w := m.Writer(&b)
	if _, err := w.Write([]byte("a line\n")); err != nil || b.String() != "a line\n" {
		t.Errorf("what can't begin a value is held back: %q %v", &b, err)
	}
}
