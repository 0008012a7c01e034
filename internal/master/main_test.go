package master_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rota-dev/rota/internal/history"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const lease = 10 * time.Second

// world is an etcd in memory and a history on disk, in virtual time, with any number of masters and nodes.
type world struct {
	t     *testing.T
	ctx   context.Context
	mem   *store.Memory
	db    *history.DB
	admin *store.Store

	masters []*life
	away    time.Duration // of the masters' options
}

// inWorld runs a test in a world of its own, which ends with everything in it.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	t.Parallel()
	synctestWorld(t, f)
}

// synctestWorld is inWorld for a test whose turn has come.
func synctestWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		mem := store.NewMemory(store.MemoryOptions{})
		db, err := history.Open(context.Background(), filepath.Join(dir, "history.db"), history.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		w := &world{t: t, ctx: ctx, mem: mem, db: db, admin: mem.Client("admin")}
		t.Cleanup(func() {
			cancel()
			_ = w.admin.Close()
			_ = mem.Close()
			_ = db.Close()
		})
		f(w)
	})
}

// life is a master that serves.
type life struct {
	*master.Master
	name  string
	w     *world
	hist  *faulty
	store *store.Store
	end   func()
}

// master starts one.
func (w *world) master(name string) *life {
	w.t.Helper()
	l := w.unserved(name)
	l.serve()
	return l
}

// serve lets it live, until its end.
func (l *life) serve() {
	ctx, cancel := context.WithCancel(l.w.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { l.Serve(ctx) })
	l.end = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		_ = l.store.Close()
	})
	l.w.t.Cleanup(l.end)
	l.w.masters = append(l.w.masters, l)
}

// unserved is a master that does not serve yet.
func (w *world) unserved(name string) *life { return w.unservedAs(name, name) }

// unservedAs is one of an id, whose connection has a name.
func (w *world) unservedAs(id, name string) *life {
	s := w.mem.Client(name)
	w.t.Cleanup(func() { _ = s.Close() })
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("MASTER_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	h := &faulty{History: w.db}
	return &life{
		name: name, w: w, hist: h, store: s,
		Master: master.New(master.Options{ID: id, Version: "test", Store: s, History: h, Lease: lease, Away: w.away, Logger: log}),
	}
}

// leader starts a master and waits until it leads.
func (w *world) leader(name string) *life {
	w.t.Helper()
	m := w.master(name)
	w.until(name+" leads", m.Leads)
	w.until(name+" is ready", func() bool { return m.Ready(w.ctx) == nil })
	return m
}

// die is kill -9: nothing that it does has an effect any more, and its leases run out by themselves.
func (l *life) die() {
	l.w.mem.Cut(l.name)
	l.hist.set(func(string, bool) error { return store.ErrCut })
}

// until waits in virtual time: time goes on only when nobody has anything to do.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.t.Fatalf("it did not come to be that %s", what)
}

// faulty is a history that can be made to fail.
type faulty struct {
	job.History
	mu   sync.Mutex
	hook func(op string, after bool) error
	sent map[string]bool // the deliveries that it keeps as sent
}

// set has hook called before and after each operation; what it returns becomes the error.
func (h *faulty) set(hook func(op string, after bool) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

func (h *faulty) call(op string, f func() error) error {
	at := func(after bool) error {
		h.mu.Lock()
		hook := h.hook
		h.mu.Unlock()
		if hook == nil {
			return nil
		}
		return hook(op, after)
	}
	if err := at(false); err != nil {
		return err
	}
	err := f()
	if lost := at(true); lost != nil {
		return lost
	}
	return err
}

func (h *faulty) Insert(ctx context.Context, recs []job.ExecutionRecord) (stored []bool, err error) {
	err = h.call("insert", func() error {
		stored, err = h.History.Insert(ctx, recs)
		return err
	})
	return stored, err
}

func (h *faulty) MarkHandled(ctx context.Context, done []job.Handled, at time.Time) error {
	return h.call("mark", func() error { return h.History.MarkHandled(ctx, done, at) })
}

func (h *faulty) PutExecution(ctx context.Context, e *job.GroupExecution) error {
	return h.call("put execution", func() error { return h.History.PutExecution(ctx, e) })
}

func (h *faulty) Execution(ctx context.Context, id string) (e *job.GroupExecution, err error) {
	err = h.call("execution", func() error {
		e, err = h.History.Execution(ctx, id)
		return err
	})
	return e, err
}

func (h *faulty) Ended(ctx context.Context, ids []string) (recs []job.ExecutionRecord, err error) {
	err = h.call("ended", func() error {
		recs, err = h.History.Ended(ctx, ids)
		return err
	})
	return recs, err
}

func (h *faulty) Settled(ctx context.Context, task job.TaskRef, from, to time.Time) (recs []job.ExecutionRecord, err error) {
	err = h.call("settled", func() error {
		recs, err = h.History.Settled(ctx, task, from, to)
		return err
	})
	return recs, err
}

func (h *faulty) Record(ctx context.Context, id string) (rec job.ExecutionRecord, err error) {
	err = h.call("record", func() error {
		rec, err = h.History.Record(ctx, id)
		return err
	})
	return rec, err
}

func (h *faulty) Latest(ctx context.Context, refs ...job.TaskRef) (recs map[job.TaskRef]job.ExecutionRecord, err error) {
	err = h.call("latest", func() error {
		recs, err = h.History.Latest(ctx, refs...)
		return err
	})
	return recs, err
}

func (h *faulty) Stats(ctx context.Context, f job.StatsFilter) (st []job.Stats, err error) {
	err = h.call("stats", func() error {
		st, err = h.History.Stats(ctx, f)
		return err
	})
	return st, err
}

func (h *faulty) Ping(ctx context.Context) error {
	return h.call("ping", func() error { return h.History.Ping(ctx) })
}

// away is what a history says that is not there.
func away(string, bool) error { return job.Errorf(job.CodeUnavailable, "history is away") }

func (h *faulty) Told(ctx context.Context, task job.TaskRef, node job.NodeID, from time.Time) (recs []job.ExecutionRecord, since time.Time, err error) {
	err = h.call("told", func() error {
		recs, since, err = h.History.Told(ctx, task, node, from)
		return err
	})
	return recs, since, err
}
