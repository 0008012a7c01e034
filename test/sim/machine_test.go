package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rota-dev/rota/internal/node"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// machine is what a node is: a disk, a clock, a guard, and the lives of its agent, one after the other.
type machine struct {
	w  *world
	id job.NodeID

	busy   chan struct{} // holds a token while somebody starts or ends things here
	lives  int
	boots  int
	booted time.Time
	dir    string
	guard  *guard
	life   *life // nil: the agent is down
	full   atomic.Int32
	clock  clock

	mu       sync.Mutex
	crashes  []crash
	troubles []span // times in which its agent stood still, or its clock was wrong
}

// crash is a death of the agent.
type crash struct {
	at    time.Time
	power bool // of the whole machine
	full  bool // while the disk took nothing
}

func (m *machine) died(power bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashes = append(m.crashes, crash{time.Now(), power, m.full.Load() > 0})
}

// forgetful tells whether the agent ended while the disk took nothing, with what it had not written yet.
func (m *machine) forgetful() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.crashes, func(c crash) bool { return c.full })
}

func (m *machine) trouble(from, to time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.troubles = append(m.troubles, span{from, to})
}

// disturbed tells whether the machine had trouble about a time.
func (m *machine) disturbed(at span) bool {
	for _, t := range m.troubles {
		if t.from.Before(at.to) && at.from.Before(t.to.Add(5*time.Second)) {
			return true
		}
	}
	return false
}

// clock is the wall clock of a process.
type clock struct{ off atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Round(0).Add(time.Duration(c.off.Load())) }

// life is one life of an agent.
type life struct {
	*node.Agent
	client string
	store  *store.Store
	cancel context.CancelFunc
	dead   atomic.Bool
	done   chan struct{}
	began  time.Time
	ended  time.Time // zero: it is alive
}

func (w *world) newMachine(id job.NodeID) *machine {
	m := &machine{w: w, id: id, busy: make(chan struct{}, 1)}
	m.boot()
	m.dir = w.folder(string(id))
	return m
}

func (m *machine) boot() {
	m.boots++
	m.booted = time.Now()
	m.guard = &guard{m: m}
}

func (m *machine) sinceBoot() time.Duration { return time.Since(m.booted) }

// alone does something with the machine while nobody else does.
func (m *machine) alone(f func()) {
	m.busy <- struct{}{}
	f()
	<-m.busy
}

// start begins a life of the agent, unless there is one.
func (m *machine) start() {
	if m.life != nil {
		return
	}
	m.lives++
	l := &life{client: fmt.Sprintf("%s#%d", m.id, m.lives), done: make(chan struct{}), began: time.Now()}
	l.store = m.w.mem.Client(l.client)
	booted, who := m.booted, string(m.id)
	a, err := node.New(node.Options{
		ID: m.id, Dir: m.dir, Store: l.store, Runner: m.w.bugs.runner(endpoint{m.guard, l}), BootID: fmt.Sprintf("%s-%d", m.id, m.boots),
		SinceBoot: func() time.Duration { return time.Since(booted) }, Logger: m.w.logger(l.client),
		Lease: lease, Segment: m.segment,
		Now: func() time.Time {
			m.w.net.standAt(who, "(*core).fireDue")
			return m.clock.now()
		},
	})
	if err != nil {
		m.w.fail("the agent of %s can't start: %v", m.id, err)
		return
	}
	l.Agent = a
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	m.life = l
	m.w.born(l)
	m.w.note(who, "the agent starts, session %.8s", a.Session())
	m.w.wg.Go(func() {
		defer close(l.done)
		if err := a.Run(ctx); err != nil && !l.dead.Load() {
			m.w.note(who, "the agent ended: %v", err)
		}
	})
}

// kill is kill -9 of the agent: nothing that it does from now on counts, and its disk is what it was at that moment.
func (m *machine) kill(power bool) {
	l := m.life
	if l == nil {
		return
	}
	l.dead.Store(true)
	m.w.mem.Cut(l.client)
	m.died(power)
	old := m.dir
	m.dir = m.w.folder(string(m.id))
	if err := os.CopyFS(m.dir, os.DirFS(old)); err != nil {
		m.w.fail("copy the disk of %s: %v", m.id, err)
	}
	m.w.bugs.died(m)
	l.cancel()
	m.life, l.ended = nil, time.Now()
}

// crash is the loss of power: the agent, the guard and all that runs are gone, and the clock of the boot begins anew.
func (m *machine) crash() {
	if m.life == nil {
		m.died(true)
	}
	m.kill(true)
	m.guard.crash()
	m.boot()
}

// stop ends the agent in order.
func (m *machine) stop(leave bool) {
	l := m.life
	if l == nil {
		return
	}
	if leave {
		l.LeaveRuns()
	}
	if m.full.Load() > 0 {
		m.died(false)
	}
	l.ended = time.Now()
	l.cancel()
	<-l.done
	m.life = nil
}

// segment makes a file of the spool that is never synced, for hours pass in virtual time and the disk's time is real. A full disk
// takes nothing.
func (m *machine) segment(path string) (node.SpoolFile, error) {
	if m.full.Load() > 0 {
		return nil, syscall.ENOSPC
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &segment{f, m}, nil
}

type segment struct {
	io.WriteCloser
	m *machine
}

func (s *segment) Sync() error { return nil }

func (s *segment) Write(b []byte) (int, error) {
	if s.m.full.Load() > 0 {
		n, _ := s.WriteCloser.Write(b[:len(b)/2]) // the last block that there was
		return n, syscall.ENOSPC
	}
	return s.WriteCloser.Write(b)
}

// folder makes a folder that lasts as long as the world.
func (w *world) folder(name string) string {
	dir := filepath.Join(w.dir, fmt.Sprintf("%s-%d", name, w.folders.Add(1)))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.fail("make a folder: %v", err)
	}
	return dir
}

var logTo = sync.OnceValue(func() *slog.Logger {
	if os.Getenv("SIM_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
})
