package job

import (
	"strconv"
	"time"
)

// MonitorGroup is the group of the records of monitors. No task can be in it.
const MonitorGroup = "monitors"

// Monitor expects pings of a job that Rota does not run.
type Monitor struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Timer       Timer    `json:"timer"`              // when it is expected
	Timezone    string   `json:"timezone,omitempty"` // IANA name; empty: UTC
	Grace       Duration `json:"grace,omitempty"`    // how much later its first ping may come; 0: DefaultPingGrace
	MaxRun      Duration `json:"max_run,omitempty"`  // how long after its start its end may come; 0: DefaultMaxRun
	Notify      []Notify `json:"notify,omitempty"`
}

// Defaults of a monitor.
const (
	DefaultPingGrace = 5 * time.Minute
	DefaultMaxRun    = 24 * time.Hour
)

// DocumentName is the monitor's name.
func (m *Monitor) DocumentName() string { return m.Name }

// Ref is how the monitor's records name it.
func (m *Monitor) Ref() TaskRef { return TaskRef{Group: MonitorGroup, Name: m.Name} }

// Valid reports every fault of the monitor in one error.
func (m *Monitor) Valid() error {
	var f Faults
	m.check(&f, "")
	return f.Err("monitor " + m.Name + " is not valid")
}

func (m *Monitor) check(f *Faults, prefix string) {
	checkDocumentName(f, prefix, "monitor", m.Name)
	checkText(f, prefix+"description", m.Description, maxDescription)
	r := m.rule()
	if len(m.Timer.Lines()) > 0 {
		r.check(f, prefix)
	} else {
		f.AddHint(prefix+"timer", `write one, such as "30 2 * * *" or "@every 1h"`, "a monitor needs a timer: when a ping is expected")
	}
	if r.Schedule != nil && r.Schedule.Reboot() {
		f.Add(prefix+"timer", "nobody knows when a machine boots that Rota does not run on")
	}
	checkDuration(f, prefix+"grace", m.Grace)
	checkDuration(f, prefix+"max_run", m.MaxRun)
	checkNotify(f, prefix, m.Notify)
}

func (m *Monitor) rule() *Rule { return m.Rule().rule() }

// Rule is when the monitor expects its job.
func (m *Monitor) Rule() MonitorRule {
	r := MonitorRule{Timer: m.Timer, Timezone: m.Timezone, Grace: m.Grace}
	if r.Grace == 0 {
		r.Grace = Duration(DefaultPingGrace)
	}
	return r
}

// MonitorRule is when a job is expected.
type MonitorRule struct {
	Timer    Timer    `json:"timer"`
	Timezone string   `json:"timezone,omitempty"`
	Grace    Duration `json:"grace"`
}

func (r MonitorRule) rule() *Rule {
	return &Rule{Mode: Cycle, Timer: string(r.Timer), Timezone: r.Timezone}
}

// PingSort is what a ping says.
type PingSort string

// The pings.
const (
	PingStart PingSort = "start"
	PingOK    PingSort = "ok"
	PingFail  PingSort = "fail"
)

// Ping is what a watched job says of itself.
type Ping struct {
	Sort        PingSort
	ExitCode    *int
	Output      string
	OutputBytes int64
	From        string // the address that it came from
}

// MaxPingOutput is how many bytes of a ping's body are kept.
const MaxPingOutput = 64 << 10

// PingRun is a run of a watched job, of which pings tell.
type PingRun struct {
	ID      RunID     `json:"id"`
	Instant time.Time `json:"instant,omitzero"`
	Began   time.Time `json:"began"`
}

// MonitorState is what the system keeps of a monitor.
type MonitorState struct {
	Name    string    `json:"name"`
	Key     string    `json:"key"` // what a ping must know: 128 random bits
	Created time.Time `json:"created"`
	// Cursor is the instant up to which every expected one has its outcome.
	Cursor time.Time `json:"cursor"`
	// Rule is by what instants after the cursor are expected, up to the latest edit of the monitor.
	Rule     MonitorRule `json:"rule"`
	Count    int64       `json:"count"`              // of pings
	LastPing time.Time   `json:"last_ping,omitzero"` // when the latest came
	Run      *PingRun    `json:"run,omitempty"`      // began, and has not told of its end
	Lost     *PingRun    `json:"lost,omitempty"`     // was given up; its end may still come
	Revision int64       `json:"revision,omitempty"`
}

