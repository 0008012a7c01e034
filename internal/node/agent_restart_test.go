package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Scenario 10: what was due while the node was away is what its catch-up policy says, and one record for what was missed.
func TestCatchupAfterRestart(t *testing.T) {
	for c, want := range map[job.Catchup][]string{
		job.CatchupNone: {"1m0s success", "2m0s-5m0s missed", "6m0s success"},
		job.CatchupOne:  {"1m0s success", "2m0s-4m0s missed", "5m0s success", "6m0s success"},
		job.CatchupAll:  {"1m0s success", "2m0s success", "3m0s success", "4m0s success", "5m0s success", "6m0s success"},
	} {
		for _, how := range []string{"stop", "crash"} {
			t.Run(string(c)+" after "+how, func(t *testing.T) {
				inWorld(t, func(w *world) {
					a := w.start("n1", "")
					w.put(newJob(t, "a", "* * * * *", catchup(c)))
					w.until(90 * time.Second)
					dir := a.Dir
					if how == "stop" {
						a.stop()
					} else {
						dir = a.crash()
					}
					w.until(5*time.Minute + 30*time.Second)
					b := w.start("n1", dir)
					w.until(6*time.Minute + 30*time.Second)
					w.wantOutcomes(want...)
					for n, x := range b.runner.started() {
						if n > 0 && x.begin.Before(b.runner.started()[n-1].end(t)) {
							t.Error("what is caught up does not come in order")
						}
					}
				})
			})
		}
	}
}

// ancestor 12, 29: a restart does not end a cycle job, and the wall clock may step while the agent runs.
func TestClockStepsWhileItRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		var off atomic.Int64
		w.start("n1", "", func(o *Options) {
			o.Now = func() time.Time { return time.Now().Round(0).Add(time.Duration(off.Load())) }
		})
		w.put(newJob(t, "a", "* * * * *"))
		w.until(90 * time.Second)
		off.Store(int64(10 * time.Minute))
		w.until(95 * time.Second) // noticed within 2 s
		w.wantOutcomes("1m0s success", "2m0s-11m0s missed")
		off.Store(0)
		w.until(11*time.Minute + 30*time.Second)
		w.wantOutcomes("1m0s success", "2m0s-11m0s missed") // no instant repeats
		w.until(12*time.Minute + 30*time.Second)
		w.wantOutcomes("1m0s success", "2m0s-11m0s missed", "12m0s success")
	})
}

// ancestor 22, 36, 38: what ran when the agent was killed is ended by its whole identity, and recorded as lost.
func TestLostRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) { x.takes(time.Hour) }
		a.run()
		w.put(newJob(t, "a", "* * * * *"))
		w.until(50 * time.Second)
		asked := w.ask(newJob(t, "b", ""), "one")
		w.until(70 * time.Second)
		dir := a.crash()
		var ended []string
		w.start("n1", dir, func(o *Options) {
			o.Leftover = func(p *job.Process) error {
				ended = append(ended, fmt.Sprint(p.Name, p.Pid(), p.BootID, p.StartTicks))
				if p.Name == "b" {
					return fmt.Errorf("no such right")
				}
				return nil
			}
		})
		w.until(71 * time.Second)
		if n, _ := w.admin.Online().Count(context.Background()); n != 1 {
			t.Fatalf("%d nodes are online", n)
		}
		if p, err := w.admin.Online().Get(context.Background(), "n1"); err != nil || p.Session != a.session {
			t.Errorf("the locks of a life whose processes live on are given away: %v, %v", p, err)
		}
		w.until(90 * time.Second)
		if slices.Sort(ended); !slices.Equal(ended, []string{"a2boot2", "b1boot1"}) {
			t.Errorf("ended %q", ended)
		}
		rec := w.record(asked)
		if rec.Outcome != job.Lost || !strings.Contains(rec.Reason, "process 1 may still be alive") || rec.Session != a.session {
			t.Errorf("%+v", rec)
		}
		if recs := w.records(); len(recs) != 2 || recs[1].Outcome != job.Lost {
			t.Errorf("%q", outcomes(recs))
		}
		if n, _ := w.admin.Dispatches().Count(context.Background()); n != 0 {
			t.Error("the dispatch stays")
		}
	})
}

// Scenario 3, ancestor 14, 15: the agent is killed at each step of a dispatch, of a common and of an interval firing. Nothing
// starts twice, everything ends in one outcome, and that does not change.
func TestCrashAtEachStep(t *testing.T) {
	for name, guard := range map[string]bool{"runs die with their agent": false, "runs outlive it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := 0
			for crashed := true; crashed && !t.Failed(); step++ {
				synctest.Test(t, func(t *testing.T) {
					live(t, func(w *world) { crashed = w.crashAt(step, guard) })
				})
			}
			if t.Failed() || step < 30 {
				t.Errorf("at step %d", step-1)
			}
		})
	}
}

