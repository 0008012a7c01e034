package engine_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

// flows are what the store has of groups and their executions, and history of those that ended.
type flows struct {
	groups   map[string]*job.Entry[job.Group]
	states   map[string]*job.GroupState
	live     map[string]*job.GroupExecution
	ended    map[string]*job.GroupExecution
	killed   []job.RunID
	names    []string
	begun    map[string]int // how often an execution was begun
	forgets  bool           // planted: an advance loses its document and keeps its dispatches
	oldTasks bool           // planted: history is not looked through
}

func (w *world) putGroup(g job.Group) {
	if w.flows.groups == nil {
		w.flows.groups = map[string]*job.Entry[job.Group]{}
	}
	g.Complete()
	e := &job.Entry[job.Group]{Document: g, CreatedAt: w.now, UpdatedAt: w.now, Generation: 1, Revision: w.next()}
	if old := w.flows.groups[g.Name]; old != nil {
		e.CreatedAt, e.Generation = old.CreatedAt, old.Generation+1
	}
	w.flows.groups[g.Name] = e
	w.note("people: group %s", g.Name)
	w.tell(groups, g.Name, engine.GroupPut{Entry: e})
}

func (w *world) deleteGroup(name string) {
	delete(w.flows.groups, name)
	w.tell(groups, name, engine.GroupDeleted{Name: name})
}

func (w *world) putState(s *job.GroupState) {
	if w.flows.states == nil {
		w.flows.states = map[string]*job.GroupState{}
	}
	c := *s
	c.Revision = w.next()
	w.flows.states[s.Group] = &c
	w.tell(groupStates, s.Group, engine.GroupStatePut{State: &c})
}

func (w *world) putExecution(e *job.GroupExecution) {
	if w.flows.live == nil {
		w.flows.live = map[string]*job.GroupExecution{}
	}
	raw, err := json.Marshal(e) // what the store keeps is what comes back
	if err != nil {
		panic(err)
	}
	c := new(job.GroupExecution)
	if err := json.Unmarshal(raw, c); err != nil {
		panic(err)
	}
	if err := c.Valid(); err != nil {
		panic(err)
	}
	c.Revision = w.next()
	w.flows.live[e.ID] = c
	w.tell(executions, e.ID, engine.ExecutionPut{Execution: c})
}

func (w *world) begin(e *job.GroupExecution) bool {
	if w.flows.live[e.ID] != nil {
		return false
	}
	if w.flows.begun == nil {
		w.flows.begun = map[string]int{}
	}
	w.flows.begun[e.ID]++
	w.putExecution(e)
	return true
}

// doFlow carries an action out, as package store does.
func (w *world) doFlow(a engine.Action) bool {
	switch a := a.(type) {
	case engine.AdvanceExecution:
		old := w.flows.live[a.Execution.ID]
		if old == nil || old.Revision != a.Execution.Revision || !w.factsAre(a.Facts) {
			return false
		}
		for _, d := range a.Dispatches {
			if w.dispatches[string(d.Node)+"/"+string(d.Run)] != nil {
				return false
			}
		}
		if !w.flows.forgets || len(a.Dispatches) == 0 {
			w.putExecution(a.Execution)
		}
		for _, d := range a.Dispatches {
			w.putDispatch(d)
		}
		for _, f := range a.Facts {
			w.putFact(f)
		}
	case engine.StartExecution:
		if w.flows.ended[a.Execution.ID] != nil {
			return true // the master looks
		}
		return w.begin(a.Execution)
	case engine.KillStep:
		w.flows.killed = append(w.flows.killed, a.Kill.Run)
	case engine.FireGroup:
		rev, group := int64(0), w.flows.groups[a.State.Group]
		if old := w.flows.states[a.State.Group]; old != nil {
			rev = old.Revision
		}
		if group == nil || group.Revision != a.Revision || rev != a.State.Revision {
			return false
		}
		for _, e := range a.Executions {
			if w.flows.live[e.ID] != nil {
				return false
			}
		}
		w.putState(a.State)
		for _, e := range a.Executions {
			w.begin(e)
		}
	case engine.DropGroupState:
		if old := w.flows.states[a.State.Group]; w.flows.groups[a.State.Group] != nil || old == nil || old.Revision != a.State.Revision {
			return false
		}
		delete(w.flows.states, a.State.Group)
		w.tell(groupStates, a.State.Group, engine.GroupStateDeleted{Name: a.State.Group})
	}
	return true
}

