package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rota-dev/rota/internal/policy"
	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// ruled gives an agent a policy, and returns what changes it.
func ruled(t *testing.T, text string) (with func(*Options), change func(text string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "node.yaml")
	write := func(text string) { must(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(text)
	live, err := policy.Open(file, func(e job.Exec, w policy.Wanted) (policy.Resolved, error) {
		is, err := runner.Resolve(e, w.Command, w.Dir)
		return policy.Resolved(is), err
	})
	must(t, err)
	return func(o *Options) { o.Policy = live }, func(text string) {
		t.Helper()
		write(text)
		must(t, live.Reload())
	}
}

// counted reads one of the agent's counters.
func counted(t *testing.T, l *life, name string) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	must(t, r.Register(l.Metrics()))
	families, err := r.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// Who can write into etcd can't make a node do what its own policy forbids: neither by a timer nor by a dispatch.
func TestForgedJobsAreRefusedAndRecorded(t *testing.T) { // guarantees.md, Security 4
	inWorld(t, func(w *world) {
		with, _ := ruled(t, "users: {deny: [root]}\ncommands: {allow: [/bin/true, /usr/bin/true]}\n")
		l := w.start("n1", "", with)
		w.until(time.Second)
		asRoot := newJob(t, "forged", "@every 10s", func(j *job.Job) { j.User, j.Argv = "root", []string{"true"} })
		w.put(asRoot)
		sh := newJob(t, "shell", "", func(j *job.Job) { j.User = "daemon" })
		asked := w.ask(sh, "mallory")
		w.until(15 * time.Second)
		recs := w.records()
		if len(recs) != 2 {
			t.Fatalf("%d records", len(recs))
		}
		for _, r := range recs {
			want := ": user root is denied"
			if r.ID == string(asked) {
				want = "is not allowed"
			}
			if r.Outcome != job.Failed || !strings.HasPrefix(r.Reason, "refused by the node's policy /") || !strings.Contains(r.Reason, want) || r.ExitCode != nil {
				t.Errorf("%s: %s %q", r.Name, r.Outcome, r.Reason)
			}
		}
		if n := counted(t, l, "rota_node_refused_total"); n != 2 || len(l.runner.started()) != 0 {
			t.Errorf("%v refusals, %d executions", n, len(l.runner.started()))
		}
	})
}

// A policy bounds how many runs are alive on the node; the others wait, those that came first start first, and each job's instants are
// told in their order.
func TestMaxRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		with, change := ruled(t, "max_runs: 2")
		l := w.prepare("n1", "", with)
		l.runner.behave = func(x *doubleExec) { x.takes(10 * time.Second) }
		l.run()
		w.until(time.Second)
		var runs []job.RunID
		for _, name := range []string{"a", "b", "c", "d"} {
			runs = append(runs, w.ask(newJob(t, name, ""), name))
		}
		twice := newJob(t, "e", "", overlap(job.OverlapAllow))
		runs = append(runs, w.ask(twice, "1"), w.ask(twice, "2"))
		late := w.ask(newJob(t, "late", ""), "late", func(d *job.Dispatch) { d.NotAfter = at(5 * time.Second) })
		w.until(2 * time.Second)
		if n := len(l.runner.started()); n != 2 {
			t.Errorf("%d run at once", n)
		}
		w.until(45 * time.Second)
		all := l.runner.started()
		if most := mostAlive(all); most != 2 || len(all) != 6 {
			t.Fatalf("%d runs, %d at once", len(all), most)
		}
		for i, x := range all { // two start at the same moment
			if pair := runs[i/2*2:][:2]; !slices.Contains(pair, x.Run) {
				t.Errorf("run %d did not come %d. or %d.", i+1, i/2*2+1, i/2*2+2)
			}
		}
		if r := w.record(late); r.Outcome != job.Missed {
			t.Errorf("late: %s %s", r.Outcome, r.Reason)
		}

		w.until(50 * time.Second)
		for _, name := range []string{"a", "b", "c", "d"} {
			w.ask(newJob(t, name, ""), name+" again")
		}
		change("max_runs: 4")
		l.PolicyChanged()
		w.until(51 * time.Second)
		if n := len(l.runner.started()); n != 10 {
			t.Errorf("%d more run at once after the change, want 4", n-6)
		}
	})
}

// An instant that waits for the node is told before those that come after it, and a crash meanwhile loses none.
func TestInstantsThatWaitForTheNode(t *testing.T) {
	inWorld(t, func(w *world) {
		with, _ := ruled(t, "max_runs: 1")
		l := w.prepare("n1", "", with)
		l.runner.behave = func(x *doubleExec) { x.takes(35 * time.Second) }
		l.run()
		w.until(time.Second)
		first := w.ask(newJob(t, "long", ""), "long")
		w.put(newJob(t, "tick", "@every 10s"))
		w.until(32 * time.Second) // 10 s waits for the node, 20 and 30 are skipped behind it
		if recs := w.records(); len(recs) != 0 {
			t.Errorf("told too early: %q", outcomes(recs))
		}
		dir := l.crash()
		l = w.prepare("n1", dir, with)
		l.run()
		w.until(time.Minute + 5*time.Second)
		l.stop()
		seen := map[time.Duration]job.Outcome{}
		for _, r := range w.records() {
			if r.ID == string(first) {
				continue
			}
			for i, n := r.Instant, 0; n < r.Instants(); i, n = i.Add(10*time.Second), n+1 {
				if was, twice := seen[i.Sub(epoch)]; twice {
					t.Errorf("%s: %s and %s", i, was, r.Outcome)
				}
				seen[i.Sub(epoch)] = r.Outcome
			}
		}
		for i := 10 * time.Second; i <= time.Minute; i += 10 * time.Second {
			if seen[i] == "" {
				t.Errorf("nobody says what became of %s: %v", i, seen)
			}
		}
	})
}
