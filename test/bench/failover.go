package main

import (
	"context"
	"fmt"
)

// failover measures how soon another master leads after the leader's kill -9, and whether instants of an interval task run on time after a
// node's: test/cluster has the cluster.
func (b *bench) failover(ctx context.Context) ([]figure, error) {
	r, err := goTest(ctx, "", []string{fmt.Sprint("ROTA_BENCH_KILLS=", b.kills)}, "test", "-v", "-count", "1", "-timeout", "1h",
		"-run", "^TestFailoverTimes$", "github.com/rota-dev/rota/test/cluster")
	if err != nil {
		return nil, err
	}
	kills := fmt.Sprintf(", %d kills", b.kills)
	var figures []figure
	for _, m := range []struct {
		key, what, bench, unit, as string
		goal                       *goal
		note                       string
	}{
		{"failover/leader/p50", "leader killed: another one leads after, p50", "Failover/leader", "p50-leases", "× L", nil, ""},
		{"failover/leader/max", "leader killed: another one leads after, at most, beyond a lease", "Failover/leader", "beyond-s", "s", atMost(1), "target: within L + 1 s"},
		{"failover/leader/missed", "leader killed: instants missed", "Failover/leader", "missed", "lost or doubled", atMost(0), "of a task that is due each second"},
		{"failover/node/p50", "node killed: start of the instants that follow, p50", "Failover/node", "late-p50-ms", "ms", nil, "of an interval task that is due each second, until the node is back"},
		{"failover/node/max", "node killed: start of the instants that follow, the latest", "Failover/node", "late-max-ms", "ms", atMost(1000), "those that ran are on time if they start within their second"},
		{"failover/node/missed", "node killed: instants that no node ran, but the one that died with it", "Failover/node", "missed", "lost or doubled", atMost(0), ""},
	} {
		rounds, err := r.of(m.bench, m.unit, 1)
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{Key: m.key, What: m.what + kills, Unit: m.as, Rounds: rounds, Goal: m.goal, Note: m.note})
	}
	return figures, nil
}
