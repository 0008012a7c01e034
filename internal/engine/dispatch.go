package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// Request asks for a run of a task now.
type Request struct {
	Task   job.TaskRef
	Nodes  []job.NodeID // on these; none: as the task's kind has it
	Params map[string]string
	// Key names the request: the same key asks for the same runs. It must be unique to the cause.
	Key     string
	Trigger job.Trigger
	Cause   string // who or what asks
	Attempt int
	Force   bool // an onlyonce task runs although it has succeeded
	// Listed says that it is one of many, see [job.Dispatch]; Parallel how many of those a node has at a time, 0 as the task says. Taken is
	// what was asked for of each node that the state does not know yet, so that many spread.
	Listed   bool
	Parallel int
	Taken    map[job.NodeID]int

	again bool // what the task depends on was met already
	wait  bool // for a node that is offline, until the run may not start any more
	anew  bool // choose although it was asked for before
}

// StartWithin is how long a run that was asked for may wait for its start; of many that were asked for at once, [WaitWithin].
const StartWithin = time.Hour

// NotRun says why a node that a request meant does not run it.
type NotRun = job.NotRun

// Dispatch makes the dispatches of a request: one for each bound node for a common task, one on a node of the
// engine's choice for the other kinds. The nodes that can't run it are listed with the reason; where none can,
// the error says so.
//
// The run id is made of the key and the job, or, where the engine chooses, of the key and the task: the same request
// has the same run although another node might be chosen now.
func (s *State) Dispatch(r Request, now time.Time) ([]*job.Dispatch, []NotRun, error) {
	t := s.tasks[r.Task]
	if t != nil && t.lacks != "" {
		return nil, nil, job.Errorf(job.CodeUnavailable, "task %s can't run: there is no calendar %s", r.Task, t.lacks)
	}
	if t == nil || t.entry == nil {
		return nil, nil, job.Errorf(job.CodeNotFound, "there is no task %s", r.Task)
	}
	on, not, err := s.choose(t, r, now)
	if err != nil {
		return nil, not, err
	}
	chosen := t.chooses(r)
	bound := slices.Sorted(maps.Keys(t.jobs))
	dispatches := make([]*job.Dispatch, 0, len(on))
	for _, id := range on {
		j := t.bind(id, bound, t.jobs[id].sinceTime())
		j.Config = s.configFor(t)
		run := job.CauseID(r.Key, j.Hash)
		if chosen {
			run = t.runOf(r)
		}
		j.EventID = string(run)
		within := StartWithin
		if r.Listed {
			j.Parallel, within = r.Parallel, WaitWithin
		}
		dispatches = append(dispatches, &job.Dispatch{
			Run: run, Node: id, Job: j, Trigger: r.Trigger, Params: r.Params, Cause: r.Cause, Attempt: r.Attempt, Listed: r.Listed,
			RequestedAt: now.UTC(), NotAfter: now.UTC().Add(within),
		})
	}
	return dispatches, not, nil
}

// chooses tells whether the engine chooses the node of a request.
func (t *task) chooses(r Request) bool {
	return len(r.Nodes) == 0 && t.entry.Task.Kind.Kind().Claimed()
}

// runOf is the run of a request whose node the engine chooses.
func (t *task) runOf(r Request) job.RunID { return job.CauseID(r.Key, t.ref.String()) }

// choose picks the nodes of a request.
func (s *State) choose(t *task, r Request, now time.Time) (on []job.NodeID, not []NotRun, err error) {
	want := r.Nodes
	if len(want) == 0 {
		want = slices.Sorted(maps.Keys(t.jobs))
	}
	if len(want) == 0 {
		return nil, nil, job.Errorf(job.CodeUnavailable, "task %s is bound to no node", t.ref).
			WithHint("see where it could run with: rota describe task %s", t.ref)
	}
	if t.chooses(r) && !r.anew {
		for _, id := range want {
			if s.dispatches[dispatchKey{id, t.runOf(r)}] != nil {
				return []job.NodeID{id}, nil, nil // it was asked for before
			}
		}
	}
	for _, id := range want {
		if why := s.whyNot(t, id, r); why != "" {
			not = append(not, NotRun{Node: id, Reason: why})
		} else if unmet := s.unmet(t, id, now); len(unmet) > 0 && !r.again {
			not = append(not, NotRun{Node: id, Reason: waitsFor(unmet), Waits: true})
		} else {
			on = append(on, id)
		}
	}
	if len(on) == 0 {
		var why []string
		for _, n := range not {
			why = append(why, fmt.Sprintf("%s: %s", n.Node, n.Reason))
		}
		code := job.CodeUnavailable
		if t.entry.Task.Mode == job.OnlyOnce && t.learned() && !slices.ContainsFunc(not, func(n NotRun) bool { return s.ranOnce(t, n.Node) == "" || r.Force }) {
			code = job.CodeConflict
		}
		return nil, not, job.Errorf(code, "no node can run %s now (%s)", t.ref, strings.Join(why, "; "))
	}
	if t.chooses(r) {
		on = []job.NodeID{s.leastLoaded(on, r.Key, r.Taken)}
	}
	return on, not, nil
}

