package schedule_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/schedule"
)

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"timers", "warnings", "errors"} {
		data, err := os.ReadFile("testdata/" + name + ".txt")
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if expr, ok := strings.CutPrefix(line, "> "); ok {
				f.Add(strings.TrimSuffix(expr, "\n"), "seed", int64(1_800_000_000))
			}
		}
	}
	loc, err := schedule.LoadLocation("America/Sao_Paulo")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, expr, seed string, unix int64) {
		o := schedule.Options{Location: loc, Seed: seed}
		s, err := schedule.Parse(expr, o)
		if err != nil {
			list := schedule.Errors(err)
			if len(list) == 0 {
				t.Fatalf("%q: %v is not a ParseError", expr, err)
			}
			for _, e := range list {
				if e.Pos < 0 || e.Len < 0 || e.Pos+e.Len > len(e.Expr) || e.Allowed == "" || e.Field == "" {
					t.Fatalf("%q: %+v", expr, e)
				}
			}
			return
		}
		at := time.Unix(unix, 0)
		if next := s.Next(at); !next.IsZero() {
			if !next.After(at) || s.Prev(next).After(at) || !s.Prev(next.Add(1)).Equal(next) {
				t.Fatalf("%q after %v: %v", expr, at, next)
			}
		}
		again, err := schedule.Parse(s.String(), o)
		if err != nil || !again.Equal(s) {
			t.Fatalf("%q in normal form %q reads as %v, %v", expr, s, again, err)
		}
		s.Describe()
		s.Warnings(at)
	})
}

func FuzzRange(f *testing.F) {
	for _, text := range []string{"2026-12-25", "2026-12-24..2026-12-31", "2026-12-24T18:00..2026-12-25T06:00:01Z", "..", "0001-01-01..9999-12-31"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := schedule.ParseRange(text)
		if err != nil {
			return
		}
		if again, err := schedule.ParseRange(r.String()); err != nil || again != r {
			t.Fatalf("%q is written %q, which reads as %v, %v", text, r, again, err)
		}
		s, err := schedule.Parse("@hourly", schedule.Options{Window: schedule.Window{Exclude: []schedule.Range{r}}})
		if err != nil {
			t.Fatal(err)
		}
		s.Next(time.Unix(1_800_000_000, 0))
	})
}

func FuzzCalendar(f *testing.F) {
	f.Add(holidays)
	f.Add("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:00010101\nRRULE:FREQ=DAILY\nEND:VEVENT\nEND:VCALENDAR\n")
	f.Add("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:99991231T235959Z\nDURATION:P1000000W\nRRULE:FREQ=MONTHLY;INTERVAL=10000\nEND:VEVENT\nEND:VCALENDAR\n")
	f.Fuzz(func(t *testing.T, data string) {
		list, err := schedule.ReadCalendar(strings.NewReader(data), time.Unix(0, 0), time.Unix(2_000_000_000, 0))
		if err != nil {
			return
		}
		s, err := schedule.Parse("@hourly", schedule.Options{Window: schedule.Window{Exclude: list}})
		if err != nil {
			t.Fatal(err)
		}
		s.Next(time.Unix(1_800_000_000, 0))
	})
}
