package job

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Job is a task bound to one node, self-contained: the node runs it with nobody else alive. The leader
// of the masters alone writes it. The first block of fields has the seed's wire names.
type Job struct {
	ID      string   `json:"id"`       // the same as Hash: one identity, to store, read, run and stop it under
	TaskID  string   `json:"taskID"`   // group/name
	EventID string   `json:"event_id"` // the run that a dispatch asks for; empty on a timer's job
	NodeID  NodeID   `json:"node_id"`
	Hash    string   `json:"hash"` // JobHash(task, node)
	Name    string   `json:"name"`
	Command string   `json:"cmd"` // the shell line, or how Argv looks
	Stdin   string   `json:"stdin"`
	Envs    []string `json:"envs"` // KEY=VALUE
	User    string   `json:"user"`
	Rules   *Rule    `json:"rule"` // nil: runs only when asked for
	Pause   bool     `json:"pause"`
	Timeout int64    `json:"timeout"` // seconds, of one attempt; 0: none
	Retry   int      `json:"retry"`   // further attempts after the first
	// Interval is the seconds before the second attempt.
	Interval int   `json:"interval"`
	Kind     Kind  `json:"kind"`
	AvgTime  int64 `json:"avg_time"` // milliseconds; filled in by the master when it answers

	Scheduler *Scheduler `json:"scheduler,omitempty"`
	RunStatus *RunStatus `json:"run_status,omitempty"` // derived; never stored with the job

	Group        string            `json:"group"`
	Argv         []string          `json:"argv,omitempty"` // executed as it is; empty: Command is a shell line
	HTTP         *HTTP             `json:"http,omitempty"` // what runs instead of a command
	SSH          *SSH              `json:"ssh,omitempty"`  // where Argv or Command runs
	Handler      string            `json:"handler,omitempty"`
	Input        json.RawMessage   `json:"input,omitempty"`
	Dir          string            `json:"dir,omitempty"`
	Grace        int64             `json:"grace,omitempty"` // seconds from SIGTERM to SIGKILL; 0: the default
	RetryBackoff float64           `json:"retry_backoff,omitempty"`
	RetryMax     int               `json:"retry_max,omitempty"` // seconds
	Concurrency  int               `json:"concurrency,omitempty"`
	Parallel     int               `json:"parallel,omitempty"` // of a step that fans out, or of a list that was asked for: so many at a time instead of Concurrency
	Overlap      Overlap           `json:"overlap,omitempty"`
	Catchup      Catchup           `json:"catchup,omitempty"`
	Deadline     int64             `json:"deadline,omitempty"` // seconds
	Jitter       int64             `json:"jitter,omitempty"`   // seconds
	OnLost       OnLost            `json:"on_lost,omitempty"`
	Success      SuccessBy         `json:"success,omitempty"` // what decides whether a run succeeded; empty: its exit
	ResultFrom   Stream            `json:"result_from,omitempty"`
	Limits       Limits            `json:"limits,omitzero"`      // of each attempt
	Candidates   []NodeID          `json:"candidates,omitempty"` // of interval and alone: who may claim an instant
	Since        time.Time         `json:"since,omitzero"`       // since when the node has the task: instants up to it are not due here
	PausedAt     time.Time         `json:"paused_at,omitzero"`   // of the latest pause
	ResumedAt    time.Time         `json:"resumed_at,omitzero"`  // of the latest resumption
	Generation   int64             `json:"generation,omitempty"` // of the task that it was made from
	Config       map[string]string `json:"config,omitempty"`     // the configuration that its values name
	Params       map[string]string `json:"params,omitempty"`     // the defaults of its parameters
	Past         []Era             `json:"past,omitempty"`       // when other rules were in force, for what was due by them
	Waits        []string          `json:"waits,omitempty"`      // what it depends on and has not: until that succeeds its instants are skipped here
	Stamp        string            `json:"stamp,omitempty"`      // of the inputs of the decision; see package engine
}

// Scheduler is the placement decision: who took it, when, and why not.
type Scheduler struct {
	NodeID          NodeID    `json:"node_id"`
	SchedulerTime   time.Time `json:"scheduler_time"`
	CanRun          bool      `json:"can_run"`
	Message         string    `json:"message"`
	SchedulerStatus string    `json:"scheduler_status"`
}

// RunStatus is the latest run of a job, derived from the records.
type RunStatus struct {
	Status    string    `json:"status"` // a RunState, or the outcome of an ended run
	StartTime time.Time `json:"start_time"`
	EndTime   time.Time `json:"end_time"`
	RecordID  string    `json:"record_id"`
}

