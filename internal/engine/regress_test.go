package engine_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

// small is a world with nodes n1 and n2 online and a task a, minutely and interval unless change says otherwise.
func small(t *testing.T, change func(*job.Task)) *world {
	t.Helper()
	w := newWorld(1)
	for _, id := range []job.NodeID{"n1", "n2"} {
		w.putNode(&job.Node{ID: id, CreatedAt: w.now})
		w.join(id, string(id)+".1")
	}
	w.edit(change)
	mustRest(t, w)
	return w
}

func (w *world) edit(change func(*job.Task)) {
	task := job.Task{Name: "a", Command: job.Line("true"), Timer: "* * * * *", Kind: "interval"}
	if change != nil {
		change(&task)
	}
	w.apply(task)
}

func mustRest(t *testing.T, w *world) {
	t.Helper()
	if !w.rest(100) {
		t.Fatal("the plans do not come to an end")
	}
}

func mustPass(t *testing.T, w *world, d time.Duration) {
	t.Helper()
	if !w.pass(d, 500*time.Millisecond) {
		t.Fatal("the plans do not come to an end")
	}
	if len(w.checks.wrong) > 0 {
		t.Fatal(w.checks.wrong)
	}
}

var taskA = job.Ref("", "a")

// job is that of task a on a node.
func (w *world) job(node job.NodeID) *job.Job {
	return w.jobs[string(node)+"/"+job.JobHash(taskA, node)].job
}

func TestKindReachesTheJob(t *testing.T) {
	t.Parallel()
	w := small(t, func(a *job.Task) { a.Kind = "alone" })
	for _, id := range []job.NodeID{"n1", "n2"} {
		// ancestor 1: the job says that its instants are claimed, and by whom
		if j := w.job(id); j.Kind != job.KindAlone || len(j.Candidates) != 2 {
			t.Errorf("%s: kind %v, candidates %v", id, j.Kind, j.Candidates)
		}
	}
}

func TestAnInstantIsClaimedOnce(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	mustPass(t, w, time.Minute)
	at := w.now
	first := w.claim(job.Claim{Task: taskA, Instant: at, Node: "n1", Session: "n1.1"})
	w.handOver(&job.ExecutionRecord{
		ID: string(job.FiringID(taskA, "", at)), TaskID: "default/a", Group: "default", Name: "a", Node: "n1", Instant: at,
		Trigger: job.TriggerTimer, Outcome: job.Success,
	})
	mustPass(t, w, 5*time.Second)
	// ancestors 2, 3: the run was short and its claim is gone already, and a node whose clock is late still can't run it again
	second := w.claim(job.Claim{Task: taskA, Instant: at, Node: "n2", Session: "n2.1"})
	if !first || second || len(w.claims[taskA]) > 0 {
		t.Errorf("claimed %t, then %t; claims %v", first, second, w.claims[taskA])
	}
}

func TestEditsRenewTheSameJobs(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	before := w.job("n1")
	w.edit(func(a *job.Task) { a.Timer, a.Nodes = "*/5 * * * *", []job.NodeID{"n1"} })
	mustRest(t, w)
	// ancestors 10, 11: the new version stands in the place of the old one, under the same id; what lost the task loses the job
	if j := w.job("n1"); j.ID != before.ID || j.Rules.Timer != "*/5 * * * *" || w.job("n2") != nil || len(w.jobs) != 1 {
		t.Errorf("%d jobs, %v", len(w.jobs), w.jobs)
	}
	w.pause(taskA, true)
	mustRest(t, w)
	if j := w.job("n1"); !j.Pause || len(w.jobs) != 1 {
		t.Errorf("%d jobs, paused %t", len(w.jobs), j.Pause)
	}
	w.deleteTask(taskA)
	mustPass(t, w, 2*lease)
	mustPass(t, w, time.Hour) // that its floor stays
	// ancestors 8, 13: nothing is left of it, although it was paused
	if left := w.leader().Left(); len(w.jobs) > 0 || len(w.floors) > 0 || left["tasks"] > 0 {
		t.Errorf("left: %d jobs, %d floors, %v", len(w.jobs), len(w.floors), left)
	}
}

