package engine_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

func (w *world) putBackfill(b *job.Backfill) {
	c := b.Clone()
	c.Revision = w.next()
	if w.backfills == nil {
		w.backfills = map[string]*job.Backfill{}
	}
	w.backfills[c.ID] = c
	w.tell(backfills, c.ID, engine.BackfillPut{Backfill: c})
}

// doBackfill carries an action of backfills out, as package store does.
func (w *world) doBackfill(a engine.Action) bool {
	key := func(d *job.Dispatch) string { return string(d.Node) + "/" + string(d.Run) }
	switch a := a.(type) {
	case engine.AdvanceBackfill:
		old := w.backfills[a.Backfill.ID]
		if old == nil || old.Revision != a.Backfill.Revision || slices.ContainsFunc(a.Dispatches, func(d *job.Dispatch) bool { return w.dispatches[key(d)] != nil }) {
			return false
		}
		w.putBackfill(a.Backfill)
		for _, d := range a.Dispatches {
			w.putDispatch(d)
		}
	case engine.DropBackfill:
		if old := w.backfills[a.Backfill.ID]; old != nil && old.Revision != a.Backfill.Revision {
			return false
		}
		delete(w.backfills, a.Backfill.ID)
		w.tell(backfills, a.Backfill.ID, engine.BackfillDeleted{ID: a.Backfill.ID})
	case engine.MoveDispatch:
		old := w.dispatches[key(a.Dispatch)]
		if old == nil || old.Revision != a.Dispatch.Revision || w.dispatches[key(a.To)] != nil {
			return false
		}
		w.deleteDispatch(a.Dispatch.Node, a.Dispatch.Run)
		w.putDispatch(a.To)
	}
	return true
}

func (w *world) describeBackfill(a engine.Action) string {
	switch a := a.(type) {
	case engine.AdvanceBackfill:
		s := "advance " + w.backfill(a.Backfill)
		for _, d := range a.Dispatches {
			s += "\n  " + w.dispatch(d)
		}
		return s
	case engine.DropBackfill:
		return "drop " + w.backfill(a.Backfill)
	case engine.MoveDispatch:
		return fmt.Sprintf("move %s from %s to %s", w.runName(string(a.Dispatch.Run)), a.Dispatch.Node, a.To.Node)
	}
	return ""
}

// backfill writes how far a backfill came.
func (w *world) backfill(b *job.Backfill) string {
	s := fmt.Sprintf("%s of %s:", b.Key, b.Ref())
	for _, l := range b.Lanes {
		s += fmt.Sprintf(" %s asked %d of %d, running %d,", cmp.Or(string(l.Node), "any"), l.Next, b.Count, l.Running())
	}
	for _, o := range job.Outcomes {
		if n := b.Outcomes[o]; n > 0 {
			s += fmt.Sprintf(" %d %s,", n, o)
		}
	}
	if b.Cancelled() {
		s += " cancelled by " + b.CancelledBy + ","
	}
	if b.Finished() {
		s += " finished,"
	}
	return strings.TrimSuffix(s, ",")
}

// ask makes a backfill as a master does that is asked for one.
func (w *world) ask(task job.TaskRef, from, to time.Time, parallel int, nodes ...job.NodeID) *job.Backfill {
	key := fmt.Sprintf("backfill%d", len(w.backfills)+1)
	b := &job.Backfill{
		ID: job.BackfillID(task, key), Group: task.Group, Name: task.Name, From: from, To: to, Nodes: nodes, Parallel: parallel, Key: key,
		CreatedAt: w.now, Rule: w.tasks[task].Task.Rule(),
	}
	if err := b.Rule.Valid(); err != nil {
		panic(err)
	}
	b.Count = len(b.Instants())
	if w.tasks[task].Task.Kind.Kind().Claimed() && len(nodes) == 0 {
		b.Lanes = []job.Lane{{}}
	} else if len(nodes) == 0 {
		nodes = w.leader().Bound(task)
	}
	for _, id := range nodes {
		b.Lanes = append(b.Lanes, job.Lane{Node: id})
	}
	if err := b.Valid(); err != nil {
		panic(err)
	}
	w.putBackfill(b)
	return b
}

func (w *world) cancel(b *job.Backfill) {
	c := w.backfills[b.ID].Clone()
	c.CancelledAt, c.CancelledBy = w.now, "somebody"
	w.putBackfill(c)
}

// backfill does the commands of scenarios that are about backfills.
func (s *scenario) backfill(args []string) {
	list := slices.SortedFunc(maps.Values(s.w.backfills), func(a, b *job.Backfill) int { return strings.Compare(a.Key, b.Key) })
	switch args[0] {
	case "backfill":
		parallel := 1
		var nodes []job.NodeID
		for _, a := range args[4:] {
			switch k, v, _ := strings.Cut(a, "="); k {
			case "parallel":
				parallel, _ = strconv.Atoi(v)
			case "nodes":
				for n := range strings.SplitSeq(v, ",") {
					nodes = append(nodes, job.NodeID(n))
				}
			}
		}
		s.w.ask(job.Ref("", args[1]), s.time(args[2]), s.time(args[3]), parallel, nodes...)
	case "cancel":
		for _, b := range list {
			if b.Key == args[1] {
				s.w.cancel(b)
			}
		}
	case "backfills":
		for _, b := range list {
			waits := s.w.leader().BackfillWaits(b.ID, s.w.now)
			if waits != "" {
				waits = "; waits: " + waits
			}
			s.say("%s%s", s.w.backfill(b), waits)
		}
	}
}

