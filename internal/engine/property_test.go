package engine_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/schedule"
	"github.com/rota-dev/rota/test/seed"
)

var _ = seed.Fix()

// TestHistories lets people, nodes, masters and watches do at random what they may do, and then lets the world come
// to rest: every instant ends in exactly one outcome, and every node has what is its own.
func TestHistories(t *testing.T) {
	t.Parallel()
	base, given := seed.Of()
	if given { // the failure of another run: rapid finds the shortest history that fails like it
		rapid.Check(t, func(t *rapid.T) {
			if wrong, journal := history(t, ""); len(wrong) > 0 {
				var fatal failer = t
				fatal.Fatalf("%s\n\n%s", strings.Join(wrong, "\n"), strings.Join(journal, "\n"))
			}
		})
		return
	}
	histories := uint64(2000)
	if testing.Short() {
		histories = 200
	}
	for n := range histories {
		if h := historyOf(base+n, ""); len(h.wrong) > 0 {
			t.Fatalf("%s\n\nROTA_SEED=%d shows it shorter", strings.Join(h.wrong, "\n"), base+n)
		}
	}
}

// told is what there is to say of a history: what was found wrong, and everything that happened.
type told struct{ wrong, journal []string }

func historyOf(seed uint64, b bug) told {
	return rapid.Custom(func(t *rapid.T) told {
		wrong, journal := history(t, b)
		return told{wrong, journal}
	}).Example(int(seed))
}

// The same seed is the same history, to the last write.
func TestHistoriesRepeat(t *testing.T) {
	t.Parallel()
	for n := range uint64(50) {
		if a, b := historyOf(n+1, ""), historyOf(n+1, ""); !slices.Equal(a.journal, b.journal) {
			t.Fatalf("seed %d: %s", n+1, difference(strings.Join(a.journal, "\n"), strings.Join(b.journal, "\n")))
		}
	}
}

// TestPlantedBugs shows that the properties see: each bug is found.
func TestPlantedBugs(t *testing.T) {
	t.Parallel()
	for _, b := range bugs {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			base, _ := seed.Of()
			for n := range uint64(3000) {
				if h := historyOf(base+n, b); len(h.wrong) > 0 {
					t.Logf("found in history %d: %s", n, h.wrong[0])
					return
				}
			}
			t.Error("not found in 3000 histories")
		})
	}
}

type failer interface {
	Fatalf(format string, args ...any)
}

// history is one random history, perhaps with a planted bug: what was found wrong, and what happened.
func history(t *rapid.T, b bug) (wrong, journal []string) {
	w := newWorld(2)
	w.bug, w.twice = b, rapid.Bool().Draw(t, "twice")
	p := &people{t: t, w: w, sims: map[job.NodeID]*sim{}}
	for _, id := range []job.NodeID{"n1", "n2", "n3"} {
		p.sims[id] = &sim{id: id, w: w}
		w.putNode(&job.Node{ID: id, Labels: map[string]string{"role": "x"}, CreatedAt: w.now})
		p.sims[id].start()
	}
	w.setCalendar("holidays")
	p.edit()
	for range rapid.IntRange(20, 120).Draw(t, "steps") {
		p.step()
	}
	if !p.heal() {
		w.checks.fail("the plans do not come to an end")
	}
	w.checks.placed()
	w.checks.together()
	if p.n(2) == 0 {
		p.node().die(true)
		if !w.pass(lease*5/2, time.Second) {
			w.checks.fail("the plans do not come to an end")
		}
	}
	w.checks.begun()
	w.checks.replaced()
	w.checks.placed()
	w.checks.accounted(w.now.Add(-3 * time.Minute))
	p.clear()
	return w.checks.wrong, w.journal
}

// people are those who act upon the world.
type people struct {
	t    *rapid.T
	w    *world
	sims map[job.NodeID]*sim
	runs int
}

// n is a number below max, each as likely as the others: rapid's own are mostly small.
func (p *people) n(max int) int { return uniform(p.t, max) }

func uniform(t *rapid.T, max int) (n int) {
	for bits := 1; bits < 8*max; bits *= 2 {
		n *= 2
		if rapid.Bool().Draw(t, "bit") {
			n++
		}
	}
	return n % max
}

func one[T any](t *rapid.T, of ...T) T { return of[uniform(t, len(of))] }

func (p *people) node() *sim {
	return p.sims[one[job.NodeID](p.t, "n1", "n2", "n3")]
}

func (p *people) ref() job.TaskRef {
	return job.Ref("", one(p.t, "a", "b", "a", "b", "c"))
}

