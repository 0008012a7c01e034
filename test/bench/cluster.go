package main

import "context"

// cluster measures the engine of a cluster of 10,000 nodes with 1,000,000 jobs.
func (b *bench) cluster(ctx context.Context) ([]figure, error) {
	r, err := b.goBench(ctx, "", "github.com/rota-dev/rota/internal/engine", "^(BenchmarkNodeLost|BenchmarkTakeOver|BenchmarkMemory)$", nil)
	if err != nil {
		return nil, err
	}
	const cluster = "10,000 nodes, 1,000,000 jobs: "
	var figures []figure
	for _, m := range []struct {
		key, what, bench, unit, as string
		by                         float64
		goal                       *goal
	}{
		{"cluster/away", "the plan after a node's loss, interval tasks", "NodeLost/interval/offline", "ns/op", "ms", 1e6, atMost(1000)},
		{"cluster/deleted", "the plan after a node is deleted, interval tasks", "NodeLost/interval/deleted", "ns/op", "ms", 1e6, atMost(1000)},
		{"cluster/takeover", "the first plan of a new leader", "TakeOver", "ns/op", "ms", 1e6, nil},
		{"cluster/job", "memory of a job in the engine", "Memory", "B/job", "B", 1, nil},
	} {
		rounds, err := r.of(m.bench, m.unit, m.by)
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{Key: m.key, What: cluster + m.what, Unit: m.as, Rounds: rounds, Goal: m.goal})
	}
	return figures, nil
}
