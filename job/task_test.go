package job_test

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

func TestDuration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want time.Duration
		back string
	}{
		{"90s", 90 * time.Second, "1m30s"}, {"30m", 30 * time.Minute, "30m"}, {"2d", 48 * time.Hour, "48h"}, {"1d12h", 36 * time.Hour, "36h"},
		{"1h0m5s", time.Hour + 5*time.Second, "1h0m5s"}, {"10m", 10 * time.Minute, "10m"}, {"0", 0, "0s"}, {"0s", 0, "0s"}, {"1.5s", 1500 * time.Millisecond, "1.5s"},
		{"-30m", -30 * time.Minute, "-30m"}, {"0d", 0, "0s"}, {"20h", 20 * time.Hour, "20h"},
	} {
		d, err := job.ParseDuration(c.text)
		if err != nil || d.Std() != c.want || d.String() != c.back {
			t.Errorf("%s: found %s, %v, want %s", c.text, d, err, c.want)
		}
	}
	for _, bad := range []string{"", "5", "d", "1d-1h", "-1d", "1w", "1h 5m", "five", "1e9h", "99999d", "65535d2000000h", "9999999h"} {
		if d, err := job.ParseDuration(bad); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%q: %s, %v", bad, d, err)
		}
	}
	if got := job.Duration(1500 * time.Millisecond).Seconds(); got != 2 {
		t.Errorf("seconds are rounded up: %d", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := job.Duration(rapid.Int64().Draw(t, "d"))
		if back, err := job.ParseDuration(d.String()); err != nil || back != d {
			t.Fatalf("%d, %s, %d, %v", d, d, back, err)
		}
	})
}

