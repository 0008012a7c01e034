//go:build linux

package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// mortal is the variable by which the test's program knows that it is an agent that kills itself: folder, step, and the folder of
// the run's traces.
const mortal = "ROTA_TEST_MORTAL"

// steps of a run's life, at which its agent dies.
var steps = []string{"before the start", "after the start's message", "after the exec", "during the output", "after the exit", "before the release", "after the release"}

// die is the life of an agent that ends at a step.
func die(args string) error {
	f := strings.Split(args, "\x01")
	dir, step, traces, own := f[0], f[1], f[2], f[3] != ""
	c, err := New(Options{Dir: dir, Program: "/proc/self/exe", Args: []string{"guard"}, Build: "one", Own: own})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if _, err := c.Adopt(ctx); err != nil {
		return err
	}
	at := func(name string) {
		if step == name {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	seen := func(name string) {
		for {
			if _, err := os.Stat(filepath.Join(traces, name)); err == nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	at(steps[0])
	e := sh(fmt.Sprintf("cd %s; echo x >>starts; echo one; touch up; [ -p gate ] && read x <gate; echo two; exit 7", traces))
	e.Note = []byte("note")
	if step == steps[1] {
		c.mu.Lock()
		l := c.current
		c.mu.Unlock()
		l.n.send(&message{Kind: kindStart, ID: c.id(), Exec: &e})
		at(steps[1])
	}
	if own && !slices.Contains(steps, step) {
		return mortally(ctx, c, e, step, traces, at)
	}
	x, err := c.Start(ctx, e)
	if err != nil {
		return err
	}
	at(steps[2])
	seen("up")
	at(steps[3])
	<-x.Done()
	at(steps[4])
	if err := os.WriteFile(filepath.Join(traces, "spool"), nil, 0o600); err != nil {
		return err
	}
	at(steps[5])
	x.Release()
	at(steps[6])
	return fmt.Errorf("no such step: %q", step)
}

// death is a step at which an agent dies, and what is known of its run after that.
type death struct {
	step  string
	gated bool // the run is alive at that step
	found bool // the guard has it
	lost  bool // nobody can say how it ended
	ran   bool // its command was executed
	spool bool // its record is safe
}

// The agent is killed at each step of a run's life. The run is executed once, or not at all where nobody had asked for it yet, and the
// next life has its real exit and all that it wrote.
func TestKilledAtEachStep(t *testing.T) { // ancestor 36, 39; ancestors F: failed while the process runs on
	deaths := []death{
		{step: steps[0]},
		{step: steps[1], found: true, ran: true},
		{step: steps[2], found: true, ran: true, gated: true},
		{step: steps[3], found: true, ran: true, gated: true},
		{step: steps[4], found: true, ran: true},
		{step: steps[5], found: true, ran: true, spool: true},
		{step: steps[6], found: true, ran: true, spool: true}, // the word of the release has time, and the kill comes before it
	}
	t.Run("by the guard", func(t *testing.T) { killed(t, deaths, false) })
	deaths[6].found = false // the run is released when the call returns
	t.Run("by the agent", func(t *testing.T) {
		if !canOwn(t) {
			deaths[6].found = true
		}
		killed(t, deaths, true)
	})
}

func killed(t *testing.T, deaths []death, own bool) {
	for _, d := range deaths {
		t.Run(d.step, func(t *testing.T) {
			t.Parallel()
			killedAt(t, d, own)
		})
	}
}

func killedAt(t *testing.T, d death, own bool) {
	dir, traces := t.TempDir(), t.TempDir()
	gate := filepath.Join(traces, "gate")
	if d.gated { // it is alive when its agent dies
		if err := syscall.Mkfifo(gate, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	way := map[bool]string{true: "own"}[own]
	agent := exec.Command("/proc/self/exe")
	agent.Env = append(os.Environ(), mortal+"="+strings.Join([]string{dir, d.step, traces, way}, "\x01"))
	if out, err := agent.CombinedOutput(); err == nil || agent.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%v: %s", err, out)
	}
	c := newClient(t, dir, func(o *Options) { o.Own = own })
	found := adopt(t, c)
	defer func() {
		if b, _ := os.ReadFile(filepath.Join(traces, "starts")); string(b) != map[bool]string{true: "x\n"}[d.ran] {
			t.Errorf("executed %q", b)
		}
	}()
	if _, err := os.Stat(filepath.Join(traces, "spool")); (err == nil) != d.spool {
		t.Errorf("it died elsewhere: %v", err)
	}
	if !d.found {
		if len(found) != 0 {
			t.Errorf("found %v", found)
		}
		return
	}
	x, ok := found[run1]
	if !ok || len(found) != 1 || string(x.Note) != "note" || x.Attempt != 1 {
		t.Fatalf("found %v", found)
	}
	if d.gated {
		select {
		case <-x.Done():
			t.Fatalf("it did not outlive its agent: %+v", x.Exit())
		default:
		}
		if x.StartTicks() == 0 {
			t.Error("nobody could tell its process from another")
		}
		if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
			t.Fatal(err)
		}
	}
	exit := ended(t, x)
	output := "one\ntwo\n"
	if !d.ran {
		output = ""
	}
	real := exit.ExitCode != nil && *exit.ExitCode == 7 && exit.EndedBy == job.EndedByExit
	lost := exit.Outcome == job.Lost && exit.EndedBy == job.EndedByLoss && exit.ExitCode == nil
	if string(exit.Output) != output || real == d.lost || lost != d.lost {
		t.Errorf("%q %+v", exit.Output, exit)
	}
	x.Release()
}

// A timeout counts from the begin, whoever is the agent.
func TestTimeoutAfterAdoption(t *testing.T) {
	dir := t.TempDir()
	a := newClient(t, dir)
	e := sh("sleep 600")
	e.Timeout = 500 * time.Millisecond
	start(t, a, e)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	x := adopt(t, newClient(t, dir))[run1]
	exit := ended(t, x)
	if exit.Outcome != job.Timeout || exit.Reason != "timeout after 500ms" || !exit.Begin.Before(x.Begin.Add(e.Timeout)) {
		t.Errorf("%+v", exit)
	}
	x.Release()
}

// A number that is another's by now is left alone, whoever it is.
func TestAReusedPid(t *testing.T) { // ancestor 38
	stranger := exec.Command("sleep", "600")
	stranger.Env = []string{"ROTA_RUN=" + string(run1)} // the worst of strangers
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	ticks, err := runner.StartTicks(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []uint64{0, ticks - 1, ticks + 1} {
		if err := runner.EndLeftover(stranger.Process.Pid, other, string(run1)); err != nil {
			t.Error(err)
		}
		if other == 0 {
			continue // a guard whose start is not known is told by its socket alone
		}
		if err := end(stranger.Process.Pid, other); err != nil {
			t.Error(err)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", stranger.Process.Pid))
	if err != nil || strings.Contains(string(status), "\nState:\tZ") {
		t.Fatalf("the stranger is dead: %v", err)
	}
	if err := runner.EndLeftover(stranger.Process.Pid, ticks, string(run1)); err != nil { // it can be ended
		t.Error(err)
	}
	if err := stranger.Wait(); err == nil {
		t.Error("it lives")
	}
}

// Who is not the agent's user is not served, even where it can reach the socket.
func TestAStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	base, err := os.MkdirTemp("", "guard")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) }) // after the guards
	c := newClient(t, base)
	x := start(t, c, sh("sleep 600"))
	path := filepath.Join(base, folders(t, base)[0], socketName)
	for p, mode := range map[string]os.FileMode{base: 0o755, filepath.Dir(path): 0o755, path: 0o777} {
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, uid := range map[string]uintptr{"root": 0, "nobody": 65534} {
		answer := make(chan bool)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			defer close(answer)
			if _, _, no := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); no != 0 {
				t.Error(no)
				return
			}
			u, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
			if err != nil {
				t.Error(err)
				return
			}
			n, err := newConn(u)
			if err != nil {
				t.Error(err)
				return
			}
			n.send(&message{Kind: kindHello, Build: "one"})
			_ = n.ep.SetReadDeadline(time.Now().Add(10 * time.Second))
			m, err := n.receive()
			if err != nil && !over(err) {
				t.Error(err)
			}
			n.close()
			answer <- m != nil
		}()
		if told := <-answer; told != (uid == 0) {
			t.Errorf("%s was told something: %v", name, told)
		}
	}
	// The root that came took the place of the agent, which takes it for the guard's death.
	ended(t, x)
}

// A command finds its signals as they are anywhere else: none ignored, none blocked, whatever the guard does with its own.
func TestSignalsAreAsAnywhere(t *testing.T) {
	c := newClient(t, "")
	x := start(t, c, job.Exec{Run: run1, Attempt: 1, Argv: []string{"/bin/cat", "/proc/self/status"}, Dir: "/"})
	out := string(ended(t, x).Output)
	x.Release()
	for _, name := range []string{"SigBlk", "SigIgn"} {
		_, rest, _ := strings.Cut(out, name+":\t")
		mask, _, _ := strings.Cut(rest, "\n")
		set, err := strconv.ParseUint(mask, 16, 64)
		if standard := uint64(1)<<31 - 1; err != nil || set&standard != 0 { // those beyond are the C library's, and stay as the agent got them
			t.Errorf("%s is %q", name, mask)
		}
	}
}

// Whatever an execution, an exit or a word is made of arrives as it was: also what is added to them later.
func TestEverythingIsCarried(t *testing.T) {
	var exec job.Exec
	var exit job.Exit
	var progress job.Progress
	var held holding
	var fail failure
	var parts []job.OutputPart
	for _, v := range []any{&exec, &exit, &progress, &held, &fail, &parts} {
		fill(t, reflect.ValueOf(v).Elem(), reflect.TypeOf(v).Elem().Name())
	}
	sent := &message{
		Kind: kindStart, ID: 1 << 63, Exec: &exec, Until: time.Hour, By: "ann", Pid: 1, Ticks: 1 << 63, Exit: &exit, Error: &fail, Build: "b",
		Held: &held, Progress: &progress, Slot: 7, Parts: parts, Bytes: 8,
	}
	for v, i := reflect.ValueOf(*sent), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("the test forgets %s", v.Type().Field(i).Name)
		}
	}
	ends := connections(t)
	ends[0].send(sent)
	got, err := ends[1].receive()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, sent) {
		x, _ := json.Marshal(sent)
		y, _ := json.Marshal(got)
		t.Errorf("sent %s\n got %s", x, y)
	}
}

