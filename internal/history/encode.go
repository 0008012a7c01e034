package history

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rota-dev/rota/job"
)

// row is a record as its columns.
type row struct {
	id, jobID, node    string
	ref                job.TaskRef
	outcome            job.Outcome
	class              int64
	began, ended       int64
	instant, until     *int64
	instants           int64
	handledAt          *int64
	durationUS         int64
	bytes              int64
	detail             []byte
	output, result     []byte
	attempts, parts    []byte
	accounts           bool   // its trigger is one that accounts for instants
	owed               detail // where it tells of a node that is away: what detail is made of
	tellsOfNode        bool
	taskID, jobSeq, no int64 // given in the transaction
}

// detail is what a list shows besides the columns.
type detail struct {
	Trigger         job.Trigger       `json:"trigger,omitempty"` // where its class does not say it
	User            string            `json:"user,omitempty"`
	Command         string            `json:"command,omitempty"`
	Attempt         int               `json:"attempt,omitempty"`
	Reason          string            `json:"reason,omitempty"`
	ExitCode        *int              `json:"exit_code,omitempty"`
	Signal          string            `json:"signal,omitempty"`
	EndedBy         job.EndedBy       `json:"ended_by,omitempty"`
	Pid             int               `json:"pid,omitempty"`
	Fence           int64             `json:"fence,omitempty"`
	OutputBytes     int64             `json:"output_bytes,omitempty"`
	OutputTruncated bool              `json:"output_truncated,omitempty"`
	ResultError     string            `json:"result_error,omitempty"`
	Usage           *job.Usage        `json:"usage,omitempty"`
	Execution       string            `json:"execution,omitempty"`
	Cause           string            `json:"cause,omitempty"`
	Session         string            `json:"session,omitempty"`
	Generation      int64             `json:"generation,omitempty"`
	Effects         []string          `json:"effects,omitempty"`
	Params          map[string]string `json:"params,omitempty"`
	Owed            []job.Stretch     `json:"owed,omitempty"`
}

// What a record may have. The limits are far above what a node sends; they keep one record from
// stopping those behind it.
const (
	maxKey    = 512               // bytes of an id or a name
	maxOutput = job.MaxRecord     // bytes of output; more are cut from the middle
	maxRest   = 4 * job.MaxRecord // bytes of everything else
	rowBytes  = 400               // what a record takes besides its texts: a row and its places in the indexes, as measured
	cutMark   = "\n[… cut …]\n"   // stands where output was cut
)

// encodeAll turns records into rows. The error, of [job.CodeInvalid], has one field for each record that can't
// be stored, with the path records[i] and the record's id.
func encodeAll(recs []job.ExecutionRecord) ([]*row, error) {
	var faults job.Faults
	rows := make([]*row, len(recs))
	for i := range recs {
		r, err := encode(&recs[i])
		if err != nil {
			faults.Add(fmt.Sprintf("records[%d]", i), "record %q: %v", clip(recs[i].ID), err)
			continue
		}
		rows[i] = r
	}
	return rows, faults.Err("records that can't be stored")
}

func encode(rec *job.ExecutionRecord) (*row, error) {
	r := &row{
		id: rec.ID, jobID: rec.JobID, node: string(rec.Node), ref: rec.Ref(), outcome: rec.Outcome,
		class: classOf(rec.Outcome, rec.Trigger), began: rec.BeginTime.UnixMicro(), ended: rec.EndTime.UnixMicro(),
		instant: optional(rec.Instant), until: optional(rec.Until), instants: int64(rec.Count),
		durationUS: rec.Duration().Microseconds(), output: []byte(rec.Output),
	}
	if !rec.Outcome.Valid() {
		return nil, fmt.Errorf("outcome %q is not known", rec.Outcome)
	}
	for _, k := range []struct {
		what, s string
		must    bool
	}{{"id", r.id, true}, {"task", r.ref.Name, true}, {"group", r.ref.Group, true}, {"node", r.node, false}, {"job_id", r.jobID, false}} {
		if err := checkKey(k.what, k.s, k.must); err != nil {
			return nil, err
		}
	}
	if rec.IsHandle {
		at := rec.HandleTime.UnixMicro()
		r.handledAt = &at
	}
	d := detail{
		User: rec.User, Command: rec.Command, Attempt: rec.Attempt, Reason: rec.Reason, ExitCode: rec.ExitCode, Signal: rec.Signal,
		Pid: rec.Pid, Fence: rec.Fence, OutputBytes: rec.OutputBytes, OutputTruncated: rec.OutputTruncated, Usage: rec.Usage,
		Cause: rec.Cause, Execution: rec.Execution, Session: rec.Session, Generation: rec.Generation, ResultError: rec.ResultError, EndedBy: rec.EndedBy,
		Effects: rec.Effects, Params: rec.Params,
	}
	if triggerNumber(rec.Trigger) == otherTrigger {
		d.Trigger = rec.Trigger
	}
	if r.accounts = rec.Trigger.Accounts(); len(rec.Owed) > 0 && r.accounts {
		d.Owed = rec.Owed
		r.instant, r.until, r.instants = owedColumns(rec.Owed)
	}
	parts := rec.OutputParts
	if half := (maxOutput - len(cutMark)) / 2; len(r.output) > maxOutput {
		short := *rec
		short.CutOutput(half, half, cutMark)
		r.output, parts, d.OutputTruncated = []byte(short.Output), short.OutputParts, true
	}
	var err error
	if len(parts) > 0 {
		if r.parts, err = json.Marshal(parts); err != nil {
			return nil, err
		}
	}
	if r.detail, err = json.Marshal(d); err != nil {
		return nil, err
	}
	if len(d.Owed) > 0 {
		r.owed, r.tellsOfNode = d, true
	}
	if len(rec.Attempts) > 0 {
		if r.attempts, err = json.Marshal(rec.Attempts); err != nil {
			return nil, err
		}
	}
	if r.result = rec.Result; len(r.result) > 0 && !json.Valid(r.result) {
		if r.result, err = json.Marshal(string(rec.Result)); err != nil {
			return nil, err
		}
	}
	if n := len(r.detail) + len(r.attempts) + len(r.result) + len(r.parts); n > maxRest {
		return nil, fmt.Errorf("has %d bytes besides its output, at most %d are allowed", n, maxRest)
	}
	r.bytes = rowBytes + int64(len(r.detail)+len(r.attempts)+len(r.result)+len(r.output)+len(r.parts))
	return r, nil
}