func (p *people) step() {
	w := p.w
	switch what := p.n(40); {
	case what < 10:
		p.node().claim(p.t)
	case what < 14:
		p.node().finish(p.t)
	case what < 20:
		p.wait(time.Duration(one(p.t, 1, 2, 2, 5, 7, 20, 20, 61, 300, 1000))*time.Second + time.Duration(p.n(1000))*time.Millisecond)
	case what < 26:
		p.master()
	case what < 29:
		w.drain()
		w.hearAll(w.masters[0])
		w.plan(1 << 30)
	case what < 32:
		p.node().look()
	case what == 32:
		for range 1 + p.n(3) { // perhaps several before anybody looks
			p.edit()
		}
	case what == 33:
		p.task()
	case what == 34:
		p.changeNode()
	case what == 35:
		p.changeLeader()
	case what == 36:
		p.run()
	default:
		p.life()
	}
}

// wait lets time pass. No watch is half a lease behind: who hears nothing for so long writes nothing either. And a leader
// that settles by a rule long gone could not be right.
func (p *people) wait(d time.Duration) {
	w := p.w
	w.now = w.now.Add(d)
	for _, m := range w.masters {
		w.hear(m, tasks, 1<<30)
		w.hear(m, calendars, 1<<30)
		for s := range streams {
			for len(m.behind[s]) > 0 && w.now.Sub(m.behind[s][0].at) >= lease/2 {
				w.hear(m, s, 1)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.sims)) {
		if s := p.sims[id]; s.alive && w.now.Sub(s.looked) >= lease/2 {
			s.look()
		}
	}
}

// master plans, perhaps on what is not the latest, and perhaps dies on the way.
func (p *people) master() {
	w, m := p.w, p.w.masters[0]
	for range p.n(4) {
		s := stream(p.n(int(streams)))
		if s != tasks && p.n(3) == 0 {
			m.coalesce(s)
		}
		w.hear(m, s, 1+p.n(4))
	}
	if p.n(2) == 0 {
		w.drain()
	}
	n := 1 << 30
	if p.n(4) == 0 {
		n = p.n(4)
	}
	if actions, _ := w.plan(n); n < len(actions) {
		p.changeLeader()
	}
}

func (p *people) changeLeader() {
	w := p.w
	if p.n(2) == 0 {
		w.relist()
		return
	}
	slices.Reverse(w.masters)
	w.lead()
}

// edit makes a task, or changes it.
func (p *people) edit() {
	pick := func(of ...string) string { return one(p.t, of...) }
	task := job.Task{
		Name: p.ref().Name, Command: job.Line("true"),
		Timer:   job.Timer(pick("* * * * *", "*/5 * * * *", "*/20 * * * * *")),
		Kind:    job.KindName(pick("interval", "interval", "alone", "common")),
		Catchup: job.Catchup(pick("none", "none", "one", "all")), OnLost: job.OnLost(pick("record", "rerun")),
		Deadline: job.Duration(p.n(2)) * job.Duration(90*time.Second), Jitter: job.Duration(p.n(2)) * job.Duration(5*time.Second),
	}
	if p.n(3) == 0 {
		task.Exclude = []string{"calendar:holidays"}
	}
	switch p.n(6) {
	case 0, 1:
		task.Labels = map[string]string{"role": "x"}
	case 2, 3:
		task.Nodes = []job.NodeID{"n1", "n2"}
	case 4:
		task.Nodes = one(p.t, []job.NodeID{"n2", "n3"}, []job.NodeID{"n3"})
	}
	if p.n(3) == 0 {
		task.MaxNodes = 1 + p.n(2)
		task.Spread = job.Spread(pick("", "hash", "load"))
	}
	p.depends(&task)
	if p.n(4) == 0 {
		task.Where = pick("role in (x,y), Fit!=False", "role", "Fit=True", "Fit notin (False)")
	}
	p.w.apply(task)
}

// depends lets b depend on a, c on either or both of them, and each of them run once.
func (p *people) depends(t *job.Task) {
	if t.Name == "b" && p.n(2) == 0 {
		t.Depends = []job.Depend{{
			Task: "a", Strategy: one(p.t, job.SameNode, job.AtLeastOnce), Within: job.Duration(p.n(2)) * job.Duration(2*time.Minute),
		}}
	}
	if t.Name == "c" {
		for _, on := range one(p.t, []string{"a"}, []string{"b"}, []string{"a", "b"}) {
			t.Depends = append(t.Depends, job.Depend{Task: on, Strategy: job.SameNode})
		}
	}
	if len(t.Depends) > 0 && t.MaxNodes == 0 && p.n(2) == 0 {
		t.MaxNodes = 1
	}
	switch p.n(6) {
	case 0:
		t.Mode, t.Timer, t.Passive = job.OnlyOnce, "", p.n(3) == 0
	case 1:
		t.Mode, t.Timer, t.Passive = job.ManyOnce, "", p.n(3) > 0
	}
}

func (p *people) task() {
	ref := p.ref()
	switch p.n(7) {
	case 5, 6:
		p.calendar()
	case 0:
		if p.w.tasks[ref] != nil {
			p.w.deleteTask(ref)
		}
	case 1, 2:
		p.w.pause(ref, true)
	default:
		p.w.pause(ref, false)
	}
}

// calendar lets a calendar exclude other minutes.
func (p *people) calendar() {
	var ranges []string
	for range p.n(3) {
		from := p.w.now.Truncate(time.Minute).Add(time.Duration(p.n(10)-5) * time.Minute)
		ranges = append(ranges, schedule.Between(from, from.Add(time.Duration(1+p.n(5))*time.Minute)).String())
	}
	p.w.setCalendar("holidays", ranges...)
}

func (p *people) changeNode() {
	w, s := p.w, p.node()
	n := w.nodes[s.id]
	if n == nil {
		w.putNode(&job.Node{ID: s.id, Labels: map[string]string{"role": "x"}, CreatedAt: w.now})
		return
	}
	n = n.Clone()
	switch p.n(4) {
	case 3:
		n.Conditions = map[string]string{"Fit": one(p.t, "True", "False")}
	case 0:
		w.deleteNode(s.id)
		return
	case 1:
		n.Cordoned = !n.Cordoned
	case 2:
		n.Labels["role"] = one(p.t, "x", "y")
	}
	w.putNode(n)
}

// life lets a node die, lose its lease, or come back.
func (p *people) life() {
	s := p.node()
	switch {
	case !s.alive:
		s.start()
	case p.n(2) == 0:
		s.die(p.n(2) == 0)
	case p.w.online[s.id] != nil:
		p.w.leave(s.id)
	default:
		p.w.join(s.id, s.session)
	}
}

// run asks for a run, twice for the same.
func (p *people) run() {
	p.runs++
	for range 2 {
		a, err := p.w.leader().Ask(engine.Request{Task: p.ref(), Key: fmt.Sprint(p.runs), Trigger: job.TriggerRun, Force: p.n(2) == 0}, p.w.now)
		if err == nil {
			for _, d := range a.Dispatches {
				p.w.do(engine.CreateDispatch{Dispatch: d})
			}
			for _, r := range a.Waiting {
				p.w.do(engine.CreateWaiting{Waiting: r})
			}
		}
	}
}

// heal lets everybody be there again and everything end.
func (p *people) heal() bool {
	w := p.w
	for _, id := range slices.Sorted(maps.Keys(p.sims)) {
		s := p.sims[id]
		if w.nodes[id] == nil {
			w.putNode(&job.Node{ID: id, CreatedAt: w.now})
		}
		n := w.nodes[id].Clone()
		n.Cordoned, n.Labels, n.Conditions = false, map[string]string{"role": "x"}, map[string]string{"Fit": "True"}
		w.putNode(n)
		if !s.alive {
			s.start()
		} else if w.online[id] == nil {
			w.join(id, s.session)
		}
		for len(s.running) > 0 {
			s.end(0, job.Success)
		}
		s.dispatches(job.Success)
	}
	for _, ref := range w.refs() {
		w.pause(ref, false)
	}
	return w.rest(1000) && w.pass(4*time.Minute, 4*time.Second)
}

// clear takes everything away: the engine remembers nothing of it.
func (p *people) clear() {
	w := p.w
	for _, ref := range w.refs() {
		if w.tasks[ref] != nil {
			w.deleteTask(ref)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.sims)) {
		s := p.sims[id]
		s.dispatches(job.Success) // starts what was asked for meanwhile
		s.dispatches(job.Success)
		s.die(true)
		w.deleteNode(s.id)
	}
	if !w.rest(100) || !w.pass(time.Minute, 5*time.Second) || !w.pass(time.Hour, time.Minute) { // an hour: that floors stay
		w.checks.fail("the plans do not come to an end")
	}
	if left := w.leader().Left(); len(left) > 0 || len(w.floors) > 0 || len(w.jobs) > 0 || len(w.facts) > 0 || len(w.waiting) > 0 {
		w.checks.fail("of what was deleted there remain %v, %d floors, %d jobs, %d facts, %d waiting", left, len(w.floors), len(w.jobs), len(w.facts), len(w.waiting))
	}
}
