//go:build linux

package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

// stopped is an agent in whose hands two runs are: one that ends when it is asked to, and one that does not.
type stopped struct {
	t    *testing.T
	up   *process
	c    *client.Client
	dir  string // where the runs tell how far they came
	gate *os.File
	runs map[string]job.RunID
}

// The runs of a stop. The obedient one waits at a gate, which a test may open.
const (
	obedient = "obedient"
	stubborn = "stubborn"
)

func newStopped(t *testing.T, grace time.Duration, args ...string) *stopped {
	t.Helper()
	data, addr := t.TempDir(), port.Must(t)
	args = append(args, "up", "--data", data, "--listen", addr, "--name", "n1", "--lease", lease.String())
	s := &stopped{t: t, dir: t.TempDir(), runs: map[string]job.RunID{}, up: newProcess(t, "up", args[0], args[1:]...)}
	if err := syscall.Mkfifo(s.path("gate"), 0o600); err != nil {
		t.Fatal(err)
	}
	gate, err := os.OpenFile(s.path("gate"), os.O_RDWR, 0) // so that nobody has to wait for it to be opened
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gate.Close() })
	s.gate = gate
	s.up.Start()
	s.c = connect(t, addr, data)
	waitReady(t, s.c)
	waitNode(t, s.c, "n1")
	said := func(name string) string {
		return "echo " + name + "; echo " + name + " >>" + s.path("${ROTA_TASK#*/}") + "; "
	}
	tasks := []job.Task{
		{Name: obedient, Grace: job.Duration(grace), Command: job.Line(`trap '` + said("term") + `exit 3' TERM; ` + said("begun") + `read x <` + s.path("gate") + `; ` + said("after") + `exit 7`)},
		{Name: stubborn, Grace: job.Duration(grace), Command: job.Line(`trap '` + said("term") + `' TERM; ` + said("begun") + `while :; do sleep 600 & wait; done`)},
	}
	if _, err := s.c.Apply(t.Context(), tasks, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		answer, err := s.c.Run(t.Context(), client.RunRequest{Task: task.Ref()})
		if err != nil {
			t.Fatal(err)
		}
		s.runs[task.Name] = answer.Runs[0].Run
		s.waitSaid(task.Name, "begun")
	}
	return s
}

func (s *stopped) path(name string) string { return filepath.Join(s.dir, name) }

// waitSaid waits until a run has come as far as it says.
func (s *stopped) waitSaid(task, word string) {
	s.t.Helper()
	eventually(s.t, time.Minute, task+" says "+word, func() error {
		b, err := os.ReadFile(s.path(task))
		if err == nil && !strings.Contains(string(b), word+"\n") {
			err = fmt.Errorf("it said %q", b)
		}
		return err
	})
}

// ended waits for the end of the agent's process.
func (s *stopped) ended() {
	s.t.Helper()
	select {
	case <-s.up.Done():
	case <-time.After(2 * time.Minute):
		s.t.Fatal("it does not end")
	}
}

// alive are the processes of a run.
func (s *stopped) alive(task string) []string { return marked("ROTA_RUN=" + string(s.runs[task])) }

// again starts the next life.
func (s *stopped) again() {
	s.t.Helper()
	s.up.Start()
	waitReady(s.t, s.c)
	waitNode(s.t, s.c, "n1")
}

// record is what history says in the end, which is one record.
func (s *stopped) record(task string) *job.ExecutionRecord {
	s.t.Helper()
	v, err := s.c.WaitRun(s.t.Context(), s.runs[task])
	if err != nil {
		s.t.Fatal(err)
	}
	if v.Record == nil {
		s.t.Fatalf("run %s is %s", v.Run, v.State)
	}
	if n := len(history(s.t, s.c, job.Ref("", task))); n != 1 {
		s.t.Errorf("%s has %d records", task, n)
	}
	return v.Record
}

// wantEnded holds what history says of runs that a stop ended: SIGTERM first, and SIGKILL for whom that did not move.
func (s *stopped) wantEnded() {
	s.t.Helper()
	for task, output := range map[string]string{obedient: "begun\nterm\n", stubborn: "begun\nterm\n"} {
		if left := s.alive(task); len(left) > 0 {
			s.t.Fatalf("processes %v of %s outlived the stop", left, task)
		}
		r := s.record(task)
		if r.Outcome != job.Killed || r.EndedBy != job.EndedByKill || !strings.HasPrefix(r.Reason, "killed by the agent's stop") || r.Output != output {
			s.t.Errorf("%s: %s, %s, %q, %q", task, r.Outcome, r.EndedBy, r.Reason, r.Output)
		}
		switch code := r.ExitCode; {
		case task == obedient && (code == nil || *code != 3):
			s.t.Errorf("%s exited with %v", task, code)
		case task == stubborn && r.Signal != "SIGKILL":
			s.t.Errorf("%s was ended by %q", task, r.Signal)
		}
	}
}

