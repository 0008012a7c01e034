package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) getRuns() *cobra.Command {
	return listing[client.RunView]{
		use: "runs", aliases: []string{"run"}, short: "List the runs that have not ended: waiting, asked for or alive",
		flags: func(cmd *cobra.Command, f *filters) { f.groups(cmd.Flags()); f.tasks(cmd.Flags()) },
		list: func(ctx context.Context, cl *client.Client, f *filters, _ []string) ([]client.RunView, error) {
			filter, err := f.jobs()
			if err != nil {
				return nil, err
			}
			return cl.Runs(ctx, filter)
		},
		name: func(v *client.RunView) string { return string(v.Run) },
		table: func(c *cli, list []client.RunView) *table {
			t := &table{head: []string{"RUN", "TASK", "NODE", "STATE", "SINCE", "WAITS FOR"}}
			for i := range list {
				v := &list[i]
				t.add(string(v.Run), v.Task.String(), string(v.Node), string(v.State), c.when(v.Since), strings.Join(v.Waits, " and "))
			}
			return t
		},
		none: "nothing runs, and nothing waits to",
	}.command(c)
}

// deleteTasks deletes tasks, those that depend on others before these.
func (c *cli) deleteTasks(ctx context.Context, cl *client.Client, names []string, force bool) error {
	for _, n := range names {
		if _, err := parseRef(n); err != nil {
			return err
		}
	}
	for {
		var needed []string
		var why []error
		err := c.each(names, func(name string) error {
			ref, err := job.ParseRef(name)
			if err != nil {
				return err
			}
			switch err := cl.DeleteTask(ctx, ref, 0, force); {
			case job.IsConflict(err):
				needed, why = append(needed, name), append(why, err)
				return nil
			case err != nil:
				return err
			}
			fmt.Fprintf(c.Out, "task %s deleted\n", ref)
			return nil
		})
		if err != nil || len(needed) == 0 {
			return err
		}
		if len(needed) == len(names) {
			for _, err := range why {
				c.fail(err)
			}
			return &exitError{exitFailed}
		}
		names = needed
	}
}
