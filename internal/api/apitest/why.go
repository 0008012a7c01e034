package apitest

import (
	"context"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// Why tells of the last instant at or before a time what the records say of it, and of its nodes that they wait for it.
func (m *Master) Why(_ context.Context, ref job.TaskRef, at time.Time) (*master.Why, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.entry(ref)
	if err != nil {
		return nil, err
	}
	if at.IsZero() {
		at = Now
	}
	w := &master.Why{Task: ref, Kind: e.Task.Kind, Timezone: "UTC", Timer: string(e.Task.Timer), At: at.UTC()}
	if e.Task.Timezone != "" {
		w.Timezone = e.Task.Timezone
	}
	r := e.Task.Rule()
	if err := r.Valid(); err != nil || r.Schedule == nil {
		w.Notes = append(w.Notes, "The task has no timer; it runs when it is asked for.")
		return w, nil
	}
	w.Instant, w.Next = r.Schedule.Prev(at.Add(1)), r.Next(at)
	w.Exact = w.Instant.Equal(at)
	for i := range m.records {
		if rec := m.records[i]; rec.Ref() == ref && rec.Covers(w.Instant) {
			w.Answers = append(w.Answers, client.WhyAnswer{Node: rec.Node, State: string(rec.Outcome), Code: client.CodeOfRecord(&rec), Reason: rec.Reason, Record: &rec})
		}
	}
	if len(w.Answers) == 0 {
		for _, id := range m.view(e).Nodes {
			w.Answers = append(w.Answers, client.WhyAnswer{Node: id, State: client.WhyWaiting, Code: client.WhyDueNow, Reason: "it is due just now"})
		}
	}
	return w, nil
}
