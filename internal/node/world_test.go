package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// unsynced is a segment that is not synced: hours pass in virtual time, and the disk's time is real.
type unsynced struct{ logFile }

func (unsynced) Sync() error { return nil }

// world is an etcd in memory with agents around it, in virtual time. Nothing takes the records out of etcd: all of them
// are there to look at.
type world struct {
	*testing.T
	mem   *store.Memory
	admin *store.Store
	lives int // of agents, to tell their clients apart
	all   []*life
}

// life is one life of an agent.
type life struct {
	*Agent
	w      *world
	runner *doubleRunner
	client string
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// inWorld runs a test in a world of its own, in virtual time that begins at epoch.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { live(t, f) })
}

func live(t *testing.T, f func(w *world)) {
	w := &world{T: t, mem: store.NewMemory(store.MemoryOptions{})}
	w.admin = w.mem.Client("admin")
	defer func() {
		for _, l := range w.all {
			l.runner.die()
			l.cancel()
		}
		for _, l := range w.all {
			<-l.done
			l.runner.wg.Wait()
			l.Options.Store.Close()
		}
		w.admin.Close()
		w.mem.Close()
		time.Sleep(time.Minute) // what is left of timers
	}()
	f(w)
}

// start begins a life of an agent in a folder; "" is a new one.
func (w *world) start(id job.NodeID, dir string, change ...func(*Options)) *life {
	w.Helper()
	l := w.prepare(id, dir, change...)
	l.run()
	return l
}

func (w *world) prepare(id job.NodeID, dir string, change ...func(*Options)) *life {
	w.Helper()
	if dir == "" {
		dir = w.TempDir()
	}
	w.lives++
	l := &life{w: w, runner: &doubleRunner{}, client: fmt.Sprint(id, "#", w.lives), done: make(chan struct{})}
	segment := func(path string) (SpoolFile, error) {
		f, err := createSegment(path)
		return unsynced{f}, err
	}
	o := Options{ID: id, Dir: dir, Store: w.mem.Client(l.client), Runner: l.runner, BootID: "boot", Segment: segment, SinceBoot: func() time.Duration { return time.Since(epoch) }, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&o)
	}
	a, err := New(o)
	if err != nil {
		w.Fatal(err)
	}
	l.Agent = a
	w.all = append(w.all, l)
	return l
}

func (l *life) run() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go func() {
		defer close(l.done)
		l.err = l.Agent.Run(ctx)
	}()
}

// stop ends the life in order.
func (l *life) stop() {
	l.w.Helper()
	l.cancel()
	<-l.done
	if l.err != nil {
		l.w.Fatal(l.err)
	}
	if l.spool.waiting() > 0 {
		l.w.Fatalf("%d records stayed behind", l.spool.waiting())
	}
}

// crash ends the life as kill -9 does: nothing that it does from now on counts. It returns what it leaves on its disk.
func (l *life) crash() (dir string) {
	l.w.Helper()
	l.runner.die()
	l.w.mem.Cut(l.client) // before the copy: what others have heard of is on the disk
	dir = l.w.TempDir()
	if err := os.CopyFS(dir, os.DirFS(l.Dir)); err != nil {
		l.w.Fatal(err)
	}
	l.cancel()
	return dir
}

// do carries out operations as a master does.
func (w *world) do(ops ...store.Op) {
	w.Helper()
	if _, err := w.admin.Do(context.Background(), ops...); err != nil {
		w.Fatal(err)
	}
	synctest.Wait()
}

// put stores jobs; of claimed ones the tasks are opened for claims.
func (w *world) put(jobs ...*job.Job) {
	w.Helper()
	for _, j := range jobs {
		w.do(store.PutJob(j, store.Any))
		if j.Kind.Claimed() {
			w.do(store.InitFloor(j.Ref(), epoch))
		}
	}
}

// ask stores a dispatch.
func (w *world) ask(j *job.Job, name string, change ...func(*job.Dispatch)) job.RunID {
	w.Helper()
	d := &job.Dispatch{Run: job.CauseID(name, j.Hash), Node: j.NodeID, Job: j, Trigger: job.TriggerRun, Cause: name, RequestedAt: time.Now()}
	for _, f := range change {
		f(d)
	}
	w.do(store.CreateDispatch(d))
	return d.Run
}

func (w *world) kill(node job.NodeID, run job.RunID) {
	w.Helper()
	w.do(store.CreateKill(&job.Kill{Run: run, Node: node, By: "ann", At: time.Now()}))
}

// records lists all records, in the order of their instants and begins.
func (w *world) records() []*job.ExecutionRecord {
	w.Helper()
	synctest.Wait()
	recs, _, err := w.admin.Records().List(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	slices.SortFunc(recs, func(a, b *job.ExecutionRecord) int {
		if c := a.Instant.Compare(b.Instant); c != 0 {
			return c
		}
		return a.BeginTime.Compare(b.BeginTime)
	})
	return recs
}

// record waits for the record of a run.
func (w *world) record(id job.RunID) *job.ExecutionRecord {
	w.Helper()
	for range 36_000 {
		for _, r := range w.records() {
			if r.ID == string(id) {
				return r
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.Fatalf("there is no record of %s", id)
	return nil
}

// until lets time pass up to a moment after epoch.
func (w *world) until(d time.Duration) {
	time.Sleep(time.Until(at(d)))
	synctest.Wait()
}

// outcomes writes records as one line each: instant, outcome.
func outcomes(recs []*job.ExecutionRecord) (lines []string) {
	for _, r := range recs {
		line := r.Instant.Sub(epoch).String() + " " + string(r.Outcome)
		if r.Count > 1 {
			line = r.Instant.Sub(epoch).String() + "-" + r.Until.Sub(epoch).String() + " " + string(r.Outcome)
		}
		lines = append(lines, line)
	}
	return lines
}

func (w *world) wantOutcomes(want ...string) {
	w.Helper()
	if got := outcomes(w.records()); !slices.Equal(got, want) {
		w.Fatalf("records:\n got %q\nwant %q", got, want)
	}
}

func (w *world) wait(what string, f func() bool) {
	w.Helper()
	for range 6000 {
		if synctest.Wait(); f() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.Fatalf("it never happened: %s", what)
}

func spoolFiles(t testing.TB, dir string) []string {
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}
