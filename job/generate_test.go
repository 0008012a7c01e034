package job_test

import (
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/seed"
)

var _ = seed.Fix()

// texts are what people write, and what only a file made to annoy has in it.
var texts = rapid.OneOf(
	rapid.SampledFrom([]string{
		"", " ", "x", "0123", "1e3", "yes", "~", "null", "true", "2026-12-01", "a: b", "# no", "- a", "*/5 * * * *", "@daily", "%s", "'", `"`, "a\nb\n",
		"a\n  b\n\nc", "\n", "\na", " a\nb", "\ta", "a \nb", "a\r\nb", "\u2028", "\ufeff", "é😀", "<<", "|", "\\", "a\x7f", "tab\tin", "a\n\n", "---", "...", "{a}", "[a",
	}),
	rapid.StringN(0, 30, 60),
).Filter(func(s string) bool {
	return !strings.Contains(s, "{{") && !strings.Contains(s, "\x00") && strings.ToValidUTF8(s, "") == s
})

func seconds(limit int64) *rapid.Generator[job.Duration] {
	return rapid.Map(rapid.Int64Range(0, limit), func(n int64) job.Duration { return job.Duration(time.Duration(n) * time.Second) })
}

// validTasks are complete and valid.
var validTasks = rapid.Custom(func(t *rapid.T) job.Task {
	task := job.Task{
		Group: names.Draw(t, "group"), Name: names.Draw(t, "name"), Description: texts.Draw(t, "description"), Stdin: texts.Draw(t, "stdin"),
		User: rapid.SampledFrom([]string{"", "postgres", "1000", "svc$"}).Draw(t, "user"),
		Dir:  rapid.SampledFrom([]string{"", "/", "/var/lib/x y", "{{ config.DIR }}/a"}).Draw(t, "dir"),
		Kind: rapid.SampledFrom([]job.KindName{"common", "alone", "interval"}).Draw(t, "kind"), Concurrency: 1,
		Overlap: rapid.SampledFrom([]job.Overlap{job.OverlapSkip, job.OverlapQueue, job.OverlapReplace}).Draw(t, "overlap"),
		Catchup: rapid.SampledFrom(job.Catchups).Draw(t, "catchup"), OnLost: rapid.SampledFrom(job.OnLosts).Draw(t, "on_lost"),
		Success: rapid.SampledFrom([]job.SuccessBy{"", job.SuccessResult}).Draw(t, "success"),
		Timeout: seconds(1e6).Draw(t, "timeout"), Grace: seconds(100).Draw(t, "grace"), Deadline: seconds(1e5).Draw(t, "deadline"),
		Jitter: seconds(86400).Draw(t, "jitter"), Mode: rapid.SampledFrom(job.RuleModes).Draw(t, "mode"),
	}
	if task.Kind == "common" {
		task.Concurrency = rapid.IntRange(1, 1000).Draw(t, "concurrency")
	}
	if rapid.Bool().Draw(t, "list") {
		task.Command = job.Args(append([]string{"echo"}, rapid.SliceOfN(texts, 0, 4).Draw(t, "argv")...)...)
	} else {
		task.Command = job.Line("echo {{ node.name }} " + rapid.StringMatching(`[a-z0-9 *?.:=/é#-]{0,20}( \\ )?`).Draw(t, "line"))
		if rapid.Bool().Draw(t, "block") {
			task.Command = job.Line("set -e\nif true; then\n  echo {{ config.A }}\nfi\n")
		}
	}
	if n := rapid.IntRange(0, 2).Draw(t, "env"); n > 0 {
		task.Env = rapid.MapOfN(rapid.StringMatching(`[A-QS-Z_][A-Za-z0-9_]{0,8}`), texts, n, n).Draw(t, "env")
	}
	if task.Mode == job.Cycle {
		task.Timer = rapid.SampledFrom([]job.Timer{"*/5 * * * *", "@every 90s", "0 1 * * *\n30 2 * * 1-5", "H H * * *"}).Draw(t, "timer")
		task.Timezone = rapid.SampledFrom([]string{"", "UTC", "Europe/Berlin"}).Draw(t, "timezone")
		task.Exclude = rapid.SampledFrom([][]string{nil, {"2026-12-24..2026-12-26"}}).Draw(t, "exclude")
		task.DST = rapid.SampledFrom([]*job.DST{nil, {Gap: "skip"}, {Overlap: "twice"}}).Draw(t, "dst")
		task.Start = rapid.SampledFrom([]string{"", "2026-01-01"}).Draw(t, "start")
	}
	if rapid.Bool().Draw(t, "retry") {
		task.Retry = job.Retry{Count: rapid.IntRange(1, 100).Draw(t, "count"), Interval: seconds(600).Draw(t, "wait"), Backoff: rapid.SampledFrom([]float64{0, 1, 1.5, 2}).Draw(t, "backoff"), Max: seconds(3600).Draw(t, "max")}
	}
	if rapid.Bool().Draw(t, "places") {
		task.Nodes = []job.NodeID{job.NodeID(names.Draw(t, "node"))}
		task.Labels = map[string]string{names.Draw(t, "label"): names.Draw(t, "value")}
		task.Allow = job.Allow{Config: []string{"BACKUP_*"}, Next: []string{names.Draw(t, "next")}}
	}
	return task
})
