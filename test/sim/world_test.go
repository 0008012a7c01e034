package sim

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/internal/history"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// world is a cluster that a scenario is played in.
type world struct {
	sc   *scenario
	d    dice
	bugs *planted
	dir  string

	mem     *store.Memory
	admin   *store.Store
	db      *history.DB
	net     *network
	away    away
	seen    *observer
	tasks   *book
	said    said
	folders atomic.Int64

	machines []*machine
	servers  []*server

	mu    sync.Mutex
	born_ []any // lives of agents and masters

	wg     sync.WaitGroup // of everything that lives
	events sync.WaitGroup
	ctx    context.Context // ends when the faults do
	heal   context.CancelFunc
	specs  sync.Map // what tasks do: task.Name to task

	healed time.Time
	whole  time.Time
}

// outcome is what became of a scenario.
type outcome struct {
	wrong   []violation
	seen    *observer
	virtual time.Duration
	real    time.Duration
	starts  int
	records int
}

// play plays a scenario in a bubble of its own.
func play(t *testing.T, sc *scenario, b bug) (out outcome) {
	began := time.Now()
	dir, err := os.MkdirTemp(memoryDisk(), "rota-sim-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	synctest.Test(t, func(t *testing.T) {
		w := &world{sc: sc, d: dice(sc.seed), dir: dir}
		w.bugs = plant(w, b)
		w.seen = newObserver(w)
		w.play(t)
		out.wrong, out.seen, out.virtual, out.starts = w.seen.wrong, w.seen, time.Since(epoch), len(w.seen.starts)
		out.records = w.tasks.records
	})
	out.real = time.Since(began)
	return out
}

// epoch is when the time of a bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// memoryDisk is a folder whose files are in memory, where the machine has one.
func memoryDisk() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func (w *world) logger(client string) *slog.Logger { return logTo().With("client", client) }

func (w *world) born(life any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.born_ = append(w.born_, life)
}