func TestLateNewsOfDeletedJobs(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	w.edit(func(a *job.Task) { a.Command = job.Line("false") })
	w.hear(w.masters[0], tasks, 1)
	w.plan(1 << 30) // the echo of the jobs it writes comes only after the deletion
	w.deleteTask(taskA)
	w.hear(w.masters[0], tasks, 1)
	w.plan(1 << 30)
	mustRest(t, w)
	// ancestors 18, 19: a write on what was not seen is refused, and what is late does not bring the deleted back
	if len(w.jobs) > 0 {
		t.Errorf("jobs of a deleted task: %v", w.jobs)
	}
}

func TestAnotherLeaderWritesOnOldNews(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	old := engine.PutJob{Job: w.job("n1").Clone(), Revision: w.jobs["n1/"+w.job("n1").Hash].rev}
	w.edit(func(a *job.Task) { a.Command = job.Line("false") })
	mustRest(t, w)
	// ancestors 18, 49: a write that was planned before the edit is refused
	if w.do(old) || w.job("n1").Command != "false" {
		t.Error("a stale write reverted an edit")
	}
}

func TestModifyingIsNotRunning(t *testing.T) {
	t.Parallel()
	w := small(t, func(a *job.Task) { a.Timer, a.Kind = "", "common" })
	for range 3 {
		w.edit(func(a *job.Task) { a.Timer, a.Kind, a.Description = "", "common", w.now.String() })
		mustPass(t, w, time.Second)
		w.relist()
		mustRest(t, w)
	}
	// ancestors 14, 16: neither an edit nor a master's start runs a task without a timer
	if len(w.dispatches) > 0 || len(w.history) > 0 {
		t.Errorf("dispatches %v, history %v", w.dispatches, w.history)
	}
}

func TestAskingTwiceIsAskingOnce(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	ask := func() *job.Dispatch {
		d, _, err := w.leader().Dispatch(engine.Request{Task: taskA, Key: "k", Trigger: job.TriggerRun}, w.now)
		if err != nil {
			t.Fatal(err)
		}
		return d[0]
	}
	first := ask()
	w.putDispatch(first)
	w.hearAll(w.masters[0])
	again := ask()
	// ancestor 20: it is the same run, on the same node, although the other has less to do now
	if again.Run != first.Run || again.Node != first.Node {
		t.Errorf("first %s on %s, then %s on %s", first.Run, first.Node, again.Run, again.Node)
	}
	w.deleteDispatch(first.Node, first.Run)
	w.leave(first.Node)
	w.hearAll(w.masters[0])
	if last := ask(); last.Run != first.Run {
		t.Errorf("when it had ended it was asked for as another run: %s, before %s", last.Run, first.Run)
	}
}

func TestStaleDispatches(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	mustPass(t, w, 2*lease)
	w.leave("n1")
	w.hearAll(w.masters[0])
	for key := range 20 {
		d, _, err := w.leader().Dispatch(engine.Request{Task: taskA, Key: string(rune('a' + key)), Trigger: job.TriggerRun}, w.now)
		// ancestor 21: who is away is not asked, and a run that was asked for does not start at any later time
		if err != nil || d[0].Node != "n2" || !d[0].NotAfter.Equal(w.now.Add(engine.StartWithin)) {
			t.Fatalf("%v, %v", d, err)
		}
		w.putDispatch(d[0])
	}
	w.hearAll(w.masters[0])
	w.leave("n2")
	mustPass(t, w, lease)
	// ancestor 22: when its node dies it does not stay "started", or asked for, for ever
	if len(w.dispatches) > 0 || len(w.history) != 20 {
		t.Errorf("%d dispatches, %d records", len(w.dispatches), len(w.history))
	}
}

