package chaos

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/schedule"
	"github.com/rota-dev/rota/test/harness"
)

// duty is a task that is judged.
type duty struct {
	job.Task
	nodes []job.NodeID // that each owe every instant, or the one run; nil: the task does
}

// span is a time on a machine.
type span struct {
	machine  string
	from, to int64 // as in life
}

func (s span) meets(machine job.NodeID, from, to int64) bool {
	return s.machine == string(machine) && s.from <= to && from <= s.to
}

// evidence is all that a judgement needs.
type evidence struct {
	lives    []*life
	records  map[string][]job.ExecutionRecord // by task
	asked    map[string][]job.RunID           // the runs that were acknowledged, by key; all were asked of the task "asked"
	from, to time.Time                        // the instants that must be accounted for
	clocks   []span                           // when a clock was off
	deaf     []span                           // when a guard was stopped: nobody ends what runs there
}

// verdict is what was found.
type verdict struct {
	faults   []string
	outcomes map[string]map[job.Outcome]int
	excused  int // overlaps that Rota does not promise to prevent
}

func (v *verdict) faultf(format string, args ...any) {
	v.faults = append(v.faults, fmt.Sprintf(format, args...))
}

// judge holds history against what the runs wrote down.
func (e *evidence) judge(duties []duty) *verdict {
	v := &verdict{outcomes: map[string]map[job.Outcome]int{}}
	for _, l := range e.lives {
		if l.begins > 1 {
			v.faultf("once: run %s of %s was executed %d times", l.run, l.task, l.begins)
		}
	}
	ids := map[string]bool{}
	for _, d := range duties {
		v.outcomes[d.Name] = map[job.Outcome]int{}
		for _, r := range e.records[d.Name] {
			if ids[r.ID] {
				v.faultf("kept: record %s of %s is in history twice", r.ID, d.Name)
			}
			ids[r.ID] = true
			if r.Outcome != job.Success && r.Reason == "" {
				v.faultf("accounted: record %s of %s is %s, and nobody says why", r.ID, d.Name, r.Outcome)
			}
		}
		lives := slices.DeleteFunc(slices.Clone(e.lives), func(l *life) bool { return l.task != d.Name })
		switch {
		case d.Timer != "":
			e.judgeInstants(v, d, lives)
		case d.Mode == job.OnlyOnce:
			e.judgeFirsts(v, d, lives)
		default:
			e.judgeAsked(v, d, lives)
		}
		if d.Kind == "alone" {
			e.judgeAlone(v, d, lives)
		}
	}
	return v
}

// place tells an instant of a task, on a node where each node owes it.
type place struct {
	node    job.NodeID
	instant string
}

