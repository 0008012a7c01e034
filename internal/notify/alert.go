package notify

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// What damps an alert that changes too often.
const (
	// FlapWindow is the time in which changes are counted, and for how long the state must be the same to be told again.
	FlapWindow = time.Hour
	// FlapChanges is how many changes within it are told; the last of them says that what follows is held back.
	FlapChanges = 6
)

// State is how things stand with one alert. The zero value is good.
type State struct {
	Of     int64          `json:"of,omitempty"`     // tells a task from an earlier one of its name
	Event  job.AlertEvent `json:"event,omitempty"`  // empty: good
	Since  time.Time      `json:"since,omitzero"`   // since when it is not good
	Count  int            `json:"count,omitempty"`  // how many records said so, one after the other
	Record string         `json:"record,omitempty"` // the newest that counted
	End    time.Time      `json:"end,omitzero"`     // and its end
	// Told are the receivers that were told of the present trouble, and of what last.
	Told    map[string]Told `json:"told,omitempty"`
	Changes []time.Time     `json:"changes,omitempty"` // the latest, within the window
	Held    bool            `json:"held,omitempty"`    // changes too often
	Last    *Message        `json:"last,omitempty"`    // of the newest record that was bad
}

// Told is of what a receiver was told, and when.
type Told struct {
	Event job.AlertEvent `json:"event"`
	At    time.Time      `json:"at"`
}

// Fact is something that happened. Its message says the rest.
type Fact struct {
	Event  job.AlertEvent
	Record string    // the record, or the run that is late
	At     time.Time // of two facts the later one counts
	Message
}

// ParseState reads a state that was kept. One that is of another thing of the same name, or can't be read, is good.
func ParseState(a job.Alert, of int64) State {
	var s State
	if len(a.State) == 0 || json.Unmarshal(a.State, &s) != nil || s.Of != of {
		s = State{}
	}
	s.Of = of
	return s
}

// Alert is the state as it is kept. rules say when it is to be looked at again.
func (s *State) Alert(rules []job.Notify) job.Alert {
	b, err := json.Marshal(s)
	if err != nil { // there is nothing in it that could not be written
		b = []byte("{}")
	}
	return job.Alert{State: b, Due: s.due(rules)}
}

