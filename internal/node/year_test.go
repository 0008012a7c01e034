package node

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// liveThrough lets a clock live through a time with restarts and steps of the wall clock, and checks that each
// minute of it ended in exactly one outcome.
func liveThrough(t testing.TB, seed uint64, c job.Catchup, length time.Duration) (restarts, steps int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	between := func(d time.Duration) time.Duration { return time.Duration(rng.ExpFloat64() * float64(d)) }
	j := newJob(t, "a", "* * * * *", catchup(c), func(j *job.Job) { j.Jitter = int64(rng.IntN(2) * 30) })

	outcomes := make([]uint8, length/time.Minute+1)
	kept := epoch // the spool's cursor
	note := func(v verdict) {
		n := 0
		for i := v.first; !i.After(v.last); i = i.Add(time.Minute) {
			if m := int(i.Sub(epoch) / time.Minute); m < len(outcomes) {
				outcomes[m]++
			}
			n++
		}
		if n != v.count {
			t.Fatalf("seed %d: %s-%s count as %d", seed, v.first, v.last, v.count)
		}
		kept = v.last
	}
	clk := newClock()
	clk.set(j, kept)
	now := epoch
	restart, step := now.Add(between(24*time.Hour)), now.Add(between(24*time.Hour))
	end := epoch.Add(length)
	for now.Before(end) || kept.Before(end) {
		switch {
		case !now.Before(restart):
			restarts++
			if rng.IntN(4) > 0 {
				now = now.Add(between(2 * time.Hour))
			}
			clk = newClock()
			clk.set(j, kept)
			restart = now.Add(between(24 * time.Hour))
		case !now.Before(step):
			steps++
			now = now.Add(between(time.Hour) - 30*time.Minute)
			step = now.Add(time.Minute + between(24*time.Hour))
		}
		if e := clk.due(now); e != nil {
			d := decide(e.job, e.cursor, now)
			clk.advance(e, d.cursor)
			for n, v := range d.verdicts {
				note(v)
				if n < len(d.verdicts)-1 && rng.IntN(1000) == 0 { // a crash between two lines of the spool
					restart = now
					break
				}
			}
			continue
		}
		// The core looks at the clock when it expects something, and as often as it ticks.
		if next := clk.next(); next.Sub(now) < tick {
			now = next.Add(time.Duration(rng.IntN(3_000_000)))
		} else {
			now = now.Add(min(next.Sub(now), 20*time.Second)) // ticks in which nothing happens
		}
	}
	for m := 1; m < len(outcomes); m++ {
		if outcomes[m] != 1 {
			t.Fatalf("seed %d: minute %d ended in %d outcomes", seed, m, outcomes[m])
		}
	}
	return restarts, steps
}