// judgeInstants is the check of Jepsen's test of Chronos, with names in place of its matching: since each run says which instant it is for, there
// is but one way to assign runs to targets. Each target has its one complete run, or one record that says why not.
func (e *evidence) judgeInstants(v *verdict, d duty, lives []*life) {
	byPlace := map[place][]*life{}
	for _, l := range lives {
		if l.instant == "-" {
			v.faultf("once: run %s of %s has no instant, and nobody asked for it", l.run, l.task)
			continue
		}
		p := place{instant: l.instant}
		if d.nodes != nil {
			p.node = l.node
		}
		byPlace[p] = append(byPlace[p], l)
		if at, err := time.Parse(time.RFC3339, l.instant); err != nil || l.wall.Before(at) && !slices.ContainsFunc(e.clocks, func(s span) bool { return s.meets(l.node, l.begin, l.begin) }) {
			v.faultf("accounted: run %s of %s for %s began %s before that, on %s, whose clock is right (%v)", l.run, l.task, l.instant, at.Sub(l.wall), l.node, err)
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(byPlace), func(a, b place) int { return byPlace[a][0].cmp(byPlace[b][0]) }) {
		if runs := byPlace[p]; len(runs) > 1 {
			v.faultf("once: %s ran %d times for %s %s: %s", d.Name, len(runs), p.instant, p.node, names(runs))
		}
	}
	for p, recs := range e.accounts(d) {
		if len(recs) != 1 {
			v.faultf("accounted: %s has %d records for %s %s: %v", d.Name, len(recs), p.instant, p.node, recs)
			continue
		}
		e.agree(v, d, &recs[0], byPlace[p])
	}
}

func (l *life) cmp(o *life) int { return int(l.begin - o.begin) }

func names(lives []*life) (list []string) {
	for _, l := range lives {
		list = append(list, fmt.Sprintf("%s on %s at %s", l.run, l.node, l.wall.UTC().Format("15:04:05.000")))
	}
	return list
}

// accounts are the records of each instant that a task owes.
func (e *evidence) accounts(d duty) map[place][]job.ExecutionRecord {
	s, err := schedule.Parse(string(d.Timer), schedule.Options{})
	if err != nil {
		panic(err)
	}
	byNode := map[job.NodeID][]job.ExecutionRecord{}
	for _, r := range e.records[d.Name] {
		node := r.Node
		if d.nodes == nil {
			node = ""
		}
		byNode[node] = append(byNode[node], r)
	}
	nodes := d.nodes
	if nodes == nil {
		nodes = []job.NodeID{""}
	}
	all := map[place][]job.ExecutionRecord{}
	for i := s.Next(e.from); !i.IsZero() && !i.After(e.to); i = s.Next(i) {
		for _, n := range nodes {
			all[place{n, job.FormatInstant(i)}] = harness.Covering(byNode[n], i)
		}
	}
	return all
}

// agree holds a record against the lives that it is about, of which there is one at most.
func (e *evidence) agree(v *verdict, d duty, r *job.ExecutionRecord, lives []*life) {
	v.outcomes[d.Name][r.Outcome]++
	what := fmt.Sprintf("%s %s", d.Name, r.ID)
	if !r.Instant.IsZero() {
		what += " for " + job.FormatInstant(r.Instant)
	}
	if len(lives) == 0 {
		if r.Outcome == job.Success {
			v.faultf("kept: history says that %s succeeded on %s, and nothing ran", what, r.Node)
		}
		return
	}
	l := lives[0]
	switch r.Outcome {
	case job.Success:
		if !l.ended || l.node != r.Node {
			v.faultf("kept: history says that %s succeeded on %s; it ran on %s, and its end is told: %v", what, r.Node, l.node, l.ended)
		}
	case job.Missed, job.Skipped:
		v.faultf("kept: history says that %s was %s (%s), but it ran on %s at %s", what, r.Outcome, r.Reason, l.node, l.wall.UTC())
	case job.Failed, job.Timeout:
		v.faultf("kept: history says that %s %s (%s); it ran on %s, and its end is told: %v", what, r.Outcome, r.Reason, l.node, l.ended)
	}
}

// judgeAlone checks that no two runs were alive together, and that what they were handed to tell themselves apart grew.
func (e *evidence) judgeAlone(v *verdict, d duty, lives []*life) {
	var before *life // the one that was alive last
	for _, l := range lives {
		var other *life
		for _, o := range lives {
			if o != l && o.begin <= l.begin && o.last > l.begin {
				other = o
			}
		}
		deaf := func(o *life) bool {
			return o != l && o.begin <= l.begin && !(o.ended && o.last < l.begin) &&
				slices.ContainsFunc(e.deaf, func(s span) bool { return s.meets(o.node, o.begin, l.begin) })
		}
		switch {
		case other == nil && !l.overlapped:
		case slices.ContainsFunc(lives, deaf):
			v.excused++
		case other != nil:
			v.faultf("exclusive: %s: %s began while %s was alive, which wrote %s later", d.Name, names([]*life{l}), names([]*life{other}), time.Duration(other.last-l.begin))
		default:
			v.faultf("exclusive: %s: %s began while another process held the task", d.Name, names([]*life{l}))
		}
		if before != nil && l.fence <= before.fence {
			v.faultf("exclusive: %s: %s has the fence %d, and %s before it had %d", d.Name, names([]*life{l}), l.fence, names([]*life{before}), before.fence)
		}
		before = l
	}
}

// judgeAsked checks that each request is one run, executed once at most, with one record.
func (e *evidence) judgeAsked(v *verdict, d duty, lives []*life) {
	known := map[string]string{}
	for key, runs := range e.asked {
		if len(runs) != 1 {
			v.faultf("once: the key %s is the runs %v", key, runs)
		}
		for _, run := range runs {
			if other, ok := known[string(run)]; ok && other != key {
				v.faultf("once: the keys %s and %s are both the run %s", key, other, run)
			}
			known[string(run)] = key
		}
	}
	for _, l := range lives {
		if known[l.run] == "" {
			v.faultf("once: %s ran, and nobody asked for it", names([]*life{l}))
		}
	}
	for run, key := range known {
		recs := slices.DeleteFunc(slices.Clone(e.records[d.Name]), func(r job.ExecutionRecord) bool { return r.ID != run })
		if len(recs) != 1 {
			v.faultf("kept: run %s of the key %s has %d records: %v", run, key, len(recs), recs)
			continue
		}
		e.agree(v, d, &recs[0], slices.DeleteFunc(slices.Clone(lives), func(l *life) bool { return l.run != run }))
	}
}

// judgeFirsts checks that a task that runs once on each node succeeded there once at most, and was told everywhere.
func (e *evidence) judgeFirsts(v *verdict, d duty, lives []*life) {
	succeeded, told := map[job.NodeID]int{}, map[job.NodeID]bool{}
	for _, r := range e.records[d.Name] {
		told[r.Node] = true
		if r.Outcome == job.Success {
			succeeded[r.Node]++
		}
		e.agree(v, d, &r, slices.DeleteFunc(slices.Clone(lives), func(l *life) bool { return l.run != r.ID }))
	}
	for _, n := range d.nodes {
		if succeeded[n] > 1 {
			v.faultf("once: %s succeeded %d times on %s", d.Name, succeeded[n], n)
		}
		if !told[n] {
			v.faultf("accounted: nothing is told of %s on %s", d.Name, n)
		}
	}
	for _, l := range lives {
		if !slices.ContainsFunc(e.records[d.Name], func(r job.ExecutionRecord) bool { return r.ID == l.run }) {
			v.faultf("kept: %s of %s has no record", names([]*life{l}), d.Name)
		}
	}
}
