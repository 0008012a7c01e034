package schedule_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/schedule"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected texts in testdata")

// report is what an operator sees of an expression.
func report(expr string) string {
	loc, _ := schedule.LoadLocation("Europe/Berlin")
	from := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	s, err := schedule.Parse(expr, schedule.Options{Location: loc, Seed: "nightly-backup"})
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	b.WriteString(s.String() + "\n" + s.Describe() + "\n")
	at := from
	for range 3 {
		if at = s.Next(at); at.IsZero() {
			break
		}
		b.WriteString("  " + at.In(s.Location()).Format("Mon 2006-01-02 15:04:05 -0700") + "\n")
	}
	for _, w := range s.Warnings(from) {
		b.WriteString("! " + w + "\n")
	}
	return b.String()
}

// The files of testdata hold an expression a paragraph, after "> ", and what is said of it. -rewrite writes them anew.
func TestReports(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"timers.txt", "warnings.txt", "errors.txt"} {
		path := filepath.Join("testdata", name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for paragraph := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n\n") {
			first, _, _ := strings.Cut(paragraph, "\n")
			expr := strings.TrimPrefix(first, "> ")
			expr = strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(expr)
			text := first + "\n" + report(expr) + "\n"
			if !strings.Contains(string(data), text) && !*rewrite {
				t.Errorf("%s now says\n%s", name, text)
			}
			got.WriteString(text)
		}
		if *rewrite {
			if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Positions are byte offsets of exactly what is wrong.
func TestErrorPositions(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]struct{ field, at string }{
		"0 0 * * MONN":                    {"day of week", "MONN"},
		"0 0,60-5 * * *":                  {"hour", "60"},
		"\t 0  25   * * *":                {"hour", "25"},
		"@daily; 0 0 * JANN *":            {"month", "JANN"},
		"0 0 * * *\n@every x":             {"@every", "x"},
		"CRON_TZ=Europe/Berlim 0 0 * * *": {"time zone", "Europe/Berlim"},
		"@at 2026-12-01, 2026-12-32":      {"@at", "2026-12-32"},
		"0 0 1,2,0W * *":                  {"day of month", "0W"},
		"0 0 * * MON#7":                   {"day of week", "7"},
	} {
		_, err := schedule.Parse(expr, schedule.Options{})
		var e *schedule.ParseError
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", expr, err)
			continue
		}
		if got := e.Expr[e.Pos : e.Pos+e.Len]; got != want.at || e.Field != want.field || e.Found != want.at {
			t.Errorf("%q: %s at %q, want %s at %q", expr, e.Field, got, want.field, want.at)
		}
	}
}

func TestEveryFaultIsReported(t *testing.T) {
	t.Parallel()
	_, err := schedule.ParseAll([]string{"60 24 0 13 8", "@daily", "@dayly; @every 0s"}, schedule.Options{})
	var got []string
	for _, e := range schedule.Errors(err) {
		got = append(got, e.Field)
	}
	if want := "minute, hour, day of month, month, day of week, timer, @every"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if list := schedule.Errors(err); list[5].Index != 2 {
		t.Errorf("the fault of the third expression is said to be in number %d", list[5].Index)
	}
}

func TestInputIsBounded(t *testing.T) {
	t.Parallel()
	for name, expr := range map[string]string{
		"a long timer":     strings.Repeat("1,", 3000) + "1 * * * *",
		"many timers":      strings.Repeat("@daily;", 65),
		"a huge text":      strings.Repeat("x", 1<<20),
		"blanks":           strings.Repeat(" ", 1<<20),
		"many times":       "@at " + strings.TrimSuffix(strings.Repeat("2026-01-01,", 300), ","),
		"a huge number":    "0 0 * * 99999999999999999999999999",
		"a huge step":      "*/99999999999999999999 * * * *",
		"an endless every": "@every 9999999999999999999999w",
	} {
		if _, err := schedule.Parse(expr, schedule.Options{}); (err == nil) != (name == "many times") {
			t.Errorf("%s: %v", name, err)
		} else if err != nil && len(err.Error()) > 400 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
	if _, err := schedule.ParseAll(nil, schedule.Options{}); err == nil {
		t.Error("no timer at all is taken")
	}
}

func copyZone(t *testing.T, dir, from, to string) {
	t.Helper()
	data, err := schedule.EmbeddedZone(from)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, to)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
