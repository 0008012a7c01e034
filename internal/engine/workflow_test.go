package engine_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/seed"
)

// TestExecutions lets leaders change, answers get lost, nodes die, records come late and twice, people cancel, edit and delete at random
// while executions run, and then lets the world come to rest: no run starts twice, none is lost, no step begins before those that it depends on have
// succeeded, never more at once than allowed, and every execution ends as its steps did.
func TestExecutions(t *testing.T) {
	t.Parallel()
	histories := uint64(1500)
	if testing.Short() {
		histories = 200
	}
	base, given := seed.Of()
	if given {
		histories = 1
	}
	for n := range histories {
		if wrong, journal := flowHistory(base+n, ""); wrong != "" {
			t.Fatalf("ROTA_SEED=%d: %s\n\n%s", base+n, wrong, strings.Join(journal, "\n"))
		}
	}
}

// TestPlantedBugsOfExecutions shows that the property sees: each bug is found.
func TestPlantedBugsOfExecutions(t *testing.T) {
	t.Parallel()
	for _, bug := range []string{"forgets", "history", "early", "kept", "fires"} {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			base, _ := seed.Of()
			for n := range uint64(600) {
				if wrong, _ := flowHistory(base+n, bug); wrong != "" {
					t.Logf("found in history %d: %s", n, wrong)
					return
				}
			}
			t.Error("not found in 600 histories")
		})
	}
}

func flowHistory(seed uint64, bug string) (wrong string, journal []string) {
	type told struct {
		wrong   string
		journal []string
	}
	h := rapid.Custom(func(t *rapid.T) (h told) {
		p := newFlowers(t, bug)
		defer func() {
			if r := recover(); r != nil {
				f, ok := r.(flowFault)
				if !ok {
					panic(r)
				}
				h = told{string(f), p.w.journal}
			}
		}()
		for range 20 + p.n(120) {
			p.step()
			p.look()
		}
		p.heal()
		return told{"", nil}
	}).Example(int(seed))
	return h.wrong, h.journal
}

type flowFault string

// flowers act upon a world in which groups are run.
type flowers struct {
	t       *rapid.T
	w       *world
	bug     string
	nodes   []job.NodeID
	started map[job.RunID]int
	late    []job.ExecutionRecord // records that come again
	runs    int
}

func newFlowers(t *rapid.T, bug string) *flowers {
	p := &flowers{t: t, w: newWorld(2), bug: bug, nodes: []job.NodeID{"n1", "n2", "n3"}, started: map[job.RunID]int{}}
	p.w.flows.forgets, p.w.flows.oldTasks = bug == "forgets", bug == "history"
	p.w.sooner = func() bool { return p.n(3) == 0 }
	for _, id := range p.nodes {
		p.w.putNode(&job.Node{ID: id, CreatedAt: p.w.now})
		p.w.join(id, string(id)+".1")
	}
	p.group()
	for _, name := range []string{"a", "b", "c", "d"} {
		p.task(name)
	}
	p.w.rest(100)
	return p
}

func (p *flowers) n(max int) int { return uniform(p.t, max) }

func (p *flowers) group() {
	p.w.putGroup(job.Group{
		Name: "default", MaxParallel: 1 + p.n(5), OnFailure: one(p.t, job.FailureStops, job.FailureContinues),
		Timeout: job.Duration(time.Duration(p.n(3)) * time.Minute), Timer: "*/2 * * * *",
		Catchup: one(p.t, job.CatchupNone, job.CatchupOne, job.CatchupAll), Overlap: one(p.t, job.OverlapSkip, job.OverlapAllow, job.OverlapQueue),
	})
}

// task makes a step: a, then b and c after it, then d after both.
func (p *flowers) task(name string) {
	t := job.Task{Name: name, Command: job.Line("true"), Kind: one(p.t, job.KindName("common"), "interval", "alone"), AllowFailure: p.n(5) == 0}
	t.OnLost = one(p.t, job.LostRecord, job.LostRerun)
	strategy := func() job.DependStrategy { return one(p.t, job.AtLeastOnce, job.AtLeastOnce, job.SameNode) }
	switch name {
	case "b", "c":
		t.Depends = []job.Depend{{Task: "a", Strategy: strategy()}}
	case "d":
		t.Depends = []job.Depend{{Task: "b", Strategy: strategy()}, {Task: "c"}}
	}
	switch p.n(4) {
	case 0:
		t.ForEach = one(p.t, "[1,2,3]", "split('x,y,z,u,v',',')", "[]")
		t.MaxParallel = p.n(3)
	case 1:
		if name != "a" {
			t.When = one(p.t, "steps.a.outcome == 'success'", "steps.a.outcome == 'failed'", "1 > 2", "true")
		}
	}
	p.w.apply(t)
}

