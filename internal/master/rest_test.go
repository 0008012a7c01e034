package master_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A node that has forgotten how far it had come tells of many instants in one record, the first of which history has an account of, and
// perhaps some of the others. Each of the others has an account in the end, and one alone, whoever leads, and however often it comes.
func TestANodeThatHasForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		ran     []int // the instants that the node has told of, by their numbers
		before  int   // so many were told as missed in one record before, from the first
		told    int   // and now so many
		want    []string
		atOnce  bool // all of it comes in one batch, after history was away
		another bool // the leader has died by the time at which history is back
		crashes bool // history takes things, and the leader does not hear of it
	}{
		"the first":              {ran: []int{0}, told: 6, want: []string{"missed 1-5 5", "success 0"}},
		"the first two":          {ran: []int{0, 1}, told: 6, want: []string{"missed 2-5 4", "success 0", "success 1"}},
		"some":                   {ran: []int{0, 2, 5}, told: 8, want: []string{"missed 1-7 5", "success 0", "success 2", "success 5"}},
		"all":                    {ran: []int{0, 1, 2}, told: 3, want: []string{"success 0", "success 1", "success 2"}},
		"none":                   {told: 4, want: []string{"missed 0-3 4"}},
		"the same again":         {before: 4, told: 4, want: []string{"missed 0-3 4"}},
		"more than was missed":   {before: 4, told: 7, want: []string{"missed 0-3 4", "missed 4-6 3"}},
		"less than was missed":   {before: 4, told: 2, want: []string{"missed 0-3 4"}},
		"the first, all at once": {ran: []int{0}, told: 6, atOnce: true, want: []string{"missed 1-5 5", "success 0"}},
		"the first, and crashes": {ran: []int{0}, told: 6, crashes: true, want: []string{"missed 1-5 5", "success 0"}},
		"some more, and crashes": {before: 2, told: 9, crashes: true, want: []string{"missed 0-1 2", "missed 2-8 7"}},
		"some, all at once":      {ran: []int{0, 3}, told: 6, atOnce: true, want: []string{"missed 1-5 4", "success 0", "success 3"}},
		"some, another leads":    {ran: []int{0, 3}, told: 6, atOnce: true, another: true, want: []string{"missed 1-5 4", "success 0", "success 3"}},
		"one, another leads":     {ran: []int{0}, told: 1, atOnce: true, another: true, want: []string{"success 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				m := w.leader("m1")
				n := w.node("n1")
				ref := job.Ref("", "ticker")
				m.apply(task("ticker", "* * * * *", func(t *job.Task) { t.Kind = "common" }))
				w.until("it has its job", func() bool { n, err := w.admin.Jobs().Count(w.ctx, "n1"); return err == nil && n == 1 })
				first := time.Now().Truncate(time.Minute).Add(time.Minute)
				at := func(i int) time.Time { return first.Add(time.Duration(i) * time.Minute) }
				missed := func(count int) job.ExecutionRecord {
					r := firing(ref, "n1", first)
					r.Outcome, r.Success, r.ExitCode = job.Missed, false, nil
					if count > 1 {
						r.Count, r.Until = count, at(count-1)
					}
					return r
				}
				var recs []job.ExecutionRecord
				for _, i := range c.ran {
					recs = append(recs, firing(ref, "n1", at(i)))
				}
				if c.before > 0 {
					recs = append(recs, missed(c.before))
				}
				time.Sleep(time.Hour)
				send := func(recs ...job.ExecutionRecord) {
					if c.crashes {
						var marks atomic.Int64
						m.hist.set(func(op string, after bool) error {
							if op == "mark" && after && marks.Add(1)%2 == 1 { // what came is handled, and what is left of it, and yet it comes again
								return store.ErrCut
							}
							return nil
						})
						defer m.hist.set(nil)
					}
					n.handOver(recs...)
					time.Sleep(time.Minute)
				}
				if c.atOnce {
					m.hist.set(away)
					n.handOver(recs...)
					time.Sleep(time.Minute)
					n.handOver(missed(c.told))
					time.Sleep(time.Minute)
					if c.another { // which finds what is in etcd, and no more
						m.end()
						w.leader("m2")
					}
					m.hist.set(nil)
				} else {
					send(recs...)
					send(missed(c.told))
				}
				n.handOver(missed(c.told)) // once more
				w.until("nothing is left", func() bool { left, err := w.admin.Records().Count(w.ctx); return err == nil && left == 0 })
				p, err := w.db.Records(w.ctx, job.RecordFilter{Group: ref.Group, Task: ref.Name})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				accounts := map[int]int{}
				for _, r := range p.Records {
					number := func(i time.Time) int { return int(i.Sub(first) / time.Minute) }
					text := fmt.Sprintf("%s %d", r.Outcome, number(r.Instant))
					if r.Count > 1 {
						text += fmt.Sprintf("-%d %d", number(r.Until), r.Count)
					}
					got = append(got, text)
					for i := range max(c.told, c.before) {
						if r.Covers(at(i)) {
							accounts[i]++
						}
					}
				}
				slices.Sort(got)
				if !slices.Equal(got, c.want) {
					t.Errorf("history has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
				}
				for i := range max(c.told, c.before) {
					if accounts[i] != 1 {
						t.Errorf("instant %d has %d accounts", i, accounts[i])
					}
				}
			})
		})
	}
}
