package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

// parties are clients of one cluster, whose operations are recorded together.
func parties(t *testing.T, r *recorder, stores []*Store) (list []*party) {
	t.Helper()
	for i, s := range stores {
		name := fmt.Sprint("n", i)
		list = append(list, &party{number: i, name: name, s: s, ss: join(t, s, presence(job.NodeID(name), "s"+name), time.Minute), r: r})
	}
	return list
}

// play has all parties do everything at once, several rounds of it.
func play(ctx context.Context, all []*party, rounds int, patience time.Duration, depose func(term int64) error) {
	var wg sync.WaitGroup
	for _, p := range all {
		dice := rand.New(rand.NewPCG(uint64(p.number), 6))
		depose := depose
		if p.number%2 == 0 {
			depose = nil
		}
		wg.Go(func() {
			for n := range rounds {
				task := fmt.Sprint("t", n)
				for _, at := range dice.Perm(instants) {
					p.claim(ctx, patience, task, at)
				}
				p.lock(ctx, patience, task, fmt.Sprint("r", p.number))
				p.lock(ctx, patience, task, fmt.Sprint("r", p.number, "again"))
			}
		})
		wg.Go(func() {
			for n := range 2 * rounds {
				p.values(ctx, patience, n)
			}
		})
		wg.Go(func() {
			for range rounds {
				p.whoLeads(ctx, patience)
				p.lead(ctx, 4*patience, time.Minute, depose)
			}
		})
	}
	wg.Wait()
}

// A history in memory: requests are slow, get lost before or after they are done, and clients are cut off for a while.
func memoryHistory(t *testing.T, seed uint64, wrap func(kv) kv) *recorder {
	t.Helper()
	r := newRecorder()
	synctest.Test(t, func(t *testing.T) {
		const clients, rounds = 3, 4
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		var stores []*Store
		for i := range clients {
			s := m.Client(fmt.Sprint("n", i))
			if wrap != nil {
				s.kv = wrap(s.kv)
			}
			stores = append(stores, s)
		}
		for n := range rounds {
			must(stores[0].Do(t.Context(), InitFloor(job.Ref("", fmt.Sprint("t", n)), day)))
		}
		all := parties(t, r, stores)
		var mu sync.Mutex
		dice := rand.New(rand.NewPCG(seed, 7))
		draw := func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			return dice.IntN(n)
		}
		m.OnCall(func(ctx context.Context, c Call) error {
			if c.Op == "keepalive" || !sleep(ctx, time.Duration(draw(20))*time.Millisecond) {
				return ctx.Err()
			}
			if draw(12) == 0 {
				return ErrCut
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		var cuts sync.WaitGroup
		cuts.Go(func() {
			for sleep(ctx, time.Duration(100+draw(400))*time.Millisecond) {
				name := fmt.Sprint("n", draw(clients))
				m.Cut(name)
				sleep(ctx, time.Duration(draw(3000))*time.Millisecond)
				m.Heal(name)
			}
		})
		depose := func(term int64) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			for it := range m.index.ascend(DefaultPrefix+leaderKey, "") {
				if kv := it.live(); kv != nil && kv.create == term {
					m.revoke(kv.lease)
				}
			}
			return nil
		}
		play(ctx, all, rounds, time.Second, depose)
		cancel()
		cuts.Wait()
		m.OnCall(nil)
		for _, p := range all {
			m.Heal(p.name)
			_ = p.ss.Close(t.Context())
			_ = p.s.Close()
		}
	})
	return r
}

// Claims, locks, the leader's terms and conditional writes of several clients could have been done one after another, each in an instant between its
// question and its answer, whatever is lost on the way.
func TestLinearizableThroughFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		for _, thing := range memoryHistory(t, seed, nil).check(t, models()) {
			t.Errorf("seed %d: the history of %s is not linearizable", seed, thing)
		}
	}
}

// blind is a kv that leaves out every condition on keys with a certain beginning.
type blind struct {
	kv
	to string
}

func (b *blind) Txn(ctx context.Context, t *txn) (*txnResult, error) {
	return b.kv.Txn(ctx, b.blinded(t))
}

func (b *blind) blinded(t *txn) *txn {
	c := copyTxn(t)
	c.when = slices.DeleteFunc(c.when, func(w compare) bool { return strings.HasPrefix(w.key, DefaultPrefix+b.to) })
	for _, branch := range [...][]request{c.then, c.otherwise} {
		for i := range branch {
			if branch[i].action == nest {
				branch[i].txn = b.blinded(branch[i].txn)
			}
		}
	}
	return c
}

