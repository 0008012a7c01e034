package job

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of an execution: its document is written with each of its steps forward.
const (
	MaxLanes       = 10_000    // runs of one step
	MaxItems       = 256 << 10 // bytes of a foreach's list
	MaxStepResult  = 16 << 10  // bytes of a result that is handed on
	MaxStepResults = 64 << 10  // of all results of one step
	MaxStepData    = 384 << 10 // of the lists and results of a whole execution
	MaxStepTasks   = 256 << 10 // of its tasks
)

// ExecutionPrefix begins the id of every execution, so that it can be told from a run's.
const ExecutionPrefix = "ex-"

// GroupExecution is one run of a group as a whole. The leader drives it, and notes in it, in one transaction with each dispatch, how far it came:
// whoever leads next goes on from there.
type GroupExecution struct {
	ID          string            `json:"id"` // ExecutionID(group, key)
	Group       string            `json:"group"`
	Key         string            `json:"key"`
	Trigger     Trigger           `json:"trigger"`
	Cause       string            `json:"cause,omitempty"`
	By          string            `json:"by,omitempty"`
	RetryOf     string            `json:"retry_of,omitempty"` // the execution of which it takes over what succeeded
	Instant     time.Time         `json:"instant,omitzero"`
	Until       time.Time         `json:"until,omitzero"`  // the last instant of several that share this row
	Count       int               `json:"count,omitempty"` // how many they are; 0 means 1
	Params      map[string]string `json:"params,omitempty"`
	MaxParallel int               `json:"max_parallel"`
	Timeout     Duration          `json:"timeout,omitempty"`
	OnFailure   OnFailure         `json:"on_failure"`
	Queue       bool              `json:"queue,omitempty"` // it waits for those of its group before it

	Status      ExecutionStatus `json:"status"`
	Reason      string          `json:"reason,omitempty"`
	CreatedAt   time.Time       `json:"created_at"`
	BeganAt     time.Time       `json:"began_at,omitzero"`
	EndedAt     time.Time       `json:"ended_at,omitzero"`
	CancelledAt time.Time       `json:"cancelled_at,omitzero"`
	CancelledBy string          `json:"cancelled_by,omitempty"`
	TimedOutAt  time.Time       `json:"timed_out_at,omitzero"`
	Steps       []Step          `json:"steps"`              // in an order in which they may run
	Revision    int64           `json:"revision,omitempty"` // the store's, of the version that was read
}

// ExecutionStatus says where an execution stands.
type ExecutionStatus string

// The statuses.
const (
	ExecutionWaiting   ExecutionStatus = "waiting" // its turn has not come
	ExecutionRunning   ExecutionStatus = "running"
	ExecutionSuccess   ExecutionStatus = "success"
	ExecutionFailed    ExecutionStatus = "failed"
	ExecutionCancelled ExecutionStatus = "cancelled"
	ExecutionTimeout   ExecutionStatus = "timeout"
	ExecutionSkipped   ExecutionStatus = "skipped" // an instant that deliberately began none
	ExecutionMissed    ExecutionStatus = "missed"  // an instant at which nobody led
)

// ExecutionStatuses are all of them.
var ExecutionStatuses = []ExecutionStatus{
	ExecutionWaiting, ExecutionRunning, ExecutionSuccess, ExecutionFailed, ExecutionCancelled, ExecutionTimeout, ExecutionSkipped, ExecutionMissed,
}

