// Command bench measures Rota as its users have it, in processes of its own, against a bare loop in the same run, and writes
// docs/benchmarks.md, with docs/benchmarks.json beside it, against which the next run compares.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/rota-dev/rota/internal/guard"
)

// measurements are what is measured, in the order of the report. Each is in a file of its name.
var measurements = []measurement{
	{"start", (*bench).starting},
	{"oneoff", (*bench).oneOff},
	{"burst", (*bench).sameSecond},
	{"late", (*bench).lateness},
	{"jobs", (*bench).manyJobs},
	{"clock", (*bench).clock},
	{"cluster", (*bench).cluster},
	{"watch", (*bench).watch},
	{"history", (*bench).history},
	{"failover", (*bench).failover},
	{"timers", (*bench).timers},
	{"price", (*bench).prices},
}

// measurement takes some figures.
type measurement struct {
	name string
	take func(*bench, context.Context) ([]figure, error)
}

// options say what is measured, and how often.
type options struct {
	out     string // - for standard output
	only    []string
	rounds  int
	runs    int
	records int
	kills   int
	quick   bool
}

// bench is one run of this command.
type bench struct {
	options
	bin, dir string
	n        int // of servers that were started
	log      io.Writer
}

func main() {
	if dir, ok := guard.Asked(); ok { // for the price of the guard
		if err := guard.Main(dir); err != nil {
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o, os.Stdout, os.Stderr)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	var only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.out, "o", "docs/benchmarks.md", "where to write, with the figures in a .json beside it; - for standard output alone")
	f.IntVar(&o.rounds, "rounds", 5, "how often each figure is taken; the median counts")
	f.IntVar(&o.runs, "runs", 2000, "one-off runs in a round")
	f.IntVar(&o.records, "records", 1_000_000, "records in history; 10000000 take half an hour more")
	f.IntVar(&o.kills, "kills", 50, "how often the leader is killed, and a node")
	f.StringVar(&only, "only", "", "measure these alone, parted by commas, and write to standard output or, with -o, take the other rows over: "+strings.Join(names(), " "))
	f.BoolVar(&o.quick, "quick", false, "see that everything can be measured, with figures that say nothing, and write to standard output")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if only != "" {
		o.only = strings.Split(only, ",")
		given := false
		f.Visit(func(f *flag.Flag) { given = given || f.Name == "o" })
		if !given {
			o.out = "-"
		}
	}
	if o.quick {
		o.out, o.rounds, o.runs, o.records, o.kills = "-", 1, 100, 2000, 1
	}
	for _, name := range o.only {
		if !slices.Contains(names(), name) {
			return o, fmt.Errorf("there is no measurement %q: -only takes %s", name, strings.Join(names(), " "))
		}
	}
	if o.rounds < 1 || o.runs < 1 || o.records < 1 || o.kills < 1 {
		return o, errors.New("-rounds, -runs, -records and -kills are numbers from 1")
	}
	return o, nil
}

func names() (list []string) {
	for _, m := range measurements {
		list = append(list, m.name)
	}
	return list
}

// run measures, tells of each figure on log, and writes the report.
func run(ctx context.Context, o options, out, log io.Writer) error {
	dir, err := os.MkdirTemp("", "rota-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, bin: filepath.Join(dir, "rota"), dir: dir, log: log}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.bin, "github.com/rota-dev/rota/cmd/rota")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, text)
	}
	r, err := newReport(b.bin, o.rounds)
	if err != nil {
		return err
	}
	if o.out != "-" {
		r.only = o.only
	}
	for _, m := range measurements {
		if len(o.only) > 0 && !slices.Contains(o.only, m.name) {
			continue
		}
		figures, err := m.take(b, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		for i, f := range figures {
			figures[i].Of = m.name
			fmt.Fprintf(log, "%-8s %-72s %s\n", m.name, f.What, f.value())
		}
		r.Figures = append(r.Figures, figures...)
	}
	return r.write(o.out, out)
}

// size is n, or in a quick run what is enough to see that it can be measured.
func (b *bench) size(n, quick int) int {
	if b.quick {
		return quick
	}
	return n
}
