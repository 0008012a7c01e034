package job

import (
	"fmt"
	"slices"
)

// AlertEvent is what people can be told of.
type AlertEvent string

// The events. A task, on a node where it is common, is in the state of its newest record; people are told when that changes, not of
// each run.
const (
	AlertFailed    AlertEvent = "failed"    // it failed, ran out of time, or was ended by the system
	AlertMissed    AlertEvent = "missed"    // it was due, and nobody could run it
	AlertLost      AlertEvent = "lost"      // it started, and nobody can say how it ended
	AlertLate      AlertEvent = "late"      // it runs for longer than it should; told while it runs
	AlertSkipped   AlertEvent = "skipped"   // it was due, and deliberately did not run
	AlertRecovered AlertEvent = "recovered" // it succeeded after any of these
)

// AlertEvents are all of them that can be asked for.
var AlertEvents = []AlertEvent{AlertFailed, AlertMissed, AlertLost, AlertLate, AlertSkipped, AlertRecovered}

// AlertSummary is the event of a message that stands for several, which a receiver would have got too often.
const AlertSummary AlertEvent = "summary"

// AlertTest is the event of a message that a person sends to see whether it arrives.
const AlertTest AlertEvent = "test"

// AlertOf is the event that a record is, "" where it is none: a run that a person ended says nothing of how things stand.
func AlertOf(r *ExecutionRecord) AlertEvent {
	switch r.Outcome {
	case Success:
		return AlertRecovered
	case Failed, Timeout:
		return AlertFailed
	case Killed:
		if r.EndedBy == EndedByKill || r.EndedBy == "" {
			return ""
		}
		return AlertFailed
	case Missed:
		return AlertMissed
	case Lost:
		return AlertLost
	case Skipped:
		return AlertSkipped
	}
	return ""
}

// AlertOfExecution is the event that the end of an execution of a group is, "" where it is none: one that a person cancelled says nothing.
func AlertOfExecution(s ExecutionStatus) AlertEvent {
	switch s {
	case ExecutionSuccess:
		return AlertRecovered
	case ExecutionFailed, ExecutionTimeout:
		return AlertFailed
	case ExecutionMissed:
		return AlertMissed
	case ExecutionSkipped:
		return AlertSkipped
	}
	return ""
}

// Notify asks for messages on events.
type Notify struct {
	On     []AlertEvent `json:"on"`
	To     Names        `json:"to"`               // receivers
	Repeat Duration     `json:"repeat,omitempty"` // once more as often while a bad state lasts; 0: never
}

const (
	maxNotify    = 20
	minRepeat    = Duration(60e9)
	maxReceivers = 100
)

// checkNotify checks whom to tell of what.
func checkNotify(f *Faults, prefix string, list []Notify) {
	if len(list) > maxNotify {
		f.Add(prefix+"notify", "there are %d items, at most %d are allowed", len(list), maxNotify)
		return
	}
	for i, n := range list {
		at := fmt.Sprintf("%snotify[%d]", prefix, i)
		if len(n.On) == 0 {
			f.AddHint(at+".on", "such as [failed, missed, lost]", "it says no event")
		}
		for k, e := range n.On {
			checkEnum(f, fmt.Sprintf("%s.on[%d]", at, k), e, AlertEvents)
			if slices.Contains(n.On[:k], e) {
				f.Add(fmt.Sprintf("%s.on[%d]", at, k), "%s is there twice", e)
			}
		}
		if len(n.To) == 0 || len(n.To) > maxReceivers {
			f.AddHint(at+".to", "write the name of a receiver, or a list", "it has %d receivers, want 1 to %d", len(n.To), maxReceivers)
			continue
		}
		for k, to := range n.To {
			path := fmt.Sprintf("%s.to[%d]", at, k)
			if len(n.To) == 1 {
				path = at + ".to"
			}
			if err := CheckName("receiver", to); err != nil {
				f.AddError(path, err)
			}
		}
		checkDuration(f, at+".repeat", n.Repeat)
		if n.Repeat > 0 && n.Repeat < minRepeat {
			f.Add(at+".repeat", "%s is less than %s", n.Repeat, minRepeat)
		}
	}
}

// Receivers are the receivers that a list names.
func Receivers(list []Notify) []string {
	var names []string
	for _, n := range list {
		names = append(names, n.To...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// CheckReceivers adds a fault for each receiver of a list that is not known.
func CheckReceivers(f *Faults, prefix string, list []Notify, known func(name string) bool, all []string) {
	for i, n := range list {
		for k, to := range n.To {
			if known(to) {
				continue
			}
			path := fmt.Sprintf("%snotify[%d].to", prefix, i)
			if len(n.To) > 1 {
				path = fmt.Sprintf("%s[%d]", path, k)
			}
			hint := didYouMean(to, all)
			if hint == "" {
				hint = "apply it first, or together with this, in a list receivers:"
			}
			f.AddHint(path, hint, "there is no receiver %q", to)
		}
	}
}
