package master

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A master gets the log of a run from the node that has it: it asks by a key below the node's prefix (job.Follow), and the node calls
// in with batches ([Master.TakeLog]). What comes in is a feed: a window over the log that all followers read who are near
// enough to each other. Whoever is not gets a feed of its own, so that the slow are in nobody's way. A feed whose followers
// all have something to do takes no further batch: so a window bounds what a log costs the master, however large it is.

// Bounds of the logs that are followed.
const (
	maxLogStreams = 256              // followers of one master at once
	maxLogFeeds   = 64               // feeds of one master at once
	logWindow     = 1 << 20          // bytes that a feed keeps
	pieceCost     = 160              // what a piece costs beside its data
	logHold       = 20 * time.Second // how long a call of a node waits for somebody who wants more
)

// logDesk is what a master knows of the logs that it follows.
type logDesk struct {
	m *Master

	mu      sync.Mutex
	feeds   map[string]*feed // by the follow's id
	streams int
	born    int64
	changed chan struct{} // capacity 1: what should stand in etcd has changed
}

func newLogDesk(m *Master) *logDesk {
	return &logDesk{m: m, feeds: map[string]*feed{}, changed: make(chan struct{}, 1)}
}

// admit counts a follower in; whoever is let in calls leave.
func (d *logDesk) admit() (leave func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.streams >= maxLogStreams {
		return nil, job.Errorf(job.CodeExhausted, "this master shows %d logs already, which is the most that it does at once", maxLogStreams).
			WithHint("try again later, or ask another master")
	}
	d.streams++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.streams--
	}, nil
}

// join finds a feed of a run that has a position, or begins one there.
func (d *logDesk) join(run job.RunID, node job.NodeID, at job.LogPosition) (*seat, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.seatAt(run, node, at, logWindow, nil); s != nil {
		return s, nil
	}
	if len(d.feeds) >= maxLogFeeds {
		return nil, job.Errorf(job.CodeExhausted, "this master reads %d logs from nodes already, which is the most that it does at once", maxLogFeeds).
			WithHint("try again later, or ask another master")
	}
	d.born++
	f := &feed{
		desk: d, born: d.born, began: d.m.Now(), head: at, more: make(chan struct{}), demand: make(chan struct{}),
		follow: &job.Follow{
			ID: secret(16), Node: node, Run: run, Master: d.m.ID, URLs: d.m.reachedAt(node), Token: secret(32), Pin: d.m.Pin,
		},
	}
	d.feeds[f.follow.ID] = f
	d.touch()
	return f.seat(0), nil
}

// seatAt finds the best feed of a run whose window has a position, within so many bytes of its head.
func (d *logDesk) seatAt(run job.RunID, node job.NodeID, at job.LogPosition, near int, than *feed) *seat {
	best, place := than, 0
	for _, f := range d.feeds {
		if f.follow.Run != run || f.follow.Node != node || best != nil && !f.better(best) {
			continue
		}
		if i, ok := f.find(at, near); ok {
			best, place = f, i
		}
	}
	if best == than {
		return nil
	}
	return best.seat(place)
}

// touch has what stands in etcd looked at.
func (d *logDesk) touch() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// secret is a random name of so many bytes.
func secret(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// ask keeps what stands in etcd equal to the feeds, until ctx ends.
func (d *logDesk) ask(ctx context.Context, a *store.Announcement) {
	standing := map[string]*job.Follow{}
	d.touch() // there may be feeds already
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.Lost():
			standing = map[string]*job.Follow{}
		case <-d.changed:
		}
		for !d.settle(ctx, a, standing) {
			if !sleep(ctx, time.Second) {
				return
			}
		}
	}
}

// settle writes what differs; false: not all of it could be written.
func (d *logDesk) settle(ctx context.Context, a *store.Announcement, standing map[string]*job.Follow) bool {
	wanted := map[string]*job.Follow{}
	d.mu.Lock()
	for id, f := range d.feeds {
		wanted[id] = f.follow
	}
	d.mu.Unlock()
	ok := true
	for id, f := range wanted {
		if standing[id] != nil {
			continue
		}
		if err := a.Follow(ctx, f); err != nil {
			d.m.Logger.Warn("a node can't be asked for a log", "node", f.Node, "run", f.Run, "error", err)
			ok = false
			continue
		}
		standing[id] = f
	}
	for id, f := range standing {
		if wanted[id] != nil {
			continue
		}
		if err := a.Unfollow(ctx, f); err != nil {
			d.m.Logger.Warn("a node can't be told that its log is not wanted any more", "node", f.Node, "run", f.Run, "error", err)
			ok = false
			continue
		}
		delete(standing, id)
	}
	return ok
}

// TakeLog takes a batch that a node sends, and answers when somebody wants more, or after a while. Who does not know the
// follow's token gets the same answer as who asks for one that there isn't.
func (m *Master) TakeLog(ctx context.Context, id, token string, b *job.LogBatch) (job.LogWanted, error) {
	d := m.logs
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.feeds[id]
	if f == nil || subtle.ConstantTimeCompare([]byte(f.follow.Token), []byte(token)) != 1 {
		return job.LogWanted{}, job.Errorf(job.CodeUnauthorized, "nobody follows a log by that name and token")
	}
	f.called = m.Now()
	defer func() { f.called = m.Now() }()
	if err := f.take(b); err != nil {
		return job.LogWanted{}, err
	}
	hold := time.NewTimer(logHold)
	defer hold.Stop()
	for f.waiting == 0 && !f.over {
		demand := f.demand
		d.mu.Unlock()
		timeUp := false
		select {
		case <-demand:
		case <-hold.C:
			timeUp = true
		case <-ctx.Done():
			timeUp = true
		}
		d.mu.Lock()
		if timeUp {
			break
		}
	}
	return job.LogWanted{At: f.head, Hold: f.waiting == 0, Over: f.over}, nil
}
