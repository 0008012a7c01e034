package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Build builds a program without cgo; flags are those of go build.
func Build(bin, pkg string, flags ...string) error {
	args := append(append([]string{"build"}, flags...), "-o", bin, pkg)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// Main is the main function of tests that run programs: Rota and etcd are built, as rota and etcd in a folder that goes with the tests.
func Main(m *testing.M, rota, etcd *string) int {
	dir, err := os.MkdirTemp("", "rota-programs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	*rota, *etcd = filepath.Join(dir, "rota"), filepath.Join(dir, "etcd")
	for bin, pkg := range map[string]string{*rota: "github.com/rota-dev/rota/cmd/rota", *etcd: "go.etcd.io/etcd/server/v3"} {
		if err := Build(bin, pkg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// Process is a program that a test runs, kills and starts again. Its methods are for one goroutine, but for Done.
type Process struct {
	Name string
	Args []string // of the next start

	t    *testing.T
	bin  string
	log  *os.File
	cmd  *exec.Cmd
	done chan struct{}
}

// New makes a process, which is not started yet. At the end of the test it is killed, with the guards of its --data; what it
// logged is shown where the test failed. The log is a file of the folder.
func New(t *testing.T, folder, name, bin string, args ...string) *Process {
	t.Helper()
	log, err := os.Create(filepath.Join(folder, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{t: t, Name: name, bin: bin, Args: args, log: log}
	t.Cleanup(func() {
		p.Kill()
		if i := slices.Index(args, "--data"); i >= 0 {
			EndGuards(args[i+1])
		}
		if t.Failed() {
			b := []byte(p.Said())
			const most = 6000
			if len(b) > most {
				b = b[len(b)-most:]
			}
			t.Logf("--- log of %s\n%s", name, b)
		}
		log.Close()
	})
	return p
}

// Start starts it. Where it can't be, the test ends.
func (p *Process) Start() {
	p.t.Helper()
	p.cmd = exec.Command(p.bin, p.Args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.Name, err)
	}
	cmd, done := p.cmd, make(chan struct{})
	p.done = done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
}

// Alive tells whether it runs, stopped by SIGSTOP or not.
func (p *Process) Alive() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Done is closed when the life that was started last has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pid is that of the life that was started last.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// ExitCode is that of the life that ended last; -1: a signal ended it.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Said is all that its lives have logged.
func (p *Process) Said() string {
	b, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Kill is kill -9.
func (p *Process) Kill() {
	if p.Alive() {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Signal sends a signal to a process that must be alive.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("%s to %s: %v", sig, p.Name, err)
	}
}

// Stop asks it to end and waits; it must end well.
func (p *Process) Stop() {
	p.t.Helper()
	if !p.Alive() {
		return
	}
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if code := p.ExitCode(); code != 0 && code != 130 {
			p.t.Errorf("%s ended with %d", p.Name, code)
		}
	case <-time.After(time.Minute):
		p.t.Errorf("%s did not stop", p.Name)
		p.Signal(syscall.SIGQUIT) // its log says what it waits for
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			p.Kill()
		}
	}
}

// Guards are the processes of the guards of a data folder.
func Guards(data string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if env, err := os.ReadFile(f); err == nil && bytes.HasPrefix(env, []byte("ROTA_GUARD="+data+"/")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// EndGuards ends what the guards of a data folder still hold: they are asked to, and killed after ten seconds.
func EndGuards(data string) {
	for _, pid := range Guards(data) {
		_ = syscall.Kill(pid, syscall.SIGCONT)
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	const patience = 10 * time.Second
	began := time.Now()
	for left := Guards(data); len(left) > 0 && time.Since(began) < 2*patience; left = Guards(data) { // looked for anew: a number may be another one's by now
		if time.Since(began) > patience {
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(25 * time.Millisecond)
	}
}

// Eventually waits until f has no error, and looks again 40 times a second.
func Eventually(t *testing.T, within time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(25 * time.Millisecond)
	}
}
