//go:build linux

package script_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// container is a rota that is PID 1 of a namespace of its own, with a /proc of its own.
type container struct {
	*testing.T
	cmd  *exec.Cmd
	log  *output
	data string
	url  string
	done chan error
}

func newContainer(t *testing.T, data string) *container {
	t.Helper()
	c := &container{T: t, data: data, log: &output{more: make(chan struct{})}, done: make(chan error, 1)}
	script := `mount --make-rprivate / && mount -t proc proc /proc && exec "$@"`
	c.cmd = exec.Command("/bin/sh", "-c", script, "sh", rotaBin, "up", "--listen", "127.0.0.1:0", "--name", "n1")
	c.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + data, "ROTA_DATA=" + data, "TZ=UTC"}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.WaitDelay = time.Second
	if err := c.cmd.Start(); errors.Is(err, syscall.EPERM) {
		t.Skip("a namespace of one's own needs root")
	} else if err != nil {
		t.Fatal(err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	c.eventually("is up", func() bool {
		m := apiAt.FindStringSubmatch(c.log.String())
		if m == nil || allUp.FindString(c.log.String()) == "" {
			return false
		}
		c.url = m[1]
		return true
	})
	return c
}

func (c *container) eventually(what string, f func() bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	for !f() {
		select {
		case <-ctx.Done():
			c.Fatalf("it never %s; the server said:\n%s", what, c.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// rota runs a client command outside.
func (c *container) rota(args ...string) (string, error) {
	cmd := exec.Command(rotaBin, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.data, "ROTA_DATA=" + c.data, "ROTA_SERVER=" + c.url, "TZ=UTC"}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return string(out), errors.Join(err, errors.New(errs.String()))
	}
	return string(out), nil
}

// inside runs a shell line in the namespaces, as a child of nobody there.
func (c *container) inside(line string) string {
	c.Helper()
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(c.cmd.Process.Pid), "-p", "-m", "/bin/sh", "-c", line).CombinedOutput()
	if err != nil {
		c.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// stop sends a signal to PID 1 and gives its exit code.
func (c *container) stop(s syscall.Signal) int {
	c.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.Fatal(err)
	}
	select {
	case <-c.done:
	case <-time.After(patience):
		c.Fatalf("it did not end on %s:\n%s", s, c.log.String())
	}
	return c.cmd.ProcessState.ExitCode()
}

func (c *container) apply(text string) {
	c.Helper()
	file := filepath.Join(c.TempDir(), "tasks.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
	if _, err := c.rota("apply", "-f", file); err != nil {
		c.Fatal(err)
	}
}

// As PID 1 rota buries whoever has lost its parent, keeps the exit codes of its runs, and ends them before itself.
func TestPID1(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	c := newContainer(t, data)
	c.apply(`
tasks:
  - {name: seven, command: exit 7}
  - {name: daemons, command: 'for i in 1 2 3 4 5 6 7 8 9; do setsid sh -c "sleep 0.0$i" & done; exit 3'}
  - {name: long, command: exec sleep 600}
`)
	for name, code := range map[string]int{"seven": 7, "daemons": 3} {
		_, _ = c.rota("run", name, "--wait")
		out, err := c.rota("get", "records", "--task", name, "-o", "json")
		var recs []struct {
			ExitCode *int `json:"exit_code"`
		}
		if err != nil || json.Unmarshal([]byte(out), &recs) != nil || len(recs) != 1 || recs[0].ExitCode == nil || *recs[0].ExitCode != code {
			t.Errorf("%s: %s %v", name, out, err)
		}
	}
	// What never was a descendant of the agent's, and is nobody's child but PID 1's.
	c.inside("for i in 1 2 3 4 5 6 7 8 9; do setsid sleep 0.0$i & done")
	c.eventually("buried the dead", func() bool {
		return strings.TrimSpace(c.inside(`for f in /proc/[0-9]*/status; do grep -h "^State:.Z" $f 2>/dev/null; done; true`)) == "" &&
			strings.TrimSpace(c.inside(`for f in /proc/[0-9]*/comm; do grep -hx sleep $f 2>/dev/null; done; true`)) == ""
	})
	if _, err := c.rota("run", "long"); err != nil {
		t.Fatal(err)
	}
	c.eventually("ran the long one", func() bool {
		out, err := c.rota("get", "processes", "-o", "name")
		return err == nil && strings.TrimSpace(out) != ""
	})
	if code := c.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, c.log.String())
	}

	// The next life has the record of the run that the end of the last one ended.
	c = newContainer(t, data)
	out, err := c.rota("get", "records", "--task", "long", "-o", "json")
	if err != nil || !strings.Contains(out, `"killed"`) || strings.Contains(out, `"lost"`) {
		t.Errorf("%s %v", out, err)
	}
	if code := c.stop(syscall.SIGQUIT); code != 0 {
		t.Errorf("after SIGQUIT it ended with %d:\n%s", code, c.log.String())
	}
}

// A server that ends by itself, or is killed, is told by PID 1's own exit code.
func TestPID1EndsAsItsServerDid(t *testing.T) {
	t.Parallel()
	c := newContainer(t, t.TempDir())
	c.inside(`kill -9 $(cat /proc/1/task/*/children)`)
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatal("it did not end")
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 128+9 {
		t.Errorf("it ended with %d", code)
	}
}
