package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// claimedOn makes the same claimed job for each of three nodes.
func claimedOn(t *testing.T, name, timer string, change ...func(*job.Job)) (jobs []*job.Job) {
	all := []job.NodeID{"n1", "n2", "n3"}
	for _, id := range all {
		jobs = append(jobs, newJob(t, name, timer, append([]func(*job.Job){on(id), func(j *job.Job) { j.Candidates = all }}, change...)...))
	}
	return jobs
}

// started lists the executions of all lives, in the order of their begins.
func (w *world) started() (all []*doubleExec) {
	for _, l := range w.all {
		all = append(all, l.runner.started()...)
	}
	slices.SortFunc(all, func(a, b *doubleExec) int { return a.begin.Compare(b.begin) })
	return all
}

// ancestor 1, 2, 12: an interval job runs each instant once, on whichever of its nodes is there, while they are killed,
// stopped, started again and cut off.
func TestIntervalOnceUnderChurn(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				rng := rand.New(rand.NewPCG(seed, 1))
				jobs := claimedOn(t, "a", "*/10 * * * * *", kind(job.KindInterval), catchup(job.CatchupAll))
				w.put(jobs...)
				ids := []job.NodeID{"n1", "n2", "n3"}
				lives := map[job.NodeID]*life{}
				for _, id := range ids {
					lives[id] = w.start(id, "")
				}
				for range 40 {
					time.Sleep(time.Duration(rng.IntN(20_000)) * time.Millisecond)
					id := ids[rng.IntN(3)]
					switch l := lives[id]; rng.IntN(4) {
					case 0:
						l.stop()
						lives[id] = w.start(id, l.Dir)
					case 1:
						lives[id] = w.start(id, l.crash())
					case 2:
						lives[id] = w.start(id, l.crash(), func(o *Options) { o.Now = skewed(time.Duration(rng.IntN(120)-60) * time.Second) })
					case 3:
						w.mem.Cut(l.client)
						time.Sleep(time.Duration(rng.IntN(30_000)) * time.Millisecond)
						w.mem.Heal(l.client)
					}
				}
				now := time.Since(epoch)
				time.Sleep(5 * time.Minute)
				times := map[job.RunID]int{}
				for _, x := range w.started() {
					if times[x.Run]++; times[x.Run] > 1 {
						t.Errorf("instant %v started twice", x.Env)
					}
				}
				ran, settled := 0, map[string]bool{}
				for _, r := range w.records() {
					settled[r.ID] = true
				}
				claims, _, err := w.admin.Claims().List(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				claimed := map[job.RunID]*job.Claim{}
				for _, c := range claims {
					claimed[job.FiringID(c.Task, "", c.Instant)] = c
				}
				for i := at(10 * time.Second); i.Before(at(now)); i = i.Add(10 * time.Second) {
					id := jobs[0].Firing(i)
					ran += times[id]
					// What was claimed by a life that crashed is the audit's to settle; anything else has its record.
					if c := claimed[id]; c != nil && !settled[string(id)] && lives[c.Node].session == c.Session {
						t.Errorf("instant %s: %s claimed it and says nothing", i, c.Node)
					}
				}
				if due := int(now / (10 * time.Second)); ran < due*9/10 {
					t.Errorf("%d of %d instants ran", ran, due)
				}
			})
		})
	}
}

// skewed is a wall clock that is off.
func skewed(d time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Round(0).Add(d) }
}

// A claim that was made, and whose answer was lost until the instant's time was over, is settled by its holder. Nobody
// else could.
func TestClaimWhoseAnswerIsLost(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		w.put(newJob(t, "a", "* * * * *", kind(job.KindInterval), func(j *job.Job) { j.Deadline = 20 }))
		w.until(time.Minute - time.Second)
		cut := true
		w.mem.OnCall(func(_ context.Context, c store.Call) error {
			if cut && c.Client == a.client && c.After && c.Op == "txn" {
				return store.ErrCut
			}
			return nil
		})
		w.until(100 * time.Second)
		w.mem.Cut(a.client)
		w.until(110 * time.Second)
		cut = false
		w.mem.Heal(a.client)
		w.until(3*time.Minute + time.Second)
		recs := w.records()
		if got := outcomes(recs); !slices.Equal(got, []string{"1m0s missed", "2m0s success", "3m0s success"}) {
			t.Fatalf("%q", got)
		}
		if len(a.runner.started()) != 2 {
			t.Error("what was told to be missed was started")
		}
	})
}

