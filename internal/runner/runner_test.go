//go:build linux

package runner

import (
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

	"go.uber.org/goleak"

	"github.com/rota-dev/rota/job"
)

func TestMain(m *testing.M) {
	if os.Getenv("RUNNER_TEST_AGENT") != "" {
		agent()
		return
	}
	goleak.VerifyTestMain(m)
}

// newRunner makes a runner that is closed, with everything that still runs, at the end of the test, and checks that nothing
// stays behind.
func newRunner(t *testing.T, o Options) *Runner {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.KillAll("the end of the test")
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if entries, _ := os.ReadDir(o.Dir); len(entries) > 0 {
			t.Errorf("left in %s: %v", o.Dir, entries)
		}
	})
	return r
}

func start(t *testing.T, r *Runner, e job.Exec) job.Execution {
	t.Helper()
	x, err := r.Start(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func run(t *testing.T, r *Runner, e job.Exec) job.Exit {
	t.Helper()
	x := start(t, r, e)
	return ended(t, x)
}

func ended(t *testing.T, x job.Execution) job.Exit {
	t.Helper()
	select {
	case <-x.Done():
	case <-time.After(time.Minute):
		t.Fatal("the execution does not end")
	}
	return x.Exit()
}

// sh is a shell line.
func sh(line string) job.Exec { return job.Exec{Argv: []string{"/bin/sh", "-c", line}, Dir: "/"} }

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// pids are the living processes that carry an entry in their environment, those of other tests' runs excluded.
func pids(t *testing.T, entry string) []int {
	t.Helper()
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, p := range all {
		if !p.dead() && hasEntry(p.pid, entry) {
			found = append(found, p.pid)
		}
	}
	return found
}

// markOf is an entry by which the processes of a test are found, and those of no other, also where the same tests run twice on the machine.
func markOf(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("TREE=%s-%d", t.Name(), os.Getpid())
}

// hasEntry tells whether a process has an entry in its environment, when that can be seen.
func hasEntry(pid int, entry string) bool {
	for {
		if has, sure := carries(pid, entry); sure {
			return has
		}
		time.Sleep(time.Millisecond)
	}
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may become another user")
	}
}

// ancestor 32: the argv was joined and split again.
func TestArgumentsArriveByteForByte(t *testing.T) {
	r := newRunner(t, Options{})
	argv := []string{"printf", `[%s]\n`, "a b", "", "$x", "`id`", "\xff\xfe", "new\nline", "*", `"'\`}
	x := run(t, r, job.Exec{Argv: argv})
	want := ""
	for _, a := range argv[2:] {
		want += "[" + a + "]\n"
	}
	if string(x.Output) != want || x.Outcome != job.Success || x.ExitCode == nil || *x.ExitCode != 0 || x.Reason != "" {
		t.Errorf("got %q, %+v", x.Output, x)
	}
}

// ancestor 35: malformed commands panicked.
func TestWhatCannotStartIsExplained(t *testing.T) {
	r := newRunner(t, Options{})
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := dir + "/" + name
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := file("plain", "#!/bin/sh\n", 0o644)
	for name, c := range map[string]struct {
		exec job.Exec
		want string
	}{
		"no command":             {job.Exec{}, "the command is empty"},
		"empty command":          {job.Exec{Argv: []string{""}}, "the command is empty"},
		"NUL":                    {job.Exec{Argv: []string{"echo", "a\x00b"}}, "NUL"},
		"malformed variable":     {job.Exec{Argv: []string{"true"}, Env: []string{"NOVALUE"}}, `entry "NOVALUE" is not of the form`},
		"unknown command":        {job.Exec{Argv: []string{"no-such-command"}}, `"no-such-command" is in no directory of PATH (/usr/local/sbin:`},
		"missing file":           {job.Exec{Argv: []string{"/no/such/file"}}, "/no/such/file does not exist"},
		"not executable":         {job.Exec{Argv: []string{plain}}, "is not executable; chmod +x"},
		"not executable in PATH": {job.Exec{Argv: []string{"plain"}, Env: []string{"PATH=/bin:" + dir}}, plain + " is not executable"},
		"a directory":            {job.Exec{Argv: []string{dir}}, "is a directory"},
		"no program":             {job.Exec{Argv: []string{file("text", "hello\n", 0o755)}}, "is not a program that the kernel can run"},
		"missing interpreter":    {job.Exec{Argv: []string{file("script", "#!/no/perl -w\n", 0o755)}}, `needs the interpreter "/no/perl"`},
		"missing directory":      {job.Exec{Argv: []string{"true"}, Dir: dir + "/none"}, "directory " + dir + "/none does not exist"},
		"relative, no directory": {job.Exec{Argv: []string{"./x"}, Dir: dir + "/none"}, "directory " + dir + "/none does not exist"},
		"file as directory":      {job.Exec{Argv: []string{"true"}, Dir: plain}, "is not a directory"},
		"unknown user":           {job.Exec{Argv: []string{"true"}, User: "no-such-user"}, `user "no-such-user" does not exist on this node`},
		"unknown uid":            {job.Exec{Argv: []string{"true"}, User: "4123456"}, `user "4123456" does not exist`},
		"too large":              {job.Exec{Argv: []string{"true", strings.Repeat("x", 3<<20)}}, "larger than the kernel takes"},
	} {
		x, err := r.Start(t.Context(), c.exec)
		if x != nil || err == nil || !strings.Contains(err.Error(), c.want) || job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%s: got %v (%s), want %q", name, err, job.CodeOf(err), c.want)
		}
	}
}

func TestSearchInPathOfTheExecution(t *testing.T) {
	r := newRunner(t, Options{})
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/mine", []byte("#!/bin/sh\necho $0 $PATH\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, e := range []job.Exec{
		{Argv: []string{"mine"}, Env: []string{"PATH=/none:" + dir}},
		{Argv: []string{"./mine"}, Dir: dir},
		{Argv: []string{"mine"}, Dir: dir, Env: []string{"PATH="}},
	} {
		if x := run(t, r, e); x.Outcome != job.Success || !strings.Contains(string(x.Output), "mine") {
			t.Errorf("%v: %q %+v", e.Argv, x.Output, x)
		}
	}
}

// ancestor 31: everything ran with the agent's environment.
func TestEnvironmentIsTheChildsOwn(t *testing.T) {
	t.Setenv("AGENT_SECRET", "s3cret")
	r := newRunner(t, Options{})
	x := run(t, r, job.Exec{Argv: []string{"env"}, Env: []string{"A=1", "A=2", "SHELL=/bin/zsh", "ROTA_RESULT=/etc/passwd"}})
	got := map[string]string{}
	for line := range strings.Lines(string(x.Output)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if _, twice := got[name]; twice {
			t.Errorf("%s is set twice", name)
		}
		got[name] = value
	}
	me := self()
	if !strings.HasPrefix(got["ROTA_RESULT"], r.results.dir) {
		t.Errorf("ROTA_RESULT=%s", got["ROTA_RESULT"])
	}
	delete(got, "ROTA_RESULT")
	want := map[string]string{"A": "2", "SHELL": "/bin/zsh", "HOME": me.home, "USER": me.name, "LOGNAME": me.name, "PATH": DefaultPath}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s=%q, want %q", name, got[name], value)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("and also %v", got)
	}
}

func TestDirectory(t *testing.T) {
	r := newRunner(t, Options{})
	dir := t.TempDir()
	if x := run(t, r, job.Exec{Argv: []string{"pwd"}, Dir: dir}); string(x.Output) != dir+"\n" {
		t.Errorf("got %q", x.Output)
	}
	home := self().home
	if _, err := os.Stat(home); err != nil {
		home = "/"
	}
	if x := run(t, r, job.Exec{Argv: []string{"pwd"}}); string(x.Output) != home+"\n" {
		t.Errorf("got %q, want %q", x.Output, home)
	}
}

func TestExitCodesAndSignals(t *testing.T) {
	r := newRunner(t, Options{})
	x := run(t, r, sh("exit 3"))
	if x.Outcome != job.Failed || x.ExitCode == nil || *x.ExitCode != 3 || x.Reason != "exit status 3" || x.Signal != "" {
		t.Errorf("got %+v", x)
	}
	x = run(t, r, sh("ulimit -c 0; kill -SEGV $$"))
	if x.Outcome != job.Failed || x.ExitCode != nil || x.Signal != "SIGSEGV" || !strings.HasPrefix(x.Reason, "killed by SIGSEGV") {
		t.Errorf("got %+v", x)
	}
	if x.Begin.IsZero() || x.End.Before(x.Begin) {
		t.Errorf("from %v to %v", x.Begin, x.End)
	}
}

func TestUsage(t *testing.T) {
	r := newRunner(t, Options{})
	if x := run(t, r, sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")); x.Usage.UserMS+x.Usage.SystemMS == 0 {
		t.Errorf("a loop used %+v", x.Usage)
	}
	// What the child had of the agent's memory before its exec is not the child's.
	if x := run(t, r, sh("true")); x.Usage.MaxRSSKB > 64<<10 {
		t.Errorf("true used %+v", x.Usage)
	}
}

func TestInput(t *testing.T) {
	r := newRunner(t, Options{})
	big := []byte(strings.Repeat("0123456789abcde\n", 64<<10)) // more than any pipe holds
	e := sh("wc -c")
	e.Stdin = big
	if x := run(t, r, e); strings.TrimSpace(string(x.Output)) != strconv.Itoa(len(big)) {
		t.Errorf("got %q", x.Output)
	}
	e = sh("exec true") // reads nothing
	e.Stdin = big
	if x := run(t, r, e); x.Outcome != job.Success || x.Reason != "" {
		t.Errorf("unread input: %+v", x)
	}
	if x := run(t, r, sh("cat; readlink /proc/self/fd/0")); string(x.Output) != "/dev/null\n" {
		t.Errorf("no input: %q", x.Output)
	}
	e = sh("cat /dev/stdin; echo x >&0")
	e.Stdin = []byte("in\n")
	if x := run(t, r, e); !strings.HasPrefix(string(x.Output), "in\n") || x.Outcome == job.Success {
		t.Errorf("input can be opened anew, and not written: %q %+v", x.Output, x)
	}
}

func TestOnlyThreeDescriptorsReachTheChild(t *testing.T) {
	r := newRunner(t, Options{})
	fd, err := syscall.Open("/etc/passwd", syscall.O_RDONLY, 0) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	e := job.Exec{Argv: []string{"ls", "/proc/self/fd"}, Stdin: []byte("x")}
	if x := run(t, r, e); string(x.Output) != "0\n1\n2\n3\n" { // 3 is the directory that ls reads
		t.Errorf("got %q", x.Output)
	}
}

func TestOwnProcessGroup(t *testing.T) {
	r := newRunner(t, Options{})
	x := start(t, r, sh("sleep 60"))
	p, err := readProc(x.Pid(), make([]byte, 0, statSize))
	if err != nil || p.pgrp != x.Pid() {
		t.Errorf("%+v, %v", p, err)
	}
	// ancestor 38: the pid alone was the identity.
	if ticks, err := StartTicks(x.Pid()); err != nil || ticks == 0 || x.StartTicks() != ticks || ticks != p.start {
		t.Errorf("start ticks %d and %d, %v", ticks, x.StartTicks(), err)
	}
	before := x.StartTicks()
	x.Kill("the test")
	ended(t, x)
	if x.StartTicks() != before {
		t.Error("the start is forgotten after the end")
	}
	y := start(t, r, sh("exit"))
	ended(t, y)
	if y.StartTicks() != 0 {
		t.Error("a start that was never read is told after the end")
	}
}

func TestStartWaitsForItsTurnNoLongerThanItsContext(t *testing.T) {
	r := newRunner(t, Options{Starts: 1})
	r.gate <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := r.Start(ctx, sh("exit"))
		failed <- err
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-r.gate
	if _, err := r.Start(ctx, sh("exit")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	run(t, r, sh("exit"))
}

// ancestor 36: at shutdown children were neither awaited, nor killed, nor recorded.
func TestCloseWaitsForEveryExecution(t *testing.T) {
	r := newRunner(t, Options{})
	x, y := start(t, r, sh("sleep 60")), start(t, r, sh("read x < /dev/null; exit 7"))
	closed := make(chan error)
	go func() { closed <- r.Close() }()
	eventually(t, "starts are refused", func() bool {
		_, err := r.Start(t.Context(), sh("exit"))
		return job.CodeOf(err) == job.CodeUnavailable
	})
	r.KillAll("shutdown")
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if e := ended(t, x); e.Outcome != job.Killed || e.Reason != "killed by shutdown" {
		t.Errorf("got %+v", e)
	}
	ended(t, y)
}

func TestForeignChildrenKeepTheirExitStatus(t *testing.T) {
	r := newRunner(t, Options{})
	cmd := exec.Command("/bin/sh", "-c", "exit 5")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is a zombie", func() bool {
		p, err := readProc(cmd.Process.Pid, make([]byte, 0, statSize))
		return err == nil && p.dead()
	})
	r.orphans.visit()
	r.orphans.visit()
	run(t, r, sh("exit"))
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("got %v", err)
	}
}
