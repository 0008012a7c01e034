package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rota-dev/rota/internal/guard"
	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// feature is a way to execute `/bin/true`, of which the price is wanted.
type feature struct {
	key    string
	name   string
	direct bool // in this process: without the guard
	groups bool
	forks  bool // the guard executes all runs, as on kernels before 6.15
	exec   job.Exec
	root   bool // only root can do it
}

var features = []feature{
	{key: "direct", name: "the runner in the agent's own process, without control groups", direct: true},
	{key: "group", name: "in a control group of its own", direct: true, groups: true},
	{key: "guard", name: "with a guard, in a control group: as it is by default", groups: true},
	{key: "forks", name: "… executed by the guard, as on kernels before Linux 6.15", groups: true, forks: true},
	{key: "user", name: "… as another user", groups: true, exec: job.Exec{User: "nobody"}, root: true},
	{key: "timeout", name: "… with a timeout and stdin", groups: true, exec: job.Exec{Timeout: time.Hour, Stdin: []byte("input")}},
	{key: "nice", name: "… with `nice` and `umask`", groups: true, exec: job.Exec{Limits: job.Limits{Nice: 1, Umask: "0027"}}},
	{key: "files", name: "… with `open_files`", groups: true, exec: job.Exec{Limits: job.Limits{OpenFiles: 1024}}},
	{key: "processes", name: "… with `processes`", groups: true, exec: job.Exec{Limits: job.Limits{Processes: 10}}, root: true},
	{key: "memory", name: "… with `memory`", groups: true, exec: job.Exec{Limits: job.Limits{Memory: 64 << 20}}, root: true},
	{key: "limits", name: "… with all limits", groups: true, root: true, exec: job.Exec{
		Limits: job.Limits{Memory: 64 << 20, CPU: 1, Processes: 10, OpenFiles: 1024, Nice: 1, Umask: "0027"},
	}},
}

// prices measures what each feature of a run costs: runs a second and processor time of agent and guard, against the bare loop in short
// turns of both.
func (b *bench) prices(ctx context.Context) ([]figure, error) {
	var figures []figure
	for i, f := range features {
		if f.root && os.Geteuid() != 0 {
			continue
		}
		one, err := b.price(ctx, f, filepath.Join(b.dir, fmt.Sprintf("feature%d", i)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		figures = append(figures, one...)
	}
	return figures, nil
}

func (b *bench) price(ctx context.Context, f feature, dir string) ([]figure, error) {
	r, stop, err := f.runner(dir)
	if err != nil {
		return nil, err
	}
	defer stop()
	e := f.exec
	e.Argv, e.Dir, e.Attempt = []string{"/bin/true"}, "/", 1
	e.Env = []string{"PATH=" + runner.DefaultPath, "ROTA_TASK=x", "ROTA_GROUP=default", "ROTA_NODE=x"}
	var n atomic.Int64
	once := func(int64) error {
		e := e
		e.Run = job.RunID(fmt.Sprintf("bench%d", n.Add(1)))
		x, err := r.Start(ctx, e)
		if err != nil {
			return err
		}
		<-x.Done()
		defer x.Release()
		if exit := x.Exit(); exit.Outcome != job.Success {
			return fmt.Errorf("%s: %s", exit.Outcome, exit.Reason)
		}
		return nil
	}
	if err := once(0); err != nil { // starts the guard, and tells whether this machine can do it
		fmt.Fprintf(b.log, "a run %s is not possible here: %v\n", f.name, err)
		return nil, nil
	}
	const turn = 100
	share := figure{Key: "price/" + f.key + "/ratio", What: "a run " + f.name + ", of the bare loop", Unit: "%", Rising: true}
	added := figure{Key: "price/" + f.key + "/cpu", What: "a run " + f.name + ": processor time added", Unit: "µs"}
	if f.exec.Limits == (job.Limits{}) && f.exec.User == "" && !f.forks {
		share.Goal = atLeast(90)
	}
	for range b.rounds {
		var took [2]time.Duration
		var used [2]time.Duration
		for range max(b.runs/turn, 1) {
			for i, loop := range []func() (time.Duration, error){
				func() (time.Duration, error) { return bare(turn) },
				func() (time.Duration, error) { return many(turn, once) },
			} {
				before, err := cpuWithGuards(os.Getpid())
				if err != nil {
					return nil, err
				}
				d, err := loop()
				if err != nil {
					return nil, err
				}
				after, err := cpuWithGuards(os.Getpid())
				if err != nil {
					return nil, err
				}
				took[i], used[i] = took[i]+d, used[i]+after-before
			}
		}
		share.Rounds = append(share.Rounds, 100*took[0].Seconds()/took[1].Seconds())
		added.Rounds = append(added.Rounds, inUS(used[1]-used[0])/float64(max(b.runs/turn, 1)*turn))
	}
	return []figure{share, added}, nil
}

// runner makes what executes the feature.
func (f feature) runner(dir string) (job.Runner, func(), error) {
	if f.direct {
		logs, err := runlog.Open(runlog.Options{Dir: filepath.Join(dir, "logs")})
		if err != nil {
			return nil, nil, err
		}
		r, err := runner.New(runner.Options{Dir: filepath.Join(dir, "run"), Logs: logs, NoGroups: !f.groups})
		if err != nil {
			return nil, nil, err
		}
		return r, func() { r.Close() }, nil
	}
	c, err := guard.New(guard.Options{
		Dir: filepath.Join(dir, "guard"), Build: "bench", Own: !f.forks, Runner: guard.RunnerOptions{Logs: filepath.Join(dir, "logs"), NoGroups: !f.groups},
	})
	if err != nil {
		return nil, nil, err
	}
	return c, func() { c.Close() }, nil
}
