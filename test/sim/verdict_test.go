package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// judge looks at history when all is over.
func (w *world) judge() {
	if w.whole.IsZero() {
		return
	}
	recs := w.history()
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	w.tasks.records = len(recs)
	byTask := map[job.TaskRef][]*job.ExecutionRecord{}
	for i := range recs {
		byTask[recs[i].Ref()] = append(byTask[recs[i].Ref()], &recs[i])
	}
	for _, ref := range w.tasks.refs() {
		w.accounted(ref, byTask[ref])
	}
	w.kept(recs)
	w.independent()
	w.stillness()
	w.rested()
}

// history is all of it.
func (w *world) history() (all []job.ExecutionRecord) {
	f := job.RecordFilter{Limit: 1000}
	for {
		page, err := w.db.Records(context.Background(), f)
		if err != nil {
			w.fail("history can't be read: %v", err)
			return nil
		}
		all = append(all, page.Records...)
		if f.Cursor = page.Next; f.Cursor == "" {
			return all
		}
	}
}

// accounted checks that each instant of a task that was due until the cluster was whole has exactly one outcome.
func (w *world) accounted(ref job.TaskRef, recs []*job.ExecutionRecord) {
	type key struct {
		node job.NodeID // empty: of the task
		at   int64
	}
	told := map[key][]*job.ExecutionRecord{}
	used := map[*job.ExecutionRecord]int{}
	made := time.Time{} // the task that there is now
	if e := w.tasks.now(ref); e != nil {
		made = e.CreatedAt
	}
	claims := func(r *job.ExecutionRecord) bool {
		return r.Node == "" || len(r.Owed) == 0 && r.ID != string(job.FiringID(ref, r.Node, r.Instant)) // what a node owes the leader tells by a name of its own
	}
	expect := func(node job.NodeID, claimed bool, i time.Time) {
		k := key{node, i.Unix()}
		for _, r := range recs {
			if r.Trigger.Accounts() && r.Trigger != job.TriggerRetry && !r.Instant.IsZero() && r.Covers(i) && claims(r) == claimed && (claimed || r.Node == node) {
				told[k] = append(told[k], r)
				used[r]++
			}
		}
		about := []string{ref.Name + " "}
		where := ""
		if node != "" {
			where = " on " + string(node)
		}
		if len(told[k]) > 1 {
			// A record of many instants tells of those of its rule, not of what another rule has between them; and that of a clock which was
			// ahead may be of a task that is another one now.
			other := func(r *job.ExecutionRecord) bool {
				return r.Count > 1 && (r.Instant.Before(made) || !w.tasks.dueBy(ref, r.Generation, i))
			}
			if own := slices.DeleteFunc(slices.Clone(told[k]), other); len(own) > 0 {
				told[k] = own
			}
		}
		switch n := len(told[k]); {
		case n == 0:
			w.seen.breaks("Accounted", about, "instant %s of %s%s has no outcome", clockTime(i), ref.Name, where)
		case n > 1:
			w.seen.breaks("Accounted", about, "instant %s of %s%s has %d outcomes: %s", clockTime(i), ref.Name, where, n, list(told[k]))
		}
	}
	bound := w.bound(ref)
	for _, e := range w.tasks.eras(ref) {
		if e.claimed {
			for _, i := range e.due(time.Time{}, w.whole) {
				expect("", true, i)
			}
			continue
		}
		for _, n := range w.sc.nodes {
			since, ok := bound[n]
			if !ok {
				continue
			}
			for _, i := range e.due(since, w.whole) {
				expect(n, false, i)
			}
		}
	}
	for _, r := range recs {
		if !r.Trigger.Accounts() || r.Instant.IsZero() {
			continue
		}
		if !w.tasks.everDue(ref, r.Instant) {
			w.seen.breaks("Accounted", []string{ref.Name + " "}, "record %.8s tells of instant %s of %s, which never was due", r.ID, clockTime(r.Instant), ref.Name)
		}
		if n := used[r]; r.Count > 1 && n > 0 && n != r.Count && !r.Until.After(w.whole) && !w.tasks.deleted(ref) && len(w.tasks.eras(ref)) == 1 {
			w.seen.breaks("Accounted", []string{ref.Name + " "}, "record %.8s of %s tells of %d instants from %s to %s, where %d were due", r.ID, ref.Name, r.Count, clockTime(r.Instant), clockTime(r.Until), n)
		}
	}
}

