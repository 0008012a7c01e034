package sim

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// guard stands for the process beside an agent in which its commands run. It outlives the agent, and dies with the machine.
type guard struct {
	m *machine

	mu      sync.Mutex
	held    time.Duration // until when tied executions may live
	runs    []*execution  // not released
	dead    bool
	nextPid int
}

// execution is a command that seems to run. What it does is drawn from who it is.
type execution struct {
	job.Exec
	g     *guard
	pid   int
	begin time.Time
	note  note

	mu     sync.Mutex
	stop   string // who asked for its end
	hurry  string // who asked for that without grace
	gone   bool   // its machine has crashed
	poke   chan struct{}
	done   chan struct{}
	exit   job.Exit
	fence  int64
	record *started // as the observer has it
	by     string   // the life of the agent that began it
}

// note is what the agent says of an execution for its own later lives: the observer reads it as a stranger.
type note struct {
	Job      *job.Job      `json:"job"`
	Dispatch *job.Dispatch `json:"dispatch"`
	Trigger  job.Trigger   `json:"trigger"`
	Instant  time.Time     `json:"instant"`
}

// endpoint is the guard as one life of the agent has it. When that is dead it says nothing any more.
type endpoint struct {
	g    *guard
	life *life
}

var _ job.Adopter = endpoint{}

var errDead = job.Errorf(job.CodeUnavailable, "the agent is dead")

func (p endpoint) alive() bool { return !p.life.dead.Load() }

// stand is where the agent stands while it is stopped.
func (p endpoint) stand() { p.g.m.w.net.stand(string(p.g.m.id)) }

func (p endpoint) Start(ctx context.Context, e job.Exec) (job.Execution, error) {
	m := p.g.m
	p.stand()
	name := string(e.Run) + "/" + strconv.Itoa(e.Attempt)
	if !wait(ctx, m.w.d.between(200*time.Microsecond, 3*time.Millisecond, "fork", name)) {
		return nil, context.Cause(ctx)
	}
	p.stand()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	g := p.g
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !p.alive() || g.dead:
		return nil, errDead
	case e.Tied > 0 && m.sinceBoot() >= max(e.Tied, g.held):
		return nil, job.Errorf(job.CodeUnavailable, "the lease that this run is tied to ended before it could start")
	}
	g.nextPid++
	x := &execution{Exec: e, g: g, by: p.life.client, pid: 1000*m.boots + g.nextPid, begin: time.Now(), poke: make(chan struct{}, 1), done: make(chan struct{})}
	_ = json.Unmarshal(e.Note, &x.note) // where it can't be read the observer says so
	for _, v := range e.Env {
		if f, ok := strings.CutPrefix(v, "ROTA_FENCE="); ok {
			x.fence, _ = strconv.ParseInt(f, 10, 64)
		}
	}
	x.record = m.w.seen.started(x)
	g.runs = append(g.runs, x)
	m.w.wg.Go(x.live)
	return handle{x, p}, nil
}

func (p endpoint) Hold(until time.Duration) {
	p.stand()
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	if p.alive() {
		p.g.held = max(p.g.held, until)
	}
}

func (p endpoint) Adopt(context.Context) (list []job.Adopted, _ error) {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	for _, x := range p.g.runs {
		list = append(list, job.Adopted{Run: x.Run, Attempt: x.Attempt, Begin: x.begin, Note: x.Note, Execution: handle{x, p}})
	}
	return list, nil
}

// crash ends everything without a word, as the loss of power does.
func (g *guard) crash() {
	g.mu.Lock()
	g.dead = true
	runs := slices.Clone(g.runs)
	g.mu.Unlock()
	for _, x := range runs {
		x.mu.Lock()
		x.gone = true
		x.mu.Unlock()
		x.nudge()
		<-x.done
	}
}

