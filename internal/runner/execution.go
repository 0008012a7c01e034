//go:build linux

package runner

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/cgroup"
	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
)

// execution is one run, alive or ended.
//
// Its main process is reaped in two places only, end (nobody killed it) and terminate (somebody did), under mu.
// Until then the pid and the process group are its own and can be signalled.
type execution struct {
	r      *Runner
	pid    int
	marker string // the entry of the environment by which its processes are known
	result string // the path of the result
	acc    *account
	limits job.Limits
	leaf   *cgroup.Leaf // its control group; nil: none
	grace  time.Duration
	begin  time.Time
	logID  runlog.ID
	from   job.Stream // whose last JSON object is the result; empty: neither
	done   chan struct{}
	then   func(job.Execution) // called once, after the end; nil: nobody
	lent   *Lent               // nil: nobody else can go on with it
	heir   *heir               // nil: this process began it
	exited chan struct{}       // closed when the main process has exited while terminate is at work
	told   sync.Once           // then was called
	now    chan struct{}       // closed to end the grace
	tied   bool

	mu     sync.Mutex
	pidfd  int
	outs   [2]source
	out    output
	said   job.LastObject // of the stream that the result is from
	log    *logged        // nil: there is none yet
	timer  *time.Timer
	tick   *time.Timer
	news   *news       // nil: nobody asked for progress
	cause  string      // who or what ended it from outside; empty: nobody
	over   job.Outcome // what that makes of it
	ended  bool
	reaped time.Time // the end, by which everything that is still to be read was written; zero: not yet
	ticks  uint64
	exit   job.Exit
}

// source is the reading end of a pipe of an execution.
type source struct {
	fd     int  // -1: closed, or handed over
	w      int  // the writing end, open until the main process has ended: its end alone wakes the loop then, not that of its descriptors too
	paused bool // the loop does not watch it: the disk is behind, or the main process has ended
	stream job.Stream
	x      *execution
}

func (x *execution) Pid() int { return x.pid }

// StartTicks is asked of the kernel at the first call. It is 0 where that comes after the end.
func (x *execution) StartTicks() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ticks == 0 && !x.ended && x.heir == nil { // an heir knew it when it was one
		if p, err := readProc(x.pid, make([]byte, 0, statSize)); err == nil {
			x.ticks = p.start
		}
	}
	return x.ticks
}

func (x *execution) Done() <-chan struct{} { return x.done }

// Exit is the zero value until Done is closed.
func (x *execution) Exit() job.Exit {
	select {
	case <-x.done:
		return x.exit
	default:
		return job.Exit{}
	}
}

func (x *execution) Kill(by string) {
	if by == "" {
		by = "an unnamed caller"
	}
	x.stop(job.Killed, "killed by "+by)
}

func (x *execution) KillNow(by string) {
	x.hurry()
	x.Kill(by)
}

// hurry ends the grace.
func (x *execution) hurry() {
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case <-x.now:
	default:
		close(x.now)
	}
}

// Release has nothing to do: who holds the execution keeps it.
func (x *execution) Release() {}

// stop has the tree ended, unless the run has ended or is being ended already.
func (x *execution) stop(outcome job.Outcome, cause string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended || x.cause != "" {
		return
	}
	x.cause, x.over = cause, outcome
	go x.terminate() // the runner's count of live executions waits for it
}

func (s *source) ready(_ int, buf []byte) {
	if l := s.x.lent; l != nil {
		l.ready(s, buf)
		return
	}
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	s.read(buf)
}

// read takes what fits into buf, and closes the source at its end. x.mu is held.
func (s *source) read(buf []byte) {
	if s.fd < 0 {
		return
	}
	n, err := unix.Read(s.fd, buf)
	switch {
	case n > 0:
		s.take(buf[:n])
	case err != unix.EAGAIN && err != unix.EINTR: // the end
		if s.paused {
			unix.Close(s.fd)
		} else {
			s.x.r.loop.drop(s.fd)
		}
		s.fd = -1
	}
}

