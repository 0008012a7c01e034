package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// drainLook is how often a drain looks whether the node is empty.
const drainLook = 500 * time.Millisecond

func (c *cli) drainCommand() *cobra.Command {
	var timeout string
	var end bool
	cmd := &cobra.Command{
		Use: "drain NODE…", Short: "Move work away from nodes, and wait until nothing runs there",
		Long: "Cordon nodes, start nothing there by timers any more, and wait until what runs there has ended. Interval and alone tasks go on\n" +
			"elsewhere; instants of common tasks are recorded as skipped. What is asked for by the node's name still runs.\n\n" +
			"The exit code is 124 where it takes too long; the drain goes on. To take it back: rota uncordon NODE",
		Example: "  rota drain db1 --timeout 10m\n  rota drain db1 --end-runs",
		Args:    arguments(1, -1, "a node"), ValidArgsFunction: c.completeNodes,
	}
	cmd.Flags().StringVar(&timeout, "timeout", "", "wait no longer than this, such as 10m")
	cmd.Flags().BoolVar(&end, "end-runs", false, "end what runs there: SIGTERM, and SIGKILL after the task's grace")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		limit, err := parseTimeout(timeout)
		if err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		err = c.eachNode(args, func(id job.NodeID) error {
			_, err := cl.Drain(ctx, id)
			return err
		})
		if err != nil {
			return err
		}
		return c.eachNode(args, func(id job.NodeID) error {
			d := &drain{cli: c, cl: cl, node: id, end: end, told: map[job.RunID]bool{}}
			err := d.wait(ctx)
			switch {
			case cmd.Context().Err() != nil:
				c.sayf("node %s goes on being drained; take it back with: rota uncordon %s", id, id)
				return &exitError{exitInterrupted}
			case errors.Is(err, context.DeadlineExceeded):
				c.sayf("node %s is not empty after %s, and goes on being drained", id, short(limit))
				return &exitError{exitTimeout}
			}
			return err
		})
	}
	return cmd
}

// drain is a wait for a node to be empty.
type drain struct {
	*cli
	cl   *client.Client
	node job.NodeID
	end  bool // what runs is to be ended
	told map[job.RunID]bool
}

func (d *drain) wait(ctx context.Context) error {
	t := time.NewTicker(drainLook)
	defer t.Stop()
	for {
		n, err := d.cl.Node(ctx, d.node)
		if err != nil {
			return err
		}
		switch {
		case !n.Draining:
			return job.Errorf(job.CodeConflict, "node %s is not being drained any more", d.node).WithHint("somebody has uncordoned it")
		case n.Drained && n.Running == 0:
			fmt.Fprintf(d.Out, "node %s drained\n", d.node)
			return nil
		case !n.Online:
			fmt.Fprintf(d.Out, "node %s is offline; nothing runs there as far as is known\n", d.node)
			return nil
		}
		if err := d.look(ctx); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look tells of runs that are still there, each once, and ends them if that is wanted.
func (d *drain) look(ctx context.Context) error {
	list, err := d.cl.Processes(ctx, client.JobFilter{Node: d.node})
	if err != nil {
		return err
	}
	for _, p := range list {
		if d.told[p.Run] {
			continue
		}
		d.told[p.Run] = true
		d.sayf("node %s waits for run %s of %s", d.node, p.Run, job.Ref(p.Group, p.Name))
		if !d.end {
			continue
		}
		if err := d.cl.Kill(ctx, p.Run); err != nil && !job.IsConflict(err) && !job.IsNotFound(err) {
			return err
		}
	}
	return nil
}
