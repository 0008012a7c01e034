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

func (s *State) placeTask(t *task, now time.Time) []Action {
	if t.unreadable || t.entry != nil && t.rule == nil {
		return nil // left alone until it can be read
	}
	on := s.selected(t)
	s.promise(t, on)
	if s.placedNow != nil && t.limit() > 0 {
		s.placedNow[t] = true
	}
	var actions []Action
	config := s.configFor(t)
	t.stamp = t.stampFor(on, config)
	first := !t.placed && now.Sub(t.entrySince()) <= placedPromptly*s.lease
	gained := 0
	for _, id := range on {
		s.stays(t, id)
		old, bound := t.jobs[id]
		if !bound {
			gained++
		}
		since := s.since(t, id, old, bound, first, now)
		waits := s.waitsOn(t, id, now)
		stamp := stampWith(t.stamp, waits)
		if bound && old.stamp == stamp && old.since == since.UnixNano() {
			continue
		}
		j := t.bind(id, on, since)
		j.Stamp, j.Config, j.Waits = formatStamp(stamp), config, waits
		j.Scheduler = &job.Scheduler{NodeID: id, SchedulerTime: now.UTC(), CanRun: true, SchedulerStatus: "placed"}
		actions = append(actions, PutJob{Job: j, Revision: old.rev})
	}
	if len(t.jobs)+gained > len(on) {
		for _, id := range slices.Sorted(maps.Keys(t.jobs)) {
			if _, found := slices.BinarySearch(on, id); !found && !s.leaves(t, id) {
				actions = append(actions, DeleteJob{Node: id, Hash: job.JobHash(t.ref, id), Revision: t.jobs[id].rev})
			}
		}
	}
	if gained > 0 || len(t.jobs)+gained > len(on) {
		s.elsewhere(t)
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
	leaving := 0 // what they owe is told first
	for id := range t.jobs {
		if d := s.debts.of[id][t]; d != nil && d.leaving {
			leaving++
		}
	}
	if len(on) != len(t.jobs)-leaving {
		return false
	}
	stamp := t.stampFor(on, s.configFor(t))
	for _, id := range on {
		if j, bound := t.jobs[id]; !bound || j.stamp != stampWith(stamp, s.waitsOn(t, id, s.placing)) {
			return false
		}
	}
	return true
}
