package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rota-dev/rota/internal/guard"
)

func TestMain(m *testing.M) {
	if dir, ok := guard.Asked(); ok {
		if err := guard.Main(dir); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// What is measured with servers can be. Of the figures only their presence is looked at. The others are benchmarks and a test of other
// packages, see TestNamed.
func TestQuick(t *testing.T) {
	t.Chdir("../..") // as `make bench` runs it
	o, err := parse([]string{"-quick", "-only", "start,oneoff,burst,watch"})
	if err != nil {
		t.Fatal(err)
	}
	o.out = filepath.Join(t.TempDir(), "b.md")
	var log strings.Builder
	if err := run(t.Context(), o, io.Discard, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	text, err := os.ReadFile(o.out)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := before(strings.TrimSuffix(o.out, ".md") + ".json")
	if err != nil || kept == nil {
		t.Fatal(kept, err)
	}
	for _, key := range []string{
		"start/serving", "start/command", "bare/rate", "oneoff/rate", "oneoff/ratio", "oneoff/cpu", "burst/10/ratio", "burst/20/last", "burst/30/ratio", "burst/30/wrong",
		"watch/foreign", "watch/own",
	} {
		i := slices.IndexFunc(kept.Figures, func(f figure) bool { return f.Key == key })
		if i < 0 {
			t.Errorf("%s was not measured:\n%s", key, &log)
			continue
		}
		if f := kept.Figures[i]; !strings.Contains(string(text), "| "+f.What+" | "+f.value()+" |") {
			t.Errorf("%s (%s) is not in the report:\n%s", key, f.What, text)
		}
	}
}

// The benchmarks and tests that are run by their names are there.
func TestNamed(t *testing.T) {
	t.Parallel()
	for folder, names := range map[string][]string{
		"internal/node":    {"BenchmarkClock"},
		"internal/engine":  {"BenchmarkNodeLost", "BenchmarkTakeOver", "BenchmarkMemory"},
		"internal/history": {"BenchmarkPage", "BenchmarkLargeInsert", "BenchmarkInsertWhilePruning"},
		"test/cluster":     {"TestFailoverTimes"},
		"test/benchlib":    {"BenchmarkNext"},
	} {
		files, err := filepath.Glob(filepath.Join("../..", folder, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(folder, err)
		}
		var text strings.Builder
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(b)
		}
		for _, name := range names {
			if !strings.Contains(text.String(), "\nfunc "+name+"(") {
				t.Errorf("there is no %s in %s", name, folder)
			}
		}
	}
}

// A figure that got worse by more than its spread is marked, one that did not is not, and times of another machine are not compared.
func TestCompared(t *testing.T) {
	t.Parallel()
	of := func(key, unit string, g *goal, rounds ...float64) figure {
		return figure{Key: key, What: "what " + key, Unit: unit, Goal: g, Rounds: rounds}
	}
	last := &report{Date: "2026-01-01", Machine: "a", Figures: []figure{
		of("slower", "ms", atMost(100), 10, 11, 12), of("same", "ms", atMost(100), 10, 20, 30), of("share", "%", atLeast(90), 95, 95, 95),
		of("better", "%", atLeast(90), 70, 70, 70), of("unit", "s", nil, 1), of("little", "ms", nil, 100, 100, 100),
	}}
	now := []figure{
		of("slower", "ms", atMost(100), 20, 21, 22), of("same", "ms", atMost(100), 20, 30, 40), of("share", "%", atLeast(90), 80, 81, 82),
		of("better", "%", atLeast(90), 95, 95, 95), of("unit", "ms", nil, 1000), of("little", "ms", nil, 104, 104, 104), of("new", "ms", atMost(1), 2),
	}
	for machine, want := range map[string]map[string]string{
		"a": {"slower": "11|worse", "same": "20", "share": "95|worse|missed", "better": "70", "unit": "", "little": "100", "new": "missed"},
		"b": {"slower": "11", "same": "20", "share": "95|worse|missed", "better": "70", "unit": "", "little": "100", "new": "missed"},
	} {
		for key, words := range want {
			r := &report{Machine: machine, Figures: now}
			var row string
			for line := range strings.Lines(r.page(last)) {
				if strings.Contains(line, "| what "+key+" |") {
					row = line
				}
			}
			c := strings.Split(row, " | ")
			if len(c) != 6 {
				t.Fatalf("%s: %q", key, row)
			}
			value, rest, _ := strings.Cut(words, "|")
			if value == "missed" {
				value, rest = "", "missed"
			}
			if was := strings.TrimSuffix(c[4], " **worse**"); was != value {
				t.Errorf("%s on %s was %q, want %q", key, machine, was, value)
			}
			if strings.Contains(c[4], "worse") != strings.Contains(rest, "worse") || strings.Contains(c[3], "missed") != strings.Contains(rest, "missed") {
				t.Errorf("%s on %s: %s", key, machine, row)
			}
		}
	}
	if text := (&report{Figures: now}).page(nil); strings.Contains(text, "worse") {
		t.Error("worse than nothing")
	}
}

// What the benchmarks of Go print is read, whatever stands between.
func TestParseBench(t *testing.T) {
	t.Parallel()
	r := parseBench("goos: linux\nBenchmarkA/b-c=1-2   \t 100\t 1234 ns/op\t 5.5 B/entry\nBenchmarkA/b-c=1-2 90 1000 ns/op 6 B/entry\nBenchmarkLog\n" +
		"BenchmarkX prints something\n    a_test.go:1: BenchmarkY 1 2 z\nPASS\nBenchmarkOdd 1 2\n")
	if len(r) != 1 || !slices.Equal(r["A/b-c=1"]["ns/op"], []float64{1234, 1000}) || !slices.Equal(r["A/b-c=1"]["B/entry"], []float64{5.5, 6}) {
		t.Errorf("%v", r)
	}
	if list, err := r.of("A/b-c=1", "ns/op", 2); err != nil || !slices.Equal(list, []float64{617, 500}) {
		t.Error(list, err)
	}
	if _, err := r.of("A/b-c=1", "none", 1); err == nil {
		t.Error("what was not reported is given")
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	if o, err := parse([]string{"-only", "start,late", "-rounds", "3"}); err != nil || !slices.Equal(o.only, []string{"start", "late"}) || o.out != "-" || o.rounds != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := parse([]string{"-only", "start", "-o", "b.md"}); err != nil || o.out != "b.md" {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := parse([]string{"-only", "nothing"}); err == nil || !strings.Contains(err.Error(), "start oneoff") {
		t.Error(err)
	}
	if _, err := parse([]string{"-rounds", "0"}); err == nil || errors.Is(err, flag.ErrHelp) {
		t.Error(err)
	}
}

// What is kept is read again as it was.
func TestKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "b.md")
	r := &report{Date: "2026-01-01", Machine: "a", Rounds: 2, Figures: []figure{{Key: "k", What: "w", Unit: "%", Rounds: []float64{1, 2}, Goal: atLeast(2), Note: "n"}}}
	if err := r.write(path, io.Discard); err != nil {
		t.Fatal(err)
	}
	back, err := before(strings.TrimSuffix(path, ".md") + ".json")
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(r)
	b, _ := json.Marshal(back)
	if string(a) != string(b) {
		t.Errorf("%s\n%s", a, b)
	}
	if err := r.write(path, io.Discard); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "*Before* are the figures of 2026-01-01") {
		t.Errorf("%s %v", text, err)
	}
}

// Rows that were not measured anew are taken over, in their places, and say so.
func TestTaken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "b.md")
	row := func(key, of string, v float64) figure {
		return figure{Key: key, Of: of, What: key, Unit: "%", Rounds: []float64{v}}
	}
	all := &report{Date: "2026-01-01", Machine: "a", Figures: []figure{row("boot", "start", 1), row("old", "oneoff", 2), row("rate", "oneoff", 3), row("late", "late", 4)}}
	one := &report{Date: "2026-01-02", Machine: "a", Figures: []figure{row("rate", "oneoff", 5)}, only: []string{"oneoff"}}
	other := &report{Date: "2026-01-03", Machine: "b", Figures: []figure{row("rate", "oneoff", 6)}, only: []string{"oneoff"}}
	for _, c := range []struct {
		r    *report
		want string
	}{{all, "boot 1 old 2 rate 3 late 4"}, {one, "boot 1 rate 5 late 4"}, {other, "rate 6"}} {
		if err := c.r.write(path, io.Discard); err != nil {
			t.Fatal(err)
		}
		back, err := before(strings.TrimSuffix(path, ".md") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range back.Figures {
			got = append(got, f.Key, number(f.median()))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		text, err := os.ReadFile(path)
		if n := strings.Count(string(text), "not measured anew"); err != nil || c.r == one && n != 2 || c.r != one && n != 0 {
			t.Errorf("%s %v", text, err)
		}
	}
}

// What misses its goal in the figures that are published is explained there.
func TestMissesAreExplained(t *testing.T) {
	r, err := before("../../" + kept)
	if err != nil || r == nil {
		t.Fatal(r, err)
	}
	page, err := os.ReadFile("../../" + strings.TrimSuffix(kept, ".json") + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Figures {
		if why := reasons[f.Key]; !f.met() && (why == "" || !strings.Contains(string(page), why)) {
			t.Errorf("%s misses its goal (%s), and %s does not say why", f.Key, f.target(), kept)
		}
	}
}
