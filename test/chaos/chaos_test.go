package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/harness"
)

// Both may be said: how long, and with which seed. By itself the test is short, and its seed is always the same.
func options(t *testing.T) (length time.Duration, seed uint64) {
	t.Helper()
	length, seed = 10*time.Second, 3
	if s := os.Getenv("ROTA_CHAOS_SECONDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 {
			t.Fatalf("ROTA_CHAOS_SECONDS is %q", s)
		}
		length, seed = time.Duration(n)*time.Second, rand.Uint64N(1_000_000)
	}
	if s := os.Getenv("ROTA_CHAOS_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("ROTA_CHAOS_SEED is %q", s)
		}
		seed = n
	}
	return length, seed
}

// duties are the tasks of a cluster.
func (k *cluster) duties() []duty {
	var all []job.NodeID
	for _, n := range k.nodes {
		all = append(all, job.NodeID(n.name))
	}
	return []duty{
		{job.Task{Name: "common", Kind: "common", Timer: "*/2 * * * * *", Command: k.witness(0)}, all},
		{job.Task{Name: "common-catchup", Kind: "common", Timer: "*/5 * * * * *", Command: k.witness(0), Catchup: job.CatchupAll}, all},
		{job.Task{Name: "interval", Kind: "interval", Timer: "* * * * * *", Command: k.witness(50 * time.Millisecond)}, nil},
		{job.Task{Name: "interval-catchup", Kind: "interval", Timer: "*/3 * * * * *", Command: k.witness(0), Catchup: job.CatchupOne}, nil},
		{job.Task{Name: "alone", Kind: "alone", Timer: "* * * * * *", Command: k.witness(400 * time.Millisecond)}, nil},
		{job.Task{Name: "alone-long", Kind: "alone", Timer: "*/3 * * * * *", Grace: job.Duration(time.Second), Command: k.witness(5*time.Second, "deaf")}, nil},
		{job.Task{Name: "asked", Kind: "interval", Overlap: job.OverlapAllow, Concurrency: 100, Command: k.witness(100 * time.Millisecond)}, nil},
		{job.Task{Name: "first", Mode: job.OnlyOnce, Kind: "common", Command: k.witness(time.Second)}, all},
		{job.Task{Name: "first-in-trouble", Mode: job.OnlyOnce, Kind: "common", Command: k.witness(time.Second)}, all},
	}
}

