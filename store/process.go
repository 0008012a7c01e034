package store

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// patience is how long a process must live before it gets a key.
const patience = 20 * time.Millisecond

// sweepEvery is how often the lease is searched for keys that nobody holds: a write whose answer was lost may have
// happened after it was given up.
const sweepEvery = time.Minute

// processes keeps the process keys in etcd equal to what is alive. One goroutine writes; it compares and acts
// until nothing is left to do, so that no failure leaves a ghost and no lost lease leaves a gap.
type processes struct {
	ss *Session

	mu    sync.Mutex
	alive map[string]aliveProcess // by key below the prefix
	wake  chan struct{}
	// standing is what has been written, by key; "" where that is unknown.
	standing map[string]string
	losses   int // how often forget was called
}

type aliveProcess struct {
	p     *job.Process
	value string
	since time.Duration // on the elapsed clock
}

func newProcesses(ss *Session) *processes {
	return &processes{ss: ss, alive: map[string]aliveProcess{}, standing: map[string]string{}, wake: make(chan struct{}, 1)}
}

func (ps *processes) set(p *job.Process) {
	key, data, err := processKind.marshal(p)
	if err != nil {
		ps.ss.s.log.Error("a process cannot be shown", "process", p.Key(), "error", err)
		return
	}
	c := *p
	ps.mu.Lock()
	ps.alive[key] = aliveProcess{p: &c, value: string(data), since: ps.ss.s.clock.elapsed()}
	ps.mu.Unlock()
	ps.signal()
}

// unset removes a process, but not a later one that has got the same pid.
func (ps *processes) unset(p *job.Process) {
	key, err := processKeys.key(processKind.parts(p)...)
	if err != nil {
		return
	}
	ps.mu.Lock()
	if now, ok := ps.alive[key]; ok && now.p.Run == p.Run && now.p.StartTicks == p.StartTicks && now.p.BootID == p.BootID {
		delete(ps.alive, key)
	}
	ps.mu.Unlock()
	ps.signal()
}

func (ps *processes) count(hash string) int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if hash == "" {
		return len(ps.alive)
	}
	n := 0
	for _, a := range ps.alive {
		if a.p.JobID == hash {
			n++
		}
	}
	return n
}

// forget notes that the lease was lost with all keys.
func (ps *processes) forget() {
	ps.mu.Lock()
	clear(ps.standing)
	ps.losses++
	ps.mu.Unlock()
	ps.signal()
}

func (ps *processes) signal() {
	select {
	case ps.wake <- struct{}{}:
	default:
	}
}

// run writes the differences until ctx ends.
func (ps *processes) run(ctx context.Context) {
	b := backoff{min: 50 * time.Millisecond, max: 2 * time.Second}
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case <-ps.wake:
			if !sleep(ctx, patience) { // let more come, and what is short-lived go
				return
			}
		case <-again.C:
		case <-sweep.C:
			ps.sweep(ctx)
		case <-ctx.Done():
			return
		}
		changes, young := ps.differences(ctx)
		switch {
		case !ps.settle(changes):
			again.Reset(b.delay())
		case young:
			b.reset()
			again.Reset(patience)
		default:
			b.reset()
			again.Reset(time.Hour)
		}
	}
}

// processChange is one key that differs, on its way.
type processChange struct {
	key, value string // value "": to be deleted
	losses     int
	w          *work
}

// differences submits what differs between etcd and what is alive, and tells whether something is too
// young to be written yet.
func (ps *processes) differences(ctx context.Context) (changes []processChange, young bool) {
	now := ps.ss.s.clock.elapsed()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for key, a := range ps.alive {
		was, ok := ps.standing[key]
		if ok && was == a.value {
			continue
		}
		if !ok && now-a.since < patience {
			young = true
			continue
		}
		k := ps.ss.t.use()
		op := &Op{then: []request{{action: put, key: key, value: []byte(a.value), lease: k.id}}}
		changes = append(changes, processChange{key, a.value, ps.losses, ps.ss.c.submit(ctx, false, op, k.users.Done)})
	}
	for key := range ps.standing {
		if _, ok := ps.alive[key]; !ok {
			op := &Op{then: []request{{action: del, key: key}}}
			changes = append(changes, processChange{key, "", ps.losses, ps.ss.c.submit(ctx, false, op, nil)})
		}
	}
	return changes, young
}

// settle waits for the changes and notes what stands now. Where that is unknown the key is written again.
func (ps *processes) settle(changes []processChange) (all bool) {
	all = true
	for _, c := range changes {
		<-c.w.done
		ps.mu.Lock()
		switch {
		case c.w.err != nil:
			all = false
			ps.standing[c.key] = "" // it may stand, or not
		case c.losses != ps.losses:
			// It may have been written before the loss.
			delete(ps.standing, c.key)
		case c.value == "":
			delete(ps.standing, c.key)
		default:
			ps.standing[c.key] = c.value
		}
		ps.mu.Unlock()
	}
	return all
}

// sweep removes keys from the session's lease that nobody holds.
func (ps *processes) sweep(ctx context.Context) {
	once, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	k := ps.ss.t.current()
	keys, err := ps.ss.s.kv.LeaseKeys(once, k.id)
	if err != nil {
		return // the next one will do
	}
	for _, key := range keys {
		rel := strings.TrimPrefix(key, ps.ss.s.prefix)
		switch {
		case strings.HasPrefix(rel, processKeys.root+"/"):
			ps.mu.Lock()
			_, alive := ps.alive[rel]
			if _, known := ps.standing[rel]; !alive && !known {
				ps.standing[rel] = "" // differences deletes it
			}
			ps.mu.Unlock()
		case strings.HasPrefix(rel, lockKeys.root+"/"):
			ps.ss.sweepLock(ctx, rel, k.id)
		}
	}
}
