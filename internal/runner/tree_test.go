//go:build linux

package runner

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// ready waits until a run has made a file, by which it says that its tree stands.
func ready(t *testing.T, path string) {
	t.Helper()
	eventually(t, path+" exists", func() bool { _, err := os.Stat(path); return err == nil })
}

// trees are shell lines that make trees of processes; each touches $UP when it stands.
var trees = map[string]string{
	"one process":        `touch $UP; exec sleep 600`,
	"children":           `sleep 600 & sleep 600 & touch $UP; wait`,
	"ignores SIGTERM":    `trap "" TERM; touch $UP; while :; do sleep 600; done`,
	"stopped":            `sleep 600 & kill -STOP $!; touch $UP; kill -STOP $$; wait`,
	"setsid":             `setsid sleep 600 & touch $UP; wait`,
	"setsid, ignoring":   `trap "" TERM; setsid sh -c 'sleep 600; sleep 600' & touch $UP; wait`,
	"double fork":        `setsid sh -c '(sleep 600 & (setsid sleep 601 & touch $UP) &)' & sleep 600`,
	"orphans of orphans": `(setsid sh -c '(setsid sh -c "sleep 600; :" & touch $UP) &' &); sleep 600`,
	"wiped environment":  `setsid env -i /bin/sh -c 'sleep 600; :' & touch $UP; sleep 600`,
	"stdout elsewhere":   `setsid sleep 600 </dev/null >/dev/null 2>&1 & touch $UP; sleep 600`,
	"a job of a shell":   `set -m; sleep 600 & set +m; touch $UP; wait`,
}

// ancestor 30: the timeout was never applied, there was no kill and no process group.
func TestKillEndsTheWholeTree(t *testing.T) {
	with, without := newRunner(t, Options{}), newRunner(t, Options{NoGroups: true})
	for name, line := range trees {
		endsWholeTree(t, with, name, line)
		endsWholeTree(t, without, name+", no control group", line)
	}
}

func endsWholeTree(t *testing.T, r *Runner, name, line string) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		up, mark := t.TempDir()+"/up", markOf(t)
		e := sh(line)
		e.Env, e.Grace = []string{"UP=" + up, mark}, 150*time.Millisecond
		x := start(t, r, e)
		ready(t, up)
		all := descendants(t, x.Pid())
		x.Kill("the test")
		if exit := ended(t, x); exit.Outcome != job.Killed {
			t.Errorf("got %+v", exit)
		}
		for _, p := range all {
			if now, err := readProc(p.pid, make([]byte, 0, statSize)); err == nil && now.start == p.start && !now.dead() {
				t.Errorf("process %d lives", p.pid)
			}
		}
		if left := pids(t, mark); len(left) > 0 {
			t.Errorf("processes %v live", left)
		}
	})
}

// ancestor 30
func TestTimeoutEndsTheWholeTree(t *testing.T) {
	r := newRunner(t, Options{})
	mark := "TREE=" + t.Name()
	e := sh(trees["setsid, ignoring"])
	up := t.TempDir() + "/up"
	e.Env, e.Timeout, e.Grace = []string{"UP=" + up, mark}, time.Hour, 100*time.Millisecond
	x := start(t, r, e)
	ready(t, up)
	timeOut(t, x)
	if x := ended(t, x); x.Outcome != job.Timeout || x.Reason != "timeout after 1h" || x.Signal != "SIGKILL" {
		t.Errorf("got %+v", x)
	}
	if left := pids(t, mark); len(left) > 0 {
		t.Errorf("processes %v live", left)
	}
}

// timeOut lets the time of an execution be over.
func timeOut(t *testing.T, x job.Execution) {
	t.Helper()
	x.(*execution).mu.Lock()
	defer x.(*execution).mu.Unlock()
	if !x.(*execution).timer.Reset(0) {
		t.Error("its time is over already")
	}
}

// descendants lists a process and what descends from it.
func descendants(t *testing.T, pid int) []proc {
	t.Helper()
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	in := map[int]bool{pid: true}
	var found []proc
	for n := -1; n != len(in); {
		n = len(in)
		for _, p := range all {
			in[p.pid] = in[p.pid] || in[p.ppid]
			if !in[p.pid] {
				delete(in, p.pid)
			}
		}
	}
	for _, p := range all {
		if in[p.pid] {
			found = append(found, p)
		}
	}
	return found
}

