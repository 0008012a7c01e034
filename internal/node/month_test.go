package node

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A month in the life of a node, in virtual time: its agent is stopped, killed, left dead for hours and cut off at random. Each instant of what it has
// for itself ends in exactly one outcome, none of what it shares with others in more than one, and nothing piles up, neither in memory nor on the disk.
func TestMonth(t *testing.T) {
	inWorld(t, func(w *world) {
		const days = 31
		berlin := func(j *job.Job) { j.Rules.Timezone = "Europe/Berlin" }
		takes := map[string]time.Duration{"ROTA_TASK=long": 15 * time.Minute, "ROTA_TASK=alone": 7 * time.Minute}
		own := []*job.Job{
			newJob(t, "quarter", "*/15 * * * *", catchup(job.CatchupAll)),
			newJob(t, "skips", "7 * * * *", catchup(job.CatchupNone)),
			newJob(t, "long", "0,5,10 * * * *", overlap(job.OverlapQueue), catchup(job.CatchupOne)),
			newJob(t, "night", "30 2 * * *", berlin, catchup(job.CatchupAll)),
		}
		shared := []*job.Job{
			newJob(t, "interval", "*/30 * * * *", kind(job.KindInterval), catchup(job.CatchupAll)),
			newJob(t, "alone", "0 */2 * * *", kind(job.KindAlone), catchup(job.CatchupOne)),
		}
		w.put(own...)
		w.put(shared...)
		of := map[job.TaskRef]*job.Job{}
		for _, j := range append(own, shared...) {
			of[j.Ref()] = j
		}
		begin := func(dir string) *life {
			l := w.prepare("n1", dir, func(o *Options) { o.Lease = 2 * time.Minute }) // its beats are most of what happens
			l.runner.behave = func(x *doubleExec) {
				x.takes(takes[x.Env[slices.IndexFunc(x.Env, func(v string) bool { return strings.HasPrefix(v, "ROTA_TASK=") })]])
			}
			l.run()
			return l
		}
		rng := rand.New(rand.NewPCG(1, 2))
		told, count := map[string]job.Outcome{}, map[string]map[job.Outcome]int{}
		tell := func(r *job.ExecutionRecord, instant time.Time) {
			key := fmt.Sprint(r.Name, " ", instant.UTC().Format(time.DateTime))
			if before, twice := told[key]; twice {
				t.Fatalf("%s is %s and %s", key, before, r.Outcome)
			}
			told[key] = r.Outcome
			if count[r.Name] == nil {
				count[r.Name] = map[job.Outcome]int{}
			}
			count[r.Name][r.Outcome]++
		}
		// handle is what a master does with records: each is taken once.
		handle := func() {
			var ops []store.Op
			for _, r := range w.records() {
				tell(r, r.Instant)
				if !r.Until.IsZero() {
					for i := of[r.Ref()].Rules.Next(r.Instant); !i.IsZero() && !i.After(r.Until); i = of[r.Ref()].Rules.Next(i) {
						tell(r, i)
					}
				}
				ops = append(ops, store.DeleteRecord("n1", store.RecordName(r), 0))
			}
			w.do(ops...)
		}
		a := begin("")
		for day := range days {
			w.until(time.Duration(day)*24*time.Hour + time.Duration(rng.IntN(20*60))*time.Minute + 3*time.Second)
			switch rng.IntN(5) {
			case 0:
				a.stop()
				a = begin(a.Dir)
			case 1:
				a = begin(a.crash())
			case 2: // it is dead for a while
				dir := a.crash()
				time.Sleep(time.Duration(rng.IntN(180)) * time.Minute)
				a = begin(dir)
			case 3:
				w.mem.Cut(a.client)
				time.Sleep(time.Duration(rng.IntN(180)) * time.Minute)
				w.mem.Heal(a.client)
			}
			w.until(time.Duration(day+1)*24*time.Hour - time.Second)
			handle()
			var alive, waiting, unsent int
			asked := make(chan struct{})
			a.tell(func() {
				for _, q := range a.core.queue {
					waiting += len(q)
				}
				alive = len(a.core.runs)
				unsent = a.spool.waiting()
				close(asked)
			})
			<-asked
			if alive > 3*len(of) || waiting > 10 || unsent > 0 {
				t.Fatalf("day %d: %d runs, %d wait, %d records", day, alive, waiting, unsent)
			}
			if n := len(spoolFiles(t, a.Dir+"/spool")); n > 2 {
				t.Fatalf("day %d: %d segments", day, n)
			}
		}
		end := time.Duration(days)*24*time.Hour - 4*time.Hour // what was due later may not have ended
		for _, j := range own {
			for i := j.Rules.Next(epoch); i.Before(at(end)); i = j.Rules.Next(i) {
				if key := fmt.Sprint(j.Name, " ", i.UTC().Format(time.DateTime)); told[key] == "" {
					t.Errorf("nobody tells what became of %s", key)
				}
			}
		}
		for name, least := range map[string]int{"quarter": 2900, "skips": 690, "long": 1900, "night": 30, "interval": 1350, "alone": 330} {
			if n := count[name][job.Success]; n < least {
				t.Errorf("%s: %d ran, of at least %d (%v)", name, n, least, count[name])
			}
		}
	})
}
