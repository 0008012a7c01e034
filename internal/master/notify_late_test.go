package master_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// watched is a leader that tells a receiver of late runs of tasks.
func (w *world) watched(name string, post *mailman, tasks ...job.Task) *life {
	w.t.Helper()
	m := w.unserved(name)
	m.Notifier = post
	m.serve()
	w.until(name+" leads", m.Leads)
	if len(tasks) == 0 {
		return m
	}
	for i := range tasks {
		tasks[i].Notify = []job.Notify{{On: []job.AlertEvent{job.AlertLate}, To: job.Names{"ops"}}}
	}
	_, err := m.ApplyDocuments(w.ctx, job.Documents{
		Receivers: []job.Receiver{{Name: "ops", Webhook: &job.Webhook{URL: job.TextOrSecret{Text: "https://example.com"}}}}, Tasks: tasks,
	}, master.ApplyOptions{})
	code(w.t, err, "")
	return m
}

// runs registers a run that is alive since now.
func (a *agent) runs(task string, run job.RunID) *job.Process {
	p := &job.Process{
		ID: string(run), JobID: job.JobHash(job.Ref("", task), a.id), Group: "default", Name: task, NodeID: a.id, Run: run, Time: time.Now(), Instant: time.Now().Truncate(time.Second),
	}
	a.ss.SetProcess(p)
	return p
}

func (p *mailman) told() (told []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.order {
		told = append(told, m.Name+" "+m.Record+": "+m.Reason)
	}
	slices.Sort(told)
	return told
}

// A run that takes longer than its task allows is told of once, while it runs, whoever leads; one that ends before that is not, nor one of a task that
// says nothing of it.
func TestLateRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		post := &mailman{}
		first := w.watched("m1", post,
			task("slow", "@daily", func(t *job.Task) { t.LateAfter = job.Duration(10 * time.Minute) }), task("quick", "@daily", func(t *job.Task) { t.LateAfter = job.Duration(10 * time.Minute) }),
			task("unsaid", "@daily"))
		second := w.unserved("m2")
		second.Notifier = post
		second.serve()
		n := w.node("n1")
		began := time.Now()
		n.runs("slow", "r1")
		n.runs("unsaid", "r3")
		quick := n.runs("quick", "r2")
		time.Sleep(9 * time.Minute)
		n.ss.UnsetProcess(quick)
		time.Sleep(50 * time.Second)
		if told := post.told(); told != nil {
			t.Errorf("told %q", told)
		}
		w.until("it is told", func() bool { return post.told() != nil })
		if took := time.Since(began); took > 12*time.Minute {
			t.Errorf("told after %s", took)
		}
		first.die()
		w.until("the other one leads", second.Leads)
		time.Sleep(3 * time.Hour)
		told := post.told()
		if len(told) != 1 || !strings.HasPrefix(told[0], "default/slow r1: it has run for 10m") {
			t.Errorf("told %q", told)
		}
		for id, times := range post.seen {
			if times != 1 {
				t.Errorf("%s was sent %d times", id, times)
			}
		}
	})
}

// Of a task that says nothing, a run is late that takes three times what nine of ten of its runs took: when ten are known, and never before a minute.
func TestLateByWhatIsUsual(t *testing.T) {
	inWorld(t, func(w *world) {
		post := &mailman{}
		w.watched("m1", post, task("long", "@daily"), task("short", "@daily"), task("new", "@daily"))
		n := w.node("n1")
		past := func(name string, runs int, took time.Duration) {
			for i := range runs {
				r := firing(job.Ref("", name), n.id, time.Now().Add(-time.Duration(i+1)*24*time.Hour).Truncate(time.Second))
				r.BeginTime = r.Instant
				r.EndTime = r.BeginTime.Add(took)
				n.handOver(r)
			}
		}
		past("long", 10, 5*time.Minute)
		past("short", 10, time.Second)
		past("new", 9, time.Second)
		w.recorded(29)
		for _, name := range []string{"long", "short", "new"} {
			n.runs(name, job.RunID("r-"+name))
		}
		time.Sleep(55 * time.Second)
		if told := post.told(); told != nil {
			t.Errorf("told before a minute: %q", told)
		}
		time.Sleep(2 * time.Minute)
		if told := post.told(); len(told) != 1 || !strings.HasPrefix(told[0], "default/short r-short: ") || !strings.Contains(told[0], "three times") {
			t.Errorf("told %q", told)
		}
		time.Sleep(11 * time.Minute)
		if told := post.told(); len(told) != 1 {
			t.Errorf("told after 14 minutes of one whose runs take five: %q", told)
		}
		time.Sleep(4 * time.Minute)
		if told := post.told(); len(told) != 2 || !strings.HasPrefix(told[0], "default/long r-long: ") {
			t.Errorf("told %q", told)
		}
	})
}