// connections are both ends of one.
func connections(t *testing.T) (ends [2]*conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if ends[i], err = newConn(c.(*net.UnixConn)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(ends[i].close)
	}
	return ends
}

// What an end said before it hung up is read also by one that has tried to say something since.
func TestLastWords(t *testing.T) {
	ends := connections(t)
	ends[0].send(&message{Kind: kindRelease, ID: 7})
	ends[0].close()
	ends[1].send(&message{Kind: kindEnded, ID: 7})
	<-ends[1].done // it could not be said
	if m, err := ends[1].receive(); err != nil || m.Kind != kindRelease || m.ID != 7 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := ends[1].receive(); !over(err) {
		t.Error(err)
	}
}

// fill gives everything in a value another value than zero.
func fill(t *testing.T, v reflect.Value, name string) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2031, 5, 6, 7, 8, 9, 123456789, time.UTC)))
		return
	case json.RawMessage:
		v.SetBytes([]byte(`{"a":[1,null]}`))
		return
	case []byte:
		v.SetBytes([]byte("\x00\xff bytes"))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("the " + name)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(42)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(42)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), name)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, name)
		fill(t, value, name)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				t.Fatalf("%s.%s is not exported: it can't be carried", name, f.Name)
			}
			fill(t, v.Field(i), name+"."+f.Name)
		}
	default:
		t.Fatalf("%s is a %s: the test does not know how to fill it", name, v.Kind())
	}
}