// crashAt lets an agent live until its step k, if it comes to that, and another one after it. With a guard, what was started
// is never lost.
func (w *world) crashAt(k int, guard bool) (crashed bool) {
	t, seen := w.T, 0
	history := map[string][]job.Outcome{} // what etcd held of each record
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := w.admin.Records().Watch(ctx).Events()
	go func() {
		for batch := range events {
			for _, e := range batch {
				if e.Type == store.Put {
					history[e.Value.ID] = append(history[e.Value.ID], e.Value.Outcome)
				}
			}
		}
	}()
	var change []func(*Options)
	if guard {
		change = append(change, inGuard(&doubleGuard{}))
	}
	a := w.prepare("n1", "", change...)
	dir := ""
	var mu sync.Mutex
	step := func() error {
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen != k+1 || dir != "" {
			return nil
		}
		dir = a.crash()
		return store.ErrCut
	}
	a.runner.refuse = func(job.Exec) error { return step() }
	a.runner.behave = func(x *doubleExec) {
		time.Sleep(300 * time.Millisecond)
		if step() != nil && !guard {
			x.takes(time.Hour) // its end is not heard of
		}
	}
	w.mem.OnCall(func(_ context.Context, c store.Call) error {
		if c.Client == a.client && c.Op == "txn" {
			return step()
		}
		return nil
	})
	common := newJob(t, "common", "*/5 * * * * *", catchup(job.CatchupAll))
	interval := newJob(t, "interval", "*/5 * * * * *", kind(job.KindInterval))
	w.put(common, interval)
	a.run()
	w.until(6 * time.Second)
	asked := []job.RunID{
		w.ask(newJob(t, "asked", ""), "one"), w.ask(newJob(t, "asked", ""), "two"),
		w.ask(newJob(t, "alone", "", kind(job.KindAlone)), "three"),
	}
	w.until(12 * time.Second)
	mu.Lock()
	if crashed = dir != ""; !crashed {
		dir = a.crash()
	}
	mu.Unlock()
	w.until(13 * time.Second)
	w.start("n1", dir, change...)
	w.until(22 * time.Second)
	cancel()
	synctest.Wait()

	starts := map[job.RunID]int{}
	for _, x := range w.started() {
		if starts[x.Run]++; starts[x.Run] > 1 {
			t.Errorf("%v started twice", x.Env)
		}
	}
	for id, all := range history {
		if all = slices.Compact(all); len(all) > 1 {
			t.Errorf("record %s: %v", id, all)
		}
		if guard && starts[job.RunID(id)] > 0 && all[0] != job.Success {
			t.Errorf("%s was started, and is told as %s", id, all[0])
		}
	}
	for _, run := range asked {
		if got := history[string(run)]; len(got) == 0 || got[0] != job.Success && got[0] != job.Lost && got[0] != job.Skipped {
			t.Errorf("%s ended in %v, %d starts", run, got, starts[run])
		}
	}
	for i := 1; i <= 4; i++ {
		id := common.Firing(at(time.Duration(i) * 5 * time.Second))
		if got := history[string(id)]; len(got) == 0 || got[0] != job.Success && got[0] != job.Lost {
			t.Errorf("instant %d ended in %v, %d starts; %v", i, got, starts[id], maps.Keys(history))
		}
	}
	if n, err := w.admin.Dispatches().Count(context.Background()); err != nil || n != 0 {
		t.Errorf("%d dispatches are left", n)
	}
	return crashed
}

// The begins of a common job's instants are in the log in their order, though all of them start at once: else a crash in
// between would leave one behind the cursor.
func TestBeginsAreInOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) { x.takes(time.Hour) }
		w.put(newJob(t, "a", "* * * * * *", catchup(job.CatchupAll), overlap(job.OverlapAllow)))
		w.until(500 * time.Second)
		a.run()
		w.wait("all are alive", func() bool { return len(a.runner.started()) >= 500 })
		var last time.Time
		n := 0
		for _, name := range spoolFiles(t, filepath.Join(a.Dir, "spool")) {
			log, err := os.ReadFile(name)
			must(t, err)
			for line := range bytes.Lines(log) {
				if kind, body, ok := parseLine(line); ok && kind == 'B' {
					var o openRun
					must(t, json.Unmarshal(body, &o))
					if n++; !o.Record.Instant.After(last) {
						t.Fatalf("%s stands behind %s", o.Record.Instant, last)
					}
					last = o.Record.Instant
				}
			}
		}
		if n < 500 {
			t.Errorf("%d begins", n)
		}
	})
}

// A run that was refused stays so when the agent is killed before anybody hears of it.
func TestRefusedDispatchAfterCrash(t *testing.T) {
	inWorld(t, func(w *world) {
		full := func(o *Options) { o.Window = 1 }
		a := w.prepare("n1", "", full)
		a.runner.behave = func(x *doubleExec) {
			if x.pid > 1 {
				x.takes(time.Hour)
			}
		}
		a.run()
		j := newJob(t, "a", "")
		first := w.record(w.ask(j, "zero")) // fills the window
		w.ask(j, "one")
		second := w.ask(j, "two")
		w.wait("it is refused", func() bool { return a.spool.waiting() == 1 })
		b := w.start("n1", a.crash(), full)
		w.until(time.Since(epoch) + 5*time.Second)
		w.do(store.DeleteRecord("n1", first.ID, 0)) // there is room again
		if rec := w.record(second); rec.Outcome != job.Skipped || len(b.runner.started()) > 0 {
			t.Errorf("%s; %d runs", rec.Outcome, len(b.runner.started()))
		}
	})
}