func TestATreeThatForksAllTheTimeIsEnded(t *testing.T) {
	r := newRunner(t, Options{})
	up, mark := t.TempDir()+"/up", markOf(t)
	e := sh(`trap "" TERM
		grow() { n=0; while [ $n -lt 400 ]; do n=$((n+1)); setsid sh -c 'trap "" TERM; (sleep 600 &) ; sleep 0.02' & done; wait; }
		touch $UP; grow & grow & wait; sleep 600`) // it does not end by itself, however slow the machine is
	e.Env, e.Grace = []string{"UP=" + up, mark}, 50*time.Millisecond
	x := start(t, r, e)
	ready(t, up)
	eventually(t, "it has grown", func() bool { return len(pids(t, mark)) > 20 })
	x.Kill("the test")
	if exit := ended(t, x); exit.Outcome != job.Killed {
		t.Errorf("got %+v", exit)
	}
	if left := pids(t, mark); len(left) > 0 {
		t.Errorf("%d processes live", len(left))
	}
}

func TestTimeoutIsATimeoutWhateverTheProcessMakesOfIt(t *testing.T) {
	r := newRunner(t, Options{})
	up := t.TempDir() + "/up"
	e := sh(`trap "echo cleaned; exit 0" TERM; sh -c "touch $UP; exec sleep 600" & wait`)
	e.Env, e.Timeout, e.Grace = []string{"UP=" + up}, time.Hour, time.Hour
	y := start(t, r, e)
	ready(t, up)
	timeOut(t, y)
	x := ended(t, y) // the grace is not waited for when nobody is left
	if x.Outcome != job.Timeout || x.ExitCode == nil || *x.ExitCode != 0 || x.Reason != "timeout after 1h" || string(x.Output) != "cleaned\n" {
		t.Errorf("got %q, %+v", x.Output, x)
	}
}

// A process that executes a program shows no environment for a moment, by which alone one that left its parents, session and group is known.
func TestNobodyIsOverlookedWhileItExecutes(t *testing.T) {
	r := newRunner(t, Options{NoGroups: true})
	again, mark := t.TempDir()+"/again", markOf(t)
	if err := os.WriteFile(again, []byte("#!/bin/sh\n: >$UP\nexec $0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		up := t.TempDir() + "/up"
		e := sh("(setsid " + again + " &); exec sleep 600")
		e.Env = []string{"UP=" + up, mark}
		x := start(t, r, e)
		ready(t, up)
		x.KillNow("the test")
		ended(t, x)
		if left := pids(t, mark); len(left) > 0 {
			t.Fatalf("processes %v live", left)
		}
	}
}

func TestKill(t *testing.T) {
	r := newRunner(t, Options{})
	x := start(t, r, sh("exec sleep 600"))
	x.Kill("alice")
	x.Kill("bob")
	e := ended(t, x)
	if e.Outcome != job.Killed || e.Reason != "killed by alice" || e.Signal != "SIGTERM" || e.ExitCode != nil {
		t.Errorf("got %+v", e)
	}
	x.Kill("carol")
	x.KillNow("dave")
	if again := x.Exit(); again.Reason != e.Reason {
		t.Errorf("got %+v", again)
	}
}

func TestKillNow(t *testing.T) {
	r := newRunner(t, Options{})
	for name, kill := range map[string]func(x job.Execution){
		"at once":      func(x job.Execution) { x.KillNow("alice") },
		"after a kill": func(x job.Execution) { x.Kill("alice"); x.KillNow("bob"); x.KillNow("carol") },
	} {
		up := t.TempDir() + "/up"
		e := sh(trees["setsid, ignoring"])
		e.Env, e.Grace = []string{"UP=" + up, "TREE=" + t.Name()}, time.Hour
		x := start(t, r, e)
		ready(t, up)
		kill(x)
		if got := ended(t, x); got.Outcome != job.Killed || got.Reason != "killed by alice" {
			t.Errorf("%s: %+v", name, got)
		}
		if left := pids(t, markOf(t)); len(left) > 0 {
			t.Errorf("%s: processes %v live", name, left)
		}
	}
}

// ancestor 38: a signal went to a pid, whoever had it by then.
func TestAKillThatComesTooLateHitsNobody(t *testing.T) {
	r := newRunner(t, Options{})
	x := start(t, r, sh("exit"))
	ended(t, x)
	// Whoever has the number of the main process now must not be touched.
	stranger := exec.Command("sleep", "600")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stranger.Process.Kill(); stranger.Wait() }()
	x.(*execution).pid = stranger.Process.Pid
	x.Kill("late")
	x.KillNow("later")
	p, err := readProc(stranger.Process.Pid, make([]byte, 0, statSize))
	if err != nil || p.dead() {
		t.Errorf("the stranger was hit: %+v, %v", p, err)
	}
	p.start--
	if err := signalProcess(p, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("signal to an earlier owner of the number: %v", err)
	}
	if err := EndLeftover(p.pid, p.start, "x"); err != nil {
		t.Error(err)
	}
	if p, err := readProc(stranger.Process.Pid, make([]byte, 0, statSize)); err != nil || p.dead() {
		t.Errorf("the stranger was hit: %+v, %v", p, err)
	}
	x.(*execution).pid = 0
}

