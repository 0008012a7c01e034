package master

import (
	"context"
	"fmt"
	"slices"

	"github.com/rota-dev/rota/internal/notify"
	"github.com/rota-dev/rota/job"
)

// Receivers lists where messages go.
func (m *Master) Receivers(context.Context) ([]job.Entry[job.Receiver], error) {
	return m.receivers().All(), nil
}

// Receiver reads one receiver.
func (m *Master) Receiver(ctx context.Context, name string) (*job.Entry[job.Receiver], error) {
	return m.receivers().One(ctx, name)
}

// DeleteReceiver removes a receiver that nothing names. Messages that wait for it are given up.
func (m *Master) DeleteReceiver(ctx context.Context, name string) error {
	return m.receivers().Delete(ctx, name)
}

func (m *Master) receivers() *documents[job.Receiver] {
	return &documents[job.Receiver]{
		m: m, sort: "receiver", c: m.store().Receivers(), name: (*job.Receiver).DocumentName,
		list:  func() map[string]*job.Entry[job.Receiver] { return m.view.receivers },
		users: m.receiverUsers,
	}
}

// receiverUsers lists who names a receiver. They are asked of the store: what was applied through another master may not be in this
// one's view yet.
func (m *Master) receiverUsers(ctx context.Context, name string) (users []string, err error) {
	tasks, _, err := m.store().Tasks().List(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range tasks {
		if slices.Contains(job.Receivers(e.Task.Notify), name) {
			users = append(users, "task "+e.Ref().String())
		}
	}
	templates, _, err := m.store().Templates().List(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range templates {
		if slices.Contains(job.Receivers(e.Document.Notify), name) {
			users = append(users, "template "+e.Document.Name)
		}
	}
	groups, _, err := m.store().Groups().List(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range groups {
		if slices.Contains(job.Receivers(e.Document.Notify), name) {
			users = append(users, "group "+e.Document.Name)
		}
	}
	monitors, _, err := m.store().Monitors().List(ctx)
	for _, e := range monitors {
		if slices.Contains(job.Receivers(e.Document.Notify), name) {
			users = append(users, "monitor "+e.Document.Name)
		}
	}
	return users, err
}

// knownReceivers are the names of the receivers that there are, with those that are applied just now.
func (m *Master) knownReceivers(ctx context.Context, with []job.Receiver) ([]string, error) {
	entries, _, err := m.store().Receivers().List(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Document.Name)
	}
	for i := range with {
		names = append(names, with[i].Name)
	}
	return names, nil
}

// checkNotified adds the receivers that the documents name and that there are not; at is the path of a task with the dot that follows.
func (m *Master) checkNotified(ctx context.Context, f *job.Faults, docs *job.Documents, tasks []whole, at func(int) string) error {
	var names []string
	asked := false
	check := func(prefix string, list []job.Notify) (err error) {
		if len(list) == 0 {
			return nil
		}
		if !asked {
			if names, err = m.knownReceivers(ctx, docs.Receivers); err != nil {
				return err
			}
			asked = true
		}
		job.CheckReceivers(f, prefix, list, func(n string) bool { return slices.Contains(names, n) }, names)
		return nil
	}
	for i := range docs.Templates {
		if err := check(fmt.Sprintf("templates[%d].", i), docs.Templates[i].Notify); err != nil {
			return err
		}
	}
	for i := range tasks {
		if err := check(at(i), tasks[i].Notify); err != nil {
			return err
		}
	}
	for i := range docs.Groups {
		if err := check(fmt.Sprintf("groups[%d].", i), docs.Groups[i].Notify); err != nil {
			return err
		}
	}
	for i := range docs.Monitors {
		if err := check(fmt.Sprintf("monitors[%d].", i), docs.Monitors[i].Notify); err != nil {
			return err
		}
	}
	return nil
}

// TestReceiver sends a message to a receiver now, from this master, and tells what became of it. It is among the deliveries.
func (m *Master) TestReceiver(ctx context.Context, name, by string) (*job.Delivery, error) {
	e, err := m.Receiver(ctx, name)
	if err != nil {
		return nil, err
	}
	if m.Notifier == nil {
		return nil, job.Errorf(job.CodeUnavailable, "this master sends no messages")
	}
	now := m.Now().UTC()
	msg := notify.TestMessage(name, by, now)
	d := &job.Delivery{
		ID: msg.ID, Receiver: name, Subject: "a test", Task: "", Event: job.AlertTest, Status: job.DeliverySent, Attempts: 1, Created: now,
		Message: msg.JSON(),
	}
	answer, err := m.Notifier.Send(ctx, &e.Document, msg)
	if d.Answer = answer; err != nil {
		d.Status, d.Answer = job.DeliveryFailed, err.Error()
	}
	d.DoneAt = m.Now().UTC()
	if err := m.History.PutDeliveries(ctx, []job.Delivery{*d}); err != nil {
		m.Logger.Warn("the delivery of a test is not kept", "receiver", name, "error", err)
	}
	return d, nil
}

// Deliveries lists messages and what became of them, the newest first.
func (m *Master) Deliveries(ctx context.Context, f job.DeliveryFilter) ([]job.Delivery, error) {
	return m.History.Deliveries(ctx, f)
}
