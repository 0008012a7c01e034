package master

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// MonitorView is a monitor with how it stands.
type MonitorView = client.MonitorView

const monitorsEvery = time.Second

// Monitors lists the jobs that Rota watches and does not run.
func (m *Master) Monitors(ctx context.Context) ([]MonitorView, error) {
	views := []MonitorView{}
	for _, e := range m.monitors().All() {
		views = append(views, m.monitorView(ctx, e))
	}
	return views, nil
}

// Monitor reads one of them.
func (m *Master) Monitor(ctx context.Context, name string) (*MonitorView, error) {
	e, err := m.monitors().One(ctx, name)
	if err != nil {
		return nil, err
	}
	v := m.monitorView(ctx, *e)
	return &v, nil
}

func (m *Master) monitorView(ctx context.Context, e job.Entry[job.Monitor]) MonitorView {
	v := MonitorView{Entry: e}
	var s *job.MonitorState
	m.view.with(func() {
		if s = m.view.pings[e.Document.Name]; s != nil {
			one := *s
			s = &one
		}
	})
	if s != nil {
		v.Key, v.LastPing, v.Pings, v.Running = s.Key, s.LastPing, s.Count, s.Run
		v.Next, v.Until = s.Next(&e.Document, e.UpdatedAt)
	}
	if last, err := m.History.Latest(ctx, e.Document.Ref()); err == nil {
		if r, ok := last[e.Document.Ref()]; ok {
			v.Last = &r
		}
	}
	return v
}

// DeleteMonitor forgets a monitor. Its records stay; its key opens nothing any more.
func (m *Master) DeleteMonitor(ctx context.Context, name string) error {
	if err := m.monitors().Delete(ctx, name); err != nil {
		return err
	}
	if s, err := m.store().Pings().Get(ctx, name); err == nil {
		if _, err := m.store().Do(ctx, store.DropMonitor(name, s.Revision)); err != nil {
			m.Logger.Warn("what is left of a monitor is left to the leader", "monitor", name, "error", err)
		}
	}
	return nil
}

// RenewMonitorKey gives a monitor another key. The old one opens nothing any more.
func (m *Master) RenewMonitorKey(ctx context.Context, name string) (*MonitorView, error) {
	if _, err := m.monitors().One(ctx, name); err != nil {
		return nil, err
	}
	for {
		s, err := m.store().Pings().Get(ctx, name)
		if err != nil && !job.IsNotFound(err) {
			return nil, err
		}
		if err != nil {
			if _, err := m.makeMonitorState(ctx, name, m.store().Do); err != nil {
				return nil, err
			}
			continue
		}
		s.Key = newPingKey()
		done, err := m.store().Do(ctx, store.AdvanceMonitor(s, nil))
		if err != nil {
			return nil, err
		}
		if done[0] {
			m.view.await(ctx, func() bool { p := m.view.pings[name]; return p != nil && p.Key == s.Key })
			return m.Monitor(ctx, name)
		}
	}
}

func newPingKey() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (m *Master) monitors() *documents[job.Monitor] {
	return &documents[job.Monitor]{
		m: m, sort: "monitor", c: m.store().Monitors(), name: (*job.Monitor).DocumentName,
		list:  func() map[string]*job.Entry[job.Monitor] { return m.view.monitors },
		users: func(context.Context, string) ([]string, error) { return nil, nil },
	}
}

// applyMonitor writes a monitor, and makes its key.
func (m *Master) applyMonitor(ctx context.Context, doc job.Monitor, rev int64, dry bool) (Applied, error) {
	a, _, err := m.monitors().put(ctx, doc, rev, dry)
	if err != nil || dry {
		return a, err
	}
	if _, err := m.store().Pings().Get(ctx, doc.Name); job.IsNotFound(err) {
		if _, err := m.makeMonitorState(ctx, doc.Name, m.store().Do); err != nil {
			return a, err
		}
	}
	m.view.await(ctx, func() bool { return m.view.pings[doc.Name] != nil })
	return a, nil
}

type doer func(ctx context.Context, ops ...store.Op) ([]bool, error)