func (w *world) play(t *testing.T) {
	w.net = newNetwork(w.d)
	w.ctx, w.heal = context.WithCancel(context.Background())
	w.mem = store.NewMemory(store.MemoryOptions{Logger: slog.New(slog.DiscardHandler)})
	w.mem.OnCall(w.net.call)
	w.mem.OnTell(w.net.tell)
	w.bugs.etcd(w.mem)
	w.admin = w.mem.Client("admin")
	db, err := history.Open(context.Background(), filepath.Join(w.dir, "history.db"), history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.db = db
	watching, stop := context.WithCancel(context.Background())
	w.tasks = newBook(w, watching)
	for i := range w.sc.masters {
		w.servers = append(w.servers, w.newServer(i))
		w.servers[i].start()
	}
	for _, id := range w.sc.nodes {
		m := w.newMachine(id)
		w.machines = append(w.machines, m)
		m.start()
	}
	w.begin()
	for _, e := range w.sc.events {
		w.events.Go(func() { w.happen(e) })
	}
	wait(context.Background(), w.sc.length)
	w.heal()
	w.events.Wait()
	w.mend()
	w.settle()
	w.judge()
	w.end(stop)
}

// begin lets the cluster come to be, with its tasks.
func (w *world) begin() {
	for range 100 {
		if w.isWhole() == "" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	var tasks []job.Task
	for _, t := range w.sc.tasks {
		w.specs.Store(t.Name, t)
		tasks = append(tasks, t.Task)
	}
	err := w.ask("apply", func(ctx context.Context, m *master.Master) error {
		_, err := m.Apply(ctx, tasks, master.ApplyOptions{})
		return err
	})
	if err != nil {
		w.fail("the tasks can't be applied: %v", err)
	}
	time.Sleep(quiet)
	w.seen.mu.Lock()
	w.seen.line("", "the faults begin")
	w.seen.mu.Unlock()
}

// isWhole says why the cluster is not whole, or "".
func (w *world) isWhole() string {
	leads := 0
	for _, s := range w.servers {
		l := s.life
		if l == nil {
			return s.name + " is down"
		}
		if err := l.Ready(context.Background()); err != nil {
			return s.name + ": " + err.Error()
		}
		if l.Leads() {
			leads++
		}
	}
	if leads != 1 {
		return strconv.Itoa(leads) + " masters lead"
	}
	for _, m := range w.machines {
		if m.life == nil {
			return string(m.id) + " is down"
		}
		if err := m.life.Ready(); err != nil {
			return string(m.id) + ": " + err.Error()
		}
	}
	return ""
}

// mend makes everything well that events left behind.
func (w *world) mend() {
	w.healed = time.Now()
	w.note("", "everything is mended")
	for _, s := range w.servers {
		s.clock.off.Store(0)
		s.alone(s.start)
	}
	for _, m := range w.machines {
		m.clock.off.Store(0)
		m.alone(m.start)
	}
	for _, t := range w.tasks.paused() {
		_ = w.askFor(2*time.Minute, "resume", func(ctx context.Context, m *master.Master) error {
			_, err := m.Resume(ctx, t, "people")
			return err
		})
	}
}

// settle waits until the cluster is whole, and then as long as it may take until everything is accounted for.
func (w *world) settle() {
	for range 1800 {
		why := w.isWhole()
		if why == "" {
			break
		}
		time.Sleep(100 * time.Millisecond)
		if time.Since(w.healed) > 2*minute {
			w.seen.mu.Lock()
			w.seen.breaks(rest, nil, "two minutes after everything was mended the cluster is not whole: %s", why)
			w.seen.mu.Unlock()
			return
		}
	}
	w.whole = time.Now()
	w.note("", "the cluster is whole")
	time.Sleep(w.slack())
}

// slack is how long after the cluster is whole everything is accounted for: 2L, and what tasks may take until an instant is over:
// jitter and deadline, or the time of a run and of those in the queue before it.
func (w *world) slack() time.Duration {
	most := time.Duration(0)
	w.tasks.each(func(t *job.Task) { most = max(most, t.Jitter.Std()+t.Deadline.Std()) })
	return 2*lease + most + patience
}

// patience is what runs that are under way, and wait for each other, may need.
const patience = 70 * time.Second

// end ends everything.
func (w *world) end(stop context.CancelFunc) {
	w.mem.OnCall(nil)
	w.mem.OnTell(nil)
	w.mu.Lock()
	lives := w.born_
	w.mu.Unlock()
	for _, m := range w.machines {
		m.guard.crash()
	}
	for _, l := range lives {
		switch l := l.(type) {
		case *life:
			l.dead.Store(true)
			w.mem.Cut(l.client)
			l.cancel()
		case *masterLife:
			w.mem.Cut(l.client)
			l.cancel()
		}
	}
	for _, l := range lives {
		switch l := l.(type) {
		case *life:
			<-l.done
			_ = l.store.Close()
		case *masterLife:
			<-l.done
			_ = l.store.Close()
		}
	}
	stop()
	w.wg.Wait()
	_ = w.admin.Close()
	_ = w.mem.Close()
	_ = w.db.Close()
	time.Sleep(time.Minute) // what is left of timers
}

// plan is what an execution does, unless something ends it.
func (w *world) plan(x *execution, name string) (time.Duration, job.Exit) {
	t := task{takes: time.Second}
	if x.record.task.Name != "" {
		if v, ok := w.specs.Load(x.record.task.Name); ok {
			t = v.(task)
		}
	}
	takes := min(w.d.between(t.takes/2, t.takes*3/2, "takes", name), maxTake)
	if w.ctx.Err() != nil { // the faults are over, and what has come to wait shall have its turn soon
		takes, t.fails = 100*time.Millisecond, 0
	}
	if t.fails > 0 && w.d.chance(t.fails, "fails", name) {
		one := 1
		return takes, job.Exit{Outcome: job.Failed, Reason: "exit code 1", ExitCode: &one}
	}
	zero := 0
	return takes, job.Exit{Outcome: job.Success, ExitCode: &zero}
}
