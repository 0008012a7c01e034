package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// results are what Go benchmarks reported: by name, without Benchmark and the number of processors, and by unit, a value a round.
type results map[string]map[string][]float64

// goBench runs benchmarks of a package, which may be in another module below dir, once a round. Quick runs are -short, once each.
func (b *bench) goBench(ctx context.Context, dir, pkg, pattern string, env []string, flags ...string) (results, error) {
	args := append([]string{"test", "-run", "^$", "-bench", pattern, "-count", strconv.Itoa(b.rounds), "-timeout", "3h"}, flags...)
	if b.quick {
		args = append(args, "-short", "-benchtime", "1x")
	}
	return goTest(ctx, dir, env, append(args, pkg)...)
}

// goTest runs the go command and reads what the benchmarks printed, or a test as a benchmark does.
func goTest(ctx context.Context, dir string, env []string, args ...string) (results, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s%s", strings.Join(args, " "), err, out, errs.Bytes())
	}
	r := parseBench(string(out))
	if len(r) == 0 {
		return nil, fmt.Errorf("go %s measured nothing:\n%s", strings.Join(args, " "), out)
	}
	return r, nil
}

var processors = regexp.MustCompile(`-\d+$`)

// parseBench reads lines such as "BenchmarkClock-2  1000  1234 ns/op  150 B/entry".
func parseBench(text string) results {
	r := results{}
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		w := strings.Fields(sc.Text())
		if len(w) < 4 || !strings.HasPrefix(w[0], "Benchmark") || len(w)%2 != 0 {
			continue
		}
		if _, err := strconv.Atoi(w[1]); err != nil {
			continue
		}
		name := processors.ReplaceAllString(strings.TrimPrefix(w[0], "Benchmark"), "")
		for pair := range slices.Chunk(w[2:], 2) {
			v, err := strconv.ParseFloat(pair[0], 64)
			if err != nil {
				continue
			}
			if r[name] == nil {
				r[name] = map[string][]float64{}
			}
			r[name][pair[1]] = append(r[name][pair[1]], v)
		}
	}
	return r
}

// of are the rounds of a benchmark in a unit, each divided by a number.
func (r results) of(name, unit string, by float64) ([]float64, error) {
	list := slices.Clone(r[name][unit])
	if len(list) == 0 {
		return nil, fmt.Errorf("the benchmark %s reported no %s", name, unit)
	}
	for i := range list {
		list[i] /= by
	}
	return list, nil
}