func list(recs []*job.ExecutionRecord) string {
	text := ""
	for _, r := range recs {
		text += fmt.Sprintf("[%.8s %s on %s, %s, %d from %s] ", r.ID, r.Outcome, r.Node, r.Trigger, max(1, r.Count), clockTime(r.Instant))
	}
	return text
}

// bound are the nodes that a task is bound to, and since when. Those that were there when it was applied, in peace, have it since it is.
func (w *world) bound(ref job.TaskRef) map[job.NodeID]time.Time {
	jobs, _, err := w.admin.Jobs().List(context.Background())
	if err != nil {
		w.seen.breaks(broken, nil, "the jobs can't be listed: %v", err)
	}
	bound := map[job.NodeID]time.Time{}
	for _, j := range jobs {
		if j.Ref() == ref {
			bound[j.NodeID] = j.Since
		}
	}
	e := w.tasks.now(ref)
	if e == nil {
		return bound
	}
	for _, n := range w.sc.nodes {
		since, ok := bound[n]
		meant := len(e.Task.Nodes) == 0 || slices.Contains(e.Task.Nodes, n)
		switch {
		case ok != meant:
			w.seen.breaks("Accounted", []string{ref.Name + " "}, "task %s is bound to %s: %v, and should be: %v", ref.Name, n, ok, meant)
		case ok && !w.tasks.deleted(ref) && since.After(e.CreatedAt):
			w.seen.breaks("Accounted", []string{ref.Name + " "}, "task %s, made at %s, counts on %s only since %s", ref.Name, clockTime(e.CreatedAt), n, clockTime(since))
		}
	}
	return bound
}

// kept checks that what was executed, and what was promised, is in history, as it was.
func (w *world) kept(recs []job.ExecutionRecord) {
	byID := map[job.RunID]*job.ExecutionRecord{}
	for i := range recs {
		id := job.RunID(recs[i].ID)
		if byID[id] != nil {
			w.seen.breaks("Kept", []string{string(id)[:8]}, "record %s is in history twice", id)
		}
		byID[id] = &recs[i]
	}
	for _, run := range sorted(w.seen.byRun) {
		attempts := w.seen.byRun[run]
		last := attempts[len(attempts)-1]
		about := []string{string(run)[:8]}
		rec := byID[run]
		switch {
		case last.end.IsZero() || last.begin.After(w.whole) || last.end.After(w.whole.Add(minute)):
			continue
		case rec == nil && w.forgotten(last):
			continue
		case rec == nil:
			w.seen.breaks("Kept", about, "%s ran on %s until %s, %s, and history knows nothing of it", last, last.node, clockTime(last.end), last.outcome)
			continue
		}
		switch {
		case last.outcome == "", w.crashed(last): // its machine crashed
			if !rec.Outcome.Ran() && !w.forgotten(last) {
				w.seen.breaks("Kept", about, "%s ran on %s, and history says %s: %s", last, last.node, rec.Outcome, rec.Reason)
			}
		case rec.Outcome != last.outcome && rec.Outcome != job.Killed && !w.forgotten(last):
			w.seen.breaks("Kept", about, "%s ended on %s with %s, and history says %s: %s", last, last.node, last.outcome, rec.Outcome, rec.Reason)
		}
	}
	waiting, _, err := w.admin.Waiting().List(context.Background())
	if err != nil {
		w.seen.breaks(broken, nil, "what waits can't be listed: %v", err)
	}
	for _, run := range sorted(w.seen.asked) {
		ref := w.seen.asked[run]
		if byID[run] == nil && !w.tasks.deleted(ref) && !slices.ContainsFunc(waiting, func(r *job.Waiting) bool { return r.Run == run }) {
			w.seen.breaks("Kept", []string{string(run)[:8]}, "run %s of %s was promised, and history knows nothing of it", run, ref.Name)
		}
	}
}