// Step is a task of an execution, as it was when the execution began.
type Step struct {
	Name         string       `json:"name"`
	Kind         KindName     `json:"kind"`
	Depends      []StepDepend `json:"depends,omitempty"`
	When         string       `json:"when,omitempty"`
	ForEach      string       `json:"foreach,omitempty"`
	AllowFailure bool         `json:"allow_failure,omitempty"`
	MaxParallel  int          `json:"max_parallel,omitempty"`
	Generation   int64        `json:"generation"`     // of the task
	Task         *TaskEntry   `json:"task,omitempty"` // until the step has ended

	State   StepState  `json:"state"`
	Reason  string     `json:"reason,omitempty"`
	Notes   []string   `json:"notes,omitempty"`
	ReadyAt time.Time  `json:"ready_at,omitzero"` // since when it waits for a node
	BeganAt time.Time  `json:"began_at,omitzero"`
	EndedAt time.Time  `json:"ended_at,omitzero"`
	Nodes   []NodeID   `json:"nodes,omitempty"` // of a common task: where it runs; of the others: where it may run alone
	Items   []JSONItem `json:"items,omitempty"` // of a foreach
	Lanes   Lanes      `json:"lanes,omitempty"`
	// Tries counts the runs of a lane that were lost and begun anew.
	Tries   map[int]int             `json:"tries,omitempty"`
	Results map[int]json.RawMessage `json:"results,omitempty"` // by lane
	On      []NodeID                `json:"on,omitempty"`      // where the leader's choice succeeded
	From    map[string]Bits         `json:"from,omitempty"`    // the lanes that were taken over, by their execution
}

// JSONItem is an item of a foreach's list.
type JSONItem = json.RawMessage

// StepDepend is a step before another one.
type StepDepend struct {
	Step     string `json:"step"`
	SameNode bool   `json:"same_node,omitempty"`
}

// StepState says where a step stands.
type StepState string

// The states.
const (
	StepWaiting   StepState = "waiting"
	StepRunning   StepState = "running"
	StepSuccess   StepState = "success"
	StepFailed    StepState = "failed"
	StepSkipped   StepState = "skipped"   // its when said no
	StepCancelled StepState = "cancelled" // it was cut off
	StepBlocked   StepState = "blocked"   // it did not begin, because of what happened before
)

// Ended tells whether the state is a last one.
func (s StepState) Ended() bool { return s != StepWaiting && s != StepRunning }

// Lanes are the runs of a step, a letter each.
type Lanes string

// The letters of lanes.
const (
	LaneOpen  byte = '-' // not asked for
	LaneAsked byte = 'a' // asked for: waiting on its node, alive, or with its record on the way
)

var laneLetters = map[Outcome]byte{Success: 's', Failed: 'f', Timeout: 't', Killed: 'k', Lost: 'l', Skipped: 'p', Missed: 'm'}

// NewLanes are n of which none is asked for.
func NewLanes(n int) Lanes { return Lanes(strings.Repeat(string(LaneOpen), n)) }

// Count counts the lanes of a letter.
func (l Lanes) Count(letter byte) int { return strings.Count(string(l), string(letter)) }

// With is the lanes with one of them changed.
func (l Lanes) With(i int, letter byte) Lanes {
	b := []byte(l)
	b[i] = letter
	return Lanes(b)
}

// Outcome is how a lane ended; empty: it has not.
func (l Lanes) Outcome(i int) Outcome {
	for o, letter := range laneLetters {
		if l[i] == letter {
			return o
		}
	}
	return ""
}

// Settle notes how a lane ended.
func (l Lanes) Settle(i int, o Outcome) Lanes { return l.With(i, laneLetters[o]) }

// Ended is how many lanes have ended.
func (l Lanes) Ended() int { return len(l) - l.Count(LaneOpen) - l.Count(LaneAsked) }

// Bad is how many lanes ended otherwise than well.
func (l Lanes) Bad() int { return l.Ended() - l.Count(laneLetters[Success]) }

// ExecutionID is the identity of an execution: the same key for the same group is the same execution.
func ExecutionID(group, key string) string {
	return ExecutionPrefix + digest("execution", group, key)[:14]
}

// Ended tells whether nothing of the execution is to run, or runs, any more.
func (e *GroupExecution) Ended() bool { return !e.EndedAt.IsZero() }

// Halted tells whether nothing more of it may begin, and what runs is ended: it was cancelled, or took too long.
func (e *GroupExecution) Halted() bool { return !e.CancelledAt.IsZero() || !e.TimedOutAt.IsZero() }

// Step finds a step by its name, or nil.
func (e *GroupExecution) Step(name string) *Step {
	for i := range e.Steps {
		if e.Steps[i].Name == name {
			return &e.Steps[i]
		}
	}
	return nil
}