// ancestor 23: retry N is N further attempts, the first of which waits the interval; waits grow, but not without end.
func TestRetryWait(t *testing.T) {
	t.Parallel()
	s := func(n float64) job.Duration { return job.Duration(n * float64(time.Second)) }
	for _, c := range []struct {
		retry job.Retry
		want  []float64 // seconds before attempt 1, 2, 3, …
	}{
		{job.Retry{}, []float64{0, 0, 0}}, {job.Retry{Count: 3}, []float64{0, 0, 0, 0}},
		{job.Retry{Count: 3, Interval: s(30)}, []float64{0, 30, 30, 30}},
		{job.Retry{Count: 5, Interval: s(30), Backoff: 2, Max: s(100)}, []float64{0, 30, 60, 100, 100, 100}},
		{job.Retry{Count: 3, Interval: s(10), Backoff: 1.5}, []float64{0, 10, 15, 22.5}},
		{job.Retry{Count: 3, Interval: s(200), Max: s(100)}, []float64{0, 100, 100}},
	} {
		for i, want := range c.want {
			if got := c.retry.Wait(i + 1).Seconds(); got != want {
				t.Errorf("%+v: before attempt %d found %v, want %v", c.retry, i+1, got, want)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		r := job.Retry{Count: 1, Interval: job.Duration(rapid.Int64Min(1).Draw(t, "interval")), Backoff: rapid.Float64Range(1, 1000).Draw(t, "backoff")}
		last := time.Duration(0)
		for n := 2; n < 50; n++ {
			w := r.Wait(n)
			if w < last || w > 24*time.Hour || w <= 0 {
				t.Fatalf("%+v: %s after %s", r, w, last)
			}
			last = w
		}
	})
}

func TestRetryIsANumberToo(t *testing.T) {
	t.Parallel()
	var r job.Retry
	if err := json.Unmarshal([]byte(" 2 "), &r); err != nil || r != (job.Retry{Count: 2}) {
		t.Errorf("%+v, %v", r, err)
	}
	if err := json.Unmarshal([]byte(`{"count":1,"interval":"30s"}`), &r); err != nil || r.Interval.Std() != 30*time.Second {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{`"2"`, `1.5`, `{"attempts":2}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &r); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		c          job.Command
		text, wire string
	}{
		{job.Args("df", "-h", "a b", ""), `df -h "a b" ""`, `["df","-h","a b",""]`}, {job.Line("echo $HOME"), "echo $HOME", `"echo $HOME"`}, {job.Command{}, "", `""`},
	} {
		b, err := json.Marshal(c.c)
		if err != nil || string(b) != c.wire || c.c.String() != c.text {
			t.Errorf("found %s %s %v", b, c.c, err)
		}
		var back job.Command
		if err := json.Unmarshal(b, &back); err != nil || back.String() != c.c.String() || back.IsZero() != c.c.IsZero() {
			t.Errorf("%+v, %v", back, err)
		}
	}
	if err := json.Unmarshal([]byte(`{"a":1}`), new(job.Command)); err == nil || !strings.Contains(err.Error(), "want a list of strings or one shell line") {
		t.Error(err)
	}
	if err := json.Unmarshal([]byte(`5`), new(job.Timer)); err == nil || !strings.Contains(err.Error(), "want a string or a list") {
		t.Error(err)
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	task := job.Task{Name: "a", Command: job.Line("x")}
	task.Complete()
	want := job.Task{
		Group: "default", Name: "a", Command: job.Line("x"), Mode: job.ManyOnce, Kind: "common", Concurrency: 1,
		Overlap: job.OverlapSkip, Catchup: job.CatchupNone, OnLost: job.LostRecord,
	}
	if !task.Equal(&want) || task.Valid() != nil {
		t.Errorf("%+v, %v", task, task.Valid())
	}
	timed := job.Task{Name: "a", Timer: "@daily"}
	if timed.Complete(); timed.Mode != job.Cycle {
		t.Error(timed.Mode)
	}
}

func TestBind(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	task := job.Task{
		Group: "shop", Name: "backup", Command: job.Args("pg_dump", "a b"), User: "postgres", Env: map[string]string{"B": "2", "A": "1=1"}, Dir: "/d", Stdin: "in",
		Timer: "30 2 * * *", Timezone: "Europe/Berlin", Kind: "interval", Labels: map[string]string{"role": "db"}, Timeout: job.Duration(90 * time.Second),
		Grace: job.Duration(time.Second), Retry: job.Retry{Count: 2, Interval: job.Duration(30 * time.Second), Backoff: 2, Max: job.Duration(time.Minute)},
		Deadline: job.Duration(time.Minute), Jitter: job.Duration(time.Second),
	}
	j, err := job.CreateJobFromTask(&task, "n1", now)
	if err != nil {
		t.Fatal(err)
	}
	// ancestors 9, 11: one identity, the same however often the job is made
	if j.ID != j.Hash || j.Hash != job.JobHash(task.Ref(), "n1") || j.TaskID != "shop/backup" || j.Key() != "jobs/n1/"+j.Hash {
		t.Errorf("%+v", j)
	}
	// ancestors 1, 25: kind, timeout, labels and the rest come from the task
	if j.Kind != job.KindInterval || j.Timeout != 90 || j.Grace != 1 || j.Rules.Labels["role"] != "db" || j.Rules.Timezone != "Europe/Berlin" || j.User != "postgres" ||
		!slices.Equal(j.Envs, []string{"A=1=1", "B=2"}) || !slices.Equal(j.Argv, task.Command.Argv) || j.Command != `pg_dump "a b"` || j.Dir != "/d" || j.Stdin != "in" ||
		j.Deadline != 60 || j.Jitter != 1 || !slices.Equal(j.Candidates, []job.NodeID{"n1"}) || j.RetryPolicy() != task.Retry || !j.Since.Equal(now) {
		t.Errorf("%+v", j)
	}
	if task.Group != "shop" || task.Mode != "" {
		t.Error("the task itself was completed")
	}
	n1, n2 := &job.Node{ID: "n1"}, &job.Node{ID: "n2"}
	if !j.IsRunOn(n1) || j.IsRunOn(n2) || len(j.Cmds(n1)) != 1 || j.Cmds(n1)[j.Hash].GetID() != j.Hash || j.Cmds(n2) != nil {
		t.Error(j.Cmds(n1), j.Cmds(n2))
	}
	// ancestor 10: a paused job has nothing that fires
	if j.Pause = true; j.Cmds(n1) != nil {
		t.Error("a paused job fires")
	}
	task.Name = "a b"
	if _, err := job.CreateJobFromTask(&task, "n1", now); job.CodeOf(err) != job.CodeInvalid {
		t.Error(err)
	}
}

func TestShortName(t *testing.T) {
	t.Parallel()
	if got := (&job.Job{Group: "g", Name: "n"}).ShortName(); got != "g/n" {
		t.Error(got)
	}
	if got := (&job.Job{Group: "g", Name: strings.Repeat("n", 50)}).ShortName(); len([]rune(got)) != 32 || !strings.HasSuffix(got, "…") {
		t.Error(got)
	}
}

func TestNeverFires(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		task job.Task
		want string
	}{
		{job.Task{Timer: "@at 2026-01-01T00:00:00Z"}, `timer: timer "@at 2026-01-01T00:00:00Z" never fires after 2026-11-22T00:00:00Z; its last time has passed`},
		{job.Task{Timer: "@daily", Start: "2020-01-01", End: "2020-01-02T00:00"}, "its last time has passed"},
		{job.Task{Timer: "0 0 1 1 *", Start: "2027-02-01", End: "2027-03-01"}, "see start, end and exclude"},
		{job.Task{Timer: "@daily"}, ""}, {job.Task{}, ""}, {job.Task{Timer: "0 0 29 2 *"}, ""}, {job.Task{Timer: "@reboot"}, ""},
	} {
		c.task.Name, c.task.Command = "a", job.Line("x")
		c.task.Complete()
		if err := c.task.Valid(); err != nil {
			t.Error(err)
			continue
		}
		switch err := c.task.NeverFires(now); {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: found %v, want %s", c.task.Timer, err, c.want)
		}
	}
}

// A window reaches the schedule.
func TestRuleWindow(t *testing.T) {
	t.Parallel()
	r := &job.Rule{Mode: job.Cycle, Timer: "@daily", Timezone: "Europe/Berlin", Start: "2026-12-20", End: "2026-12-31", Exclude: []string{"2026-12-24..2026-12-26"}}
	if err := r.Valid(); err != nil {
		t.Fatal(err)
	}
	var days []string
	for at := r.Next(time.Time{}); !at.IsZero(); at = r.Next(at) {
		days = append(days, at.Format("02T15"))
	}
	if got := strings.Join(days, " "); got != "19T23 20T23 21T23 22T23 26T23 27T23 28T23 29T23" {
		t.Error(got)
	}
}

// Bounds, because a job must fit into etcd and its command into what the kernel takes.
func TestSizesAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300<<10)
	for _, c := range []struct {
		change func(*job.Task)
		want   string
	}{
		{func(t *job.Task) { t.Command = job.Line(long) }, "command: it has 307200 bytes, at most 131071 are allowed"},
		{func(t *job.Task) { t.Command = job.Args("x", long[:130<<9], long[:130<<9]) }, "command: the command has 133124 bytes, at most 131072 are allowed"},
		{func(t *job.Task) { t.Stdin = long }, "stdin: it has 307200 bytes"},
		{func(t *job.Task) { t.Env = map[string]string{"A": long[:40<<10], "B": long[:40<<10]} }, "env: the environment has 81926 bytes"},
		{func(t *job.Task) { t.Description = long }, "description: it has"}, {func(t *job.Task) { t.Dir = "/" + long }, "dir: it has"},
		{func(t *job.Task) { t.Nodes = make([]job.NodeID, 1001) }, "nodes: there are 1001 nodes, at most 1000 are allowed; use labels"},
		{func(t *job.Task) { t.Labels = map[string]string{"a": long} }, "labels.a: it has"},
		{func(t *job.Task) { t.Timer, t.Mode = job.Timer(strings.Repeat("@daily\n", 65)), job.Cycle }, "timer: there are 65 timers, at most 64 are allowed"},
		{func(t *job.Task) { t.Exclude = make([]string, 1001) }, "exclude: there are 1001 ranges"},
		{func(t *job.Task) { t.Allow.Next = make([]string, 101) }, "allow.next: there are 101 patterns"},
		{func(t *job.Task) { t.Command = job.Line(strings.Repeat("{{ config.A }}", 1001)) }, "there are 1001 values in it, at most 1000 are allowed"},
		{func(t *job.Task) { t.Retry = job.Retry{Count: 1, Backoff: math.Inf(1)} }, "retry.backoff: +Inf is not from 1 to 100"},
		{func(t *job.Task) { t.User = long }, "is no user"}, {func(t *job.Task) { t.Stdin = "\xff" }, "stdin: it is not UTF-8"},
		{func(t *job.Task) { t.Command = job.Line("\xff") }, "command: it is not UTF-8"}, {func(t *job.Task) { t.Group = "" }, "group: the group has no name"},
	} {
		task := job.Task{Name: "a", Command: job.Line("x")}
		task.Complete()
		c.change(&task)
		if err := task.Valid(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("found %.300v, want %s", err, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	var f job.Faults
	if f.Err("x") != nil {
		t.Error("no faults are no error")
	}
	f.AddError("node", job.Errorf(job.CodeInvalid, "bad").WithHint("mend %s", "it"))
	f.AddError("job", &job.Error{Fields: []job.FieldError{{Path: "rule.timer", Message: "odd"}, {Message: "whole"}}})
	f.AddError("io", json.Unmarshal([]byte("{"), new(int)))
	const want = "it is not valid\nnode: bad; mend it\njob.rule.timer: odd\njob: whole\nio: unexpected end of JSON input"
	if err := f.Err("it is not valid"); err == nil || err.Error() != want {
		t.Errorf("found\n%v\nwant\n%s", err, want)
	}
	d := &job.Dispatch{Run: "r", Node: "n 1", Job: &job.Job{Name: "a"}}
	if err := d.Valid(); err == nil || !strings.Contains(err.Error(), "node: node name") || !strings.Contains(err.Error(), "job.cmd: there is no command") {
		t.Error(err)
	}
	if job.CodeOf(nil) != "" || job.CodeOf(errors.New("x")) != job.CodeInternal || !job.IsConflict(job.Errorf(job.CodeConflict, "x")) {
		t.Error("codes")
	}
}
