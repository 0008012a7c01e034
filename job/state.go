package job

import "slices"

// RunState is where a run stands.
type RunState string

// The states. An ended run is in the state that its [Outcome] names.
const (
	StatePending RunState = "pending" // asked for, or waiting for its claim, lock or turn
	StateRunning RunState = "running"
)

// Outcome says how a firing or a run ended.
type Outcome string

// The outcomes.
const (
	Success Outcome = "success" // it ran and did what it should
	Failed  Outcome = "failed"  // it ran and did not, or could not be started
	Timeout Outcome = "timeout" // it ran longer than allowed and was ended
	Killed  Outcome = "killed"  // somebody, or something, ended it
	Lost    Outcome = "lost"    // it started, and nobody can say how it ended
	Skipped Outcome = "skipped" // it was due and deliberately did not run
	Missed  Outcome = "missed"  // it was due and nobody could run it
)

// Outcomes are all of them.
var Outcomes = []Outcome{Success, Failed, Timeout, Killed, Lost, Skipped, Missed}

// transitions is the state table of a run. From an outcome there is a way only where the
// later word knows more: a lost run whose node comes back with its record has ended as
// that record says, and what a master took for missed may prove to have run.
var transitions = map[RunState][]RunState{
	StatePending:      {StateRunning, RunState(Failed), RunState(Killed), RunState(Lost), RunState(Skipped), RunState(Missed)},
	StateRunning:      {RunState(Success), RunState(Failed), RunState(Timeout), RunState(Killed), RunState(Lost)},
	RunState(Missed):  {RunState(Lost), RunState(Success), RunState(Failed), RunState(Timeout), RunState(Killed), RunState(Skipped)},
	RunState(Lost):    {RunState(Success), RunState(Failed), RunState(Timeout), RunState(Killed), RunState(Skipped)},
	RunState(Success): nil, RunState(Failed): nil, RunState(Timeout): nil, RunState(Killed): nil, RunState(Skipped): nil,
}

// CanBecome tells whether a run may go from one state to another.
func (s RunState) CanBecome(to RunState) bool { return slices.Contains(transitions[s], to) }

// Valid tells whether o is one of the outcomes.
func (o Outcome) Valid() bool { return slices.Contains(Outcomes, o) }

// Supersedes tells whether a record with this outcome replaces one of the same id with the old
// outcome. Where it does not, the record that came first stands.
func (o Outcome) Supersedes(old Outcome) bool { return RunState(old).CanBecome(RunState(o)) }

// Ran tells whether a command was executed, as far as anybody knows.
func (o Outcome) Ran() bool { return o != Skipped && o != Missed }

// Bad tells whether somebody should look: everything but success and skipped.
func (o Outcome) Bad() bool { return o != Success && o != Skipped }

// Trigger says what caused a run.
type Trigger string

// The triggers.
const (
	TriggerTimer    Trigger = "timer"
	TriggerRun      Trigger = "run"      // a person or a program asked for it
	TriggerDispatch Trigger = "dispatch" // a request of the system itself
	TriggerNext     Trigger = "next"     // the result of another run named it
	TriggerDepend   Trigger = "depend"
	TriggerRetry    Trigger = "retry" // a new attempt after a lost one
	TriggerCatchup  Trigger = "catchup"
	TriggerBackfill Trigger = "backfill"
	TriggerGroup    Trigger = "group" // a step of an execution of its group
	TriggerPing     Trigger = "ping"  // a job that Rota does not run told of itself, or should have
)
