package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Task is what a person writes: what to run, when, where, within which limits and what
// follows. It holds nothing that the system derives; see [TaskEntry] for that.
// The zero value of a field means its default; [Task.Complete] fills the defaults in.
type Task struct {
	Group       string            `json:"group,omitempty"`
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Templates   Names             `json:"template,omitempty"` // what it says that is not said here; see [Task.Resolve]
	Params      map[string]Param  `json:"params,omitempty"`
	Command     Command           `json:"command,omitzero"`
	HTTP        *HTTP             `json:"http,omitempty"`    // instead of a command
	SSH         *SSH              `json:"ssh,omitempty"`     // where the command runs
	Handler     string            `json:"handler,omitempty"` // instead of a command: a function of the program that embeds the node
	Input       json.RawMessage   `json:"input,omitempty"`   // for the handler
	Args        []string          `json:"args,omitempty"`    // follow the command, also that of a template
	User        string            `json:"user,omitempty"`    // empty: whom the agent runs as
	Env         map[string]string `json:"env,omitempty"`
	Stdin       string            `json:"stdin,omitempty"`
	Dir         string            `json:"dir,omitempty"` // absolute; empty: the user's home

	Mode     RuleMode `json:"mode,omitempty"` // default: cycle with a timer, else manyonce
	Timer    Timer    `json:"timer,omitempty"`
	Timezone string   `json:"timezone,omitempty"` // IANA name; empty: UTC
	Start    string   `json:"start,omitempty"`    // no instant before it; a date or RFC 3339
	End      string   `json:"end,omitempty"`      // no instant from it on
	Exclude  []string `json:"exclude,omitempty"`  // dates, FROM..TO ranges of dates or of times, calendar:NAME
	DST      *DST     `json:"dst,omitempty"`
	Jitter   Duration `json:"jitter,omitempty"` // an instant starts up to this much later, always the same for it

	Kind   KindName          `json:"kind,omitempty"`   // default: common
	Nodes  []NodeID          `json:"nodes,omitempty"`  // where it may run, by name; see [NamesNode]
	Labels map[string]string `json:"labels,omitempty"` // and by label
	Where  string            `json:"where,omitempty"`  // and by labels and conditions, a [Selector]; none of them: every node

	MaxNodes int    `json:"max_nodes,omitempty"` // on at most so many of those nodes; 0: on all
	Spread   Spread `json:"spread,omitempty"`    // which of them; default: hash

	Timeout     Duration  `json:"timeout,omitempty"`     // of one attempt; 0: none; whole seconds
	Grace       Duration  `json:"grace,omitempty"`       // from SIGTERM to SIGKILL; default 5s
	Retry       Retry     `json:"retry,omitzero"`        // further attempts after the first
	Concurrency int       `json:"concurrency,omitempty"` // runs of its job on one node at once; default 1
	Overlap     Overlap   `json:"overlap,omitempty"`     // default: skip
	Catchup     Catchup   `json:"catchup,omitempty"`     // default: none
	Deadline    Duration  `json:"deadline,omitempty"`    // an instant older than this does not start; 0: see docs/timers.md
	OnLost      OnLost    `json:"on_lost,omitempty"`     // default: record
	Success     SuccessBy `json:"success,omitempty"`     // what decides whether a run succeeded; empty: exit
	ResultFrom  Stream    `json:"result_from,omitempty"` // the stream whose last JSON object is the result; empty: ROTA_RESULT alone
	Limits      Limits    `json:"limits,omitzero"`       // of each attempt

	Depends []Depend `json:"depends,omitempty"` // what must have succeeded before it runs
	Passive bool     `json:"passive,omitempty"` // it starts only when it is asked for, or a task that depends on it needs it
	Allow   Allow    `json:"allow,omitzero"`
	Notify  []Notify `json:"notify,omitempty"`
	// LateAfter is for how long a run may go on before people are told that it is late; 0: three times what nearly all of its runs
	// took, once there are ten.
	LateAfter Duration `json:"late_after,omitempty"`

	When         string `json:"when,omitempty"`          // as a step of its group: whether it runs, an [Expression]
	ForEach      string `json:"foreach,omitempty"`       // it runs for each item of a list, an [Expression]
	AllowFailure bool   `json:"allow_failure,omitempty"` // its failure fails nothing else
	MaxParallel  int    `json:"max_parallel,omitempty"`  // so many of its runs at once; 0: as its group has it
}

// DST says what becomes of fixed times when clocks change; the zero value is cron's own way.
type DST struct {
	Gap     string `json:"gap,omitempty"`     // run (default): once, at the gap's end; skip
	Overlap string `json:"overlap,omitempty"` // once (default); twice
}

