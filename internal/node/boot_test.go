package node

import (
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// bootedAt starts agents on a machine that booted under a name at a time.
func bootedAt(id string, d time.Duration) func(*Options) {
	return func(o *Options) { o.BootID, o.BootTime = id, at(d).Add(300*time.Millisecond) }
}

// @reboot fires once for each boot, however often the agent starts, and whatever becomes of the machine's idea of when it booted.
func TestRebootFiresOncePerBoot(t *testing.T) {
	inWorld(t, func(w *world) {
		j := newJob(t, "a", "@reboot")
		w.put(j)
		w.until(time.Hour)
		a := w.start("n1", "", bootedAt("one", 59*time.Minute))
		w.until(61 * time.Minute)
		w.wantOutcomes("59m0s success")
		if r := w.records()[0]; r.Trigger != job.TriggerTimer || r.ID != string(j.Firing(at(59*time.Minute))) {
			t.Errorf("%+v", r)
		}
		a.stop()
		// A clock that was set since makes another time of the same boot.
		b := w.start("n1", a.Dir, bootedAt("one", 58*time.Minute))
		w.until(62 * time.Minute)
		c := w.start("n1", b.crash(), bootedAt("one", 61*time.Minute))
		w.until(90 * time.Minute)
		w.put(j) // told again
		w.until(91 * time.Minute)
		w.wantOutcomes("59m0s success")
		c.stop()
		// The next boot; its clock was wrong, and is behind.
		d := w.start("n1", c.Dir, bootedAt("two", 30*time.Minute))
		w.until(100 * time.Minute)
		w.wantOutcomes("59m0s success", "59m1s success")
		d.stop()
		w.until(200 * time.Minute)
		w.start("n1", d.Dir, bootedAt("three", 180*time.Minute))
		w.until(210 * time.Minute)
		w.wantOutcomes("59m0s success", "59m1s success", "3h0m0s success")
	})
}

// A boot is no instant of a task that came after it, nor of one whose window or deadline leaves it out; a paused one skips it.
func TestRebootFollowsThePolicy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*job.Job)
		want   []string
	}{
		"it comes later":  {func(j *job.Job) { j.Since = at(30 * time.Minute) }, nil},
		"deadline":        {func(j *job.Job) { j.Deadline = 60 }, []string{"20m0s missed"}},
		"within deadline": {func(j *job.Job) { j.Deadline = 3600 }, []string{"20m0s success"}},
		"window":          {func(j *job.Job) { j.Rules.Exclude = []string{"2000-01-01"} }, nil},
		"window passed":   {func(j *job.Job) { j.Rules.End = "2000-01-01T00:10" }, nil},
		"paused": {func(j *job.Job) { j.PausedAt, j.ResumedAt = at(10*time.Minute), at(25*time.Minute) },
			[]string{"20m0s skipped"}},
		"jitter":       {func(j *job.Job) { j.Jitter = 60 }, []string{"20m0s success"}},
		"not a node's": {func(j *job.Job) { j.Kind, j.Candidates = job.KindInterval, []job.NodeID{"n1"} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put(newJob(t, "a", "@reboot", c.change))
				w.until(40 * time.Minute)
				w.start("n1", "", bootedAt("one", 20*time.Minute))
				w.until(45 * time.Minute)
				w.wantOutcomes(c.want...)
			})
		})
	}
}

// A machine that does not tell of its boots has none.
func TestRebootUnknown(t *testing.T) {
	for _, o := range []func(*Options){
		func(o *Options) { o.BootID, o.BootTime = "", at(time.Minute) },
		func(o *Options) { o.BootID, o.BootTime = "one", time.Time{} },
	} {
		t.Run("", func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put(newJob(t, "a", "@reboot"))
				w.start("n1", "", o)
				w.until(time.Hour)
				w.wantOutcomes()
			})
		})
	}
}
