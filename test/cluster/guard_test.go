package cluster_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/harness"
	"github.com/rota-dev/rota/test/port"
)

// marked are the processes with an entry in their environment.
func marked(entry string) (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if env, err := os.ReadFile(f); err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00"+entry+"\x00")) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

// Runs are asked for while their agent is killed and started again, at any moment of their lives: before the exec, while they write,
// between two attempts, between their end and their record. Each is executed once, and has one record, with its real exit and its
// whole output.
func TestRunsOutliveTheirAgent(t *testing.T) { // ancestor 36, 40
	t.Parallel()
	etcd, _ := startEtcd(t)
	j, addr, data, node := newJournal(t), port.Must(t), t.TempDir(), t.TempDir()
	master := newProcess(t, "master", rotaBin, "master", "--etcd", etcd, "--data", data, "--listen", addr, "--name", "m1", "--lease", lease.String())
	master.Start()
	agent := newProcess(t, "n1", rotaBin, "node", "--etcd", etcd, "--data", node, "--name", "n1", "--lease", lease.String())
	agent.Start()
	c := connect(t, addr, data)
	waitReady(t, c)
	waitNode(t, c, "n1")
	task := job.Task{
		Name: "work", Overlap: job.OverlapAllow, Retry: job.Retry{Count: 1, Interval: job.Duration(time.Second)},
		Command: job.Line(fmt.Sprintf(`echo "$ROTA_RUN $ROTA_ATTEMPT" >> %s; for i in 1 2 3 4 5 6; do echo "$ROTA_ATTEMPT.$i"; sleep 0.0$ROTA_ATTEMPT; done; exit $ROTA_ATTEMPT`, j.path)),
	}
	if _, err := c.Apply(t.Context(), []job.Task{task}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var asked []job.RunID
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			answer, err := c.Run(t.Context(), client.RunRequest{Task: task.Ref(), Nodes: []job.NodeID{"n1"}})
			if err == nil {
				asked = append(asked, answer.Runs[0].Run)
			}
			select {
			case <-stop:
				return
			case <-time.After(40 * time.Millisecond): // a load, and no wait for anything
			}
		}
	})
	rng := rand.New(rand.NewPCG(5, 6))
	kills := 0
	for until := time.Now().Add(seconds(15)); time.Now().Before(until); kills++ {
		time.Sleep(time.Duration(200+rng.IntN(900)) * time.Millisecond) // trouble comes at any moment
		agent.Kill()
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		agent.Start()
	}
	close(stop)
	asking.Wait()
	outcomes := map[job.Outcome]int{}
	for _, run := range asked {
		v, err := c.WaitRun(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if v.Record == nil {
			t.Fatalf("run %s is %s", run, v.State)
		}
		outcomes[v.Record.Outcome]++
		judgeRun(t, v.Record, j.attempts(t, run))
	}
	t.Logf("%d runs, %d kills: %v", len(asked), kills, outcomes)
	if len(asked) < 20 || outcomes[job.Failed] < len(asked)*3/4 {
		t.Errorf("%d runs ended in %v", len(asked), outcomes)
	}
	agent.Stop()
	eventually(t, 20*time.Second, "the guard that holds nothing is gone", func() error {
		if left := harness.Guards(node); len(left) > 0 {
			return fmt.Errorf("%v are left", left)
		}
		return nil
	})
}

// attempts are those of a run that wrote down that they began.
func (j *journal) attempts(t *testing.T, run job.RunID) (list []string) {
	t.Helper()
	b, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if id, attempt, _ := strings.Cut(strings.TrimSpace(line), " "); id == string(run) {
			list = append(list, attempt)
		}
	}
	return list
}

// judgeRun holds the record of a run against what the run wrote down.
func judgeRun(t *testing.T, r *job.ExecutionRecord, began []string) {
	t.Helper()
	switch got := strings.Join(began, " "); {
	case r.Outcome == job.Failed && r.ExitCode != nil && *r.ExitCode == 2:
		if got != "1 2" || r.Output != "2.1\n2.2\n2.3\n2.4\n2.5\n2.6\n" || len(r.Attempts) != 1 || r.Attempts[0].Output != "1.1\n1.2\n1.3\n1.4\n1.5\n1.6\n" {
			t.Errorf("run %s began %q and has %q, %+v", r.ID, got, r.Output, r.Attempts)
		}
	case r.Outcome == job.Lost && got == "": // the agent was killed between the mark of its start and the guard
	case r.Outcome == job.Missed && got == "":
	default:
		t.Errorf("run %s began %q and ended as %s (%s)", r.ID, got, r.Outcome, r.Reason)
	}
}