// TestBackfills lets leaders change, answers get lost, nodes die and people cancel at random while backfills run, and
// then lets the world come to rest: no run starts twice, never more at once than allowed, and what was not cancelled has a
// record for each of its runs.
func TestBackfills(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newBackfillers(t)
		for range rapid.IntRange(20, 150).Draw(t, "steps") {
			p.step()
			p.look()
		}
		p.heal()
		for _, b := range p.w.backfills {
			p.finished(b)
		}
	})
}

// backfillers act upon a world in which there are backfills.
type backfillers struct {
	t       *rapid.T
	w       *world
	nodes   []job.NodeID
	started map[job.RunID]int
	deleted bool
}

func newBackfillers(t *rapid.T) *backfillers {
	p := &backfillers{t: t, w: newWorld(2), nodes: []job.NodeID{"n1", "n2", "n3"}, started: map[job.RunID]int{}}
	p.w.sooner = func() bool { return uniform(t, 3) == 0 }
	for _, id := range p.nodes {
		p.w.putNode(&job.Node{ID: id, CreatedAt: p.w.now})
		p.w.join(id, string(id)+".1")
	}
	p.w.apply(job.Task{
		Name: "a", Command: job.Line("true"), Timer: "* * * * *", Kind: one(t, job.KindName("common"), "interval", "alone"),
		OnLost: one(t, job.LostRecord, job.LostRerun),
	})
	p.w.rest(100)
	return p
}

func (p *backfillers) step() {
	t, w := p.t, p.w
	switch uniform(t, 20) {
	case 0, 1:
		if len(w.backfills) < 3 && !p.deleted {
			to := w.now.Add(-time.Duration(uniform(t, 5)) * time.Minute)
			w.ask(job.Ref("", "a"), to.Add(-time.Duration(1+uniform(t, 12))*time.Minute), to, 1+uniform(t, 4))
		}
	case 2:
		for _, b := range w.backfills {
			if uniform(t, 8) == 0 && !b.Finished() && !b.Cancelled() {
				w.cancel(b)
			}
		}
	case 3:
		id := one(t, p.nodes...)
		if w.online[id] == nil {
			w.join(id, fmt.Sprintf("%s.%d", id, w.next()))
		} else {
			w.leave(id)
		}
	case 4:
		n := w.nodes[one(t, p.nodes...)].Clone()
		n.Cordoned = !n.Cordoned
		w.putNode(n)
	case 5:
		if uniform(t, 10) == 0 && !p.deleted {
			w.deleteTask(job.Ref("", "a"))
			p.deleted = true
		}
	case 6, 7:
		w.now = w.now.Add(time.Duration(one(t, 1, 3, 8, 20)) * time.Second)
	case 8:
		slices.Reverse(w.masters)
		w.lead()
	case 9:
		w.relist()
	case 10, 11, 12:
		p.work()
	case 13, 14:
		w.drain()
	case 15, 16, 17:
		for s := range streams {
			if uniform(t, 2) == 0 {
				w.hear(w.masters[0], s, 1+uniform(t, 5))
			}
		}
		p.plan()
	default:
		w.hearAll(w.masters[0])
		p.plan()
	}
}

// plan carries a plan out; the answers to some of its writes are lost, and the leader may die on the way.
func (p *backfillers) plan() {
	w := p.w
	for _, a := range w.leader().Plan(w.now) {
		if uniform(p.t, 12) == 0 {
			w.relist()
			return
		}
		if rec, ok := a.(engine.PutRecord); ok {
			w.handle(rec.Record)
			continue
		}
		done := w.do(a)
		w.act("%s: %t", w.describe(a), done)
		w.answer(a, done && uniform(p.t, 6) > 0)
	}
}

// work is what nodes do with what they were asked for.
func (p *backfillers) work() {
	w := p.w
	for _, key := range slices.Sorted(maps.Keys(w.dispatches)) {
		d := w.dispatches[key]
		if w.online[d.Node] == nil || uniform(p.t, 2) == 0 {
			continue
		}
		if d.Started == nil {
			p.started[d.Run]++
			w.start(d, w.online[d.Node].Session)
			continue
		}
		rec := engine.DispatchRecord(d, w.now, one(p.t, job.Success, job.Failed, job.Lost), "")
		w.handOver(&rec)
	}
}

func (p *backfillers) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s\n\n%s", fmt.Sprintf(format, args...), strings.Join(p.w.journal, "\n"))
}

func (p *backfillers) look() {
	for run, n := range p.started {
		if n > 1 {
			p.fail("%s was started %d times", p.w.runName(string(run)), n)
		}
	}
	alive := map[string]int{}
	for _, d := range p.w.dispatches {
		if d.Backfill != "" {
			if alive[d.Backfill]++; alive[d.Backfill] > p.w.backfills[d.Backfill].Parallel {
				p.fail("%s has more at once than %d", d.Backfill, p.w.backfills[d.Backfill].Parallel)
			}
		}
	}
}

// heal lets every node be there, and everything end.
func (p *backfillers) heal() {
	w := p.w
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
		p.work()
		p.look()
	}
}

func (p *backfillers) finished(b *job.Backfill) {
	if !b.Finished() {
		p.fail("not finished: %s", p.w.backfill(b))
	}
	records := 0
	for _, at := range b.Instants() {
		for _, l := range b.Lanes {
			rec := p.w.history[string(b.Run(l.Node, at))]
			switch {
			case rec == nil && !b.Cancelled():
				p.fail("%s of %s has no record", clock(at), b.Key)
			case rec != nil && (rec.Trigger != job.TriggerBackfill || !rec.Instant.Equal(at)):
				p.fail("%s of %s has the record %s", clock(at), b.Key, rec)
			case rec != nil:
				records++
			}
		}
	}
	counted := 0
	for _, n := range b.Outcomes {
		counted += n
	}
	if counted != records {
		p.fail("%s has %d records", p.w.backfill(b), records)
	}
}
