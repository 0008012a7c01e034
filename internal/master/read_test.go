package master_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// Every master answers like the leader.
func TestFollowersAnswerLikeTheLeader(t *testing.T) {
	inWorld(t, func(w *world) {
		leader := w.leader("m1")
		follower := w.master("m2")
		n := w.node("n1", "db")
		w.node("n2").works()
		n.works()
		leader.apply(task("a", "@hourly"), task("b", "@daily", func(t *job.Task) { t.Group, t.Kind = "other", "interval" }), task("c", ""))
		leader.run("c")
		w.recorded(2)
		// What a follower writes it reads, placed by the leader.
		follower.apply(task("d", "@weekly"))
		if v, err := follower.Task(w.ctx, job.Ref("", "d")); err != nil || len(v.Nodes) != 2 {
			t.Errorf("%+v, %v", v, err)
		}
		code(t, follower.Delete(w.ctx, job.Ref("", "d"), 0), "")
		_, err := follower.Task(w.ctx, job.Ref("", "d"))
		code(t, err, job.CodeNotFound)
		answers := func(m *life) string {
			var all []any
			add := func(v any, err error) {
				if err != nil {
					t.Error(err)
				}
				all = append(all, v)
			}
			tasks, err := m.Tasks(w.ctx, "", "")
			add(tasks, err)
			one, err := m.Task(w.ctx, job.Ref("other", "b"))
			add(one, err)
			nodes, err := m.Nodes(w.ctx)
			add(nodes, err)
			jobs, err := m.Jobs(w.ctx, master.JobFilter{Node: "n1"})
			add(jobs, err)
			groups, err := m.Groups(w.ctx)
			add(groups, err)
			next, err := m.Next(w.ctx, "", "", 2)
			add(next, err)
			s := m.Status(w.ctx)
			s.Master, s.Uptime = "", 0
			add(s, nil)
			b, err := json.MarshalIndent(all, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		w.until("the follower has heard of everything", func() bool { return answers(leader) == answers(follower) })
		if follower.Leads() {
			t.Error("both lead")
		}
	})
}

func TestJobsAndNext(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		w.node("n2")
		m.apply(task("a", "@hourly"), task("b", "@daily"), task("c", ""), task("p", "@hourly"))
		if _, err := m.Pause(w.ctx, job.Ref("", "p"), "test"); err != nil {
			t.Fatal(err)
		}
		quick, slow := firing(job.Ref("", "a"), "n1", time.Unix(3600, 0)), firing(job.Ref("", "a"), "n1", time.Unix(7200, 0))
		slow.BeginTime = slow.EndTime.Add(-4 * time.Second)
		n.handOver(quick)
		w.recorded(1)
		n.handOver(slow)
		w.recorded(2)
		jobs, err := m.Jobs(w.ctx, master.JobFilter{Task: "a"})
		if err != nil || len(jobs) != 2 || jobs[0].NodeID != "n1" {
			t.Fatalf("%v, %v", jobs, err)
		}
		// ancestor 7: the average is that of the runs, 1 s and 4 s
		if s := jobs[0].RunStatus; jobs[0].AvgTime != 2500 || s == nil || s.Status != "success" || s.StartTime.IsZero() {
			t.Errorf("average %d ms, %+v", jobs[0].AvgTime, s)
		}
		if jobs[1].RunStatus != nil {
			t.Errorf("it never ran on n2: %+v", jobs[1].RunStatus)
		}
		n.ss.SetProcess(&job.Process{ID: "7", JobID: jobs[0].ID, Group: "default", Name: "a", NodeID: "n1", Run: "r", Time: time.Now()})
		w.until("it is seen to run", func() bool {
			j, err := m.Jobs(w.ctx, master.JobFilter{Task: "a"})
			return err == nil && j[0].RunStatus != nil && j[0].RunStatus.Status == "running" && j[0].RunStatus.RecordID == "r"
		})
		if v, err := m.Node(w.ctx, "n1"); err != nil || v.Running != 1 || v.Jobs != 4 || !v.Online {
			t.Errorf("%+v, %v", v, err)
		}
		next, err := m.Next(w.ctx, "", "", 0)
		if err != nil || len(next) != 2 || next[0].Task.Name != "a" || next[1].Task.Name != "b" || next[0].Last == nil {
			t.Errorf("next: %+v, %v", next, err)
		}
		groups, err := m.Groups(w.ctx)
		if want := []master.Group{{Name: "default", Tasks: 4, Paused: 1, Running: 1}}; err != nil || !reflect.DeepEqual(groups, want) {
			t.Errorf("groups: %+v, %v", groups, err)
		}
	})
}

