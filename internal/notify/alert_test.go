package notify

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

var (
	epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	key   = job.AlertKey{Sort: job.AlertTask, Ref: "default/backup", Node: "n1"}
)

func rule(to string, repeat time.Duration, on ...job.AlertEvent) job.Notify {
	return job.Notify{On: on, To: job.Names{to}, Repeat: job.Duration(repeat)}
}

// log plays records, a letter each, a number of minutes apart, and tells what was sent: RECEIVER:EVENT.
func log(t *testing.T, rules []job.Notify, apart time.Duration, outcomes ...job.Outcome) []string {
	t.Helper()
	var s State
	var got []string
	for i, o := range outcomes {
		now := epoch.Add(time.Duration(i) * apart)
		a := s.Alert(rules)
		s = ParseState(a, 0) // it is kept in between
		for !s.due(rules).IsZero() && !s.due(rules).After(now) {
			at := s.due(rules)
			for _, d := range s.Tick(key, rules, at) {
				got = append(got, told(t, d))
			}
		}
		r := &job.ExecutionRecord{ID: fmt.Sprint("r", i), Group: "default", Name: "backup", Node: "n1", Outcome: o, EndTime: now}
		out, _ := s.Take(key, OfRecord(key, r, ""), rules, now)
		for _, d := range out {
			got = append(got, told(t, d))
		}
	}
	return got
}

func told(t *testing.T, d job.Delivery) string {
	t.Helper()
	m, err := ParseMessage(d.Message)
	if err != nil {
		t.Fatal(err)
	}
	s := d.Receiver + ":" + string(d.Event)
	if m.Reminder {
		s += " again"
	}
	return s
}

// ancestor 45: people are told when the state changes, not of each run.
func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	const f, ok, m, l, sk, k = job.Failed, job.Success, job.Missed, job.Lost, job.Skipped, job.Killed
	for _, c := range []struct {
		name  string
		rules []job.Notify
		runs  []job.Outcome
		want  []string
	}{
		{"once while it lasts", []job.Notify{rule("ops", 0, "failed", "recovered")}, []job.Outcome{ok, f, f, f, ok, ok}, []string{"ops:failed", "ops:recovered"}},
		{"each event once", []job.Notify{rule("ops", 0, "failed", "missed", "lost")}, []job.Outcome{f, m, m, l, ok}, []string{"ops:failed", "ops:missed", "ops:lost"}},
		{"nobody asked", []job.Notify{rule("ops", 0, "missed", "recovered")}, []job.Outcome{f, ok, f}, nil},
		{"only the end", []job.Notify{rule("ops", 0, "recovered")}, []job.Outcome{f, ok}, []string{"ops:recovered"}},
		{"two receivers", []job.Notify{rule("a", 0, "failed"), rule("b", 0, "failed", "recovered")}, []job.Outcome{f, ok}, []string{"a:failed", "b:failed", "b:recovered"}},
		{"a run that a person ended says nothing", []job.Notify{rule("ops", 0, "failed", "recovered")}, []job.Outcome{f, k, ok}, []string{"ops:failed", "ops:recovered"}},
		{"what was skipped, where somebody asks", []job.Notify{rule("ops", 0, "skipped", "recovered")}, []job.Outcome{sk, sk, ok}, []string{"ops:skipped", "ops:recovered"}},
		{"what was skipped in trouble", []job.Notify{rule("ops", 0, "failed", "skipped", "recovered")}, []job.Outcome{f, sk, f, ok}, []string{"ops:failed", "ops:recovered"}},
		{"reminders", []job.Notify{rule("ops", 2*time.Hour, "failed", "recovered")}, []job.Outcome{f, f, f, f, f, ok, ok, ok, ok}, []string{"ops:failed", "ops:failed again", "ops:failed again", "ops:recovered"}},
	} {
		if got := log(t, c.rules, time.Hour, c.runs...); !slices.Equal(got, c.want) {
			t.Errorf("%s: told %v, want %v", c.name, got, c.want)
		}
	}
}

