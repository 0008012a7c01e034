//go:build linux

package soak

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// The tasks that are asked for. long never ends by itself.
const (
	once  = "once"
	retry = "retry"
	loud  = "loud"
	long  = "long"
)

// tasks are those of the load.
func tasks() []job.Task {
	list := []job.Task{
		{Name: once, Command: job.Line("true"), Concurrency: 4},
		{Name: retry, Command: job.Line("exit 1"), Retry: job.Retry{Count: 2, Interval: job.Duration(time.Second)}, Concurrency: 4},
		{Name: loud, Command: job.Line("head -c 65536 /dev/zero | tr '\\0' x"), Concurrency: 4},
		{Name: long, Command: job.Line("sleep 6000 & wait"), Concurrency: 4},
		{Name: "interval", Kind: "interval", Timer: "* * * * * *", Command: job.Line("true")},
		{Name: "alone", Kind: "alone", Timer: "* * * * * *", Command: job.Line("true")},
	}
	for i := range 5 {
		list = append(list, job.Task{Name: fmt.Sprintf("common%d", i), Timer: "* * * * * *", Command: job.Line("echo tick")})
	}
	return list
}

// load is what the cluster is asked for, by API and by timer.
type load struct {
	t     *testing.T
	c     *client.Client
	asked atomic.Int64
	stop  chan struct{}
	wg    sync.WaitGroup
}

// begin resumes the timers and asks for runs, until end.
func (cl *cluster) begin() *load {
	l := &load{t: cl.t, c: cl.c, stop: make(chan struct{})}
	l.timers(cl.c.Resume)
	for name, every := range map[string]time.Duration{
		once: 200 * time.Millisecond, retry: time.Second, loud: time.Second, long: time.Second,
	} {
		l.wg.Go(func() { l.ask(name, every) })
	}
	return l
}

// end stops asking, pauses the timers, and waits for the records of all that was asked for.
func (l *load) end() {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	l.timers(l.c.Pause)
	if l.asked.Load() == 0 {
		l.t.Error("nothing was asked for")
	}
}

func (l *load) timers(do func(context.Context, job.TaskRef) (*job.TaskEntry, error)) {
	l.t.Helper()
	for _, task := range tasks() {
		if task.Timer == "" {
			continue
		}
		if _, err := do(l.t.Context(), task.Ref()); err != nil {
			l.t.Fatal(err)
		}
	}
}

// ask asks for runs of a task, one after the other, no faster than every. Each must end in a record.
func (l *load) ask(name string, every time.Duration) {
	pace := time.NewTicker(every)
	defer pace.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-pace.C:
		}
		if err := l.one(name); err != nil {
			l.t.Errorf("a run of %s: %v", name, err)
			return
		}
		l.asked.Add(1)
	}
}

func (l *load) one(name string) error {
	ctx, cancel := context.WithTimeoutCause(l.t.Context(), 2*time.Minute, errors.New("it has no record after two minutes"))
	defer cancel()
	answer, err := l.c.Run(ctx, client.RunRequest{Task: job.Ref("", name)})
	if err != nil {
		return err
	}
	for _, r := range answer.Runs {
		if name == long {
			if err := l.c.Kill(ctx, r.Run); err != nil && job.CodeOf(err) != job.CodeConflict {
				return fmt.Errorf("kill %s: %w", r.Run, err)
			}
		}
		v, err := l.c.WaitRun(ctx, r.Run)
		if err != nil {
			return fmt.Errorf("%s: %w (%w)", r.Run, err, context.Cause(ctx))
		}
		if v.Record == nil {
			return fmt.Errorf("%s is %s, and there is no record", r.Run, v.State)
		}
	}
	return nil
}
