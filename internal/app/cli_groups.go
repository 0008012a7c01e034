package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// executionIDs are what a server makes as names of executions.
var executionIDs = regexp.MustCompile(`^` + job.ExecutionPrefix + `[0-9a-z]{14}$`)

func (c *cli) runGroupCommand() *cobra.Command {
	var set []string
	var wait, follow bool
	var timeout, key string
	cmd := &cobra.Command{
		Use: "group GROUP", Aliases: []string{"groups"}, Short: "Run the tasks of a group as one: an execution",
		Long: "Run the tasks of a group as one, each when those that it depends on have succeeded, and print the name of the execution at once.\n\n" +
			"With --wait the exit code is 0 where it succeeds, 1 where it does not, and 124 where that takes too long. With --follow\n" +
			"what the runs of the steps write is printed as it comes, too, each line behind its step and its node, and each step is told as it\n" +
			"begins and ends. An interrupt ends the waiting, not the execution.",
		Example: "  rota run group nightly --set DAY=2026-11-22 --follow\n  rota run group nightly --wait --timeout 2h",
		Args:    arguments(1, 1, "a group"), ValidArgsFunction: c.completeGroups,
	}
	p := cmd.Flags()
	p.StringArrayVar(&set, "set", nil, "value for params.KEY: KEY=VALUE; repeatable")
	p.BoolVar(&wait, "wait", false, "wait for the end; the exit code tells the outcome")
	p.BoolVarP(&follow, "follow", "f", false, "wait, and print what the steps write as it comes")
	p.StringVar(&timeout, "timeout", "", "with --wait: wait no longer than this, such as 10m; the execution goes on")
	p.StringVar(&key, "key", "", "asking again with the same key does not run again")
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r := client.GroupRequest{Group: args[0], Key: key}
		if err := job.CheckName("group", r.Group); err != nil {
			return &usageError{err: err}
		}
		var err error
		if r.Params, err = parsePairs("set", set); err != nil {
			return err
		}
		limit, err := parseTimeout(timeout)
		if err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		v, err := cl.RunGroup(cmd.Context(), r)
		if err != nil {
			return err
		}
		return c.begun(cmd.Context(), cl, v, wait, follow, limit, *out)
	}
	return cmd
}

// begun tells of an execution that has begun and, with wait or follow, waits for its end.
func (c *cli) begun(ctx context.Context, cl *client.Client, v *client.ExecutionView, wait, follow bool, limit time.Duration, out format) error {
	data := out == asJSON || out == asYAML
	if !wait && !follow {
		if done, err := c.encode(out, v); done {
			return err
		}
		fmt.Fprintln(c.Out, v.ID)
		if terminal(c.Out) {
			c.sayf("%s; how far it is: rota describe execution %s", count(len(v.Steps), "step"), v.ID)
		}
		return nil
	}
	if data {
		c.sayf("execution %s of %s", v.ID, v.Group)
	} else {
		fmt.Fprintln(c.Out, v.ID)
	}
	return c.awaitExecutions(ctx, cl, []string{v.ID}, follow && !data, limit, out)
}

// awaitExecutions waits for the ends of executions. The error is the exit code.
func (c *cli) awaitExecutions(ctx context.Context, cl *client.Client, ids []string, follow bool, limit time.Duration, out format) error {
	bounded := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	failed := false
	var views []*client.ExecutionView
	for _, id := range ids {
		t := &teller{c: c, states: map[string]string{}}
		var told func(*client.ExecutionView)
		outputs := c.followGroup(bounded, cl)
		if follow {
			told = func(v *client.ExecutionView) {
				t.tell(v)
				outputs.look(v)
			}
		}
		v, err := cl.WaitExecution(bounded, id, told)
		outputs.end(v)
		switch {
		case ctx.Err() != nil:
			c.sayf("detached; the execution goes on: rota describe execution %s (end it: rota cancel %s)", id, id)
			return &exitError{exitInterrupted}
		case errors.Is(err, context.DeadlineExceeded):
			c.sayf("after %s execution %s has not ended", short(limit), id)
			return &exitError{exitTimeout}
		case err != nil:
			return err
		}
		views, failed = append(views, v), failed || v.Status != job.ExecutionSuccess
		if out != asJSON && out != asYAML {
			c.sayf("%s", executionLine(v))
		}
	}
	var data any = views
	if len(views) == 1 {
		data = views[0]
	}
	if _, err := c.encode(out, data); err != nil {
		return err
	}
	if failed {
		return &exitError{exitFailed}
	}
	return nil
}

// teller tells how the steps of an execution go.
type teller struct {
	c      *cli
	states map[string]string
}

func (t *teller) tell(v *client.ExecutionView) {
	for i := range v.Steps {
		s := &v.Steps[i]
		state := string(s.State)
		if s.Total > 1 && s.State == job.StepRunning {
			state += fmt.Sprintf(" %d/%d", s.Success+s.Bad, s.Total)
		}
		if t.states[s.Name] == state || s.State == job.StepWaiting {
			continue
		}
		t.states[s.Name] = state
		line := s.Name + ": " + state
		if s.State.Ended() && s.Total > 0 {
			line += " in " + short(s.Duration)
		}
		if s.Reason != "" && s.State.Ended() {
			line += ": " + oneLine(s.Reason)
		}
		t.c.sayf("%s", line)
	}
}

