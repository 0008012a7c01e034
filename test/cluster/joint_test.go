package cluster_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/test/harness"
	"github.com/rota-dev/rota/test/port"
)

// How long it takes until another master leads when the leader dies together with etcd's own, measured as often as ROTA_JOINT says. It is
// a measurement, which takes minutes; that it works is in TestThreeEmbeddedMembers and store.TestDeadLeaderWhoseLeaseLives.
func TestJointDeaths(t *testing.T) {
	times, _ := strconv.Atoi(os.Getenv("ROTA_JOINT"))
	if times == 0 {
		t.Skip("set ROTA_JOINT to how often it is to be measured")
	}
	certs := pki(t, "m1", "m2", "m3")
	db := pgtest.Start(t).Database(t)
	m := newMasters(t)
	names := []string{"m1", "m2", "m3"}
	var embed, etcd []string
	for _, name := range names {
		embed = append(embed, name+"=https://"+port.Must(t))
		etcd = append(etcd, "https://"+port.Must(t))
	}
	for i, name := range names {
		m.add(name, "master", append(harness.EtcdTLS(certs, name), "--embed", strings.Join(embed, ","), "--etcd-listen", etcd[i], "--db", db)...).Start()
	}
	c := m.client(m.servers())
	waitReady(t, c)
	m.voters(c, 3)
	var took []time.Duration
	for len(took) < times {
		leader, _ := m.awaitLeader(c, "", time.Now())
		all, err := c.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		together := slices.ContainsFunc(all, func(x client.Member) bool { return x.Leader && x.Name == leader })
		died := time.Now()
		m.byName[leader].Kill()
		if _, d := m.awaitLeader(c, leader, died); together { // else the two may come together by this
			took = append(took, d)
			t.Logf("%s led both and died: another one led after %s", leader, d.Round(time.Millisecond))
		}
		m.byName[leader].Start()
		waitReady(t, m.at(leader))
		m.voters(c, 3)
	}
	slices.Sort(took)
	t.Logf("with a lease of %s: median %s, longest %s", lease, took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
}
