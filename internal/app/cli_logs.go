package app

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) logsCommand() *cobra.Command {
	var follow, lastFailed bool
	var view logView
	cmd := &cobra.Command{
		Use: "logs RUN|TASK|TASK#N", Short: "Print what a run wrote",
		Long: "Print what a run wrote, as its record has it: stdout and stderr as they came, within the limit that is kept.\n\n" +
			"A run can be named by its id, by its task and number (nightly-backup#142), or by the task alone, which is its newest run.\n" +
			"The output is in the record, which is written when the run ends: of a run that is alive nothing can be shown yet. With -f\n" +
			"this waits for the end and prints the output then.",
		Args: arguments(1, 1, "a run or a task"), ValidArgsFunction: c.completeTasks,
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "where the run is alive, wait for its end")
	cmd.Flags().BoolVar(&lastFailed, "last-failed", false, "the newest run of the task that did not succeed")
	view.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
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
		r, err := c.logged(cmd.Context(), cl, n, follow, lastFailed)
		if err != nil || r == nil {
			return err
		}
		c.sayf("%s%s", outcomeLine(r), kept(r))
		if s := view.apart(r); s != "" {
			c.sayf("%s", s)
		}
		return c.printView(&view, r)
	}
	return cmd
}

// logged is the record whose output is asked for. It is nil where all was said already.
func (c *cli) logged(ctx context.Context, cl *client.Client, n runName, follow, lastFailed bool) (*job.ExecutionRecord, error) {
	ran := []job.Outcome{job.Success, job.Failed, job.Timeout, job.Killed, job.Lost}
	switch {
	case n.number > 0:
		return cl.RecordByNumber(ctx, n.ref, n.number)
	case lastFailed:
		return latest(ctx, cl, n.ref, ran[1:]...)
	case n.id == "":
		alive, err := running(ctx, cl, n.ref)
		if err != nil {
			return nil, err
		}
		if len(alive) == 0 {
			return latest(ctx, cl, n.ref, ran...)
		}
		if !follow {
			r, err := latest(ctx, cl, n.ref, ran...)
			if job.IsNotFound(err) {
				return nil, notYet(alive[0].Run, job.StateRunning)
			}
			c.sayf("run %s is alive on %s; its output comes with -f when it ends; this is the one before:", alive[0].Run, alive[0].NodeID)
			return r, err
		}
		n.id = alive[0].Run
	}
	v, err := cl.RunState(ctx, n.id)
	if err != nil {
		return nil, err
	}
	if v.Ended() {
		return v.Record, nil
	}
	if !follow {
		return nil, notYet(v.Run, v.State)
	}
	c.sayf("run %s of %s is %s; its output comes when it ends", v.Run, v.Task, v.State)
	if v, err = cl.WaitRun(ctx, n.id); ctx.Err() != nil {
		c.sayf("detached; the run goes on: rota logs -f %s (end it: rota kill %s)", n.id, n.id)
		return nil, &exitError{exitInterrupted}
	}
	if err != nil {
		return nil, err
	}
	return v.Record, nil
}

func notYet(id job.RunID, state job.RunState) error {
	return job.Errorf(job.CodeConflict, "run %s is %s; its output is there when it has ended", id, state).
		WithHint("wait for it with: rota logs -f %s", id)
}