func executionLine(v *client.ExecutionView) string {
	s := fmt.Sprintf("%s of %s: %s", v.ID, v.Group, v.Status)
	if !v.BeganAt.IsZero() {
		s += " in " + short(v.Duration)
	}
	if v.Reason != "" {
		s += ": " + oneLine(v.Reason)
	}
	return s
}

func (c *cli) cancelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cancel EXECUTION…", Short: "End executions of groups, and what runs of them",
		Args: arguments(1, -1, "an execution"), ValidArgsFunction: c.completeExecutions,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return c.each(args, func(id string) error { return c.cancelExecution(cmd.Context(), cl, id) })
		},
	}
}

func (c *cli) cancelExecution(ctx context.Context, cl *client.Client, id string) error {
	v, err := cl.CancelExecution(ctx, id)
	if err != nil {
		return err
	}
	running := 0
	for i := range v.Steps {
		running += v.Steps[i].Running
	}
	text := ""
	if running > 0 {
		text = "; " + are(running) + " asked to end"
	}
	fmt.Fprintf(c.Out, "execution %s cancelled%s\n", id, text)
	return nil
}

func (c *cli) retryCommand() *cobra.Command {
	var wait, follow bool
	var timeout string
	cmd := &cobra.Command{
		Use: "retry EXECUTION", Short: "Go on from the steps of an execution that failed, in a new one",
		Long: "Begin a new execution that takes over what succeeded in an earlier one, and goes on from the steps that failed. Of a step with several\n" +
			"runs those are run again that did not succeed. Steps run as their tasks are now: what was mended counts.",
		Args: arguments(1, 1, "an execution"), ValidArgsFunction: c.completeExecutions,
	}
	p := cmd.Flags()
	p.BoolVar(&wait, "wait", false, "wait for the end; the exit code tells the outcome")
	p.BoolVarP(&follow, "follow", "f", false, "wait, and print what the steps write as it comes")
	p.StringVar(&timeout, "timeout", "", "with --wait: wait no longer than this, such as 10m; the execution goes on")
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		limit, err := parseTimeout(timeout)
		if err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		v, err := cl.RetryExecution(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return c.begun(cmd.Context(), cl, v, wait, follow, limit, *out)
	}
	return cmd
}

func (c *cli) getGroups() *cobra.Command {
	return listing[client.GroupView]{
		use: "groups [GROUP…]", aliases: []string{"group", "g"}, short: "List the groups of tasks", complete: c.completeGroups,
		flags: func(*cobra.Command, *filters) {},
		list: func(ctx context.Context, cl *client.Client, _ *filters, names []string) ([]client.GroupView, error) {
			if len(names) == 0 {
				return cl.Groups(ctx)
			}
			return named(names, func(n string) (*client.GroupView, error) { return cl.Group(ctx, n) })
		},
		name: func(g *client.GroupView) string { return g.Name },
		table: func(c *cli, list []client.GroupView) *table {
			t := &table{head: []string{"GROUP", "TASKS", "PAUSED", "RUNNING", "ACTIVE", "NEXT", "DESCRIPTION"}, wide: 6}
			for i := range list {
				g := &list[i]
				next, about := "", ""
				if len(g.Next) > 0 {
					next = c.when(g.Next[0])
				}
				if g.Document != nil {
					about = clip(g.Document.Document.Description, 60)
				}
				if g.Timer != nil && g.Timer.Paused {
					next = "paused"
				}
				t.add(g.Name, g.Tasks, g.Paused, g.Running, g.Active, next, about)
			}
			return t
		},
		none: "there are no groups",
	}.command(c)
}

func (c *cli) getExecutions() *cobra.Command {
	var status, since string
	return listing[client.ExecutionView]{
		use: "executions [EXECUTION…]", aliases: []string{"execution", "ex"}, short: "List executions of groups: those under way, then those that ended, newest first",
		flags: func(cmd *cobra.Command, f *filters) {
			f.groups(cmd.Flags())
			f.limited(cmd.Flags(), 50, "")
			cmd.Flags().StringVar(&status, "status", "", "only of this status: running, success, failed, cancelled…")
			cmd.Flags().StringVar(&since, "since", "", "only those that ended since then, such as 2026-11-22 or 7d (ago)")
		},
		complete: c.completeExecutions,
		list: func(ctx context.Context, cl *client.Client, f *filters, names []string) ([]client.ExecutionView, error) {
			if len(names) > 0 {
				return named(names, func(id string) (*client.ExecutionView, error) { return cl.Execution(ctx, id) })
			}
			from, err := parseTime("since", since, c.Now())
			if err != nil {
				return nil, err
			}
			return cl.Executions(ctx, client.ExecutionFilter{Group: f.group, Status: job.ExecutionStatus(status), Since: from, Limit: f.limit})
		},
		name:  func(v *client.ExecutionView) string { return v.ID },
		table: (*cli).executionTable,
		none:  "there are no executions; begin one with: rota run group GROUP",
	}.command(c)
}

