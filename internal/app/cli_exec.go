package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) execCommand() *cobra.Command {
	var on, nodes, env []string
	var user, dir, timeout string
	var group bool
	cmd := &cobra.Command{
		Use: "exec [--on SELECTOR] -- COMMAND…", Short: "Run a command now, on nodes",
		Long: "Run a command now, on every node that is online and selected, and print what it writes, each line behind its node's name.\n\n" +
			"The command is executed as it is; for a shell line write: sh -c 'LINE'. Each run is on record, under exec/YOUR-NAME, and\n" +
			"each node's own policy has its say. The exit code is 0 where all runs succeed, and 1 where one does not or a node that was\n" +
			"named can't run it. An interrupt ends the watching, not the runs.",
		Example: "  rota exec -- uptime\n" +
			"  rota exec --on 'role in (db,cache), !edge' -- df -h\n" +
			"  rota exec --on role=db --user postgres -- psql -c 'select 1'\n" +
			"  rota exec --node db1 --timeout 30s -- sh -c 'df -h | tail -1'",
		Args: arguments(1, -1, "a command"),
	}
	p := cmd.Flags()
	p.SetInterspersed(false) // what follows the command's first word is the command's
	p.StringArrayVar(&on, "on", nil, "on the nodes that this selects by labels and conditions: KEY=VALUE, KEY!=VALUE, KEY, !KEY, KEY in (A,B), KEY notin (A,B), with commas between")
	p.StringSliceVarP(&nodes, "node", "n", nil, "on this node; repeatable")
	p.StringVarP(&user, "user", "u", "", "run it as this user (default: whom the agent runs as)")
	p.StringVar(&dir, "dir", "", "run it in this directory (default: the user's home)")
	p.StringArrayVar(&env, "env", nil, "a variable of its environment, KEY=VALUE; repeatable")
	p.StringVar(&timeout, "timeout", "", "end a run that takes longer than this, such as 30s")
	p.BoolVar(&group, "group-output", false, "print what each node wrote as one piece, when its run has ended")
	completed(cmd, "node", c.completeNodes)
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r := client.ExecRequest{Command: args, User: user, Dir: dir, Key: uuid.NewString()}
		var err error
		for _, text := range on {
			if _, err := job.ParseSelector(text); err != nil {
				return &usageError{err: fmt.Errorf("--on %q: %w", text, err)}
			}
		}
		r.Where = strings.Join(on, ", ")
		if r.Env, err = parsePairs("env", env); err != nil {
			return err
		}
		limit, err := parseTimeout(timeout)
		if err != nil {
			return err
		}
		r.Timeout = job.Duration(limit)
		for _, n := range nodes {
			id, err := parseNode(n)
			if err != nil {
				return err
			}
			r.Nodes = append(r.Nodes, id)
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		answer, err := cl.Exec(cmd.Context(), r)
		if err != nil {
			return err
		}
		for _, n := range answer.NotRun {
			c.sayf("not on %s: %s", n.Node, n.Reason)
		}
		x := &execution{cli: c, cl: cl, out: *out, whole: group, ends: make([]*client.RunView, len(answer.Runs))}
		return x.watch(cmd.Context(), answer, len(nodes) > 0 && len(answer.NotRun) > 0)
	}
	return cmd
}

// execution is a command that runs on nodes, while somebody watches.
type execution struct {
	*cli
	cl    *client.Client
	out   format
	whole bool // what each node wrote comes as one piece

	mu    sync.Mutex // held while something is printed
	width int        // of the longest name
	ends  []*client.RunView
}

// watch prints what the runs write until all have ended. The error is the exit code.
func (x *execution) watch(ctx context.Context, answer *client.RunAnswer, failed bool) error {
	for _, h := range answer.Runs {
		x.width = max(x.width, len(h.Node))
	}
	errs := make([]error, len(answer.Runs))
	var wg sync.WaitGroup
	for i, h := range answer.Runs {
		wg.Go(func() { x.ends[i], errs[i] = x.follow(ctx, h) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		for i, h := range answer.Runs {
			if x.ends[i] == nil {
				x.sayf("detached; the run on %s goes on: rota logs -f %s (end it: rota kill %s)", h.Node, h.Run, h.Run)
			}
		}
		return &exitError{exitInterrupted}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, v := range x.ends {
		failed = failed || v.State != job.RunState(job.Success)
	}
	if _, err := x.encode(x.out, x.ends); err != nil {
		return err
	}
	if failed {
		return &exitError{exitFailed}
	}
	return nil
}

// follow prints what one run writes, and tells how it ended.
func (x *execution) follow(ctx context.Context, h client.RunHandle) (*client.RunView, error) {
	if x.out == asJSON || x.out == asYAML {
		return x.cl.WaitRun(ctx, h.Run)
	}
	stdout, stderr := x.lines(h.Node, x.Out), x.lines(h.Node, x.Err)
	for e, err := range x.cl.Log(ctx, h.Run, client.LogOptions{Follow: true}) {
		switch {
		case err != nil:
			x.say(h.Node, "its output can't be shown: "+oneLine(err.Error()))
		case e.Type == client.LogNotice:
			x.say(h.Node, e.Text)
		case e.Chunk != nil && e.Chunk.Note != "":
			x.say(h.Node, e.Chunk.Note)
		case e.Chunk != nil && e.Chunk.Stream == job.Stderr:
			_, _ = stderr.Write(e.Chunk.Data)
		case e.Chunk != nil:
			_, _ = stdout.Write(e.Chunk.Data)
		}
	}
	stdout.flush()
	stderr.flush()
	v, err := x.cl.WaitRun(ctx, h.Run)
	if err == nil && v.Record != nil && v.State != job.RunState(job.Success) {
		r := v.Record
		text := string(r.Outcome)
		if r.Reason != "" {
			text += ": " + oneLine(r.Reason)
		}
		x.say(h.Node, text)
	}
	return v, err
}

// nodeLines is where the lines of a node go, each behind its name: at once, or as one piece in the end.
type nodeLines struct {
	*prefixed
	whole bytes.Buffer
	keep  bool
}

func (x *execution) lines(id job.NodeID, to io.Writer) *nodeLines {
	return &nodeLines{prefixed: &prefixed{mu: &x.mu, w: to, prefix: x.prefix(id)}, keep: x.whole}
}

func (l *nodeLines) Write(b []byte) (int, error) {
	if l.keep {
		return l.whole.Write(b)
	}
	return l.prefixed.Write(b)
}

func (l *nodeLines) flush() {
	if l.whole.Len() > 0 {
		_, _ = l.prefixed.Write(l.whole.Bytes())
	}
	l.prefixed.flush()
}

// prefix is a node's name, as wide as the widest.
func (x *execution) prefix(id job.NodeID) string {
	return fmt.Sprintf("%-*s ", x.width+1, string(id)+":")
}

func (x *execution) say(id job.NodeID, text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sayf("%s%s", x.prefix(id), text)
}
