package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

// clock writes a time of the day on which every test begins, and others with their date.
func clock(t time.Time) string {
	t = t.UTC()
	layout := time.TimeOnly
	if t.Nanosecond() != 0 {
		layout = "15:04:05.000"
	}
	if t.Format(time.DateOnly) != "2026-03-02" {
		layout = "01-02 " + layout
	}
	return t.Format(layout)
}

// describe writes an action as scenarios show it.
func (w *world) describe(a engine.Action) string {
	switch a := a.(type) {
	case engine.PutJob:
		j := a.Job
		words := []string{"put job", j.Ref().String(), "on", string(j.NodeID), "since", clock(j.Since)}
		if a.Revision != 0 {
			words[0] = "renew job"
		}
		if len(j.Candidates) > 0 {
			words = append(words, "candidates", fmt.Sprint(j.Candidates))
		}
		for _, e := range j.Past {
			if e.Rule != nil {
				words = append(words, fmt.Sprintf("until %s %s %q", clock(e.Until), e.Kind, e.Rule.Timer))
			}
		}
		if j.Pause {
			words = append(words, "paused")
		}
		if len(j.Config) > 0 {
			words = append(words, "config", strings.TrimPrefix(fmt.Sprint(j.Config), "map"))
		}
		return strings.Join(words, " ")
	case engine.DeleteJob:
		for _, ref := range w.refs() {
			if job.JobHash(ref, a.Node) == a.Hash {
				return fmt.Sprintf("delete job %s on %s", ref, a.Node)
			}
		}
		return "delete job " + a.Hash + " on " + string(a.Node)
	case engine.CreateDispatch:
		return "dispatch " + w.dispatch(a.Dispatch)
	case engine.Start:
		return fmt.Sprintf("start %s", w.dispatch(a.Dispatches[0]))
	case engine.Release:
		return "release " + w.dispatch(a.Dispatch)
	case engine.AdvanceWaiting:
		return fmt.Sprintf("for %s start %s", w.runName(string(a.Waiting.Run)), w.dispatch(a.Dispatches[0]))
	case engine.FailWaiting:
		return "give up " + w.record(a.Record)
	case engine.CreateWaiting:
		return fmt.Sprintf("keep %s: %s waits on %q, %s", w.runName(string(a.Waiting.Run)), a.Waiting.Ref(), a.Waiting.Node, a.Waiting.Trigger)
	case engine.DropFacts:
		return fmt.Sprintf("forget what is known of %s", a.Task)
	case engine.Ended:
		s := fmt.Sprintf("remember of %s on %s: %s", a.Task, a.Node, a.Outcome)
		return s
	case engine.FailDispatch:
		return fmt.Sprintf("fail dispatch %s: %s: %s", w.runName(string(a.Dispatch.Run)), a.Record.Outcome, a.Record.Reason)
	case engine.AdvanceBackfill, engine.DropBackfill, engine.MoveDispatch:
		return w.describeBackfill(a)
	case engine.AdvanceExecution, engine.StartExecution, engine.KillStep, engine.FireGroup, engine.DropGroupState:
		return w.describeFlow(a)
	case engine.InitFloor:
		return fmt.Sprintf("open %s at %s", a.Task, clock(a.At))
	case engine.Settle:
		s := fmt.Sprintf("settle %s %s..%s", a.Task, clock(a.From), clock(a.To))
		if a.Record != nil {
			s += " with " + w.record(a.Record)
		}
		return s
	case engine.PutRecord:
		return "record " + w.record(a.Record)
	case engine.DropTask:
		return fmt.Sprintf("drop the floor of %s at %s", a.Task, clock(a.Floor))
	case engine.SetConfig:
		return strings.TrimPrefix(fmt.Sprintf("set config %s/%s=%s", a.Group, a.Key, a.Value), "/")
	case engine.SetCondition:
		return fmt.Sprintf("set condition %s=%s of %s", a.Type, a.Status, a.Node)
	}
	return fmt.Sprintf("%T", a)
}

func (w *world) dispatch(d *job.Dispatch) string {
	s := fmt.Sprintf("%s: %s on %s, %s", w.runName(string(d.Run)), d.Job.Ref(), d.Node, d.Trigger)
	if d.Attempt > 0 {
		s += fmt.Sprintf(", attempt %d", d.Attempt)
	}
	if !d.Instant.IsZero() {
		s += ", of " + clock(d.Instant)
	}
	if d.Started != nil {
		s += ", started"
	}
	return s
}

// record writes what a record says.
func (w *world) record(r *job.ExecutionRecord) string {
	s := r.TaskID
	switch {
	case r.Instant.IsZero() || r.Trigger == job.TriggerRetry || r.Trigger == job.TriggerBackfill:
		s += " " + w.runName(r.ID)
	case r.Count > 1:
		s += fmt.Sprintf(" %s..%s (%d)", clock(r.Instant), clock(r.Until), r.Count)
	default:
		s += " " + clock(r.Instant)
	}
	if r.Node != "" {
		s += " on " + string(r.Node)
	}
	if s += ": " + string(r.Outcome); r.Reason != "" {
		s += ", " + r.Reason
	}
	return s
}

// runName gives runs that were asked for short names, in the order in which they appear.
func (w *world) runName(id string) string {
	i := slices.Index(w.runs, id)
	if i < 0 {
		i, w.runs = len(w.runs), append(w.runs, id)
	}
	return fmt.Sprintf("run%d", i+1)
}

// refs are the tasks that there ever were.
func (w *world) refs() []job.TaskRef { return w.ever }

// note keeps what happened, for whoever must understand a failure.
func (w *world) note(format string, args ...any) {
	w.journal = append(w.journal, clock(w.now)+" "+fmt.Sprintf(format, args...))
}

// act notes what a leader did.
func (w *world) act(format string, args ...any) {
	w.note("leader: "+format, args...)
	w.said = append(w.said, clock(w.now)+" "+fmt.Sprintf(format, args...))
}
