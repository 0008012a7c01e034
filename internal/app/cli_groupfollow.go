package app

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// maxFollowed is how many runs of an execution are followed at once. Those beyond wait for their turn, and are then read from their beginning.
const maxFollowed = 50

// groupFollower prints what the runs of an execution write, as they write it: line by line, each with its step and its node.
type groupFollower struct {
	*cli
	cl    *client.Client
	ctx   context.Context //nolint:containedctx // of the waiting for the execution, which it is a part of
	mu    sync.Mutex      // of Out
	slots chan struct{}
	wg    sync.WaitGroup
	runs  map[job.RunID]context.CancelFunc
}

func (c *cli) followGroup(ctx context.Context, cl *client.Client) *groupFollower {
	return &groupFollower{cli: c, cl: cl, ctx: ctx, slots: make(chan struct{}, maxFollowed), runs: map[job.RunID]context.CancelFunc{}}
}

// look begins to follow the runs that have come since. What was taken over from an earlier execution has been seen there.
func (g *groupFollower) look(v *client.ExecutionView) {
	for i := range v.Steps {
		s := &v.Steps[i]
		for _, r := range s.Runs {
			if o := job.Outcome(r.State); g.runs[r.Run] != nil || r.From != "" || r.State != client.RunAsked && !(o.Valid() && o.Ran()) {
				continue
			}
			ctx, cancel := context.WithCancel(g.ctx)
			g.runs[r.Run] = cancel
			g.wg.Go(func() {
				select {
				case g.slots <- struct{}{}:
					defer func() { <-g.slots }()
					g.follow(ctx, s.Name, r)
				case <-ctx.Done():
				}
			})
		}
	}
}

// end returns when all is printed of the runs that have ended. The execution is as it was seen last; nil: nobody waits for its end any more.
func (g *groupFollower) end(v *client.ExecutionView) {
	ended := map[job.RunID]bool{}
	if v != nil {
		for i := range v.Steps {
			for _, r := range v.Steps[i].Runs {
				ended[r.Run] = job.Outcome(r.State).Valid()
			}
		}
	}
	for id, cancel := range g.runs {
		if !ended[id] {
			cancel()
		}
		defer cancel()
	}
	g.wg.Wait()
}

// follow prints what one run writes, until its end.
func (g *groupFollower) follow(ctx context.Context, step string, r client.StepRun) {
	out := &prefixed{mu: &g.mu, w: g.Out, label: func() string { return g.label(ctx, step, r) }}
	defer out.flush()
	_, err := g.stream(ctx, g.cl, r.Run, client.LogOptions{Follow: true}, &logView{}, out)
	if err == nil || ctx.Err() != nil {
		return
	}
	g.sayf("run %s of %s can't be followed: %s; its whole output comes when it has ended", r.Run, step, oneLine(err.Error()))
	v, err := g.cl.WaitRun(ctx, r.Run)
	switch {
	case err == nil && v.Record != nil:
		_ = (&logView{}).record(out, v.Record)
	case err != nil && ctx.Err() == nil:
		g.sayf("the output of run %s of %s can't be read: %s", r.Run, step, oneLine(err.Error()))
	}
}

// label begins each line of a run: its step, its node, and of a fan-out its item.
func (g *groupFollower) label(ctx context.Context, step string, r client.StepRun) string {
	node := r.Node
	if node == "" { // of the leader's choice
		if v, err := g.cl.RunState(ctx, r.Run); err == nil {
			node = v.Node
		}
	}
	label := step
	if node != "" {
		label += "@" + string(node)
	}
	if len(r.Item) > 0 {
		label += fmt.Sprintf("[%s]", clip(strings.Trim(oneLine(string(r.Item)), `"`), 30))
	}
	return label + ": "
}
