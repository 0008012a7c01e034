// Command bench measures Rota as its users have it, a process of its own, against a bare loop in the same run, and
// writes docs/benchmarks.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/rota-dev/rota/internal/guard"
)

func main() {
	if dir, ok := guard.Asked(); ok { // for the price of the guard
		if err := guard.Main(dir); err != nil {
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	out := flag.String("o", "docs/benchmarks.md", "where to write; - for standard output")
	rounds := flag.Int("rounds", 5, "how often each figure is taken; the median counts")
	runs := flag.Int("runs", 2000, "one-off runs in a round")
	only := flag.String("only", "", "take these figures alone, and write them to standard output: start, late, oneoff, burst or price")
	flag.Parse()

	dir, err := os.MkdirTemp("", "rota-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "rota")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", bin, "./cmd/rota")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, text)
	}

	b := &bench{bin: bin, dir: dir, rounds: *rounds, runs: *runs}
	var figures []figure
	for _, measure := range []struct {
		name string
		take func(context.Context) ([]figure, error)
	}{{"start", b.starting}, {"late", b.lateness}, {"oneoff", b.oneOff}, {"burst", b.sameSecond}, {"price", b.prices}} {
		if *only != "" && *only != measure.name {
			continue
		}
		f, err := measure.take(ctx)
		if err != nil {
			return err
		}
		for _, x := range f {
			fmt.Fprintf(os.Stderr, "%-64s %s\n", x.what, x.value)
		}
		figures = append(figures, f...)
	}
	if *only != "" {
		*out = "-"
	}
	return write(*out, figures, *rounds)
}

// figure is a row of the report.
type figure struct{ what, value, target, note string }

type bench struct {
	bin, dir     string
	rounds, runs int
	n            int
}

func median[T int | int64 | float64 | time.Duration](list []T) T {
	s := slices.Clone(list)
	slices.Sort(s)
	return s[len(s)/2]
}

func percentile(list []time.Duration, p float64) time.Duration {
	s := slices.Clone(list)
	slices.Sort(s)
	return s[min(len(s)-1, int(float64(len(s))*p))]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
func us(d time.Duration) string { return fmt.Sprintf("%.0f µs", float64(d)/1e3) }