// Scenario 8: only the agent is stopped, for three leases, with an alone run in its hands. By what the runs themselves
// wrote down, that one is dead before any successor starts.
func TestAloneEndsWithoutItsAgent(t *testing.T) {
	t.Parallel()
	etcd, _ := startEtcd(t)
	addr, data, beats := port.Must(t), t.TempDir(), filepath.Join(t.TempDir(), "beats")
	master := newProcess(t, "master", rotaBin, "master", "--etcd", etcd, "--data", data, "--listen", addr, "--name", "m1", "--lease", lease.String())
	master.Start()
	c := connect(t, addr, data)
	waitReady(t, c)
	agents := map[job.NodeID]*process{}
	for _, name := range []job.NodeID{"n1", "n2"} {
		n := newProcess(t, string(name), rotaBin, "node", "--etcd", etcd, "--data", t.TempDir(), "--name", string(name), "--lease", lease.String())
		n.Start()
		agents[name] = n
		waitNode(t, c, name)
	}
	solo := job.Task{Name: "solo", Kind: "alone", Timer: every, Grace: job.Duration(time.Second), Command: job.Line(fmt.Sprintf(
		`trap "" TERM; while :; do echo "$ROTA_RUN $ROTA_NODE $ROTA_FENCE $(date +%%s.%%N)" >> %s; sleep 0.02; done`, beats))}
	if _, err := c.Apply(t.Context(), []job.Task{solo}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	var holder job.NodeID
	eventually(t, 20*time.Second, "it runs", func() error {
		all := readBeats(t, beats)
		if len(all) == 0 {
			return fmt.Errorf("nobody wrote")
		}
		holder = all[0].node
		return nil
	})
	stopped := agents[holder]
	stopped.Signal(syscall.SIGSTOP)
	eventually(t, 3*lease+20*time.Second, "the other node runs it", func() error {
		if all := readBeats(t, beats); len(all) < 2 {
			return fmt.Errorf("one run wrote so far")
		}
		return nil
	})
	stopped.Signal(syscall.SIGCONT)
	if err := c.DeleteTask(t.Context(), solo.Ref(), 0, false); err != nil {
		t.Fatal(err)
	}
	all := readBeats(t, beats)
	for i := 1; i < len(all); i++ {
		if all[i].first < all[i-1].last {
			t.Errorf("run %s on %s began %.3f s before run %s on %s wrote its last", all[i].run, all[i].node, all[i-1].last-all[i].first, all[i-1].run, all[i-1].node)
		}
		if all[i].fence <= all[i-1].fence {
			t.Errorf("fence %d after %d", all[i].fence, all[i-1].fence)
		}
	}
	eventually(t, 30*time.Second, "the first run's end is known", func() error {
		r, err := c.Record(t.Context(), all[0].run)
		if err == nil && (r.Outcome != job.Killed || !strings.Contains(r.Reason, "the end of the node's lease")) {
			err = fmt.Errorf("%s: %s", r.Outcome, r.Reason)
		}
		return err
	})
	for _, a := range agents {
		a.Signal(syscall.SIGINT)
		<-a.Done()
	}
}

// beat is what a run wrote: its first line and its last.
type beat struct {
	run         string
	node        job.NodeID
	fence       int64
	first, last float64
}

func readBeats(t *testing.T, path string) (all []beat) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	at := map[string]int{}
	for line := range strings.Lines(string(b)) {
		var x beat
		if _, err := fmt.Sscan(line, &x.run, &x.node, &x.fence, &x.first); err != nil {
			continue // its end was cut off by the run's end
		}
		i, ok := at[x.run]
		if !ok {
			i, at[x.run] = len(all), len(all)
			all = append(all, x)
		}
		all[i].last = x.first
	}
	return all
}

