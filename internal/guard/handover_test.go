//go:build linux

package guard

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// A run that gets older is handed over: its output before and after is one, in its order, with its times.
func TestOutputAcrossTheHandOver(t *testing.T) {
	c := newOwner(t, "")
	dir := t.TempDir()
	gate := filepath.Join(dir, "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	// Each line is there for the agent to see before the next one is written: the pipes' lengths tell.
	e := sh("cd " + dir + "; echo 1; touch 1; read x <go1; echo 2 >&2; touch 2; read x <go2; echo 3; touch 3; read x <gate; echo 4 >&2; echo 5; exit 7")
	for _, name := range []string{"go1", "go2"} {
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x := startSlowly(t, c, e)
	for n := 1; n <= 3; n++ {
		eventually(t, "the agent has seen it", func() bool { return x.own.lent.Seen() >= 2*n })
		if n < 3 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("go%d", n)), []byte("\n"), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	handed := time.Now()
	x.handOver()
	if err := os.WriteFile(gate, []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	exit := ended(t, x)
	if out := string(exit.Output); out != "1\n2\n3\n4\n5\n" && out != "1\n2\n3\n5\n4\n" || *exit.ExitCode != 7 {
		t.Errorf("%q %+v", exit.Output, exit)
	}
	if p := exit.OutputParts; len(p) < 4 || p[0].Stream != job.Stdout || p[1].Stream != job.Stderr || p[2].Stream != job.Stdout || p[2].At != 4 ||
		p[2].Time.After(handed) || p[3].Time.Before(p[2].Time) {
		t.Errorf("%+v", p)
	}
	x.Release()
}

// startSlowly executes a run as the stash does, but for its age.
func startSlowly(t *testing.T, c *Client, e job.Exec) *execution {
	t.Helper()
	s := stashOf(c)
	x, err := s.enter(&e)
	if err != nil {
		t.Fatal(err)
	}
	s.l.mu.Lock()
	s.armed = true // nobody looks at it
	s.l.mu.Unlock()
	if err := s.begin(t.Context(), x, e, keeper{x, s, &e}); err != nil {
		t.Fatal(err)
	}
	return x
}

// A run that writes more than its pipes are to hold, or a result, is handed over: nothing of it is lost, and it need not wait for its age.
func TestWhatOutgrowsItsAgent(t *testing.T) {
	for name, line := range map[string]string{
		"more than is kept":   `i=0; while [ $i -lt 1000 ]; do echo "line $i"; i=$((i+1)); done; exit 7`,
		"much output":         `i=0; while [ $i -lt 3000 ]; do echo "line $i"; i=$((i+1)); done; exit 7`,
		"more than a pipe":    "head -c 300000 /dev/zero | tr '\\0' x; exit 7",
		"a result":            `echo '{"a":1}' >$ROTA_RESULT; exit 7`,
		"a result at the end": `echo '{"a":1}'; exit 7`,
		"both streams":        "head -c 20000 /dev/zero | tr '\\0' x >&2; echo out; exit 7",
	} {
		t.Run(name, func(t *testing.T) {
			logs := t.TempDir()
			c := newOwner(t, "", func(o *Options) { o.Runner.Logs = logs })
			var all [2]job.Exit
			for i, r := range []job.Runner{c, newClient(t, "", func(o *Options) { o.Own = false })} {
				e := sh(line)
				e.ResultFrom, e.OutputLimit = job.Stdout, 8<<10
				x := start(t, r, e)
				all[i] = ended(t, x)
				x.Release()
			}
			own, other := all[0], all[1]
			if own.ExitCode == nil || *own.ExitCode != 7 || own.OutputBytes != other.OutputBytes || string(own.Result) != string(other.Result) ||
				own.OutputTruncated != other.OutputTruncated || own.OutputTruncated != (own.OutputBytes > 8<<10) {
				t.Errorf("%+v\n%+v", own, other)
			}
			if kept, err := filepath.Glob(logs + "/*/*"); err != nil || (len(kept) > 0) != own.OutputTruncated {
				t.Errorf("logs %v, %v", kept, err)
			}
			if name != "both streams" && !bytes.Equal(own.Output, other.Output) {
				t.Errorf("%q\n%q", own.Output, other.Output)
			}
		})
	}
}

// What is handed over keeps its timeout, which counts from the begin, and its grace.
func TestTimeoutAcrossTheHandOver(t *testing.T) {
	c := newOwner(t, "")
	e := sh("trap 'echo asked; exit 9' TERM; while :; do sleep 0.01; done")
	e.Timeout = 300 * time.Millisecond
	x := start(t, c, e)
	if x.(*execution).own == nil {
		t.Fatal("it was the guard's from its beginning")
	}
	exit := ended(t, x)
	if exit.Outcome != job.Timeout || exit.Reason != "timeout after 300ms" || exit.EndedBy != job.EndedByTimeout ||
		!strings.Contains(string(exit.Output), "asked\n") {
		t.Errorf("%q %+v", exit.Output, exit)
	}
	if lasted := exit.End.Sub(exit.Begin); lasted < e.Timeout {
		t.Errorf("it was ended after %s", lasted)
	}
	x.Release()
}

// A background child that holds the output open delays the end neither here nor there, is left alone, and is in nobody's way.
func TestStrangersAcrossTheHandOver(t *testing.T) {
	c := newOwner(t, "")
	for _, line := range []string{"sleep 600 & echo $!; exit 3", "sleep 600 & echo $!; sleep 0.2; exit 3"} {
		e := sh(line)
		e.Run = job.RunID(t.Name())
		x := start(t, c, e)
		exit := ended(t, x)
		x.Release()
		var pid int
		if _, err := fmt.Sscan(string(exit.Output), &pid); err != nil || *exit.ExitCode != 3 {
			t.Fatalf("%q %+v", exit.Output, exit)
		}
		if !alive(pid) {
			t.Errorf("the child of %q was ended with its run", line)
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		eventually(t, "it is buried", func() bool { return !alive(pid) })
	}
}

// A guard that does not take a run over gets no further ones; the run goes on with it, and ends when it comes round.
func TestASilentGuardOfOwnRuns(t *testing.T) {
	t.Parallel()
	c := newOwner(t, "", func(o *Options) { o.Patience = 2 * time.Second })
	first := guardOf(c)
	suspend(t, first)
	x := start(t, c, sh("sleep 600"))
	var slow []job.Execution // that were handed to the silent guard before they had ended
	eventually(t, "further runs get another guard", func() bool {
		y, err := c.Start(t.Context(), sh("exit 6"))
		if err != nil { // so many were slow that there is no slot left
			return guardOf(c) != first
		}
		select {
		case <-y.Done():
			y.Release()
		default:
			slow = append(slow, y)
		}
		return guardOf(c) != first
	})
	if err := unix.Kill(first, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, y := range slow {
		if exit := ended(t, y); exit.ExitCode == nil || *exit.ExitCode != 6 {
			t.Errorf("%+v", exit)
		}
		y.Release()
	}
	x.Kill("the test")
	if exit := ended(t, x); exit.Outcome != job.Killed {
		t.Errorf("%+v", exit)
	}
	x.Release()
	eventually(t, "the silent guard gets nothing more, and ends", func() bool { return !alive(first) })
}

// A run that is released while it is being handed over is forgotten here and there, and its slot comes back.
func TestReleaseDuringTheHandOver(t *testing.T) {
	c := newOwner(t, "")
	s := stashOf(c)
	suspend(t, guardOf(c))
	x := startSlowly(t, c, sh("echo out; exit 3"))
	if exit := ended(t, x); *exit.ExitCode != 3 || string(exit.Output) != "out\n" {
		t.Errorf("%q %+v", exit.Output, exit)
	}
	s.l.mu.Lock()
	s.handOver(x)
	s.l.mu.Unlock()
	x.Release()
	if err := unix.Kill(guardOf(c), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its slot is free", func() bool { return len(s.free) == slots })
	if left := c.executions(); len(left) > 0 {
		t.Errorf("%d executions are left", len(left))
	} // that the guard holds nothing is seen at the end: it ends
}

// A run that is released while it lives is the guard's, and is forgotten here and there when it ends.
func TestReleaseOfAYoungRun(t *testing.T) {
	c := newOwner(t, "")
	gate, done := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "done")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	x := startSlowly(t, c, sh("read x <"+gate+"; echo out; echo out; touch "+done))
	x.Release()
	if err := os.WriteFile(gate, []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it goes on", func() bool { _, err := os.Stat(done); return err == nil })
	eventually(t, "it is forgotten", func() bool { return len(c.executions()) == 0 })
}

// A guard that says nothing when a run is handed over gets no further ones, though none is asked for; one that says something else does.
func TestAGuardThatDoesNotTakeARunOver(t *testing.T) {
	t.Parallel()
	c := newOwner(t, "", func(o *Options) { o.Patience = time.Second })
	l := stashOf(c).l
	suspend(t, guardOf(c))
	x := startSlowly(t, c, sh("sleep 600"))
	x.handOver()
	l.mu.Lock()
	heard := l.heard
	l.mu.Unlock()
	stashOf(c).silent(x, heard-1)
	if !l.usable() {
		t.Error("a guard that has said something since is given up")
	}
	eventually(t, "it gets no further runs", func() bool { return !l.usable() })
	if err := unix.Kill(guardOf(c), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// A run that needs more than its agent gives it, in the moment in which its guard dies and it has just begun, is lost, and is not waited for for ever.
func TestARunOutgrowsItsAgentAsItsGuardDies(t *testing.T) {
	c := newOwner(t, "")
	s := stashOf(c)
	e := sh("sleep 600")
	x, err := s.enter(&e)
	if err != nil {
		t.Fatal(err)
	}
	defer s.starts.Done()
	k := keeper{x, s, &e}
	lent, err := s.run.Lend(t.Context(), e, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(guardOf(c), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.l.gone
	k.Outgrown(lent)
	s.begun(x, lent)
	if exit := ended(t, x); exit.Outcome != job.Lost {
		t.Errorf("%+v", exit)
	}
	eventually(t, "it is ended", func() bool { return !alive(x.Pid()) })
	x.Release()
}
