//go:build linux

package cgroup

import (
	"log/slog"
	"testing"

	"github.com/rota-dev/rota/job"
)

// BenchmarkTake measures what it costs to take a leaf and to give it back, with nobody in it.
func BenchmarkTake(b *testing.B) {
	for _, c := range []struct {
		name   string
		limits job.Limits
	}{{"plain", job.Limits{}}, {"memory", job.Limits{Memory: 64 << 20}}, {"processes", job.Limits{Processes: 10}}, {"cpu_weight", job.Limits{CPUWeight: 50}}, {"cpu", job.Limits{CPU: 1}}} {
		b.Run(c.name, func(b *testing.B) {
			tree := Open(slog.New(slog.DiscardHandler))
			defer tree.Close()
			if err := tree.Check(c.limits); err != nil {
				b.Skip(err)
			}
			for b.Loop() {
				l, err := tree.Take(c.limits)
				if err != nil {
					b.Fatal(err)
				}
				l.Release()
			}
		})
	}
}
