//go:build linux

package runner

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/cgroup"
	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
)

// heir is what an execution has that another process began. Its exit status goes to its parent; a pidfd tells it to everybody once that has waited, and
// its zombie tells it before.
type heir struct {
	parent int           // the process that began it
	ticks  uint64        // when that process started
	born   time.Duration // on the boot-time clock, when it began
	given  bool          // up: the main process has ended, and nobody waits for it
}

// Inherited is an execution that another process has begun and lent.
type Inherited struct {
	Legacy
	Exec   job.Exec // what Lend was given, but for what is of no use once the command was executed
	Pid    int
	Pidfd  int // -1: nobody noted it
	Stdout int
	Stderr int
	// Parts tell what the first Bytes of the output are, as they were seen to come; none: nobody noted that.
	Parts []job.OutputPart
	Bytes int
}

// Inherit goes on with an execution that another process began, which only waits for it, or is dead. The descriptors are the runner's from now on. An
// execution that was not noted whole, because that process died while it began it, is looked for in its control group; one that is not there any more has
// ended as [job.Lost]. then is as for StartThen.
func (r *Runner) Inherit(i Inherited, then func(job.Execution)) job.Execution {
	e := i.Exec
	if e.Grace <= 0 {
		e.Grace = job.DefaultGrace
	}
	if e.OutputLimit <= 0 {
		e.OutputLimit = job.DefaultOutputLimit
	}
	x := &execution{
		r: r, pid: i.Pid, pidfd: i.Pidfd, marker: "ROTA_RESULT=" + i.Result, result: i.Result, acc: &account{name: i.User, uid: i.UID},
		grace: e.Grace, begin: i.Begin, done: make(chan struct{}), exited: make(chan struct{}), now: make(chan struct{}),
		out: output{half: max(e.OutputLimit/2, 1)}, then: then, logID: runlog.ID{Run: e.Run, Attempt: e.Attempt}, from: e.ResultFrom,
		leaf: r.groups.Inherit(i.Group, cgroup.Usage{User: i.CPU, System: i.System}), heir: &heir{parent: i.Parent, ticks: i.Ticks, born: i.Born},
	}
	for n, fd := range [2]int{i.Stdout, i.Stderr} {
		x.outs[n] = source{fd: fd, w: -1, stream: [2]job.Stream{job.Stdout, job.Stderr}[n], x: x}
	}
	r.mu.Lock()
	r.live.Add(1)
	r.mu.Unlock()
	x.mu.Lock()
	x.replay(i.Parts, i.Bytes)
	if x.pidfd < 0 {
		x.find()
	}
	if x.pidfd < 0 {
		x.lost("the agent died while it started the run, and nobody can say whether it had begun")
		x.mu.Unlock()
		go x.tell() // the caller may hold what then needs
		return x
	}
	if p, err := readProc(x.pid, make([]byte, 0, statSize)); err == nil && !reaped(x.pidfd) {
		x.ticks = p.start
	}
	x.mu.Unlock()
	r.mu.Lock()
	r.running[x.pid] = x
	r.mu.Unlock()
	x.watch(e.Timeout)
	return x
}

// replay reads what the one that began the execution has seen of its output, as it had come. x.mu is held.
func (x *execution) replay(parts []job.OutputPart, total int) {
	for i, p := range parts {
		end := total
		if i+1 < len(parts) {
			end = parts[i+1].At
		}
		for s := range x.outs {
			if x.outs[s].stream == p.Stream && end > p.At {
				x.outs[s].replay(make([]byte, end-p.At), p.Time)
			}
		}
	}
}

func (s *source) replay(buf []byte, at time.Time) {
	for len(buf) > 0 {
		n, err := unix.Read(s.fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return // less than was said; the rest comes as it comes
		}
		s.takeAt(buf[:n], at)
		buf = buf[n:]
	}
}

// find looks for the main process in the control group of a run whose agent died before it could note it: the head of a process group, the
// oldest there is, with the marker of the run. One that executes the command at this moment is waited for. x.mu is held.
func (x *execution) find() {
	var found proc
	t := &tree{marker: x.marker, died: map[int]bool{}}
	for _, pid := range x.leaf.Processes() {
		p, err := readProc(pid, make([]byte, 0, statSize))
		if err != nil || p.dead() || p.pgrp != p.pid || found.pid != 0 && found.start <= p.start {
			continue
		}
		if t.marked(p) {
			found = p
		}
	}
	if found.pid == 0 {
		return
	}
	fd, err := unix.PidfdOpen(found.pid, 0)
	if err != nil {
		return
	}
	if now, err := readProc(found.pid, make([]byte, 0, statSize)); err != nil || now.start != found.start {
		unix.Close(fd)
		return
	}
	x.pid, x.pidfd = found.pid, fd
}

// lost ends an execution of which nobody knows how it ended; what it has written is kept. Nothing watches it. x.mu is held.
func (x *execution) lost(reason string) {
	now := time.Now()
	x.reaped, x.ended = now, true
	buf := make([]byte, chunkSize)
	for i := range x.outs {
		s := &x.outs[i]
		s.paused = true // the loop does not know it
		s.drain(buf)
	}
	x.exit = job.Exit{Outcome: job.Lost, EndedBy: job.EndedByLoss, Reason: reason, Begin: x.begin, End: now, OutputBytes: x.out.total}
	x.exit.Output, x.exit.OutputParts, x.exit.OutputTruncated = x.out.result()
	x.out = output{}
	x.leaf.Kill()
	x.leaf.Release()
	close(x.done)
	x.r.live.Done()
}

// unwaited tells whether a zombie is another's child than the one's that began it, which waits for it.
func (h *heir) unwaited(pid int) bool {
	p, err := readProc(pid, make([]byte, 0, statSize))
	if err != nil || !p.dead() || p.ppid != h.parent {
		return err == nil && p.dead()
	}
	ticks, err := StartTicks(h.parent)
	return err == nil && ticks != h.ticks
}

// parentPatience is how often the parent of a dead process is looked for that should wait for it.
const parentPatience = 10 * time.Second

// awaitParent returns when the parent of the main process has waited for it, or when nobody is going to.
func (x *execution) awaitParent() {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(x.pidfd)}}, int(parentPatience.Milliseconds())) // of POLLHUP alone
		switch {
		case errors.Is(err, unix.EINTR):
		case n != 0 || err != nil:
			return
		case x.heir.unwaited(x.pid):
			x.mu.Lock()
			x.heir.given = true
			x.mu.Unlock()
			return
		}
	}
}