// receivers are those that a list of rules tells of an event.
func receivers(rules []job.Notify, event job.AlertEvent) []string {
	var names []string
	for _, n := range rules {
		if slices.Contains(n.On, event) {
			names = append(names, n.To...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Take moves the state by what happened, and gives the messages. changed tells whether there is anything to keep.
func (s *State) Take(key job.AlertKey, f Fact, rules []job.Notify, now time.Time) (out []job.Delivery, changed bool) {
	if f.Event == "" || f.Record != s.Record && f.At.Before(s.End) {
		return nil, false
	}
	switch f.Event {
	case job.AlertRecovered:
		return s.recovered(key, f, rules, now)
	case job.AlertSkipped, job.AlertLate: // they say nothing of what was before, and are nothing where nobody asks for them
		if s.Event != "" || len(receivers(rules, f.Event)) == 0 || f.Event == job.AlertLate && s.Record == f.Record {
			return nil, false
		}
	}
	if s.Event == "" {
		s.Since, s.Count = f.At, 0
		if !s.Held {
			s.Told = nil
		}
	}
	s.Record, s.End = f.Record, f.At
	s.Count++
	told := s.Event != f.Event && s.change(now)
	s.Event = f.Event
	m := f.Message
	m.Event, m.Since, m.Count = f.Event, s.Since, s.Count
	s.Last = &m
	if s.Held && !told {
		return nil, true
	}
	return s.tell(key, m, receivers(rules, f.Event), now, f.Record), true
}

func (s *State) recovered(key job.AlertKey, f Fact, rules []job.Notify, now time.Time) ([]job.Delivery, bool) {
	if s.Event == "" {
		known := s.Record != ""
		s.Record, s.End = f.Record, f.At
		return nil, known // nothing is kept of what was never bad
	}
	m := f.Message
	m.Event, m.Since, m.Count = job.AlertRecovered, s.Since, s.Count
	s.Record, s.End, s.Event, s.Last = f.Record, f.At, "", &m
	told := s.change(now)
	if s.Held && !told {
		return nil, true
	}
	return s.allClear(key, m, rules, now, f.Record), true
}

// allClear tells those of the end of trouble who were told of it, and those who asked for nothing else.
func (s *State) allClear(key job.AlertKey, m Message, rules []job.Notify, now time.Time, about ...string) []job.Delivery {
	var to []string
	for _, r := range receivers(rules, job.AlertRecovered) {
		_, told := s.Told[r]
		other := slices.ContainsFunc(rules, func(n job.Notify) bool {
			return slices.Contains(n.To, r) && slices.ContainsFunc(n.On, func(e job.AlertEvent) bool { return e != job.AlertRecovered })
		})
		if told || !other {
			to = append(to, r)
		}
	}
	out := s.tell(key, m, to, now, about...)
	s.Told = nil
	return out
}

// change notes that the state changes, and tells whether that is to be told although it changes too often.
func (s *State) change(now time.Time) bool {
	s.Changes = slices.DeleteFunc(append(s.Changes, now), func(t time.Time) bool { return now.Sub(t) >= FlapWindow })
	if len(s.Changes) > FlapChanges {
		s.Changes = s.Changes[len(s.Changes)-FlapChanges:]
	}
	if s.Held || len(s.Changes) < FlapChanges {
		return false
	}
	s.Held = true
	return true
}

// tell makes the messages to those who do not know yet.
func (s *State) tell(key job.AlertKey, m Message, to []string, now time.Time, about ...string) []job.Delivery {
	if s.Held && m.Note == "" {
		m.Note = "It has changed " + count(FlapChanges, "time") + " within an hour. What follows is not told until it has been the same for an hour."
	}
	var out []job.Delivery
	for _, r := range to {
		if s.Told[r].Event == m.Event && !m.Reminder {
			continue
		}
		if s.Told == nil {
			s.Told = map[string]Told{}
		}
		s.Told[r] = Told{m.Event, now}
		id := job.DeliveryID(append([]string{key.String(), string(m.Event), r}, about...)...)
		out = append(out, m.delivery(key, id, r, now))
	}
	return out
}

// due is when the state is to be looked at again, zero: when something happens.
func (s *State) due(rules []job.Notify) time.Time {
	if s.Held {
		return s.Changes[len(s.Changes)-1].Add(FlapWindow)
	}
	var due time.Time
	for r, t := range s.Told {
		if every := repeat(rules, r, s.Event); every > 0 && (due.IsZero() || t.At.Add(every).Before(due)) {
			due = t.At.Add(every)
		}
	}
	return due
}

// repeat is how often a receiver is reminded of an event; 0: never.
func repeat(rules []job.Notify, receiver string, event job.AlertEvent) (every time.Duration) {
	for _, n := range rules {
		if event != "" && n.Repeat > 0 && slices.Contains(n.On, event) && slices.Contains(n.To, receiver) && (every == 0 || n.Repeat.Std() < every) {
			every = n.Repeat.Std()
		}
	}
	return every
}

// Tick does what time alone brings about: reminders, and the word on what was held back.
func (s *State) Tick(key job.AlertKey, rules []job.Notify, now time.Time) (out []job.Delivery) {
	if s.Held {
		last := s.Changes[len(s.Changes)-1]
		if now.Sub(last) < FlapWindow {
			return nil
		}
		s.Held, s.Changes = false, nil
		if s.Last == nil {
			return nil
		}
		m := *s.Last
		m.Note = "It had changed too often, and has been the same for an hour."
		if s.Event == "" {
			return s.allClear(key, m, rules, now, "settled", last.UTC().Format(time.RFC3339Nano))
		}
		return s.tell(key, m, receivers(rules, s.Event), now, "settled", last.UTC().Format(time.RFC3339Nano))
	}
	if s.Event == "" || s.Last == nil {
		return nil
	}
	for _, r := range slices.Sorted(maps.Keys(s.Told)) {
		every, before := repeat(rules, r, s.Event), s.Told[r]
		if every == 0 || now.Sub(before.At) < every {
			continue
		}
		m := *s.Last
		m.Count, m.Reminder = s.Count, true
		out = append(out, s.tell(key, m, []string{r}, now, "reminder", s.Since.UTC().Format(time.RFC3339Nano), before.At.UTC().Format(time.RFC3339Nano))...)
	}
	return out
}

// Summary is one message for several of one receiver, and those, for which it stands.
func Summary(list []job.Delivery, perHour int, now time.Time) (job.Delivery, []job.Delivery) {
	slices.SortStableFunc(list, func(a, b job.Delivery) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	m := Message{Version: Version, Event: job.AlertSummary, At: now.UTC(), Count: len(list)}
	m.Note = "More than " + count(perHour, "message") + " an hour is too many for this receiver; this one stands for " + count(len(list), "message") + "."
	ids := make([]string, 0, len(list))
	for i := range list {
		ids = append(ids, list[i].ID)
		if len(m.Items) < maxItems {
			one, err := ParseMessage(list[i].Message)
			if err == nil {
				m.Items = append(m.Items, Item{one.Event, one.Sort, one.Name, one.Node, one.At, one.Reason, one.Record})
			}
		}
	}
	id := job.DeliveryID(append([]string{"summary", list[0].Receiver}, ids...)...)
	sum := m.delivery(job.AlertKey{}, id, list[0].Receiver, now)
	sum.Created = list[0].Created // what it stands for is given up when its time is over
	for i := range list {
		list[i].Status, list[i].Into, list[i].NextAt, list[i].DoneAt = job.DeliverySummarised, id, time.Time{}, now
	}
	return sum, list
}