// take keeps what was read. x.mu is held.
func (s *source) take(p []byte) {
	now := s.x.reaped
	if now.IsZero() {
		now = time.Now()
	}
	s.takeAt(p, now)
}

// takeAt keeps what was read at a time. x.mu is held.
func (s *source) takeAt(p []byte, now time.Time) {
	x := s.x
	if x.log == nil && (x.out.full(len(p)) || x.out.parts.full()) {
		x.publish() // while all of it is still there
	}
	if x.log != nil {
		x.log.put(s, now, p)
	}
	if x.from == s.stream {
		_, _ = x.said.Write(p)
	}
	x.out.write(s.stream, now, p)
}

// shut lets go of the writing end, after the loop has been told to look away. x.mu is held.
func (s *source) shut() {
	if !s.paused && s.fd >= 0 {
		s.x.r.loop.pause(s.fd)
		s.paused = true
	}
	if s.w >= 0 {
		unix.Close(s.w)
	}
}

// drain takes what the pipe holds at this moment, in which the main process has exited, and does not wait for more:
// who still holds it is a stranger. What strangers write later is thrown away. x.mu is held.
func (s *source) drain(buf []byte) {
	before := s.x.out.total
	if s.read(buf); s.x.out.total-before == int64(len(buf)) { // there may be more: the child may have enlarged the pipe
		held, _ := unix.IoctlGetInt(s.fd, unix.TIOCINQ)
		for before = s.x.out.total; s.fd >= 0 && s.x.out.total-before < int64(held); {
			s.read(buf)
		}
	}
	if s.x.out.total != before {
		s.read(buf) // perhaps the end
	}
	if s.fd >= 0 {
		s.x.r.loop.discard(s.fd, s.paused)
		s.fd = -1
	}
}

// waiter is told that the main process has exited.
type waiter struct{ x *execution }

func (w waiter) ready(_ int, buf []byte) {
	if w.x.mainExited(buf) {
		return
	}
	// Either the event was meant for a descriptor that had this number before, or a tracer (strace) has to be
	// told of the exit before us. There is no event for when it was.
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	if !w.x.ended && readable(w.x.pidfd) {
		go w.x.await()
	}
}

