package master

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/google/uuid"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// maxUnended is how many runs of one task may have been asked for that have not ended, before a list is refused.
const maxUnended = 10_000

// maxFaults is how much of what is wrong with a list is told at once.
const maxFaults = 20

// RunList asks for runs of a task now, one for each set of values. They wait for each other on each node, whatever the task's overlap
// says. All are judged before any is asked for; an error after that leaves some asked for, and those that have a
// key can be asked for again.
func (m *Master) RunList(ctx context.Context, r RunListRequest) (RunListAnswer, error) {
	l := &listing{m: m, r: r, answers: make([]RunAnswer, len(r.Each)), keys: make([]string, len(r.Each)), left: make([]int, len(r.Each))}
	keyed := false
	for i, e := range r.Each {
		l.left[i], l.keys[i] = i, e.Key
		if keyed = keyed || e.Key != ""; e.Key == "" {
			id, err := uuid.NewV7()
			if err != nil {
				return RunListAnswer{}, err
			}
			l.keys[i] = id.String()
		}
	}
	if keyed { // as in Run
		turn := m.turn(r.Task)
		turn.Lock()
		defer turn.Unlock()
	}
	for caughtUp := false; ; caughtUp = true {
		again, err := l.ask(ctx, keyed, caughtUp)
		if err != nil && !caughtUp && refusal(err) {
			again = true
		}
		if !again {
			return RunListAnswer{Answers: l.answers}, err
		}
		if err := m.view.catchUp(ctx); err != nil {
			return RunListAnswer{}, fmt.Errorf("run %s: %w", r.Task, err)
		}
		if caughtUp && !sleep(ctx, rand.N(soon)) {
			return RunListAnswer{}, ctx.Err()
		}
	}
}

// listing is a list that is asked for.
type listing struct {
	m       *Master
	r       RunListRequest
	keys    []string
	answers []RunAnswer
	left    []int // the places in the list that are not known to have been asked for
	tried   bool  // some of them may have been nevertheless
}

// ask is one try to ask for what is left.
func (l *listing) ask(ctx context.Context, keyed, caughtUp bool) (again bool, err error) {
	m := l.m
	var ticket *store.Ticket
	if keyed {
		t, err := m.store().Ask(ctx, l.r.Task, m.ID)
		if err != nil {
			return false, err
		}
		ticket = &t
	}
	if err := l.allowed(); err != nil {
		return false, err
	}
	taken := map[job.NodeID]int{}
	var ops []store.Op
	var of []int // the place in the list of each
	var wrong job.Faults
	for _, i := range l.left {
		e := l.r.Each[i]
		a := asking{
			m: m, r: RunRequest{Task: l.r.Task, Nodes: l.r.Nodes, Params: e.Params, By: l.r.By}, caughtUp: caughtUp, before: l.tried || e.Key != "",
			req: engine.Request{
				Task: l.r.Task, Nodes: l.r.Nodes, Params: e.Params, Key: "run/" + l.r.Task.String() + "/" + l.keys[i], Trigger: job.TriggerRun, Cause: l.r.By,
				Listed: true, Parallel: l.r.Parallel, Taken: taken,
			},
		}
		if e.Key != "" {
			a.ticket = ticket
		}
		answer, more, behind, err := a.plan(ctx)
		if job.CodeOf(err) == job.CodeInvalid {
			addFaults(&wrong, fmt.Sprintf("each[%d]", i), err)
			if len(wrong.Fields) < maxFaults {
				continue
			}
			break
		}
		if err != nil {
			return false, fmt.Errorf("each[%d]: %w", i, err)
		}
		if behind {
			return true, nil
		}
		for _, h := range answer.Runs {
			taken[h.Node]++
		}
		l.answers[i] = answer
		for range more {
			of = append(of, i)
		}
		ops = append(ops, more...)
	}
	if err := wrong.Err("the list is not right"); err != nil {
		return false, err
	}
	l.tried = true
	done, err := m.store().Do(ctx, ops...)
	if err != nil {
		return false, err
	}
	l.left = l.left[:0]
	for n, ok := range done {
		if i := of[n]; !ok && !slices.Contains(l.left, i) {
			l.left = append(l.left, i)
		}
	}
	return len(l.left) > 0, nil
}

// allowed tells why the task takes no list, or not now.
func (l *listing) allowed() (err error) {
	l.m.view.with(func() {
		e := l.m.view.tasks[l.r.Task]
		if e == nil {
			return // the engine says so
		}
		if e.Task.Mode == job.OnlyOnce {
			err = job.Errorf(job.CodeConflict, "task %s runs only once (mode: onlyonce), and is asked for %d times", l.r.Task, len(l.r.Each)).
				WithHint("give it another mode, or run it by itself: rota run %s --force", l.r.Task)
			return
		}
		unended := 0
		for _, d := range l.m.view.dispatch {
			if d.Job.Ref() == l.r.Task {
				unended++
			}
		}
		if unended+len(l.left) > maxUnended && unended > 0 {
			err = job.Errorf(job.CodeConflict, "%d runs of task %s that were asked for have not ended; with %d more they would be more than %d", unended, l.r.Task, len(l.left), maxUnended).
				WithHint("ask for the rest when some have ended: rota wait %s", l.r.Task)
		}
	})
	return err
}
