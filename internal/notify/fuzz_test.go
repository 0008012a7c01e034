package notify

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rota-dev/rota/job"
)

// Whatever a kept message says, it has a title of one line and a text, and is the same when it is kept again.
func FuzzParseMessage(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"a","event":"failed","sort":"task","name":"default/a","at":"2026-12-01T00:00:00Z","reason":"exit 1","output":"a\nb","exit_code":1,"count":2}`))
	f.Add([]byte(`{"event":"summary","items":[{"event":"lost","name":"a\r\nBcc: x","node":"\u0000","at":"0001-01-01T00:00:00Z"}],"count":-1}`))
	f.Add([]byte(`{"event":"late","name":"\u202e","link":"javascript:x","instants":9,"instant":"2026-12-01T00:00:00Z","until":"9999-12-31T23:59:59Z"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMessage(data)
		if err != nil {
			return
		}
		if title := m.Title(); strings.ContainsAny(title, "\r\n\x00") || !utf8.ValidString(title) {
			t.Errorf("the title %q", title)
		}
		if text := m.Text(); !utf8.ValidString(text) {
			t.Errorf("the text %q", text)
		}
		back, err := ParseMessage(m.JSON())
		if err != nil || string(back.JSON()) != string(m.JSON()) {
			t.Errorf("%v\n%s\n%s", err, m.JSON(), back.JSON())
		}
	})
}

// Whatever a kept state says, people can be told from it, and what is kept of it then is read again.
func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{}`), int64(0))
	f.Add([]byte(`{"of":7,"bad":true,"since":"2026-12-01T00:00:00Z","told":{"ops":{"event":"failed","at":"2026-12-01T00:00:00Z"}},"message":{"event":"failed"}}`), int64(7))
	f.Add([]byte(`{"of":7,"told":null,"count":-5}`), int64(7))
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	key := job.AlertKey{Sort: job.AlertSort("task"), Ref: "default/a", Node: "n1"}
	rules := []job.Notify{{On: []job.AlertEvent{"failed", "recovered"}, To: []string{"ops"}}}
	f.Fuzz(func(t *testing.T, data []byte, of int64) {
		s := ParseState(job.Alert{State: data}, of)
		if s.Of != of {
			t.Fatalf("the state is of %d", s.Of)
		}
		s.Tick(key, rules, now)
		for _, e := range []job.AlertEvent{"failed", "recovered"} {
			s.Take(key, Fact{Event: e, Record: "r", At: now, Message: Message{Event: e, At: now}}, rules, now)
		}
		kept := s.Alert(rules)
		if !json.Valid(kept.State) {
			t.Fatalf("%s", kept.State)
		}
		again := ParseState(kept, of)
		if b := again.Alert(rules); string(b.State) != string(kept.State) {
			t.Fatalf("%s\n%s", kept.State, b.State)
		}
	})
}
