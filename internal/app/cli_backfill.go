package app

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// backfillIDs are what a server makes as names of backfills.
var backfillIDs = regexp.MustCompile(`^` + job.BackfillPrefix + `[0-9a-z]{12}$`)

// backfillFlags make a run a backfill.
type backfillFlags struct {
	from, to string
	parallel int
	dry      bool
}

func (b *backfillFlags) add(p *pflag.FlagSet) {
	p.StringVar(&b.from, "from", "", "backfill: run the instants from this one on, such as 2026-11-01, '2026-11-01 02:30' or 7d (ago)")
	p.StringVar(&b.to, "to", "", "backfill: up to this time, which is not part of the range (default: now)")
	p.IntVar(&b.parallel, "parallel", 0, "run so many at once: of a backfill (default 1), or with --each on a node (default: as the task says)")
	p.BoolVar(&b.dry, "dry-run", false, "backfill: run nothing, but show what would")
}

// asked tells whether one of the flags was given.
func (b *backfillFlags) asked() bool { return b.from != "" || b.to != "" || b.parallel != 0 || b.dry }

// run asks for a backfill and, with wait, waits for its end. The task has been named in r.
func (b *backfillFlags) run(ctx context.Context, c *cli, r client.RunRequest, wait bool, limit time.Duration, out format) error {
	if b.from == "" {
		return usagef("such as: rota run "+r.Task.String()+" --from 2026-11-01 --to 2026-11-08", "a backfill needs the beginning of its range: --from")
	}
	if b.parallel < 0 {
		return usagef("", "--parallel %d is negative", b.parallel)
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	v, err := cl.Task(ctx, r.Task)
	if err != nil {
		return err
	}
	q := client.BackfillRequest{Task: r.Task, Nodes: r.Nodes, Params: r.Params, Parallel: b.parallel, Key: r.Key, Force: r.Force, DryRun: b.dry}
	loc := zone(&v.Task)
	if q.From, err = parseMoment("--from", b.from, c.Now(), loc); err != nil {
		return err
	}
	if q.To = c.Now().Truncate(time.Second); b.to != "" {
		if q.To, err = parseMoment("--to", b.to, c.Now(), loc); err != nil {
			return err
		}
	}
	a, err := cl.Backfill(ctx, q)
	if err != nil {
		return err
	}
	c.tellBackfill(a, loc, b.dry, out)
	if !wait || a.Backfill == nil {
		_, err := c.encode(out, a)
		return err
	}
	return c.awaitBackfill(ctx, cl, a.Backfill.ID, limit, out)
}

// tellBackfill says what a request came to. The name of the backfill is data, unless other data follow.
func (c *cli) tellBackfill(a *client.BackfillAnswer, loc *time.Location, dry bool, out format) {
	for from := 0; from < len(a.Skipped); {
		to := from
		for to+1 < len(a.Skipped) && a.Skipped[to+1].Reason == a.Skipped[from].Reason {
			to++
		}
		first, last := a.Skipped[from].Instant.In(loc).Format(time.RFC3339), a.Skipped[to].Instant.In(loc).Format(time.RFC3339)
		if n := to - from + 1; n > 1 {
			c.sayf("not run: %d from %s to %s: %s", n, first, last, a.Skipped[from].Reason)
		} else {
			c.sayf("not run: %s: %s", first, a.Skipped[from].Reason)
		}
		from = to + 1
	}
	quiet := out == asJSON || out == asYAML
	switch {
	case dry:
		if !quiet {
			for _, r := range a.Runs {
				fmt.Fprintln(c.Out, strings.TrimSpace(r.Instant.In(loc).Format(time.RFC3339)+" "+string(r.Node)))
			}
		}
		c.sayf("%s would run", count(len(a.Runs), "instant"))
	case a.Backfill == nil:
		c.sayf("nothing is left to run")
	default:
		if !quiet {
			fmt.Fprintln(c.Out, a.Backfill.ID)
		}
		switch {
		case a.Created:
			c.sayf("%s, %d at once; how far it is: rota get backfills %s", count(a.Backfill.Total, "run"), a.Backfill.Parallel, a.Backfill.ID)
		case a.Backfill.Done():
			c.sayf("it was asked for before and has ended; ask again with another --key, or with --force")
		default:
			c.sayf("it was asked for before, and is under way")
		}
	}
}

// backfillPoll is how often a backfill that is waited for is looked at.
const backfillPoll = time.Second

// awaitBackfill waits for the end of a backfill. The error is the exit code.
func (c *cli) awaitBackfill(ctx context.Context, cl *client.Client, id string, limit time.Duration, out format) error {
	bounded := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	tick := time.NewTicker(backfillPoll)
	defer tick.Stop()
	for {
		v, err := cl.BackfillState(bounded, id)
		switch {
		case bounded.Err() != nil:
		case err != nil && job.CodeOf(err) != job.CodeUnavailable:
			return err
		case err == nil && v.Done():
			if done, err := c.encode(out, v); err != nil {
				return err
			} else if !done {
				c.sayf("backfill %s is %s: %s", id, v.State, outcomesText(v))
			}
			if v.Outcomes[job.Success] < v.Total {
				return &exitError{exitFailed}
			}
			return nil
		}
		select {
		case <-tick.C:
			continue
		case <-bounded.Done():
		}
		if ctx.Err() != nil {
			c.sayf("detached; the backfill goes on: rota get backfills %s (end it: rota kill %s)", id, id)
			return &exitError{exitInterrupted}
		}
		c.sayf("after %s backfill %s has not ended", short(limit), id)
		return &exitError{exitTimeout}
	}
}

func outcomesText(v *client.BackfillView) string {
	var words []string
	for _, o := range job.Outcomes {
		if n := v.Outcomes[o]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, o))
		}
	}
	if len(words) == 0 {
		return "nothing ran"
	}
	return strings.Join(words, ", ")
}

