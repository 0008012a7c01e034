package master_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// behind lets a master's watches be late while f asks it something: f must wait until they have come.
func (l *life) behind(what string, f func()) {
	l.w.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	time.Sleep(time.Second)
	synctest.Wait()
	select {
	case <-done:
		l.w.t.Errorf("%s: it answered by a view that is behind", what)
	default:
	}
	l.w.mem.ReleaseWatches(l.name)
	<-done
}

// What one master has acknowledged no other one denies, however late its watches are: neither that it is there, nor that it has changed, nor
// that it is gone.
func TestAMasterThatIsBehind(t *testing.T) { // ancestor 20, ancestor 49
	inWorld(t, func(w *world) {
		a, b := w.leader("m1"), w.master("m2")
		n := w.node("n1")
		ref := job.Ref("", "t")
		command := func(text string) func(*job.Task) {
			return func(t *job.Task) { t.Command = job.Args("echo", text) }
		}
		ran := func(answer master.RunAnswer, err error) []string {
			t.Helper()
			if err != nil || len(answer.Runs) != 1 {
				t.Errorf("%+v, %v", answer, err)
				return nil
			}
			d, err := w.admin.Dispatches().Get(w.ctx, "n1", string(answer.Runs[0].Run))
			if err != nil {
				t.Fatal(err)
			}
			return d.Job.Argv
		}
		w.mem.HoldWatches("m2")
		a.apply(task("t", "", command("one")))
		b.behind("a new task", func() {
			if argv := ran(b.Run(w.ctx, master.RunRequest{Task: ref})); len(argv) != 2 || argv[1] != "one" {
				t.Errorf("ran %q", argv)
			}
		})
		w.mem.HoldWatches("m2")
		a.apply(task("t", "", command("two")))
		b.behind("a task that has changed", func() {
			if argv := ran(b.Run(w.ctx, master.RunRequest{Task: ref, Key: "k"})); len(argv) != 2 || argv[1] != "two" {
				t.Errorf("ran %q", argv)
			}
		})
		w.mem.HoldWatches("m2")
		a.apply(task("t", "", func(t *job.Task) { t.Params = map[string]job.Param{"p": {Type: "string"}} }))
		b.behind("an argument that is declared now", func() {
			ran(b.Run(w.ctx, master.RunRequest{Task: ref, Params: map[string]string{"p": "x"}}))
		})
		w.mem.HoldWatches("m2")
		run := a.run("t").Runs[0].Run
		a.apply(task("other", "@hourly"))
		for what, ask := range map[string]func() error{
			"describe": func() error { _, err := b.Task(w.ctx, job.Ref("", "other")); return err },
			"why":      func() error { _, err := b.Why(w.ctx, job.Ref("", "other"), time.Time{}); return err },
			"backfill": func() error {
				_, err := b.Backfill(w.ctx, master.BackfillRequest{Task: job.Ref("", "other"), From: time.Now().Add(-2 * time.Hour), To: time.Now(), DryRun: true})
				return err
			},
		} {
			b.behind(what, func() { code(t, ask(), "") })
			w.mem.HoldWatches("m2")
			a.apply(task("other", "@hourly", func(t *job.Task) { t.Env = map[string]string{"X": what} }))
			code(t, a.Delete(w.ctx, job.Ref("", "other"), 0), "")
			w.mem.ReleaseWatches("m2")
			w.until("it is gone there too", func() bool { l, err := b.Tasks(w.ctx, "", "other"); return err == nil && len(l) == 0 })
			w.mem.HoldWatches("m2")
			a.apply(task("other", "@hourly"))
		}
		w.mem.ReleaseWatches("m2")
		if v, err := b.RunState(w.ctx, run); err != nil || v.Node != "n1" {
			t.Errorf("%+v, %v", v, err)
		}
		w.mem.HoldWatches("m2")
		n2 := w.nodeSeenBy("n2", a)
		b.behind("a new node", func() { _, err := b.Node(w.ctx, "n2"); code(t, err, "") })
		w.mem.HoldWatches("m2")
		n2.leave()
		w.until("m1 sees that it is offline", func() bool { v, err := a.Node(w.ctx, "n2"); return err == nil && !v.Online })
		b.behind("a node that is offline now", func() { code(t, b.DeleteNode(w.ctx, "n2"), "") })

		// Refused is what is gone: by what etcd has, not by what the view has.
		w.mem.HoldWatches("m2")
		code(t, a.Delete(w.ctx, ref, 0), "")
		b.behind("a task that is gone", func() { _, err := b.Run(w.ctx, master.RunRequest{Task: ref}); code(t, err, job.CodeNotFound) })

		// Where the watches do not come, nobody knows, and that is what the answer says.
		w.mem.HoldWatches("m2")
		a.apply(task("late", ""))
		start := time.Now()
		_, err := b.Run(w.ctx, master.RunRequest{Task: job.Ref("", "late")})
		code(t, err, job.CodeUnavailable)
		_, err = b.Task(w.ctx, job.Ref("", "late"))
		code(t, err, job.CodeUnavailable)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("that took %s", took)
		}
		w.mem.ReleaseWatches("m2")
		ran(b.Run(w.ctx, master.RunRequest{Task: job.Ref("", "late")}))
		_ = n
	})
}
