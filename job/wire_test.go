package job_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// What the seed's package would have written, with every field of it.
const (
	seedJob = `{"id":"8d1f0e2c","taskID":"check_kubelet","event_id":"e-1","node_id":"192.168.1.10","hash":"5f0c9a","name":"kubelet check",` +
		`"cmd":"systemctl status kubelet","stdin":"in","envs":["A=1","B=x=y"],"user":"root","rule":{"id":"r1","mode":"cycle","timer":"*/10 * * * * *","labels":{"role":"compute"}},` +
		`"pause":true,"timeout":30,"retry":2,"interval":5,"kind":2,"avg_time":1500,` +
		`"Scheduler":{"node_id":"192.168.1.10","scheduler_time":"2018-07-11T08:00:00+08:00","can_run":true,"message":"m","scheduler_status":"Success"},` +
		`"RunStatus":{"status":"success","start_time":"2018-07-11T08:00:01+08:00","end_time":"2018-07-11T08:00:02+08:00","record_id":"rec1"}}`
	seedRecord = `{"id":"rec1","job_id":"5f0c9a","task_id":"check_kubelet","user":"root","name":"kubelet","node":"192.168.1.10","command":"systemctl status kubelet",` +
		`"output":"ok","success":true,"beginTime":"2018-07-11T08:00:01.5+08:00","endTime":"2018-07-11T08:00:02+08:00","is_handle":true,"handle_time":"2018-07-11T08:00:03+08:00"}`
	seedProcess = `{"id":"4711","jobId":"5f0c9a","group":"default","nodeId":"192.168.1.10","time":"2018-07-11T08:00:01+08:00"}`
)

func TestSeedJobDecodes(t *testing.T) {
	t.Parallel()
	var j job.Job
	if err := j.Decode([]byte(strings.Replace(seedJob, "kubelet check", "kubelet-check", 1))); err != nil {
		t.Fatal(err)
	}
	if j.ID != "8d1f0e2c" || j.Hash != "5f0c9a" || j.TaskID != "check_kubelet" || j.EventID != "e-1" || j.NodeID != "192.168.1.10" || j.Name != "kubelet-check" ||
		j.Command != "systemctl status kubelet" || j.Stdin != "in" || strings.Join(j.Envs, " ") != "A=1 B=x=y" || j.User != "root" || !j.Pause ||
		j.Timeout != 30 || j.Retry != 2 || j.Interval != 5 || j.Kind != job.KindInterval || j.AvgTime != 1500 {
		t.Errorf("%+v", j)
	}
	if j.Rules == nil || j.Rules.ID != "r1" || j.Rules.Mode != job.Cycle || j.Rules.Labels["role"] != "compute" || j.Rules.Schedule == nil {
		t.Errorf("%+v", j.Rules)
	}
	if j.Scheduler == nil || !j.Scheduler.CanRun || j.Scheduler.SchedulerStatus != "Success" || j.RunStatus == nil || j.RunStatus.RecordID != "rec1" {
		t.Errorf("%+v, %+v", j.Scheduler, j.RunStatus)
	}
	if j.Group != "default" || j.Concurrency != 1 || j.Overlap != job.OverlapSkip {
		t.Errorf("not completed: %+v", j)
	}
}