// What waits when the agent stops is not given up: the next life comes to it.
func TestStopWhileThingsWait(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) { x.takes(time.Hour) }
		a.run()
		w.put(newJob(t, "a", "0 * * * * *", overlap(job.OverlapQueue), catchup(job.CatchupAll)),
			newJob(t, "b", "0 * * * * *", overlap(job.OverlapQueue), kind(job.KindInterval)))
		j := newJob(t, "c", "", overlap(job.OverlapQueue))
		first := w.ask(j, "first")
		second := w.ask(j, "second")
		w.until(3*time.Minute + 30*time.Second)
		a.stop()
		// a ran at 1m; b was claimed at 1m, 2m and 3m and waits for nobody else
		w.wantOutcomes(w.zero()+" killed", "1m0s killed", "1m0s killed", "2m0s missed", "3m0s missed")
		w.start("n1", a.Dir)
		w.until(4*time.Minute + 30*time.Second)
		if rec := w.record(second); rec.Outcome != job.Success {
			t.Errorf("%+v", rec)
		}
		if rec := w.record(first); rec.Outcome != job.Killed || rec.Reason != "killed by "+stopCause {
			t.Errorf("%+v", rec)
		}
		w.wantOutcomes(w.zero()+" killed", w.zero()+" success", "1m0s killed", "1m0s killed", "2m0s missed", "2m0s success",
			"3m0s missed", "3m0s success", "4m0s success", "4m0s success")
	})
}

// zero is how outcomes writes the instant of a run that has none.
func (w *world) zero() string { return time.Time{}.Sub(epoch).String() }

// A process that does not end keeps nobody for ever: after the grace it is killed without, and if that does
// not help either it is left behind, and lost.
func TestStopWithRunsThatDoNotEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		undead := make(chan struct{})
		a.runner.behave = func(x *doubleExec) { x.setStubborn(true); x.takes(time.Hour) }
		a.run()
		run := w.ask(newJob(t, "a", ""), "one")
		before := time.Now()
		a.stop()
		if took := time.Since(before); took < a.StopGrace || took > a.StopGrace+time.Second {
			t.Errorf("it took %s", took)
		}
		if rec := w.record(run); rec.Outcome != job.Killed || rec.Signal != "SIGKILL" {
			t.Errorf("%+v", rec)
		}

		b := w.prepare("n1", a.Dir)
		b.Runner = undeadRunner{undead}
		b.run()
		run = w.ask(newJob(t, "a", ""), "two")
		before = time.Now()
		b.cancel()
		<-b.done
		if took := time.Since(before); took > b.StopGrace+killPatience+b.StopGrace {
			t.Errorf("it took %s", took)
		}
		c := w.start("n1", a.Dir)
		if rec := w.record(run); rec.Outcome != job.Lost {
			t.Errorf("%+v", rec)
		}
		close(undead)
		synctest.Wait()
		c.stop()
	})
}

// undeadRunner makes executions that nothing ends.
type undeadRunner struct{ end chan struct{} }

func (r undeadRunner) Start(context.Context, job.Exec) (job.Execution, error) { return undead(r), nil }

type undead struct{ end chan struct{} }

func (undeadRunner) Hold(time.Duration) {}

func (undead) Release()                      {}
func (undead) Pid() int                      { return 1 }
func (undead) StartTicks() uint64            { return 1 }
func (undead) Kill(string)                   {}
func (undead) KillNow(string)                {}
func (undead) Publish()                      {}
func (undead) Progress() <-chan job.Progress { return nil }
func (u undead) Done() <-chan struct{}       { return u.end }
func (undead) Exit() job.Exit                { return job.Exit{Outcome: job.Killed} }

// A stop that leaves commands to the next life ends first what has no process, also a run that only just begins: nobody could take it up.
func TestAStopThatLeavesRunsEndsThoseWithoutAProcess(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		begins, begin := make(chan struct{}), make(chan struct{})
		a.runner.nextPid = -1 // the first execution has no process
		a.runner.refuse = func(job.Exec) error {
			close(begins)
			<-begin
			return nil
		}
		a.runner.behave = func(x *doubleExec) { x.takes(time.Hour) }
		a.run()
		run := w.ask(newJob(t, "a", ""), "one")
		<-begins
		a.LeaveRuns()
		a.cancel()
		synctest.Wait() // it leaves
		close(begin)
		<-a.done
		w.start("n1", a.Dir)
		if rec := w.record(run); rec.Outcome != job.Killed || rec.Reason != "killed by "+stopCause || rec.EndTime.Sub(rec.BeginTime) >= a.StopGrace {
			t.Errorf("%+v", rec)
		}
	})
}
