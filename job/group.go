package job

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds of a group that is run as one.
const (
	MaxSteps             = 200
	MaxExecutionParallel = 1000
	// DefaultParallel is how many runs of an execution are alive at once where nothing is said.
	DefaultParallel = 100
)

// Group is what is said of a group of tasks that are run as one: its tasks are the steps of its executions. A group of which nothing is said
// can be run too, with the defaults.
type Group struct {
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	Params      map[string]Param `json:"params,omitempty"`
	MaxParallel int              `json:"max_parallel,omitempty"` // runs of an execution at once; 0: DefaultParallel
	Timeout     Duration         `json:"timeout,omitempty"`      // of a whole execution; 0: none
	OnFailure   OnFailure        `json:"on_failure,omitempty"`   // default: stop
	Notify      []Notify         `json:"notify,omitempty"`       // of its executions
	// LateAfter is for how long an execution may go on before people are told that it is late; 0: three times what nearly all take.
	LateAfter Duration `json:"late_after,omitempty"`

	Timer    Timer    `json:"timer,omitempty"` // of the executions; the leader fires it
	Timezone string   `json:"timezone,omitempty"`
	Start    string   `json:"start,omitempty"`
	End      string   `json:"end,omitempty"`
	Exclude  []string `json:"exclude,omitempty"`
	Overlap  Overlap  `json:"overlap,omitempty"`  // while one is under way; default: skip
	Catchup  Catchup  `json:"catchup,omitempty"`  // of instants at which nobody led; default: none
	Deadline Duration `json:"deadline,omitempty"` // how late an instant may begin without being one to catch up; default 1m
}

// OnFailure says what becomes of the other steps when one has failed.
type OnFailure string

// The ways.
const (
	FailureStops     OnFailure = "stop"     // nothing new begins; what runs goes on to its end
	FailureContinues OnFailure = "continue" // what does not depend on it goes on
)

// OnFailures are all of them.
var OnFailures = []OnFailure{FailureStops, FailureContinues}

// DefaultDeadline is how late an instant of a group's timer may begin.
const DefaultDeadline = time.Minute

// DocumentName is the group's name.
func (g *Group) DocumentName() string { return g.Name }

// Complete fills in the defaults of what was left out.
func (g *Group) Complete() {
	if g.OnFailure == "" {
		g.OnFailure = FailureStops
	}
	if g.Timer == "" {
		return
	}
	if g.Overlap == "" {
		g.Overlap = OverlapSkip
	}
	if g.Catchup == "" {
		g.Catchup = CatchupNone
	}
}

// Rule is when the group's executions begin; nil: when they are asked for.
func (g *Group) Rule() *Rule {
	if g.Timer == "" {
		return nil
	}
	return &Rule{
		Mode: Cycle, Timer: string(g.Timer), Timezone: g.Timezone, Start: g.Start, End: g.End, Exclude: slices.Clone(g.Exclude),
		Seed: "group " + g.Name,
	}
}

// Valid reports every fault of the group in one error.
func (g *Group) Valid() error {
	var f Faults
	g.check(&f, "")
	return f.Err("group " + g.Name + " is not valid")
}

func (g *Group) check(f *Faults, prefix string) {
	if g.Name == "" {
		f.AddHint(prefix+"name", "add name: NAME", "the group has no name")
	} else if err := CheckName("group", g.Name); err != nil {
		f.AddError(prefix+"name", err)
	}
	checkText(f, prefix+"description", g.Description, maxDescription)
	part := Task{Params: g.Params}
	if g.Timer != "" {
		part.Mode = Cycle // whose runs are given the defaults alone
	}
	part.checkParams(f, prefix)
	if g.MaxParallel < 0 || g.MaxParallel > MaxExecutionParallel {
		f.Add(prefix+"max_parallel", "%d is not from 0 to %d", g.MaxParallel, MaxExecutionParallel)
	}
	checkDuration(f, prefix+"timeout", g.Timeout)
	checkDuration(f, prefix+"deadline", g.Deadline)
	checkDuration(f, prefix+"late_after", g.LateAfter)
	checkNotify(f, prefix, g.Notify)
	for i, n := range g.Notify {
		if k := slices.Index(n.On, AlertLost); k >= 0 {
			f.AddHint(fmt.Sprintf("%snotify[%d].on[%d]", prefix, i, k), "ask for failed", "no execution is lost: where a run of a step is, it fails")
		}
	}
	if g.OnFailure != "" {
		checkEnum(f, prefix+"on_failure", g.OnFailure, OnFailures)
	}
	g.checkTimer(f, prefix)
}

