package sim

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

func (w *world) machine(id string) *machine {
	for _, m := range w.machines {
		if string(m.id) == id {
			return m
		}
	}
	return nil
}

func (w *world) server(name string) *server {
	for _, s := range w.servers {
		if s.name == name {
			return s
		}
	}
	return nil
}

// happen lets an event happen, and undoes it when its time is over or the faults end.
func (w *world) happen(e event) {
	if !wait(w.ctx, e.at) {
		return
	}
	w.note("****", "%s", e.String())
	from := time.Now()
	w.said.during(e, func() {
		w.act(e, func(f func(on int)) {
			f(1)
			wait(w.ctx, e.long)
			f(-1)
		})
	})
	if m := w.machine(e.who); m != nil && (e.what == "clock" || e.what == "pause-agent") {
		m.trouble(from, time.Now().Add(max(e.by, 0))) // what is due until then has been dealt with
	}
	w.note("****", "%d  %s is over", e.i, e.what)
}

func (w *world) act(e event, during func(func(on int))) {
	net := func(who string, f func(l *line, on int)) {
		during(func(on int) { w.net.edit(who, func(l *line) { f(l, on) }) })
	}
	switch what := strings.TrimSuffix(e.what, "-master"); what {
	case "kill-agent":
		w.down(e, func(m *machine) { m.kill(false) })
	case "crash-machine":
		w.down(e, func(m *machine) { m.crash() })
	case "stop-agent":
		w.down(e, func(m *machine) { m.stop(false) })
	case "leave-agent":
		w.down(e, func(m *machine) { m.stop(true) })
	case "kill":
		if e.what == "kill" {
			w.killRun(e)
			return
		}
		s := w.server(e.who)
		s.alone(s.kill)
		wait(w.ctx, e.long)
		s.alone(s.start)
	case "cut", "no-etcd":
		switch e.how {
		case "loud":
			net(e.who, func(l *line, on int) { l.loud += on })
		case "requests":
			net(e.who, func(l *line, on int) { l.requests += on })
		default:
			net(e.who, func(l *line, on int) { l.silent += on })
		}
	case "lost-answers":
		net(e.who, func(l *line, on int) { l.answers += on })
	case "late-requests", "late":
		net(e.who, func(l *line, on int) { l.late += on })
	case "slow", "slow-etcd":
		net(e.who, func(l *line, on int) { l.slow += on })
	case "pause-agent", "pause":
		net(e.who, func(l *line, on int) { l.paused += on })
	case "compact":
		_ = w.mem.Compact(0)
	case "expire-leader":
		w.mem.Expire("leader")
	case "history-away":
		during(func(on int) { w.away.edit(func() { w.away.down += on }) })
	case "history-lost-answers":
		during(func(on int) { w.away.edit(func() { w.away.answers += on }) })
	case "clock":
		c := w.clock(e.who)
		during(func(on int) { c.off.Add(int64(e.by) * int64(on)) })
	case "full-disk":
		m := w.machine(e.who)
		during(func(on int) { m.full.Add(int32(on)) })
	default:
		w.people(e)
	}
}

func (w *world) clock(who string) *clock {
	if m := w.machine(who); m != nil {
		return &m.clock
	}
	return &w.server(who).clock
}

// down ends an agent, and starts it again after a while.
func (w *world) down(e event, f func(*machine)) {
	m := w.machine(e.who)
	m.alone(func() { f(m) })
	wait(w.ctx, e.long)
	m.alone(m.start)
}

// people do what they do.
func (w *world) people(e event) {
	ref := job.Ref("", e.who)
	var err error
	switch e.what {
	case "edit":
		w.specs.Store(e.task.Name, *e.task)
		err = w.ask(e.what, func(ctx context.Context, m *master.Master) error {
			_, err := m.Apply(ctx, []job.Task{e.task.Task}, master.ApplyOptions{})
			return err
		})
	case "pause-task":
		err = w.ask(e.what, func(ctx context.Context, m *master.Master) error {
			_, err := m.Pause(ctx, ref, "people")
			return err
		})
		w.acked("pause", ref, err)
		wait(w.ctx, e.long)
		resumed := w.ask("resume", func(ctx context.Context, m *master.Master) error {
			_, err := m.Resume(ctx, ref, "people")
			return err
		})
		w.answered("resume", e.who, resumed)
	case "delete":
		err = w.ask(e.what, func(ctx context.Context, m *master.Master) error { return m.Delete(ctx, ref, 0) })
		w.acked("delete", ref, err)
		wait(w.ctx, e.long)
		spec, _ := w.specs.Load(e.who)
		again := w.ask("apply", func(ctx context.Context, m *master.Master) error {
			_, err := m.Apply(ctx, []job.Task{spec.(task).Task}, master.ApplyOptions{})
			return err
		})
		w.answered("apply", e.who, again)
	case "run":
		for range map[string]int{"once": 1, "twice": 2}[e.how] {
			var answer master.RunAnswer
			err = w.ask(e.what, func(ctx context.Context, m *master.Master) (err error) {
				answer, err = m.Run(ctx, master.RunRequest{Task: ref, Key: e.String(), By: "people"})
				return err
			})
			if err == nil {
				w.seen.ask(answer)
			}
		}
	}
	w.answered(e.what, e.who, err)
}

func (w *world) answered(what, who string, err error) {
	if err != nil {
		w.note("****", "%s %s: %v", what, who, err)
	} else {
		w.note("****", "%s %s: done", what, who)
	}
}

// acked notes that people were told that something was done.
func (w *world) acked(what string, ref job.TaskRef, err error) {
	if err == nil {
		w.said.ack(what, ref)
	}
}

func (o *observer) ask(a master.RunAnswer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range a.Runs {
		o.asked[r.Run] = r.Task
		o.line("****", "run %.8s of %s on %s is promised", r.Run, r.Task.Name, r.Node)
	}
}

// killRun kills the run of a task that began last.
func (w *world) killRun(e event) {
	var run job.RunID
	w.seen.mu.Lock()
	for _, s := range slices.Backward(w.seen.starts) {
		if s.task.Name == e.who && s.end.IsZero() {
			run = s.run
			break
		}
	}
	w.seen.mu.Unlock()
	if run == "" {
		return
	}
	err := w.ask("kill", func(ctx context.Context, m *master.Master) error { return m.Kill(ctx, run, "people") })
	w.answered("kill", string(run)[:8], err)
}

// askFor is ask with patience of another length, after the faults.
func (w *world) askFor(d time.Duration, what string, f func(ctx context.Context, m *master.Master) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	old := w.ctx
	w.ctx = ctx
	defer func() { w.ctx = old }()
	var err error
	for ctx.Err() == nil {
		if err = w.ask(what, f); err == nil || job.IsNotFound(err) {
			return nil
		}
		wait(ctx, time.Second)
	}
	return err
}
