package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// advance is one step forward of an execution.
type advance struct {
	s          *State
	x          *execution
	next       *job.GroupExecution
	now        time.Time
	changed    bool
	dispatches []*job.Dispatch
	facts      []*job.Fact
	bytes      int
}

// again has the execution looked at after a while, at the latest.
func (v *advance) again(after time.Duration) {
	if at := v.now.Add(after); v.x.look.IsZero() || at.Before(v.x.look) {
		v.x.look = at
	}
}

// step is what is to be written now, or nil.
func (v *advance) step() *AdvanceExecution {
	e := v.next
	v.takeIn()
	if e.Status == job.ExecutionWaiting && !e.Halted() && v.s.mayBegin(e) {
		e.Status, e.BeganAt, v.changed = job.ExecutionRunning, v.now.UTC(), true
	}
	v.expire()
	for i := range e.Steps {
		v.move(&e.Steps[i])
	}
	v.end()
	if !v.changed {
		return nil
	}
	return &AdvanceExecution{Execution: e, Dispatches: v.dispatches, Facts: v.facts}
}

// mayBegin tells whether an execution's turn has come.
func (s *State) mayBegin(e *job.GroupExecution) bool {
	if !e.Queue {
		return true
	}
	for _, x := range s.executions {
		o := x.spec
		if o.Group == e.Group && o.ID != e.ID && !o.Ended() && (o.CreatedAt.Before(e.CreatedAt) || o.CreatedAt.Equal(e.CreatedAt) && o.ID < e.ID) {
			return false
		}
	}
	return true
}

// expire ends an execution that takes too long.
func (v *advance) expire() {
	e := v.next
	if e.Timeout <= 0 || e.BeganAt.IsZero() || e.Halted() {
		return
	}
	if left := e.BeganAt.Add(e.Timeout.Std()).Sub(v.now); left > 0 {
		v.again(left)
		return
	}
	e.TimedOutAt, v.changed = v.now.UTC(), true
	v.again(v.s.poll())
}

// takeIn notes which runs have ended.
func (v *advance) takeIn() {
	runs := make([]job.RunID, 0, len(v.x.news))
	for run := range v.x.news {
		runs = append(runs, run)
	}
	slices.Sort(runs)
	for _, run := range runs {
		at, asked := v.x.asked[run]
		if !asked {
			continue
		}
		v.changed = true
		v.settle(&v.next.Steps[at.step], at.at, v.x.news[run])
	}
}

func (v *advance) settle(s *job.Step, at int, end StepEnd) {
	if end.Outcome == job.Lost && s.Task != nil && s.Task.Task.OnLost == job.LostRerun && s.Tries[at] < maxReruns && !v.next.Halted() {
		tries := map[int]int{at: s.Tries[at] + 1}
		for k, n := range s.Tries {
			if k != at {
				tries[k] = n
			}
		}
		s.Tries, s.Lanes = tries, s.Lanes.With(at, job.LaneOpen)
		return
	}
	s.Lanes = s.Lanes.Settle(at, end.Outcome)
	v.next.KeepResult(s, at, end.Result)
	node, _ := s.Place(at)
	switch {
	case end.Outcome == job.Success && node == "" && end.Node != "" && !slices.Contains(s.On, end.Node):
		s.On = append(s.On, end.Node)
	case end.Outcome != job.Success && s.Reason == "":
		s.Reason = laneFault(s, at, end)
	}
}

