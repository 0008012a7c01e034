//go:build linux

package guard

import (
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// execution is the agent's end of a run that a guard holds.
type execution struct {
	l     *link
	id    uint64
	run   job.RunID
	begin time.Time
	own   *own // nil: the guard has it from its beginning

	begun     chan struct{} // closed when pid and ticks are known, or never will be
	done      chan struct{}
	progress  chan job.Progress
	published chan struct{}

	mu        sync.Mutex
	pid       int
	ticks     uint64
	exit      job.Exit
	over      bool // done is closed
	unwanted  bool // nobody waits for it: it is released at its end
	publishes bool // the guard was asked
	shown     bool // published is closed
}

func newExecution(l *link, id uint64, run job.RunID, begin time.Time) *execution {
	return &execution{
		l: l, id: id, run: run, begin: begin, begun: make(chan struct{}), done: make(chan struct{}),
		progress: make(chan job.Progress, 1), published: make(chan struct{}),
	}
}

func (x *execution) Pid() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.pid
}

func (x *execution) StartTicks() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ticks
}

func (x *execution) Kill(by string)        { x.ask(&message{Kind: kindKill, ID: x.id, By: by}) }
func (x *execution) KillNow(by string)     { x.ask(&message{Kind: kindKillNow, ID: x.id, By: by}) }
func (x *execution) Done() <-chan struct{} { return x.done }

// ask asks something of the guard, which has the execution for that.
func (x *execution) ask(m *message) {
	x.handOver()
	x.l.n.send(m)
}

// handOver hands an execution of the agent's own over, unless it has ended.
func (x *execution) handOver() {
	if x.own == nil || x.hasEnded() {
		return
	}
	x.l.mu.Lock()
	defer x.l.mu.Unlock()
	x.l.stash.handOver(x)
}

func (x *execution) hasEnded() bool { return closed(x.done) }
func (x *execution) hasBegun() bool { return closed(x.begun) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (x *execution) Progress() <-chan job.Progress { return x.progress }

// Exit is the zero value until Done is closed.
func (x *execution) Exit() job.Exit {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.exit
}

// Release tells the guard to forget the execution. Should that not arrive, the next life of the agent finds it ended again.
func (x *execution) Release() { x.l.release(x) }

// Publish waits no longer than the guard is given for an answer.
func (x *execution) Publish() {
	x.handOver()
	x.mu.Lock()
	if !x.publishes && !x.over {
		x.publishes = true
		x.l.n.send(&message{Kind: kindPublish, ID: x.id})
	}
	x.mu.Unlock()
	t := time.NewTimer(x.l.c.o.Patience)
	defer t.Stop()
	select {
	case <-x.published:
	case <-x.done:
	case <-t.C:
	}
}

// identify notes the process. A pid of 0 says that there will be none.
func (x *execution) identify(pid int, ticks uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case <-x.begun:
	default:
		x.pid, x.ticks = pid, ticks
		close(x.begun)
	}
}

// finish notes the end. Only the first one counts.
func (x *execution) finish(exit job.Exit) {
	x.identify(0, 0)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		x.over, x.exit = true, exit
		close(x.done)
	}
}

// tell takes a word about the progress. An older one that nobody took makes way.
func (x *execution) tell(p job.Progress) {
	select {
	case <-x.progress:
	default:
	}
	select {
	case x.progress <- p:
	default:
	}
}

func (x *execution) show() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.shown {
		x.shown = true
		close(x.published)
	}
}