const (
	// sameStart is within which time a second start is the first one, sent again.
	sameStart = 10 * time.Second
	// maxEarly is by how much a job's clock may be ahead.
	maxEarly = 10 * time.Second
	// maxSettled is how many instants are looked at in one step.
	maxSettled = 10_000
)

// NewMonitorState is the state of a monitor that was just made.
func NewMonitorState(m *Monitor, key string, now time.Time) *MonitorState {
	now = now.UTC()
	return &MonitorState{Name: m.Name, Key: key, Created: now, Cursor: now, Rule: m.Rule()}
}

// watch is a monitor's state under the monitor's present word.
type watch struct {
	*MonitorState
	m      *Monitor
	edited time.Time // when the monitor got its present rule, at the latest
	rules  map[MonitorRule]*Rule
}

func (s *MonitorState) watch(m *Monitor, edited time.Time) *watch {
	return &watch{s, m, edited.UTC(), map[MonitorRule]*Rule{}}
}

func (w *watch) next(r MonitorRule, t time.Time) time.Time {
	rule := w.rules[r]
	if rule == nil {
		rule = r.rule()
		if rule.Valid() != nil {
			return time.Time{}
		}
		w.rules[r] = rule
	}
	return rule.Next(t).UTC()
}

// expected is the first instant after a time at which the job is expected, and how much later it may be.
func (w *watch) expected(after time.Time) (time.Time, time.Duration) {
	now := w.m.Rule()
	if now == w.Rule {
		return w.next(now, after), now.Grace.Std()
	}
	if i := w.next(w.Rule, after); !i.IsZero() && !i.After(w.edited) {
		return i, w.Rule.Grace.Std() // it was due before the edit
	}
	if after.Before(w.edited) {
		after = w.edited
	}
	return w.next(now, after), now.Grace.Std()
}

// to moves the cursor.
func (w *watch) to(instant time.Time) {
	w.Cursor = instant.UTC()
	if rule := w.m.Rule(); rule != w.Rule {
		if i := w.next(w.Rule, w.Cursor); i.IsZero() || i.After(w.edited) {
			w.Rule = rule
			if w.Cursor.Before(w.edited) {
				w.Cursor = w.edited
			}
		}
	}
}

// Next is the instant at which the job is expected next, and until when it may tell of itself; zero: never.
func (s *MonitorState) Next(m *Monitor, edited time.Time) (instant, until time.Time) {
	i, grace := s.watch(m, edited).expected(s.Cursor)
	if i.IsZero() {
		return i, i
	}
	return i, i.Add(grace)
}

// Overdue settles what has not come by now. The records are those of a run that was given up, and of instants that were missed;
// the state is to be kept together with them. There are none where nothing is overdue.
func (s *MonitorState) Overdue(m *Monitor, edited, now time.Time) []ExecutionRecord {
	w := s.watch(m, edited)
	var recs []ExecutionRecord
	limit := m.MaxRun.Std()
	if limit <= 0 {
		limit = DefaultMaxRun
	}
	if s.Run != nil && now.Sub(s.Run.Began) > limit {
		recs = append(recs, w.giveUp("its start was reported, and its end was not within "+Duration(limit).String(), now))
	}
	return append(recs, w.missed(now, time.Time{})...)
}

// missed settles the instants whose time is over, or that are before another one.
func (w *watch) missed(now, before time.Time) []ExecutionRecord {
	var rec *ExecutionRecord
	for range maxSettled {
		i, grace := w.expected(w.Cursor)
		if i.IsZero() || !before.IsZero() && !i.Before(before) || before.IsZero() && !now.After(i.Add(grace)) {
			break
		}
		if rec == nil {
			r := w.record(PingRun{ID: FiringID(w.m.Ref(), "", i), Instant: i, Began: now}, Missed, now)
			r.Reason, r.Count = "no ping came within "+Duration(grace).String(), 1
			if !before.IsZero() {
				r.Reason = "no ping came before that of the next instant"
			}
			rec = &r
		} else {
			rec.Until, rec.Count = i, rec.Count+1
		}
		w.to(i)
	}
	if rec == nil {
		return nil
	}
	return []ExecutionRecord{*rec}
}

