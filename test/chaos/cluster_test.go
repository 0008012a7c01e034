package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/harness"
)

// The cluster's sizes and times.
const (
	masterCount = 3
	nodeCount   = 5
	lease       = 4 * time.Second
	patience    = 4 * time.Minute // for what must come at last, on a machine that has other things to do
)

// cluster is three masters with the members of one etcd, five nodes, and PostgreSQL.
type cluster struct {
	t              *testing.T
	w              *world
	pg             *pgtest.Server
	masters, nodes []*machine
	full           *machine // whose disk can be filled
	slow           *machine // whose disk can be slowed down
	c              *client.Client
}

// start makes the cluster and waits until all of it is there.
func start(t *testing.T) *cluster {
	t.Helper()
	k := &cluster{t: t, w: newWorld(t)}
	k.pg = pgtest.Start(t)
	db := k.reachable(k.pg.Database(t))
	names := map[string][]string{}
	var embed, etcd, servers []string
	for i := range masterCount {
		m := k.w.machine(fmt.Sprint("m", i+1), 11+i)
		k.masters = append(k.masters, m)
		names[m.name] = []string{m.addr}
		embed = append(embed, fmt.Sprintf("%s=https://%s:2380", m.name, m.addr))
		etcd = append(etcd, fmt.Sprintf("https://%s:2379", m.addr))
		servers = append(servers, fmt.Sprintf("http://%s:7682", m.addr))
	}
	for i := range nodeCount {
		n := k.w.machine(fmt.Sprint("n", i+1), 21+i)
		k.nodes = append(k.nodes, n)
		names[n.name] = []string{n.addr}
	}
	pki := filepath.Join(k.w.dir, "pki")
	harness.PKI(t, filepath.Join(k.w.dir, "rota"), pki, names)

	k.slow, k.full = k.masters[masterCount-1], k.nodes[nodeCount-1]
	k.slow.onDisk(512)
	k.full.inMemory(48)
	for i, m := range k.masters {
		m.run(append([]string{"master", "--embed", strings.Join(embed, ","), "--etcd-listen", etcd[i], "--db", db, "--lease", lease.String(),
			"--listen", m.addr + ":7682", "--plain-http"}, harness.EtcdTLS(pki, m.name)...)...)
		m.p.Start()
	}
	k.c = k.connect(servers)
	for _, n := range k.nodes { // none is started for the first time before etcd answers
		n.run(append([]string{"node", "--etcd", strings.Join(etcd, ","), "--lease", lease.String()}, harness.EtcdTLS(pki, n.name)...)...)
	}
	k.eventually("the first master answers", func(ctx context.Context) error {
		_, err := k.c.Nodes(ctx)
		return err
	})
	for _, n := range k.nodes {
		n.p.Start()
	}
	k.whole()
	return k
}

// reachable is the address of a database as the machines reach it.
func (k *cluster) reachable(dsn string) string {
	k.t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		k.t.Fatal(err)
	}
	u.Host = k.w.forward(u.Host)
	return u.String()
}

// connect makes a client of all masters, with the token that the first of them wrote.
func (k *cluster) connect(servers []string) *client.Client {
	k.t.Helper()
	var token []byte
	harness.Eventually(k.t, patience, "a master has written the token", func() error {
		for _, m := range k.masters {
			if b, err := os.ReadFile(filepath.Join(m.data, "admin.token")); err == nil {
				if token = bytes.TrimSpace(b); len(token) > 0 {
					return nil
				}
			}
		}
		return errors.New("there is none")
	})
	c, err := client.New(client.Options{Server: strings.Join(servers, ","), Token: string(token)})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(c.Close)
	return c
}

// whole waits until all masters and nodes are there.
func (k *cluster) whole() {
	k.t.Helper()
	k.eventually("all masters and nodes are there, and one leads", func(ctx context.Context) error {
		s, err := k.c.Status(ctx)
		if err != nil {
			return err
		}
		if !s.Ready || s.Leader == "" {
			return fmt.Errorf("ready %v, leader %q, %v", s.Ready, s.Leader, s.Reasons)
		}
		masters, err := k.c.Masters(ctx)
		if err != nil || len(masters) != masterCount {
			return errors.Join(fmt.Errorf("%d masters", len(masters)), err)
		}
		nodes, err := k.c.Nodes(ctx)
		if err != nil {
			return err
		}
		nodes = slices.DeleteFunc(nodes, func(n client.NodeView) bool { return !n.Online })
		if len(nodes) != nodeCount {
			return fmt.Errorf("%d nodes are online", len(nodes))
		}
		return nil
	})
}

// eventually waits until f has no error; each attempt has a bounded time.
func (k *cluster) eventually(what string, f func(ctx context.Context) error) {
	k.t.Helper()
	harness.Eventually(k.t, patience, what, func() error {
		ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
		defer cancel()
		return f(ctx)
	})
}

// witness is a command that writes what becomes of it into the journal.
func (k *cluster) witness(pause time.Duration, more ...string) job.Command {
	return job.Args(append([]string{filepath.Join(k.w.dir, "witness"), k.journal(), k.w.dir, pause.String()}, more...)...)
}

func (k *cluster) journal() string { return filepath.Join(k.w.dir, "journal") }
