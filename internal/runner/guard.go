//go:build linux

package runner

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// guard ends tied executions when the agent dies, however it dies. It is a shell, one for all of them, that reads from a
// pipe which of them are alive; the end of the pipe is the death of the agent. An execution is known to it by its
// process group and, for what has left that, by its result's path in the environment. It is started with the first
// tied execution.
type guard struct {
	r *Runner

	mu    sync.Mutex
	pid   int // 0: none runs
	pidfd int
	w     int
	alive map[string]int // the process groups by results; 0 where it is about to start
}

// guardScript keeps "PID RESULT" in its arguments. Lines are +PID RESULT and -RESULT. It looks twice, because a child that
// was just being forked when the agent died has its environment only after its exec.
const guardScript = `
trap '' HUP INT TERM
while IFS= read -r line; do
	case $line in
	+*) set -- "$@" "${line#+}" ;;
	-*) for entry do shift; [ "${entry#* }" = "${line#-}" ] || set -- "$@" "$entry"; done ;;
	esac
done
[ $# -gt 0 ] || exit 0
for pause in 1 0; do
	for entry do
		[ "${entry%% *}" = 0 ] || kill -9 "-${entry%% *}"
		for file in $(grep -lazxF -e "ROTA_RESULT=${entry#* }" /proc/[0-9]*/environ); do
			pid=${file#/proc/}; kill -9 "${pid%/environ}"
		done
	done
	sleep $pause
done`

func newGuard(r *Runner) *guard { return &guard{r: r, pidfd: -1, w: -1, alive: map[string]int{}} }

// add tells the guard of an execution: with pid 0 before it is forked, and again when its process is known.
func (g *guard) add(pid int, result string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.alive[result] = pid
	var err error
	if g.pid == 0 {
		err = g.start()
	} else {
		err = g.tell("+" + strconv.Itoa(pid) + " " + result)
	}
	if err != nil && pid == 0 {
		delete(g.alive, result)
	}
	return err
}

// remove is called while the number of the process is still its own.
func (g *guard) remove(result string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.alive[result]; !ok {
		return
	}
	delete(g.alive, result)
	if g.pid == 0 {
		return
	}
	if err := g.tell("-" + result); err != nil {
		g.r.log.Error("the guard of tied executions can't be told of an end", "error", err)
	}
}

// tell writes a line, which a pipe takes whole or not at all. A guard that doesn't take it is replaced. mu is held.
func (g *guard) tell(line string) error {
	_, err := unix.Write(g.w, append([]byte(line), '\n'))
	if err == nil {
		return nil
	}
	g.end()
	return g.start()
}

// start runs a guard and tells it of everybody. mu is held.
func (g *guard) start() error {
	err := g.run()
	for result, pid := range g.alive {
		if err == nil {
			_, err = unix.Write(g.w, fmt.Appendf(nil, "+%d %s\n", pid, result))
		}
	}
	if err == nil {
		return nil
	}
	g.end()
	return job.Errorf(job.CodeUnavailable, "start the guard that ends this run if the agent dies: %w", err).
		WithHint("a run of kind alone needs /bin/sh on its node")
}

func (g *guard) run() error {
	var fd [2]int
	if err := unix.Pipe2(fd[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(fd[0])
	err := unix.SetNonblock(fd[1], true) // a guard that was stopped must not stop the agent
	var null int
	if err == nil {
		null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		unix.Close(fd[1])
		return err
	}
	defer unix.Close(null)
	pidfd := -1
	pid, err := syscall.ForkExec("/bin/sh", []string{"rota-guard", "-c", guardScript, "rota-guard"}, &syscall.ProcAttr{
		Dir: "/", Env: []string{"PATH=" + DefaultPath}, Files: []uintptr{uintptr(fd[0]), uintptr(null), uintptr(null)},
		Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	})
	if err != nil {
		unix.Close(fd[1])
		return fmt.Errorf("execute /bin/sh: %w", err)
	}
	g.pid, g.pidfd, g.w = pid, pidfd, fd[1]
	if pidfd >= 0 {
		return g.r.loop.watch(pidfd, g, true)
	}
	return nil
}

// ready is told that the guard died, which nobody asked for: another takes its place.
func (g *guard) ready(fd int, _ []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pid == 0 || fd != g.pidfd || !readable(fd) {
		return
	}
	g.end()
	if len(g.alive) == 0 {
		return
	}
	if err := g.start(); err != nil {
		g.r.log.Error("tied executions are without a guard", "error", err)
	}
}

// end ends the guard. It is killed before its pipe is closed, which it would take for the death of the agent. mu is held.
func (g *guard) end() {
	if g.pid == 0 {
		return
	}
	_ = syscall.Kill(g.pid, syscall.SIGKILL)
	unix.Close(g.w)
	for {
		if _, err := syscall.Wait4(g.pid, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if g.pidfd >= 0 {
		g.r.loop.drop(g.pidfd)
	}
	g.pid, g.pidfd, g.w = 0, -1, -1
}

// close is called when no execution is alive.
func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end()
}