// tie is until when an execution may live; zero: as long as it likes.
func (x *execution) tie() time.Time {
	if x.Tied == 0 {
		return time.Time{}
	}
	x.g.mu.Lock()
	defer x.g.mu.Unlock()
	return x.g.m.booted.Add(max(x.Tied, x.g.held))
}

func (x *execution) nudge() {
	select {
	case x.poke <- struct{}{}:
	default:
	}
}

// live is the execution's life.
func (x *execution) live() {
	w := x.g.m.w
	name := string(x.Run) + "/" + strconv.Itoa(x.Attempt)
	takes, exit := w.plan(x, name)
	end := x.begin.Add(takes)
	if x.Timeout > 0 && x.begin.Add(x.Timeout).Before(end) {
		end, exit = x.begin.Add(x.Timeout), job.Exit{Outcome: job.Timeout, Reason: "it took longer than " + x.Timeout.String()}
	}
	asked := false // for its end
	for {
		x.mu.Lock()
		stop, hurry, gone := x.stop, x.hurry, x.gone
		x.mu.Unlock()
		now := time.Now()
		if tie := x.tie(); !tie.IsZero() {
			grace := min(x.Grace, x.TiedGrace)
			if hurry == "" && !now.Before(tie) {
				hurry = "the end of the node's lease"
			}
			if stop == "" && !now.Before(tie.Add(-grace)) {
				stop = "the end of the node's lease"
			}
		}
		switch {
		case gone:
			exit = job.Exit{}
			end = now
		case hurry != "":
			exit, end = job.Exit{Outcome: job.Killed, Reason: "killed by " + hurry, Signal: "SIGKILL"}, now
		case stop != "" && !asked:
			asked = true
			grace := x.Grace
			if grace == 0 {
				grace = job.DefaultGrace
			}
			// Some end at once when they are asked to, others use their grace.
			after := w.d.between(time.Millisecond, 300*time.Millisecond, "asked to end", name)
			if w.d.chance(0.3, "stubborn", name) {
				after = grace
			}
			if now.Add(after).Before(end) {
				exit, end = job.Exit{Outcome: job.Killed, Reason: "killed by " + stop, Signal: "SIGTERM"}, now.Add(after)
			}
		}
		if !now.Before(end) {
			break
		}
		next := end
		if tie := x.tie(); !tie.IsZero() {
			for _, t := range []time.Time{tie.Add(-min(x.Grace, x.TiedGrace)), tie} {
				if t.After(now) && t.Before(next) {
					next = t
				}
			}
		}
		t := time.NewTimer(next.Sub(now))
		select {
		case <-t.C:
		case <-x.poke:
		}
		t.Stop()
	}
	exit.Begin, exit.End = x.begin, time.Now()
	x.exit = exit
	w.seen.ended(x)
	close(x.done)
}

// handle is an execution as one life of the agent has it.
type handle struct {
	*execution
	by endpoint
}

func (h handle) Pid() int           { return h.pid }
func (h handle) StartTicks() uint64 { return uint64(h.pid) }

// Kill may be called under a lock, and can't stand still while the agent is stopped: its word is heard when that goes on.
func (h handle) Kill(by string) { h.say(func() { h.stop = by }) }

func (h handle) KillNow(by string) { h.say(func() { h.hurry = by }) }

func (h handle) say(f func()) {
	h.by.g.m.w.wg.Go(func() {
		h.by.stand()
		if h.by.alive() {
			h.mu.Lock()
			f()
			h.mu.Unlock()
			h.nudge()
		}
	})
}

func (h handle) Done() <-chan struct{}         { return h.done }
func (h handle) Exit() job.Exit                { return h.exit }
func (h handle) Publish()                      {}
func (h handle) Progress() <-chan job.Progress { return nil }

func (h handle) Release() {
	h.by.g.mu.Lock()
	defer h.by.g.mu.Unlock()
	if h.by.alive() {
		h.by.g.runs = slices.DeleteFunc(h.by.g.runs, func(x *execution) bool { return x == h.execution })
	}
}
