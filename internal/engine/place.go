package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// touched tells whether a node that changed gains or loses the task.
func (s *State) touched(t *task) bool {
	for id := range s.dirtyNodes {
		_, bound := t.jobs[id]
		if bound != s.matches(t, id, bound) {
			return true
		}
	}
	return false
}

// matches tells whether a task belongs on a node. A cordoned node keeps what it has and gets nothing new.
func (s *State) matches(t *task, id job.NodeID, bound bool) bool {
	n := s.nodes[id]
	if _, opaque := s.unreadable[id]; opaque {
		return bound
	}
	if t.rule == nil || n == nil || n.node == nil || n.node.Cordoned && !bound {
		return false
	}
	return (len(t.entry.Task.Nodes) == 0 || slices.Contains(t.entry.Task.Nodes, id)) && t.rule.Matches(n.node)
}

// selected lists the nodes on which a task belongs, in their order.
func (s *State) selected(t *task) []job.NodeID {
	if t.rule == nil {
		return nil
	}
	var on []job.NodeID
	add := func(id job.NodeID) {
		n := s.nodes[id]
		if n == nil || n.node == nil || !t.rule.Matches(n.node) {
			return
		}
		if _, bound := t.jobs[id]; bound || !n.node.Cordoned {
			on = append(on, n.id)
		}
	}
	if names := t.entry.Task.Nodes; len(names) > 0 {
		for _, id := range names {
			add(id)
		}
	} else if fewest, ok := s.fewest(t.rule.Labels); ok {
		for id := range fewest {
			add(id)
		}
	} else {
		for id := range s.nodes {
			add(id)
		}
	}
	on = append(on, s.opaque(t)...)
	slices.Sort(on)
	return slices.Compact(on)
}

// opaque are the nodes with the task whose documents can't be read.
func (s *State) opaque(t *task) (ids []job.NodeID) {
	for id := range s.unreadable {
		if _, bound := t.jobs[id]; bound {
			ids = append(ids, id)
		}
	}
	return ids
}

// fewest are the nodes that carry the rarest of some labels.
func (s *State) fewest(labels map[string]string) (nodes map[job.NodeID]struct{}, ok bool) {
	for k, v := range labels {
		if with := s.labelled[label{k, v}]; !ok || len(with) < len(nodes) {
			nodes, ok = with, true
		}
	}
	return nodes, ok
}

func (s *State) placeTask(t *task, now time.Time) []Action {
	if t.unreadable || t.entry != nil && t.rule == nil {
		return nil // left alone until it can be read
	}
	on := s.selected(t)
	var actions []Action
	config := s.configFor(t)
	t.stamp = t.stampFor(on, config)
	first := !t.placed && now.Sub(t.entrySince()) <= placedPromptly*s.lease
	gained := 0
	for _, id := range on {
		old, bound := t.jobs[id]
		if !bound {
			gained++
		}
		since := s.since(t, id, old, bound, first, now)
		if bound && old.stamp == t.stamp && old.since == since.UnixNano() {
			continue
		}
		j := t.bind(id, on, since)
		j.Stamp, j.Config = formatStamp(t.stamp), config
		j.Scheduler = &job.Scheduler{NodeID: id, SchedulerTime: now.UTC(), CanRun: true, SchedulerStatus: "placed"}
		actions = append(actions, PutJob{Job: j, Revision: old.rev})
	}
	if len(t.jobs)+gained > len(on) {
		for _, id := range slices.Sorted(maps.Keys(t.jobs)) {
			if _, found := slices.BinarySearch(on, id); !found {
				actions = append(actions, DeleteJob{Node: id, Hash: job.JobHash(t.ref, id), Revision: t.jobs[id].rev})
			}
		}
	}
	return actions
}

// placedPromptly is how many leases after its rule came to be a task may be placed for the first time, so that its nodes
// have it from the beginning. A task that finds a node later, perhaps one that had it before, has it from then on.
const placedPromptly = 6

func (t *task) entrySince() time.Time {
	if t.entry == nil {
		return time.Time{}
	}
	return t.entry.Since
}

// since is the instant from which a binding counts: as before for a node that has the task; that of the rule, or of the task where
// it is as young, for one that gets it as it is first placed; now for a node that gains it later.
func (s *State) since(t *task, id job.NodeID, old jobState, bound, first bool, now time.Time) time.Time {
	since := t.entry.Since
	if now.Sub(t.entry.CreatedAt) <= placedPromptly*s.lease {
		since = t.entry.CreatedAt
	}
	switch {
	case bound:
		return latest(old.sinceTime(), t.entry.CreatedAt.UTC())
	case first && !s.nodes[id].node.CreatedAt.After(since):
		return since
	case now.After(since):
		return now.UTC().Truncate(time.Millisecond)
	}
	return since
}

func (j jobState) sinceTime() time.Time { return time.Unix(0, j.since).UTC() }

// stampVersion changes when the same inputs come to give another job.
const stampVersion = 2

// stampFor sums up everything that the task's jobs are made from, but their node and since. It is never 0 for a task
// that there is.
func (t *task) stampFor(on []job.NodeID, config map[string]string) uint64 {
	if t.entry == nil {
		return 0
	}
	in := struct {
		Version    int
		Generation int64
		Created    time.Time
		Since      time.Time
		Paused     bool
		PausedAt   time.Time
		ResumedAt  time.Time
		Candidates []job.NodeID
		Config     map[string]string
		Calendars  map[string][]string `json:",omitempty"`
	}{stampVersion, t.entry.Generation, t.entry.CreatedAt, t.entry.Since, t.entry.Paused, t.entry.PausedAt, t.entry.ResumedAt, nil, config, nil}
	if t.rule != nil {
		in.Calendars = t.rule.Calendars
	}
	if t.entry.Task.Kind.Kind().Claimed() {
		in.Candidates = on
	}
	b, err := json.Marshal(in)
	if err != nil {
		return 1 // a time beyond the year 9999
	}
	sum := sha256.Sum256(b)
	return max(1, binary.BigEndian.Uint64(sum[:8]))
}

// Placed tells whether a task's jobs are what they should be: on every node that it selects, and up to date. A task that
// is gone is placed when its jobs are gone too.
func (s *State) Placed(ref job.TaskRef) bool {
	t := s.tasks[ref]
	if t == nil {
		return true
	}
	var on []job.NodeID
	if t.entry != nil && t.rule != nil {
		on = s.selected(t)
	}
	if len(on) != len(t.jobs) {
		return false
	}
	stamp := t.stampFor(on, s.configFor(t))
	for _, id := range on {
		if j, bound := t.jobs[id]; !bound || j.stamp != stamp {
			return false
		}
	}
	return true
}
