package sim

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// observer knows what really happened.
type observer struct {
	w *world

	mu     sync.Mutex
	starts []*started
	byRun  map[job.RunID][]*started
	fences map[job.TaskRef]int64
	alone  map[job.TaskRef]*started // alive
	asked  map[job.RunID]job.TaskRef
	lines  []line1
	wrong  []violation
}

// started is an execution that began.
type started struct {
	run     job.RunID
	attempt int
	task    job.TaskRef
	kind    job.Kind
	node    job.NodeID
	boot    int
	trigger job.Trigger
	instant time.Time
	asked   bool // by a dispatch
	fence   int64
	begin   time.Time
	end     time.Time // zero: it is alive
	outcome job.Outcome
	life    string
}

func (s *started) String() string {
	return fmt.Sprintf("%.8s/%d of %s (%s, instant %s, fence %d)", s.run, s.attempt, s.task.Name, s.trigger, clockTime(s.instant), s.fence)
}

// line1 is a line of the journal.
type line1 struct {
	at   time.Time
	who  string
	text string
}

func clockTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("15:04:05.000")
}

func (l line1) String() string {
	return clockTime(l.at) + "  " + fmt.Sprintf("%-4s", l.who) + "  " + l.text
}

// violation is a promise that was broken.
type violation struct {
	promise string
	at      time.Time
	text    string
	about   []string // words by which lines of the journal are found that matter
}

func (v violation) String() string {
	return v.promise + " is broken at " + clockTime(v.at) + ": " + v.text
}

// Promises that are not in guarantees.md.
const (
	rest   = "Rest"   // the cluster comes to rest: nothing is left over in etcd
	broken = "Broken" // the simulation itself
)

func newObserver(w *world) *observer {
	return &observer{w: w, byRun: map[job.RunID][]*started{}, fences: map[job.TaskRef]int64{}, alone: map[job.TaskRef]*started{}, asked: map[job.RunID]job.TaskRef{}}
}

func (w *world) note(who, format string, args ...any) {
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	w.seen.line(who, format, args...)
}

func (o *observer) line(who, format string, args ...any) {
	o.lines = append(o.lines, line1{time.Now(), who, fmt.Sprintf(format, args...)})
}

// fail notes that the simulation is broken.
func (w *world) fail(format string, args ...any) {
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	w.seen.breaks(broken, nil, format, args...)
}

func (o *observer) breaks(promise string, about []string, format string, args ...any) {
	v := violation{promise: promise, at: time.Now(), text: fmt.Sprintf(format, args...), about: about}
	o.lines = append(o.lines, line1{v.at, "!!!!", v.promise + ": " + v.text})
	o.wrong = append(o.wrong, v)
}

// started judges a start.
func (o *observer) started(x *execution) *started {
	m := x.g.m
	s := &started{
		run: x.Run, attempt: x.Attempt, node: m.id, boot: m.boots, trigger: x.note.Trigger, instant: x.note.Instant, fence: x.fence,
		begin: time.Now(), asked: x.note.Dispatch != nil, life: x.by,
	}
	j := x.note.Job
	if x.note.Dispatch != nil {
		j = x.note.Dispatch.Job
	}
	again := m.forgetful()
	o.mu.Lock()
	defer o.mu.Unlock()
	if j == nil {
		o.breaks(broken, nil, "run %s has no job in its note", x.Run)
		return s
	}
	s.task, s.kind = job.Ref(j.Group, j.Name), j.Kind
	about := []string{string(s.run)[:8], s.task.Name}
	o.line(string(m.id), "begins %s", s)
	// What only the node knew of may come again where its disk did not take it.
	again = again && s.kind == job.KindCommon && !s.asked
	for _, before := range o.byRun[s.run] {
		switch {
		case again:
		case before.attempt == s.attempt:
			o.breaks("Once", about, "%s began on %s, and before on %s at %s", s, s.node, before.node, clockTime(before.begin))
		case before.end.IsZero():
			o.breaks("Once", about, "%s began while attempt %d was alive on %s", s, before.attempt, before.node)
		case before.outcome == job.Success:
			o.breaks("Once", about, "%s began after attempt %d had succeeded", s, before.attempt)
		}
	}
	o.byRun[s.run] = append(o.byRun[s.run], s)
	o.starts = append(o.starts, s)
	if s.kind != job.KindAlone {
		return s
	}
	if other := o.alone[s.task]; other != nil {
		o.breaks("Exclusive", about, "%s began on %s while %s was alive on %s", s, s.node, other, other.node)
	}
	switch last := o.fences[s.task]; {
	case s.fence == 0:
		o.breaks("Exclusive", about, "%s has no fence", s)
	case s.fence < last, s.fence == last && len(o.byRun[s.run]) == 1:
		o.breaks("Exclusive", about, "%s has a fence that is not above %d, which was given before", s, last)
	}
	o.fences[s.task] = max(o.fences[s.task], s.fence)
	o.alone[s.task] = s
	return s
}

func (o *observer) ended(x *execution) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := x.record
	s.end, s.outcome = time.Now(), x.exit.Outcome
	if o.alone[s.task] == s {
		delete(o.alone, s.task)
	}
	how := string(s.outcome)
	if how == "" {
		how = "gone with its machine"
	}
	o.line(string(s.node), "ended  %s: %s %s", s, how, x.exit.Reason)
}

// recorded is told what came into history.
func (o *observer) recorded(client string, recs []job.ExecutionRecord, stored []bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range recs {
		if !stored[i] {
			continue
		}
		r := &recs[i]
		until := ""
		if r.Count > 1 {
			until = fmt.Sprintf(" to %s (%d)", clockTime(r.Until), r.Count)
		}
		o.line(process(client), "history has %.8s of %s on %s: %s, instant %s%s, %s %s", r.ID, r.Name, r.Node, r.Outcome, clockTime(r.Instant), until, r.Trigger, r.Reason)
	}
}

// story is the part of the journal that a violation is about.
func (o *observer) story(v violation, most int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lines []string
	for _, l := range o.lines {
		matters := l.who == "!!!!" || !strings.HasPrefix(l.text, "begins ") && !strings.HasPrefix(l.text, "ended ") && !strings.HasPrefix(l.text, "history has") && !strings.HasPrefix(l.text, "wrote ")
		for _, word := range v.about {
			matters = matters || strings.Contains(l.text, word)
		}
		if matters {
			lines = append(lines, l.String())
		}
	}
	if len(lines) > most {
		lines = append([]string{fmt.Sprintf("… %d lines before", len(lines)-most)}, lines[len(lines)-most:]...)
	}
	return strings.Join(lines, "\n")
}
