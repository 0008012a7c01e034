package node

import (
	"container/heap"
	"math"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/schedule"
)

// clock knows when each job is due next. It is pure: it is told the time. It is not safe for concurrent use.
//
// The cursor of a job is the instant up to which the clock has dealt with it. The next instant is computed from the
// cursor and never from the time of day, so that a clock that is set back repeats nothing, and one that is set
// forward skips nothing without a word.
type clock struct {
	entries map[string]*entry // by the job's hash
	queue   queue
}

type entry struct {
	job    *job.Job
	cursor time.Time
	wake   int64 // when it is due, jitter included, in Unix nanoseconds
	index  int   // in the queue; -1: it has no instant to come
}

func newClock() *clock { return &clock{entries: map[string]*entry{}} }

// set adds a job or replaces it by its new version. Instants up to the cursor are dealt with; a cursor that
// the clock already has is kept where it is later.
func (c *clock) set(j *job.Job, cursor time.Time) {
	e := c.entries[j.Hash]
	if e == nil {
		e = &entry{index: -1}
		c.entries[j.Hash] = e
	}
	e.job = j
	if cursor.After(e.cursor) {
		e.cursor = cursor
	}
	c.arm(e)
}

func (c *clock) remove(hash string) {
	if e := c.entries[hash]; e != nil {
		if e.index >= 0 {
			heap.Remove(&c.queue, e.index)
		}
		delete(c.entries, hash)
	}
}

// advance moves a job's cursor and finds its next instant.
func (c *clock) advance(e *entry, cursor time.Time) {
	e.cursor = cursor
	c.arm(e)
}

func (c *clock) arm(e *entry) {
	next := nextInstant(e.job, e.cursor)
	if next.IsZero() {
		if e.index >= 0 {
			heap.Remove(&c.queue, e.index)
		}
		return
	}
	c.wakeAt(e, fireTime(e.job, next))
}

// wakeAt puts an entry into its place in the queue.
func (c *clock) wakeAt(e *entry, at time.Time) {
	e.wake = nanos(at)
	if e.index >= 0 {
		heap.Fix(&c.queue, e.index)
	} else {
		heap.Push(&c.queue, e)
	}
}

// nanos is a time in Unix nanoseconds, as far as they reach: some 290 years either way. What is further away comes last.
func nanos(t time.Time) int64 {
	const reach = math.MaxInt64 / int64(time.Second)
	switch s := t.Unix(); {
	case s >= reach:
		return math.MaxInt64
	case s <= -reach:
		return math.MinInt64
	}
	return t.UnixNano()
}

// due is the entry that was due first, if its time has come. The caller advances it.
func (c *clock) due(now time.Time) *entry {
	if len(c.queue) == 0 || c.queue[0].wake > nanos(now) {
		return nil
	}
	return c.queue[0]
}

// next is when the clock must be asked again; zero where nothing is to come.
func (c *clock) next() time.Time {
	if len(c.queue) == 0 {
		return time.Time{}
	}
	return time.Unix(0, c.queue[0].wake)
}

// nextInstant is the first instant of a job after a cursor; none for a paused job or one that never had a timer.
func nextInstant(j *job.Job, cursor time.Time) time.Time {
	if j.Pause || j.Rules == nil {
		return time.Time{}
	}
	return j.NextInstant(cursor)
}

// fireTime is when an instant starts: with jitter some time after it, always the same.
func fireTime(j *job.Job, instant time.Time) time.Time {
	if j.Jitter <= 0 {
		return instant
	}
	seed := j.TaskID
	if !j.At(instant).Kind.Claimed() {
		seed = j.Hash
	}
	return instant.Add(schedule.Jitter(seed, instant, time.Duration(j.Jitter)*time.Second))
}

// queue is the heap of entries by wake.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].wake < q[j].wake }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.index = -1
	return e
}
