package job

import (
	"context"
	"encoding/json"
	"time"
)

// History remembers records. Implementations are safe for concurrent use; each passes the contract
// suite of package internal/history. Errors carry a [Code]: [CodeUnavailable] while the database is away.
type History interface {
	// Insert stores records, durably when it returns nil and in one transaction. It is idempotent on the
	// record's ID: a record that is there already is left alone, unless the new outcome supersedes the old one
	// (see [Outcome.Supersedes]), which replaces the row and keeps its number. It sets Number and IsHandle of
	// each element of recs to what now stands, and the result tells for each whether it was stored.
	//
	// A record with instants that a node owes (Owed) keeps those of which the node does not tell itself, whichever comes first. One
	// of which nothing is left when it comes is not stored, and counts as handled.
	Insert(ctx context.Context, recs []ExecutionRecord) (stored []bool, err error)
	// MarkHandled notes that the effects of the records have happened, of those that still have the outcome that was handled: a
	// record that has superseded one meanwhile has effects of its own.
	MarkHandled(ctx context.Context, done []Handled, at time.Time) error
	// Record reads one record with everything. A missing one is [CodeNotFound].
	Record(ctx context.Context, id string) (ExecutionRecord, error)
	// RecordByNumber reads the task's record of that number.
	RecordByNumber(ctx context.Context, task TaskRef, number int64) (ExecutionRecord, error)
	// Records lists a page, newest end first.
	Records(ctx context.Context, f RecordFilter) (Page, error)
	// Latest is the newest record of each task that has one, without output; with no refs of every task.
	Latest(ctx context.Context, refs ...TaskRef) (map[TaskRef]ExecutionRecord, error)
	// Settled lists the records (id, node, instant, until, count, outcome) of a task that account for
	// instants in (from, to] (see [Trigger.Accounts]), in the order of their instants.
	Settled(ctx context.Context, task TaskRef, from, to time.Time) ([]ExecutionRecord, error)
	// Backfilled lists in the same way the records of backfilled runs of instants in (from, to].
	Backfilled(ctx context.Context, task TaskRef, from, to time.Time) ([]ExecutionRecord, error)
	// Told lists the records of instants of a task on a node, in no order, as far as they matter for the instants after from: of those
	// after since too nothing is left out. Only a part of a record is given, as in a list.
	Told(ctx context.Context, task TaskRef, node NodeID, from time.Time) (recs []ExecutionRecord, since time.Time, err error)
	// Succeeded tells on which nodes the task has a record of success.
	Succeeded(ctx context.Context, task TaskRef) ([]NodeID, error)
	// Stats sums up records, pruned ones too, as long as statistics are kept: one element without a division, else one
	// for each day (oldest first), node or task (in the order of names) that has any.
	Stats(ctx context.Context, f StatsFilter) ([]Stats, error)
	// Totals are the counts and the average of tasks since ever; with no refs of every task that has records.
	Totals(ctx context.Context, refs ...TaskRef) (map[TaskRef]Stats, error)
	// Prune removes records by age, number and size, and statistics by age, in small steps that do not block writers, and
	// says how many records. The latest record of each task stays.
	Prune(ctx context.Context, r Retention, now time.Time) (int, error)
	Alerts
	ExecutionHistory
	// Ping tells whether the database answers.
	Ping(ctx context.Context) error
	Close() error
}

// Handled names a record and the outcome whose effects have happened.
type Handled struct {
	ID      string
	Outcome Outcome
}

// Alerts keeps how things stand with what people are told of, and the messages to them. It is a part of [History].
type Alerts interface {
	// ChangeAlerts reads the alert of each input, has decide say what becomes of it, and keeps that together with the messages that go
	// out, all in one transaction. decide may be asked several times. An input with a record is passed over where that has been decided
	// upon already, or does not stand any more with that outcome: so a record counts once, however often it is handled. A message whose
	// ID is there already is not written again. Where decide returns false, nothing changes.
	ChangeAlerts(ctx context.Context, in []AlertInput, decide func(i int, old Alert) (Alert, []Delivery, bool)) error
	// DueAlerts are the keys of the alerts that are to be looked at by now, the oldest first.
	DueAlerts(ctx context.Context, now time.Time, limit int) ([]string, error)
	// Deliveries lists messages, the newest first.
	Deliveries(ctx context.Context, f DeliveryFilter) ([]Delivery, error)
	// DueDeliveries are the messages of which an attempt is due, the oldest first.
	DueDeliveries(ctx context.Context, now time.Time, limit int) ([]Delivery, error)
	// SentTimes tells when messages to a receiver were sent since a time, in order.
	SentTimes(ctx context.Context, receiver string, since time.Time) ([]time.Time, error)
	// PutDeliveries writes messages, in one transaction: new ones, and of those that are there what became of them. One that is done
	// stays as it is.
	PutDeliveries(ctx context.Context, list []Delivery) error
	// PruneAlerts removes what was done with before a time.
	PruneAlerts(ctx context.Context, before time.Time) error
}

