package job

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a task. A job, with its configuration and beside others, must fit into one transaction of etcd,
// and its command into what the kernel takes as one argument.
const (
	maxCommand     = 128 << 10 // bytes, less one
	maxStdin       = 256 << 10
	maxEnv         = 64 << 10
	maxDescription = 16 << 10
	maxPath        = 4 << 10
	maxLabels      = 64
	maxLabelValue  = 256
	maxNodes       = 1000
	maxExclude     = 1000
	maxPatterns    = 100
	maxRetries     = 100
	maxBackoff     = 100
	maxConcurrency = 1000
	maxJitter      = 24 * time.Hour
	maxValues      = 1000 // {{ … }} in one task
)

// Valid reports every fault of a complete task in one error.
func (t *Task) Valid() error {
	var f Faults
	t.check(&f, "")
	return f.Err("task " + t.Ref().String() + " is not valid")
}

// NeverFires tells, as an error, that the task's timer has no instant after a time. The task must be valid.
func (t *Task) NeverFires(now time.Time) error {
	var f Faults
	t.checkFires(&f, "", now)
	return f.Err("task " + t.Ref().String() + " never fires")
}

func (t *Task) checkFires(f *Faults, prefix string, now time.Time) {
	r := t.Rule()
	if r.Mode != Cycle || r.Valid() != nil || r.Schedule.Reboot() || !r.Next(now).IsZero() {
		return
	}
	hint := "its last time has passed"
	if r.Schedule.Prev(now).IsZero() {
		hint = "see start, end and exclude"
	}
	f.AddHint(prefix+"timer", hint, "timer %q never fires after %s", t.Timer, FormatInstant(now))
}

// check adds every fault of a complete task; prefix is the path of the task with the dot that follows it.
func (t *Task) check(f *Faults, prefix string) {
	if t.Name == "" {
		f.AddHint(prefix+"name", "add name: NAME", "the task has no name")
	} else if err := CheckName("task", t.Name); err != nil {
		f.AddError(prefix+"name", err)
	}
	if err := CheckName("group", t.Group); err != nil {
		f.AddError(prefix+"group", err)
	} else if t.Group == MonitorGroup {
		f.AddHint(prefix+"group", "choose another name", "group %s is that of the records of monitors", t.Group)
	}
	checkText(f, prefix+"description", t.Description, maxDescription)
	if n := t.countValues(); n > maxValues {
		f.Add(strings.TrimSuffix(prefix, "."), "there are %d values in it, at most %d are allowed", n, maxValues)
		return
	}
	t.checkWay(f, prefix)
	t.checkParams(f, prefix)
	t.checkProcess(f, prefix)
	t.checkTimer(f, prefix)
	t.checkPlaces(f, prefix)
	t.checkLimits(f, prefix)
	t.checkFollowing(f, prefix)
	t.checkStep(f, prefix)
}

func (t *Task) checkTimer(f *Faults, prefix string) {
	r := t.Rule()
	r.check(f, prefix)
	if r.Schedule == nil || !r.Schedule.Reboot() {
		return
	}
	if !r.Schedule.RebootOnly() {
		f.AddHint(prefix+"timer", "make two tasks of it", "@reboot does not stand beside other timers")
	}
	if t.Kind.Kind().Claimed() {
		f.AddHint(prefix+"kind", "use kind common", "@reboot is each node's own: there is no instant that %s nodes could share", t.Kind)
	}
}

func (t *Task) checkCommand(f *Faults, prefix string) {
	for i, arg := range t.Args {
		at := fmt.Sprintf("%sargs[%d]", prefix, i)
		checkText(f, at, arg, maxCommand-1)
		checkValue(f, at, arg, false)
	}
	at := prefix + "command"
	if len(t.Command.Argv) == 0 {
		if strings.TrimSpace(t.Command.Line) == "" {
			f.AddHint(at, `write a list, such as ["df", "-h"], or a shell line`, "there is no command, and no http, ssh or handler")
			return
		}
		checkText(f, at, t.Command.Line, maxCommand-1)
		checkValue(f, at, t.Command.Line, true)
		return
	}
	size, script := 0, shellScript(t.Command.Argv)
	for i, arg := range t.Command.Argv {
		item := fmt.Sprintf("%s[%d]", at, i)
		if i == 0 && strings.TrimSpace(arg) == "" {
			f.Add(item, "the program has no name")
		}
		size += len(arg) + 1
		checkText(f, item, arg, maxCommand-1)
		checkValue(f, item, arg, i == script)
	}
	if size > maxCommand {
		f.Add(at, "the command has %d bytes, at most %d are allowed", size, maxCommand)
	}
}

// checkProcess checks what the command runs as and what it is given.
func (t *Task) checkProcess(f *Faults, prefix string) {
	if t.User != "" && !validUser(t.User) {
		f.AddHint(prefix+"user", "write a login name, such as postgres, or a number", "user %q is no user", t.User)
	}
	size := 0
	for _, k := range slices.Sorted(maps.Keys(t.Env)) {
		at := prefix + "env" + entry(k)
		size += len(k) + len(t.Env[k]) + 2
		switch {
		case !validEnvName(k):
			f.addKey(at, "use letters, digits and '_', and begin with none of the digits", "%q is no name of a variable", k)
		case strings.HasPrefix(k, "ROTA_"):
			f.addKey(at, "choose another name", "names that begin with ROTA_ are given to a run by Rota")
		}
		checkText(f, at, t.Env[k], maxEnv)
		checkValue(f, at, t.Env[k], false)
	}
	if size > maxEnv {
		f.Add(prefix+"env", "the environment has %d bytes, at most %d are allowed", size, maxEnv)
	}
	if !utf8.ValidString(t.Stdin) {
		f.Add(prefix+"stdin", "it is not UTF-8")
	}
	if len(t.Stdin) > maxStdin {
		f.Add(prefix+"stdin", "it has %d bytes, at most %d are allowed", len(t.Stdin), maxStdin)
	}
	checkValue(f, prefix+"stdin", t.Stdin, false)
	checkText(f, prefix+"dir", t.Dir, maxPath)
	checkValue(f, prefix+"dir", t.Dir, false)
	if t.Dir != "" && !path.IsAbs(t.Dir) && !strings.HasPrefix(t.Dir, "{{") {
		f.AddHint(prefix+"dir", "write it from / on", "directory %q is not absolute", t.Dir)
	}
}