func (c *cli) getBackfills() *cobra.Command {
	return listing[client.BackfillView]{
		use: "backfills [BACKFILL…]", aliases: []string{"backfill", "bf"}, short: "List backfills: how far they are, newest first",
		flags: func(cmd *cobra.Command, f *filters) {
			f.groups(cmd.Flags())
			cmd.Flags().StringVarP(&f.task, "task", "t", "", "only of this task: NAME or GROUP/NAME")
		},
		complete: cobra.NoFileCompletions,
		list: func(ctx context.Context, cl *client.Client, f *filters, names []string) ([]client.BackfillView, error) {
			if len(names) == 0 {
				return cl.Backfills(ctx, f.group, f.task)
			}
			return named(names, func(id string) (*client.BackfillView, error) { return cl.BackfillState(ctx, id) })
		},
		name:  func(v *client.BackfillView) string { return v.ID },
		table: (*cli).backfillTable,
		none:  "there are no backfills; ask for one with: rota run TASK --from TIME --to TIME",
	}.command(c)
}

func (c *cli) backfillTable(list []client.BackfillView) *table {
	t := &table{head: []string{"BACKFILL", "TASK", "STATE", "ENDED", "RUNNING", "OUTCOMES", "NEXT", "WAITS", "FROM", "TO", "PARALLEL", "BY", "CREATED"}, wide: 8}
	for i := range list {
		v := &list[i]
		state, next := cell{v.State, green}, ""
		if v.State == client.BackfillCancelled || v.Waits != "" {
			state.colour = yellow
		}
		if !v.Next.IsZero() {
			next = v.Next.Format(time.RFC3339)
		}
		outcomes := ""
		if len(v.Outcomes) > 0 {
			outcomes = outcomesText(v)
		}
		t.add(v.ID, v.Task.String(), state, fmt.Sprintf("%d/%d", v.Ended, v.Total), v.Running, outcomes, next, v.Waits,
			v.From.Format(time.RFC3339), v.To.Format(time.RFC3339), v.Parallel, v.By, c.when(v.CreatedAt))
	}
	return t
}

// cancelBackfill ends a backfill and says what that came to.
func (c *cli) cancelBackfill(ctx context.Context, cl *client.Client, id string, kill bool) error {
	v, err := cl.CancelBackfill(ctx, id, kill)
	if err != nil {
		return err
	}
	switch {
	case v.State == client.BackfillFinished:
		fmt.Fprintf(c.Out, "backfill %s deleted\n", id)
	case v.Running > 0 && kill:
		fmt.Fprintf(c.Out, "backfill %s cancelled; %s asked to end\n", id, are(v.Running))
	case v.Running > 0:
		fmt.Fprintf(c.Out, "backfill %s cancelled; %s under way; end them too with: rota kill %s\n", id, are(v.Running), id)
	default:
		fmt.Fprintf(c.Out, "backfill %s cancelled\n", id)
	}
	return nil
}

func are(n int) string {
	if n == 1 {
		return "1 run is"
	}
	return fmt.Sprintf("%d runs are", n)
}

// parseMoment reads a time that a person means: RFC 3339; a date or a time of one in the zone; a time of the day, the
// latest that has passed; now; or a duration ago.
func parseMoment(what, s string, now time.Time, loc *time.Location) (time.Time, error) {
	if s == "now" {
		return now, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, loc); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			y, m, d := now.In(loc).Date()
			at := time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, loc)
			if at.After(now) {
				at = time.Date(y, m, d-1, t.Hour(), t.Minute(), t.Second(), 0, loc)
			}
			return at, nil
		}
	}
	if d, err := job.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d.Std()), nil
	}
	return time.Time{}, usagef("write 2026-11-22T02:30:00Z, '2026-11-22 02:30', 02:30 for the latest one, now, or a duration ago such as 2h",
		"%s %q is not a time", what, s)
}
