package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) runCommand() *cobra.Command {
	var nodes, set []string
	var wait, follow, force bool
	var timeout, key string
	var backfill backfillFlags
	var each eachFlags
	cmd := &cobra.Command{
		Use: "run TASK", Short: "Run a task now, once or for each of many values, or the instants of a range of the past",
		Long: "Run a task now, and print the names of the runs at once: one for each node of a common task, one for the other kinds.\n\n" +
			"With --wait the exit code is 0 where all runs succeed, 1 where one does not, and 124 where that takes too long.\n" +
			"With --follow what the run writes is printed as it comes, too. An interrupt ends the waiting, not the run.\n\n" +
			"With --each it runs once for each line of a file: NAME=FILE makes the line the value of params.NAME, and without NAME a line is a\n" +
			"JSON object of values. The runs wait for each other; --parallel says how many go on at a time on a node.\n\n" +
			"With --from the instants that its timer made due in a range of the past run, each once, in order: a backfill, which goes\n" +
			"on by itself. What has succeeded is left out, unless with --force. Asking for the same again changes nothing.",
		Example: "  rota run nightly-backup\n" +
			"  rota run nightly-backup --node db1 --set DAYS=7 --wait --timeout 10m\n" +
			"  ls /srv/photos | rota run thumbnail --each PHOTO=- --parallel 4 --wait\n" +
			"  rota run nightly-backup --from 2026-11-01 --to 2026-11-08 --parallel 2 --dry-run",
		Args: arguments(1, 1, "a task"), ValidArgsFunction: c.completeTasks,
	}
	p := cmd.Flags()
	p.StringSliceVarP(&nodes, "node", "n", nil, "run it on this node; repeatable")
	p.StringArrayVar(&set, "set", nil, "value for params.KEY: KEY=VALUE; repeatable")
	p.BoolVar(&wait, "wait", false, "wait for the end; the exit code tells the outcome")
	p.BoolVarP(&follow, "follow", "f", false, "wait, and print what the run writes as it comes")
	p.StringVar(&timeout, "timeout", "", "with --wait: wait no longer than this, such as 10m; the run goes on")
	p.BoolVar(&force, "force", false, "run a task with mode onlyonce, or a backfilled instant, although it has succeeded")
	p.StringVar(&key, "key", "", "asking again with the same key does not run again")
	p.StringVar(&each.source, "each", "", "run it once for each line of [NAME=]FILE, or of stdin (-)")
	backfill.add(p)
	completed(cmd, "node", c.completeNodes)
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r := client.RunRequest{Force: force, Key: key}
		var err error
		if r.Task, err = parseRef(args[0]); err != nil {
			return err
		}
		if r.Params, err = parsePairs("set", set); err != nil {
			return err
		}
		for _, n := range nodes {
			if err := job.CheckName("node", n); err != nil {
				return &usageError{err: err}
			}
			r.Nodes = append(r.Nodes, job.NodeID(n))
		}
		w := &waiting{cli: c, follow: follow, out: *out}
		if w.limit, err = parseTimeout(timeout); err != nil {
			return err
		}
		if each.source != "" {
			switch {
			case follow:
				return usagef("wait with --wait, and read one of them with: rota logs RUN", "--follow is for a few runs, --each for many")
			case force:
				return usagef("run it by itself", "--force does not go with --each")
			case backfill.from != "" || backfill.to != "" || backfill.dry:
				return usagef("", "--each is no backfill: leave --from, --to and --dry-run out")
			}
			each.parallel = backfill.parallel
			return each.run(cmd.Context(), c, r, wait, w.limit, *out)
		}
		if backfill.asked() {
			return backfill.run(cmd.Context(), c, r, wait || follow, w.limit, *out)
		}
		if w.cl, err = c.client(); err != nil {
			return err
		}
		answer, err := w.cl.Run(cmd.Context(), r)
		if err != nil {
			return err
		}
		c.asked(answer, *out, wait || follow)
		if !wait && !follow {
			_, err := c.encode(*out, answer)
			return err
		}
		for _, h := range answer.Runs {
			w.runs = append(w.runs, h.Run)
			w.names = append(w.names, string(h.Node))
		}
		return w.wait(cmd.Context())
	}
	cmd.AddCommand(c.runGroupCommand())
	return cmd
}

// asked tells which runs were asked for. Their names are data, unless other data follow.
func (c *cli) asked(a *client.RunAnswer, f format, more bool) {
	for _, h := range a.Runs {
		switch {
		case f == asJSON || f == asYAML || more:
			c.sayf("run %s: %s on %s", h.Run, h.Task, h.Node)
		case f == asName || !terminal(c.Out):
			fmt.Fprintln(c.Out, h.Run)
		default:
			fmt.Fprintln(c.Out, h.Run)
			c.sayf("%s runs on %s; follow it: rota logs -f %s", h.Task, h.Node, h.Run)
		}
	}
	for _, n := range a.NotRun {
		c.sayf("not on %s: %s", n.Node, n.Reason)
	}
}

// parsePairs reads KEY=VALUE words.
func parsePairs(flag string, words []string) (map[string]string, error) {
	pairs := map[string]string{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok || k == "" {
			return nil, usagef("", "--%s %q is not of the form KEY=VALUE", flag, w)
		}
		pairs[k] = v
	}
	return pairs, nil
}