// Allow is what a run's result may do; patterns are those of path.Match.
type Allow struct {
	Config     []string `json:"config,omitempty"`
	Next       []string `json:"next,omitempty"`
	Conditions []string `json:"conditions,omitempty"`
	Groups     []string `json:"groups,omitempty"`
}

// Ref is the task's reference.
func (t *Task) Ref() TaskRef { return Ref(t.Group, t.Name) }

// Complete fills in the defaults of what was left out.
func (t *Task) Complete() {
	if t.Group == "" {
		t.Group = DefaultJobGroup
	}
	if len(t.Templates) > 0 {
		return // they may say it
	}
	if t.Mode == "" {
		t.Mode = ManyOnce
		if t.Timer != "" {
			t.Mode = Cycle
		}
	}
	if t.Kind == "" {
		t.Kind = KindCommon.Name()
	}
	if t.Concurrency == 0 {
		t.Concurrency = 1
	}
	if t.Overlap == "" {
		t.Overlap = OverlapSkip
	}
	if t.Catchup == "" {
		t.Catchup = CatchupNone
	}
	if t.OnLost == "" {
		t.OnLost = LostRecord
	}
	if t.Success == SuccessExit {
		t.Success = ""
	}
	if where, err := ParseSelector(t.Where); err == nil {
		t.Where = where.String()
	}
	t.Depends = slices.Clone(t.Depends)
	for i := range t.Depends {
		if t.Depends[i].Strategy == "" {
			t.Depends[i].Strategy = AtLeastOnce
		}
	}
}

// Rule is the task's rule: when, and on which nodes.
func (t *Task) Rule() *Rule {
	r := &Rule{
		Mode: t.Mode, Timer: string(t.Timer), Timezone: t.Timezone, Labels: maps.Clone(t.Labels),
		Start: t.Start, End: t.End, Exclude: slices.Clone(t.Exclude), Seed: t.Ref().String(),
	}
	if t.DST != nil {
		r.Gap, r.Repeat = t.DST.Gap, t.DST.Overlap
	}
	return r
}

// Source is what the person wrote.
func (e *TaskEntry) Source() *Task {
	if e.Written != nil {
		return e.Written
	}
	return &e.Task
}