// A guard is killed: its runs are told to be lost, nothing of them lives on, and the next ones run.
func TestGuardKilled(t *testing.T) {
	t.Parallel()
	data, addr := t.TempDir(), port.Must(t)
	up := newProcess(t, "up", rotaBin, "up", "--data", data, "--listen", addr, "--name", "n1", "--lease", lease.String())
	up.Start()
	c := connect(t, addr, data)
	waitReady(t, c)
	waitNode(t, c, "n1")
	hang, quick := job.Task{Name: "hang", Command: job.Line("setsid sleep 600 & sleep 600")}, job.Task{Name: "quick", Command: job.Line("exit 5")}
	if _, err := c.Apply(t.Context(), []job.Task{hang, quick}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	answer, err := c.Run(t.Context(), client.RunRequest{Task: hang.Ref()})
	if err != nil {
		t.Fatal(err)
	}
	run := answer.Runs[0].Run
	eventually(t, 20*time.Second, "it runs", func() error {
		if n := len(marked("ROTA_RUN=" + string(run))); n < 3 {
			return fmt.Errorf("%d processes", n)
		}
		return nil
	})
	for _, pid := range harness.Guards(data) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	v, err := c.WaitRun(t.Context(), run)
	if err != nil || v.Record == nil || v.Record.Outcome != job.Lost || !strings.Contains(v.Record.Reason, "the guard that ran it died (signal: killed)") {
		t.Errorf("%+v, %v", v, err)
	}
	if left := marked("ROTA_RUN=" + string(run)); len(left) > 0 {
		t.Errorf("processes %v live on", left)
	}
	if r := runOnce(t, c, quick.Ref()); r.ExitCode == nil || *r.ExitCode != 5 {
		t.Errorf("%+v", r)
	}
	up.Stop()
}

// The agent is replaced by one of another build: what runs goes on under the old guard, and has its real end; what starts then gets a
// new one; the old one ends with its last run. A leader that had taken the run for lost meanwhile is corrected.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	newer := filepath.Join(t.TempDir(), "rota")
	build := exec.Command("go", "build", "-o", newer, "-ldflags", "-X github.com/rota-dev/rota/internal/app.release=v99.0.0", "github.com/rota-dev/rota/cmd/rota")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	etcd, _ := startEtcd(t)
	addr, data, node := port.Must(t), t.TempDir(), t.TempDir()
	master := newProcess(t, "master", rotaBin, "master", "--etcd", etcd, "--data", data, "--listen", addr, "--name", "m1", "--lease", lease.String())
	master.Start()
	args := []string{"node", "--etcd", etcd, "--data", node, "--name", "n1", "--lease", lease.String()}
	old := newProcess(t, "old", rotaBin, args...)
	old.Start()
	c := connect(t, addr, data)
	waitReady(t, c)
	waitNode(t, c, "n1")
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	long := job.Task{Name: "long", Command: job.Line("echo before; read x < " + gate + "; echo after; exit 7")}
	quick := job.Task{Name: "quick", Command: job.Line("exit 5")}
	if _, err := c.Apply(t.Context(), []job.Task{long, quick}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	answer, err := c.Run(t.Context(), client.RunRequest{Task: long.Ref()})
	if err != nil {
		t.Fatal(err)
	}
	run := answer.Runs[0].Run
	eventually(t, 20*time.Second, "it runs", func() error {
		if len(marked("ROTA_RUN="+string(run))) == 0 {
			return fmt.Errorf("no process")
		}
		return nil
	})
	first := harness.Guards(node)
	old.Stop()
	if len(first) != 1 || len(marked("ROTA_RUN="+string(run))) == 0 {
		t.Fatalf("guards %v; the run went with its agent", first)
	}
	eventually(t, 3*lease+20*time.Second, "the leader takes it for lost", func() error {
		r, err := c.Record(t.Context(), string(run))
		if err == nil && r.Outcome != job.Lost {
			err = fmt.Errorf("%s", r.Outcome)
		}
		return err
	})
	agent := newProcess(t, "new", newer, args...)
	agent.Start()
	waitNode(t, c, "n1")
	if r := runOnce(t, c, quick.Ref()); r.ExitCode == nil || *r.ExitCode != 5 {
		t.Errorf("%+v", r)
	}
	if now := harness.Guards(node); len(now) != 2 {
		t.Errorf("guards %v, of which %v is the old one", now, first)
	}
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "its real end is in history", func() error {
		r, err := c.Record(t.Context(), string(run))
		if err == nil && (r.Outcome != job.Failed || r.ExitCode == nil || *r.ExitCode != 7 || r.Output != "before\nafter\n") {
			err = fmt.Errorf("%s: %q", r.Outcome, r.Output)
		}
		return err
	})
	eventually(t, 20*time.Second, "the old guard ends with its last run", func() error {
		for _, pid := range harness.Guards(node) {
			if pid == first[0] {
				return fmt.Errorf("it is there")
			}
		}
		return nil
	})
	if n := len(history(t, c, long.Ref())); n != 1 {
		t.Errorf("%d records", n)
	}
	agent.Stop()
}