// With etcd away, an interval job waits for its claim until its deadline.
func TestClaimWaitsForEtcd(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		w.put(newJob(t, "a", "* * * * *", kind(job.KindInterval)), newJob(t, "b", "*/10 * * * * *"))
		w.until(55 * time.Second)
		w.mem.Cut(a.client)
		w.until(85 * time.Second)
		if n := len(a.runner.started()); n != 8 {
			t.Errorf("%d runs of the common job, want 8", n)
		}
		w.mem.Heal(a.client)
		w.until(90*time.Second - time.Millisecond)
		x := a.runner.started()[8]
		if !slices.Contains(x.Env, "ROTA_TASK=a") || x.begin.Before(at(85*time.Second)) {
			t.Errorf("%v at %s", x.Env, x.begin)
		}
	})
}

// ancestor 37: an alone job's runs never overlap, wherever they are due and however they end.
func TestAloneNeverOverlaps(t *testing.T) {
	for _, o := range []job.Overlap{job.OverlapSkip, job.OverlapQueue, job.OverlapReplace} {
		t.Run(string(o), func(t *testing.T) {
			inWorld(t, func(w *world) {
				jobs := claimedOn(t, "a", "*/10 * * * * *", kind(job.KindAlone), overlap(o))
				w.put(jobs...)
				for _, id := range []job.NodeID{"n1", "n2", "n3"} {
					l := w.prepare(id, "")
					l.runner.behave = func(x *doubleExec) { x.takes(17 * time.Second) }
					l.run()
				}
				w.until(3 * time.Minute)
				w.ask(jobs[1], "by hand")
				for _, j := range jobs {
					w.do(store.DeleteJob(j.NodeID, j.Hash, 0))
				}
				time.Sleep(10 * time.Minute)
				all := w.started()
				if most := mostAlive(all); most != 1 {
					t.Errorf("%d were alive at a time", most)
				}
				var fence int
				for _, x := range all {
					i := slices.IndexFunc(x.Env, func(e string) bool { return strings.HasPrefix(e, "ROTA_FENCE=") })
					var f int
					fmt.Sscanf(x.Env[i], "ROTA_FENCE=%d", &f)
					if f <= fence {
						t.Errorf("fence %d after %d", f, fence)
					}
					fence = f
					if x.Tied == 0 {
						t.Error("a run of an alone task must die with its agent")
					}
				}
				count := map[job.Outcome]int{}
				for _, r := range w.records() {
					count[r.Outcome]++
				}
				t.Logf("%v", count)
				switch o {
				case job.OverlapSkip:
					if count[job.Success] < 8 || count[job.Skipped] < 8 || count[job.Success]+count[job.Skipped] != 19 {
						t.Error(count)
					}
				case job.OverlapQueue:
					if count[job.Success] < 9 || count[job.Success]+count[job.Skipped] != 19 {
						t.Error(count)
					}
				}
				if locks, err := w.admin.Locks().Count(context.Background()); err != nil || locks != 0 {
					t.Errorf("%d locks are left, %v", locks, err) // ancestor 5
				}
			})
		})
	}
}