// checkKey refuses what could not be looked up again: PostgreSQL stores no NUL and no text that is not UTF-8.
func checkKey(what, s string, must bool) error {
	switch {
	case s == "" && must:
		return fmt.Errorf("it has no %s", what)
	case len(s) > maxKey:
		return fmt.Errorf("its %s has %d bytes, at most %d are allowed", what, len(s), maxKey)
	case !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("its %s %q is not a text", what, clip(s))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// optional is a time as a column that is null where there is none.
func optional(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	us := t.UnixMicro()
	return &us
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// recordColumns are what scanRecord reads, of records r, tasks t and jobs j.
const (
	recordColumns = "r.seq, r.id, j.job_id, t.grp, t.name, r.node, r.number, r.class, r.began, r.ended, r.instant, r.until, r.instants, r.handled_at, r.detail"
	bodyColumns   = ", b.output, b.result, b.attempts, b.parts"
	recordJoins   = " JOIN tasks t ON t.id = r.task JOIN jobs j ON j.id = r.job"
	bodyJoin      = " LEFT JOIN record_bodies b ON b.seq = r.seq"
)

// scanRecord reads a row of recordColumns, and bodyColumns after them where there is a body.
func scanRecord(rows *sql.Rows, body bool) (rec job.ExecutionRecord, seq int64, err error) {
	var class, began, ended int64
	var instant, until, handled sql.Null[int64]
	var det, output, result, attempts, parts []byte
	dest := []any{
		&seq, &rec.ID, &rec.JobID, &rec.Group, &rec.Name, &rec.Node, &rec.Number, &class, &began, &ended, &instant, &until,
		&rec.Count, &handled, &det,
	}
	if body {
		dest = append(dest, &output, &result, &attempts, &parts)
	}
	if err = rows.Scan(dest...); err != nil {
		return rec, 0, err
	}
	rec.TaskID = rec.Ref().String()
	rec.Outcome, rec.Trigger = classOutcome(class), classTrigger(class)
	rec.Success = rec.Outcome == job.Success
	rec.BeginTime, rec.EndTime = fromMicros(began), fromMicros(ended)
	if instant.Valid {
		rec.Instant = fromMicros(instant.V)
	}
	if until.Valid {
		rec.Until = fromMicros(until.V)
	}
	if handled.Valid {
		rec.IsHandle, rec.HandleTime = true, fromMicros(handled.V)
	}
	var d detail
	if err = json.Unmarshal(det, &d); err != nil {
		return rec, 0, fmt.Errorf("read the detail of record %s: %w", rec.ID, err)
	}
	if d.Trigger != "" {
		rec.Trigger = d.Trigger
	}
	rec.User, rec.Command, rec.Attempt, rec.Reason, rec.ExitCode, rec.Signal = d.User, d.Command, d.Attempt, d.Reason, d.ExitCode, d.Signal
	rec.Pid, rec.Fence, rec.OutputBytes, rec.OutputTruncated, rec.Usage = d.Pid, d.Fence, d.OutputBytes, d.OutputTruncated, d.Usage
	rec.Cause, rec.Execution, rec.Session, rec.Generation, rec.EndedBy = d.Cause, d.Execution, d.Session, d.Generation, d.EndedBy
	rec.Owed = d.Owed
	rec.Effects, rec.Params = d.Effects, d.Params
	rec.Output, rec.ResultError = string(output), d.ResultError
	if len(result) > 0 {
		rec.Result = result
	}
	if len(attempts) > 0 {
		if err = json.Unmarshal(attempts, &rec.Attempts); err != nil {
			return rec, 0, fmt.Errorf("read the attempts of record %s: %w", rec.ID, err)
		}
	}
	if len(parts) > 0 {
		if err = json.Unmarshal(parts, &rec.OutputParts); err != nil {
			return rec, 0, fmt.Errorf("read the parts of the output of record %s: %w", rec.ID, err)
		}
	}
	return rec, seq, nil
}