// Equal tells whether two tasks say the same.
func (t *Task) Equal(o *Task) bool {
	a, errA := json.Marshal(t)
	b, errB := json.Marshal(o)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// TaskEntry is a task as it is kept: what the person wrote, and what the system
// notes beside it. It is the value of a task's key.
type TaskEntry struct {
	Task Task `json:"task"`
	// Written is what the person wrote, where that names templates or args; Task is what they make of it. TemplateGenerations
	// are those of the templates that went into it.
	Written             *Task            `json:"written,omitempty"`
	TemplateGenerations map[string]int64 `json:"template_generations,omitempty"`

	Paused    bool      `json:"paused,omitempty"`
	PausedAt  time.Time `json:"paused_at,omitzero"`  // of the latest pause
	ResumedAt time.Time `json:"resumed_at,omitzero"` // of the latest resumption
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// Since is when the present rule came to be: instants up to it are not due.
	Since time.Time `json:"since"`
	// Past are the times before Since that may still owe something, in their order: what was due then is accounted for by the
	// rule and the kind of then. The last one ends at Since; there is none where the rule was never another one.
	Past       []Era `json:"past,omitempty"`
	Generation int64 `json:"generation"` // counts the edits of Task, from 1
	// Revision is the store's, of the version that was read; edits compare-and-swap on it.
	Revision int64 `json:"revision,omitempty"`
}

// Ref is the reference of the entry's task.
func (e *TaskEntry) Ref() TaskRef { return e.Task.Ref() }

// PausedFor tells whether an instant fell into the latest pause.
func (e *TaskEntry) PausedFor(instant time.Time) bool {
	return pausedFor(e.Paused, e.PausedAt, e.ResumedAt, instant)
}

// Command is what a task runs: a list, executed as it is, or a line for /bin/sh -c. One of
// the two is empty.
type Command struct {
	Argv []string
	Line string
}

// Args makes a command of a program and its arguments.
func Args(argv ...string) Command { return Command{Argv: argv} }

// Line makes a command of a shell line.
func Line(s string) Command { return Command{Line: s} }

// IsZero tells whether there is no command.
func (c Command) IsZero() bool { return len(c.Argv) == 0 && c.Line == "" }

// String shows the command to a person; a list is quoted where it must be.
func (c Command) String() string {
	if len(c.Argv) == 0 {
		return c.Line
	}
	words := make([]string, len(c.Argv))
	for i, w := range c.Argv {
		words[i] = w
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$`;&|<>()*?[]#~{}!") {
			words[i] = strconv.Quote(w)
		}
	}
	return strings.Join(words, " ")
}

// MarshalJSON writes a list or a string.
func (c Command) MarshalJSON() ([]byte, error) {
	if len(c.Argv) > 0 {
		return json.Marshal(c.Argv)
	}
	return json.Marshal(c.Line)
}

// UnmarshalJSON reads a list or a string.
func (c *Command) UnmarshalJSON(b []byte) error {
	var list []string
	if err := json.Unmarshal(b, &list); err == nil {
		*c = Command{Argv: list}
		return nil
	}
	var line string
	if err := json.Unmarshal(b, &line); err != nil {
		return fmt.Errorf("command: want a list of strings or one shell line, found %s", b)
	}
	*c = Command{Line: line}
	return nil
}

// Names is one name, or several in a list.
type Names []string

// MarshalJSON writes one name as a string, several as a list.
func (n Names) MarshalJSON() ([]byte, error) {
	if len(n) == 1 {
		return json.Marshal(n[0])
	}
	return json.Marshal([]string(n))
}

// UnmarshalJSON reads a name or a list of names.
func (n *Names) UnmarshalJSON(b []byte) error {
	var one string
	if err := json.Unmarshal(b, &one); err == nil {
		*n = Names{one}
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("want a name or a list of names, found %s", b)
	}
	*n = list
	return nil
}

// Timer is one timer expression, or several, a line each; it may be written as a list.
type Timer string

// Lines are the single timers.
func (t Timer) Lines() []string {
	var lines []string
	for line := range strings.Lines(string(t)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// MarshalJSON writes one timer as a string, several as a list.
func (t Timer) MarshalJSON() ([]byte, error) {
	if lines := t.Lines(); len(lines) > 1 {
		return json.Marshal(lines)
	}
	return json.Marshal(string(t))
}

// UnmarshalJSON reads a string or a list of strings.
func (t *Timer) UnmarshalJSON(b []byte) error {
	var list []string
	if err := json.Unmarshal(b, &list); err == nil {
		*t = Timer(strings.Join(list, "\n"))
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("timer: want a string or a list of strings, found %s", b)
	}
	*t = Timer(s)
	return nil
}

// Duration is a time.Duration written as text: 90s, 1h30m, 2d.
type Duration time.Duration

// Std is the duration as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Seconds is the duration in whole seconds, rounded up.
func (d Duration) Seconds() int64 { return int64((time.Duration(d) + time.Second - 1) / time.Second) }

// String leaves out what is zero: 30m and not 30m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ParseDuration reads what time.ParseDuration reads, and days: 2d, 1d12h.
func ParseDuration(s string) (Duration, error) {
	rest, days := s, time.Duration(0)
	if head, tail, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil {
			return 0, badDuration(s)
		}
		days, rest = time.Duration(n)*24*time.Hour, tail
		if rest == "" {
			return Duration(days), nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || (days > 0 && d < 0) || days+d < days && d > 0 {
		return 0, badDuration(s)
	}
	return Duration(days + d), nil
}

func badDuration(s string) error {
	return Errorf(CodeInvalid, "%q is not a duration", s).WithHint("write a number with its unit, such as 90s, 5m, 1h30m or 2d")
}

// MarshalText writes the form of String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what [ParseDuration] reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	if err == nil {
		*d = v
	}
	return err
}

// Retry says how a failed attempt is followed by further ones.
type Retry struct {
	Count    int      `json:"count,omitempty"`    // further attempts after the first
	Interval Duration `json:"interval,omitempty"` // before the second attempt
	Backoff  float64  `json:"backoff,omitempty"`  // each wait is the last one times this; 0: 1
	Max      Duration `json:"max,omitempty"`      // no wait is longer; 0: no limit
}

// IsZero tells whether there are no further attempts.
func (r Retry) IsZero() bool { return r == Retry{} }

// UnmarshalJSON reads an object, or a number for its count alone.
func (r *Retry) UnmarshalJSON(b []byte) error {
	if n, err := strconv.Atoi(string(bytes.TrimSpace(b))); err == nil {
		*r = Retry{Count: n}
		return nil
	}
	type plain Retry
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode((*plain)(r))
}

// maxWait bounds what a backoff can grow to.
const maxWait = 24 * time.Hour

// Wait is how long to wait before attempt n, where the first attempt is 1.
func (r Retry) Wait(n int) time.Duration {
	if n < 2 || r.Interval <= 0 {
		return 0
	}
	limit := r.Max.Std()
	if limit <= 0 || limit > maxWait {
		limit = maxWait
	}
	wait := float64(r.Interval)
	for range n - 2 {
		if r.Backoff > 0 {
			wait *= r.Backoff
		}
		if wait >= float64(limit) {
			return limit
		}
	}
	if wait >= float64(limit) {
		return limit // before the conversion, which the largest numbers would overflow
	}
	return time.Duration(wait)
}
