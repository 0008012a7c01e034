package job

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// ExecutionRecord says how a firing or a run ended. There is one for each; its attempts are
// listed in it. The first block of fields has the seed's wire names.
type ExecutionRecord struct {
	ID         string    `json:"id"` // the RunID
	JobID      string    `json:"job_id"`
	TaskID     string    `json:"task_id"` // group/name
	User       string    `json:"user"`
	Name       string    `json:"name"`
	Node       NodeID    `json:"node"` // empty where no node had a part in it
	Command    string    `json:"command,omitempty"`
	Output     string    `json:"output"` // the head and the tail of what it wrote, last attempt; any bytes, see MarshalJSON
	Success    bool      `json:"success"`
	BeginTime  time.Time `json:"beginTime"` // of the first attempt; for what did not run, when that was decided
	EndTime    time.Time `json:"endTime"`
	IsHandle   bool      `json:"is_handle"` // its effects have happened
	HandleTime time.Time `json:"handle_time"`

	Group           string          `json:"group"`
	Number          int64           `json:"number,omitempty"` // counts the task's records; history gives it
	Instant         time.Time       `json:"instant,omitzero"` // the scheduled time; zero for a run that was asked for
	Until           time.Time       `json:"until,omitzero"`   // the last instant of several that share this record
	Count           int             `json:"count,omitempty"`  // how many instants share it; 0 means 1
	Trigger         Trigger         `json:"trigger"`
	Attempt         int             `json:"attempt"` // the number of the last attempt, from 1; 0 where none was made
	Attempts        []Attempt       `json:"attempts,omitempty"`
	Outcome         Outcome         `json:"outcome"`
	Reason          string          `json:"reason,omitempty"`
	ExitCode        *int            `json:"exit_code,omitempty"`
	Signal          string          `json:"signal,omitempty"`
	EndedBy         EndedBy         `json:"ended_by,omitempty"`
	Pid             int             `json:"pid,omitempty"`
	Fence           int64           `json:"fence,omitempty"`
	OutputBytes     int64           `json:"output_bytes"` // how many it wrote, kept or not
	OutputTruncated bool            `json:"output_truncated,omitempty"`
	OutputParts     []OutputPart    `json:"output_parts,omitempty"`  // whose Output is, and when it came
	OutputBase64    []byte          `json:"output_base64,omitempty"` // in JSON alone; always nil here
	Result          json.RawMessage `json:"result,omitempty"`
	ResultError     string          `json:"result_error,omitempty"` // why there is no result although it handed something back
	Usage           *Usage          `json:"usage,omitempty"`
	// Effects tells what came of the result that is not to be seen elsewhere: what it asked for and may not have, or can't be done.
	Effects    []string          `json:"effects,omitempty"`
	Execution  string            `json:"execution,omitempty"`  // of its group, of which it is a step's run
	Params     map[string]string `json:"params,omitempty"`     // of the dispatch that it is the record of
	Cause      string            `json:"cause,omitempty"`      // what asked for it: a person, a record
	Session    string            `json:"session,omitempty"`    // of the agent that ran it
	Generation int64             `json:"generation,omitempty"` // of the task

	// Owed are the instants themselves where a master tells of a node that is away: should the node have had to do with one of them
	// after all, its own word counts, and the instant leaves this record.
	Owed []Stretch `json:"owed,omitempty"`
}

// Attempt is one execution within a firing that did not settle it.
type Attempt struct {
	Attempt   int       `json:"attempt"`
	BeginTime time.Time `json:"begin_time"`
	EndTime   time.Time `json:"end_time"`
	Outcome   Outcome   `json:"outcome"`
	Reason    string    `json:"reason,omitempty"`
	ExitCode  *int      `json:"exit_code,omitempty"`
	Signal    string    `json:"signal,omitempty"`
	EndedBy   EndedBy   `json:"ended_by,omitempty"`
	Output    string    `json:"output,omitempty"` // the tail, within MaxAttemptOutput; any bytes

	OutputBase64 []byte `json:"output_base64,omitempty"` // in JSON alone; always nil here
}

// MaxAttemptOutput is how many bytes of an earlier attempt's output its record keeps.
const MaxAttemptOutput = 2 << 10

// MaxRecord is the most bytes that a record's JSON may have: it must fit, with others, into one
// transaction of 1.5 MiB.
const MaxRecord = 256 << 10

// Usage is what an attempt used of the machine.
type Usage struct {
	UserMS   int64 `json:"user_ms"`
	SystemMS int64 `json:"system_ms"`
	MaxRSSKB int64 `json:"max_rss_kb"`
	PeakKB   int64 `json:"peak_kb,omitempty"` // of the whole tree, file cache and all; 0 where no control group counts it
}