func (p *flowers) step() {
	w := p.w
	switch p.n(24) {
	case 0, 1:
		if len(w.flows.live) < 4 {
			p.begin(w.leader().PlanExecution("default", nil))
		}
	case 2:
		for _, id := range slices.Sorted(maps.Keys(w.flows.live)) {
			if e := w.flows.live[id]; p.n(6) == 0 && !e.Ended() && e.CancelledAt.IsZero() {
				c := e.Clone()
				c.CancelledAt, c.CancelledBy = w.now, "somebody"
				w.note("people: cancel %s", w.flowName(id))
				w.putExecution(c)
			}
		}
	case 3:
		for _, id := range slices.Sorted(maps.Keys(w.flows.ended)) {
			old := w.flows.ended[id]
			if p.n(3) > 0 || old.Status == job.ExecutionSuccess || len(old.Steps) == 0 || len(w.flows.live) > 3 {
				continue
			}
			e, err := w.leader().PlanExecution("default", nil)
			if err == nil {
				e.TakeOver(old)
				w.note("people: retry %s", w.flowName(id))
			}
			p.begin(e, err)
		}
	case 4:
		id := one(p.t, p.nodes...)
		if w.online[id] == nil {
			w.join(id, fmt.Sprintf("%s.%d", id, w.next()))
		} else {
			w.leave(id)
		}
	case 5:
		n := w.nodes[one(p.t, p.nodes...)].Clone()
		n.Cordoned = !n.Cordoned
		w.putNode(n)
	case 6:
		name := one(p.t, "a", "b", "c", "d")
		switch ref := job.Ref("", name); {
		case p.n(4) == 0 && w.tasks[ref] != nil:
			w.deleteTask(ref)
		default:
			p.task(name)
		}
	case 7, 8:
		w.now = w.now.Add(time.Duration(one(p.t, 1, 3, 8, 20, 70)) * time.Second)
	case 9:
		slices.Reverse(w.masters)
		w.lead()
	case 10:
		w.relist()
	case 11, 12, 13, 14:
		p.work()
	case 15, 16:
		w.drain()
		if len(p.late) > 0 && p.n(3) == 0 {
			rec := p.late[p.n(len(p.late))]
			w.note("again: %s", w.record(&rec))
			w.transit[rec.ID] = &rec
		}
	case 17:
		w.keepFlows()
	case 18, 19, 20:
		for s := range streams {
			if p.n(2) == 0 {
				w.hear(w.masters[0], s, 1+p.n(5))
			}
		}
		p.plan()
	case 21:
		if p.n(4) == 0 {
			p.group()
		}
	default:
		w.hearAll(w.masters[0])
		p.plan()
	}
}

func (p *flowers) begin(e *job.GroupExecution, err error) {
	if err != nil {
		return
	}
	p.runs++
	e.Key = fmt.Sprint("run", p.runs)
	e.ID, e.CreatedAt, e.Trigger = job.ExecutionID("default", e.Key), p.w.now, job.TriggerRun
	p.w.note("people: begin %s", p.w.flow(e))
	p.w.begin(e)
}

// plan carries a plan out; the answers to some of its writes are lost, and the leader may die on the way.
func (p *flowers) plan() {
	w := p.w
	for _, a := range w.leader().Plan(w.now) {
		if p.n(12) == 0 {
			w.relist()
			return
		}
		if rec, ok := a.(engine.PutRecord); ok {
			w.handle(rec.Record)
			continue
		}
		if f, ok := a.(engine.FireGroup); ok && p.bug == "fires" && p.n(3) == 0 {
			for _, e := range f.Executions {
				w.begin(e) // and the cursor stays where it was
			}
			continue
		}
		p.bend(a)
		done := w.do(a)
		w.act("%s: %t", w.describe(a), done)
		w.answer(a, done && p.n(6) > 0)
	}
}

