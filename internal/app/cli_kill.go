package app

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) killCommand() *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use: "kill RUN|TASK|BACKFILL…", Short: "End runs: the whole process tree",
		Long: "End a run by its id, every run that a task has now, or with --node every run that is alive on a node. The whole process tree gets\n" +
			"SIGTERM and, after the task's grace, SIGKILL. The record will say who asked.",
		Example: "  rota kill nightly-backup\n  rota kill --node db1",
		Args: func(cmd *cobra.Command, args []string) error {
			if node != "" {
				return arguments(0, 0, "")(cmd, args)
			}
			return arguments(1, -1, "a run or a task")(cmd, args)
		},
		ValidArgsFunction: c.completeTasks,
	}
	cmd.Flags().StringVarP(&node, "node", "n", "", "end every run that is alive on this node")
	completed(cmd, "node", c.completeNodes)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.client()
		if err != nil {
			return err
		}
		if node != "" {
			return c.killOn(cmd.Context(), cl, node)
		}
		return c.each(args, func(name string) error {
			if backfillIDs.MatchString(name) {
				return c.cancelBackfill(cmd.Context(), cl, name, true)
			}
			if executionIDs.MatchString(name) {
				return c.cancelExecution(cmd.Context(), cl, name)
			}
			n, err := parseRunName(name)
			if err != nil {
				return err
			}
			runs, err := alive(cmd.Context(), cl, n)
			if err != nil {
				return err
			}
			return c.killEach(cmd.Context(), cl, runs, false)
		})
	}
	return cmd
}

// killOn ends what is alive on a node.
func (c *cli) killOn(ctx context.Context, cl *client.Client, node string) error {
	id, err := parseNode(node)
	if err != nil {
		return err
	}
	if _, err := cl.Node(ctx, id); err != nil {
		return err
	}
	list, err := cl.Processes(ctx, client.JobFilter{Node: id})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		c.sayf("nothing runs on %s", id)
	}
	var runs []job.RunID
	for _, p := range list {
		runs = append(runs, p.Run)
	}
	return c.killEach(ctx, cl, runs, true)
}

// killEach asks for the end of runs. Of those that a person has not named one by one, what has ended meanwhile is as wanted.
func (c *cli) killEach(ctx context.Context, cl *client.Client, runs []job.RunID, loose bool) error {
	for _, id := range runs {
		err := cl.Kill(ctx, id)
		if loose && job.IsConflict(err) {
			continue
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "run %s is asked to end\n", id)
	}
	return nil
}
