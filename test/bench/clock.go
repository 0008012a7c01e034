package main

import "context"

// clock measures the node's clock itself, with a million entries, and what a firing costs more than with ten thousand.
func (b *bench) clock(ctx context.Context) ([]figure, error) {
	r, err := b.goBench(ctx, "", "github.com/rota-dev/rota/internal/node", "^BenchmarkClock$", nil)
	if err != nil {
		return nil, err
	}
	large, small := "Clock/large", "Clock/small"
	size, err := r.of(large, "B/entry", 1)
	if err != nil {
		return nil, err
	}
	firing, err := r.of(large, "ns/op", 1000)
	if err != nil {
		return nil, err
	}
	less, err := r.of(small, "ns/op", 1000)
	if err != nil {
		return nil, err
	}
	grows := make([]float64, len(firing))
	for i := range grows {
		grows[i] = firing[i] / less[i]
	}
	return []figure{
		{Key: "clock/size", What: "1,000,000 entries in the clock: memory of an entry, beside its job", Unit: "B", Rounds: size, Goal: atMost(200)},
		{Key: "clock/firing", What: "1,000,000 entries in the clock: a firing", Unit: "µs", Rounds: firing, Note: "find who is due, decide, put it back into its place"},
		{Key: "clock/grows", What: "a firing with 1,000,000 entries, against one with 10,000", Unit: "×", Rounds: grows, Goal: atMost(3), Note: "O(log n) is 1.5, and the processor's caches are left behind"},
	}, nil
}
