//go:build linux

package runner

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// needsLimit skips a test where this machine can't enforce a limit.
func needsLimit(t *testing.T, r *Runner, name string) {
	t.Helper()
	if f := r.Facts(); !slices.Contains(f.Limits, name) {
		t.Skipf("needs the limit %s: %s", name, f.Why)
	}
}

// withArg lists the processes that have an argument, whatever became of their environment.
func withArg(t *testing.T, arg string) (found []int) {
	t.Helper()
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline")
		if err == nil && slices.Contains(strings.Split(string(b), "\x00"), arg) {
			found = append(found, p.pid)
		}
	}
	return found
}

// ancestor 30: a process that left the session, the group and its parents, and wiped its environment, is known by nothing but
// its control group.
func TestNobodyEscapesAControlGroup(t *testing.T) {
	r := newRunner(t, Options{})
	if v := r.Facts().Version; v != "v2" && v != "hybrid" {
		t.Skip("needs cgroup v2: ", r.Facts().Why)
	}
	ends := map[string]struct {
		end     func(x job.Execution)
		outcome job.Outcome
		by      job.EndedBy
	}{
		"kill":     {end: func(x job.Execution) { x.Kill("the test") }, outcome: job.Killed, by: job.EndedByKill},
		"kill now": {end: func(x job.Execution) { x.KillNow("the test") }, outcome: job.Killed, by: job.EndedByKill},
		"timeout":  {end: func(x job.Execution) { timeOut(t, x) }, outcome: job.Timeout, by: job.EndedByTimeout},
	}
	n := 0
	for name, c := range ends {
		n++
		arg := fmt.Sprintf("6%d%d", os.Getpid(), n)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := sh(`(trap "" TERM; setsid env -i /bin/sh -c '(setsid sleep ` + arg + ` &)' &) ; exec sleep 600`)
			e.Grace, e.Timeout = 100*time.Millisecond, time.Hour
			x := start(t, r, e)
			alone := func() bool {
				for _, pid := range withArg(t, arg) {
					if p, err := readProc(pid, make([]byte, 0, statSize)); err == nil && p.ppid == os.Getpid() && p.sid != x.Pid() {
						return !hasEntry(pid, x.(*execution).marker)
					}
				}
				return false
			}
			eventually(t, "it has left everything", alone)
			c.end(x)
			if exit := ended(t, x); exit.Outcome != c.outcome || exit.EndedBy != c.by {
				t.Errorf("got %+v", exit)
			}
			for _, pid := range withArg(t, arg) {
				if p, err := readProc(pid, make([]byte, 0, statSize)); err == nil && !p.dead() {
					t.Errorf("process %d lives", pid)
				}
			}
		})
	}
}