func (c *cli) executionTable(list []client.ExecutionView) *table {
	t := &table{head: []string{"EXECUTION", "GROUP", "STATUS", "STEPS", "TOOK", "BEGAN", "TRIGGER", "REASON", "INSTANT", "BY"}, wide: 8}
	for i := range list {
		v := &list[i]
		took, instant := "", ""
		if !v.BeganAt.IsZero() && len(v.Steps) > 0 {
			took = short(v.Duration)
		}
		if !v.Instant.IsZero() {
			instant = v.Instant.Format(time.RFC3339)
		}
		t.add(v.ID, v.Group, statusCell(v.Status), fmt.Sprintf("%d/%d", v.Done, len(v.Steps)), took, c.when(cmpOr(v.BeganAt, v.CreatedAt)),
			string(v.Trigger), clip(oneLine(v.Reason), 60), instant, v.By)
	}
	return t
}

func cmpOr(t, other time.Time) time.Time {
	if t.IsZero() {
		return other
	}
	return t
}

func statusCell(s job.ExecutionStatus) cell {
	switch s {
	case job.ExecutionSuccess:
		return cell{string(s), green}
	case job.ExecutionFailed, job.ExecutionTimeout, job.ExecutionMissed:
		return cell{string(s), red}
	case job.ExecutionCancelled, job.ExecutionSkipped:
		return cell{string(s), yellow}
	}
	return plain(string(s))
}

func (p *page) execution(v *client.ExecutionView) {
	p.line("Execution", v.ID)
	p.line("Group", v.Group)
	p.line("Status", string(v.Status))
	p.line("Reason", v.Reason)
	p.line("Trigger", strings.TrimSpace(string(v.Trigger)+" "+v.Cause))
	if !v.Instant.IsZero() {
		p.line("Instant", v.Instant.Format(time.RFC3339))
	}
	if v.Count > 1 {
		p.line("Instants", fmt.Sprintf("%d, up to %s", v.Count, v.Until.Format(time.RFC3339)))
	}
	p.line("Retry of", v.RetryOf)
	p.line("Began", p.stamp(v.BeganAt))
	p.line("Ended", p.stamp(v.EndedAt))
	if !v.BeganAt.IsZero() {
		p.line("Took", short(v.Duration))
	}
	if len(v.Params) > 0 {
		p.head("Params")
		for _, k := range slices.Sorted(maps.Keys(v.Params)) {
			p.item("%s=%s", k, v.Params[k])
		}
	}
	if len(v.Steps) > 0 {
		p.head("Steps")
	}
	for i := range v.Steps {
		p.step(&v.Steps[i])
	}
}

// shownRuns is how many runs of a step are shown.
const shownRuns = 50

func (p *page) step(s *client.StepView) {
	line := s.Name + ": " + string(s.State)
	if s.Total > 1 {
		line += fmt.Sprintf(", %d of %d runs succeeded", s.Success, s.Total)
	}
	if !s.BeganAt.IsZero() && s.Total > 0 {
		line += ", " + short(s.Duration)
	}
	if s.Reason != "" {
		line += ": " + s.Reason
	}
	if len(s.Depends) > 0 {
		line += " (after " + strings.Join(s.Depends, ", ") + ")"
	}
	p.item("%s", line)
	for _, n := range s.Notes {
		p.item("- %s", n)
	}
	for i, r := range s.Runs {
		if i == shownRuns {
			p.item("- … and %d more; see them with -o json", len(s.Runs)-shownRuns)
			break
		}
		text := string(r.Run) + " " + r.State
		if r.Node != "" {
			text += " on " + string(r.Node)
		}
		if len(r.Item) > 0 {
			text += " for " + clip(string(r.Item), 60)
		}
		if len(r.Result) > 0 {
			text += " result " + clip(string(r.Result), 80)
		}
		p.item("- %s", text)
	}
}

func (p *page) group(v *client.GroupView) error {
	p.line("Group", v.Name)
	p.line("Tasks", fmt.Sprint(v.Tasks))
	if v.Active > 0 {
		p.line("Under way", count(v.Active, "execution"))
	}
	if v.Timer != nil && v.Timer.Paused {
		p.line("Paused", "since "+p.stamp(v.Timer.PausedAt))
	}
	if v.Last != nil {
		p.line("Last", executionLine(v.Last))
	}
	if len(v.Next) > 0 {
		p.head("Next")
		for _, t := range v.Next {
			p.item("%s", t.Format("Mon "+time.RFC3339))
		}
	}
	if v.Document == nil {
		return nil
	}
	p.head("Group file")
	text, err := toYAML(v.Document.Document)
	p.text(string(text))
	return err
}

func (c *cli) completeGroups(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completing(c, cmd, args, (*client.Client).Groups, func(v *client.GroupView) string { return v.Name })
}

func (c *cli) completeExecutions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.complete(cmd, args, func(ctx context.Context, cl *client.Client) (names []string) {
		all, _ := cl.Executions(ctx, client.ExecutionFilter{Limit: 50})
		for i := range all {
			names = append(names, all[i].ID)
		}
		return names
	})
}