// A cluster in trouble keeps its five promises: see docs/guarantees.md.
func TestChaos(t *testing.T) {
	length, seed := options(t)
	k := start(t)
	duties := k.duties()
	if err := os.WriteFile(k.journal(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.apply(t.Context(), duties[:len(duties)-1])
	e := &evidence{from: time.Now().Add(time.Second)}
	k.eventually("each node has run what is common", func(context.Context) error {
		lives, err := readJournal(k.journal())
		if err != nil {
			return err
		}
		at := map[job.NodeID]bool{}
		for _, l := range lives {
			at[l.node] = true
		}
		if len(at) < nodeCount {
			return fmt.Errorf("%d have", len(at))
		}
		return nil
	})

	t.Logf("seed %d, %s; its schedule is %s", seed, length, filepath.Join(k.w.dir, "schedule.log"))
	x := newTrouble(k, seed, length)
	ctx, stop := context.WithCancel(t.Context())
	keys := &asker{k: k, runs: map[string][]job.RunID{}}
	var others sync.WaitGroup
	others.Go(func() { keys.ask(ctx) })
	others.Go(func() {
		select {
		case <-time.After(length / 3):
			k.apply(t.Context(), duties[len(duties)-1:])
		case <-ctx.Done():
		}
	})
	x.make()
	stop()
	others.Wait()
	if t.Failed() {
		return
	}
	k.apply(t.Context(), duties[len(duties)-1:])
	k.whole()
	keys.again(t)
	e.to = time.Now().Add(2 * time.Second)
	for _, s := range x.exits {
		t.Errorf("independent: %s ended, and nobody had told it to", s)
	}
	k.settle(e, duties, keys)
	e.asked, e.clocks, e.deaf = keys.runs, x.clocks, x.deaf
	var err error
	if e.lives, err = readJournal(k.journal()); err != nil {
		t.Fatal(err)
	}
	v := e.judge(duties)
	for _, f := range v.faults {
		t.Error(f)
	}
	for _, d := range duties {
		t.Logf("%-17s %v", d.Name, v.outcomes[d.Name])
	}
	t.Logf("%d runs, %d requests, %d faults, %d overlaps while a guard was stopped", len(e.lives), len(keys.runs), len(x.events)/2, v.excused)
	var stopping sync.WaitGroup
	for _, m := range slices.Concat(k.nodes, k.masters) {
		stopping.Go(m.p.Stop)
	}
	stopping.Wait()
}

// apply applies tasks, as often as it takes.
func (k *cluster) apply(ctx context.Context, duties []duty) {
	var tasks []job.Task
	for _, d := range duties {
		tasks = append(tasks, d.Task)
	}
	for end := time.Now().Add(patience); ; {
		once, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := k.c.Apply(once, tasks, client.ApplyOptions{})
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil || time.Now().After(end) {
			k.t.Errorf("apply: %v", err)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// asker asks for runs, each under a key of its own, now and then twice at once.
type asker struct {
	k    *cluster
	mu   sync.Mutex
	keys []string
	runs map[string][]job.RunID // by key: all that was ever answered
}

func (a *asker) ask(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprint("key-", i)
		a.mu.Lock()
		a.keys = append(a.keys, key)
		a.mu.Unlock()
		for range 1 + i%2 {
			wg.Go(func() {
				once, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
				defer cancel()
				_ = a.one(once, key) // what is not answered is asked again at the end
			})
		}
		select {
		case <-time.After(500 * time.Millisecond): // a load, and no wait for anything
		case <-ctx.Done():
		}
	}
}

// one asks under a key.
func (a *asker) one(ctx context.Context, key string) error {
	got, err := a.k.c.Run(ctx, client.RunRequest{Task: job.Ref("", "asked"), Key: key})
	if err != nil {
		return err
	}
	if len(got.Runs) != 1 {
		return fmt.Errorf("the answer has %d runs", len(got.Runs))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.runs[key], got.Runs[0].Run) {
		a.runs[key] = append(a.runs[key], got.Runs[0].Run)
	}
	return nil
}

// again asks under all keys: those that were answered must have the same answer, the others get one now.
func (a *asker) again(t *testing.T) {
	for _, key := range a.keys {
		a.k.eventually("the key "+key+" has its run", func(ctx context.Context) error { return a.one(ctx, key) })
	}
	t.Logf("%d keys were asked for again", len(a.keys))
}

// settle waits until everything is accounted for, and reads history.
func (k *cluster) settle(e *evidence, duties []duty, keys *asker) {
	k.t.Helper()
	k.eventually("everything is accounted for", func(ctx context.Context) error {
		e.records = map[string][]job.ExecutionRecord{}
		for _, d := range duties {
			var err error
			if e.records[d.Name], err = harness.Records(ctx, k.c, d.Ref()); err != nil {
				return err
			}
			if d.Timer == "" {
				continue
			}
			owed := e.accounts(d)
			maps.DeleteFunc(owed, func(_ place, r []job.ExecutionRecord) bool { return len(r) > 0 })
			for p := range owed {
				return fmt.Errorf("%s: nothing is told of %d instants, such as %s %s", d.Name, len(owed), p.instant, p.node)
			}
		}
		told := map[string]bool{}
		for _, r := range slices.Concat(e.records["asked"], e.records["first"], e.records["first-in-trouble"]) {
			told[r.ID], told[r.Name+string(r.Node)] = true, true
		}
		for key, runs := range keys.runs {
			for _, run := range runs {
				if !told[string(run)] {
					return fmt.Errorf("nothing is told of run %s of the key %s", run, key)
				}
			}
		}
		for _, n := range k.nodes {
			if !told["first"+n.name] || !told["first-in-trouble"+n.name] {
				return errors.New("nothing is told of what runs once on " + n.name)
			}
		}
		lives, err := readJournal(k.journal())
		if err != nil {
			return err
		}
		for _, l := range lives { // what runs once and was lost may run again
			if (l.task == "first" || l.task == "first-in-trouble") && !told[l.run] {
				return fmt.Errorf("nothing is told of %s", l.run)
			}
		}
		return nil
	})
}
