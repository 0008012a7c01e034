package job

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var midnight = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func nightly() (*Monitor, *MonitorState) {
	m := &Monitor{Name: "nas", Timer: "30 2 * * *", Grace: Duration(30 * time.Minute), MaxRun: Duration(2 * time.Hour)}
	return m, NewMonitorState(m, "k", midnight)
}

func told(recs []ExecutionRecord) (words []string) {
	for _, r := range recs {
		w := string(r.Outcome)
		if !r.Instant.IsZero() {
			w += r.Instant.Format(" 02T15:04")
		}
		if r.Count > 1 {
			w += fmt.Sprintf(" x%d", r.Count)
		}
		words = append(words, w)
	}
	return words
}

func TestAMonitor(t *testing.T) {
	t.Parallel()
	at := func(day, hour, minute int) time.Time {
		return midnight.AddDate(0, 0, day-1).Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
	}
	type step struct {
		at   time.Time
		sort PingSort // empty: the leader looks
		want []string
	}
	for name, steps := range map[string][]step{
		"in time":                   {{at(1, 2, 35), PingOK, []string{"success 01T02:30"}}, {at(1, 3, 1), "", nil}},
		"a clock that is ahead":     {{at(1, 2, 30).Add(-5 * time.Second), PingOK, []string{"success 01T02:30"}}, {at(2, 0, 0), "", nil}},
		"never":                     {{at(1, 3, 0), "", nil}, {at(1, 3, 1), "", []string{"missed 01T02:30"}}, {at(1, 3, 2), "", nil}},
		"too late":                  {{at(1, 3, 1), "", []string{"missed 01T02:30"}}, {at(1, 3, 5), PingOK, []string{"success"}}, {at(2, 2, 40), PingFail, []string{"failed 02T02:30"}}},
		"for days":                  {{at(4, 12, 0), "", []string{"missed 01T02:30 x4"}}},
		"a long run":                {{at(1, 2, 31), PingStart, nil}, {at(1, 4, 0), "", nil}, {at(1, 4, 30), PingOK, []string{"success 01T02:30"}}},
		"no end":                    {{at(1, 2, 31), PingStart, nil}, {at(1, 4, 32), "", []string{"lost 01T02:30"}}, {at(1, 9, 0), PingOK, []string{"success 01T02:30"}}, {at(1, 9, 1), PingOK, []string{"success"}}},
		"started anew":              {{at(1, 2, 31), PingStart, nil}, {at(1, 2, 31).Add(time.Second), PingStart, nil}, {at(1, 2, 40), PingStart, []string{"lost 01T02:30"}}, {at(1, 2, 41), PingFail, []string{"failed"}}},
		"no leader for some nights": {{at(3, 2, 35), PingOK, []string{"missed 01T02:30 x2", "success 03T02:30"}}},
	} {
		m, s := nightly()
		for i, st := range steps {
			var recs []ExecutionRecord
			if st.sort == "" {
				recs = s.Overdue(m, midnight, st.at)
			} else {
				recs = s.Take(m, midnight, Ping{Sort: st.sort}, st.at)
			}
			if got := told(recs); !slices.Equal(got, st.want) {
				t.Errorf("%s: step %d: %v, want %v", name, i, got, st.want)
			}
		}
	}
}

func TestAMonitorNeedsATimer(t *testing.T) {
	t.Parallel()
	for timer, want := range map[Timer]string{"": "a monitor needs a timer", "@reboot": "nobody knows when a machine boots", "30 2 * * *": ""} {
		err := (&Monitor{Name: "m", Timer: timer}).Valid()
		if (want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "mode")) {
			t.Errorf("%q: %v, want %q", timer, err, want)
		}
	}
}

// What was due before an edit is judged by what the monitor said then.
func TestAnEditedMonitor(t *testing.T) {
	t.Parallel()
	m, s := nightly()
	edited := midnight.Add(2*time.Hour + 45*time.Minute)
	m.Timer = "0 12 * * *"
	if got := told(s.Overdue(m, edited, midnight.Add(2*time.Hour+50*time.Minute))); got != nil {
		t.Errorf("%v", got)
	}
	if got := told(s.Overdue(m, edited, midnight.Add(4*time.Hour))); !slices.Equal(got, []string{"missed 01T02:30"}) {
		t.Errorf("%v", got)
	}
	if i, _ := s.Next(m, edited); !i.Equal(midnight.Add(12 * time.Hour)) {
		t.Errorf("next %s", i)
	}
}

// Whatever comes whenever, each expected instant gets exactly one outcome, in order.
func TestEachExpectedInstantHasOneOutcome(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := &Monitor{Name: "nas", Timer: "*/10 * * * *", Grace: Duration(rapid.IntRange(60, 1500).Draw(rt, "grace")) * Duration(time.Second), MaxRun: Duration(15 * time.Minute)}
		s := NewMonitorState(m, "k", midnight)
		outcomes := map[time.Time]map[string]bool{} // instant → ids
		now := midnight
		note := func(recs []ExecutionRecord) {
			for _, r := range recs {
				if r.Instant.IsZero() {
					continue
				}
				for i := r.Instant; ; i = i.Add(10 * time.Minute) {
					if outcomes[i] == nil {
						outcomes[i] = map[string]bool{}
					}
					outcomes[i][r.ID] = true
					if r.Until.IsZero() || !i.Before(r.Until) {
						break
					}
				}
			}
		}
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 900).Draw(rt, "seconds")) * time.Second)
			if sort := rapid.SampledFrom([]PingSort{"", "", PingStart, PingOK, PingFail}).Draw(rt, "what"); sort == "" {
				note(s.Overdue(m, midnight, now))
			} else {
				note(s.Take(m, midnight, Ping{Sort: sort}, now))
			}
		}
		end := now.Add(24 * time.Hour)
		note(s.Overdue(m, midnight, end))
		for i := midnight.Add(10 * time.Minute); i.Before(now); i = i.Add(10 * time.Minute) {
			if len(outcomes[i]) != 1 {
				rt.Fatalf("instant %s has %d outcomes", i, len(outcomes[i]))
			}
		}
	})
}