// Running is how many runs have been asked for and have no record in history.
func (e *GroupExecution) Running() (n int) {
	for i := range e.Steps {
		n += e.Steps[i].Lanes.Count(LaneAsked)
	}
	return n
}

// Place is the node and the item of a lane; an empty node is one of the leader's choice.
func (s *Step) Place(lane int) (node NodeID, item int) {
	if s.Kind.Kind().Claimed() || len(s.Nodes) == 0 {
		return "", lane
	}
	return s.Nodes[lane%len(s.Nodes)], lane / len(s.Nodes)
}

// Origin is the execution that asked for a lane's run: this one, or the earlier one from which it was taken over.
func (e *GroupExecution) Origin(s *Step, lane int) string {
	for id, lanes := range s.From {
		if lanes.Has(lane) {
			return id
		}
	}
	return e.ID
}

// RunKey names the request for a lane's run.
func (e *GroupExecution) RunKey(s *Step, lane int) string {
	_, item := s.Place(lane)
	return strings.Join([]string{"execution", e.Origin(s, lane), s.Name, strconv.Itoa(item), strconv.Itoa(s.Tries[lane])}, "/")
}

// Run is the identity of a lane's run.
func (e *GroupExecution) Run(s *Step, lane int) RunID {
	ref := Ref(e.Group, s.Name)
	if node, _ := s.Place(lane); node != "" {
		return CauseID(e.RunKey(s, lane), JobHash(ref, node))
	}
	return CauseID(e.RunKey(s, lane), ref.String())
}

// Asked calls a function with each run that was asked for and has not ended.
func (e *GroupExecution) Asked(use func(step, lane int, run RunID)) {
	for i := range e.Steps {
		s := &e.Steps[i]
		for lane := 0; lane < len(s.Lanes); lane++ {
			if s.Lanes[lane] == LaneAsked {
				use(i, lane, e.Run(s, lane))
			}
		}
	}
}

// Clone copies the execution deeply, but for what never changes.
func (e *GroupExecution) Clone() *GroupExecution {
	c := *e
	c.Steps = slices.Clone(e.Steps)
	for i := range c.Steps {
		s := &c.Steps[i]
		s.Tries, s.Results = maps.Clone(s.Tries), maps.Clone(s.Results)
		s.On, s.Notes = slices.Clone(s.On), slices.Clone(s.Notes)
	}
	return &c
}

// NewGroupExecution makes an execution of a group's tasks as they are now. It has no id, no cause and no time yet. The error says
// why the group can't be run.
func NewGroupExecution(g *Group, entries []*TaskEntry) (*GroupExecution, error) {
	if len(entries) == 0 {
		return nil, Errorf(CodeConflict, "group %s has no tasks, so there is nothing to run", g.Name)
	}
	if len(entries) > MaxSteps {
		return nil, Errorf(CodeConflict, "group %s has %d tasks, and at most %d are run as one", g.Name, len(entries), MaxSteps)
	}
	byRef, tasks := map[string]*TaskEntry{}, make([]*Task, len(entries))
	for i, e := range entries {
		byRef[e.Task.Name], tasks[i] = e, &e.Task
	}
	order, err := StepOrder(tasks)
	if err != nil {
		return nil, err
	}
	e := &GroupExecution{
		Group: g.Name, Status: ExecutionWaiting, Timeout: g.Timeout, OnFailure: g.OnFailure, MaxParallel: g.MaxParallel,
	}
	if e.OnFailure == "" {
		e.OnFailure = FailureStops
	}
	if e.MaxParallel == 0 {
		e.MaxParallel = DefaultParallel
	}
	size := 0
	for _, t := range order {
		s := newStep(t, byRef[t.Name])
		raw, err := json.Marshal(s.Task)
		if err != nil {
			return nil, err
		}
		size += len(raw)
		e.Steps = append(e.Steps, s)
	}
	if size > MaxStepTasks {
		return nil, Errorf(CodeExhausted, "the tasks of group %s have %d bytes, and at most %d are run as one", g.Name, size, MaxStepTasks).
			WithHint("let them read what is long from files")
	}
	return e, nil
}