// bend plants faults.
func (p *flowers) bend(a engine.Action) {
	x, ok := a.(engine.AdvanceExecution)
	if !ok {
		return
	}
	switch p.bug {
	case "early": // a step begins before those that it depends on have ended
		for i := range x.Execution.Steps {
			if s := &x.Execution.Steps[i]; s.State == job.StepWaiting && len(s.Lanes) == 0 && p.n(4) == 0 {
				s.State, s.Lanes = job.StepRunning, job.NewLanes(1)
				if !s.Kind.Kind().Claimed() {
					s.Nodes = []job.NodeID{"n1"}
				}
			}
		}
	case "kept": // what was asked for is forgotten
		for i := range x.Execution.Steps {
			if s := &x.Execution.Steps[i]; s.Lanes.Count(job.LaneAsked) > 0 && p.n(4) == 0 {
				s.Lanes = job.Lanes(strings.ReplaceAll(string(s.Lanes), string(job.LaneAsked), string(job.LaneOpen)))
				if s.Tries == nil {
					s.Tries = map[int]int{}
				}
			}
		}
	}
}

// work is what nodes do with what they were asked for.
func (p *flowers) work() {
	w := p.w
	for _, key := range slices.Sorted(maps.Keys(w.dispatches)) {
		d := w.dispatches[key]
		if w.online[d.Node] == nil || p.n(2) == 0 {
			continue
		}
		if d.Started == nil {
			p.started[d.Run]++
			w.note("%s starts %s", d.Node, w.runName(string(d.Run)))
			w.start(d, w.online[d.Node].Session)
			continue
		}
		outcome := one(p.t, job.Success, job.Success, job.Success, job.Failed, job.Lost)
		if slices.Contains(w.flows.killed, d.Run) {
			outcome = job.Killed
		}
		rec := engine.DispatchRecord(d, w.now, outcome, "")
		rec.Result = json.RawMessage(`{"n":1}`)
		w.handOver(&rec)
		p.late = append(p.late, rec)
	}
}

func (p *flowers) fail(format string, args ...any) { panic(flowFault(fmt.Sprintf(format, args...))) }

// look looks at what must hold at every moment.
func (p *flowers) look() {
	w := p.w
	for run, n := range p.started {
		if n > 1 {
			p.fail("%s was started %d times", w.runName(string(run)), n)
		}
	}
	for id, n := range w.flows.begun {
		if n > 1 {
			p.fail("execution %s was begun %d times", w.flowName(id), n)
		}
	}
	of := map[string][]*job.Dispatch{}
	for _, d := range w.dispatches {
		if d.Execution != "" {
			of[d.Execution] = append(of[d.Execution], d)
		}
	}
	for id, list := range of {
		e := w.flows.live[id]
		switch {
		case e == nil:
			p.fail("%s is over, and %s is asked for", w.flowName(id), w.dispatch(list[0]))
		case len(list) > e.MaxParallel:
			p.fail("%s has %d at once, at most %d are allowed", w.flowName(id), len(list), e.MaxParallel)
		}
		for _, d := range list {
			s := e.Step(d.Job.Name)
			if s.MaxParallel > 0 && s.Lanes.Count(job.LaneAsked) > s.MaxParallel {
				p.fail("step %s of %s has more at once than %d", s.Name, w.flowName(id), s.MaxParallel)
			}
			counted := false
			e.Asked(func(_, _ int, run job.RunID) { counted = counted || run == d.Run })
			if !counted {
				p.fail("%s does not know of %s", w.flow(e), w.dispatch(d))
			}
		}
	}
	for _, e := range w.flows.live {
		p.ordered(e)
	}
}

// ordered looks whether the steps went in their order.
func (p *flowers) ordered(e *job.GroupExecution) {
	for i := range e.Steps {
		s := &e.Steps[i]
		if s.Lanes == "" || s.State == job.StepWaiting || len(s.From) > 0 {
			continue
		}
		for _, d := range s.Depends {
			on := e.Step(d.Step)
			fine := on.State == job.StepSuccess || on.State == job.StepSkipped || on.State == job.StepFailed && on.AllowFailure
			if !on.State.Ended() || !fine && !s.Handles() {
				p.fail("step %s runs, and %s is %s: %s", s.Name, on.Name, on.State, p.w.flow(e))
			}
			if d.SameNode && on.State == job.StepSuccess && len(on.Lanes) > 0 {
				for at := range s.Lanes {
					rec := p.w.history[string(e.Run(s, at))]
					if rec != nil && rec.Outcome == job.Success && !p.succeededOn(e, on, rec.Node) {
						p.fail("step %s ran on %s, where %s did not succeed", s.Name, rec.Node, on.Name)
					}
				}
			}
		}
	}
}

