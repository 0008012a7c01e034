package engine_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

// An account that is looked at just after an instant, before that is settled soon, must not sleep until the next.
func TestWokenAtTheInstant(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, 1, 200 * time.Millisecond, 499 * time.Millisecond} {
		w := small(t, func(a *job.Task) { a.Timer = "0 11 * * *" })
		w.now = time.Date(2026, 3, 2, 11, 0, 0, 0, time.UTC).Add(after)
		w.putTask(w.tasks[taskA]) // anything that rouses it
		mustRest(t, w)
		if mustPass(t, w, 2*lease); len(w.history) != 1 {
			t.Errorf("woken %v after the instant: %d records 20 s later", after, len(w.history))
		}
	}
}

// A clock that jumped ahead and back again must not put the audit off until the time it had shown.
func TestTheLeadersClockIsSetBack(t *testing.T) {
	t.Parallel()
	w := small(t, func(a *job.Task) { a.Timer = "0 11 * * *" })
	w.leader().Plan(w.now)
	s, start := w.leader(), w.now
	w.now = start.Add(time.Second)
	w.edit(func(a *job.Task) { a.Timer, a.Description = "0 11 * * *", "renewed" })
	w.hearAll(w.masters[0])
	s.Plan(start.Add(2 * time.Hour)) // what it plans is not carried out
	w.now = start.Add(time.Hour)
	mustRest(t, w)
	if mustPass(t, w, 2*lease); len(w.history) != 1 {
		t.Errorf("%d records", len(w.history))
	}
}

// A leader that began, and heard that nodes had gone and come, while its clock was ahead judges them by when that really was, as soon as its clock is right.
func TestTheLeaderBeganWhileItsClockWasAhead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*job.Task)
		leave  bool // the nodes are away, else they have just come
		claim  bool
		want   job.Outcome
	}{
		{"nobody was there", nil, true, false, job.Missed},
		{"with catch-up, nobody claims it", func(a *job.Task) { a.Catchup = "all" }, false, false, job.Missed},
		{"its holder has gone", nil, true, true, job.Lost},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := small(t, func(a *job.Task) {
				if a.Timer = "0 11 * * *"; c.change != nil {
					c.change(a)
				}
			})
			at := time.Date(2026, 3, 2, 11, 0, 0, 0, time.UTC)
			w.now = at.Add(-time.Second)
			mustRest(t, w)
			if w.now = at; c.claim {
				w.claim(job.Claim{Task: taskA, Instant: at, Node: "n1", Session: "n1.1", At: at})
				mustRest(t, w)
			}
			ahead := at.Add(time.Hour)
			s := w.leader()
			for _, n := range []job.NodeID{"n1", "n2"} {
				if c.leave {
					w.leave(n)
				}
				s.Apply(engine.NodeOffline{Node: n, At: ahead})
				if !c.leave {
					p := *w.online[n]
					s.Apply(engine.NodeOnline{Presence: &p, At: ahead})
				}
			}
			s.Apply(engine.Began{At: ahead})
			s.Plan(ahead) // what it plans is not carried out
			mustPass(t, w, 5*lease)
			if len(w.history) != 1 {
				t.Fatalf("%d records", len(w.history))
			}
			for _, rec := range w.history {
				if rec.Outcome != c.want {
					t.Errorf("%s: %s, want %s", rec.Outcome, rec.Reason, c.want)
				}
			}
		})
	}
}

// A record may reach history before the leader hears that the floor, which it set itself, stands.
func TestRecordedBeforeTheFloorIsKnown(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	at := w.now.Add(time.Minute)
	s := engine.New(engine.Options{Lease: lease})
	s.Apply(
		engine.TaskPut{Entry: w.tasks[taskA]},
		engine.Recorded{Task: taskA, Instant: at},
		engine.FloorPut{Task: taskA, At: w.now},
		engine.ClaimPut{Claim: &job.Claim{Task: taskA, Instant: at, Node: "n1", Session: "n1.1"}},
	)
	for _, a := range s.Plan(at.Add(time.Second)) {
		if settle, ok := a.(engine.Settle); ok && settle.To.Equal(at) && settle.Record == nil {
			return
		}
	}
	t.Error("the recorded instant is not settled")
}

