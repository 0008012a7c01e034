package node

import (
	"context"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// doubts are instants for whose claim etcd was asked in vain until their time was over. The claim may have been made all
// the same, the answer lost; then nobody else can speak for the instant while this agent lives, so it must. When etcd
// is back the agent looks what it holds, and tells that those instants were missed.
type doubts struct {
	mu   sync.Mutex
	list []doubt
	wake chan struct{} // capacity 1
}

type doubt struct {
	job     *job.Job
	instant time.Time
	trigger job.Trigger
	try     int64 // of the claim
	since   time.Time
}

const (
	// maxDoubts bounds the list in an outage without end; what falls out is told when the agent has restarted.
	maxDoubts = 100_000
	// doubtPatience is how long after it was given up a request may still be carried out.
	doubtPatience = 15 * time.Second
)

func (d *doubts) add(r *run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) >= maxDoubts {
		d.list = append(d.list[:0], d.list[len(d.list)/2:]...)
	}
	d.list = append(d.list, doubt{r.job, r.instant, r.trigger, r.try, r.a.Now()})
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *doubts) take() []doubt {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.list
	d.list = nil
	return list
}

func (d *doubts) putBack(list []doubt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(list, d.list...)
}

// settleDoubts looks after the doubts until ctx ends.
func (a *Agent) settleDoubts(ctx context.Context) {
	for {
		select {
		case <-a.doubts.wake:
		case <-ctx.Done():
			return
		}
		for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
			left := a.lookInto(ctx, a.doubts.take())
			a.doubts.putBack(left)
			if len(left) == 0 {
				break
			}
			if !sleep(ctx, wait) {
				return
			}
		}
	}
}

// lookInto settles the doubts that it can, and returns the others.
func (a *Agent) lookInto(ctx context.Context, list []doubt) (left []doubt) {
	held := map[job.TaskRef]map[int64]time.Time{} // what this agent holds of each task: the instants, by the tries of their claims
	for i, d := range list {
		ref := d.job.Ref()
		mine, ok := held[ref]
		if !ok {
			claims, _, err := a.store().Claims().List(ctx, ref.Group, ref.Name)
			if err != nil {
				return append(left, list[i:]...)
			}
			mine = map[int64]time.Time{}
			for _, c := range claims {
				if c.Node == a.ID && c.Session == a.session && c.Job == d.job.Hash {
					mine[c.Try] = c.Instant
				}
			}
			held[ref] = mine
		}
		at, claimed := mine[d.try]
		switch {
		case claimed && at.Equal(d.instant):
			rec := job.CreateExecutionRecord(d.job, d.job.Firing(d.instant), a.Now(), a.Now(), job.Missed,
				"the coordinator did not answer in time whether it was this node's to run")
			rec.Instant, rec.Trigger = d.instant, d.trigger
			a.end(&rec)
		case a.Now().Sub(d.since) < doubtPatience:
			left = append(left, d)
		}
	}
	return left
}
