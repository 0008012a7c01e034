package script_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// server is a server of a script, in the background.
type server struct {
	name string
	cmd  *exec.Cmd
	log  *output
	done chan struct{}
}

type servers map[string]*server

// end kills what a script has left running.
func (all servers) end() {
	for _, s := range all {
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// output is what a server says, and tells who waits for it.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed and made anew with each write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.b.Write(p)
}

func (o *output) String() string {
	s, _ := o.read()
	return s
}

func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String(), o.more
}

// await waits until a server says something, and gives what matched.
func (s *server) await(ts *testscript.TestScript, pattern *regexp.Regexp) []string {
	late := time.After(patience)
	for {
		said, more := s.log.read()
		if m := pattern.FindStringSubmatch(said); m != nil {
			return m
		}
		select {
		case <-more:
		case <-s.done:
			if m := pattern.FindStringSubmatch(s.log.String()); m != nil {
				return m
			}
			ts.Fatalf("%s ended with %s: %s", s.name, s.cmd.ProcessState, s.log.String())
		case <-late:
			ts.Fatalf("%s does not say %s: %s", s.name, pattern, s.log.String())
		}
	}
}

var (
	nodeUp = regexp.MustCompile(`(?m)^rota node \S+ is up.*\n`)
	allUp  = regexp.MustCompile(`(?m)^  next   rota.*\n`) // the last line of the greeting
	apiAt  = regexp.MustCompile(`(?m)^  API +(http://\S+)/api/v1/ `)
	etcdUp = regexp.MustCompile(`ready to serve client requests`)
)

// start NAME PROGRAM… starts a server and waits until it is up. Where it is a rota with an API, $ROTA_SERVER is set.
func start(ts *testscript.TestScript, _ bool, args []string) {
	name, args := args[0], args[1:]
	path, err := exec.LookPath(filepath.Join(filepath.Dir(rotaBin), args[0]))
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "TZ=UTC", "ROTA_DATA=" + ts.Getenv("ROTA_DATA")}
	s := &server{name: name, cmd: cmd, log: &output{more: make(chan struct{})}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a server has no terminal
	cmd.WaitDelay = time.Second                          // what a killed server leaves running may hold the output
	ts.Check(cmd.Start())
	go func() {
		_ = cmd.Wait()
		close(s.done)
	}()
	ts.Value(serversKey{}).(servers)[name] = s
	switch {
	case args[0] == "etcd":
		s.await(ts, etcdUp)
	case args[1] == "node":
		s.await(ts, nodeUp)
	default:
		s.await(ts, allUp)
		ts.Setenv("ROTA_SERVER", s.await(ts, apiAt)[1])
	}
}

func serverOf(ts *testscript.TestScript, name string) *server {
	s := ts.Value(serversKey{}).(servers)[name]
	if s == nil {
		ts.Fatalf("there is no server %s", name)
	}
	return s
}

// stop NAME asks a server to end; it must end well.
func stop(ts *testscript.TestScript, _ bool, args []string) {
	s := serverOf(ts, args[0])
	s.signalled(ts, syscall.SIGTERM)
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		ts.Fatalf("%s ended with %d: %s", s.name, code, s.log.String())
	}
}

// kill9 NAME kills a server.
func kill9(ts *testscript.TestScript, _ bool, args []string) {
	serverOf(ts, args[0]).signalled(ts, syscall.SIGKILL)
}

// log NAME PATTERN checks what a server has said so far; ! log that it has not said it.
func showLog(ts *testscript.TestScript, neg bool, args []string) {
	said := serverOf(ts, args[0]).log.String()
	if found := regexp.MustCompile("(?m)" + args[1]).MatchString(said); found == neg {
		ts.Fatalf("%s said:\n%s", args[0], strings.TrimSpace(said))
	}
}

// logged NAME PATTERN waits until a server has said it.
func awaitLog(ts *testscript.TestScript, _ bool, args []string) {
	serverOf(ts, args[0]).await(ts, regexp.MustCompile("(?m)"+args[1]))
}

// hup NAME hangs up on a server, which goes on.
func hangUp(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(serverOf(ts, args[0]).cmd.Process.Signal(syscall.SIGHUP))
}
