package engine_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

// shore is a store, a history and a leader, with nodes that come and go, and one common task.
type shore struct {
	t       *rapid.T
	now     time.Time
	rev     int64
	state   *engine.State
	entry   *job.TaskEntry
	nodes   map[job.NodeID]*boat
	jobs    map[job.NodeID]storedJob
	transit []job.ExecutionRecord
	history map[string]*job.ExecutionRecord
	bound   map[job.NodeID][]binding
	mute    bool // planted: history does not let what a leader told yield
}

type binding struct{ since, until time.Time }

// boat is a node as package node is: its cursor outlives it, and what it ends goes into a spool first.
type boat struct {
	id        job.NodeID
	alive     bool
	connected bool
	job       *job.Job // as it was last seen; nil: none
	cursor    time.Time
	spool     []job.ExecutionRecord
}

const awayFor = 2 * time.Hour

// TestLateNodes lets nodes die, be cut off and come back late, lose the task and gain it, and leaders change, at random: in the
// end every instant that was due on a node is in exactly one record of it.
func TestLateNodes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		if wrong := late(t, false); wrong != "" {
			t.Fatal(wrong)
		}
	})
}

// The property sees: where records do not yield, it is broken soon.
func TestLateNodesSees(t *testing.T) {
	t.Parallel()
	for n := range 300 {
		if rapid.Custom(func(t *rapid.T) string { return late(t, true) }).Example(n) != "" {
			return
		}
	}
	t.Error("not found in 300 histories")
}

func late(t *rapid.T, mute bool) string {
	s := &shore{t: t, mute: mute, now: time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC), nodes: map[job.NodeID]*boat{}, jobs: map[job.NodeID]storedJob{},
		history: map[string]*job.ExecutionRecord{}, bound: map[job.NodeID][]binding{}}
	task := job.Task{Name: "a", Command: job.Line("true"), Timer: "*/10 * * * *"}
	task.Complete()
	s.entry = &job.TaskEntry{Task: task, CreatedAt: s.now, UpdatedAt: s.now, Since: s.now, Generation: 1, Revision: s.next()}
	for _, id := range []job.NodeID{"n1", "n2"} {
		s.nodes[id] = &boat{id: id, alive: true, connected: true}
	}
	s.lead()
	s.plan()
	for range rapid.IntRange(5, 60).Draw(t, "steps") {
		s.step()
	}
	for _, id := range slices.Sorted(maps.Keys(s.nodes)) { // everybody comes home
		b := s.nodes[id]
		b.alive = true
		s.connect(b, true)
	}
	for range 3 {
		s.pass(11 * time.Minute)
	}
	for len(s.transit) > 0 {
		s.deliver(0)
	}
	return s.check()
}

func (s *shore) next() int64 { s.rev++; return s.rev }

// lead lets another master begin.
func (s *shore) lead() {
	s.state = engine.New(engine.Options{Lease: lease, Away: awayFor})
	s.state.Apply(engine.TaskPut{Entry: s.entry})
	for _, id := range slices.Sorted(maps.Keys(s.nodes)) {
		s.state.Apply(engine.NodePut{Node: &job.Node{ID: id, CreatedAt: s.entry.CreatedAt}})
		if b := s.nodes[id]; b.alive && b.connected {
			s.state.Apply(engine.NodeOnline{Presence: &job.Presence{Node: id, Session: string(id)}, At: s.now})
		}
		if j, ok := s.jobs[id]; ok {
			s.state.Apply(engine.JobPut{Job: j.job, Revision: j.rev})
		}
	}
	s.state.Apply(engine.Began{At: s.now})
}

func (s *shore) step() {
	b := s.nodes[one[job.NodeID](s.t, "n1", "n2")]
	switch uniform(s.t, 12) {
	case 0:
		b.alive = !b.alive
		s.connect(b, b.alive)
	case 1, 2:
		if b.alive {
			s.connect(b, !b.connected)
		}
	case 3:
		s.lead()
	case 4: // the task is on the one node alone, or on both
		e := *s.entry
		e.Task.Nodes = one(s.t, nil, []job.NodeID{"n2"})
		e.Generation, e.Revision = e.Generation+1, s.next()
		s.entry = &e
		s.state.Apply(engine.TaskPut{Entry: &e})
	case 5, 6:
		if len(s.transit) > 0 {
			s.deliver(uniform(s.t, len(s.transit)))
		}
	default:
		s.pass(one(s.t, time.Minute, 11*time.Minute, time.Hour, awayFor, 3*awayFor))
	}
	if uniform(s.t, 2) == 0 {
		s.plan()
	}
}

// connect lets a node reach etcd, or not any more.
func (s *shore) connect(b *boat, is bool) {
	if b.connected == is {
		return
	}
	if b.connected = is; is {
		s.state.Apply(engine.NodeOnline{Presence: &job.Presence{Node: b.id, Session: string(b.id)}, At: s.now})
		if uniform(s.t, 2) == 0 { // its clock may be quicker than its watch
			s.fire(b)
		}
		s.look(b)
	} else {
		s.state.Apply(engine.NodeOffline{Node: b.id, At: s.now})
	}
	s.fire(b)
}

// look is a node's watch of its job.
func (s *shore) look(b *boat) {
	if j, ok := s.jobs[b.id]; ok {
		b.job = j.job
	} else if b.job = nil; true {
		b.cursor = time.Time{}
	}
}