// keepFlows is what the master does beside the engine: it looks through history for runs, and keeps what has ended.
func (w *world) keepFlows() {
	runs := w.leader().UnknownSteps()
	for _, run := range runs {
		if rec := w.history[string(run)]; rec != nil && !w.flows.oldTasks {
			w.stepEnded(rec)
		}
	}
	w.leader().Apply(engine.StepsLearned{Runs: runs})
	for _, id := range slices.Sorted(maps.Keys(w.flows.live)) {
		e := w.flows.live[id]
		if !e.Ended() {
			continue
		}
		if w.flows.ended == nil {
			w.flows.ended = map[string]*job.GroupExecution{}
		}
		w.flows.ended[id] = e
		delete(w.flows.live, id)
		w.tell(executions, id, engine.ExecutionDeleted{ID: id})
	}
}

func (w *world) stepEnded(rec *job.ExecutionRecord) {
	if now := w.history[rec.ID]; now != nil {
		rec = now
	}
	w.leader().Apply(engine.StepEnd{Run: job.RunID(rec.ID), Node: rec.Node, Outcome: rec.Outcome, Reason: rec.Reason, Result: rec.Result})
}

func (w *world) relistFlows(m *master) {
	for _, g := range w.flows.groups {
		m.state.Apply(engine.GroupPut{Entry: g})
	}
	for _, s := range w.flows.states {
		m.state.Apply(engine.GroupStatePut{State: s})
	}
	for _, e := range w.flows.live {
		m.state.Apply(engine.ExecutionPut{Execution: e})
	}
}

// flowName gives executions short names, in the order in which they appear.
func (w *world) flowName(id string) string {
	i := slices.Index(w.flows.names, id)
	if i < 0 {
		i, w.flows.names = len(w.flows.names), append(w.flows.names, id)
	}
	return fmt.Sprintf("ex%d", i+1)
}

// flow writes how far an execution came.
func (w *world) flow(e *job.GroupExecution) string {
	s := fmt.Sprintf("%s of %s: %s", w.flowName(e.ID), e.Group, e.Status)
	if e.Reason != "" {
		s += " (" + w.named(e.Reason) + ")"
	}
	if !e.Instant.IsZero() {
		s += ", of " + clock(e.Instant)
	}
	if e.Count > 1 {
		s += fmt.Sprintf("..%s, %d", clock(e.Until), e.Count)
	}
	for i := range e.Steps {
		st := &e.Steps[i]
		s += fmt.Sprintf("; %s %s", st.Name, st.State)
		if st.Lanes != "" {
			s += " " + string(st.Lanes)
		}
		if st.Reason != "" {
			s += " (" + w.named(st.Reason) + ")"
		}
		for _, n := range st.Notes {
			s += " [" + n + "]"
		}
	}
	return s
}

func (w *world) named(text string) string {
	for i, id := range w.flows.names {
		text = strings.ReplaceAll(text, id, fmt.Sprintf("ex%d", i+1))
	}
	return text
}

