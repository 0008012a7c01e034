// Package script_test runs the built program as a new user would: real servers on free ports, commands, files. Each
// story is a script in testdata.
package script_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rota-dev/rota/test/harness"
	"github.com/rota-dev/rota/test/port"
)

// patience is how long anything that must happen may take on a machine that is busy; nothing waits for it to pass.
const patience = 60 * time.Second

// Programs under test, built once.
var rotaBin, etcdBin string

func TestMain(m *testing.M) { os.Exit(harness.Main(m, &rotaBin, &etcdBin)) }

type serversKey struct{}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("condition %s is not known", name)
		},
		Setup: func(e *testscript.Env) error {
			s := servers{}
			e.Values[serversKey{}] = s
			e.Defer(func() {
				s.end()
				harness.EndGuards(e.WorkDir)
			})
			e.Setenv("PATH", filepath.Dir(rotaBin)+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TZ", "UTC")
			e.Setenv("ROTA_DATA", "")
			e.Setenv("ROTA_SERVER", "")
			e.Setenv("ROTA_TOKEN", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "start": start, "stop": stop, "kill9": kill9, "interrupt2": interruptTwice, "until": until,
			"freeport": freePort, "log": showLog, "logged": awaitLog, "hup": hangUp, "etcdput": etcdPut, "etcdget": etcdGet,
			"slowserver": slowServer, "collector": collector, "ping": ping, "tmpfs": tmpfs, "fill": fill,
		},
	})
}

// exits CODE COMMAND… runs a command that must exit with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitCode(ts, args[1:]); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func exitCode(ts *testscript.TestScript, args []string) int {
	var exit *exec.ExitError
	err := ts.Exec(args[0], args[1:]...)
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

// until PATTERN COMMAND… repeats a command until it ends well and what it prints matches.
func until(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[0])
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if exitCode(ts, args[1:]) == 0 && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s never printed %s", strings.Join(args[1:], " "), args[0])
		}
	}
}

// freeport NAME sets a variable to an address on loopback on which nobody listens.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	addr, err := port.Free()
	ts.Check(err)
	ts.Setenv(args[0], addr)
}

// tmpfs DIR SIZE mounts a small disk. Only root can: the script is skipped for others.
func tmpfs(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	if os.Geteuid() != 0 {
		ts.Fatalf("tmpfs needs root; put [!root] skip before it")
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+args[1], "tmpfs", dir).CombinedOutput(); err != nil {
		ts.Fatalf("mount: %v: %s", err, out)
	}
	ts.Defer(func() {
		for _, s := range ts.Value(serversKey{}).(servers) { // they use it
			_ = s.cmd.Process.Kill()
			<-s.done
		}
		_ = exec.Command("umount", "-l", dir).Run()
	})
}

// fill FILE makes a file that takes all the room that is left on its disk.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if n, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			if n == 0 {
				size /= 2
			}
		} else {
			ts.Check(err)
		}
	}
}

// slowserver NAME sets a variable to the URL of a server that answers at /ok, and never at any other path.
func slowServer(ts *testscript.TestScript, _ bool, args []string) {
	over := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/ok" {
			fmt.Fprintln(w, "here I am")
			return
		}
		select {
		case <-q.Context().Done():
		case <-over:
		}
	}))
	ts.Defer(func() {
		close(over)
		s.Close()
	})
	ts.Setenv(args[0], s.URL)
}

// etcdput KEY VALUE writes into the etcd at $ETCD as any program could.
func etcdPut(ts *testscript.TestScript, _ bool, args []string) {
	etcdCall(ts, "put", fmt.Sprintf(`{"key":%q,"value":%q}`, encoded(args[0]), encoded(args[1])))
}

// etcdget KEY VALUE checks that the key has that value.
func etcdGet(ts *testscript.TestScript, _ bool, args []string) {
	if body := etcdCall(ts, "range", fmt.Sprintf(`{"key":%q}`, encoded(args[0]))); !strings.Contains(body, `"`+encoded(args[1])+`"`) {
		ts.Fatalf("%s is not %q: %s", args[0], args[1], body)
	}
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func etcdCall(ts *testscript.TestScript, what, body string) string {
	resp, err := http.Post(ts.Getenv("ETCD")+"/v3/kv/"+what, "application/json", strings.NewReader(body))
	ts.Check(err)
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	ts.Check(err)
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("etcd: %s: %s", resp.Status, b.String())
	}
	return b.String()
}

// signalled sends a signal and waits for the end.
func (s *server) signalled(ts *testscript.TestScript, sig os.Signal) {
	ts.Check(s.cmd.Process.Signal(sig))
	select {
	case <-s.done:
	case <-time.After(patience):
		ts.Fatalf("%s does not end: %s", s.name, s.log.String())
	}
}

// interruptTwice NAME interrupts a server, and again when it says that it stops: it must leave at once.
func interruptTwice(ts *testscript.TestScript, _ bool, args []string) {
	s := serverOf(ts, args[0])
	ts.Check(s.cmd.Process.Signal(os.Interrupt))
	s.await(ts, regexp.MustCompile("(?m)^stopping"))
	s.signalled(ts, os.Interrupt)
	if status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGINT {
		ts.Fatalf("it ended with %s", s.cmd.ProcessState)
	}
}
