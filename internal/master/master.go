package master

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Options are what a master needs. Zero times take the defaults.
type Options struct {
	ID   string // unique to this process, not to its machine
	Name string // unique among those that are alive; empty: it is not looked at
	// Twin, unless nil, is told where another master of the name was there before: this one must end.
	Twin func(error)
	URL  string // where its API is reached
	// ReachedAt says where a node reaches the master, in the order in which to try; nil: at URL.
	ReachedAt func(job.NodeID) []string
	Pin       string // SHA-256 of the certificate that it serves with (DER, hexadecimal); empty: none
	Version   string
	Store     *store.Store
	History   job.History
	Logger    *slog.Logger

	Lease     time.Duration // of the leader and of the nodes; default 10 s
	Retention job.Retention
	// Away is how old the oldest instant of a common task may become that a node owes which is away, before all of them are told as
	// missed; default DefaultAway, negative: they wait for the node.
	Away time.Duration
	// Notifier sends messages; nil: they wait.
	Notifier    Notifier
	ExternalURL string           // at which people reach Rota, for links in messages; empty: there are none
	Now         func() time.Time // default time.Now
}

// Master serves what people and programs ask, and leads when it is elected. Its life is one call of
// Serve.
type Master struct {
	Options
	view    *view
	hub     *hub
	logs    *logDesk
	metrics *Metrics
	started time.Time

	toDeliver chan struct{} // capacity 1: there may be messages to send

	turns    [64]sync.Mutex         // see turn
	handling sync.Mutex             // held while records are brought into history
	refused  map[job.TaskRef]string // what each task's latest result was refused; handling guards it
	leader   atomic.Pointer[store.Leadership]
}

// New makes a master.
func New(o Options) *Master {
	if o.Lease <= 0 {
		o.Lease = 10 * time.Second
	}
	if o.Away == 0 {
		o.Away = DefaultAway
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Logger = o.Logger.With("master", o.ID)
	m := &Master{Options: o, hub: newHub(), toDeliver: make(chan struct{}, 1), started: o.Now()}
	m.view = newView(m)
	m.logs = newLogDesk(m)
	m.metrics = newMetrics(m.view)
	return m
}

func (m *Master) store() *store.Store { return m.Options.Store }

// Serve keeps the view and stands for election until ctx ends. It outlives every outage of etcd and of history.
func (m *Master) Serve(ctx context.Context) {
	var wg sync.WaitGroup
	m.view.watch(ctx, &wg)
	wg.Go(func() { m.announce(ctx) })
	wg.Go(func() { m.campaign(ctx) })
	wg.Wait()
	m.hub.close()
}

// announce keeps the master's name under a lease, so that others see it, and with it what it asks of nodes.
func (m *Master) announce(ctx context.Context) {
	self := store.Master{ID: m.ID, Name: m.Name, URL: m.URL, Version: m.Version, Since: m.started.UTC()}
	for ctx.Err() == nil {
		a, err := m.store().Announce(ctx, self, m.Lease)
		if err != nil {
			if ctx.Err() == nil {
				m.Logger.Warn("the master's name could not be announced yet", "error", err)
				sleep(ctx, time.Second)
			}
			continue
		}
		if err := m.twin(ctx); err != nil && m.Twin != nil {
			m.Twin(err)
		}
		m.logs.ask(ctx, a)
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		if err := a.Close(bye); err != nil {
			m.Logger.Warn("the master's name could not be taken back; it will lapse", "error", err)
		}
		cancel()
	}
}

// campaign stands for election again and again.
func (m *Master) campaign(ctx context.Context) {
	for ctx.Err() == nil {
		l, err := m.store().Campaign(ctx, m.ID, m.term())
		if err != nil {
			if ctx.Err() == nil {
				m.Logger.Warn("the election failed", "error", err)
				sleep(ctx, time.Second)
			}
			continue
		}
		m.Logger.Info("leads", "term", l.Term())
		m.leader.Store(l)
		m.metrics.leading.Set(1)
		m.lead(ctx, l)
		m.metrics.leading.Set(0)
		m.leader.Store(nil)
		m.Logger.Info("does not lead any more", "term", l.Term())

		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		if err := l.Resign(bye); err != nil && !errors.Is(err, store.ErrNotLeader) {
			m.Logger.Warn("leadership could not be given back; it will lapse", "error", err)
		}
		cancel()
	}
}

// Leads tells whether this master is the leader, as far as it knows.
func (m *Master) Leads() bool { return m.leader.Load() != nil }

// Ready says why the master can't serve yet, or nil.
func (m *Master) Ready(ctx context.Context) error {
	if !m.view.synced() {
		return job.Errorf(job.CodeUnavailable, "the view of etcd is not whole yet")
	}
	if err := m.store().Ping(ctx); err != nil {
		return job.Errorf(job.CodeUnavailable, "etcd does not answer: %w", err)
	}
	if err := m.History.Ping(ctx); err != nil {
		return job.Errorf(job.CodeUnavailable, "history does not answer: %w", err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
