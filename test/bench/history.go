package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// history measures a large history: what the web interface asks of it, and what storing waits while retention removes.
func (b *bench) history(ctx context.Context) ([]figure, error) {
	env := []string{fmt.Sprint("ROTA_BENCH_RECORDS=", b.records), "ROTA_BENCH_DB=" + filepath.Join(b.dir, "history.db")}
	const pkg = "github.com/rota-dev/rota/internal/history"
	r, err := b.goBench(ctx, "", pkg, "^BenchmarkPage$", env, "-benchtime", "200ms")
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("history of %d records: ", b.records)
	slowest := figure{Key: "history/page", What: name + "the slowest page, filter or statistic", Unit: "ms", Goal: atMost(100)}
	half := figure{Key: "history/median", What: name + "the median of all of them", Unit: "ms"}
	var which []string
	for round := range b.rounds {
		var all []float64
		most, of := 0.0, ""
		for what, units := range r {
			if took := units["ns/op"]; len(took) > round {
				all = append(all, took[round]/1e6)
				if took[round] > most {
					most, of = took[round], what
				}
			}
		}
		slowest.Rounds, half.Rounds = append(slowest.Rounds, most/1e6), append(half.Rounds, median(all))
		which = append(which, strings.ReplaceAll(strings.TrimPrefix(of, "Page/"), "_", " "))
	}
	slices.Sort(which)
	slowest.Note = fmt.Sprintf("of %d queries: %s", len(r), strings.Join(slices.Compact(which), ", "))

	// Both in one run, a round each in turn, so that they meet the same database.
	r, err = b.goBench(ctx, "", pkg, "^(BenchmarkLargeInsert|BenchmarkInsertWhilePruning)$", env, "-benchtime", "3s")
	if err != nil {
		return nil, err
	}
	figures := []figure{slowest, half}
	alone, err := r.of("LargeInsert", "p99-ms", 1)
	if err != nil {
		return nil, err
	}
	during, err := r.of("InsertWhilePruning", "p99-ms", 1)
	if err != nil {
		return nil, err
	}
	longest, err := r.of("InsertWhilePruning", "max-ms", 1)
	if err != nil {
		return nil, err
	}
	rate, err := r.of("LargeInsert", "records/s", 1)
	if err != nil {
		return nil, err
	}
	return append(figures,
		figure{Key: "history/insert", What: name + "stored, each batch of 100 durable, spread over 1,000 tasks", Unit: "/s", Rounds: rate, Rising: true},
		figure{Key: "history/alone", What: name + "a batch stored, p99", Unit: "ms", Rounds: alone},
		figure{Key: "history/pruning", What: name + "a batch stored while retention removes without a pause, p99", Unit: "ms", Rounds: during},
		figure{Key: "history/blocked", What: name + "the longest that a batch waited for retention", Unit: "ms", Rounds: longest, Goal: atMost(1000), Note: "retention holds the writer for a step of 200 records at most"},
	), nil
}