// With a deadline, nodes try to claim until then; nothing is given up before, and nothing at once after an outage.
func TestUntilTheDeadline(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		change  func(*job.Task)
		offline bool
		at      time.Duration // after the instant
	}{
		{"none", nil, false, lease},
		{"jitter", func(a *job.Task) { a.Jitter = job.Duration(30 * time.Second) }, false, 30*time.Second + lease},
		{"none, offline", nil, true, lease},
		{"deadline, offline", func(a *job.Task) { a.Deadline = job.Duration(time.Minute) }, true, time.Minute + lease},
		{"deadline, online", func(a *job.Task) { a.Deadline = job.Duration(time.Minute) }, false, 2 * lease},
		{"catchup, online", func(a *job.Task) { a.Catchup = "one" }, false, 2 * lease},
		{"catchup, offline", func(a *job.Task) { a.Catchup = "all" }, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := small(t, func(a *job.Task) {
				a.Timer = "0 11 * * *"
				if c.change != nil {
					c.change(a)
				}
			})
			if c.offline {
				w.leave("n1")
				w.leave("n2")
			}
			instant := time.Date(2026, 3, 2, 11, 0, 0, 0, time.UTC)
			w.now = instant
			mustPass(t, w, 5*time.Minute)
			if c.at == 0 {
				if len(w.history) > 0 {
					t.Error("it is given up although no node was there")
				}
				return
			}
			if rec := w.history[string(job.FiringID(taskA, "", instant))]; rec == nil || rec.EndTime.Sub(instant) != c.at {
				t.Errorf("%v, want %v after the instant", rec, c.at)
			}
		})
	}
}

// A task that stays paused is told of in records of bounded length, so that its end is no surprise.
func TestPausedForLong(t *testing.T) {
	t.Parallel()
	w := small(t, func(a *job.Task) { a.Timer = "* * * * * *" })
	w.pause(taskA, true)
	mustRest(t, w)
	if !w.pass(7*time.Hour, 10*time.Minute) {
		t.Fatal("the plans do not come to an end")
	}
	for _, rec := range w.history {
		if rec.Outcome != job.Skipped || rec.Count != 10_000 {
			t.Errorf("%s, %d instants", rec.Outcome, rec.Count)
		}
	}
	if len(w.history) != 2 {
		t.Errorf("%d records of %d seconds", len(w.history), 7*3600)
	}
}

// A result that names a task without its group means its own group, whatever the pattern.
func TestNextTasksOfOtherGroups(t *testing.T) {
	t.Parallel()
	w := small(t, func(a *job.Task) { a.Allow.Next = []string{"*"} })
	w.apply(job.Task{Group: "ops", Name: "wipe", Command: job.Line("true")})
	mustRest(t, w)
	actions, refused := w.leader().React(&job.ExecutionRecord{
		ID: "r", Group: "default", Name: "a", Node: "n1", Outcome: job.Success, Result: []byte(`{"next_tasks":["ops/wipe"]}`),
	}, w.now)
	if len(actions) > 0 || len(refused) != 1 {
		t.Errorf("%v, refused %v", actions, refused)
	}
}

// Of a field that is not known is said that nothing follows from it, unless it may have a meaning elsewhere.
func TestFieldsThatNobodyKnows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		http   *job.HTTP
		rec    job.ExecutionRecord
		silent bool
	}{
		"a command's":     {},
		"a request's":     {http: &job.HTTP{URL: "http://a"}},
		"an answer's":     {http: &job.HTTP{URL: "http://a", ResultFrom: job.ResultFromBody}, silent: true},
		"a step's":        {rec: job.ExecutionRecord{Execution: "ex-1"}, silent: true},
		"known, not done": {http: &job.HTTP{URL: "http://a", ResultFrom: job.ResultFromBody}, rec: job.ExecutionRecord{Result: []byte(`{"type":"odd"}`)}},
	} {
		w := small(t, func(a *job.Task) {
			if c.http != nil {
				a.Command, a.HTTP = job.Command{}, c.http
			}
		})
		rec := c.rec
		rec.ID, rec.Group, rec.Name, rec.Node, rec.Outcome = "r", "default", "a", "n1", job.Success
		if rec.Result == nil {
			rec.Result = []byte(`{"args":{},"url":"http://a"}`)
		}
		_, refused := w.leader().React(&rec, w.now)
		if (len(refused) == 0) != c.silent {
			t.Errorf("%s: refused %q", name, refused)
		}
	}
}

