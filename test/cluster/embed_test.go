package cluster_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/harness"
	"github.com/rota-dev/rota/test/port"
)

// pki makes certificates for machines that are all this one.
func pki(t *testing.T, names ...string) string {
	t.Helper()
	dir, machines := filepath.Join(t.TempDir(), "pki"), map[string][]string{}
	for _, name := range names {
		machines[name] = []string{"127.0.0.1", "localhost"}
	}
	harness.PKI(t, rotaBin, dir, machines)
	return dir
}

// readyz is what a server answers whether it is ready.
func readyz(addr string) (string, error) {
	resp, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.Status + ": " + string(b), err
}

// voters waits until etcd has so many members, all of them with a vote and answering.
func (m *masters) voters(c *client.Client, want int) {
	m.t.Helper()
	eventually(m.t, 40*time.Second, fmt.Sprintf("%d members vote", want), func() error {
		all, err := c.Members(m.t.Context())
		if err != nil {
			return err
		}
		n := 0
		for _, x := range all {
			if x.Voter && x.Answers && x.Name != "" {
				n++
			}
		}
		if n != want || len(all) != want {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
}

// Three masters embed the members of one etcd, with certificates among all of them. Each is killed in turn, one loses its disk and is
// replaced, and what would cost the majority is refused. ancestor 53, ancestor 54
func TestThreeEmbeddedMembers(t *testing.T) {
	t.Parallel()
	certs := pki(t, "m1", "m2", "m3", "n1")
	db := pgtest.Start(t).Database(t)
	j, m := newJournal(t), newMasters(t)
	names := []string{"m1", "m2", "m3"}
	var embed, etcd []string
	peer := map[string]string{}
	for _, name := range names {
		peer[name] = "https://" + port.Must(t)
		embed = append(embed, name+"="+peer[name])
		etcd = append(etcd, "https://"+port.Must(t))
	}
	for i, name := range names {
		m.add(name, "master", append(harness.EtcdTLS(certs, name), "--embed", strings.Join(embed, ","), "--etcd-listen", etcd[i], "--db", db)...)
	}
	// Without a majority the process waits, and says for whom.
	m.byName["m1"].Start()
	eventually(t, 30*time.Second, "it says what it waits for", func() error {
		said, err := readyz(m.addrs["m1"])
		if err != nil || !strings.Contains(said, "503") || !strings.Contains(said, "etcd needs 2 of its 3 members, and these do not answer: m2 ("+peer["m2"]+"), m3") {
			return fmt.Errorf("%s, %w", said, errors.Join(errNotYet, err))
		}
		return nil
	})
	m.byName["m2"].Start()
	m.byName["m3"].Start()
	newProcess(t, "n1", rotaBin, append(harness.EtcdTLS(certs, "n1"), "node", "--etcd", strings.Join(etcd, ","), "--data", t.TempDir(), "--name", "n1", "--lease", lease.String())...).Start()
	c := m.client(m.servers())
	waitReady(t, c)
	m.voters(c, 3)
	if _, err := c.Apply(t.Context(), tasksFor(j), client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for _, name := range names {
		died := time.Now()
		old := m.leader(c)
		m.byName[name].Kill()
		if old == name {
			_, took := m.awaitLeader(c, old, died)
			t.Logf("%s led and was killed, with its member of etcd: another one led after %s", name, took.Round(time.Millisecond))
		}
		eventually(t, 20*time.Second, "the others take what is asked", func() error {
			_, err := c.Run(t.Context(), client.RunRequest{Task: job.Ref("", "tick")})
			return err
		})
		m.byName[name].Start()
		waitReady(t, m.at(name))
	}

	// m2's machine is gone, and a new one takes its place. The folder is another one, as it would be there.
	m.byName["m2"].Kill()
	lost := t.TempDir()
	m.data["m2"] = lost
	m2 := m.add("m2", "master", m.args["m2"]...)
	m2.Start()
	wantSaid(t, ends(t, m2), "knows member m2, and its data is not in "+filepath.Join(lost, "etcd"), "rota member remove m2")
	if out, err := m.command("member", "remove", "m1"); err == nil || !strings.Contains(out, "without m1 etcd would have 2 members of which 1 answer, and needs 2") {
		t.Errorf("%v: %s", err, out)
	}
	m.must("member", "remove", "m2")
	m2.Start()
	wantSaid(t, ends(t, m2), "does not know of a member at "+peer["m2"], "rota member add m2="+peer["m2"])
	m.must("member", "add", "m2="+peer["m2"])
	m2.Start()
	waitReady(t, m.at("m2"))
	m.voters(c, 3)
	wantSaid(t, m.must("member", "list"), "m1", "m2", "m3", peer["m2"])
	wantSaid(t, m.must("get", "masters"), "m1-", "m2-", "m3-", "http://"+m.addrs["m2"])

	// With two of three dead the third one says why it can't serve, and goes on when one is back.
	m.byName["m1"].Kill()
	m.byName["m3"].Kill()
	eventually(t, 30*time.Second, "the third one says what is wrong", func() error {
		said, err := readyz(m.addrs["m2"])
		if err != nil || !strings.Contains(said, "503") || !strings.Contains(said, "etcd") {
			return fmt.Errorf("%s, %w", said, errors.Join(errNotYet, err))
		}
		return nil
	})
	m.byName["m3"].Start()
	waitReady(t, m.at("m2"))
	m.byName["m1"].Start()
	waitReady(t, m.at("m1"))

	first, end := begin.Add(time.Second), time.Now().Add(2*time.Second)
	tick, solo := job.Ref("", "tick"), job.Ref("", "solo")
	settled(t, c, time.Minute, first, end, tick, solo)
	j.judge(t, c, judgement{tick, every, first, end})
	j.judge(t, c, judgement{solo, every, first, end})
	for _, o := range j.overlaps(t, "solo") {
		t.Error(o)
	}
}
