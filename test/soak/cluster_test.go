//go:build linux

package soak

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/harness"
	"github.com/rota-dev/rota/test/port"
)

// cluster is an etcd, a master and two nodes, each a process, and the temporary files of them all in one folder.
type cluster struct {
	t     *testing.T
	c     *client.Client
	etcd  *clientv3.Client
	token string
	tmp   string // their TMPDIR
	all   []*member
}

// member is one process of the cluster.
type member struct {
	*harness.Process
	data    string
	metrics string // where it tells of itself
}

// start starts the cluster, and waits until its nodes are online. args are more flags of the master.
func start(t *testing.T, args ...string) *cluster {
	t.Helper()
	cl := &cluster{t: t, tmp: t.TempDir()}
	t.Setenv("TMPDIR", cl.tmp)
	add := func(name, bin, data, metrics string, args ...string) {
		p := harness.New(t, t.TempDir(), name, bin, args...)
		p.Start()
		cl.all = append(cl.all, &member{Process: p, data: data, metrics: metrics})
	}
	url, peer, data := "http://"+port.Must(t), "http://"+port.Must(t), t.TempDir()
	add("etcd", etcdBin, data, url, "--name", "e1", "--data-dir", data, "--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "e1="+peer, "--log-level", "error",
		"--auto-compaction-mode", "periodic", "--auto-compaction-retention", "1m") // as docs/high-availability.md says
	api, masterData := port.Must(t), t.TempDir()
	add("master", rotaBin, masterData, "http://"+api, append([]string{"master", "--name", "m1", "--data", masterData, "--etcd", url, "--listen", api}, args...)...)
	for _, name := range []string{"n1", "n2"} {
		listen, data := port.Must(t), t.TempDir()
		add(name, rotaBin, data, "http://"+listen, "node", "--name", name, "--data", data, "--etcd", url, "--listen", listen, "--log-per-node", "16MiB")
	}
	harness.Eventually(t, time.Minute, "the token is written", func() error {
		b, err := os.ReadFile(filepath.Join(masterData, "admin.token"))
		if cl.token = string(bytes.TrimSpace(b)); err == nil && cl.token == "" {
			err = errors.New("the file is empty")
		}
		return err
	})
	var err error
	if cl.c, err = client.New(client.Options{Server: "http://" + api, Token: cl.token}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.c.Close)
	if cl.etcd, err = clientv3.New(clientv3.Config{Endpoints: []string{url}, DialTimeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.etcd.Close() })
	for _, n := range []job.NodeID{"n1", "n2"} {
		harness.Eventually(t, time.Minute, string(n)+" is online", func() error {
			v, err := cl.c.Node(t.Context(), n)
			if err == nil && !v.Online {
				err = errors.New("it is offline")
			}
			return err
		})
	}
	return cl
}

// told reads a figure that a member tells of itself.
func (cl *cluster) told(m *member, name string) (float64, error) {
	req, err := http.NewRequestWithContext(cl.t.Context(), http.MethodGet, m.metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Close = true // no connection is left to be counted
	if m.Name == "master" {
		req.Header.Set("Authorization", "Bearer "+cl.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return 0, err
	}
	for line := range strings.Lines(b.String()) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			return strconv.ParseFloat(f[1], 64)
		}
	}
	return 0, fmt.Errorf("%s tells no %s (%s)", m.Name, name, resp.Status)
}