// SIGTERM leaves runs alone, and the next life takes them up with their real ends.
func TestStopBySIGTERMLeavesRuns(t *testing.T) { // ancestor 36
	t.Parallel()
	s := newStopped(t, time.Second, rotaBin)
	s.up.Signal(syscall.SIGTERM)
	s.ended()
	if !strings.Contains(s.up.Said(), "stopping: runs go on") {
		t.Error("it does not say what becomes of the runs")
	}
	for task := range s.runs {
		if len(s.alive(task)) == 0 {
			t.Errorf("%s went with its agent", task)
		}
	}
	s.again()
	if _, err := s.gate.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	if r := s.record(obedient); r.Outcome != job.Failed || r.ExitCode == nil || *r.ExitCode != 7 || r.Output != "begun\nafter\n" {
		t.Errorf("%s, %v, %q", r.Outcome, r.ExitCode, r.Output)
	}
	if err := s.c.Kill(t.Context(), s.runs[stubborn]); err != nil {
		t.Fatal(err)
	}
	if r := s.record(stubborn); r.Outcome != job.Killed || r.Signal != "SIGKILL" || r.Output != "begun\nterm\n" || strings.Contains(r.Reason, "stop") {
		t.Errorf("%s, %q, %q, %q", r.Outcome, r.Signal, r.Reason, r.Output)
	}
	s.up.Stop()
}

// SIGINT, and SIGTERM with --stop-runs or as PID 1, end the runs before the agent ends.
func TestStopsThatEndRuns(t *testing.T) { // ancestor 36
	t.Parallel()
	t.Run("SIGINT", func(t *testing.T) {
		t.Parallel()
		s := newStopped(t, time.Second, rotaBin)
		s.up.Signal(syscall.SIGINT)
		s.ended()
		s.again()
		s.wantEnded()
		s.up.Stop()
	})
	t.Run("stop-runs", func(t *testing.T) {
		t.Parallel()
		s := newStoppedWith(t, "--stop-runs")
		s.up.Signal(syscall.SIGTERM)
		s.ended()
		s.again()
		s.wantEnded()
		s.up.Stop()
	})
	t.Run("PID 1", func(t *testing.T) {
		t.Parallel()
		if os.Getuid() != 0 {
			t.Skip("a namespace of one's own needs root")
		}
		s := newStopped(t, time.Second, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", rotaBin)
		s.signalInit(syscall.SIGTERM)
		s.ended()
		s.again()
		s.wantEnded()
		s.signalInit(syscall.SIGTERM)
		s.ended()
	})
}

func newStoppedWith(t *testing.T, flag string) *stopped {
	t.Helper()
	line := `exec "$0" "$@" ` + flag
	return newStopped(t, time.Second, "/bin/sh", "-c", line, rotaBin)
}

// signalInit sends a signal to the child of unshare, which is PID 1 of its namespace.
func (s *stopped) signalInit(sig syscall.Signal) {
	s.t.Helper()
	pid := s.up.Pid()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		s.t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Kill(child, sig); err != nil {
		s.t.Fatal(err)
	}
}

// A second signal while the runs are given their grace ends the agent at once. Its guard goes on ending them within their
// grace, and the next life has on record how they ended.
func TestASecondSignalDoesNotWait(t *testing.T) {
	t.Parallel()
	s := newStopped(t, 10*time.Minute, rotaBin)
	s.up.Signal(syscall.SIGINT)
	s.waitSaid(stubborn, "term")
	s.up.Signal(syscall.SIGINT)
	s.ended()
	if len(s.alive(stubborn)) == 0 {
		t.Error("the run is gone before its grace is over")
	}
	s.again()
	if r := s.record(obedient); r.Outcome != job.Killed || !strings.HasPrefix(r.Reason, "killed by the agent's stop") || r.ExitCode == nil || *r.ExitCode != 3 || r.Output != "begun\nterm\n" {
		t.Errorf("%s, %q, %v, %q", r.Outcome, r.Reason, r.ExitCode, r.Output)
	}
	if len(s.alive(stubborn)) == 0 {
		t.Error("the next life does not leave the run its grace")
	}
	for _, pid := range s.alive(stubborn) { // as the end of the grace would
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(n, syscall.SIGKILL)
	}
	if r := s.record(stubborn); r.Outcome != job.Killed || !strings.HasPrefix(r.Reason, "killed by the agent's stop") || r.Signal != "SIGKILL" {
		t.Errorf("%s, %q, %q", r.Outcome, r.Reason, r.Signal)
	}
	s.up.Stop()
}
