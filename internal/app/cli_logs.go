package app

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) logsCommand() *cobra.Command {
	var follow, all, lastFailed bool
	var view logView
	cmd := &cobra.Command{
		Use: "logs RUN|TASK|TASK#N", Short: "Print what a run wrote",
		Long: "Print what a run wrote: stdout and stderr as they came.\n\n" +
			"A run can be named by its id, by its task and number (nightly-backup#142), or by the task alone, which is its newest run.\n" +
			"Of a run that is alive this prints what it has written so far, wherever it runs, and with -f what it writes until its end, also\n" +
			"where a connection breaks meanwhile; an interrupt ends the printing, not the run. Of a run that has ended it prints what the\n" +
			"record has, the head and the tail of the output where that was long; --all fetches the whole from the node, as long as it is kept there.",
		Args: arguments(1, 1, "a run or a task"), ValidArgsFunction: c.completeTasks,
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "where the run is alive, print what it writes until its end")
	cmd.Flags().BoolVar(&all, "all", false, "the whole output, from the node where it is kept")
	cmd.Flags().BoolVar(&lastFailed, "last-failed", false, "the newest run of the task that did not succeed")
	view.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := view.check(); err != nil {
			return err
		}
		n, err := parseRunName(args[0])
		if err != nil {
			return err
		}
		if lastFailed && (n.id != "" || n.number > 0) {
			return usagef("", "--last-failed goes with a task")
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		r, alive, err := c.logged(cmd.Context(), cl, n, lastFailed)
		if err != nil {
			return err
		}
		if alive != "" {
			return c.logsOf(cmd.Context(), cl, alive, follow, &view)
		}
		if all {
			return c.logsOf(cmd.Context(), cl, job.RunID(r.ID), false, &view)
		}
		c.sayf("%s%s", outcomeLine(r), kept(r))
		if r.OutputTruncated {
			c.sayf("the whole, as long as its node keeps it: rota logs --all %s", r.ID)
		}
		if s := view.apart(r); s != "" {
			c.sayf("%s", s)
		}
		return c.printView(&view, r)
	}
	return cmd
}

// logged is the record whose output is asked for, or the run, where it has not ended.
func (c *cli) logged(ctx context.Context, cl *client.Client, n runName, lastFailed bool) (*job.ExecutionRecord, job.RunID, error) {
	ran := []job.Outcome{job.Success, job.Failed, job.Timeout, job.Killed, job.Lost}
	if n.number > 0 || lastFailed {
		r, err := cl.RecordByNumber(ctx, n.ref, n.number)
		if lastFailed {
			r, err = latest(ctx, cl, n.ref, ran[1:]...)
		}
		return r, "", err
	}
	if n.id == "" {
		alive, err := running(ctx, cl, n.ref)
		if err != nil {
			return nil, "", err
		}
		if len(alive) == 0 {
			r, err := latest(ctx, cl, n.ref, ran...)
			return r, "", err
		}
		return nil, alive[0].Run, nil
	}
	v, err := cl.RunState(ctx, n.id)
	if err != nil || !v.Ended() {
		return nil, n.id, err
	}
	return v.Record, "", nil
}
