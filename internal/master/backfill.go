package master

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// maxBackfills is how many backfills may be under way at once.
const maxBackfills = 1000

// The types of backfills that go over the wire.
type (
	BackfillRequest = client.BackfillRequest
	BackfillAnswer  = client.BackfillAnswer
	BackfillView    = client.BackfillView
	BackfillRun     = client.BackfillRun
)

// Backfill asks for the instants of a range, each once: the leader works them off. What has succeeded is left out
// unless it is forced, and so is what the same key has asked for before.
func (m *Master) Backfill(ctx context.Context, r BackfillRequest) (BackfillAnswer, error) {
	if err := m.view.catchUp(ctx); err != nil { // what runs is the task as it is now
		return BackfillAnswer{}, err
	}
	b, err := m.newBackfill(r)
	if err != nil {
		return BackfillAnswer{}, err
	}
	for {
		old, err := m.store().Backfills().Get(ctx, b.Group, b.Name, b.ID)
		if err != nil && !job.IsNotFound(err) {
			return BackfillAnswer{}, err
		}
		if old != nil && !old.Finished() {
			v := m.backfillView(old)
			return BackfillAnswer{Backfill: &v, Runs: runsOf(old), Skipped: []BackfillRun{}}, nil
		}
		answer := BackfillAnswer{}
		if answer.Runs, answer.Skipped, err = m.plannedRuns(ctx, b); err != nil || r.DryRun {
			return answer, err
		}
		if len(answer.Runs) == 0 {
			if old != nil {
				v := m.backfillView(old)
				answer.Backfill = &v
			}
			return answer, nil
		}
		if err := m.roomForBackfill(); err != nil {
			return BackfillAnswer{}, err
		}
		if b.Revision = 0; old != nil {
			b.Revision = old.Revision
		}
		rev, err := m.store().Backfills().Put(ctx, b)
		if job.IsConflict(err) {
			continue // somebody else asked for the same
		}
		if err != nil {
			return BackfillAnswer{}, err
		}
		m.view.await(ctx, func() bool {
			now := m.view.backfills[b.ID]
			return now != nil && now.Revision >= rev
		})
		v := m.backfillView(b)
		answer.Backfill, answer.Created = &v, true
		m.Logger.Info("backfill asked for", "backfill", b.ID, "task", b.Ref().String(), "runs", len(answer.Runs), "by", r.By)
		return answer, nil
	}
}