func newStep(t *Task, entry *TaskEntry) Step {
	pinned := *t
	pinned.Timer, pinned.Start, pinned.End, pinned.Exclude, pinned.DST = "", "", "", nil, nil // it runs when its turn comes
	pinned.Description, pinned.Notify = "", nil
	if pinned.Mode == Cycle {
		pinned.Mode = ManyOnce
	}
	s := Step{
		Name: t.Name, Kind: t.Kind, When: t.When, ForEach: t.ForEach, AllowFailure: t.AllowFailure, MaxParallel: t.MaxParallel,
		Generation: entry.Generation, State: StepWaiting,
		Task: &TaskEntry{Task: pinned, CreatedAt: entry.CreatedAt, UpdatedAt: entry.UpdatedAt, Since: entry.Since, Generation: entry.Generation},
	}
	for _, d := range t.Depends {
		if ref := d.Ref(t.Group); ref.Group == t.Group {
			s.Depends = append(s.Depends, StepDepend{Step: ref.Name, SameNode: d.Strategy == SameNode})
		}
	}
	return s
}

// TakeOver makes of a new execution one that goes on where an earlier one failed: what succeeded there is not run again, of a step with
// several runs those that did not succeed.
func (e *GroupExecution) TakeOver(old *GroupExecution) {
	e.RetryOf, e.Params = old.ID, old.Params
	for i := range e.Steps {
		s, was := &e.Steps[i], old.Step(e.Steps[i].Name)
		if was == nil {
			continue
		}
		if s.Handles() && slices.ContainsFunc(s.Depends, func(d StepDepend) bool {
			before := old.Step(d.Step)
			return before == nil || before.State != StepSuccess
		}) {
			continue // what it asks for may be otherwise now
		}
		switch was.State {
		case StepSuccess:
			state := s.State
			task := s.Task
			depends := s.Depends
			*s = *was
			s.Depends, s.Task, s.Reason = depends, nil, ""
			if len(was.Lanes) == 0 {
				s.Task, s.State = task, state
				s.BeganAt, s.EndedAt, s.ReadyAt, s.Notes = time.Time{}, time.Time{}, time.Time{}, nil
				continue
			}
		case StepFailed, StepCancelled:
			if s.Kind.Kind().Claimed() != was.Kind.Kind().Claimed() || s.ForEach != was.ForEach || len(was.Lanes) < 2 {
				continue
			}
			s.Nodes, s.Items, s.Results, s.On, s.Lanes = was.Nodes, was.Items, maps.Clone(was.Results), was.On, NewLanes(len(was.Lanes))
		default:
			continue
		}
		s.From, s.Tries = map[string]Bits{}, map[int]int{}
		for lane := range was.Lanes {
			if was.Lanes.Outcome(lane) != Success {
				delete(s.Results, lane)
				continue
			}
			origin := old.ID
			for id, lanes := range was.From {
				if lanes.Has(lane) {
					origin = id
				}
			}
			bits := s.From[origin]
			bits.Add(lane)
			s.From[origin] = bits
			s.Lanes = s.Lanes.Settle(lane, Success)
			if n := was.Tries[lane]; n > 0 {
				s.Tries[lane] = n
			}
		}
	}
}

// Valid reports every fault of the execution.
func (e *GroupExecution) Valid() error {
	var f Faults
	for _, n := range [...]struct{ path, sort, name string }{{"id", "execution", e.ID}, {"group", "group", e.Group}} {
		if err := CheckName(n.sort, n.name); err != nil {
			f.AddError(n.path, err)
		}
	}
	seen := map[string]bool{}
	for i := range e.Steps {
		s := &e.Steps[i]
		at := "steps[" + strconv.Itoa(i) + "]"
		if err := CheckName("step", s.Name); err != nil {
			f.AddError(at, err)
		}
		for _, d := range s.Depends {
			if !seen[d.Step] {
				f.Add(at, "step %s is not before step %s", d.Step, s.Name)
			}
		}
		if len(s.Lanes) > MaxLanes {
			f.Add(at, "there are %d runs, at most %d are allowed", len(s.Lanes), MaxLanes)
		}
		seen[s.Name] = true
	}
	return f.Err("execution " + e.ID + " is not valid")
}