func parseTimeout(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := job.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, usagef("write it as 30s, 10m or 2h", "--timeout %q is not a duration", s)
	}
	return d.Std(), nil
}

// waiting is a wait for the end of runs.
type waiting struct {
	*cli
	cl     *client.Client
	runs   []job.RunID
	names  []string      // of the runs, with follow: where they are
	limit  time.Duration // 0: none
	follow bool          // print what each run writes
	out    format
}

// wait waits for every run and tells how each ended. The error is the exit code.
func (w *waiting) wait(ctx context.Context) error {
	bounded := ctx
	if w.limit > 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, w.limit)
		defer cancel()
	}
	failed := false
	told := make([]bool, len(w.runs))
	if w.follow && w.out != asJSON && w.out != asYAML {
		told = w.followAll(bounded)
	}
	var views []*client.RunView
	for i, id := range w.runs {
		v, err := w.cl.WaitRun(bounded, id)
		switch {
		case ctx.Err() != nil:
			w.sayf("detached; the run goes on: rota logs -f %s (end it: rota kill %s)", id, id)
			return &exitError{exitInterrupted}
		case errors.Is(err, context.DeadlineExceeded):
			w.sayf("after %s %s not ended; see: rota logs -f %s", short(w.limit), states(len(w.runs)-i), id)
			return &exitError{exitTimeout}
		case err != nil:
			return err
		}
		views = append(views, v)
		failed = failed || v.State != job.RunState(job.Success)
		if w.out == asJSON || w.out == asYAML {
			continue
		}
		if v.Record != nil {
			if w.follow && !told[i] && ctx.Err() == nil {
				w.printOutput(v.Record)
			}
			w.sayf("%s", outcomeLine(v.Record))
		}
	}
	if _, err := w.encode(w.out, views); err != nil {
		return err
	}
	if failed {
		return &exitError{exitFailed}
	}
	return nil
}

func states(n int) string {
	if n == 1 {
		return "the run has"
	}
	return fmt.Sprintf("%d runs have", n)
}

// outcomeLine tells how a run ended.
func outcomeLine(r *job.ExecutionRecord) string {
	s := recordName(r)
	if r.Node != "" {
		s += " on " + string(r.Node)
	}
	s += ": " + string(r.Outcome)
	if r.Outcome.Ran() {
		s += " in " + short(r.Duration())
	}
	if r.Reason != "" {
		s += ": " + oneLine(r.Reason)
	}
	return s
}

// printOutput writes what a run wrote.
func (c *cli) printOutput(r *job.ExecutionRecord) { _ = c.printView(&logView{}, r) }

// printView writes what of a run's output is asked for.
func (c *cli) printView(v *logView, r *job.ExecutionRecord) error {
	err := v.record(c.Out, r)
	if v.open && terminal(c.Out) {
		fmt.Fprintln(c.Out)
	}
	return err
}

func (c *cli) waitCommand() *cobra.Command {
	var timeout string
	cmd := &cobra.Command{
		Use: "wait RUN|TASK…", Short: "Wait for the end of runs",
		Long: "Wait for the end of runs: of one by its id, or of all that a task has now; or of executions of groups.\n\n" +
			"The exit code is 0 where all succeed, 1 where one does not, and 124 where that takes too long.",
		Args: arguments(1, -1, "a run or a task"), ValidArgsFunction: c.completeTasks,
	}
	cmd.Flags().StringVar(&timeout, "timeout", "", "wait no longer than this, such as 10m; the runs go on")
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w := &waiting{cli: c, out: *out}
		var err error
		if w.limit, err = parseTimeout(timeout); err != nil {
			return err
		}
		if w.cl, err = c.client(); err != nil {
			return err
		}
		if executionIDs.MatchString(args[0]) {
			return c.awaitExecutions(cmd.Context(), w.cl, args, false, w.limit, *out)
		}
		for _, name := range args {
			n, err := parseRunName(name)
			if err != nil {
				return err
			}
			runs, err := alive(cmd.Context(), w.cl, n)
			if err != nil {
				return err
			}
			w.runs = append(w.runs, runs...)
		}
		return w.wait(cmd.Context())
	}
	return cmd
}

// alive are the runs that a name stands for: a run by its id, ended or not; of a task those that run now.
func alive(ctx context.Context, cl *client.Client, n runName) ([]job.RunID, error) {
	if n.id != "" {
		return []job.RunID{n.id}, nil
	}
	if n.number > 0 {
		r, err := cl.RecordByNumber(ctx, n.ref, n.number)
		if err != nil {
			return nil, err
		}
		return []job.RunID{job.RunID(r.ID)}, nil
	}
	list, err := running(ctx, cl, n.ref)
	if err != nil {
		return nil, err
	}
	var ids []job.RunID
	for _, p := range list {
		ids = append(ids, p.Run)
	}
	if len(ids) > 0 {
		return ids, nil
	}
	if _, err := cl.Task(ctx, n.ref); err != nil {
		return nil, err
	}
	return nil, job.Errorf(job.CodeNotFound, "task %s does not run now", n.ref)
}
