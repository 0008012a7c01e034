//go:build linux

package runner

import (
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// leaseCause is what ends an execution that is tied to a lease which nobody renews.
const leaseCause = "killed by the end of the node's lease"

// tied ends tied executions before their time on the boot-time clock is over, unless somebody has said a later one by then. There
// is one timer for all of them, and none while there are none.
//
// The Go runtime's timers stand still while the machine is suspended, and the boot-time clock does not. So the time is looked at
// anew whenever the timer fires, and it fires at least once a second: after a suspension it is late by that at the most.
type tied struct {
	mu    sync.Mutex
	held  time.Duration // the latest time that anybody said
	alive map[*execution]tie
	timer *time.Timer
}

// tie is what an execution was started with.
type tie struct {
	until time.Duration
	grace time.Duration // how long before that it gets its SIGTERM
	asked bool          // it has
}

// tiedLook is how long the timer sleeps at the most.
const tiedLook = time.Second

// check refuses what is to begin after its time.
func (t *tied) check(until time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if SinceBoot() < max(until, t.held) {
		return nil
	}
	return job.Errorf(job.CodeUnavailable, "the lease that this run is tied to ended before it could start")
}

// add ties an execution that has begun, and whose end is not looked for yet.
func (t *tied) add(x *execution, e job.Exec) {
	grace := x.grace
	if e.TiedGrace > 0 {
		grace = min(grace, e.TiedGrace)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.alive == nil {
		t.alive = map[*execution]tie{}
	}
	t.alive[x] = tie{until: e.Tied, grace: grace}
	t.arm()
}

// remove is told that an execution has ended.
func (t *tied) remove(x *execution) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.alive, x)
}

// hold puts the end off.
func (t *tied) hold(until time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = max(t.held, until)
}

// arm sets the timer for what is due next. mu is held.
func (t *tied) arm() {
	if len(t.alive) == 0 {
		return
	}
	wait, now := tiedLook, SinceBoot()
	for _, tie := range t.alive {
		at := max(tie.until, t.held)
		if !tie.asked {
			at -= tie.grace
		}
		wait = min(wait, max(at-now, 0))
	}
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.look)
	} else {
		t.timer.Reset(wait)
	}
}

// look ends those whose time has come.
func (t *tied) look() {
	var ask, end []*execution
	t.mu.Lock()
	now := SinceBoot()
	for x, tie := range t.alive {
		at := max(tie.until, t.held)
		switch {
		case now >= at:
			delete(t.alive, x)
			end = append(end, x)
		case now >= at-tie.grace && !tie.asked:
			tie.asked = true
			t.alive[x] = tie
			ask = append(ask, x)
		}
	}
	t.arm()
	t.mu.Unlock()
	for _, x := range ask {
		x.stop(job.Killed, leaseCause)
	}
	for _, x := range end {
		x.stop(job.Killed, leaseCause)
		x.hurry()
	}
}

// close is called when nothing is alive.
func (t *tied) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
}