// A document that can't be used leaves what was there, and says everything that is wrong with it.
func TestJobDecodeRefuses(t *testing.T) {
	t.Parallel()
	j := job.Job{Name: "before"}
	err := j.Decode([]byte(seedJob)) // ancestor 35: a command or a name that makes no sense is an error, never a panic
	if job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), `name: task name "kubelet check" has ' '`) || j.Name != "before" {
		t.Error(err, j.Name)
	}
	bad := `{"name":"a b","node_id":"n","cmd":" ","kind":7,"timeout":-1,"retry":-1,"envs":["A"],"rule":{"mode":"x","timer":"61 * * * *"}}`
	err = j.Decode([]byte(bad))
	const want = `job XXX is not valid
name: task name "a b" has ' ' at position 2; use letters, digits and, between them, '-', '_' and '.'
cmd: there is no command
kind: kind 7 is not known; want 0 (common), 1 (alone) or 2 (interval)
timeout: -1 is negative
retry: -1 is negative
envs: entry 1 is not of the form KEY=VALUE
rule.mode: mode "x" is not known; want onlyonce, manyonce or cycle
rule.timer: minute: found "61"; allowed: 0-59, * ranges, steps and lists`
	if err == nil || err.Error()[strings.Index(err.Error(), "\n"):] != want[strings.Index(want, "\n"):] {
		t.Errorf("found\n%v\nwant\n%s", err, want)
	}
	for _, bad := range []string{"", "null", "{}", "[]", "{", `{"id":5}`, `"x"`} {
		if err := j.Decode([]byte(bad)); job.CodeOf(err) != job.CodeInvalid || j.Name != "before" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSeedRecordDecodes(t *testing.T) {
	t.Parallel()
	r, err := job.ParseExecutionRecord([]byte(seedRecord))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2018, 7, 11, 0, 0, 1, 5e8, time.UTC)
	if r.ID != "rec1" || r.JobID != "5f0c9a" || r.TaskID != "check_kubelet" || r.User != "root" || r.Name != "kubelet" || r.Node != "192.168.1.10" ||
		r.Command != "systemctl status kubelet" || r.Output != "ok" || !r.Success || !r.BeginTime.Equal(begin) || r.Duration() != 500*time.Millisecond ||
		!r.IsHandle || r.HandleTime.IsZero() {
		t.Errorf("%+v", r)
	}
	if r.Outcome != job.Success || r.Group != "default" || r.Instants() != 0 {
		t.Errorf("not completed: %+v", r)
	}
	failed, err := job.ParseExecutionRecord([]byte(`{"id":"x","success":false,"task_id":"g/t"}`))
	if err != nil || failed.Outcome != job.Failed || failed.Group != "g" || failed.Name != "t" {
		t.Errorf("%+v, %v", failed, err)
	}
	// ancestor 46: what can't be parsed is an error, with which the caller can put it aside, not an empty record.
	for _, bad := range []string{"", "{", "[]", "{}", `{"id":"x","outcome":"odd"}`, `{"id":7}`} {
		if r, err := job.ParseExecutionRecord([]byte(bad)); job.CodeOf(err) != job.CodeInvalid || !reflect.DeepEqual(r, job.ExecutionRecord{}) {
			t.Errorf("%q: %+v, %v", bad, r, err)
		}
	}
}

func TestSeedProcessDecodes(t *testing.T) {
	t.Parallel()
	var p job.Process
	if err := json.Unmarshal([]byte(seedProcess), &p); err != nil {
		t.Fatal(err)
	}
	if p.ID != "4711" || p.Pid() != 4711 || p.JobID != "5f0c9a" || p.Group != "default" || p.NodeID != "192.168.1.10" || p.Time.IsZero() {
		t.Errorf("%+v", p)
	}
	if got := p.Key(); got != "proc/192.168.1.10/default/5f0c9a/4711" {
		t.Error(got)
	}
	var back job.Process
	if err := json.Unmarshal([]byte(p.Val()), &back); err != nil || back != p {
		t.Errorf("%+v, %v", back, err)
	}
	if (&job.Process{ID: "x"}).Pid() != 0 {
		t.Error("a pid that is none")
	}
}

// The wire names of the seed's fields are those of the seed; new ones are snake_case.
func TestWireNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v    any
		seed string
	}{
		{job.Job{}, "id taskID event_id node_id hash name cmd stdin envs user rule pause timeout retry interval kind avg_time"},
		{job.ExecutionRecord{}, "id job_id task_id user name node command output success beginTime endTime is_handle handle_time"},
		{job.Process{}, "id jobId group nodeId time"},
		{job.Rule{}, "id mode timer labels"},
		{job.Scheduler{}, "node_id scheduler_time can_run message scheduler_status"},
		{job.RunStatus{}, "status start_time end_time record_id"},
	} {
		typ := reflect.TypeOf(c.v)
		seed := strings.Fields(c.seed)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if i < len(seed) && name != seed[i] {
				t.Errorf("%s.%s: found %s, want %s", typ, typ.Field(i).Name, name, seed[i])
			}
			if i >= len(seed) && name != strings.ToLower(name) {
				t.Errorf("%s.%s: %s is not snake_case", typ, typ.Field(i).Name, name)
			}
		}
	}
}

// A task becomes a job which reads back as what it was, so that nothing is written a second time because its copy looks
// different (ancestor 27).
func TestJobsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		task := validTasks.Draw(t, "task")
		now := time.Unix(rapid.Int64Range(1, 1<<32).Draw(t, "now"), rapid.Int64Range(0, 999).Draw(t, "ns")).UTC()
		j, err := job.CreateJobFromTask(&task, "node1", now)
		if err != nil {
			t.Fatal(err)
		}
		var back job.Job
		if err := back.Decode([]byte(j.String())); err != nil {
			t.Fatal(err)
		}
		if back.String() != j.String() || !back.SameWork(j) || !j.Clone().SameWork(j) {
			t.Fatalf("found\n%s\nwant\n%s", &back, j)
		}
		if !back.Rules.Same(j.Rules) || back.RetryPolicy() != task.Retry {
			t.Fatalf("%+v, %+v", back.Rules, back.RetryPolicy())
		}
	})
}

