package engine

import (
	"time"

	"github.com/rota-dev/rota/job"
)

// Outlook is what is known of an instant of a task that has no record in history.
type Outlook struct {
	Since   map[job.NodeID]time.Time // from when on each bound node has the task
	Floor   time.Time                // of a claimed task: everything up to it is settled
	Claim   *job.Claim               // of the instant; nil: nobody holds it, or not any more
	Present bool                     // the session that holds it is alive
	GivesUp time.Time                // when the audit says that nobody ran it; zero: not before a node comes, or not at all
}

// Outlook tells what is known of an instant.
func (s *State) Outlook(ref job.TaskRef, instant time.Time) Outlook {
	o := Outlook{Since: map[job.NodeID]time.Time{}}
	t := s.tasks[ref]
	if t == nil {
		return o
	}
	for id, j := range t.jobs {
		o.Since[id] = j.sinceTime()
	}
	o.Floor = t.account.floor
	if k, ok := t.account.find(instant.Unix()); ok {
		o.Claim = t.account.claims[k].by
		o.Present = s.present(o.Claim.Node, o.Claim.Session)
	}
	if t.claimed() && o.Claim == nil && !t.entry.PausedFor(instant) {
		o.GivesUp = s.closing(t).of(instant)
	}
	return o
}
