package app

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/api"
	"github.com/rota-dev/rota/schedule"
)

func (c *cli) nextCommand() *cobra.Command {
	var f filters
	cmd := &cobra.Command{
		Use: "next [TASK]", Short: "Show which tasks fire next, and how their last runs ended",
		Args: arguments(0, 1, ""), ValidArgsFunction: c.completeTasks,
	}
	f.groups(cmd.Flags())
	f.limited(cmd.Flags(), 0, " (default: 100)")
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.names(); err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		name := ""
		if len(args) > 0 {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			if _, err := cl.Task(cmd.Context(), ref); err != nil {
				return err
			}
			f.group, name = ref.Group, ref.Name
		}
		list, err := cl.Next(cmd.Context(), f.group, name, f.limit)
		if err != nil {
			return err
		}
		if done, err := c.encode(*out, list); done {
			return err
		}
		if len(list) == 0 {
			c.sayf("nothing fires by a timer")
			return nil
		}
		t := &table{head: []string{"NEXT", "LEFT", "LAST", "PASSED", "RESULT", "TASK"}}
		now := c.Now()
		for _, u := range list {
			if *out == asName {
				fmt.Fprintln(c.Out, upcomingName(u))
				continue
			}
			last, passed, result := "", "", plain("")
			if u.Last != nil {
				last, passed, result = local(u.Last.EndTime), short(now.Sub(u.Last.EndTime)), outcomeCell(u.Last.Outcome)
			}
			t.add(local(u.Next), short(u.Next.Sub(now)), last, passed, result, upcomingName(u))
		}
		if *out == asName {
			return nil
		}
		return c.print(t, *out)
	}
	return cmd
}

// upcomingName is what fires: a task, or a group as a whole.
func upcomingName(u client.Upcoming) string {
	if u.Group != "" {
		return "group " + u.Group
	}
	return u.Task.String()
}

func local(t time.Time) string { return t.Local().Format(time.RFC3339) }

func (c *cli) cronCommand() *cobra.Command {
	var zone, from string
	var n int
	cmd := &cobra.Command{
		Use: "cron EXPR", Short: "Show what a timer says, and when it fires; no server is needed",
		Example: "  rota cron '30 2 * * *' --tz Europe/Berlin -n 10\n  rota cron '@every 90s' -o json",
		Args:    arguments(1, -1, "a timer, such as '*/5 * * * *'"), DisableFlagsInUseLine: true,
	}
	p := cmd.Flags()
	p.StringVar(&zone, "tz", "", "time zone, such as Europe/Berlin (default UTC)")
	p.StringVar(&from, "from", "", "show firings after this time (default now)")
	p.IntVarP(&n, "count", "n", 5, "so many firings")
	out := output(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		start, err := parseTime("from", from, c.Now())
		if err != nil {
			return err
		}
		if start.IsZero() {
			start = c.Now()
		}
		if zone != "" {
			if _, err := schedule.LoadLocation(zone); err != nil {
				return usagef("", "--tz: %w", err)
			}
		}
		if n < 1 || n > 1000 {
			return usagef("", "-n %d: want 1 to 1000", n)
		}
		d, err := api.DescribeTimer(strings.Join(args, " "), zone, start, n)
		if err != nil {
			return err
		}
		if done, err := c.encode(*out, d); done {
			return err
		}
		fmt.Fprintf(c.Out, "%s\n%s\n%s\n", d.Expression, d.Description, d.Timezone)
		for _, next := range d.Next {
			line := "  " + next
			if t, err := time.Parse(time.RFC3339, next); err == nil {
				line = "  " + t.Format("Mon ") + next
				if left := t.Sub(c.Now()); left > 0 && terminal(c.Out) {
					line += "  in " + short(left)
				}
			}
			fmt.Fprintln(c.Out, line)
		}
		if len(d.Next) == 0 {
			c.sayf("it never fires")
		}
		for _, w := range d.Warnings {
			c.sayf("warning: %s", w)
		}
		return nil
	}
	return cmd
}