// Ref is the reference of the record's task.
func (r *ExecutionRecord) Ref() TaskRef { return Ref(r.Group, r.Name) }

// Instants is how many instants the record accounts for: 0 for a run that was asked for.
func (r *ExecutionRecord) Instants() int {
	if r.Instant.IsZero() {
		return 0
	}
	return max(r.Count, 1)
}

// Covers tells whether the record accounts for an instant of its task.
func (r *ExecutionRecord) Covers(instant time.Time) bool {
	if len(r.Owed) > 0 {
		return slices.ContainsFunc(r.Owed, func(s Stretch) bool { return s.Has(instant) })
	}
	if r.Until.IsZero() {
		return r.Instant.Equal(instant)
	}
	return !instant.Before(r.Instant) && !instant.After(r.Until)
}

// Duration is how long the run took.
func (r *ExecutionRecord) Duration() time.Duration {
	if !r.Outcome.Ran() || r.EndTime.Before(r.BeginTime) {
		return 0
	}
	return r.EndTime.Sub(r.BeginTime)
}

// Clone copies the record deeply.
func (r *ExecutionRecord) Clone() ExecutionRecord {
	c := *r
	c.Attempts, c.Result, c.OutputParts = slices.Clone(r.Attempts), slices.Clone(r.Result), slices.Clone(r.OutputParts)
	c.Effects, c.Params = slices.Clone(r.Effects), maps.Clone(r.Params)
	c.Owed = slices.Clone(r.Owed)
	if r.ExitCode != nil {
		code := *r.ExitCode
		c.ExitCode = &code
	}
	if r.Usage != nil {
		u := *r.Usage
		c.Usage = &u
	}
	return c
}

// String is the record's JSON.
func (r ExecutionRecord) String() string {
	b, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// ParseExecutionRecord reads the JSON of a record, also one that the seed's package wrote: what that
// did not know is derived.
func ParseExecutionRecord(body []byte) (ExecutionRecord, error) {
	var r ExecutionRecord
	if err := json.Unmarshal(body, &r); err != nil {
		return ExecutionRecord{}, Errorf(CodeInvalid, "read a record: %w", err)
	}
	if r.ID == "" {
		return ExecutionRecord{}, Errorf(CodeInvalid, "read a record: it has no id")
	}
	if r.Outcome == "" {
		r.Outcome = Failed
		if r.Success {
			r.Outcome = Success
		}
	}
	if !r.Outcome.Valid() {
		return ExecutionRecord{}, Errorf(CodeInvalid, "read record %s: outcome %q is not known", r.ID, r.Outcome)
	}
	if r.Group == "" {
		r.Group = DefaultJobGroup
		if ref, err := ParseRef(r.TaskID); err == nil {
			r.Group = ref.Group
			if r.Name == "" {
				r.Name = ref.Name
			}
		}
	}
	return r, nil
}

// CreateExecutionRecord makes the record of a run of a job that began at a time and ended at another
// with an outcome.
func CreateExecutionRecord(j *Job, id RunID, begin, end time.Time, outcome Outcome, reason string) ExecutionRecord {
	rec := ExecutionRecord{
		ID: string(id), JobID: j.ID, TaskID: j.TaskID, User: j.User, Name: j.Name, Group: j.Group, Node: j.NodeID,
		Command: j.What(), BeginTime: begin.UTC(), EndTime: end.UTC(), Success: outcome == Success, Outcome: outcome, Reason: reason,
		Generation: j.Generation,
	}
	if outcome == Lost {
		rec.EndedBy = EndedByLoss
	}
	return rec
}

// Page is one page of a list of records, newest first.
type Page struct {
	Records []ExecutionRecord `json:"records"`
	// Next is where the following page begins; empty at the end. It is opaque.
	Next string `json:"next,omitempty"`
	// Searched is how far back a search has got that found less than a page so far: Next goes on from there.
	Searched time.Time `json:"searched,omitzero"`
}

// RecordFilter selects records. Zero fields select everything.
type RecordFilter struct {
	Group   string
	Task    string // the name, within Group or in any
	Node    NodeID
	JobID   string
	Outcome []Outcome
	Trigger Trigger
	Since   time.Time // of the end, inclusive
	Until   time.Time // of the end, exclusive
	// Search selects the records with this text in their output, as far as it is kept, or in their reason. ASCII letters
	// match whatever their case. A page ends when it has looked at a bounded number of records, and may then have few, or none, and a Next.
	Search string
	Limit  int    // at most; 0: 100
	Cursor string // a Page's Next
	// WithOutput asks for the output, results and attempts too, which lists leave out.
	WithOutput bool
}
