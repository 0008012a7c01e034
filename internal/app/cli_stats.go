package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) getStats() *cobra.Command {
	var by string
	return listing[job.Stats]{
		use: "stats", aliases: []string{"statistics"}, short: "Sum up records: how many, how many succeeded, how long they took",
		example: "  rota get stats --task nightly-backup --by day --since 30d\n  rota get stats --group shop --by node",
		flags: func(cmd *cobra.Command, f *filters) {
			f.groups(cmd.Flags())
			f.tasks(cmd.Flags())
			cmd.Flags().StringVar(&f.since, "since", "", "from the day (UTC) of this time on: 30d, 2026-12-01, or RFC 3339")
			cmd.Flags().StringVar(&f.until, "until", "", "up to the day (UTC) that has this time within: 2h, 2026-12-01, or RFC 3339")
			cmd.Flags().StringVar(&by, "by", "", "divided by day, node or task")
		},
		list: func(ctx context.Context, cl *client.Client, f *filters, _ []string) ([]job.Stats, error) {
			filter := job.StatsFilter{Group: f.group, Task: f.task, Node: job.NodeID(f.node), By: job.StatsBy(by)}
			if !filter.By.Valid() {
				return nil, usagef(didYouMean(by, job.StatsBys), "--by %s is not known", by)
			}
			var err error
			if filter.From, err = parseTime("since", f.since, c.Now()); err != nil {
				return nil, err
			}
			if filter.To, err = parseTime("until", f.until, c.Now()); err != nil {
				return nil, err
			}
			return cl.Stats(ctx, filter)
		},
		name:  statsName,
		table: func(_ *cli, list []job.Stats) *table { return statsTable(list, job.StatsBy(by)) },
		none:  "there are no such records",
	}.command(c)
}

// statsName is what a sum is of.
func statsName(s *job.Stats) string {
	switch {
	case s.Task != "":
		return s.Task
	case s.Node != nil && *s.Node == "":
		return "(no node)"
	case s.Node != nil:
		return string(*s.Node)
	case !s.Day.IsZero():
		return s.Day.UTC().Format(time.DateOnly)
	}
	return "all"
}

func statsTable(list []job.Stats, by job.StatsBy) *table {
	what := strings.ToUpper(string(by))
	if by == job.ByNothing {
		what = "OF"
	}
	t := &table{head: []string{what, "RECORDS", "SUCCESS", "BAD", "AVERAGE", "P50", "P90", "P99", "MAX", "TOTAL", "OUTCOMES"}, wide: 9}
	for i := range list {
		s := &list[i]
		var all, bad int64
		for o, n := range s.Count {
			all += n
			if o.Bad() {
				bad += n
			}
		}
		row := []any{statsName(s), fmt.Sprint(all), percent(s.Success), fmt.Sprint(bad)}
		if s.Count[job.Success] == 0 {
			row = append(row, "", "", "", "", "", "")
		} else {
			for _, ms := range []float64{float64(s.AverageMS), s.P50MS, s.P90MS, s.P99MS, float64(s.MaxMS), float64(s.TotalMS)} {
				row = append(row, short(millis(ms)))
			}
		}
		t.add(append(row, countText(s.Count))...)
	}
	return t
}

func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// percent is a part from 0 to 1; never 100 % where it is less.
func percent(part *float64) string {
	switch {
	case part == nil:
		return ""
	case *part < 1 && *part >= 0.9995:
		return "99.9%"
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", 100**part), ".0") + "%"
}

// countText counts outcomes, such as 12 success, 1 failed.
func countText(count map[job.Outcome]int64) string {
	var words []string
	for _, o := range job.Outcomes {
		if n := count[o]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, o))
		}
	}
	return strings.Join(words, ", ")
}