// checkPlaces checks on which nodes the task may run.
func (t *Task) checkPlaces(f *Faults, prefix string) {
	if len(t.Nodes) > maxNodes {
		f.AddHint(prefix+"nodes", "use labels", "there are %d nodes, at most %d are allowed", len(t.Nodes), maxNodes)
		return
	}
	for i, n := range t.Nodes {
		at := fmt.Sprintf("%snodes[%d]", prefix, i)
		checkNodeName(f, at, n)
		if slices.Contains(t.Nodes[:i], n) {
			f.Add(at, "node %s is named twice", n)
		}
	}
	t.checkWhere(f, prefix)
	if len(t.Labels) > maxLabels {
		f.Add(prefix+"labels", "there are %d labels, at most %d are allowed", len(t.Labels), maxLabels)
		return
	}
	for _, k := range slices.Sorted(maps.Keys(t.Labels)) {
		at := prefix + "labels" + entry(k)
		if err := CheckName("label", k); err != nil {
			f.AddError(at, err)
			f.Fields[len(f.Fields)-1].at.key = true
		}
		checkText(f, at, t.Labels[k], maxLabelValue)
	}
}

func (t *Task) checkLimits(f *Faults, prefix string) {
	if !slices.Contains(kindNames[:], t.Kind) {
		f.AddHint(prefix+"kind", wantOneOf(t.Kind, kindNames[:]), "kind %q is not known", t.Kind)
	}
	checkEnum(f, prefix+"overlap", t.Overlap, Overlaps)
	checkEnum(f, prefix+"catchup", t.Catchup, Catchups)
	checkEnum(f, prefix+"on_lost", t.OnLost, OnLosts)
	if t.Success != "" {
		checkEnum(f, prefix+"success", t.Success, SuccessBys)
	}
	if t.ResultFrom != "" {
		checkEnum(f, prefix+"result_from", t.ResultFrom, Streams)
	}
	for _, d := range [...]struct {
		path string
		d    Duration
	}{
		{"timeout", t.Timeout}, {"late_after", t.LateAfter}, {"grace", t.Grace}, {"deadline", t.Deadline}, {"jitter", t.Jitter},
		{"retry.interval", t.Retry.Interval}, {"retry.max", t.Retry.Max},
	} {
		checkDuration(f, prefix+d.path, d.d)
	}
	if t.Jitter.Std() > maxJitter {
		f.Add(prefix+"jitter", "%s is more than %s", t.Jitter, Duration(maxJitter))
	}
	if t.Concurrency < 1 || t.Concurrency > maxConcurrency {
		f.Add(prefix+"concurrency", "%d is not from 1 to %d", t.Concurrency, maxConcurrency)
	}
	if t.Kind.Kind() == KindAlone {
		if t.Concurrency > 1 {
			f.AddHint(prefix+"concurrency", "leave it out, or use kind interval", "no two runs of an alone task overlap, but the concurrency is %d", t.Concurrency)
		}
		if t.Overlap == OverlapAllow {
			f.AddHint(prefix+"overlap", "use skip or queue, or kind interval", "no two runs of an alone task overlap")
		}
	}
	t.Retry.check(f, prefix)
	t.Limits.check(f, prefix+"limits.")
}

func (r Retry) check(f *Faults, prefix string) {
	if r.Count < 0 || r.Count > maxRetries {
		f.Add(prefix+"retry.count", "%d is not from 0 to %d", r.Count, maxRetries)
	}
	if r.Count == 0 && !r.IsZero() {
		f.AddHint(prefix+"retry", "add count", "nothing is retried while the count is 0")
	}
	if r.Backoff != 0 && (math.IsNaN(r.Backoff) || r.Backoff < 1 || r.Backoff > maxBackoff) {
		f.AddHint(prefix+"retry.backoff", "2 doubles each wait", "%v is not from 1 to %d", r.Backoff, maxBackoff)
	}
}

// checkFollowing checks what the end of a run may bring about.
func (t *Task) checkFollowing(f *Faults, prefix string) {
	t.checkDepends(f, prefix)
	checkNotify(f, prefix, t.Notify)
	for _, a := range [...]struct {
		path     string
		patterns []string
	}{{"config", t.Allow.Config}, {"next", t.Allow.Next}, {"conditions", t.Allow.Conditions}, {"groups", t.Allow.Groups}} {
		at := prefix + "allow." + a.path
		if len(a.patterns) > maxPatterns {
			f.Add(at, "there are %d patterns, at most %d are allowed", len(a.patterns), maxPatterns)
			continue
		}
		for i, p := range a.patterns {
			item := fmt.Sprintf("%s[%d]", at, i)
			checkText(f, item, p, maxLabelValue)
			if _, err := path.Match(p, ""); err != nil || p == "" {
				f.AddHint(item, "use * and ?, such as BACKUP_*", "%q is no pattern", p)
			}
		}
	}
}