// laneFault says how the first run that failed did.
func laneFault(s *job.Step, at int, end StepEnd) string {
	text := string(end.Outcome)
	if _, item := s.Place(at); s.ForEach != "" && item < len(s.Items) {
		text = "item " + clip(string(s.Items[item]), 60) + ": " + text
	}
	if end.Node != "" {
		text += " on " + string(end.Node)
	}
	if end.Reason != "" {
		text += ": " + clip(end.Reason, 200)
	}
	return text
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// move brings one step forward as far as it goes now.
func (v *advance) move(s *job.Step) {
	if s.State == job.StepWaiting {
		v.ready(s)
	}
	if s.State == job.StepRunning {
		v.ask(s)
	}
	if s.State == job.StepRunning {
		v.finish(s)
	}
}

// stopped tells whether a failure, or the end of the whole, keeps what has not begun from beginning.
func (v *advance) stopped() string {
	e := v.next
	switch {
	case !e.CancelledAt.IsZero():
		return "the execution was cancelled"
	case !e.TimedOutAt.IsZero():
		return "the execution took longer than " + e.Timeout.String()
	case e.OnFailure == job.FailureContinues:
		return ""
	}
	for i := range e.Steps {
		if s := &e.Steps[i]; s.State == job.StepFailed && !s.AllowFailure {
			return "step " + s.Name + " has failed"
		}
	}
	return ""
}

// became says what a step's end means for those after it.
var became = map[job.StepState]string{
	job.StepFailed: "has failed", job.StepCancelled: "was cancelled", job.StepBlocked: "did not begin",
}

// ready begins a step, if what comes before it has ended as it must.
func (v *advance) ready(s *job.Step) {
	e := v.next
	if e.Halted() {
		v.close(s, job.StepBlocked, v.stopped())
		return
	}
	if e.Status != job.ExecutionRunning {
		return
	}
	handles := s.Handles()
	if why := v.stopped(); why != "" && !handles {
		v.close(s, job.StepBlocked, why)
		return
	}
	ended := true
	for _, d := range s.Depends {
		p := e.Step(d.Step)
		fine := p.State == job.StepSuccess || p.State == job.StepSkipped || p.State == job.StepFailed && p.AllowFailure
		if p.State.Ended() && !fine && !handles {
			v.close(s, job.StepBlocked, "step "+p.Name+" "+became[p.State])
			return
		}
		ended = ended && p.State.Ended()
	}
	if !ended {
		return
	}
	if s.When != "" {
		yes, err := v.when(s)
		switch {
		case err != nil:
			v.close(s, job.StepFailed, err.Error())
			return
		case !yes:
			v.close(s, job.StepSkipped, s.When)
			return
		}
	}
	v.begin(s)
}

func (v *advance) close(s *job.Step, state job.StepState, reason string) {
	s.State, s.EndedAt, s.Task, v.changed = state, v.now.UTC(), nil, true
	if s.Reason = clip(strings.TrimSpace(reason), 500); s.State == job.StepSuccess {
		s.Reason = reason
	}
}

func (v *advance) scope(names [][]string) (job.Scope, error) {
	data, err := v.next.Data(names)
	return job.Scope{Config: v.s.configOf(v.next.Group, names), Params: v.next.Params, Data: data, Task: job.Ref(v.next.Group, "")}, err
}

// configOf is the configuration of a group that names mean.
func (s *State) configOf(group string, names [][]string) map[string]string {
	values := map[string]string{}
	for _, path := range names {
		if path[0] != "config" || len(path) != 2 {
			continue
		}
		if v, ok := s.config[configKey{group, path[1]}]; ok {
			values[path[1]] = v
		} else if v, ok := s.config[configKey{"", path[1]}]; ok {
			values[path[1]] = v
		}
	}
	return values
}

func (v *advance) when(s *job.Step) (bool, error) {
	x, err := job.ParseExpression(s.When)
	if err != nil {
		return false, err
	}
	scope, err := v.scope(x.Names())
	if err != nil {
		return false, fmt.Errorf("when: %w", err)
	}
	yes, err := x.True(scope)
	if err != nil {
		return false, fmt.Errorf("when: %w", err)
	}
	return yes, nil
}

// items are those of a foreach's list.
func (v *advance) items(s *job.Step) ([]job.JSONItem, error) {
	x, err := job.ParseExpression(s.ForEach)
	if err != nil {
		return nil, err
	}
	scope, err := v.scope(x.Names())
	if err != nil {
		return nil, fmt.Errorf("foreach: %w", err)
	}
	list, err := x.List(scope)
	if err != nil {
		return nil, fmt.Errorf("foreach: %w", err)
	}
	size := 0
	items := make([]job.JSONItem, len(list))
	for i, raw := range list {
		size += len(raw)
		items[i] = raw
	}
	switch {
	case len(items) > job.MaxLanes:
		return nil, fmt.Errorf("foreach: the list has %d items, at most %d are allowed", len(items), job.MaxLanes)
	case size > job.MaxItems || v.next.DataSize()+size > job.MaxStepData:
		return nil, fmt.Errorf("foreach: the list has %d bytes, at most %d of one step and %d of one execution are allowed", size, job.MaxItems, job.MaxStepData)
	}
	return items, nil
}

// begin says for what and where a step runs.
func (v *advance) begin(s *job.Step) {
	if len(s.Lanes) > 0 { // what it runs for was taken over
		s.State, s.BeganAt, v.changed = job.StepRunning, v.now.UTC(), true
		return
	}
	items := 1
	if s.ForEach != "" && s.Items == nil {
		list, err := v.items(s)
		if err != nil {
			v.close(s, job.StepFailed, err.Error())
			return
		}
		if len(list) == 0 {
			s.BeganAt = v.now.UTC()
			v.close(s, job.StepSuccess, "the list is empty")
			return
		}
		s.Items, v.changed = list, true
	}
	if s.ForEach != "" {
		items = len(s.Items)
	}
	nodes, why := v.place(s)
	if len(nodes) == 0 && strings.HasPrefix(why, nowhere) {
		v.close(s, job.StepFailed, why)
		return
	}
	if len(nodes) == 0 {
		v.wait(s, why)
		return
	}
	lanes := items
	if s.Kind.Kind().Claimed() {
		if v.limited(s) {
			s.Nodes = nodes
		}
	} else {
		s.Nodes, lanes = nodes, items*len(nodes)
	}
	if lanes > job.MaxLanes {
		s.Nodes = nil
		v.close(s, job.StepFailed, fmt.Sprintf("%d items on %d nodes are %d runs, at most %d are allowed", items, len(nodes), lanes, job.MaxLanes))
		return
	}
	s.Lanes, s.State, s.BeganAt, s.Reason, v.changed = job.NewLanes(lanes), job.StepRunning, v.now.UTC(), "", true
}

// wait notes that there is no node for a step, and gives it up after a while.
func (v *advance) wait(s *job.Step, why string) {
	v.again(v.s.poll())
	if s.ReadyAt.IsZero() {
		s.ReadyAt, s.Reason, v.changed = v.now.UTC(), "waits for a node: "+clip(why, 300), true
		return
	}
	if v.now.Sub(s.ReadyAt) >= StartWithin {
		v.close(s, job.StepFailed, fmt.Sprintf("no node could run it within %s: %s", job.Duration(StartWithin), why))
	}
}

// finish ends a step whose runs have ended, as far as they will be asked for.
func (v *advance) finish(s *job.Step) {
	if s.Lanes.Count(job.LaneAsked) > 0 {
		return
	}
	open, bad := s.Lanes.Count(job.LaneOpen), s.Lanes.Bad()
	why := v.stopped()
	switch {
	case v.next.Halted() && (open > 0 || bad > 0):
		v.close(s, job.StepCancelled, why)
	case bad > 0 && (open == 0 || v.halts(s)):
		reason := s.Reason
		if len(s.Lanes) > 1 {
			reason = fmt.Sprintf("%d of %d runs did not succeed, the first: %s", bad, len(s.Lanes), s.Reason)
		}
		v.close(s, job.StepFailed, reason)
	case open > 0 && why != "" && !s.Handles():
		v.close(s, job.StepCancelled, why)
	case open == 0:
		v.close(s, job.StepSuccess, "")
	}
}

// halts tells whether a failed run of a step keeps its others from being asked for.
func (v *advance) halts(s *job.Step) bool {
	return v.next.OnFailure == job.FailureStops && !s.AllowFailure
}

// end ends the execution when all of its steps have ended.
func (v *advance) end() {
	e := v.next
	if e.Ended() {
		return
	}
	failed := ""
	for i := range e.Steps {
		s := &e.Steps[i]
		if !s.State.Ended() {
			return
		}
		if s.State == job.StepFailed && !s.AllowFailure && failed == "" {
			failed = fmt.Sprintf("step %s: %s", s.Name, s.Reason)
		}
	}
	e.Status = job.ExecutionSuccess
	switch {
	case !e.CancelledAt.IsZero():
		e.Status, e.Reason = job.ExecutionCancelled, "cancelled by "+e.CancelledBy
	case !e.TimedOutAt.IsZero():
		e.Status, e.Reason = job.ExecutionTimeout, "it took longer than "+e.Timeout.String()
	case failed != "":
		e.Status, e.Reason = job.ExecutionFailed, clip(failed, 500)
	}
	e.EndedAt, v.changed = v.now.UTC(), true
}
