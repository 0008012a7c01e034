package node

import (
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// The clock gives what a list that is searched from end to end would give.
func TestClockAgainstList(t *testing.T) {
	timers := []string{"* * * * *", "*/7 * * * * *", "@every 90s", "0 3 * * *", "@at 2000-01-01T00:05:00Z", "30 2 29 2 *"}
	type model struct {
		job    *job.Job
		cursor time.Time
	}
	rapid.Check(t, func(rt *rapid.T) {
		c, list := newClock(), map[string]*model{}
		now := epoch
		due := func() (hashes []string, first time.Time) {
			for hash, m := range list {
				next := nextInstant(m.job, m.cursor)
				if next.IsZero() {
					continue
				}
				switch at := fireTime(m.job, next); {
				case first.IsZero() || at.Before(first):
					first, hashes = at, []string{hash}
				case at.Equal(first):
					hashes = append(hashes, hash)
				}
			}
			return hashes, first
		}
		name := rapid.IntRange(0, 9)
		rt.Repeat(map[string]func(*rapid.T){
			"set": func(rt *rapid.T) {
				n := name.Draw(rt, "job")
				j := newJob(t, "job"+strconv.Itoa(n), rapid.SampledFrom(timers).Draw(rt, "timer"), func(j *job.Job) {
					j.Jitter = int64(rapid.SampledFrom([]int{0, 0, 40}).Draw(rt, "jitter"))
					j.Pause = rapid.IntRange(0, 4).Draw(rt, "pause") == 0
				})
				cursor := epoch.Add(time.Duration(rapid.IntRange(0, 600).Draw(rt, "cursor")) * time.Second)
				c.set(j, cursor)
				if m := list[j.Hash]; m == nil {
					list[j.Hash] = &model{j, cursor}
				} else if m.job = j; cursor.After(m.cursor) {
					m.cursor = cursor
				}
			},
			"remove": func(rt *rapid.T) {
				hash := newJob(t, "job"+strconv.Itoa(name.Draw(rt, "job")), "").Hash
				c.remove(hash)
				delete(list, hash)
			},
			"pass": func(rt *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(rt, "seconds")) * time.Second)
				for range 20 {
					e := c.due(now)
					if e == nil {
						break
					}
					hashes, first := due()
					if !slices.Contains(hashes, e.job.Hash) || first.After(now) {
						rt.Fatalf("due is %s, want one of %v at %s", e.job.Name, hashes, first)
					}
					next := nextInstant(e.job, e.cursor)
					c.advance(e, next)
					list[e.job.Hash].cursor = next
				}
			},
			"": func(rt *rapid.T) {
				_, first := due()
				if got := c.next(); !got.Equal(first) {
					rt.Fatalf("next is %s, want %s", got, first)
				}
				if e := c.due(now); (e != nil) != (!first.IsZero() && !first.After(now)) {
					rt.Fatalf("due at %s is %v, first is %s", now, e, first)
				}
			},
		})
	})
}

// ancestor 8, 9, 10, 11, 13: there is one entry a job, under its one identity; what is replaced, paused or removed is so at once.
func TestClockHoldsOneEntryAJob(t *testing.T) {
	c := newClock()
	for range 3 { // ancestor 11
		c.set(newJob(t, "a", "* * * * *"), epoch)
	}
	if len(c.queue) != 1 || !c.next().Equal(at(time.Minute)) {
		t.Fatalf("%d entries, next %s", len(c.queue), c.next())
	}
	c.set(newJob(t, "a", "0 * * * *"), epoch) // ancestor 10: the new timer alone counts
	if len(c.queue) != 1 || !c.next().Equal(at(time.Hour)) {
		t.Fatalf("%d entries, next %s", len(c.queue), c.next())
	}
	paused := newJob(t, "a", "* * * * *", func(j *job.Job) { j.Pause, j.PausedAt = true, at(time.Second) })
	c.set(paused, epoch)
	if e := c.due(at(time.Hour)); e != nil || !c.next().IsZero() {
		t.Fatalf("a paused job is due: %v", e)
	}
	c.remove(paused.Hash) // ancestor 8, 13: by the same identity, paused or not
	if len(c.entries) != 0 {
		t.Fatal("a job that was removed is still there")
	}
	c.remove(paused.Hash)
	if paused.ID != paused.Hash { // ancestor 9
		t.Fatal("a job has two identities")
	}
}

// A clock set back repeats nothing; one set forward comes to every instant.
func TestClockSteps(t *testing.T) { // ancestor 29
	c := newClock()
	j := newJob(t, "a", "* * * * *", catchup(job.CatchupAll))
	c.set(j, epoch)
	seen := map[time.Time]int{}
	look := func(now time.Time) {
		for e := c.due(now); e != nil; e = c.due(now) {
			d := decide(e.job, e.cursor, now)
			c.advance(e, d.cursor)
			for _, v := range d.verdicts {
				seen[v.first] += v.count
			}
		}
	}
	look(at(5 * time.Minute))
	look(at(5*time.Minute - time.Hour))
	look(at(5*time.Minute + 30*time.Second))
	if len(seen) != 5 {
		t.Fatalf("after a step back: %v", seen)
	}
	look(at(time.Hour))
	for m := 1; m <= 60; m++ {
		if seen[at(time.Duration(m)*time.Minute)] != 1 {
			t.Fatalf("minute %d: %d times", m, seen[at(time.Duration(m)*time.Minute)])
		}
	}
}

// An instant beyond what an int64 of nanoseconds holds is far away, and not due.
func TestClockFarFuture(t *testing.T) {
	c := newClock()
	c.set(newJob(t, "a", "@at 2900-01-01T00:00:00Z"), epoch)
	if e := c.due(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)); e != nil {
		t.Fatal("it is due 700 years early")
	}
	if !c.next().Equal(time.Unix(0, math.MaxInt64)) {
		t.Fatal(c.next())
	}
}
