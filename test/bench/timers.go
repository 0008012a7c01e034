package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// timers measures the next instant of a timer against the other libraries that answer the same. test/benchlib is a module of its own, so
// that Rota does not depend on them.
func (b *bench) timers(ctx context.Context) ([]figure, error) {
	r, err := b.goBench(ctx, "test/benchlib", ".", "^BenchmarkNext$", nil, "-benchtime", "50ms")
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, name := range slices.Sorted(maps.Keys(r)) {
		own, ok := strings.CutSuffix(name, "/rota")
		if !ok {
			continue
		}
		f := figure{Unit: "×", Goal: atLeast(1)}
		f.Key = "timers/" + strings.TrimPrefix(own, "Next/")
		f.What = "next instant, " + strings.ReplaceAll(strings.TrimPrefix(own, "Next/"), "_", " ") + ": the fastest other library takes"
		mine := r[name]["ns/op"]
		for round := range mine {
			best, by := 0.0, ""
			for other, units := range r {
				if took := units["ns/op"]; other != name && strings.HasPrefix(other, own+"/") && len(took) > round && (best == 0 || took[round] < best) {
					best, by = took[round], strings.TrimPrefix(other, own+"/")
				}
			}
			f.Rounds = append(f.Rounds, best/mine[round])
			f.Note = fmt.Sprintf("%s; rota %.0f ns", strings.Replace(by, "-", "/", 1), median(mine))
		}
		figures = append(figures, f)
	}
	return figures, nil
}