func (w *watch) giveUp(why string, now time.Time) ExecutionRecord {
	rec := w.record(*w.Run, Lost, now)
	rec.Reason, rec.EndedBy = why, EndedByLoss
	w.Lost, w.Run = w.Run, nil
	return rec
}

func (w *watch) record(run PingRun, o Outcome, end time.Time) ExecutionRecord {
	ref := w.m.Ref()
	return ExecutionRecord{
		ID: string(run.ID), JobID: JobHash(ref, ""), TaskID: ref.String(), Name: ref.Name, Group: ref.Group, Instant: run.Instant,
		BeginTime: run.Began.UTC(), EndTime: end.UTC(), Outcome: o, Success: o == Success, Trigger: TriggerPing,
	}
}

// Take takes a ping. The records are those of the run that it ends, and of what else it settles; the state is to be kept
// together with them.
func (s *MonitorState) Take(m *Monitor, edited time.Time, p Ping, now time.Time) []ExecutionRecord {
	w, now := s.watch(m, edited), now.UTC()
	s.Count, s.LastPing = s.Count+1, now
	if p.Sort == PingStart {
		if s.Run != nil && now.Sub(s.Run.Began) < sameStart {
			return nil
		}
		var recs []ExecutionRecord
		if s.Run != nil {
			recs = append(recs, w.giveUp("its end was not reported before it was started anew", now))
		}
		run, missed := w.begin(now)
		s.Run = &run
		return append(recs, missed...)
	}
	var recs []ExecutionRecord
	run := s.Run
	switch {
	case run != nil:
		s.Run, s.Lost = nil, nil
	case s.Lost != nil:
		run, s.Lost = s.Lost, nil // it did end after all
	default:
		var began PingRun
		began, recs = w.begin(now)
		run = &began
	}
	outcome := Success
	if p.Sort == PingFail {
		outcome = Failed
	}
	rec := w.record(*run, outcome, now)
	rec.Attempt, rec.ExitCode, rec.Output, rec.OutputBytes = 1, p.ExitCode, p.Output, p.OutputBytes
	rec.OutputTruncated, rec.EndedBy = p.OutputBytes > int64(len(p.Output)), EndedByExit
	if p.From != "" {
		rec.Cause = "ping from " + p.From
	}
	if outcome == Failed {
		rec.Reason = "it reported a failure"
		if p.ExitCode != nil {
			rec.Reason = "exit code " + strconv.Itoa(*p.ExitCode)
		}
	}
	return append(recs, rec)
}

// begin gives a run its instant: the latest one that is due, or the next one where a clock may be a little ahead. What was due
// before that is missed.
func (w *watch) begin(now time.Time) (PingRun, []ExecutionRecord) {
	// What nobody can report any more was missed, and may be a great many.
	recs := w.missed(now, time.Time{})
	var at time.Time
	for i, _ := w.expected(w.Cursor); !i.IsZero() && !i.After(now); i, _ = w.expected(i) {
		at = i
	}
	if at.IsZero() {
		i, grace := w.expected(w.Cursor)
		following, _ := w.expected(i)
		early := min(maxEarly, grace)
		if !following.IsZero() {
			early = min(early, following.Sub(i)/4)
		}
		if !i.IsZero() && !i.After(now.Add(early)) {
			at = i
		}
	}
	if at.IsZero() {
		return PingRun{ID: RunID(digest("ping", w.Name, w.Created.Format(time.RFC3339Nano), strconv.FormatInt(w.Count, 10))), Began: now}, recs
	}
	if skipped := w.missed(now, at); len(skipped) > 0 {
		recs = append(recs, skipped...)
	}
	w.to(at)
	return PingRun{ID: FiringID(w.m.Ref(), "", at), Instant: at, Began: now}, recs
}
