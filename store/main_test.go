package store

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rota-dev/rota/job"
)

// shared is the etcd that most tests share, each below a prefix of its own.
var shared struct {
	once sync.Once
	dir  string
	srv  *Server
	err  error
	n    atomic.Int64
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.srv != nil {
		if err := shared.srv.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close etcd:", err)
			code = 1
		}
		_ = os.RemoveAll(shared.dir)
	}
	if code == 0 {
		// The members of a cluster leave connections between them to the garbage collector.
		err := goleak.Find(goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
			goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
			goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func sharedServer(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "store-"); shared.err == nil {
			shared.srv, shared.err = Embed(context.Background(), EmbedOptions{Dir: shared.dir, Logger: quiet(), unsafeNoSync: true})
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.srv
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// lasting is a kv that outlives the stores on it.
type lasting struct{ kv }

func (lasting) Close() error { return nil }

// fixture is one backend with any number of clients.
type fixture struct {
	t      *testing.T
	kv     kv
	m      *Memory // nil on etcd
	prefix string
	client func() *Store
}

// backends runs a test on the double and on etcd.
func backends(t *testing.T, f func(t *testing.T, fx *fixture)) {
	t.Helper()
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		m := NewMemory(MemoryOptions{})
		t.Cleanup(func() { _ = m.Close() })
		fx := &fixture{t: t, m: m, prefix: DefaultPrefix}
		fx.client = func() *Store {
			s := m.Store()
			t.Cleanup(func() { _ = s.Close() })
			return s
		}
		fx.kv = fx.client().kv
		f(t, fx)
	})
	t.Run("etcd", func(t *testing.T) {
		t.Parallel()
		srv := sharedServer(t)
		fx := &fixture{t: t, kv: srv.store.kv, prefix: fmt.Sprintf("/test/%d/", shared.n.Add(1))}
		fx.client = func() *Store {
			s := newStore(lasting{srv.store.kv}, fx.prefix, quiet())
			t.Cleanup(func() { _ = s.Close() })
			return s
		}
		f(t, fx)
	})
}

// cuttable is a client that can be cut off.
func (fx *fixture) cuttable() (s *Store, cut, heal func()) {
	if fx.m != nil {
		name := fmt.Sprint("client", shared.n.Add(1))
		s = fx.m.Client(name)
		cut, heal = func() { fx.m.Cut(name) }, func() { fx.m.Heal(name) }
	} else {
		g := &gate{kv: lasting{fx.kv}}
		s = newStore(g, fx.prefix, quiet())
		cut, heal = func() { g.shut.Store(true) }, func() { g.shut.Store(false) }
	}
	fx.t.Cleanup(func() { _ = s.Close() })
	return s, cut, heal
}

// gate is a kv that can be cut off; watches it had stay silent rather than end.
type gate struct {
	kv
	shut atomic.Bool
}

func (g *gate) pass() error {
	if g.shut.Load() {
		return ErrCut
	}
	return nil
}

func (g *gate) Range(ctx context.Context, r request) (*rangeResult, error) {
	if err := g.pass(); err != nil {
		return nil, err
	}
	return g.kv.Range(ctx, r)
}

func (g *gate) Txn(ctx context.Context, t *txn) (*txnResult, error) {
	if err := g.pass(); err != nil {
		return nil, err
	}
	return g.kv.Txn(ctx, t)
}

func (g *gate) KeepAlive(ctx context.Context, id int64) (int64, error) {
	if err := g.pass(); err != nil {
		return 0, err
	}
	return g.kv.KeepAlive(ctx, id)
}

func (g *gate) Grant(ctx context.Context, seconds int64) (int64, int64, error) {
	if err := g.pass(); err != nil {
		return 0, 0, err
	}
	return g.kv.Grant(ctx, seconds)
}

func (g *gate) Revoke(ctx context.Context, id int64) error {
	if err := g.pass(); err != nil {
		return err
	}
	return g.kv.Revoke(ctx, id)
}

// expire lets the lease under a key run out.
func (fx *fixture) expire(key string) {
	fx.t.Helper()
	kv := fx.read(key)
	if kv == nil || kv.lease == 0 {
		fx.t.Fatalf("%s stands under no lease: %+v", key, kv)
	}
	if err := fx.kv.Revoke(fx.t.Context(), kv.lease); err != nil {
		fx.t.Fatal(err)
	}
}

func (fx *fixture) read(key string) *keyValue {
	fx.t.Helper()
	r, err := fx.kv.Range(fx.t.Context(), request{key: fx.prefix + key})
	if err != nil {
		fx.t.Fatal(err)
	}
	if len(r.kvs) == 0 {
		return nil
	}
	return &r.kvs[0]
}

func (fx *fixture) write(key, value string) {
	fx.t.Helper()
	_, err := fx.kv.Txn(fx.t.Context(), &txn{then: []request{{action: put, key: fx.prefix + key, value: []byte(value)}}})
	if err != nil {
		fx.t.Fatal(err)
	}
}

// compact forgets everything before now.
func (fx *fixture) compact() {
	fx.t.Helper()
	r, err := fx.kv.Range(fx.t.Context(), request{key: "x"})
	if err == nil {
		err = fx.kv.Compact(fx.t.Context(), r.rev)
	}
	if err != nil {
		fx.t.Fatal(err)
	}
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var day = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func testTask(name string) *job.TaskEntry {
	e := &job.TaskEntry{Task: job.Task{Name: name, Command: job.Args("/bin/true"), Timer: "* * * * *"}, CreatedAt: day, UpdatedAt: day, Since: day, Generation: 1}
	e.Task.Complete()
	return e
}

func testJob(name string, node job.NodeID) *job.Job {
	return job.Bind(testTask(name), node, []job.NodeID{node}, day)
}

func testDispatch(run job.RunID, node job.NodeID) *job.Dispatch {
	return &job.Dispatch{Run: run, Node: node, Job: testJob("backup", node), Trigger: job.TriggerRun, RequestedAt: day}
}

func testRecord(id string, node job.NodeID) *job.ExecutionRecord {
	r := job.CreateExecutionRecord(testJob("backup", "n1"), job.RunID(id), day, day.Add(time.Second), job.Success, "")
	r.Node = node
	return &r
}

func presence(node job.NodeID, session string) job.Presence {
	return job.Presence{Node: node, Session: session, Since: day}
}