// Bind makes the job of a task on a node. The task must be complete and valid. Candidates are
// the nodes that may claim an instant of an interval or alone task.
func Bind(e *TaskEntry, node NodeID, candidates []NodeID, since time.Time) *Job {
	t := &e.Task
	hash := JobHash(t.Ref(), node)
	j := &Job{
		ID: hash, Hash: hash, TaskID: t.Ref().String(), NodeID: node, Group: t.Group, Name: t.Name,
		Command: t.Command.String(), Argv: slices.Clone(t.Command.Argv), Stdin: t.Stdin, Envs: envList(t.Env),
		HTTP: t.HTTP.clone(), SSH: t.SSH.clone(), Handler: t.Handler, Input: slices.Clone(t.Input),
		User: t.User, Dir: t.Dir, Rules: t.Rule(), Pause: e.Paused, PausedAt: e.PausedAt, ResumedAt: e.ResumedAt, Kind: t.Kind.Kind(),
		Timeout: t.Timeout.Seconds(), Grace: t.Grace.Seconds(),
		Retry: t.Retry.Count, Interval: int(t.Retry.Interval.Seconds()), RetryBackoff: t.Retry.Backoff, RetryMax: int(t.Retry.Max.Seconds()),
		Concurrency: t.Concurrency, Overlap: t.Overlap, Catchup: t.Catchup, Deadline: t.Deadline.Seconds(), Jitter: t.Jitter.Seconds(),
		OnLost: t.OnLost, Success: t.Success, ResultFrom: t.ResultFrom, Limits: t.Limits, Since: since, Generation: e.Generation, Past: cloneEras(e.Past),
	}
	j = j.Behind(since)
	j.Params = t.defaultParams()
	if j.Kind.Claimed() {
		j.Candidates = slices.Clone(candidates)
	}
	return j
}

// CreateJobFromTask makes the job of a task on a node, at a time, as if it were applied then. It fails
// where the task is not valid.
func CreateJobFromTask(task *Task, node NodeID, now time.Time) (*Job, error) {
	t := *task
	t.Complete()
	if err := t.Valid(); err != nil {
		return nil, err
	}
	return Bind(&TaskEntry{Task: t, CreatedAt: now, UpdatedAt: now, Since: now, Generation: 1}, node, []NodeID{node}, now), nil
}

