package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is a run of the command, and what is kept of it beside docs/benchmarks.md.
type report struct {
	Date     string            `json:"date"`
	Machine  string            `json:"machine"`
	Rounds   int               `json:"rounds"`
	Versions map[string]string `json:"versions"`
	Figures  []figure          `json:"figures"`

	only []string // the measurements that were taken; empty: all
}

// engines are the modules whose versions a figure depends on, and what people call them.
var engines = map[string]string{"go.etcd.io/etcd/server/v3": "etcd", "modernc.org/sqlite": "modernc.org/sqlite", "google.golang.org/grpc": "grpc"}

// newReport says when and where, and with what the program was built.
func newReport(bin string, rounds int) (*report, error) {
	info, err := buildinfo.ReadFile(bin)
	if err != nil {
		return nil, err
	}
	r := &report{
		Date: time.Now().UTC().Format("2006-01-02"), Rounds: rounds, Versions: map[string]string{"go": info.GoVersion},
		Machine: fmt.Sprintf("%d processors (%s), %s of memory, %s", runtime.NumCPU(), cpuModel(), memory(), kernel()),
	}
	for _, d := range info.Deps {
		if name := engines[d.Path]; name != "" {
			r.Versions[name] = d.Version
		}
	}
	return r, nil
}

// before is the last report that was kept; nil: there is none.
func before(path string) (*report, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// kept is where the figures of the last report are, for those that go to standard output too.
const kept = "docs/benchmarks.json"

// write writes the report and what is kept of it; - writes to out and keeps nothing.
func (r *report) write(path string, out io.Writer) error {
	data := kept
	if path != "-" {
		data = strings.TrimSuffix(path, ".md") + ".json"
	}
	last, err := before(data)
	if err != nil {
		return err
	}
	r.take(last)
	text := r.page(last)
	if path == "-" {
		_, err := io.WriteString(out, text)
		return err
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	j, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(data, append(j, '\n'), 0o644)
}

// take takes over the figures of the last report whose measurements were left out, where it was the same machine's.
func (r *report) take(last *report) {
	if len(r.only) == 0 || last == nil || last.Machine != r.Machine {
		return
	}
	for _, f := range last.Figures {
		if !slices.Contains(r.only, f.Of) {
			f.taken = true
			r.Figures = append(r.Figures, f)
		}
	}
	order := names()
	slices.SortStableFunc(r.Figures, func(a, b figure) int { return slices.Index(order, a.Of) - slices.Index(order, b.Of) })
}

// page is the report for people.
func (r *report) page(last *report) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Benchmarks

Written by %s, which takes each figure %d times and shows the median, and how far apart the least and the most are. What is
compared is taken in turn, in the same run: the ratios (×, %%) carry over to other machines, times and rates do not. %s,
which is written along, has every round; %s takes one measurement alone, and with %s puts it in the place of the last.

`, "`make bench`", r.Rounds, "[benchmarks.json](benchmarks.json)", "`go run ./test/bench -only NAME`", "`-o docs/benchmarks.md`")
	fmt.Fprintf(&b, "%s, %s. %s\n\n", r.Date, r.Machine, r.versions())
	if last != nil {
		fmt.Fprintf(&b, "*Before* are the figures of %s", last.Date)
		if last.Machine != r.Machine {
			fmt.Fprintf(&b, " on another machine (%s), so that only ratios are compared", last.Machine)
		}
		b.WriteString("; **worse** is what is so by more than the spread of either and by more than 5 %.\n\n")
	}
	b.WriteString("| what | figure | spread | target | before | note |\n|---|---|---|---|---|---|\n")
	for _, f := range r.Figures {
		target := f.target()
		if !f.met() {
			target += " **missed**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", f.What, f.value(), number(f.spread()), target, r.compare(f, last), f.Note)
	}
	r.explain(&b)
	return b.String()
}

// compare is what a figure was in the last report, and whether it is worse now.
func (r *report) compare(f figure, last *report) string {
	if last == nil {
		return ""
	}
	if f.taken {
		return "not measured anew"
	}
	i := slices.IndexFunc(last.Figures, func(o figure) bool { return o.Key == f.Key && o.Unit == f.Unit && len(o.Rounds) > 0 })
	if i < 0 {
		return ""
	}
	was := last.Figures[i]
	if f.worse(was) && (r.Machine == last.Machine || slices.Contains(ratios, f.Unit)) {
		return number(was.median()) + " **worse**"
	}
	return number(was.median())
}

// explain says of each figure that misses its goal what it is made of.
func (r *report) explain(b *strings.Builder) {
	var told []string
	for _, f := range r.Figures {
		why := reasons[f.Key]
		if f.met() || why == "" || slices.Contains(told, why) {
			continue
		}
		if len(told) == 0 {
			b.WriteString("\n## What is not met, and why\n")
		}
		told = append(told, why)
		fmt.Fprintf(b, "\n%s\n", why)
	}
}

func (r *report) versions() string {
	var list []string
	for name, v := range r.Versions {
		list = append(list, strings.TrimSpace(strings.TrimPrefix(name, "go")+" "+v))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func cpuModel() string {
	return field("/proc/cpuinfo", "model name", runtime.GOARCH)
}

// memory is the machine's, in whole GiB.
func memory() string {
	var kb float64
	if _, err := fmt.Sscan(field("/proc/meminfo", "MemTotal", ""), &kb); err != nil {
		return "?"
	}
	return fmt.Sprintf("%.0f GiB", kb/(1<<20))
}

func field(file, name, otherwise string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return otherwise
	}
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return otherwise
}

func kernel() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return "Linux " + strings.TrimSpace(string(data))
}
