//go:build linux

package runner

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// ErrElsewhere is the error of [Runner.Lend] where this process is not the one to execute the command. Nothing was executed.
var ErrElsewhere = errors.New("another process has to execute it")

// maxLent is how many bytes of each stream an execution may leave in its pipes. One that writes more is handed over.
const maxLent = 16 << 10

// Legacy is what another process of the same user and machine needs to go on with an execution, besides its [job.Exec], its pidfd and
// the reading ends of its pipes.
type Legacy struct {
	Result string        `cbor:"0,keyasint,omitempty"` // the path of its ROTA_RESULT
	User   string        `cbor:"1,keyasint,omitempty"`
	UID    int           `cbor:"2,keyasint,omitempty"`
	Group  string        `cbor:"3,keyasint,omitempty"` // the directory of its control group
	Begin  time.Time     `cbor:"4,keyasint"`
	CPU    time.Duration `cbor:"5,keyasint,omitempty"` // what others used in that group before, in user mode
	System time.Duration `cbor:"6,keyasint,omitempty"` // and in the kernel
	Parent int           `cbor:"7,keyasint,omitempty"` // the process that began it, which adopts what it leaves behind
	Ticks  uint64        `cbor:"8,keyasint,omitempty"` // when that process started
	Born   time.Duration `cbor:"9,keyasint,omitempty"` // when the execution began, on the boot-time clock: Begin may be of one that was set since
}

// Keeper has copies of what another process needs to go on with an execution. Its methods must not wait, but for Admit; those of one execution may be called
// by several goroutines, and before Lend has returned.
type Keeper interface {
	// Admit is told when it is the execution's turn to be started, and may wait for a moment, in which no other one is. Where it is false,
	// nothing is executed.
	Admit() bool
	// Keep is told just before the command is executed, with the reading ends of its pipes, which stay the runner's. Where it is false,
	// nothing is executed.
	Keep(l Legacy, stdout, stderr int) bool
	// Born is told when it was executed, with a pidfd that stays the runner's.
	Born(pid, pidfd int)
	// Outgrown is told when the execution needs more than a lent one is given: it must be handed over now.
	Outgrown(x *Lent)
	// Ended is told that it has ended here. What it has written is still in its pipes.
	Ended(x *Lent)
	// Reaped is told what the main process used, once it has ended and this process, its parent, has waited for it: of every
	// execution, wherever it ends. For one that ends here it comes before Ended.
	Reaped(used job.Usage)
}

// Lent is an execution that this process began and that another can go on with at any moment, also when this one dies: until it is released its
// output is read from the pipes and stays there, its result stays where it is, and nothing of it is used for another run. It has no timeout and can't be
// killed: for that, for much output and for results it is handed over.
type Lent struct {
	x    *execution
	k    Keeper
	seen [2]int // how many bytes of each pipe are copied

	// x.mu guards these.
	away     bool // handed over, or released
	outgrown bool
	told     bool // that it is outgrown
}

// Lend begins an execution as Start does, which another process can go on with. It is ErrElsewhere where it has no control group of its own, or k
// refuses it.
func (r *Runner) Lend(ctx context.Context, e job.Exec, k Keeper) (*Lent, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, job.Errorf(job.CodeUnavailable, "the runner is closed")
	}
	r.live.Add(1)
	r.mu.Unlock()
	l := &Lent{k: k}
	if _, err := r.start(ctx, e, nil, l); err != nil {
		r.live.Done()
		return nil, err
	}
	return l, nil
}

// keep gives the keeper what it needs before the command is executed.
func (l *Lent) keep(pipes []pipe) bool {
	x := l.x
	if !x.leaf.Whole() {
		return false
	}
	used := x.leaf.Charged()
	return l.k.Keep(Legacy{
		Result: x.result, User: x.acc.name, UID: x.acc.uid, Group: x.leaf.Dir(), Begin: x.begin, CPU: used.User, System: used.System,
		Parent: x.r.pid, Ticks: x.r.ticks, Born: SinceBoot(),
	}, pipes[0].r, pipes[1].r)
}

// Pid is that of the main process.
func (l *Lent) Pid() int { return l.x.pid }

// StartTicks is as [job.Execution] has it.
func (l *Lent) StartTicks() uint64 { return l.x.StartTicks() }

// Seen is how many bytes of its output are copied.
func (l *Lent) Seen() int {
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	return l.seen[0] + l.seen[1]
}

// Exit is the zero value until Ended has been told.
func (l *Lent) Exit() job.Exit { return l.x.Exit() }

// HandOver lets go of the execution: another process goes on with it. This one only waits for its main process, as its parent. parts tell of the
// output so far, which that process will read, and bytes how long it is. Where it was handed over or released before, ok is false.
func (l *Lent) HandOver() (parts []job.OutputPart, bytes int, ok bool) {
	x := l.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if l.away {
		return nil, 0, false
	}
	parts = x.out.parts.of(0, x.out.total, 0)
	if parts == nil { // it has ended here
		parts = x.exit.OutputParts
	}
	bytes = l.seen[0] + l.seen[1]
	l.let(false)
	x.leaf.Give()
	return parts, bytes, true
}

