// Package cluster_test runs whole clusters of real processes, kills them, and judges by what the jobs themselves
// wrote down.
package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/test/harness"
	"github.com/rota-dev/rota/test/port"
)

// Programs under test, built once.
var rotaBin, etcdBin string

func TestMain(m *testing.M) { os.Exit(harness.Main(m, &rotaBin, &etcdBin)) }

// process is a program that a test runs, kills and starts again.
type process = harness.Process

func newProcess(t *testing.T, name, bin string, args ...string) *process {
	t.Helper()
	return harness.New(t, t.TempDir(), name, bin, args...)
}

func startEtcd(t *testing.T) (url string, p *process) {
	t.Helper()
	c, peer := "http://"+port.Must(t), "http://"+port.Must(t)
	p = newProcess(t, "etcd", etcdBin, "--name", "e1", "--data-dir", t.TempDir(), "--listen-client-urls", c, "--advertise-client-urls", c,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "e1="+peer, "--log-level", "warn")
	p.Start()
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
	harness.Eventually(t, within, what, f)
}