// fire deals with what is due on a node: what is late is missed, in one record.
func (s *shore) fire(b *boat) {
	if !b.alive {
		return
	}
	if b.job != nil {
		if err := b.job.Check(); err != nil {
			panic(err)
		}
		from := later(b.cursor, b.job.Since)
		var missed *job.ExecutionRecord
		due, _ := b.job.Instants(from, s.now, 10_000)
		for _, i := range due {
			rec := job.CreateExecutionRecord(b.job, b.job.Firing(i), s.now, s.now, job.Success, "")
			rec.Instant, rec.Trigger = i, job.TriggerTimer
			b.cursor = i
			if s.now.Sub(i) <= 2*time.Second || uniform(s.t, 3) == 0 { // some it makes up for
				missed = nil
				b.spool = append(b.spool, rec)
			} else if missed == nil {
				rec.Outcome, rec.Success = job.Missed, false
				b.spool = append(b.spool, rec)
				missed = &b.spool[len(b.spool)-1]
			} else {
				missed.Until, missed.Count = i, max(missed.Count, 1)+1
			}
		}
	}
	if b.connected {
		s.transit = append(s.transit, b.spool...)
		b.spool = nil
	}
}

// pass lets time go by, instant for instant.
func (s *shore) pass(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); {
		next := s.now.Truncate(10 * time.Minute).Add(10 * time.Minute)
		if s.now = next; next.After(end) {
			s.now = end
		}
		for _, id := range slices.Sorted(maps.Keys(s.nodes)) {
			b := s.nodes[id]
			if b.alive && b.connected {
				s.look(b)
			}
			s.fire(b)
		}
		s.plan()
	}
}

// deliver brings a record to history.
func (s *shore) deliver(n int) {
	r := s.transit[n]
	s.transit = slices.Delete(s.transit, n, n+1)
	if old := s.history[r.ID]; old != nil && !r.Outcome.Supersedes(old.Outcome) {
		return
	}
	if !s.mute {
		for _, o := range s.history {
			if o.Node != r.Node {
				continue
			}
			if len(r.Owed) == 0 && len(o.Owed) > 0 {
				o.Owed = job.WithoutInstants(o.Owed, r.Instant, later(r.Instant, r.Until))
			} else if len(r.Owed) > 0 && len(o.Owed) == 0 {
				r.Owed = job.WithoutInstants(r.Owed, o.Instant, later(o.Instant, o.Until))
			}
		}
		maps.DeleteFunc(s.history, func(_ string, o *job.ExecutionRecord) bool { return hollow(o) })
		if r.Reason != "" && len(r.Owed) == 0 {
			return // its node has told of everything
		}
	}
	s.history[r.ID] = &r
}

// hollow tells whether a record told of a node, which has told of everything itself.
func hollow(r *job.ExecutionRecord) bool { return r.Reason != "" && len(r.Owed) == 0 }

// plan carries out what the leader plans.
func (s *shore) plan() {
	for range 100 {
		for _, e := range s.state.Unknown() {
			e.Since = time.Time{}
			for _, r := range s.history {
				if r.Node == e.Node {
					e.Records = append(e.Records, *r)
				}
			}
			s.state.Apply(e)
		}
		actions := s.state.Plan(s.now)
		for _, a := range actions {
			if s.do(a) {
				s.state.Apply(engine.Done{Action: a})
			} else {
				s.state.Apply(engine.Refused{Action: a})
			}
			for _, j := range s.jobs {
				s.state.Apply(engine.JobPut{Job: j.job, Revision: j.rev})
			}
		}
		if len(actions) == 0 {
			return
		}
	}
	s.t.Fatal("the plans do not come to an end")
}

func (s *shore) do(a engine.Action) bool {
	switch a := a.(type) {
	case engine.PutJob:
		old := s.jobs[a.Job.NodeID]
		if old.rev != a.Revision {
			return false
		}
		s.jobs[a.Job.NodeID] = storedJob{a.Job.Clone(), s.next()}
		if old.job == nil {
			s.bound[a.Job.NodeID] = append(s.bound[a.Job.NodeID], binding{since: a.Job.Since})
		}
	case engine.DeleteJob:
		delete(s.jobs, a.Node)
		list := s.bound[a.Node]
		list[len(list)-1].until = s.now
	case engine.TellAway:
		b, old := s.nodes[a.Job.NodeID], s.jobs[a.Job.NodeID]
		if old.rev != a.Revision || b.alive && b.connected || a.Task != s.entry.Revision {
			return false
		}
		s.jobs[b.id] = storedJob{a.Job.Clone(), s.next()}
		s.transit = append(s.transit, a.Record.Clone())
	default:
		panic(fmt.Sprintf("%T", a))
	}
	return true
}

// check looks at every instant of every node.
func (s *shore) check() string {
	rule := s.entry.Task.Rule()
	if err := rule.Valid(); err != nil {
		return err.Error()
	}
	for id, bindings := range s.bound {
		for i := rule.Next(s.entry.Since); i.Before(s.now); i = rule.Next(i) {
			n := 0
			for _, r := range s.history {
				if r.Node == id && r.Covers(i) {
					n++
				}
			}
			due := slices.ContainsFunc(bindings, func(b binding) bool { return i.After(b.since) && (b.until.IsZero() || !i.After(b.until)) })
			if n > 1 || due && n == 0 {
				return fmt.Sprintf("%s on %s is in %d records", i.Format(time.DateTime), id, n)
			}
		}
	}
	return ""
}
