package store

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

func embedded(t *testing.T, dir string) *Server {
	t.Helper()
	start := time.Now()
	srv, err := Embed(t.Context(), EmbedOptions{Dir: dir, Logger: quiet(), unsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	t.Logf("ready after %s", time.Since(start))
	return srv
}

// A page may be longer than the 4 MiB that gRPC takes in one message unless it is told otherwise.
func TestAPageOfManyMegabytes(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Endpoints: embedded(t, t.TempDir()).ClientURLs(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 100
	value := strings.Repeat("v", 60<<10)
	for i := range n {
		put1(t, s, fmt.Sprintf("K%d", i), value)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if list, _, err := s.Config().List(ctx); err != nil || len(list) != n || list[0].Value != value {
		t.Fatal(len(list), err)
	}
}

// A restart of etcd costs a watch, a session and a leadership nothing.
func TestRestartOfEtcd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := embedded(t, dir)
	s, err := Open(t.Context(), Options{Endpoints: srv.ClientURLs(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put1(t, s, "A", "1")
	put1(t, s, "B", "1")
	w := follow(t, s.Config().Watch(t.Context()))
	w.until("synced", func() bool { return w.synced == 1 })
	ss := join(t, s, presence("n1", "s1"), 10*time.Second)
	ss.SetProcess(testProcess("n1", 1, "r"))
	l := campaign(t, s, "m1", 10*time.Second)
	fence, _, err := ss.Lock(t.Context(), job.Lock{Task: job.Ref("", "alone"), Run: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil { // it does not wait for those who watch
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- second(s.Do(context.Background(), PutConfig(&Config{Key: "D", Value: "1"}, Any))) }()
	time.Sleep(200 * time.Millisecond)

	srv = embedded(t, dir)
	local := srv.Store()
	put1(t, local, "A", "2")
	must(local.Do(t.Context(), Op{then: []request{{action: del, key: "config/global/B"}}}))
	put1(t, local, "C", "1")
	r := must(local.kv.Range(t.Context(), request{key: "x"}))
	if err := local.kv.Compact(t.Context(), r.rev); err != nil {
		t.Fatal(err)
	}
	w.until("what changed meanwhile", func() bool {
		return len(w.has) == 3 && w.has["A"] == "2" && w.has["C"] == "1" && w.has["D"] == "1"
	})
	if err := <-answered; err != nil {
		t.Errorf("a write across the restart: %v", err)
	}
	if again, _, err := ss.Lock(t.Context(), job.Lock{Task: job.Ref("", "alone"), Run: "r1"}); again != fence || err != nil || ss.Epoch() != 0 {
		t.Errorf("the lock: fence %d is now %d, %v, epoch %d", fence, again, err, ss.Epoch())
	}
	if _, err := l.Do(t.Context(), PutConfig(&Config{Key: "E", Value: "1"}, Any)); err != nil || over(l) {
		t.Errorf("the leadership: %v", err)
	}
	if n := must(s.Processes().Count(t.Context())); n != 1 {
		t.Errorf("%d processes", n)
	}
	if err := ss.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := l.Resign(t.Context()); err != nil {
		t.Error(err)
	}
}

// Three members: the loss of the one that leads etcd itself interrupts, and ends nothing.
func TestClusterOutlivesAMember(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	root, members := t.TempDir(), []string{}
	var peers []string
	for _, name := range names {
		peers = append(peers, "http://"+port.Must(t))
		members = append(members, name+"="+peers[len(peers)-1])
	}
	servers := make([]*Server, len(names))
	var starting sync.WaitGroup
	var endpoints []string
	for i, name := range names {
		client := []string{"unix://" + filepath.Join(root, name+".sock")}
		endpoints = append(endpoints, client...)
		starting.Go(func() {
			srv, err := Embed(t.Context(), EmbedOptions{
				Dir: filepath.Join(root, name), Name: name, ClientURLs: client, PeerURLs: peers[i : i+1],
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
	if t.Failed() {
		t.FailNow()
	}
	s, err := Open(t.Context(), Options{Endpoints: endpoints, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ss := join(t, s, presence("n1", "s1"), 10*time.Second)
	fence, _, err := ss.Lock(t.Context(), job.Lock{Task: job.Ref("", "alone"), Run: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	w := follow(t, s.Config().Watch(t.Context()))
	put1(t, s, "A", "1")
	w.until("the first write", func() bool { return w.has["A"] == "1" })
	closing := sync.WaitGroup{}
	for i, srv := range servers {
		if srv.etcd.Server.Leader() == srv.etcd.Server.MemberID() {
			closing.Go(func() { crash(srv) })
			servers[i] = nil
		}
	}
	put1(t, s, "A", "2")
	w.until("a write after the loss", func() bool { return w.has["A"] == "2" })
	if again, _, err := ss.Lock(t.Context(), job.Lock{Task: job.Ref("", "alone"), Run: "r1"}); again != fence || err != nil || ss.Epoch() != 0 {
		t.Errorf("fence %d is now %d, %v, epoch %d", fence, again, err, ss.Epoch())
	}
	if err := ss.Close(t.Context()); err != nil {
		t.Error(err)
	}
	_ = s.Close()
	closing.Wait()
	for _, srv := range servers {
		if srv != nil {
			closing.Go(func() { crash(srv) })
		}
	}
	closing.Wait()
}

// crash stops a member at once, without a word to the others.
func crash(srv *Server) {
	srv.etcd.Server.HardStop()
	_ = srv.Close()
}

func TestEmbeddedEtcdOpensNoPort(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("a-long-name", 10)) // longer than the path of a socket may be
	srv := embedded(t, dir)
	for _, u := range srv.ClientURLs() {
		path, ok := strings.CutPrefix(u, "unix://")
		if !ok {
			t.Fatalf("it listens on %s", u)
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("others can reach the socket: %v, %v", info.Mode(), err)
		}
	}
	if _, err := Embed(t.Context(), EmbedOptions{Dir: dir}); !job.IsConflict(err) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second one in the directory: %v", err)
	}
	if err := srv.Store().Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if alarm, err := srv.Store().Alarm(t.Context()); alarm != "" || err != nil {
		t.Error(alarm, err)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(srv.sockets); srv.sockets == "" || !os.IsNotExist(err) {
		t.Errorf("the directory of the sockets is left: %v", err)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenSaysWhereItLooked(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // it accepts and is silent
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, at := range []string{"http://" + l.Addr().String(), "unix://" + filepath.Join(t.TempDir(), "nobody.sock")} {
		_, err := Open(t.Context(), Options{Endpoints: []string{at}, DialTimeout: 300 * time.Millisecond})
		if job.CodeOf(err) != job.CodeUnavailable || !strings.Contains(err.Error(), at) {
			t.Errorf("%v", err)
		}
	}
	if _, err := Open(t.Context(), Options{}); job.CodeOf(err) != job.CodeInvalid {
		t.Errorf("%v", err)
	}
}

// The quota counts: what passes through a batch is refused as well once it is reached.
func TestQuotaIsKept(t *testing.T) {
	t.Parallel()
	srv, err := Embed(t.Context(), EmbedOptions{Dir: t.TempDir(), QuotaBytes: 4 << 20, Logger: quiet(), unsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	s := srv.Store()
	ss := join(t, s, presence("n1", "s1"), 10*time.Second)
	recs := make([]job.ExecutionRecord, 100)
	for i := range recs {
		recs[i] = *testRecord("r"+string(rune('A'+i/26))+string(rune('a'+i%26)), "n1")
		recs[i].Output = strings.Repeat("x", 64<<10)
	}
	eventually(t, "a refusal", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := ss.HandOver(ctx, recs, nil)
		if err != nil && job.CodeOf(err) != job.CodeUnavailable {
			t.Errorf("%v", err)
		}
		return err != nil && must(s.Alarm(t.Context())) != ""
	})
	if alarm := must(s.Alarm(t.Context())); alarm != "NOSPACE" {
		t.Errorf("alarm %q", alarm)
	}
	var ops []Op
	for _, e := range must(s.Records().First(t.Context(), 1000)) {
		ops = append(ops, DeleteRecord(e.Value.Node, e.Value.ID, e.Revision))
	}
	if _, err := s.Do(t.Context(), ops...); err != nil || len(ops) == 0 {
		t.Errorf("%d records cannot be taken out: %v", len(ops), err)
	}
}

func TestBootTimeGoesOn(t *testing.T) {
	t.Parallel()
	c := systemClock()
	before := c.elapsed()
	time.Sleep(time.Millisecond)
	if d := c.elapsed() - before; d < time.Millisecond || d > time.Minute {
		t.Errorf("%s", d)
	}
}
