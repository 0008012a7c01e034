package master

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Clocks are measured one way: a node writes what its clock shows, a master compares it with its own clock when it hears of it.
// What is heard late looks like a clock that is behind, so of a few samples the one that is furthest ahead counts: it had
// the shortest way. What is left of the delay, a few milliseconds in a cluster that is well, is the error; it can only make
// a clock look further behind than it is.
//
// Every master measures. One that does not lead subtracts what it measures of the leader's clock, so that all masters
// tell the same.

const (
	clockSamples = 3                // of a clock count; so a clock that was set back shows after a minute
	clockEvery   = 20 * time.Second // the leader tells its clock as often; nodes do the same
	clockStale   = 5 * clockEvery   // what was not heard of for so long is not known
)

// clocks are those that the view knows. It is used with the view's lock held.
type clocks struct{ of map[job.NodeID]*clock }

// clock is one that is measured; that of the leader has no node.
type clock struct {
	session string
	ahead   []time.Duration // by how much it was ahead as heard, the latest last
	heard   time.Time
}

// add takes in a sample that was heard at a time. Of another session it begins anew.
func (c *clocks) add(s *job.ClockSample, now time.Time) {
	k := c.of[s.Node]
	if k == nil || k.session != s.Session {
		k = &clock{session: s.Session}
		c.of[s.Node] = k
	}
	// Without the monotonic reading: it is wall clocks that are compared.
	k.ahead, k.heard = append(k.ahead, s.At.Round(0).Sub(now.Round(0))), now
	if n := len(k.ahead); n > clockSamples {
		k.ahead = append(k.ahead[:0], k.ahead[n-clockSamples:]...)
	}
}

// measured is how far a clock is ahead of this master's.
func (c *clocks) measured(id job.NodeID, now time.Time) (time.Duration, bool) {
	k := c.of[id]
	if k == nil || now.Sub(k.heard) > clockStale {
		return 0, false
	}
	best := time.Duration(math.MinInt64)
	for _, d := range k.ahead {
		best = max(best, d)
	}
	return best, true
}

// skew is how far a node's clock is ahead of the leader's.
func (v *view) skew(id job.NodeID) (time.Duration, bool) {
	now := v.m.Now()
	of, ok := v.clocks.measured(id, now)
	if !ok || v.m.Leads() {
		return of, ok
	}
	leader, ok := v.clocks.measured("", now)
	return of - leader, ok
}

// skewSeconds is the skew as views have it.
func (v *view) skewSeconds(id job.NodeID) *float64 {
	d, ok := v.skew(id)
	if !ok {
		return nil
	}
	s := d.Round(time.Millisecond).Seconds()
	return &s
}

// maxSkew is how far off a clock may be before somebody is told.
const maxSkew = time.Second

// skewed tells of the clocks of nodes that are off, in the order of their names.
func (v *view) skewed(ids []job.NodeID) (list []string) {
	for _, id := range ids {
		d, ok := v.skew(id)
		switch {
		case !ok:
		case d > maxSkew:
			list = append(list, fmt.Sprintf("the clock of node %s is %s ahead of the leader's: its instants come early", id, d.Round(100*time.Millisecond)))
		case d < -maxSkew:
			list = append(list, fmt.Sprintf("the clock of node %s is %s behind the leader's: its instants come late", id, (-d).Round(100*time.Millisecond)))
		}
	}
	return list
}

// watchClocks listens to clocks. What stood there before it listened says nothing: nobody knows when it was written.
func (v *view) watchClocks(ctx context.Context, wg *sync.WaitGroup) {
	w := v.m.store().Clocks().Watch(ctx)
	wg.Go(func() {
		live := false
		for batch := range w.Events() {
			now := v.m.Now()
			v.mu.Lock()
			for _, e := range batch {
				switch {
				case e.Type == store.Synced:
					live = true
				case e.Type == store.Put && live:
					v.clocks.add(e.Value, now)
					if ahead, ok := v.skew(e.Value.Node); ok && e.Value.Node != "" {
						v.state.Apply(engine.NodeClock{Node: e.Value.Node, Behind: -ahead})
					}
				case e.Type == store.Delete:
					if parts, err := v.m.store().Clocks().Parts(e.Key); err == nil {
						delete(v.clocks.of, job.NodeID(parts[0]))
					}
				}
			}
			v.moved.Broadcast()
			v.mu.Unlock()
		}
	})
}

// tellClock writes what the leader's clock shows, for the other masters.
func (m *Master) tellClock(ctx context.Context, l *store.Leadership) {
	for {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := l.Do(once, store.PutClock(&job.ClockSample{Session: m.ID, At: m.Now().UTC()}))
		cancel()
		if err != nil && ctx.Err() == nil {
			m.Logger.Debug("the leader's clock could not be told", "error", err)
		}
		if !sleep(ctx, clockEvery) {
			return
		}
	}
}

// skewGauge collects the skews of the nodes that are online.
type skewGauge struct {
	v    *view
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (g skewGauge) Describe(c chan<- *prometheus.Desc) { c <- g.desc }

// Collect implements prometheus.Collector.
func (g skewGauge) Collect(c chan<- prometheus.Metric) {
	skews := map[job.NodeID]time.Duration{}
	g.v.with(func() {
		for id := range g.v.online {
			if d, ok := g.v.skew(id); ok {
				skews[id] = d
			}
		}
	})
	for id, d := range skews {
		c <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, d.Seconds(), string(id))
	}
}