func TestNodes(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.node("n1")
		m.apply(task("a", "@hourly", func(t *job.Task) { t.Labels = map[string]string{"db": "yes"} }))
		v, err := m.LabelNode(w.ctx, "n1", map[string]string{"db": "yes"}, []string{"none"})
		if err != nil || v.Labels["db"] != "yes" {
			t.Fatalf("%+v, %v", v, err)
		}
		w.until("the label brings the task", func() bool { v, err := m.Node(w.ctx, "n1"); return err == nil && v.Jobs == 1 })
		_, err = m.LabelNode(w.ctx, "n1", map[string]string{"../x": "y"}, nil)
		code(t, err, job.CodeInvalid)
		_, err = m.Cordon(w.ctx, "n9", true)
		code(t, err, job.CodeNotFound)
		code(t, m.DeleteNode(w.ctx, "n1"), job.CodeConflict)
		n.leave()
		w.until("it is offline", func() bool { v, err := m.Node(w.ctx, "n1"); return err == nil && !v.Online })
		code(t, m.DeleteNode(w.ctx, "n1"), "")
		code(t, m.DeleteNode(w.ctx, "n1"), job.CodeNotFound)
		w.until("its jobs are gone with it", func() bool { c, err := w.admin.Jobs().Count(w.ctx); return err == nil && c == 0 })
	})
}

// ancestor 55: configuration is written, read, named by tasks and deleted, each in its own group.
func TestConfig(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		w.node("n1")
		set := func(group, value string) { t.Helper(); code(t, m.SetConfig(w.ctx, group, "HOST", value), "") }
		set("", "one")
		set("default", "two")
		set("other", "three")
		m.apply(task("a", "", func(t *job.Task) { t.Command = job.Args("ping", "{{ config.HOST }}") }))
		hash := job.JobHash(job.Ref("", "a"), "n1")
		placedWith := func(want string) {
			t.Helper()
			w.until("the job has "+want, func() bool {
				j, err := w.admin.Jobs().Get(w.ctx, "n1", hash)
				return err == nil && j.Config["HOST"] == want
			})
		}
		placedWith("two")
		code(t, m.DeleteConfig(w.ctx, "default", "HOST"), "")
		placedWith("one")
		code(t, m.DeleteConfig(w.ctx, "", "HOST"), "")
		placedWith("")
		code(t, m.DeleteConfig(w.ctx, "", "HOST"), job.CodeNotFound)
		if list, err := m.Config(w.ctx, ""); err != nil || len(list) != 1 || list[0].Value != "three" {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := m.Config(w.ctx, "default"); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
		code(t, m.SetConfig(w.ctx, "", "no/name", "x"), job.CodeInvalid)
	})
}

// A token is judged only when all tokens are known; ancestor 56: there is no way in without one.
func TestTokens(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.unserved("m1")
		token := master.NewToken()
		_, err := m.Authenticate(w.ctx, token)
		code(t, err, job.CodeUnavailable)
		code(t, m.Ready(w.ctx), job.CodeUnavailable)
		for range 2 {
			code(t, master.EnsureToken(w.ctx, w.admin, token, "me", "admin", time.Now()), "")
		}
		m.serve()
		w.until("the master is ready", func() bool { return m.Ready(w.ctx) == nil })
		if p, err := m.Authenticate(w.ctx, token); err != nil || p.Name != "me" || p.Role != "admin" {
			t.Errorf("%+v, %v", p, err)
		}
		for _, wrong := range []string{"", token + "x", master.NewToken(), master.TokenHash(token)} {
			_, err := m.Authenticate(w.ctx, wrong)
			code(t, err, job.CodeUnauthorized)
		}
		code(t, w.admin.Tokens().Delete(w.ctx, 0, master.TokenHash(token)[:16]), "")
		w.until("it is known no more", func() bool { _, err := m.Authenticate(w.ctx, token); return err != nil })
	})
}

func TestStatus(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		w.node("n1")
		m.apply(task("a", "@hourly"), task("b", ""))
		w.until("it has heard of the jobs", func() bool { return m.Status(w.ctx).Jobs == 2 })
		s := m.Status(w.ctx)
		s.Uptime = 0
		want := master.Status{Ready: true, Master: "m1", Leader: "m1", Version: "test", Tasks: 2, Nodes: 1, Online: 1, Jobs: 2}
		if !reflect.DeepEqual(s, want) {
			t.Errorf("%+v", s)
		}
		m.hist.set(away)
		if s := m.Status(w.ctx); s.Ready || len(s.Reasons) != 1 {
			t.Errorf("without history: %+v", s)
		}
		m.hist.set(nil)
		w.mem.SetAlarm("NOSPACE")
		if s := m.Status(w.ctx); !s.Ready || len(s.Reasons) != 1 {
			t.Errorf("with an alarm: %+v", s)
		}
		w.mem.SetAlarm("")
		w.mem.Cut("m1")
		if s := m.Status(w.ctx); s.Ready || s.Tasks != 2 {
			t.Errorf("without etcd: %+v", s)
		}
	})
}
