package sim

import (
	"slices"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// still is the promise that nothing begins of a task that is paused or deleted.
const still = "Still"

// effective is how long after a pause or a deletion was acknowledged a node that is connected may begin something of the task.
const effective = 2 * time.Second

// calmFor is how long all must have been well that an answer goes through until a node must have heard of it: longer than what fails over
// takes, which is a lease, and what comes back waits until it tries again.
const calmFor = 2 * lease

// said is what people were told, and what was wrong with the processes meanwhile.
type said struct {
	mu       sync.Mutex
	acks     []ack
	troubles []trouble
}

// ack is a word that was acknowledged.
type ack struct {
	what string // delete or pause
	ref  job.TaskRef
	at   time.Time
}

// trouble is a fault of a process.
type trouble struct {
	who      string
	from, to time.Time // to is zero while it lasts
}

func (s *said) ack(what string, ref job.TaskRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acks = append(s.acks, ack{what, ref, time.Now()})
}

// harmless are events by which no word comes later to a node that listens.
var harmless = []string{"edit", "pause-task", "delete", "run", "kill", "compact", "history-away", "history-lost-answers", "clock", "clock-master", "full-disk"}

// during notes the trouble that an event makes while it happens.
func (s *said) during(e event, f func()) {
	if slices.Contains(harmless, e.what) {
		f()
		return
	}
	s.mu.Lock()
	i := len(s.troubles)
	s.troubles = append(s.troubles, trouble{who: e.who, from: time.Now()})
	s.mu.Unlock()
	f()
	s.mu.Lock()
	s.troubles[i].to = time.Now()
	s.mu.Unlock()
}

// calm tells whether neither the node, nor etcd, nor a master had trouble in a time.
func (s *said) calm(w *world, node job.NodeID, in span) bool {
	return !slices.ContainsFunc(s.troubles, func(t trouble) bool {
		other := t.who != string(node) && w.machine(t.who) != nil
		return !other && t.from.Before(in.to) && (t.to.IsZero() || t.to.After(in.from))
	})
}

// stillness checks that nothing of a task began while it was paused, or after it was deleted: on a node that was connected, from two
// seconds after that was acknowledged on. What had begun goes on, with its further attempts; what is asked for is no firing.
func (w *world) stillness() {
	w.said.mu.Lock()
	defer w.said.mu.Unlock()
	for _, s := range w.seen.starts {
		if s.asked || s.attempt > 1 {
			continue
		}
		what, since := w.tasks.silent(s.task, s.begin)
		if what == "" {
			continue
		}
		i := slices.IndexFunc(w.said.acks, func(a ack) bool { return a.what == what && a.ref == s.task && !a.at.Before(since) })
		if i < 0 {
			continue
		}
		acked := w.said.acks[i].at
		if s.begin.Sub(acked) <= effective || !w.said.calm(w, s.node, span{since.Add(-calmFor), s.begin}) {
			continue
		}
		w.seen.breaks(still, []string{s.task.Name + " "}, "%s began on %s at %s, and the %s of its task was acknowledged at %s", s, s.node, clockTime(s.begin), what, clockTime(acked))
	}
}

// silent tells whether a task was paused or deleted at a time, and since when.
func (b *book) silent(ref job.TaskRef, at time.Time) (what string, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, v := range b.versions[ref] {
		if b.taken[ref][i].After(at) {
			break
		}
		now := ""
		switch {
		case v == nil:
			now = "delete"
		case v.Paused:
			now = "pause"
		}
		if now != what {
			what, since = now, b.taken[ref][i]
		}
	}
	return what, since
}