// ancestor 4, 39: a lease that is lost ends the runs of alone jobs before it lapses, and no other; those are registered again.
func TestLeaseLost(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) {
			x.setStubborn(slices.Contains(x.Env, "ROTA_TASK=stubborn"))
			x.takes(time.Hour)
		}
		a.run()
		common := w.ask(newJob(t, "common", ""), "one")
		alone := w.ask(newJob(t, "alone", "", kind(job.KindAlone)), "two")
		stubborn := w.ask(newJob(t, "stubborn", "", kind(job.KindAlone)), "three")
		w.until(30 * time.Second)
		if n, _ := w.admin.Processes().Count(context.Background(), "n1"); n != 3 {
			t.Fatalf("%d processes", n)
		}
		w.mem.Cut(a.client)
		lost := time.Time{}
		w.wait("the lease lapses", func() bool {
			n, _ := w.admin.Online().Count(context.Background())
			lost = time.Now()
			return n == 0
		})
		byRun := map[job.RunID]*doubleExec{}
		for _, x := range a.runner.started() {
			byRun[x.Run] = x
		}
		for _, run := range []job.RunID{alone, stubborn} {
			if end := byRun[run].end(t); !end.Before(lost) {
				t.Errorf("it ended %s after the lease", end.Sub(lost))
			}
		}
		if x := byRun[stubborn]; x.exit.Signal != "SIGKILL" || !x.wasKilled() {
			t.Errorf("%+v", x.exit)
		}
		w.mem.Heal(a.client)
		w.until(time.Since(epoch) + 20*time.Second)
		list, _, _ := w.admin.Processes().List(context.Background(), "n1")
		if len(list) != 1 || list[0].Run != common { // ancestor 40: no ghosts
			t.Errorf("%d processes are registered again", len(list))
		}
		if n, _ := w.admin.Online().Count(context.Background()); n != 1 {
			t.Error("the node is not online again")
		}
		if rec := w.record(alone); rec.Outcome != job.Killed || rec.Reason != "killed by "+leaseCause {
			t.Errorf("%+v", rec)
		}
	})
}

// An alone job does not start under a lease that is about to lapse.
func TestAloneDoesNotStartOnALostLease(t *testing.T) {
	inWorld(t, func(w *world) {
		time.Sleep(700 * time.Millisecond)
		a := w.start("n1", "") // the lease is renewed at 50.7 s
		w.put(newJob(t, "a", "0 * * * * *", kind(job.KindAlone)))
		w.until(52 * time.Second)
		w.mem.OnCall(func(_ context.Context, c store.Call) error {
			if c.Op == "keepalive" || c.Op == "grant" {
				return store.ErrCut
			}
			return nil
		})
		w.until(61 * time.Second)
		w.mem.OnCall(nil)
		w.until(2*time.Minute + time.Second)
		if runs := a.runner.started(); len(runs) != 1 {
			t.Errorf("%d runs", len(runs))
		}
		w.wantOutcomes("1m0s killed", "2m0s success")
	})
}

// What was claimed while the job was deleted or paused does not run.
func TestDeletedWhileItWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.prepare("n1", "")
		a.runner.behave = func(x *doubleExec) { x.takes(time.Hour) }
		a.run()
		queued := newJob(t, "queued", "0 * * * * *", overlap(job.OverlapQueue))
		alone := newJob(t, "alone", "0 * * * * *", kind(job.KindAlone), overlap(job.OverlapQueue))
		cut := newJob(t, "cut", "5 * * * * *", kind(job.KindInterval))
		other := w.prepare("n2", "")
		other.runner.behave = a.runner.behave
		other.run()
		w.put(queued, alone, cut)
		w.ask(newJob(t, "alone", "", kind(job.KindAlone), on("n2")), "holds the lock")
		w.until(2*time.Minute + time.Second)
		w.mem.OnCall(func(_ context.Context, c store.Call) error { // no claims for now
			if c.Client == a.client && c.Op == "txn" && strings.Contains(fmt.Sprint(c.Keys), "/claims/") {
				return store.ErrCut
			}
			return nil
		})
		w.until(2*time.Minute + 6*time.Second)
		for _, j := range []*job.Job{queued, alone, cut} {
			w.do(store.DeleteJob("n1", j.Hash, 0))
		}
		w.until(2*time.Minute + 8*time.Second)
		w.mem.OnCall(nil)
		w.until(30 * time.Minute)
		if n := len(a.runner.started()); n != 2 { // queued at 1m, cut at 1m5s
			t.Errorf("%d runs", n)
		}
		skipped := 0
		for _, r := range w.records() {
			if r.Outcome == job.Skipped && r.Reason == deletedReason {
				skipped++
			}
		}
		if skipped != 4 { // queued at 2m, alone at 1m and 2m, cut at 2m5s
			t.Errorf("%d were skipped: %q", skipped, outcomes(w.records()))
		}
	})
}