// The check sees: without their conditions, claims, locks, the election and conditional writes are each found to be wrong, and nothing else is.
func TestLinearizabilityCheckSees(t *testing.T) {
	t.Parallel()
	for to, thing := range map[string]string{"claims/": "claims", "locks/": "lock", leaderKey: "election", "config/": "value"} {
		t.Run(thing, func(t *testing.T) {
			t.Parallel()
			var wrong []string
			for seed := uint64(0); len(wrong) == 0 && seed < 20; seed++ { // two must want the same at the same time
				wrong = memoryHistory(t, seed, func(k kv) kv { return &blind{k, to} }).check(t, models())
			}
			if len(wrong) == 0 {
				t.Errorf("without conditions on %s nothing is found", to)
			}
			for _, w := range wrong {
				if !strings.HasPrefix(w, thing) {
					t.Errorf("the history of %s is said to be wrong", w)
				}
			}
		})
	}
}

// The same on a real etcd of three members, of which the one that leads hands over, and then one that leads dies.
func TestLinearizableThroughTheLossOfAMember(t *testing.T) {
	t.Parallel()
	servers, endpoints := threeMembers(t)
	const rounds = 2
	var stores []*Store
	for i := range endpoints {
		// Each client begins with another member, and knows them all.
		s, err := Open(t.Context(), Options{Endpoints: append(slices.Clone(endpoints[i:]), endpoints[:i]...), Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stores = append(stores, s)
	}
	for n := range rounds {
		must(stores[0].Do(t.Context(), InitFloor(job.Ref("", fmt.Sprint("t", n)), day)))
	}
	r := newRecorder()
	all := parties(t, r, stores)
	played := make(chan struct{})
	go func() {
		defer close(played)
		play(t.Context(), all, rounds, 2*time.Second, func(term int64) error {
			got, err := stores[0].kv.Range(t.Context(), request{key: DefaultPrefix + leaderKey})
			if err != nil || len(got.kvs) == 0 || got.kvs[0].create != term {
				return err
			}
			return stores[0].kv.Revoke(t.Context(), got.kvs[0].lease)
		})
	}()
	leads := func() *Server {
		i := slices.IndexFunc(servers, func(s *Server) bool { return s.etcd.Server.Leader() == s.etcd.Server.MemberID() })
		if i < 0 {
			return nil
		}
		return servers[i]
	}
	if s := leads(); s != nil {
		other := servers[(slices.Index(servers, s)+1)%len(servers)]
		if err := s.etcd.Server.MoveLeader(t.Context(), uint64(s.etcd.Server.MemberID()), uint64(other.etcd.Server.MemberID())); err != nil {
			t.Logf("etcd's leader stays: %v", err)
		}
	}
	if s := leads(); s != nil {
		crash(s)
	}
	<-played
	for _, thing := range r.check(t, models()) {
		t.Errorf("the history of %s is not linearizable", thing)
	}
	for _, p := range all {
		_ = p.ss.Close(t.Context())
	}
}

// threeMembers are the members of one etcd in this process, each reached by a socket.
func threeMembers(t *testing.T) (servers []*Server, endpoints []string) {
	t.Helper()
	root, members, peers := t.TempDir(), []string{}, []string{}
	names := []string{"a", "b", "c"}
	for _, name := range names {
		peers = append(peers, "http://"+port.Must(t))
		members = append(members, name+"="+peers[len(peers)-1])
		endpoints = append(endpoints, "unix://"+filepath.Join(root, name+".sock"))
	}
	servers = make([]*Server, len(names))
	var starting sync.WaitGroup
	for i, name := range names {
		starting.Go(func() {
			srv, err := Embed(t.Context(), EmbedOptions{
				Dir: filepath.Join(root, name), Name: name, ClientURLs: endpoints[i : i+1], PeerURLs: peers[i : i+1],
				Cluster: strings.Join(members, ","), Logger: quiet(), unsafeNoSync: true,
			})
			if err != nil {
				t.Error(err)
				return
			}
			servers[i] = srv
		})
	}
	starting.Wait()
	t.Cleanup(func() {
		var closing sync.WaitGroup
		for _, srv := range servers {
			if srv != nil {
				closing.Go(func() { crash(srv) })
			}
		}
		closing.Wait()
	})
	if t.Failed() {
		t.FailNow()
	}
	return servers, endpoints
}
