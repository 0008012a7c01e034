//go:build linux

package soak

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// point is a figure at a time after the warm-up, in hours.
type point struct{ at, value float64 }

// curve is how figures went.
type curve struct{ points map[string][]point }

func (c *curve) add(at time.Duration, s sample) {
	for name, v := range s {
		c.points[name] = append(c.points[name], point{at.Hours(), v})
	}
}

// line fits a straight line by least squares: the mean, and the slope in an hour.
func line(points []point) (mean, slope float64) {
	var x, y, xx, xy float64
	n := float64(len(points))
	for _, p := range points {
		x += p.at
		y += p.value
	}
	x, y = x/n, y/n
	for _, p := range points {
		xx += (p.at - x) * (p.at - x)
		xy += (p.at - x) * (p.value - y)
	}
	if xx == 0 {
		return y, 0
	}
	return y, xy / xx
}

// storage tells whether a figure grows by design until retention holds it, for longer than a short soak.
func storage(name string) bool {
	return name == "master disk" || strings.HasPrefix(name, "etcd database")
}

// bounded is what a limit keeps a figure of a node below, which comes and goes under it in the course of hours: 16 MiB of logs, as the nodes are told here,
// of which the smallest takes two blocks, and two segments of the spool, of 16 MiB each; 0: there is none.
func bounded(name string) float64 {
	const logs, spool = 16 << 20, 2 * 16 << 20
	switch {
	case strings.HasPrefix(name, "n") && strings.HasSuffix(name, " disk"):
		return logs + spool + 1<<20
	case strings.HasPrefix(name, "n") && strings.HasSuffix(name, " files"):
		return logs/8192 + spare
	}
	return 0
}

// grows says why a figure is not flat, or nothing: the line rises over the whole time by more than a fifth of the mean, and by more than
// what comes and goes. Etcd itself (its memory is a map of its database) and storage are judged only over half an hour and more, and storage by
// the last third of it: until then it grows up to its retention.
func (c *curve) grows(name string, length time.Duration) string {
	points := c.points[name]
	if b := bounded(name); b > 0 {
		most := slices.MaxFunc(points, func(a, b point) int { return cmp.Compare(a.value, b.value) })
		if most.value > b {
			return fmt.Sprintf("%.0f, where limits keep it below %.0f", most.value, b)
		}
		return ""
	}
	if length < 30*time.Minute && (storage(name) || strings.HasPrefix(name, "etcd ")) {
		return ""
	}
	if storage(name) {
		late := points[len(points)-1].at * 2 / 3
		points = points[slices.IndexFunc(points, func(p point) bool { return p.at >= late }):]
		length /= 3
	}
	mean, slope := line(points)
	rise, most := slope*length.Hours(), max(mean/5, spare)
	if strings.HasSuffix(name, " rss") || strings.HasSuffix(name, " heap") || storage(name) {
		most = max(mean/5, 8<<20)
	}
	if name == "master rss" {
		most += 96 << 20 // the page caches of SQLite, outside the heap of Go, fill for as long as it has written less than they hold
	}
	if rise <= most {
		return ""
	}
	return fmt.Sprintf("mean %.0f, by %.0f in %s", mean, rise, length)
}

func (c *curve) table(before, after sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-26s %14s %14s %14s %14s\n", "what", "at rest before", "mean of load", "slope per hour", "at rest after")
	for _, name := range slices.Sorted(maps.Keys(c.points)) {
		mean, slope := line(c.points[name])
		fmt.Fprintf(&b, "%-26s %14.0f %14.0f %14.0f %14.0f\n", name, before[name], mean, slope, after[name])
	}
	return b.String()
}

// The judge sees what grows, and not what only varies.
func TestCurve(t *testing.T) {
	c := curve{points: map[string][]point{}}
	for i := range 60 {
		at := time.Duration(i) * time.Minute
		c.add(at, sample{
			"leak descriptors": float64(30 + i), "flat descriptors": float64(30 + i%3), "n1 heap": float64(20<<20 + i%7<<20),
			"master disk": float64(min(i, 35) << 23), "etcd database": float64(i << 20), "master files": float64(8 + i),
			"n1 disk": float64(i%20<<20 + 20<<20), "n2 disk": float64(i << 20), "n1 files": float64(i), "n2 files": float64(i * 100),
		})
	}
	for _, name := range []string{"leak descriptors", "etcd database", "master files", "n2 disk", "n2 files"} {
		if c.grows(name, time.Hour) == "" {
			t.Errorf("that %s grows is not seen", name)
		}
	}
	for _, name := range []string{"flat descriptors", "n1 heap", "master disk", "n1 disk", "n1 files"} {
		if why := c.grows(name, time.Hour); why != "" {
			t.Errorf("%s: %s", name, why)
		}
	}
	if _, slope := line(c.points["leak descriptors"]); slope < 59 || slope > 61 {
		t.Errorf("60 an hour are %f", slope)
	}
}