func TestWhatARunLeavesBehindIsLeftAloneAndBuried(t *testing.T) {
	r := newRunner(t, Options{})
	dir := t.TempDir()
	e := sh(`wait_for_it() { while [ ! -e $DIR/go ]; do sleep 0.01; done; }
		(wait_for_it; echo one; echo two >$DIR/out; mv $DIR/out $DIR/out.done) &
		setsid sh -c 'while [ ! -e $DIR/go ]; do sleep 0.01; done' &
		echo hi`)
	e.Env = []string{"DIR=" + dir}
	x := run(t, r, e)
	if x.Outcome != job.Success || string(x.Output) != "hi\n" {
		t.Errorf("got %q, %+v", x.Output, x)
	}
	if err := os.WriteFile(dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	ready(t, dir+"/out.done") // so writing to the output of the ended run did not end it
	eventually(t, "they are buried", func() bool {
		all, err := processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			if p.ppid == os.Getpid() && p.dead() && !r.main(p.pid) {
				return false
			}
		}
		return true
	})
}

// leftover is the run of the agents that tests kill. All that carries its name on this machine is ended: it must be nobody else's.
var leftover = cmp.Or(os.Getenv("RUNNER_TEST_RUN"), fmt.Sprintf("runner-test-%d", os.Getpid()))

// agent is a process of its own for tests that kill it: it starts what it is told, says its pid and waits.
func agent() {
	r, err := New(Options{Dir: os.Getenv("RUNNER_TEST_DIR")})
	if err != nil {
		fmt.Println(err)
		return
	}
	x, err := r.Start(context.Background(), job.Exec{
		Run: job.RunID(leftover), Argv: []string{"/bin/sh", "-c", os.Getenv("RUNNER_TEST_LINE")}, Dir: "/",
		Env: []string{"UP=" + os.Getenv("UP"), os.Getenv("MARK"), "ROTA_RUN=" + leftover},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(x.Pid(), x.StartTicks())
	fmt.Println("up")
	<-x.Done()
}

// startAgent returns the agent and the pid and start of its run.
func startAgent(t *testing.T, line, mark string) (cmd *exec.Cmd, pid int, ticks uint64) {
	t.Helper()
	up := t.TempDir() + "/up"
	cmd = exec.Command(os.Args[0])
	cmd.Env = []string{"RUNNER_TEST_AGENT=1", "RUNNER_TEST_DIR=" + t.TempDir(), "RUNNER_TEST_LINE=" + line, "RUNNER_TEST_RUN=" + leftover, "UP=" + up, "MARK=" + mark}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "up" {
		first, second, _ := strings.Cut(lines.Text(), " ")
		if pid, err = strconv.Atoi(first); err != nil {
			t.Fatal(lines.Text())
		}
		if ticks, err = strconv.ParseUint(second, 10, 64); err != nil {
			t.Fatal(lines.Text())
		}
	}
	ready(t, up)
	return cmd, pid, ticks
}

func TestEndLeftover(t *testing.T) {
	mark := "TREE=" + t.Name()
	cmd, pid, ticks := startAgent(t, trees["double fork"], mark)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if len(pids(t, mark)) < 2 {
		t.Fatal("it did not outlive its agent")
	}
	// A run of the same name, of another cluster's agent on the same machine.
	other := exec.Command("sleep", "600")
	other.Env = []string{"ROTA_RUN=" + leftover, "ROTA_RESULT=/other"}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = other.Wait()
		close(ended)
	}()
	defer func() {
		_ = other.Process.Kill()
		<-ended
	}()
	if err := EndLeftover(pid, ticks, leftover); err != nil {
		t.Error(err)
	}
	if p, err := readProc(other.Process.Pid, make([]byte, 0, statSize)); err != nil || p.dead() {
		t.Error("it ended a run of another agent")
	}
	if left := pids(t, mark); len(left) > 0 {
		t.Errorf("processes %v live", left)
	}
	if err := EndLeftover(pid, ticks, leftover); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := EndLeftover(1, 0, leftover); err == nil {
		t.Error("it would end process 1")
	}
}
