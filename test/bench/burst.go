package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rota-dev/rota/job"
)

// sameSecond measures N instants that are due in the same second: how long after it the last one starts, against what the bare loop
// takes for as many. Each makes a folder of its own: what is lost is not there, and what is doubled fails.
func (b *bench) sameSecond(ctx context.Context) ([]figure, error) {
	var figures []figure
	for i, n := range []int{100, 1000, 10_000} {
		n := b.size(n, 10*(i+1))
		name := fmt.Sprintf("%d instants due in the same second", n)
		ratio := figure{Key: fmt.Sprintf("burst/%d/ratio", n), What: name + ": the last starts after × the bare loop for as many", Unit: "×", Goal: atMost(1.15)}
		half := figure{Key: fmt.Sprintf("burst/%d/p50", n), What: name + ": start, p50", Unit: "ms"}
		last := figure{Key: fmt.Sprintf("burst/%d/last", n), What: name + ": start, last", Unit: "ms"}
		wrong := figure{Key: fmt.Sprintf("burst/%d/wrong", n), What: name + ": in all rounds", Unit: "lost or doubled", Goal: atMost(0), Note: "each `mkdir` a folder of its own, 100 others having warmed the server up"}
		for range b.rounds {
			floor, err := b.bareFolders(n)
			if err != nil {
				return nil, err
			}
			r, err := b.burst(ctx, n)
			if err != nil {
				return nil, err
			}
			ratio.Rounds = append(ratio.Rounds, r.last.Seconds()/floor.Seconds())
			half.Rounds, last.Rounds = append(half.Rounds, inMS(r.half)), append(last.Rounds, inMS(r.last))
			wrong.Rounds = append(wrong.Rounds, float64(r.wrong))
		}
		figures = append(figures, ratio, half, last, wrong)
	}
	return figures, nil
}

// bareFolders is the bare loop with the command of the burst.
func (b *bench) bareFolders(n int) (time.Duration, error) {
	dir := b.folder()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	return many(n, func(i int64) error {
		_, err := exec.Command("/bin/mkdir", filepath.Join(dir, fmt.Sprint("t", i))).CombinedOutput()
		return err
	})
}

// burstResult is when the commands of a burst began, after the second in which they were due, and how many did not run once.
type burstResult struct {
	half, last time.Duration
	wrong      int
}

func (b *bench) burst(ctx context.Context, n int) (r burstResult, err error) {
	s, err := b.start(ctx)
	if err != nil {
		return r, err
	}
	defer s.stop()
	dir := b.folder()
	if err := os.Mkdir(dir, 0o777); err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	if err := s.warm(ctx, b.size(100, 5)); err != nil {
		return r, err
	}
	ready := 3*time.Second + time.Duration(n)*4*time.Millisecond // all jobs are on the node by then, or some would be missed
	at := time.Now().Add(ready).Truncate(time.Second)
	tasks := make([]job.Task, n)
	for i := range tasks {
		name := fmt.Sprint("t", i)
		tasks[i] = job.Task{Name: name, Command: job.Args("/bin/mkdir", filepath.Join(dir, name)), Timer: job.Timer("@at " + at.UTC().Format(time.RFC3339))}
	}
	if err := s.apply(ctx, tasks); err != nil {
		return r, err
	}
	if err := pause(ctx, time.Until(at)); err != nil {
		return r, err
	}
	var all int64
	if err := await(ctx, 500*time.Millisecond, 3*time.Minute, fmt.Sprintf("%d instants are recorded", n), func() (bool, error) {
		counts, err := s.counts(ctx, job.StatsFilter{Group: "default"})
		all = 0
		for _, c := range counts {
			all += c
		}
		return all >= int64(n), err
	}); err != nil {
		return r, err
	}
	var late []time.Duration
	seen := map[string]bool{}
	for rec, err := range s.client.EachRecord(ctx, job.RecordFilter{Group: "default", Limit: 1000}) {
		if err != nil {
			return r, err
		}
		if rec.Outcome != job.Success || seen[rec.TaskID] {
			r.wrong++
			fmt.Fprintf(b.log, "%s: %s %s\n", rec.TaskID, rec.Outcome, rec.Reason)
			continue
		}
		seen[rec.TaskID] = true
		late = append(late, rec.BeginTime.Sub(at))
	}
	made, err := os.ReadDir(dir)
	if err != nil {
		return r, err
	}
	r.wrong += max(n-len(made), n-len(late))
	if len(late) == 0 {
		return r, fmt.Errorf("none of %d instants ran", n)
	}
	r.half, r.last = percentile(late, .5), percentile(late, 1)
	return r, nil
}

// warm has tasks of a group of their own fire together, so that what is measured after it is not the first that the process ever executes.
func (s *server) warm(ctx context.Context, n int) error {
	at := time.Now().Add(2500 * time.Millisecond).Truncate(time.Second)
	tasks := make([]job.Task, n)
	for i := range tasks {
		tasks[i] = job.Task{Group: "warm", Name: fmt.Sprint("t", i), Command: job.Args("/bin/true"), Timer: job.Timer("@at " + at.UTC().Format(time.RFC3339))}
	}
	if err := s.apply(ctx, tasks); err != nil {
		return err
	}
	return await(ctx, 100*time.Millisecond, time.Minute, fmt.Sprintf("%d instants have warmed the server up", n), func() (bool, error) {
		counts, err := s.counts(ctx, job.StatsFilter{Group: "warm"})
		var all int64
		for _, c := range counts {
			all += c
		}
		return all >= int64(n), err
	})
}