// makeMonitorState makes what is kept of a monitor, unless somebody has, or there is no such monitor.
func (m *Master) makeMonitorState(ctx context.Context, name string, do doer) (bool, error) {
	e, err := m.store().Monitors().Get(ctx, name)
	if err != nil {
		return false, err
	}
	done, err := do(ctx, store.AdvanceMonitor(job.NewMonitorState(&e.Document, newPingKey(), m.Now()), nil))
	return err == nil && done[0], err
}

// keyHash is what pings are found by: to look for it takes the same time whatever the key is.
func keyHash(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

// errNoMonitor is the answer to every key that is none.
func errNoMonitor() error { return job.Errorf(job.CodeNotFound, "there is no monitor of this key") }

// Ping takes a ping of a watched job. What it settles goes to history as the records of nodes do: so any master takes it, also while history
// is away. An unknown key is [job.CodeNotFound].
func (m *Master) Ping(ctx context.Context, key string, p job.Ping) error {
	name, err := surely(ctx, m, func() (string, error) { return m.pinger(key), m.CheckPing(key) })
	if err != nil {
		return err
	}
	for range 20 {
		s, err := m.store().Pings().Get(ctx, name)
		if job.IsNotFound(err) || err == nil && s.Key != key {
			return errNoMonitor()
		}
		if err != nil {
			return err
		}
		e, err := m.store().Monitors().Get(ctx, name)
		if job.IsNotFound(err) {
			return errNoMonitor()
		}
		if err != nil {
			return err
		}
		recs := s.Take(&e.Document, e.UpdatedAt, p, m.Now())
		done, err := m.store().Do(ctx, store.AdvanceMonitor(s, recs))
		if err != nil || done[0] {
			return err
		}
	}
	return job.Errorf(job.CodeUnavailable, "too many pings of this monitor come at once")
}

func (m *Master) pinger(key string) (name string) {
	m.view.with(func() { name = m.view.pingKeys[keyHash(key)] })
	return name
}

// CheckPing tells, as [job.CodeNotFound], that there is no monitor of a key.
func (m *Master) CheckPing(key string) error {
	if m.pinger(key) == "" {
		return errNoMonitor()
	}
	return nil
}

// watchMonitors settles what does not come, until ctx ends. Only the leader does.
func (m *Master) watchMonitors(ctx context.Context, l *store.Leadership) {
	for sleep(ctx, monitorsEvery) {
		if err := m.settleMonitors(ctx, l); err != nil {
			if errors.Is(err, store.ErrNotLeader) || ctx.Err() != nil {
				return
			}
			m.Logger.Warn("monitors wait", "error", err)
		}
	}
}

func (m *Master) settleMonitors(ctx context.Context, l *store.Leadership) error {
	var ops []store.Op
	var missing []string
	now := m.Now()
	m.view.with(func() {
		for name, e := range m.view.monitors {
			s := m.view.pings[name]
			if s == nil {
				missing = append(missing, name)
				continue
			}
			next := *s
			if recs := next.Overdue(&e.Document, e.UpdatedAt, now); len(recs) > 0 || next.Rule != s.Rule {
				ops = append(ops, store.AdvanceMonitor(&next, recs))
			}
		}
		for name, s := range m.view.pings {
			if m.view.monitors[name] == nil {
				ops = append(ops, store.DropMonitor(name, s.Revision))
			}
		}
	})
	for _, name := range missing {
		if _, err := m.makeMonitorState(ctx, name, l.Do); err != nil && !job.IsNotFound(err) {
			return err
		}
	}
	if len(ops) == 0 {
		return nil
	}
	_, err := l.Do(ctx, ops...) // what was refused has changed meanwhile, and is looked at again
	return err
}

func (v *view) pinged(parts []string, s *job.MonitorState, _ store.Event[job.MonitorState]) {
	if old := v.pings[parts[0]]; old != nil {
		delete(v.pingKeys, keyHash(old.Key))
		delete(v.pings, parts[0])
	}
	if s != nil {
		v.pings[s.Name], v.pingKeys[keyHash(s.Key)] = s, s.Name
	}
}
