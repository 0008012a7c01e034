package history

import (
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

// TestClasses: each outcome and trigger has a number of its own, and a counter.
func TestClasses(t *testing.T) {
	t.Parallel()
	seen := make(map[int64]bool)
	for _, o := range job.Outcomes {
		for _, trigger := range triggers {
			c := classOf(o, trigger)
			if seen[c] || classOutcome(c) != o || classTrigger(c) != trigger {
				t.Errorf("%s by %s has class %d, which is %s by %s", o, trigger, c, classOutcome(c), classTrigger(c))
			}
			seen[c] = true
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"postgres://u:secret@h/db?sslmode=require", "postgres://u@h/db?password=secret&sslmode=require", "postgres://u:secret@h:x/db"} {
		if got := Redact(dsn); strings.Contains(got, "secret") || !strings.HasPrefix(got, "postgres:") {
			t.Errorf("Redact(%q) = %q", dsn, got)
		}
	}
	for _, dsn := range []string{"sqlite:/var/lib/rota/h.db", "/var/lib/rota/h.db"} {
		if got := Redact(dsn); got != dsn {
			t.Errorf("Redact(%q) = %q", dsn, got)
		}
	}
}

// FuzzCursor: what a client sends as a cursor is a place, or refused, and each place has one cursor.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "x", first.cursor(), place{}.cursor(), place{-1, 1}.cursor(), place{}.cursor() + "="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseCursor(s)
		switch {
		case err != nil:
			if job.CodeOf(err) != job.CodeInvalid {
				t.Fatalf("%q: %v", s, err)
			}
		case s != "" && p.cursor() != s:
			t.Fatalf("%q is %+v, whose cursor is %q", s, p, p.cursor())
		}
	})
}
