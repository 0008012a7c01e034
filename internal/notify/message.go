package notify

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rota-dev/rota/job"
)

// Version is that of the JSON of messages. What is added does not change it.
const Version = 1

const (
	maxLines  = 20      // of output in a message
	maxOutput = 4 << 10 // and bytes
	maxReason = 1 << 10
	maxItems  = 50
)

// Message is what is sent. Its JSON is the body of a webhook.
type Message struct {
	Version  int            `json:"version"`
	ID       string         `json:"id"` // the same however often it is sent
	Thread   string         `json:"thread"`
	Event    job.AlertEvent `json:"event"`
	Sort     job.AlertSort  `json:"sort,omitempty"`
	Name     string         `json:"name,omitempty"` // group/name of a task
	Node     job.NodeID     `json:"node,omitempty"`
	At       time.Time      `json:"at"` // of the event
	Instant  time.Time      `json:"instant,omitzero"`
	Until    time.Time      `json:"until,omitzero"`    // the last of several instants
	Instants int            `json:"instants,omitzero"` // how many
	Outcome  job.Outcome    `json:"outcome,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	ExitCode *int           `json:"exit_code,omitempty"`
	Signal   string         `json:"signal,omitempty"`
	Began    time.Time      `json:"began,omitzero"`
	Ended    time.Time      `json:"ended,omitzero"`
	Output   string         `json:"output,omitempty"` // its last lines
	Since    time.Time      `json:"since,omitzero"`   // since when it is not good
	Count    int            `json:"count,omitempty"`  // how often it was bad since then
	Record   string         `json:"record,omitempty"`
	Link     string         `json:"link,omitempty"`
	Reminder bool           `json:"reminder,omitempty"`
	Note     string         `json:"note,omitempty"`
	Items    []Item         `json:"items,omitempty"` // of a summary
}

// Item is one of the messages for which a summary stands.
type Item struct {
	Event  job.AlertEvent `json:"event"`
	Sort   job.AlertSort  `json:"sort,omitempty"`
	Name   string         `json:"name"`
	Node   job.NodeID     `json:"node,omitempty"`
	At     time.Time      `json:"at"`
	Reason string         `json:"reason,omitempty"`
	Record string         `json:"record,omitempty"`
}

// ParseMessage reads a message that was kept.
func ParseMessage(b []byte) (Message, error) {
	var m Message
	err := json.Unmarshal(b, &m)
	return m, err
}

// delivery is the message to one receiver.
func (m Message) delivery(key job.AlertKey, id, receiver string, now time.Time) job.Delivery {
	m.ID, m.Version = id, Version
	m.Thread = job.DeliveryID("thread", key.String(), m.Since.UTC().Format(time.RFC3339Nano))
	subject := string(key.Sort) + " " + key.Ref
	if m.Event == job.AlertSummary {
		subject = count(m.Count, "message")
	}
	return job.Delivery{
		ID: id, Receiver: receiver, Subject: subject, Task: key.Ref, Node: key.Node, Event: m.Event, Record: m.Record,
		Status: job.DeliveryWaiting, Created: now.UTC(), NextAt: now.UTC(), Message: m.JSON(),
	}
}

// TestMessage is what a person sends to see whether it arrives.
func TestMessage(receiver, by string, now time.Time) Message {
	return Message{
		Version: Version, ID: job.DeliveryID("test", receiver, now.UTC().Format(time.RFC3339Nano)), Event: job.AlertTest, At: now.UTC(),
		Thread: job.DeliveryID("test", receiver), Note: "This is a test, sent by " + by + ". Nothing has happened.",
	}
}

// OfRecord is what there is to say of a record. base, unless empty, is the URL at which people reach Rota.
func OfRecord(key job.AlertKey, r *job.ExecutionRecord, base string) Fact {
	m := Message{
		Version: Version, Sort: key.Sort, Name: key.Ref, Node: r.Node, At: r.EndTime, Instant: r.Instant, Until: r.Until, Outcome: r.Outcome,
		Reason: clip(r.Reason, maxReason), ExitCode: r.ExitCode, Signal: r.Signal, Output: tail(r.Output), Record: r.ID,
	}
	if r.Count > 1 {
		m.Instants = r.Count
	}
	if r.Outcome.Ran() {
		m.Began, m.Ended = r.BeginTime, r.EndTime
	}
	if base != "" {
		m.Link = strings.TrimSuffix(base, "/") + "/records/" + url.PathEscape(r.ID)
	}
	return Fact{Event: job.AlertOf(r), Record: r.ID, At: r.EndTime, Message: m}
}

// OfExecution is what there is to say of the end of an execution.
func OfExecution(key job.AlertKey, e *job.GroupExecution, base string) Fact {
	m := Message{
		Version: Version, Sort: key.Sort, Name: key.Ref, At: e.EndedAt, Instant: e.Instant, Until: e.Until, Outcome: job.Outcome(e.Status),
		Reason: clip(e.Reason, maxReason), Record: e.ID, Link: executionLink(base, e.ID),
	}
	if e.Count > 1 {
		m.Instants = e.Count
	}
	if len(e.Steps) > 0 && !e.BeganAt.IsZero() {
		m.Began, m.Ended = e.BeganAt, e.EndedAt
	}
	return Fact{Event: job.AlertOfExecution(e.Status), Record: e.ID, At: e.EndedAt, Message: m}
}

// OfLateExecution is what there is to say of an execution that takes longer than it should.
func OfLateExecution(key job.AlertKey, e *job.GroupExecution, limit time.Duration, usual bool, now time.Time, base string) Fact {
	m := Message{
		Version: Version, Sort: key.Sort, Name: key.Ref, At: now.UTC(), Instant: e.Instant, Began: e.BeganAt,
		Reason: whyLate(now.Sub(e.BeganAt), limit, usual), Record: e.ID, Link: executionLink(base, e.ID),
	}
	return Fact{Event: job.AlertLate, Record: e.ID, At: now.UTC(), Message: m}
}

func executionLink(base, id string) string {
	if base == "" {
		return ""
	}
	return strings.TrimSuffix(base, "/") + "/executions/" + url.PathEscape(id)
}

func whyLate(since, limit time.Duration, usual bool) string {
	why := fmt.Sprintf("it has run for %s, longer than %s", short(since), short(limit))
	if usual {
		why += ", three times what nearly all of its runs take"
	}
	return why
}

// OfLate is what there is to say of a run that takes longer than it should.
func OfLate(key job.AlertKey, p *job.Process, limit time.Duration, usual bool, now time.Time, base string) Fact {
	m := Message{
		Version: Version, Sort: key.Sort, Name: key.Ref, Node: p.NodeID, At: now.UTC(), Instant: p.Instant, Began: p.Time,
		Reason: whyLate(now.Sub(p.Time), limit, usual), Record: string(p.Run),
	}
	if base != "" {
		m.Link = strings.TrimSuffix(base, "/") + "/runs/" + url.PathEscape(string(p.Run))
	}
	return Fact{Event: job.AlertLate, Record: string(p.Run), At: now.UTC(), Message: m}
}

func short(d time.Duration) string { return job.Duration(d.Round(time.Second)).String() }

// tail is the end of an output, as text.
func tail(s string) string {
	s = strings.TrimRight(s, "\n")
	if len(s) > maxOutput {
		s = s[len(s)-maxOutput:]
		for s != "" && !utf8.RuneStart(s[0]) {
			s = s[1:]
		}
	}
	lines := strings.Split(s, "\n")
	if len(lines) > maxLines {
		lines = lines[len(lines)-maxLines:]
	}
	return plain(strings.Join(lines, "\n"))
}

// plain is a text without what would do something to whoever shows it.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' || !unicode.IsControl(c) {
			return c
		}
		if c == '\r' {
			return -1
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(s, "\ufffd"))
}

func clip(s string, limit int) string {
	s = plain(s)
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

func count(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// Title is the message in one line.
func (m *Message) Title() string {
	switch m.Event {
	case job.AlertSummary:
		return "[rota] " + count(m.Count, "message")
	case job.AlertTest:
		return "[rota] a test"
	}
	where := ""
	if m.Node != "" {
		where = " on " + string(m.Node)
	}
	word := string(m.Event)
	switch {
	case m.Event == job.AlertLate:
		word = "is late"
	case m.Event == job.AlertMissed, m.Event == job.AlertSkipped, m.Event == job.AlertLost:
		word = "was " + word
	}
	if m.Reminder {
		word += " (still)"
	}
	return clip("[rota] "+strings.ReplaceAll(m.Name+" "+word+where, "\n", " "), 200)
}

// Text is the message for people.
func (m *Message) Text() string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name+":", value)
		}
	}
	if m.Sort != "" {
		line(string(m.Sort), m.Name)
	}
	line("node", string(m.Node))
	if m.Outcome != "" {
		line("outcome", string(m.Outcome))
	}
	line("reason", m.Reason)
	if m.ExitCode != nil {
		line("exit code", fmt.Sprint(*m.ExitCode))
	}
	line("signal", m.Signal)
	line("instant", when(m.Instant))
	if m.Instants > 1 {
		line("until", fmt.Sprintf("%s (%s)", when(m.Until), count(m.Instants, "instant")))
	}
	line("began", when(m.Began))
	if !m.Ended.IsZero() {
		line("ended", fmt.Sprintf("%s, after %s", when(m.Ended), short(m.Ended.Sub(m.Began))))
	}
	if m.Event == job.AlertRecovered {
		line("trouble", fmt.Sprintf("since %s, %s", when(m.Since), count(m.Count, "record")))
	} else if m.Count > 1 && m.Event != job.AlertSummary {
		line("since", fmt.Sprintf("%s, %s", when(m.Since), count(m.Count, "record")))
	}
	line("record", m.Record)
	line("link", m.Link)
	if m.Note != "" {
		fmt.Fprintf(&b, "\n%s\n", m.Note)
	}
	for _, i := range m.Items {
		where := ""
		if i.Node != "" {
			where = " on " + string(i.Node)
		}
		fmt.Fprintf(&b, "%s  %s %s%s: %s\n", when(i.At), i.Name, i.Event, where, i.Reason)
	}
	if n := m.Count - len(m.Items); m.Event == job.AlertSummary && n > 0 {
		fmt.Fprintf(&b, "and %d more\n", n)
	}
	if m.Output != "" {
		fmt.Fprintf(&b, "\nThe end of its output:\n\n%s\n", m.Output)
	}
	return b.String()
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// JSON is the message as it is kept and sent.
func (m *Message) JSON() json.RawMessage {
	b, err := json.Marshal(m)
	if err != nil { // there is nothing in it that could not be written
		return json.RawMessage("{}")
	}
	return b
}
