package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// oneOff measures runs that are asked for over the API until they are durable in history, against the bare loop.
func (b *bench) oneOff(ctx context.Context) ([]figure, error) {
	s, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	t := job.Task{Name: "true", Command: job.Args("/bin/true"), Overlap: job.OverlapAllow, Concurrency: 1000}
	if _, err := s.client.Apply(ctx, []job.Task{t}, client.ApplyOptions{}); err != nil {
		return nil, err
	}
	if err := s.placed(ctx, t.Ref()); err != nil {
		return nil, err
	}
	loop := figure{Key: "bare/rate", What: "bare loop: fork, exec, capture, wait of `/bin/true`, 4 workers", Unit: "/s", Rising: true, Note: "the measure of the others"}
	rate := figure{Key: "oneoff/rate", What: "one-off runs, asked for over HTTP → recorded, durable", Unit: "/s", Rising: true}
	share := figure{Key: "oneoff/ratio", What: "the same, of the bare loop", Unit: "%", Goal: atLeast(90), Note: "the client's requests use the same processors"}
	added := figure{Key: "oneoff/cpu", What: "CPU that Rota adds to a run", Unit: "µs", Goal: atMost(150), Note: "the server's own with API, etcd, history and guard, less the bare loop's own"}
	listShare := figure{Key: "oneoff/list/ratio", What: fmt.Sprintf("asked for in lists of %d (`rota run --each`), of the bare loop", listed), Unit: "%", Goal: atLeast(90)}
	listAdded := figure{Key: "oneoff/list/cpu", What: "CPU that Rota adds to such a run", Unit: "µs", Goal: atMost(150)}
	n := float64(b.runs)
	for range b.rounds {
		var took, used [3]time.Duration
		for i, part := range []struct {
			pid int
			do  func() (time.Duration, error)
		}{
			{os.Getpid(), func() (time.Duration, error) { return bare(b.runs) }},
			{s.cmd.Process.Pid, func() (time.Duration, error) { return b.ask(ctx, s, t.Ref(), 1) }},
			{s.cmd.Process.Pid, func() (time.Duration, error) { return b.ask(ctx, s, t.Ref(), listed) }},
		} {
			before, err := cpuWithGuards(part.pid)
			if err != nil {
				return nil, err
			}
			if took[i], err = part.do(); err != nil {
				return nil, err
			}
			after, err := cpuWithGuards(part.pid)
			if err != nil {
				return nil, err
			}
			used[i] = after - before
		}
		loop.Rounds = append(loop.Rounds, n/took[0].Seconds())
		rate.Rounds = append(rate.Rounds, n/took[1].Seconds())
		share.Rounds = append(share.Rounds, 100*took[0].Seconds()/took[1].Seconds())
		added.Rounds = append(added.Rounds, inUS(used[1]-used[0])/n)
		listShare.Rounds = append(listShare.Rounds, 100*took[0].Seconds()/took[2].Seconds())
		listAdded.Rounds = append(listAdded.Rounds, inUS(used[2]-used[0])/n)
	}
	return []figure{loop, rate, share, added, listShare, listAdded}, nil
}

// listed is how many runs one request of a list asks for.
const listed = 100

// ask asks for the runs, in lists of a length or one by one, and waits until history has them all.
func (b *bench) ask(ctx context.Context, s *server, ref job.TaskRef, length int) (time.Duration, error) {
	count := func() (int64, error) {
		v, err := s.client.Task(ctx, ref)
		if err != nil {
			return 0, err
		}
		return v.Stats.Count[job.Success], nil
	}
	first, err := count()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	const callers = 16
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	for w := range callers {
		wg.Go(func() {
			for i := w * length; i < b.runs; i += callers * length {
				var err error
				if length == 1 {
					_, err = s.client.Run(ctx, client.RunRequest{Task: ref})
				} else {
					_, err = s.client.RunList(ctx, client.RunListRequest{Task: ref, Each: make([]client.ListedRun, min(length, b.runs-i))})
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
	}
	err = await(ctx, 5*time.Millisecond, 5*time.Minute, fmt.Sprintf("%d runs are recorded", b.runs), func() (bool, error) {
		n, err := count()
		return n-first >= int64(b.runs), err
	})
	return time.Since(began), err
}
