// Package cluster_test runs whole clusters of real processes, kills them, and judges by what the jobs themselves
// wrote down.
package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
)

// Programs under test, built once.
var rotaBin, etcdBin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rota-cluster-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	rotaBin, etcdBin = filepath.Join(dir, "rota"), filepath.Join(dir, "etcd")
	for bin, pkg := range map[string]string{rotaBin: "github.com/rota-dev/rota/cmd/rota", etcdBin: "go.etcd.io/etcd/server/v3"} {
		cmd := exec.Command("go", "build", "-o", bin, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", pkg, err, out)
			return 1
		}
	}
	return m.Run()
}

// process is a program that a test runs, kills and starts again.
type process struct {
	t    *testing.T
	name string
	bin  string
	args []string
	log  *os.File
	cmd  *exec.Cmd
	done chan struct{}
}

func newProcess(t *testing.T, name, bin string, args ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, bin: bin, args: args, log: log}
	t.Cleanup(func() {
		p.kill()
		if i := slices.Index(args, "--data"); i >= 0 {
			endGuards(args[i+1])
		}
		if t.Failed() {
			if b, err := os.ReadFile(log.Name()); err == nil {
				const most = 6000
				if len(b) > most {
					b = b[len(b)-most:]
				}
				t.Logf("--- log of %s\n%s", name, b)
			}
		}
		log.Close()
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.bin, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	cmd, done := p.cmd, make(chan struct{})
	p.done = done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
}

func (p *process) alive() bool {
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

// kill is kill -9.
func (p *process) kill() {
	if p.alive() {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// stop asks it to end and waits; it must end well, and in time.
func (p *process) stop() {
	p.t.Helper()
	if !p.alive() {
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("stop %s: %v", p.name, err)
	}
	select {
	case <-p.done:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 && code != 130 {
			p.t.Errorf("%s ended with %d", p.name, code)
		}
	case <-time.After(40 * time.Second):
		p.t.Errorf("%s did not stop", p.name)
		p.kill()
	}
}

// lastPort is the last one that was handed out. They are below those that systems give to outgoing connections, which could take one
// between here and its use.
var lastPort atomic.Int32

// freeAddr is an address on loopback on which nobody listens, and which no other test is given.
func freeAddr(t *testing.T) string {
	t.Helper()
	const first, ports = 12000, 18000
	lastPort.CompareAndSwap(0, int32(os.Getpid()*97%ports)+1)
	for range ports {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+int(lastPort.Add(1))%ports))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("there is no free port")
	return ""
}

func startEtcd(t *testing.T) (url string, p *process) {
	t.Helper()
	c, peer := "http://"+freeAddr(t), "http://"+freeAddr(t)
	p = newProcess(t, "etcd", etcdBin, "--name", "e1", "--data-dir", t.TempDir(), "--listen-client-urls", c, "--advertise-client-urls", c,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "e1="+peer, "--log-level", "warn")
	p.start()
	eventually(t, 20*time.Second, "etcd answers", func() error {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c, "http://"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return c, p
}

// connect makes a client of a server whose data folder is known.
func connect(t *testing.T, addr, data string) *client.Client {
	t.Helper()
	return connectTo(t, "http://"+addr, data)
}

// connectTo makes a client of servers, with the token in a data folder.
func connectTo(t *testing.T, servers, data string) *client.Client {
	t.Helper()
	var token []byte
	eventually(t, 20*time.Second, "the token is written", func() (err error) {
		token, err = os.ReadFile(filepath.Join(data, "admin.token"))
		if err == nil && len(bytes.TrimSpace(token)) == 0 {
			err = errors.New("the file is empty")
		}
		return err
	})
	c, err := client.New(client.Options{Server: servers, Token: strings.TrimSpace(string(token))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func waitReady(t *testing.T, c *client.Client) {
	t.Helper()
	eventually(t, 30*time.Second, "the master is ready", func() error {
		s, err := c.Status(t.Context())
		if err != nil {
			return err
		}
		if !s.Ready || s.Leader == "" {
			return fmt.Errorf("ready %v, leader %q, %v", s.Ready, s.Leader, s.Reasons)
		}
		return nil
	})
}

// eventually waits until f has no error.
func eventually(t *testing.T, within time.Duration, what string, f func() error) {
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