func (w *world) describeFlow(a engine.Action) string {
	switch a := a.(type) {
	case engine.AdvanceExecution:
		s := "advance " + w.flow(a.Execution)
		for _, d := range a.Dispatches {
			s += fmt.Sprintf("\n  %s: %s", w.dispatch(d), d.Job.Command)
			if len(d.Data) > 0 {
				raw, err := json.Marshal(d.Data)
				if err != nil {
					panic(err)
				}
				s += " with " + string(raw)
			}
		}
		return s
	case engine.StartExecution:
		return "begin " + w.flow(a.Execution)
	case engine.KillStep:
		return "kill " + w.runName(string(a.Kill.Run)) + ": " + w.named(a.Kill.By)
	case engine.FireGroup:
		s := fmt.Sprintf("group %s is told up to %s", a.State.Group, clock(a.State.At))
		for _, e := range a.Executions {
			s += "\n  begin " + w.flow(e)
		}
		return s
	case engine.DropGroupState:
		return "drop the state of group " + a.State.Group
	}
	return ""
}

// flow does the commands of scenarios that are about groups.
func (s *scenario) flow(args []string) {
	w, name := s.w, args[1]
	of := func() *job.GroupExecution {
		for id, e := range w.flows.live {
			if w.flowName(id) == name {
				return e
			}
		}
		for id, e := range w.flows.ended {
			if w.flowName(id) == name {
				return e
			}
		}
		s.t.Fatalf("there is no execution %s", name)
		return nil
	}
	begin := func(e *job.GroupExecution, err error) {
		if err != nil {
			s.say("%v", err)
			return
		}
		e.Key = fmt.Sprint("run", len(w.flows.names))
		e.ID, e.CreatedAt = job.ExecutionID(e.Group, e.Key), w.now
		if e.Trigger == "" {
			e.Trigger = job.TriggerRun
		}
		s.say("%s: %t", w.flow(e), w.begin(e))
	}
	switch args[0] {
	case "group":
		g := job.Group{Name: name}
		for _, f := range args[2:] {
			k, v, ok := strings.Cut(f, "=")
			if v = strings.Trim(v, `"`); !ok {
				continue
			}
			switch k {
			case "timer":
				g.Timer = job.Timer(v)
			case "catchup":
				g.Catchup = job.Catchup(v)
			case "overlap":
				g.Overlap = job.Overlap(v)
			case "on_failure":
				g.OnFailure = job.OnFailure(v)
			case "timeout":
				g.Timeout = job.Duration(s.duration(v))
			case "max_parallel":
				fmt.Sscan(v, &g.MaxParallel)
			case "param":
				p, value, _ := strings.Cut(v, ":")
				g.Params = map[string]job.Param{p: {Default: &value}}
			default:
				s.t.Fatalf("unknown field %q", k)
			}
		}
		if err := g.Valid(); err != nil {
			s.t.Fatal(err)
		}
		w.putGroup(g)
	case "delete-group":
		w.deleteGroup(name)
	case "pause-group", "resume-group":
		state := *w.flows.states[name]
		if state.Paused = args[0] == "pause-group"; state.Paused {
			state.PausedAt = w.now
		} else {
			state.ResumedAt = w.now
		}
		w.putState(&state)
	case "run-group":
		params := map[string]string{}
		for _, p := range args[2:] {
			if k, v, ok := strings.Cut(p, "="); ok {
				params[k] = v
			}
		}
		begin(w.leader().PlanExecution(name, params))
	case "cancel-execution":
		e := of().Clone()
		e.CancelledAt, e.CancelledBy = w.now, "somebody"
		w.putExecution(e)
	case "retry-execution":
		old := of()
		e, err := w.leader().PlanExecution(old.Group, old.Params)
		if err == nil {
			e.TakeOver(old)
			e.Trigger = job.TriggerRetry
		}
		begin(e, err)
	case "executions":
		for _, list := range []map[string]*job.GroupExecution{w.flows.ended, w.flows.live} {
			for _, e := range slices.SortedFunc(maps.Values(list), func(a, b *job.GroupExecution) int {
				return slices.Index(w.flows.names, a.ID) - slices.Index(w.flows.names, b.ID)
			}) {
				s.say("%s", w.flow(e))
			}
		}
	}
}
