package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// starting measures how long it takes from the start of the program to serving, and what a client command takes.
func (b *bench) starting(ctx context.Context) ([]figure, error) {
	var boots, commands []time.Duration
	for range b.rounds {
		s, err := b.start(ctx)
		if err != nil {
			return nil, err
		}
		boots = append(boots, s.booted)
		began := time.Now()
		if out, err := exec.CommandContext(ctx, b.bin, "get", "tasks", "--server", s.client.Server(), "--data", s.dir).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("rota get tasks: %w: %s", err, out)
		}
		commands = append(commands, time.Since(began))
		if err := s.stop(); err != nil {
			return nil, err
		}
	}
	return []figure{
		{"from start to serving (`rota up`, new data folder)", ms(median(boots)), "< 500 ms", ""},
		{"a client command (`rota get tasks`)", ms(median(commands)), "< 50 ms", ""},
	}, nil
}

// lateness measures how late a single instant starts on an idle node: the command prints the time at which it runs.
func (b *bench) lateness(ctx context.Context) ([]figure, error) {
	s, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	var figures []figure
	for _, kind := range []job.KindName{"common", "interval"} {
		t := job.Task{Name: "late-" + string(kind), Command: job.Args("date", "+%s%N"), Timer: "* * * * * *", Kind: kind}
		if _, err := s.client.Apply(ctx, []job.Task{t}, client.ApplyOptions{}); err != nil {
			return nil, err
		}
		const samples = 30
		select {
		case <-time.After((samples + 3) * time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if _, err := s.client.Pause(ctx, t.Ref()); err != nil {
			return nil, err
		}
		page, err := s.client.Records(ctx, job.RecordFilter{Group: "default", Task: t.Name, Limit: samples, WithOutput: true})
		if err != nil {
			return nil, err
		}
		var late []time.Duration
		for _, r := range page.Records {
			if ns, err := strconv.ParseInt(strings.TrimSpace(r.Output), 10, 64); err == nil && r.Outcome == job.Success {
				late = append(late, time.Unix(0, ns).Sub(r.Instant))
			}
		}
		if len(late) < samples/2 {
			return nil, fmt.Errorf("only %d of %d firings were seen", len(late), samples)
		}
		figures = append(figures, figure{
			"a single " + string(kind) + " instant on an idle node: command runs after", fmt.Sprintf("p50 %s, p99 %s", ms(percentile(late, .5)), ms(percentile(late, .99))),
			"p50 < 2 ms, p99 < 10 ms", "the time printed by `date`, with its own exec",
		})
	}
	return figures, nil
}

const workers = 4

// bare is the loop that the others are measured against: fork, exec, capture, wait, with as many workers.
func bare(n int) (time.Duration, error) {
	return many(n, func() error {
		_, err := exec.Command("/bin/true").CombinedOutput()
		return err
	})
}

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
	var rates, bareRates, ratios []float64
	var added []time.Duration
	for range b.rounds {
		selfBefore, err := cpuOf(os.Getpid())
		if err != nil {
			return nil, err
		}
		took, err := bare(b.runs)
		if err != nil {
			return nil, err
		}
		selfAfter, err := cpuOf(os.Getpid())
		if err != nil {
			return nil, err
		}
		before, err := s.cpu()
		if err != nil {
			return nil, err
		}
		rota, err := b.ask(ctx, s, t.Ref())
		if err != nil {
			return nil, err
		}
		after, err := s.cpu()
		if err != nil {
			return nil, err
		}
		n := float64(b.runs)
		rates, bareRates = append(rates, n/rota.Seconds()), append(bareRates, n/took.Seconds())
		ratios = append(ratios, took.Seconds()/rota.Seconds())
		added = append(added, ((after-before)-(selfAfter-selfBefore))/time.Duration(b.runs))
	}
	return []figure{
		{"bare loop: fork, exec, capture, wait of `/bin/true`, 4 workers", fmt.Sprintf("%.0f/s", median(bareRates)), "", "the measure of the others"},
		{"one-off runs, asked for over HTTP → recorded, durable", fmt.Sprintf("%.0f/s, %.0f %% of the bare loop", median(rates), 100*median(ratios)), "≥ 90 %", "the client's requests use the same processors"},
		{"CPU that Rota adds to a run", us(median(added)), "< 150 µs", "the server's own, API, etcd and history included, less the bare loop's own"},
	}, nil
}

// ask asks for the runs and waits until history has them all.
func (b *bench) ask(ctx context.Context, s *server, ref job.TaskRef) (time.Duration, error) {
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
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < b.runs; i += 16 {
				if _, err := s.client.Run(ctx, client.RunRequest{Task: ref}); err != nil {
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
	for {
		n, err := count()
		if err != nil {
			return 0, err
		}
		if n-first >= int64(b.runs) {
			return time.Since(began), nil
		}
		if time.Since(began) > 5*time.Minute {
			return 0, fmt.Errorf("%d of %d runs are recorded after 5 minutes", n-first, b.runs)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// sameSecond measures N instants that are due in the same second: how long after it the last one starts, against
// what the bare loop takes for as many.
func (b *bench) sameSecond(ctx context.Context) ([]figure, error) {
	var figures []figure
	for _, n := range []int{100, 1000} {
		var last, half, floor []time.Duration
		for range b.rounds {
			took, err := bare(n)
			if err != nil {
				return nil, err
			}
			l, h, err := b.burst(ctx, n)
			if err != nil {
				return nil, err
			}
			last, half, floor = append(last, l), append(half, h), append(floor, took)
		}
		ratio := median(last).Seconds() / median(floor).Seconds()
		figures = append(figures, figure{
			fmt.Sprintf("%d instants due in the same second: start", n), fmt.Sprintf("p50 %s, last %s: %.2f × the bare loop", ms(median(half)), ms(median(last)), ratio),
			"last ≤ 1.15 × the bare loop", fmt.Sprintf("the bare loop takes %s for as many", ms(median(floor))),
		})
	}
	return figures, nil
}

func (b *bench) burst(ctx context.Context, n int) (last, half time.Duration, err error) {
	s, err := b.start(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer s.stop()
	at := time.Now().Add(3 * time.Second).Truncate(time.Second)
	tasks := make([]job.Task, n)
	for i := range tasks {
		tasks[i] = job.Task{Name: fmt.Sprintf("t%d", i), Command: job.Args("/bin/true"), Timer: job.Timer("@at " + at.UTC().Format(time.RFC3339))}
	}
	if _, err := s.client.Apply(ctx, tasks, client.ApplyOptions{}); err != nil {
		return 0, 0, err
	}
	var page job.Page
	for began := time.Now(); len(page.Records) < n; {
		time.Sleep(200 * time.Millisecond)
		if page, err = s.client.Records(ctx, job.RecordFilter{Limit: n}); err != nil {
			return 0, 0, err
		}
		if time.Since(began) > time.Minute {
			return 0, 0, fmt.Errorf("%d of %d firings are recorded after a minute", len(page.Records), n)
		}
	}
	var late []time.Duration
	for _, r := range page.Records {
		if r.Outcome != job.Success {
			return 0, 0, fmt.Errorf("%s: %s %s", r.TaskID, r.Outcome, r.Reason)
		}
		late = append(late, r.BeginTime.Sub(at))
	}
	return percentile(late, 1), percentile(late, .5), nil
}