// newBackfill checks a request and makes of it what is kept.
func (m *Master) newBackfill(r BackfillRequest) (*job.Backfill, error) {
	var entry *job.TaskEntry
	var bound []job.NodeID
	var placing []job.Placement
	m.view.with(func() {
		entry, bound, placing = m.view.tasks[r.Task], m.view.state.Bound(r.Task), m.view.state.Explain(r.Task)
	})
	if entry == nil {
		return nil, m.noTask(r.Task)
	}
	now := m.Now().UTC().Truncate(time.Millisecond)
	b := &job.Backfill{
		Group: r.Task.Group, Name: r.Task.Name, From: r.From.UTC(), To: r.To.UTC(), Nodes: slices.Compact(slices.Sorted(slices.Values(r.Nodes))),
		Params: r.Params, Parallel: max(r.Parallel, 1), Key: r.Key, Force: r.Force, By: r.By, CreatedAt: now, Rule: m.withCalendars(entry.Task.Rule()),
	}
	if b.Rule.Mode != job.Cycle {
		return nil, job.Errorf(job.CodeInvalid, "task %s has no timer, so no instants to run", r.Task).WithHint("run it once with: rota run %s", r.Task)
	}
	var f job.Faults
	switch {
	case b.From.IsZero() || b.To.IsZero() || !b.To.After(b.From):
		f.Add("to", "the range from %s to %s is empty", r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	case b.To.After(now.Add(time.Second)):
		f.AddHint("to", "end the range with now, or earlier", "%s is yet to come, and what is due then is the timer's", r.To.Format(time.RFC3339))
	}
	if r.Parallel < 0 || r.Parallel > job.MaxBackfillParallel {
		f.Add("parallel", "%d is not between 1 and %d", r.Parallel, job.MaxBackfillParallel)
	}
	if err := b.Rule.Valid(); err != nil {
		f.AddError("rule", err)
	}
	if err := f.Err("the backfill of " + r.Task.String() + " can't be done"); err != nil {
		return nil, err
	}
	var err error
	if b.Lanes, err = lanes(b, entry.Task.Kind.Kind(), bound, placing); err != nil {
		return nil, err
	}
	if b.Key == "" {
		b.Key = defaultKey(b)
	}
	b.ID = job.BackfillID(b.Ref(), b.Key)
	return b, checkCount(b)
}

// lanes are where a backfill runs: on each bound node of a common task, or on those that are named; of the other kinds on
// one node for each instant, which is chosen in its turn.
func lanes(b *job.Backfill, kind job.Kind, bound []job.NodeID, placing []job.Placement) ([]job.Lane, error) {
	if kind.Claimed() && len(b.Nodes) > 1 {
		return nil, job.Errorf(job.CodeInvalid, "an instant of %s task %s runs on one node, and %d are named", kind.Name(), b.Ref(), len(b.Nodes)).
			WithHint("name one, or none to have them spread")
	}
	on := b.Nodes
	if len(on) == 0 && kind.Claimed() {
		return []job.Lane{{}}, nil
	}
	if len(on) == 0 {
		on = bound
	}
	if len(on) == 0 {
		return nil, job.Errorf(job.CodeUnavailable, "task %s is bound to no node", b.Ref()).
			WithHint("see where it could run with: rota describe task %s", b.Ref())
	}
	var f job.Faults
	var list []job.Lane
	for _, id := range on {
		if !slices.Contains(bound, id) {
			why := "there is no such node"
			for _, p := range placing {
				if p.Node == id {
					why = p.Reason
				}
			}
			f.Add("nodes", "%s: %s", id, why)
		}
		list = append(list, job.Lane{Node: id})
	}
	return list, f.Err("task " + b.Ref().String() + " is not bound there")
}

// defaultKey names a request by everything that makes it another one.
func defaultKey(b *job.Backfill) string {
	key := b.From.Format(time.RFC3339Nano) + ".." + b.To.Format(time.RFC3339Nano)
	if len(b.Nodes) > 0 {
		key += " on " + strings.Trim(fmt.Sprint(b.Nodes), "[]")
	}
	if len(b.Params) > 0 {
		if text, err := json.Marshal(b.Params); err == nil { // in the order of their names
			key += " with " + string(text)
		}
	}
	if b.Force {
		key += " by force"
	}
	return key
}

// checkCount counts the instants.
func checkCount(b *job.Backfill) error {
	instants := b.Instants()
	if b.Count = len(instants); b.Count > job.MaxBackfillInstants {
		return job.Errorf(job.CodeInvalid, "the range has more than %d instants", job.MaxBackfillInstants).
			WithHint("do it in parts; the first %d end before %s", job.MaxBackfillInstants, job.FormatInstant(instants[job.MaxBackfillInstants]))
	}
	if n := b.Count * len(b.Lanes); n > job.MaxBackfillRuns {
		return job.Errorf(job.CodeInvalid, "%d instants on %d nodes are %d runs, at most %d are allowed", b.Count, len(b.Lanes), n, job.MaxBackfillRuns).
			WithHint("do it in parts, by the range or by --node")
	}
	return nil
}

func (m *Master) roomForBackfill() (err error) {
	m.view.with(func() {
		n := 0
		for _, b := range m.view.backfills {
			if !b.Finished() {
				n++
			}
		}
		if n >= maxBackfills {
			err = job.Errorf(job.CodeExhausted, "%d backfills are under way, more are not allowed", n).WithHint("see them with: rota get backfills")
		}
	})
	return err
}