// What events carry belongs to others too.
func TestEventsAreNotChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(1)
	e := &job.TaskEntry{
		Task:  job.Task{Group: "default", Name: "a", Command: job.Line("true"), Mode: job.Cycle, Timer: "* * * * *", Kind: "interval"},
		Past:  []job.Era{{Rule: &job.Rule{Mode: job.Cycle, Timer: "*/5 * * * *"}, Since: w.now.Add(-time.Hour), Until: w.now}},
		Since: w.now, CreatedAt: w.now.Add(-time.Hour), Generation: 2, Revision: 1,
	}
	bad := *e
	bad.Task.Name = "b"
	bad.Past = []job.Era{{Rule: &job.Rule{Mode: job.Cycle, Timer: "nonsense"}, Since: w.now.Add(-time.Hour), Until: w.now}}
	before, badBefore := *e.Past[0].Rule, *bad.Past[0].Rule
	s := engine.New(engine.Options{})
	s.Apply(engine.TaskPut{Entry: e}, engine.TaskPut{Entry: &bad}, engine.NodePut{Node: &job.Node{ID: "n1"}})
	actions := s.Plan(w.now)
	if !reflect.DeepEqual(*e.Past[0].Rule, before) || bad.Past[0].Rule == nil || !reflect.DeepEqual(*bad.Past[0].Rule, badBefore) {
		t.Errorf("changed: %v, %v", e.Past, bad.Past)
	}
	for _, a := range actions {
		if p, ok := a.(engine.PutJob); ok {
			if err := p.Job.Valid(); err != nil {
				t.Errorf("a job that no node can read: %v", err)
			}
		}
	}
}

// The same state gives the same plan.
func TestPlansAreOrdered(t *testing.T) {
	t.Parallel()
	plan := func() (said []string) {
		w := newWorld(1)
		for _, id := range []job.NodeID{"n3", "n1", "n2"} {
			w.putNode(&job.Node{ID: id, CreatedAt: w.now})
		}
		for _, name := range []string{"c", "a", "b"} {
			w.edit(func(t *job.Task) { t.Name = name })
		}
		w.hearAll(w.masters[0])
		for _, a := range w.leader().Plan(w.now) {
			said = append(said, w.describe(a))
		}
		return said
	}
	first := plan()
	for range 5 {
		if again := plan(); !reflect.DeepEqual(first, again) {
			t.Fatalf("%v\n%v", first, again)
		}
	}
}

// One new task on many nodes, or many tasks, come in plans of bounded size.
func TestPlansAreBounded(t *testing.T) {
	t.Parallel()
	s := engine.New(engine.Options{})
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	for i := range 100 {
		s.Apply(engine.NodePut{Node: &job.Node{ID: job.NodeID("n" + string(rune('a'+i/10)) + string(rune('a'+i%10)))}})
	}
	for i := range 300 {
		t := job.Task{Name: "t" + string(rune('a'+i/20)) + string(rune('a'+i%20)), Command: job.Line("true")}
		t.Complete()
		s.Apply(engine.TaskPut{Entry: &job.TaskEntry{Task: t, Revision: 1}})
	}
	total := 0
	for rounds := 0; ; rounds++ {
		actions := s.Plan(now)
		if len(actions) == 0 {
			break
		}
		if total += len(actions); len(actions) > 10_100 {
			t.Fatalf("a plan of %d actions", len(actions))
		}
		for _, a := range actions {
			s.Apply(engine.Done{Action: a})
		}
	}
	if total != 30_000 {
		t.Errorf("%d actions", total)
	}
}