// The next life of an agent ends what an earlier one left, also who can't be seen to belong to it.
func TestEndLeftoverEndsTheControlGroup(t *testing.T) {
	r := newRunner(t, Options{})
	if v := r.Facts().Version; v != "v2" && v != "hybrid" {
		t.Skip("needs cgroup v2: ", r.Facts().Why)
	}
	arg := fmt.Sprintf("7%d", os.Getpid())
	cmd, pid, ticks := startAgent(t, `setsid env -i /bin/sh -c '(setsid sleep `+arg+` &)'; touch $UP; exec sleep 600`, markOf(t))
	eventually(t, "it stands", func() bool { return len(withArg(t, arg)) == 1 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if err := EndLeftover(pid, ticks, leftover); err != nil {
		t.Error(err)
	}
	eventually(t, "nobody lives", func() bool { return len(withArg(t, arg)) == 0 })
}

// What an agent says of its node is what a runner there does.
func TestFacts(t *testing.T) {
	r := newRunner(t, Options{})
	have, look := r.Facts(), GroupFacts()
	if look.Version != have.Version || !slices.Equal(look.Limits, have.Limits) || look.Why != have.Why {
		t.Errorf("got %+v, want %+v", look, have)
	}
	if _, err := os.Stat(look.Dir); look.Dir != "" && err == nil {
		t.Errorf("%s is left", look.Dir)
	}
	if (have.Version == "none") != (have.Dir == "") || (len(have.Limits) < 4) != (have.Why != "") {
		t.Errorf("got %+v", have)
	}
}

func TestTheCauseOfAnEnd(t *testing.T) {
	r := newRunner(t, Options{})
	for line, want := range map[string]job.EndedBy{"exit 0": job.EndedByExit, "exit 3": job.EndedByExit, "kill -9 $$": job.EndedBySignal} {
		if x := run(t, r, sh(line)); x.EndedBy != want {
			t.Errorf("%s: %+v", line, x)
		}
	}
	for name, x := range map[string]job.Exit{
		"timeout": func() job.Exit { e := sh("sleep 600"); e.Timeout = time.Millisecond; return run(t, r, e) }(),
		"killed":  func() job.Exit { x := start(t, r, sh("sleep 600")); x.Kill("alice"); return ended(t, x) }(),
	} {
		if string(x.EndedBy) != name {
			t.Errorf("%s: %+v", name, x)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	r := newRunner(t, Options{})
	needsLimit(t, r, "memory")
	for name, line := range map[string]string{"the main process": "exec tail /dev/zero", "a child": "tail /dev/zero; exit 7"} {
		e := sh(line)
		e.Limits.Memory = 24 << 20
		x := run(t, r, e)
		if x.Outcome != job.Failed || x.EndedBy != job.EndedByOOM || !strings.Contains(x.Reason, "out of memory: the kernel ended it at its limit of 24MiB") {
			t.Errorf("%s: %+v", name, x)
		}
		if x.Usage.PeakKB < 16<<10 || x.Usage.PeakKB > 24<<10 {
			t.Errorf("%s: the peak was %d KiB", name, x.Usage.PeakKB)
		}
	}
	e := sh("echo hi")
	e.Limits.Memory = 24 << 20
	if x := run(t, r, e); x.Outcome != job.Success || x.EndedBy != job.EndedByExit {
		t.Errorf("got %+v", x)
	}
}

func TestForkBombWithinItsLimit(t *testing.T) {
	r := newRunner(t, Options{})
	needsLimit(t, r, "processes")
	mark := "TREE=" + t.Name()
	e := job.Exec{Argv: []string{"perl", "-e", `$SIG{TERM} = "IGNORE"; for (;;) { fork // select(undef, undef, undef, 0.01) }`}, Dir: "/"}
	e.Env, e.Limits.Processes, e.Grace = []string{mark}, 20, 50*time.Millisecond
	x := start(t, r, e)
	eventually(t, "it has reached its limit", func() bool { return len(x.(*execution).leaf.Processes()) == 20 })
	x.Kill("the test")
	for most := 0; ; {
		select {
		case <-x.Done():
			if exit := x.Exit(); exit.EndedBy != job.EndedByKill || most > 20 {
				t.Errorf("%d processes at most, %+v", most, exit)
			}
			if left := pids(t, mark); len(left) > 0 {
				t.Errorf("processes %v live", left)
			}
			return
		default:
			most = max(most, len(x.(*execution).leaf.Processes()))
		}
	}
}

// With a limit of one process a shell can't fork, but the command itself starts.
func TestOneProcess(t *testing.T) {
	r := newRunner(t, Options{})
	needsLimit(t, r, "processes")
	e := sh("echo up; /bin/true; exit 3")
	e.Limits.Processes = 1
	x := run(t, r, e)
	if x.Outcome != job.Failed || !strings.HasPrefix(string(x.Output), "up\n") || !strings.HasSuffix(x.Reason, "it reached its limit of processes (1)") {
		t.Errorf("got %q, %+v", x.Output, x)
	}
}

func TestCPULimitIsSet(t *testing.T) {
	r := newRunner(t, Options{})
	needsLimit(t, r, "cpu")
	e := sh("cat /proc/self/cgroup; sleep 600")
	e.Limits.CPU, e.Limits.CPUWeight = 0.5, 200
	x := start(t, r, e)
	set := x.(*execution).leaf.Settings("cpu.max", "cpu.weight", "cpu.cfs_quota_us", "cpu.shares")
	if !slices.Equal(set, []string{"50000 100000", "200"}) && !slices.Equal(set, []string{"50000", "2048"}) {
		t.Errorf("got %q", set)
	}
	x.Kill("the test")
	ended(t, x)
}

// What each process of a run inherits is in force before its first instruction.
func TestLimitsOfEachProcess(t *testing.T) {
	r := newRunner(t, Options{})
	checkLimitsOfEachProcess(t, r)
}

func checkLimitsOfEachProcess(t *testing.T, r *Runner) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	own, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	own = 20 - own // the system call counts from the other end
	nice := min(own+5, 19)
	for name, c := range map[string]struct {
		limits job.Limits
		argv   []string
		want   string
	}{
		"open_files": {job.Limits{OpenFiles: 17}, []string{"/bin/sh", "-c", "ulimit -Sn; ulimit -Hn"}, "17\n17\n"},
		"file_size":  {job.Limits{FileSize: 1 << 20}, []string{"/bin/sh", "-c", "ulimit -f"}, "2048\n"},
		"nice":       {job.Limits{Nice: nice}, []string{"nice"}, strconv.Itoa(nice) + "\n"},
		"umask":      {job.Limits{Umask: "0027"}, []string{"/bin/sh", "-c", "umask; touch " + dir + "/f; stat -c %a " + dir + "/f"}, "0027\n640\n"},
		"all": {job.Limits{OpenFiles: 18, FileSize: 512, Nice: nice, Umask: "077"},
			[]string{"/bin/sh", "-c", "ulimit -n; ulimit -f; nice; umask; grep TracerPid /proc/self/status"}, fmt.Sprintf("18\n1\n%d\n0077\nTracerPid:\t0\n", nice)},
		"none after others": {job.Limits{}, []string{"/bin/sh", "-c", "nice; ulimit -f"}, fmt.Sprintf("%d\nunlimited\n", own)},
	} {
		for range 3 {
			if x := run(t, r, job.Exec{Argv: c.argv, Dir: "/", Limits: c.limits}); string(x.Output) != c.want || x.Outcome != job.Success {
				t.Errorf("%s: %q, want %q, %+v", name, x.Output, c.want, x)
			}
		}
	}
	if now, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0); err != nil || 20-now != own {
		t.Errorf("the agent's own nice is %d", 20-now)
	}
	e := sh("exec head -c 100000 /dev/zero >" + dir + "/big")
	e.Limits.FileSize = 4096
	x := run(t, r, e)
	if x.Signal != "SIGXFSZ" || x.EndedBy != job.EndedBySignal || !strings.Contains(x.Reason, "it wrote a file beyond its limit of 4KiB (file_size)") {
		t.Errorf("got %+v", x)
	}
	e = sh("head -c 100000 /dev/zero >" + dir + "/child; exit $?")
	e.Limits.FileSize = 4096
	x = run(t, r, e)
	if x.EndedBy != job.EndedByExit || !strings.HasSuffix(x.Reason, ": a process of it wrote a file beyond its limit of 4KiB (file_size)") {
		t.Errorf("got %+v", x)
	}
	if st, err := os.Stat(dir + "/big"); err != nil || st.Size() != 4096 {
		t.Errorf("got %v, %v", st, err)
	}
}

// All limits together, with a user, an input and arguments of any bytes.
func TestLimitsDoNotDisturbTheRest(t *testing.T) {
	needsRoot(t)
	r := newRunner(t, Options{})
	e := job.Exec{
		Argv: []string{"/bin/sh", "-c", `id -un; cat; printf "%s|" "$@"; ls /proc/self/fd | wc -l; exit 3`, "x", "a b", "", "$x", "\xff\n"},
		Dir:  "/", User: "nobody", Stdin: []byte("in "), Limits: job.Limits{OpenFiles: 64, FileSize: 1 << 20, Nice: 3, Umask: "0022"},
	}
	for _, name := range r.Facts().Limits {
		switch name {
		case "memory":
			e.Limits.Memory = 64 << 20
		case "processes":
			e.Limits.Processes = 10
		case "cpu":
			e.Limits.CPU = 1
		}
	}
	x := run(t, r, e)
	if string(x.Output) != "nobody\nin a b||$x|\xff\n|4\n" || x.ExitCode == nil || *x.ExitCode != 3 {
		t.Errorf("got %q, %+v", x.Output, x)
	}
}

func TestLimitsThatCannotBe(t *testing.T) {
	r := newRunner(t, Options{})
	without := newRunner(t, Options{NoGroups: true})
	mark := t.TempDir() + "/ran"
	e := sh("touch " + mark)
	for _, c := range []struct {
		r      *Runner
		limits job.Limits
		code   job.Code
		want   string
	}{
		{r, job.Limits{Nice: 40}, job.CodeInvalid, "nice 40 is not between"},
		{r, job.Limits{OpenFiles: 1 << 30}, job.CodeForbidden, "set open_files to 1073741824: "},
		{without, job.Limits{Memory: 1 << 30}, job.CodeUnavailable, "limit memory can't be enforced on this node: this agent uses no control groups"},
		{without, job.Limits{Processes: 5}, job.CodeUnavailable, "limit processes can't be enforced"},
	} {
		e.Limits = c.limits
		x, err := c.r.Start(t.Context(), e)
		if err == nil || job.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, %v", c.limits, x, err)
		}
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("something was executed")
	}
	e.Limits = job.Limits{Nice: 1}
	if x := run(t, without, e); x.Outcome != job.Success {
		t.Errorf("got %+v", x)
	}
}

// Threads that were made what a child was to inherit do not live on.
func TestThreadsOfLimitsEnd(t *testing.T) {
	r := newRunner(t, Options{})
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	e := job.Exec{Argv: []string{"/bin/true"}, Dir: "/", Limits: job.Limits{Nice: 19, Umask: "0777"}}
	if slices.Contains(r.Facts().Limits, "memory") {
		e.Limits.Memory = 64 << 20
	}
	for range 50 {
		run(t, r, e)
	}
	runtime.GC()
	eventually(t, "no thread is what it was made", func() bool {
		tasks, err := filepath.Glob("/proc/self/task/*")
		if err != nil || len(tasks) == 0 {
			t.Fatal(err)
		}
		for _, dir := range tasks {
			group, err := os.ReadFile(dir + "/cgroup")
			if err == nil && !bytes.Equal(group, own) {
				return false
			}
			stat, err := os.ReadFile(dir + "/stat")
			if err == nil && strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))[16] == "19" {
				return false
			}
		}
		return true
	})
}