// Release forgets an execution that has ended here: what its keeper has of it must be gone. What background children write to its output is read and
// thrown away, as of any other.
func (l *Lent) Release() {
	x := l.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if !l.away {
		l.let(true)
		x.leaf.Release()
	}
}

// let lets go of the pipes. Who still writes to those of an execution that ended here is heard out. x.mu is held.
func (l *Lent) let(endedHere bool) {
	x := l.x
	l.away = true
	for i := range x.outs {
		s := &x.outs[i]
		switch {
		case s.fd < 0:
			continue
		case !s.paused:
			x.r.loop.drop(s.fd)
			unix.Close(s.w)
		case endedHere && written(s.fd):
			x.r.loop.discard(s.fd, true)
		default:
			unix.Close(s.fd)
		}
		s.fd = -1
	}
}

// written tells whether somebody has the writing end of a pipe.
func written(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p, 0)
	return err != nil || n == 0 || p[0].Revents&unix.POLLHUP == 0
}

// ready is told that something was written, or that a pipe was closed.
func (l *Lent) ready(s *source, buf []byte) {
	defer l.tell()
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	l.copy(s, buf)
}

// copy takes what is new in a pipe, and leaves it there. x.mu is held.
func (l *Lent) copy(s *source, buf []byte) {
	if l.away || l.outgrown || s.fd < 0 {
		return
	}
	i := 0
	if s.stream == job.Stderr {
		i = 1
	}
	n, err := unix.IoctlGetInt(s.fd, unix.TIOCINQ)
	if err == nil && n <= l.seen[i] {
		return
	}
	x := l.x
	if err != nil || n > min(maxLent, x.out.half) || x.out.parts.full() || !x.r.scratch.copy(s.fd, buf[:n]) {
		l.outgrown = true
		return
	}
	s.take(buf[l.seen[i]:n])
	l.seen[i] = n
}

// tell tells the keeper what has happened. x.mu is not held.
func (l *Lent) tell() {
	l.x.mu.Lock()
	tell := l.outgrown && !l.told && !l.away
	if tell {
		l.told = true
	}
	l.x.mu.Unlock()
	if tell {
		l.k.Outgrown(l)
	}
}

// reaped is told how the main process has ended. x.mu is held.
func (l *Lent) reaped(buf []byte, end time.Time, status syscall.WaitStatus, usage syscall.Rusage, err error) {
	x := l.x
	user, system := time.Duration(usage.Utime.Nano()), time.Duration(usage.Stime.Nano())
	used := job.Usage{UserMS: user.Milliseconds(), SystemMS: system.Milliseconds(), MaxRSSKB: maxRSS(usage)}
	l.k.Reaped(used)
	if !l.away {
		x.leaf.Charge(user, system)
		for i := range x.outs {
			x.outs[i].shut()
			l.copy(&x.outs[i], buf)
		}
		var st unix.Stat_t
		if err := unix.Lstat(x.result, &st); !errors.Is(err, unix.ENOENT) {
			l.outgrown = true
		}
	}
	if l.away || l.outgrown { // how it ended is told by others
		x.r.forget(x)
		x.r.live.Done()
		return
	}
	x.exit = job.Exit{Begin: x.begin, End: end, OutputBytes: x.out.total, Usage: used}
	x.exit.Output, x.exit.OutputParts, x.exit.OutputTruncated = x.out.result()
	x.out = output{}
	x.describe(status, x.leaf.Usage(), err)
	x.collect(nil)
	x.complete()
}

// scratch is a pipe into which the contents of others are copied.
type scratch struct {
	mu   sync.Mutex
	r, w int
}

func newScratch() (*scratch, error) {
	var fd [2]int
	if err := unix.Pipe2(fd[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	return &scratch{r: fd[0], w: fd[1]}, nil
}

// copy fills buf with what stands first in a pipe, which stays there. It tells whether there was as much, and it could be copied.
func (s *scratch) copy(from int, buf []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := unix.Tee(from, s.w, len(buf), unix.SPLICE_F_NONBLOCK)
	if err != nil {
		return false
	}
	for got := 0; got < int(n); {
		m, err := unix.Read(s.r, buf[got:])
		if m <= 0 && !errors.Is(err, unix.EINTR) {
			return false
		}
		got += max(m, 0)
	}
	return int(n) == len(buf)
}

func (s *scratch) close() {
	unix.Close(s.r)
	unix.Close(s.w)
}

// Leave is Close for a runner whose executions were all lent and are all handed over or released. What is still alive has this process for its parent,
// so that the runner stays as long as that; over is closed when it is gone. Results are left to who goes on with the executions.
func (r *Runner) Leave() (over <-chan struct{}) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.live.Wait()
		_ = r.shut()
	}()
	return done
}
