package apitest

import (
	"context"
	"fmt"
	"slices"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// Receivers lists receivers.
func (m *Master) Receivers(context.Context) ([]job.Entry[job.Receiver], error) {
	return m.receivers.all(m)
}

// Receiver reads one.
func (m *Master) Receiver(_ context.Context, name string) (*job.Entry[job.Receiver], error) {
	return m.receivers.one(m, "receiver", name)
}

// DeleteReceiver deletes one.
func (m *Master) DeleteReceiver(_ context.Context, name string) error {
	return m.receivers.remove(m, "receiver", name, func(t *job.Task) bool { return slices.Contains(job.Receivers(t.Notify), name) })
}

// TestReceiver notes that a message was sent.
func (m *Master) TestReceiver(_ context.Context, name, by string) (*job.Delivery, error) {
	if _, err := m.receivers.one(m, "receiver", name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d := job.Delivery{
		ID: fmt.Sprintf("d%d", len(m.deliveries)+1), Receiver: name, Subject: "a test", Event: job.AlertTest, Status: job.DeliverySent, Attempts: 1,
		Created: Now, DoneAt: Now, Answer: "200 OK, " + by,
	}
	m.deliveries = append(m.deliveries, d)
	return &d, nil
}

// Deliveries lists messages, the newest first.
func (m *Master) Deliveries(_ context.Context, f job.DeliveryFilter) ([]job.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []job.Delivery
	for _, d := range slices.Backward(m.deliveries) {
		if (f.Receiver == "" || d.Receiver == f.Receiver) && (f.Task == "" || d.Task == f.Task) && (f.Status == "" || d.Status == f.Status) {
			out = append(out, d)
		}
	}
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out, m.fail()
}

// Monitors lists monitors. The key of each is its name with "key-" before it.
func (m *Master) Monitors(context.Context) ([]master.MonitorView, error) {
	list, err := m.monitors.all(m)
	var out []master.MonitorView
	for _, e := range list {
		out = append(out, master.MonitorView{Entry: e, Key: "key-" + e.Document.Name})
	}
	return out, err
}

// Monitor reads one.
func (m *Master) Monitor(_ context.Context, name string) (*master.MonitorView, error) {
	e, err := m.monitors.one(m, "monitor", name)
	if err != nil {
		return nil, err
	}
	return &master.MonitorView{Entry: *e, Key: "key-" + name}, nil
}

// RenewMonitorKey does nothing but read the monitor.
func (m *Master) RenewMonitorKey(ctx context.Context, name string) (*master.MonitorView, error) {
	return m.Monitor(ctx, name)
}

// DeleteMonitor deletes one.
func (m *Master) DeleteMonitor(_ context.Context, name string) error {
	return m.monitors.remove(m, "monitor", name, func(*job.Task) bool { return false })
}

// CheckPing knows the keys of the monitors.
func (m *Master) CheckPing(key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return err
	}
	for name := range m.monitors.of {
		if key == "key-"+name {
			return nil
		}
	}
	return job.Errorf(job.CodeNotFound, "there is no monitor of this key")
}

// Ping keeps the ping; see Pings.
func (m *Master) Ping(_ context.Context, key string, p job.Ping) error {
	if err := m.CheckPing(key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pings = append(m.pings, p)
	return nil
}

// Pings are those that came.
func (m *Master) Pings() []job.Ping {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.pings)
}