func (p *flowers) succeededOn(e *job.GroupExecution, s *job.Step, node job.NodeID) bool {
	for at := range s.Lanes {
		if rec := p.w.history[string(e.Run(s, at))]; rec != nil && rec.Node == node && rec.Outcome == job.Success {
			return true
		}
	}
	return false
}

// heal lets every node be there, and everything end.
func (p *flowers) heal() {
	w := p.w
	g := w.flows.groups["default"].Document
	g.Timer, g.Overlap, g.Catchup = "", "", ""
	w.putGroup(g)
	for _, id := range p.nodes {
		n := w.nodes[id].Clone()
		n.Cordoned = false
		w.putNode(n)
		if w.online[id] == nil {
			w.join(id, fmt.Sprintf("%s.%d", id, w.next()))
		}
	}
	w.lead()
	for range 400 {
		w.now = w.now.Add(time.Second)
		if !w.rest(1000) {
			p.fail("the plans do not come to an end")
		}
		if len(w.checks.wrong) > 0 && strings.Contains(w.checks.wrong[0], "refused") {
			p.fail("%s", w.checks.wrong[0])
		}
		p.work()
		p.look()
		if len(w.flows.live) == 0 {
			break
		}
	}
	for _, e := range w.flows.live {
		p.fail("not ended: %s", w.flow(e))
	}
	told := map[int64]int{}
	for _, e := range w.flows.ended {
		p.ended(e)
		if e.Trigger == job.TriggerTimer || e.Trigger == job.TriggerCatchup {
			for i := e.Instant; ; i = i.Add(2 * time.Minute) {
				told[i.Unix()]++
				if !i.Before(e.Until) {
					break
				}
			}
		}
	}
	at := w.flows.states["default"].At
	for i := w.flows.groups["default"].CreatedAt.Add(2 * time.Minute); i.Before(at.Add(-2 * time.Minute)); i = i.Add(2 * time.Minute) {
		if told[i.Unix()] != 1 {
			p.fail("the instant %s of the group is told of %d times", clock(i), told[i.Unix()])
		}
	}
}

// ended looks whether an execution ended as its steps did, and its steps as their runs.
func (p *flowers) ended(e *job.GroupExecution) {
	w := p.w
	if len(e.Steps) == 0 {
		return
	}
	failed := false
	for i := range e.Steps {
		s := &e.Steps[i]
		if !s.State.Ended() {
			p.fail("step %s has not ended: %s", s.Name, w.flow(e))
		}
		failed = failed || s.State == job.StepFailed && !s.AllowFailure
		for at := 0; at < len(s.Lanes); at++ {
			rec := w.history[string(e.Run(s, at))]
			switch o := s.Lanes.Outcome(at); {
			case s.Lanes[at] == job.LaneAsked:
				p.fail("a run of step %s was asked for, and the execution has ended: %s", s.Name, w.flow(e))
			case o == "":
			case rec == nil && o != job.Missed:
				p.fail("a run of step %s ended as %s and has no record", s.Name, o)
			case rec != nil && rec.Outcome != o && o != job.Lost && o != job.Missed:
				p.fail("a run of step %s ended as %s, its record says %s", s.Name, o, rec.Outcome)
			}
			if s.State == job.StepSuccess && s.Lanes.Outcome(at) != job.Success {
				p.fail("step %s is success: %s", s.Name, w.flow(e))
			}
		}
	}
	switch {
	case e.Status == job.ExecutionSuccess && failed, e.Status == job.ExecutionFailed && !failed:
		p.fail("it ended otherwise than its steps: %s", w.flow(e))
	case !e.CancelledAt.IsZero() != (e.Status == job.ExecutionCancelled):
		p.fail("cancelled: %s", w.flow(e))
	}
}