func sorted[V any](m map[job.RunID]V) (ids []job.RunID) {
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// betweenAttempts is longer than anything waits between two attempts.
const betweenAttempts = 6 * time.Second

// crashed tells whether the machine of a run crashed before the agent has had the time to note its end.
func (w *world) crashed(s *started) bool {
	m := w.machine(string(s.node))
	return slices.ContainsFunc(m.crashes, func(c crash) bool {
		return c.power && !c.at.Before(s.begin) && w.attended(m, span{s.end, c.at}) < betweenAttempts
	})
}

// attended is for how long in a time a machine's agent was alive, and not stopped.
func (w *world) attended(m *machine, in span) (d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.born_ {
		l, ok := l.(*life)
		if !ok || process(l.client) != string(m.id) {
			continue
		}
		from, to := l.began, in.to
		if from.Before(in.from) {
			from = in.from
		}
		if !l.ended.IsZero() && l.ended.Before(to) {
			to = l.ended
		}
		if from.Before(to) && !m.disturbed(span{from, to}) {
			d += to.Sub(from)
		}
	}
	return d
}

// forgotten tells whether the node may have forgotten a run: its disk was full when it should have noted it, and its agent died before
// there was room again.
func (w *world) forgotten(s *started) bool {
	m := w.machine(string(s.node))
	again := s.kind == job.KindCommon && !s.asked // it may have been told of before the node forgot it, and begun after that
	return slices.ContainsFunc(m.crashes, func(c crash) bool { return c.full && (again || c.at.After(s.begin)) })
}

// rested checks that nothing is left over in etcd.
func (w *world) rested() {
	ctx := context.Background()
	if n, err := w.admin.Records().Count(ctx); err != nil || n > 0 {
		for _, s := range w.seen.starts {
			if s.begin.After(time.Now().Add(-2 * time.Second)) {
				return
			}
		}
		time.Sleep(time.Second)
		if n, err = w.admin.Records().Count(ctx); err != nil || n > 20 {
			w.seen.breaks(rest, nil, "%d records are left in etcd (%v)", n, err)
		}
	}
	locks, _, err := w.admin.Locks().List(ctx)
	if err != nil {
		w.seen.breaks(rest, nil, "the locks can't be listed: %v", err)
	}
	for _, l := range locks {
		if s := w.seen.byRun[l.Run]; len(s) > 0 && !s[len(s)-1].end.IsZero() && time.Since(s[len(s)-1].end) > 30*time.Second {
			w.seen.breaks(rest, []string{l.Task.Name + " "}, "the lock of %s is still that of run %s, which ended at %s", l.Task.Name, l.Run, clockTime(s[len(s)-1].end))
		}
	}
}

// span is a time.
type span struct{ from, to time.Time }

// independent checks that an agent that has come to fire a common task went on with it, whatever became of etcd and masters.
func (w *world) independent() {
	begun := map[job.RunID]*started{}
	first := map[[2]string]*started{} // by life and task
	for _, s := range w.seen.starts {
		if s.attempt > 1 || s.asked { // a further attempt may be of a run that an earlier life fired
			continue
		}
		if begun[s.run] == nil { // what its node forgot, for its disk was full, may begin again later
			begun[s.run] = s
		}
		if k := [2]string{s.life, s.task.Name}; s.kind == job.KindCommon && first[k] == nil {
			first[k] = s
		}
	}
	for _, s := range w.seen.starts {
		k := [2]string{s.life, s.task.Name}
		if first[k] != s {
			continue
		}
		vs := w.tasks.of(s.task)
		if len(vs) != 1 || vs[0] == nil {
			continue // edited, paused or deleted
		}
		m, l := w.machine(string(s.node)), w.lifeOf(s.life)
		if l == nil {
			continue
		}
		until := w.whole
		if l.ended.Before(until) && !l.ended.IsZero() {
			until = l.ended
		}
		late := vs[0].Task.Jitter.Std() + 2*time.Second
		for _, e := range w.tasks.eras(s.task) {
			for _, i := range e.due(s.begin, until.Add(-late)) {
				at := span{i.Add(-time.Second), i.Add(late)}
				if m.disturbed(at) || w.seen.alive(s.task, s.node, at) {
					continue
				}
				if b := begun[job.FiringID(s.task, s.node, i)]; b == nil || b.begin.After(i.Add(late)) {
					w.seen.breaks("Independent", []string{s.task.Name + " "}, "instant %s of %s did not begin on %s, whose agent was alive and had fired the task before", clockTime(i), s.task.Name, s.node)
				}
			}
		}
	}
}

// alive tells whether runs of a task were alive on a node when an instant's turn came: in.to is two seconds after the last moment for it.
func (o *observer) alive(ref job.TaskRef, node job.NodeID, in span) bool {
	return slices.ContainsFunc(o.starts, func(s *started) bool {
		return s.task == ref && s.node == node && s.begin.Before(in.to.Add(-2*time.Second-time.Millisecond)) && (s.end.IsZero() || s.end.Add(betweenAttempts).After(in.from))
	})
}

func (w *world) lifeOf(client string) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.born_ {
		if l, ok := l.(*life); ok && l.client == client {
			return l
		}
	}
	return nil
}