func envList(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

// Ref is the reference of the job's task.
func (j *Job) Ref() TaskRef { return Ref(j.Group, j.Name) }

// Check trims and completes the job, then validates it. A job that the seed's package wrote
// becomes a whole one by it.
func (j *Job) Check() error {
	j.Name, j.Group, j.User = strings.TrimSpace(j.Name), strings.TrimSpace(j.Group), strings.TrimSpace(j.User)
	if strings.TrimSpace(j.Command) == "" {
		j.Command = "" // of any other the shell ignores the blanks around it, but for one after a backslash
	}
	if j.Group == "" {
		j.Group = DefaultJobGroup
		if ref, err := ParseRef(j.TaskID); err == nil && j.TaskID != "" {
			j.Group = ref.Group
		}
	}
	if j.TaskID == "" && j.Name != "" {
		j.TaskID = j.Ref().String()
	}
	if j.Hash == "" {
		j.Hash = JobHash(j.Ref(), j.NodeID)
	}
	if j.ID == "" {
		j.ID = j.Hash
	}
	if j.Concurrency == 0 {
		j.Concurrency = 1
	}
	if j.Overlap == "" {
		j.Overlap = OverlapSkip
	}
	if j.Catchup == "" {
		j.Catchup = CatchupNone
	}
	return j.Valid()
}

// Valid reports every fault of the job in one error, its rule's among them.
func (j *Job) Valid() error {
	var f Faults
	for _, n := range [...]struct{ path, sort, name string }{
		{"name", "task", j.Name}, {"group", "group", j.Group}, {"node_id", "node", string(j.NodeID)}, {"id", "job", j.ID},
	} {
		if err := CheckName(n.sort, n.name); err != nil {
			f.AddError(n.path, err)
		}
	}
	if len(j.Argv) == 0 && j.Command == "" && j.HTTP == nil && j.Handler == "" {
		f.Add("cmd", "there is no command")
	}
	if j.Kind.Name() == "" {
		f.AddHint("kind", "want 0 (common), 1 (alone) or 2 (interval)", "kind %d is not known", j.Kind)
	}
	for _, n := range [...]struct {
		path  string
		value int64
	}{{"timeout", j.Timeout}, {"retry", int64(j.Retry)}, {"interval", int64(j.Interval)}, {"deadline", j.Deadline}, {"jitter", j.Jitter}} {
		if n.value < 0 {
			f.Add(n.path, "%d is negative", n.value)
		}
	}
	for i, env := range j.Envs {
		if k, _, ok := strings.Cut(env, "="); !ok || k == "" {
			f.Add("envs", "entry %d is not of the form KEY=VALUE", i+1)
		}
	}
	if j.Rules != nil {
		j.Rules.check(&f, "rule.")
	}
	for i := range j.Past {
		if r := j.Past[i].Rule; r != nil {
			r.check(&f, fmt.Sprintf("past[%d].rule.", i))
		}
	}
	return f.Err("job " + j.ID + " is not valid")
}

// ValidRules validates the rule alone and parses its timer.
func (j *Job) ValidRules() error {
	if j.Rules == nil {
		return nil
	}
	return j.Rules.Valid()
}

// Decode reads the JSON of a job and completes and validates it. A document that cannot
// be read leaves j as it was.
func (j *Job) Decode(data []byte) error {
	type plain Job
	var v struct {
		plain
		SeedStatus *RunStatus `json:"RunStatus"` // the seed has no wire name for it
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return Errorf(CodeInvalid, "read a job: %w", err)
	}
	if v.RunStatus == nil {
		v.RunStatus = v.SeedStatus
	}
	read := Job(v.plain)
	if err := read.Check(); err != nil {
		return err
	}
	*j = read
	return nil
}

// String is the job's JSON.
func (j *Job) String() string {
	b, err := json.Marshal(j)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// ShortName is group/name cut to what a table's column holds.
func (j *Job) ShortName() string {
	const width = 32
	name := []rune(j.Ref().String())
	if len(name) <= width {
		return string(name)
	}
	return string(name[:width-1]) + "…"
}

// ResolveShell is the argv of the job: a list as it is, a line through the shell.
func (j *Job) ResolveShell() []string {
	if len(j.Argv) > 0 {
		return slices.Clone(j.Argv)
	}
	return []string{"/bin/sh", "-c", j.Command}
}

// IsRunOn tells whether the node's clock fires the job: it is bound to that node and not paused.
func (j *Job) IsRunOn(n *Node) bool { return j.NodeID == n.ID && !j.Pause }

// Cmds are the things that the node's clock fires for the job: one, or none for a job without a
// timer, of another node, or paused.
func (j *Job) Cmds(n *Node) map[string]*Cmd {
	if !j.IsRunOn(n) || j.Rules == nil || j.Rules.Mode != Cycle {
		return nil
	}
	c := &Cmd{Job: j, Rule: j.Rules}
	return map[string]*Cmd{c.GetID(): c}
}

// RetryPolicy is the job's retry as a task writes it.
func (j *Job) RetryPolicy() Retry {
	s := func(n int) Duration { return Duration(time.Duration(n) * time.Second) }
	return Retry{Count: j.Retry, Interval: s(j.Interval), Backoff: j.RetryBackoff, Max: s(j.RetryMax)}
}

// Firing is the identity of the job's firing at an instant.
func (j *Job) Firing(instant time.Time) RunID {
	if j.Kind.Claimed() {
		return FiringID(j.Ref(), "", instant)
	}
	return FiringID(j.Ref(), j.NodeID, instant)
}

// SameWork tells whether two versions of a job make the node do the same; they may differ in when
// and by whom they were decided.
func (j *Job) SameWork(o *Job) bool {
	strip := func(j *Job) string {
		c := *j
		c.Scheduler, c.RunStatus, c.AvgTime = nil, nil, 0
		return c.String()
	}
	return strip(j) == strip(o)
}

// PausedFor tells whether an instant fell into the latest pause.
func (j *Job) PausedFor(instant time.Time) bool {
	return pausedFor(j.Pause, j.PausedAt, j.ResumedAt, instant)
}

func pausedFor(paused bool, from, until, instant time.Time) bool {
	return !from.IsZero() && !instant.Before(from) && (paused || instant.Before(until))
}

// Clone copies the job deeply.
func (j *Job) Clone() *Job {
	c := *j
	c.Envs, c.Argv, c.Candidates = slices.Clone(j.Envs), slices.Clone(j.Argv), slices.Clone(j.Candidates)
	c.HTTP, c.SSH, c.Input = j.HTTP.clone(), j.SSH.clone(), slices.Clone(j.Input)
	c.Params, c.Waits = maps.Clone(j.Params), slices.Clone(j.Waits)
	c.Config, c.Rules, c.Past = maps.Clone(j.Config), j.Rules.clone(), cloneEras(j.Past)
	if j.Scheduler != nil {
		s := *j.Scheduler
		c.Scheduler = &s
	}
	if j.RunStatus != nil {
		s := *j.RunStatus
		c.RunStatus = &s
	}
	return &c
}

// Cmd is a job with its rule: what a node's clock fires.
type Cmd struct {
	*Job
	*Rule
}

// GetID is the identity of the entry in the clock: the job's alone, so that a new version of
// the rule replaces the old one.
func (c *Cmd) GetID() string { return c.Hash }