// An ordinary agent sets what ordinary users may. As root the test runs itself as nobody.
func checkOrdinaryLimits(t *testing.T) {
	t.Helper()
	r := newRunner(t, Options{})
	checkLimitsOfEachProcess(t, r)
	for _, c := range []struct {
		limits job.Limits
		want   string
	}{
		{job.Limits{Nice: -5}, "set nice to -5: permission denied; only root"},
		{job.Limits{OpenFiles: 1 << 29}, "set open_files to 536870912: operation not permitted; it is more than the agent itself is allowed"},
	} {
		_, err := r.Start(t.Context(), job.Exec{Argv: []string{"/bin/true"}, Limits: c.limits})
		if job.CodeOf(err) != job.CodeForbidden || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.limits, err)
		}
	}
	if path, err := exec.LookPath("su"); err == nil {
		_, err := r.Start(t.Context(), job.Exec{Argv: []string{path, "--version"}, Limits: job.Limits{OpenFiles: 10}})
		if job.CodeOf(err) != job.CodeUnavailable || !strings.Contains(err.Error(), "it brings rights of its own (setuid)") {
			t.Errorf("got %v", err)
		}
	}
	if f := r.Facts(); f.Version == "none" {
		if _, err := r.Start(t.Context(), job.Exec{Argv: []string{"true"}, Limits: job.Limits{Memory: 1 << 30}}); job.CodeOf(err) != job.CodeUnavailable {
			t.Errorf("got %v", err)
		}
	}
}