func TestRecordsRoundTrip(t *testing.T) {
	t.Parallel()
	at := rapid.Map(rapid.Int64Range(0, 1<<32), func(n int64) time.Time { return time.Unix(n, 5e6).UTC() })
	rapid.Check(t, func(t *rapid.T) {
		code := rapid.IntRange(0, 255).Draw(t, "code")
		r := job.ExecutionRecord{
			ID: names.Draw(t, "id"), JobID: names.Draw(t, "job"), TaskID: "g/t", Group: "g", Name: "t", Node: "n", Command: texts.Draw(t, "command"),
			Output: texts.Draw(t, "output"), BeginTime: at.Draw(t, "begin"), EndTime: at.Draw(t, "end"), Instant: at.Draw(t, "instant"),
			Outcome: rapid.SampledFrom(job.Outcomes).Draw(t, "outcome"), Trigger: job.TriggerTimer, ExitCode: &code, Result: json.RawMessage(`{"a":1}`),
			Attempts: []job.Attempt{{Attempt: 1, Outcome: job.Failed, Output: texts.Draw(t, "first")}}, Usage: &job.Usage{UserMS: 1},
		}
		r.Success = r.Outcome == job.Success
		back, err := job.ParseExecutionRecord([]byte(r.String()))
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("%v: found\n%s\nwant\n%s", err, back, r)
		}
		clone := r.Clone()
		*clone.ExitCode, clone.Attempts[0].Attempt, clone.Usage.UserMS, clone.Result[1] = 999, 9, 9, 'x'
		if !reflect.DeepEqual(back, r) {
			t.Fatal("a clone shares memory")
		}
	})
}

func TestTasksRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks := rapid.SliceOfNDistinct(validTasks, 0, 3, func(t job.Task) string { return t.Ref().String() }).Draw(t, "tasks")
		data, err := job.MarshalTasks(tasks)
		if err != nil {
			t.Fatal(err)
		}
		back, err := job.ReadTasks("f.yaml", data)
		if err != nil || len(back) != len(tasks) {
			t.Fatalf("%v\n%s", err, data)
		}
		for i := range tasks {
			if !back[i].Equal(&tasks[i]) {
				t.Fatalf("found\n%+v\nwant\n%+v\n%s", back[i], tasks[i], data)
			}
			alone, err := job.MarshalTask(&tasks[i])
			if err != nil {
				t.Fatal(err)
			}
			if one, err := job.ReadTasks("f.yaml", alone); err != nil || len(one) != 1 || !one[0].Equal(&tasks[i]) {
				t.Fatalf("%v\n%s", err, alone)
			}
			b, err := json.Marshal(&tasks[i])
			if err != nil {
				t.Fatal(err)
			}
			if one, err := job.DecodeTask(b); err != nil || !one.Equal(&tasks[i]) {
				t.Fatalf("%v: %s", err, b)
			}
		}
	})
}

// Texts that YAML would fold, strip or take for something else come back from an editor as they were.
func TestStrangeTextsRoundTrip(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"  a\nb ", "a\r\nb", "\u0085a\nb", "\u2028a\nb", "\ufeffa\nb", "\n\na\n\n", "0123", "~", "#a\nb", "a \nb", " \n a"} {
		task := job.Task{Name: "a", Command: job.Args("echo", s), Stdin: s, Env: map[string]string{"A": s}}
		task.Complete()
		text, err := job.MarshalTask(&task)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := job.ReadTasks("", text); err != nil || len(back) != 1 || !back[0].Equal(&task) {
			t.Errorf("%q: %v\n%s", s, err, text)
		}
	}
}

// ancestor 32: the argv of a list is never joined and split again.
func TestResolveShell(t *testing.T) {
	t.Parallel()
	list := &job.Job{Argv: []string{"printf", "%s|", "a b", "", "c'd"}, Command: "not used"}
	if got := list.ResolveShell(); !reflect.DeepEqual(got, list.Argv) {
		t.Errorf("%q", got)
	}
	line := &job.Job{Command: `printf '%s' "a  b"`}
	if got := line.ResolveShell(); !reflect.DeepEqual(got, []string{"/bin/sh", "-c", line.Command}) {
		t.Errorf("%q", got)
	}
}