// GroupOverlaps are the ways of a group.
var GroupOverlaps = []Overlap{OverlapSkip, OverlapQueue, OverlapAllow}

func (g *Group) checkTimer(f *Faults, prefix string) {
	if g.Overlap != "" {
		checkEnum(f, prefix+"overlap", g.Overlap, GroupOverlaps)
	}
	if g.Catchup != "" {
		checkEnum(f, prefix+"catchup", g.Catchup, Catchups)
	}
	r := g.Rule()
	if r == nil {
		for _, field := range [...]struct {
			path string
			set  bool
		}{
			{"timezone", g.Timezone != ""}, {"start", g.Start != ""}, {"end", g.End != ""}, {"exclude", len(g.Exclude) > 0},
			{"catchup", g.Catchup != ""}, {"deadline", g.Deadline != 0},
		} {
			if field.set {
				f.AddHint(prefix+field.path, "add timer: TIMER, or remove it", "it is for a timer, and the group has none")
			}
		}
		return
	}
	r.check(f, prefix)
	if r.Schedule != nil && r.Schedule.Reboot() {
		f.AddHint(prefix+"timer", "give it to a task", "@reboot is each node's own, and a group is on none")
	}
}

// NeverFires tells, as an error, that the group's timer has no instant after a time.
func (g *Group) NeverFires(now time.Time) error {
	r := g.Rule()
	if r == nil {
		return nil
	}
	if wrong := r.Valid(); wrong != nil || !r.Next(now).IsZero() {
		return nil //nolint:nilerr // what is wrong with the timer is told by Valid
	}
	var f Faults
	f.AddHint("timer", "its last time has passed", "timer %q never fires after %s", g.Timer, FormatInstant(now))
	return f.Err("group " + g.Name + " never fires")
}

// GroupState is what is kept of a group's timer beside what people write. It is written in one transaction with the executions that an instant
// begins, so that each instant begins one once.
type GroupState struct {
	Group string `json:"group"`
	// Created is when the group was: one of the same name that is made later has a state of its own.
	Created time.Time `json:"created"`
	// At is the instant up to which everything is told. Rule is by which: an edit concerns what comes after it.
	At        time.Time `json:"at"`
	Rule      *Rule     `json:"rule,omitempty"`
	Paused    bool      `json:"paused,omitempty"`
	PausedAt  time.Time `json:"paused_at,omitzero"`
	ResumedAt time.Time `json:"resumed_at,omitzero"`
	Revision  int64     `json:"revision,omitempty"` // the store's, of the version that was read
}

// PausedFor tells whether an instant fell into the latest pause.
func (s *GroupState) PausedFor(instant time.Time) bool {
	return pausedFor(s.Paused, s.PausedAt, s.ResumedAt, instant)
}

// Valid reports every fault.
func (s *GroupState) Valid() error { return CheckName("group", s.Group) }

// StepOrder puts the tasks of a group in the order in which they may run: what others depend on first, else by name. The error names
// a cycle, or a dependency that is not there.
func StepOrder(tasks []*Task) ([]*Task, error) {
	byName := map[string]*Task{}
	for _, t := range tasks {
		byName[t.Name] = t
	}
	const walking, done = 1, 2
	state := map[string]int{}
	var order []*Task
	var walk func(t *Task, way []string) error
	walk = func(t *Task, way []string) error {
		way = append(way, t.Name)
		switch state[t.Name] {
		case walking:
			return Errorf(CodeConflict, "the steps of group %s go in a circle: %s", t.Group, strings.Join(way[slices.Index(way, t.Name):], " -> "))
		case done:
			return nil
		}
		state[t.Name] = walking
		for _, d := range t.Depends {
			ref := d.Ref(t.Group)
			if ref.Group != t.Group {
				continue
			}
			on := byName[ref.Name]
			if on == nil {
				return Errorf(CodeConflict, "step %s depends on %s, which is not there", t.Name, ref).WithHint("apply it, or take it out of depends")
			}
			if err := walk(on, way); err != nil {
				return err
			}
		}
		state[t.Name] = done
		order = append(order, t)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if err := walk(byName[name], nil); err != nil {
			return nil, err
		}
	}
	return order, nil
}