func TestRerunsAreBounded(t *testing.T) {
	t.Parallel()
	w := small(t, func(a *job.Task) { a.OnLost = "rerun"; a.Timer = "0 0 1 1 *" })
	d, _, err := w.leader().Dispatch(engine.Request{Task: taskA, Key: "k", Trigger: job.TriggerRun}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.putDispatch(d[0])
	for range 10 {
		for _, d := range w.dispatches {
			w.start(d, "gone")
			rec := engine.DispatchRecord(d, w.now, job.Lost, "")
			w.handOver(&rec)
		}
		mustPass(t, w, time.Second)
	}
	var attempts []int
	for _, rec := range w.history {
		attempts = append(attempts, rec.Attempt)
	}
	// ancestor 23: each is a new attempt, numbered, and they end
	if len(attempts) != 4 {
		t.Errorf("attempts %v", attempts)
	}
}

func TestEffectsHappenOnce(t *testing.T) {
	t.Parallel()
	w := small(t, func(a *job.Task) { a.Allow.Next = []string{"a"}; a.OnLost = "rerun" })
	rec := &job.ExecutionRecord{
		ID: "r", Group: "default", Name: "a", Node: "n1", Outcome: job.Success, Trigger: job.TriggerTimer,
		Result: json.RawMessage(`{"next_tasks":["a","a","default/a"]}`),
	}
	once, _ := w.leader().React(rec, w.now)
	for _, a := range once {
		w.do(a)
	}
	w.hearAll(w.masters[0])
	// ancestor 45: the leader died before it could write that the record is handled; the next one reacts again
	w.relist()
	again, _ := w.leader().React(rec, w.now)
	for _, a := range again {
		w.do(a)
	}
	if len(w.dispatches) != 1 {
		t.Errorf("next tasks: %d dispatches", len(w.dispatches))
	}
	rec.ID, rec.Result, rec.Outcome = "s", nil, job.Lost
	for range 3 { // each time the other node has less to do
		actions, _ := w.leader().React(rec, w.now)
		for _, a := range actions {
			w.do(a)
		}
		w.hearAll(w.masters[0])
	}
	if len(w.dispatches) != 2 {
		t.Errorf("with the rerun: %d dispatches", len(w.dispatches))
	}
}

func TestALateRecordLeavesLaterOnesAlone(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	mustPass(t, w, 3*time.Minute)
	floor := w.floors[taskA]
	late := *w.history[string(job.FiringID(taskA, "", floor.Add(-time.Minute)))]
	late.Outcome, late.Node = job.Success, "n1"
	w.handOver(&late)
	mustPass(t, w, time.Second)
	// ancestor 48: it changes what is known of its own instant, and nothing else
	if !w.floors[taskA].Equal(floor) || w.history[late.ID].Outcome != job.Success {
		t.Errorf("floor %v, before %v; %s", w.floors[taskA], floor, w.history[late.ID].Outcome)
	}
}

func TestWhatCannotBeReadIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	before := len(w.jobs)
	s := w.leader()
	s.Apply(engine.TaskUnreadable{Task: taskA})
	s.Apply(engine.NodeDeleted{Node: "n2"})
	// ancestor 24: nothing of it is touched, and it says why
	for range 5 {
		w.now = w.now.Add(time.Minute)
		for _, a := range s.Plan(w.now) {
			t.Errorf("%s", w.describe(a))
		}
	}
	if why := s.Explain(taskA)[0].Reason; !strings.Contains(why, "can't be read") || len(w.jobs) != before {
		t.Errorf("%q, %d jobs", why, len(w.jobs))
	}
	if _, _, err := s.Dispatch(engine.Request{Task: taskA, Key: "k"}, w.now); err == nil {
		t.Error("it was dispatched")
	}
	s.Apply(engine.TaskPut{Entry: w.tasks[taskA]})
	w.putNode(&job.Node{ID: "n2", CreatedAt: w.now})
	if mustPass(t, w, 20*time.Second); len(w.history) == 0 {
		t.Error("read again, its instants are not accounted for")
	}
}

func TestStrangeJobsAreRenewed(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	s := w.leader()
	strange := w.job("n1").Clone()
	strange.Stamp = "not of this version"
	w.rev++
	s.Apply(engine.JobPut{Job: strange, Revision: w.rev})
	actions := s.Plan(w.now)
	if len(actions) != 1 || actions[0].(engine.PutJob).Revision != w.rev {
		t.Fatalf("%v", actions)
	}
	// Refused, it is planned anew.
	s.Apply(engine.Refused{Action: actions[0]})
	if again := s.Plan(w.now); len(again) != 1 {
		t.Errorf("%v", again)
	}
}

func TestOldNewsOfATask(t *testing.T) {
	t.Parallel()
	w := small(t, nil)
	old := w.tasks[taskA]
	w.edit(func(a *job.Task) { a.Command = job.Line("false") })
	mustRest(t, w)
	w.leader().Apply(engine.TaskPut{Entry: old})
	// ancestor 19: a version that was read before does not come back
	if actions := w.leader().Plan(w.now); len(actions) > 0 {
		t.Errorf("%s", w.describe(actions[0]))
	}
}