// await stands in for a pidfd. It costs a thread for as long as the process lives.
func (x *execution) await() {
	if x.heir != nil {
		x.awaitParent()
		x.mainExited(make([]byte, chunkSize))
		return
	}
	for {
		err := unix.Waitid(unix.P_PID, x.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	x.mainExited(make([]byte, chunkSize))
}

// mainExited ends the run if its main process has exited, or lets terminate know that it has.
func (x *execution) mainExited(buf []byte) bool {
	defer x.tell()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return true
	}
	if x.cause == "" {
		return x.reap(buf, syscall.WNOHANG)
	}
	if !x.gone() {
		return false
	}
	select {
	case <-x.exited:
	default:
		close(x.exited)
	}
	return true
}

// gone tells whether the main process has exited, and its status can be had. mu is held.
func (x *execution) gone() bool {
	if x.heir != nil {
		_, done, err := statusOf(x.pidfd, x.pid)
		return done || err != nil || x.heir.given
	}
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, x.pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	return err != nil || info.Signo != 0
}

// wait takes the exit status of the main process; done is false where it has not exited. mu is held.
func (x *execution) wait(options int) (status syscall.WaitStatus, usage syscall.Rusage, done bool, err error) {
	if x.heir != nil {
		status, done, err = statusOf(x.pidfd, x.pid)
		if !done && err == nil && x.heir.given {
			err = errors.New("nobody waited for it")
		}
		return status, usage, done || err != nil, err
	}
	pid, err := syscall.Wait4(x.pid, &status, options, &usage)
	for errors.Is(err, syscall.EINTR) {
		pid, err = syscall.Wait4(x.pid, &status, options, &usage)
	}
	return status, usage, err != nil || pid != 0, err
}

// reap takes the exit status of the main process and, if it had one, completes the run. mu is held.
func (x *execution) reap(buf []byte, options int) bool {
	status, usage, done, err := x.wait(options)
	if !done {
		return false
	}
	end := time.Now()
	x.reaped = end
	x.ended = true
	if x.timer != nil {
		x.timer.Stop()
	}
	if x.pidfd >= 0 {
		x.r.loop.drop(x.pidfd)
	}
	if x.lent != nil {
		x.lent.reaped(buf, end, status, usage, err)
		return true
	}
	x.tick.Stop()
	for i := range x.outs {
		x.outs[i].shut()
		x.outs[i].drain(buf)
	}
	x.exit = job.Exit{
		Begin: x.begin, End: end, OutputBytes: x.out.total,
		Usage: job.Usage{
			UserMS: usage.Utime.Nano() / int64(time.Millisecond), SystemMS: usage.Stime.Nano() / int64(time.Millisecond),
			MaxRSSKB: maxRSS(usage),
		},
	}
	x.exit.Output, x.exit.OutputParts, x.exit.OutputTruncated = x.out.result()
	x.out = output{}
	used := x.leaf.Usage()
	x.exit.Usage.UserMS = max(x.exit.Usage.UserMS, used.User.Milliseconds())
	x.exit.Usage.SystemMS = max(x.exit.Usage.SystemMS, used.System.Milliseconds())
	x.exit.Usage.PeakKB = used.Memory >> 10
	x.describe(status, used, err)
	x.leaf.Release()
	f := x.openResult()
	if f == nil && x.from == "" && x.log == nil {
		x.complete()
		return true
	}
	go func() { // a disk may be slow, and the loop has others to serve
		x.collect(f)
		if x.log != nil {
			<-x.log.end()
		}
		x.complete()
		x.tell()
	}()
	return true
}

// describe fills in how the main process ended, and what that means.
func (x *execution) describe(status syscall.WaitStatus, used cgroup.Usage, err error) {
	e := &x.exit
	var reason string
	switch {
	case err != nil: // somebody in this program waits for children that are not its own
		e.Outcome, reason = job.Failed, "its exit status was taken by another part of the agent: "+err.Error()
	case status.Signaled():
		e.Outcome, e.Signal = job.Failed, signalName(status.Signal())
		reason = "killed by " + e.Signal
		if status.CoreDump() {
			reason += " (core dumped)"
		}
	default:
		code := status.ExitStatus()
		e.ExitCode = &code
		if e.Outcome = job.Success; code != 0 {
			e.Outcome, reason = job.Failed, fmt.Sprintf("exit status %d", code)
		}
	}
	switch by, why := x.causeOf(status, used); {
	case x.cause != "":
		e.Outcome, e.EndedBy, reason = x.over, job.EndedByKill, x.cause
		if x.over == job.Timeout {
			e.EndedBy = job.EndedByTimeout
		}
	case err != nil:
		e.EndedBy = job.EndedByLoss
	default:
		e.EndedBy = by
		if why != "" {
			reason += ": " + why
		}
	}
	e.Reason = reason
}

func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(s))
}

// note adds to the reason what else somebody should know.
func (x *execution) note(format string, args ...any) {
	if x.exit.Reason != "" {
		x.exit.Reason += "; "
	}
	x.exit.Reason += fmt.Sprintf(format, args...)
}

// complete lets everybody know. The exit does not change any more.
func (x *execution) complete() {
	x.r.forget(x)
	if x.tied {
		x.r.tied.remove(x)
	}
	close(x.done)
	x.r.live.Done()
}

// tell calls whom [Runner.StartThen] was given, if the execution has ended. mu is not held: who is called may ask the execution.
func (x *execution) tell() {
	if x.lent != nil {
		x.lent.tell()
	}
	if x.then == nil {
		return
	}
	select {
	case <-x.done:
		x.told.Do(func() { x.then(x) })
	default:
	}
}

// maxRSS is the most memory that the processes of a run had at a time, in KiB, or 0 where that isn't known. Until exec a
// child shares the agent's memory, and the kernel counts that as the child's: only what goes beyond it says something.
func maxRSS(usage syscall.Rusage) int64 {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil || usage.Maxrss <= own.Maxrss {
		return 0
	}
	return usage.Maxrss
}