// Retention says what history keeps. Zero fields keep everything.
type Retention struct {
	MaxAge     time.Duration // of records, since their end
	MaxPerTask int
	MaxBytes   int64         // of all records together, as history counts them
	StatsAge   time.Duration // of statistics
	// Hold keeps the records of instants after a time, task by task: those are still being accounted for.
	Hold map[TaskRef]time.Time
}

// IsZero tells whether everything is kept.
func (r Retention) IsZero() bool {
	return r.MaxAge == 0 && r.MaxPerTask == 0 && r.MaxBytes == 0 && r.StatsAge == 0
}

// Exec is one execution, with every value filled in.
type Exec struct {
	Run     RunID
	Attempt int
	Argv    []string // executed as it is; Argv[0] is looked up in the PATH of Env
	Way     *Way     // nil: Argv is executed here
	Env     []string // KEY=VALUE; the whole environment of the child but for what the user's account adds
	Dir     string   // empty: the home of the user, or / where there is none
	User    string   // login name or uid; empty: whom the agent runs as
	Stdin   []byte
	Timeout time.Duration // 0: none
	Grace   time.Duration // from SIGTERM to SIGKILL; 0: DefaultGrace
	// OutputLimit is how many bytes of output are kept, half from the head, half from the tail; 0: DefaultOutputLimit.
	OutputLimit int
	// ResultFrom, unless empty, is the stream whose last JSON object is the result where nothing was written to ROTA_RESULT.
	ResultFrom Stream
	// Limits that the machine can't enforce fail the start.
	Limits Limits
	// Tied, unless 0, is until when the execution may live, on the boot-time clock (CLOCK_BOOTTIME): SIGKILL is sent by then,
	// and SIGTERM before that by its grace, yet no more than TiedGrace, if that is not 0. [Runner.Hold] puts it off.
	Tied      time.Duration
	TiedGrace time.Duration
	// Note is the caller's own word about the execution, for a later life of the caller: see [Adopter].
	Note []byte
}

// Defaults of an execution.
const (
	DefaultGrace       = 5 * time.Second
	DefaultOutputLimit = 64 << 10
	MaxResult          = 64 << 10 // bytes of a result
)

// Exit says how an execution ended.
type Exit struct {
	Outcome         Outcome // success, failed, timeout or killed
	Reason          string  // for a person; empty on success
	ExitCode        *int    // nil where it ended by a signal or never began
	Signal          string  // such as SIGKILL
	EndedBy         EndedBy // empty where nothing was executed
	Begin, End      time.Time
	Output          []byte // head and tail, any bytes, stdout and stderr as they came
	OutputBytes     int64
	OutputTruncated bool
	OutputParts     []OutputPart    // whose Output is, and when it came; in order, at most MaxOutputParts
	Result          json.RawMessage // what it handed back, if that is JSON
	ResultError     string          // why it has none although there was something
	Usage           Usage
}

// Runner executes.
type Runner interface {
	// Start begins an execution. An error says why nothing was executed. The context bounds the wait for the start
	// alone: once it has begun, the execution ends by itself, by its timeout or by a kill.
	Start(ctx context.Context, e Exec) (Execution, error)
	// Hold lets the executions that are tied live until a later time on the boot-time clock; an earlier one says nothing. A
	// runner in the process of its caller dies with it, and sleeps while that is stopped: then nobody ends what is tied. Only
	// a runner in a process of its own (an [Adopter]) keeps the promise Exclusive.
	Hold(until time.Duration)
}

// Adopter is a runner whose executions outlive the process that started them.
type Adopter interface {
	Runner
	// Adopt takes up the executions that earlier lives of the caller started and did not release, alive or ended. It is called
	// once, before the first Start. The error tells of those that could not be asked for, which are ended.
	Adopt(ctx context.Context) ([]Adopted, error)
}

// Adopted is an execution that an earlier life of the caller started.
type Adopted struct {
	Run     RunID
	Attempt int
	Begin   time.Time
	Note    []byte // as it was given
	Execution
}

// Execution is alive, or has ended.
type Execution interface {
	Pid() int
	StartTicks() uint64 // with the boot id and the pid, the identity of the process
	// Kill ends the whole process tree: SIGTERM, grace, SIGKILL. Only the first call counts; by says who asked
	// and becomes the reason. It does not wait.
	Kill(by string)
	// KillNow is Kill without grace, also after a Kill.
	KillNow(by string)
	// Done is closed when the execution has ended and its output is complete.
	Done() <-chan struct{}
	// Exit says how; it may be called after Done is closed.
	Exit() Exit
	// Publish puts the output so far into the node's log, and from now on what follows, for others to read. A run that lasts
	// or writes much is published anyway. It returns when the log is there; again, or after the end, it does nothing.
	Publish()
	// Progress is where the latest word of the execution about its progress arrives: an older one that nobody
	// took makes way. It is never closed, and nil where there is none.
	Progress() <-chan Progress
	// Release lets the runner forget the execution: how it ended is safe elsewhere. Nothing but Exit may be called after it.
	Release()
}