func (s *State) whyNot(t *task, id job.NodeID, r Request) string {
	n := s.nodes[id]
	_, bound := t.jobs[id]
	switch {
	case n == nil:
		return "there is no such node"
	case !bound:
		if why := s.unfit(t, id); why != "" {
			return why
		}
		return "the task is not bound to it"
	case n.presence == nil && !r.wait:
		return "it is offline"
	case n.node != nil && n.node.Cordoned && len(r.Nodes) == 0:
		return "it is cordoned"
	case t.entry.Task.Mode == job.OnlyOnce && !r.Force:
		return s.ranOnce(t, id)
	}
	return ""
}

// leastLoaded is the node with the fewest runs, of those online where there are any, and with what is taken besides; ties are broken by the key,
// so that they spread.
func (s *State) leastLoaded(on []job.NodeID, key string, taken map[job.NodeID]int) job.NodeID {
	offline := func(id job.NodeID) int {
		if s.online(id) {
			return 0
		}
		return 1
	}
	return slices.MinFunc(on, func(a, b job.NodeID) int {
		return cmp.Or(cmp.Compare(offline(a), offline(b)), cmp.Compare(s.waiting[a]+taken[a], s.waiting[b]+taken[b]), job.CompareRank(key, a, b))
	})
}

// failDispatches ends the dispatches that will not run any more. Time alone makes them so; looking at them now and then
// is enough, however often a plan is asked for.
func (s *State) failDispatches(now time.Time) []Action {
	if d := now.Sub(s.judged); d >= 0 && d < s.lease/40 {
		return nil
	}
	s.judged = now
	var actions, moves []Action
	for _, d := range s.dispatches {
		if to := s.rescue(d, now); to != nil {
			moves = append(moves, MoveDispatch{Dispatch: d, To: to})
			continue
		}
		outcome, reason := s.fate(d, now)
		if outcome == "" {
			continue
		}
		rec := DispatchRecord(d, now, outcome, reason)
		actions = append(actions, FailDispatch{Dispatch: d, Record: &rec})
	}
	slices.SortFunc(actions, func(a, b Action) int {
		x, y := a.(FailDispatch).Dispatch, b.(FailDispatch).Dispatch
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Run, y.Run))
	})
	slices.SortFunc(moves, func(a, b Action) int {
		return cmp.Compare(a.(MoveDispatch).Dispatch.Run, b.(MoveDispatch).Dispatch.Run)
	})
	return append(actions, moves...)
}

// fate says how a dispatch ends without its node, or nothing.
func (s *State) fate(d *job.Dispatch, now time.Time) (job.Outcome, string) {
	gone := s.gone(d.Node, now)
	switch {
	case d.Started != nil && gone:
		return job.Lost, fmt.Sprintf("node %s went away while it ran", d.Node)
	case d.Started != nil:
		return "", "" // its node, alive, says how it ended, also after a restart
	case d.Backfill != "" && s.cancelled(d.Backfill):
		return job.Skipped, "its backfill was cancelled before it started"
	case d.Execution != "" && s.halted(d.Execution):
		return job.Skipped, "its execution was ended before it started"
	case gone && !waits(d.Trigger):
		return job.Missed, fmt.Sprintf("node %s went away before it started", d.Node)
	case !d.NotAfter.IsZero() && now.Sub(d.NotAfter) > s.lease:
		return job.Missed, fmt.Sprintf("it did not start by %s", d.NotAfter.Format(time.RFC3339))
	}
	return "", ""
}

// waits tells whether a run waits for a node that is away, as long as it may start: what is made up for, and what follows from
// a record, which nobody would ask for again.
func waits(t job.Trigger) bool {
	return t == job.TriggerRetry || t == job.TriggerBackfill || t == job.TriggerNext
}

// DispatchRecord is the record of a dispatch that ended without an execution to tell of.
func DispatchRecord(d *job.Dispatch, now time.Time, outcome job.Outcome, reason string) job.ExecutionRecord {
	begin := now
	if d.Started != nil {
		begin = d.Started.At
	}
	rec := job.CreateExecutionRecord(d.Job, d.Run, begin, now, outcome, reason)
	rec.Instant, rec.Trigger, rec.Cause, rec.Attempt, rec.Params, rec.Execution = d.Instant, d.Trigger, d.Cause, d.Attempt, d.Params, d.Execution
	return rec
}