// One that changes each minute is told of six times, and then not until it has been the same for an hour.
func TestFlapping(t *testing.T) {
	t.Parallel()
	var runs []job.Outcome
	for i := range 41 {
		runs = append(runs, []job.Outcome{job.Failed, job.Success}[i%2])
	}
	rules := []job.Notify{rule("ops", 0, "failed", "recovered")}
	got := log(t, rules, time.Minute, runs...)
	if len(got) != FlapChanges {
		t.Errorf("told %d times: %v", len(got), got)
	}
	var s State
	for i, o := range runs {
		now := epoch.Add(time.Duration(i) * time.Minute)
		r := &job.ExecutionRecord{ID: fmt.Sprint("r", i), Outcome: o, EndTime: now}
		s.Take(key, OfRecord(key, r, ""), rules, now)
	}
	due := s.due(rules)
	if want := epoch.Add(40*time.Minute + FlapWindow); !due.Equal(want) {
		t.Fatalf("looked at again at %s, want %s", due, want)
	}
	out := s.Tick(key, rules, due)
	if len(out) != 1 || out[0].Event != job.AlertFailed || s.Held {
		t.Errorf("at the end %d messages, held %v", len(out), s.Held)
	}
}

// A run that was lost, and whose end comes after all, is a recovery also where that end was before the word of the loss.
func TestTheEndComesAfterAll(t *testing.T) {
	t.Parallel()
	var s State
	rules := []job.Notify{rule("ops", 0, "lost", "recovered")}
	at := func(id string, o job.Outcome, end time.Time) []job.Delivery {
		out, _ := s.Take(key, OfRecord(key, &job.ExecutionRecord{ID: id, Outcome: o, EndTime: end}, ""), rules, epoch)
		return out
	}
	if out := at("r1", job.Lost, epoch); len(out) != 1 {
		t.Fatalf("%d messages", len(out))
	}
	if out := at("r0", job.Success, epoch.Add(-time.Minute)); len(out) != 0 || s.Event != job.AlertLost {
		t.Errorf("what was before it counts: %v", s.Event)
	}
	if out := at("r1", job.Success, epoch.Add(-time.Second)); len(out) != 1 || out[0].Event != job.AlertRecovered {
		t.Errorf("%v", out)
	}
}

// Whatever happens, the last word that a receiver of everything got is how things stand, no word comes twice, and every ID is new.
func TestTheLastWordIsTrue(t *testing.T) {
	t.Parallel()
	rules := []job.Notify{rule("ops", 0, "failed", "missed", "lost", "recovered")}
	rapid.Check(t, func(rt *rapid.T) {
		var s State
		now, last, ids := epoch, job.AlertRecovered, map[string]bool{}
		take := func(out []job.Delivery) {
			for _, d := range out {
				if d.Event == last {
					rt.Fatalf("%s is told twice", last)
				}
				if ids[d.ID] {
					rt.Fatalf("the ID %s is there twice", d.ID)
				}
				last, ids[d.ID] = d.Event, true
			}
		}
		for i := range rapid.IntRange(1, 60).Draw(rt, "records") {
			now = now.Add(time.Duration(rapid.IntRange(1, 90).Draw(rt, "minutes")) * time.Minute)
			if due := s.due(rules); !due.IsZero() && !due.After(now) {
				take(s.Tick(key, rules, due))
			}
			o := rapid.SampledFrom(job.Outcomes).Draw(rt, "outcome")
			out, _ := s.Take(key, OfRecord(key, &job.ExecutionRecord{ID: fmt.Sprint(i), Outcome: o, EndTime: now}, ""), rules, now)
			take(out)
		}
		if due := s.due(rules); !due.IsZero() {
			take(s.Tick(key, rules, due))
		}
		want := s.Event
		if want == "" {
			want = job.AlertRecovered
		}
		if last != want {
			rt.Fatalf("the last word is %s, and it stands at %s", last, want)
		}
	})
}

func TestSummaryStandsForAll(t *testing.T) {
	t.Parallel()
	var list []job.Delivery
	for i := range 60 {
		m := Message{Event: job.AlertFailed, Name: fmt.Sprint("default/t", i), At: epoch}
		list = append(list, m.delivery(job.AlertKey{Sort: job.AlertTask, Ref: m.Name}, fmt.Sprint(i), "ops", epoch.Add(time.Duration(i))))
	}
	sum, into := Summary(list, 30, epoch)
	var m Message
	if err := json.Unmarshal(sum.Message, &m); err != nil || m.Count != 60 || len(m.Items) != maxItems || len(into) != 60 {
		t.Errorf("%v %d %d", err, m.Count, len(m.Items))
	}
	for _, d := range into {
		if d.Status != job.DeliverySummarised || d.Into != sum.ID || !d.NextAt.IsZero() {
			t.Fatalf("%+v", d)
		}
	}
}
