//go:build linux

package soak

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/test/harness"
)

// spare is how much more than after the warm-up may be held of what comes and goes by itself: connections, watches, pools. What is
// left behind by every fifth run of a node is more than that.
const spare = 16

// settles tells whether a figure returns to what it was when there is no load: what is counted, and is not storage.
func settles(name string) bool {
	for _, s := range []string{"goroutines", "descriptors", "leases", "keys", "temporary files", "processes", "zombies", "groups"} {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// exact tells whether nothing at all may be left.
func exact(name string) bool { return name == "zombies" || name == "processes" }

// TestSettles: what a load has taken is given back when it ends, and each run that was asked for has its record.
func TestSettles(t *testing.T) {
	cl := start(t)
	cl.apply()
	warm := cl.begin()
	<-time.After(2 * time.Second)
	warm.end()
	before := cl.rest(nil)
	l := cl.begin()
	<-time.After(6 * time.Second)
	l.end()
	cl.rest(before)
	t.Logf("%d runs were asked for", l.asked.Load())
	cl.plant(before)
}

// TestSoak is the long form: `make soak`.
func TestSoak(t *testing.T) {
	seconds, _ := strconv.Atoi(os.Getenv("ROTA_SOAK_SECONDS"))
	if seconds <= 0 {
		t.Skip("the long form is asked for with `make soak SECONDS=3600`")
	}
	length := time.Duration(seconds) * time.Second
	keep := max(length/6, time.Minute).Round(time.Second).String()
	cl := start(t, "--keep", keep, "--keep-at-least", keep)
	cl.apply()
	warm := cl.begin()
	<-time.After(min(length/5, 5*time.Minute))
	warm.end()
	before := cl.rest(nil)
	l := cl.begin()
	began := time.Now()
	c := curve{points: map[string][]point{}}
	tick := time.NewTicker(min(max(length/120, time.Second), 15*time.Second))
	defer tick.Stop()
	for time.Since(began) < length {
		<-tick.C
		s, err := cl.take()
		if err != nil {
			t.Fatal(err)
		}
		c.add(time.Since(began), s)
	}
	l.end()
	after := cl.rest(before)
	t.Logf("%d runs were asked for in %s\n%s", l.asked.Load(), length, c.table(before, after))
	for _, name := range slices.Sorted(maps.Keys(c.points)) {
		if why := c.grows(name, length); why != "" {
			t.Errorf("%s grows: %s", name, why)
		}
	}
}

func (cl *cluster) apply() {
	cl.t.Helper()
	if _, err := cl.c.Apply(cl.t.Context(), tasks(), client.ApplyOptions{}); err != nil {
		cl.t.Fatal(err)
	}
}

// rest waits until the cluster holds no more than before, and returns what it holds. Without a before, it waits until nothing
// runs, and what settles has not changed by more than what is spare in twenty samples.
func (cl *cluster) rest(before sample) (s sample) {
	cl.t.Helper()
	calm := 0
	harness.Eventually(cl.t, time.Minute, "the cluster is at rest", func() error {
		now, err := cl.take()
		if err != nil {
			return err
		}
		last := s
		s = now
		if before != nil {
			return excess(now, before)
		}
		if calm++; last == nil || excess(last, now) != nil || excess(now, last) != nil || now["processes"] != last["processes"] || now["zombies"] > 0 || now["processes"] > float64(len(cl.all)+2) {
			calm = 0
		}
		if calm < 20 {
			return fmt.Errorf("something still ends: %v", now)
		}
		return nil
	})
	return s
}

// excess tells what is held beyond a sample.
func excess(now, before sample) error {
	var more []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		most := before[name]
		if !exact(name) {
			most += spare
		}
		if settles(name) && now[name] > most {
			more = append(more, fmt.Sprintf("%s: %.0f, before %.0f", name, now[name], before[name]))
		}
	}
	if more != nil {
		return fmt.Errorf("%s", strings.Join(more, "; "))
	}
	return nil
}
