package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// scenario is what is to happen in a cluster.
type scenario struct {
	seed    uint64
	masters int
	nodes   []job.NodeID
	length  time.Duration // of the time in which faults happen
	tasks   []task
	events  []event
}

// task is a task and how its commands behave.
type task struct {
	i int
	job.Task
	takes time.Duration // how long an execution lasts, about
	fails float64       // how many of its executions fail
}

// event is a fault, or something that people do.
type event struct {
	i    int
	at   time.Duration // since the faults begin
	what string
	who  string        // a node or a master; of edits: a task
	long time.Duration // how long it lasts, or a node stays down
	by   time.Duration // of a clock: how far it jumps
	how  string        // the variant
	task *task         // of an edit: what it becomes
}

const (
	quiet   = 12 * time.Second // before the faults begin, and after the tasks were applied
	lease   = 10 * time.Second
	minute  = time.Minute
	maxTake = 50 * time.Second
)

// draw makes the scenario of a seed.
func draw(seed uint64) *scenario {
	d := dice(seed)
	s := &scenario{seed: seed, masters: 1 + d.n(3, "masters"), length: d.between(2*minute, 7*minute, "length").Round(time.Second)}
	for i := range 2 + d.n(3, "nodes") + d.n(2, "more nodes")*d.n(3, "many nodes") {
		s.nodes = append(s.nodes, job.NodeID(fmt.Sprintf("n%d", i+1)))
	}
	for i := range 2 + d.n(5, "tasks") {
		s.tasks = append(s.tasks, s.drawTask(i, 0))
	}
	what := whats
	if d.chance(0.25, "locks") { // nothing but alone tasks that take long, and what may cost them their locks
		what = lockWhats
		for i := range s.tasks {
			t := &s.tasks[i]
			t.Kind, t.Mode, t.Timer, t.Depends, t.Timeout = "alone", "", "*/15 * * * * *", nil, 0
			t.takes = dice(seed).of("lock", i).between(15*time.Second, 35*time.Second, "takes").Round(100 * time.Millisecond)
			if t.Overlap == "allow" {
				t.Overlap = "skip"
			}
		}
	} else if d.chance(0.3, "words") { // people who change their minds, and masters that are well
		what = wordWhats
	}
	for i := range 3 + d.n(14, "events") {
		s.events = append(s.events, s.drawEvent(i, what))
	}
	slices.SortStableFunc(s.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return s
}

var kinds = []job.KindName{"common", "common", "interval", "interval", "alone", "alone"}

// drawTask makes the ith task, or another version of it.
func (s *scenario) drawTask(i, version int) task {
	d := dice(s.seed).of("task", i)
	v := d.of("version", version)
	t := task{i: i, takes: v.between(200*time.Millisecond, 20*time.Second, "takes").Round(100 * time.Millisecond)}
	t.Name, t.Command = fmt.Sprintf("t%d", i), job.Args("work")
	t.Timer = pick(v, []job.Timer{"*/10 * * * * *", "*/15 * * * * *", "*/30 * * * * *", "* * * * *", "@every 25s", "5,35 * * * * *"}, "timer")
	t.Kind = pick(d, kinds, "kind")
	if version > 0 && v.chance(0.2, "another kind") {
		t.Kind = pick(v, kinds, "kind")
	}
	t.Catchup = pick(v, []job.Catchup{"none", "one", "all"}, "catchup")
	t.Overlap = pick(v, []job.Overlap{"skip", "skip", "queue", "allow", "replace"}, "overlap")
	if t.Kind == "alone" && t.Overlap == "allow" {
		t.Overlap = "queue"
	}
	t.OnLost = pick(v, []job.OnLost{"record", "record", "rerun"}, "on lost")
	if v.chance(0.3, "deadline") {
		t.Deadline = job.Duration(pick(v, []time.Duration{5 * time.Second, 20 * time.Second, minute}, "deadline is"))
	}
	if v.chance(0.2, "jitter") {
		t.Jitter = job.Duration(5 * time.Second)
	}
	if v.chance(0.3, "fails") {
		t.fails = 0.4
		t.Retry = job.Retry{Count: 2, Interval: job.Duration(3 * time.Second)}
	}
	if v.chance(0.15, "long") {
		t.takes = maxTake * 2 / 3
	}
	if v.chance(0.2, "timeout") {
		t.Timeout = job.Duration(8 * time.Second)
	}
	if len(s.nodes) > 2 && d.chance(0.25, "bound") {
		t.Nodes = slices.Clone(s.nodes[:2])
	}
	switch d.n(8, "mode") {
	case 0:
		t.Mode, t.Timer, t.Catchup, t.Jitter = job.ManyOnce, "", "", 0
	case 1:
		t.Mode, t.Timer, t.Catchup, t.Jitter = job.OnlyOnce, "", "", 0
		if i > 0 {
			t.Depends = []job.Depend{{Task: "t0", Strategy: job.AtLeastOnce}}
		}
	}
	return t
}

// What may happen, each as often as it stands here.
var whats = strings.Fields(`
	kill-agent kill-agent kill-agent stop-agent leave-agent crash-machine crash-machine
	cut cut cut lost-answers lost-answers late-requests slow pause-agent pause-agent
	kill-master kill-master cut-master lost-answers-master pause-master pause-master late-master
	no-etcd no-etcd slow-etcd compact expire-leader history-away history-lost-answers
	clock clock clock-master full-disk
	edit edit pause-task delete run run run kill kill`)

var lockWhats = strings.Fields(`pause-agent pause-agent pause-agent kill-agent kill-agent leave-agent crash-machine cut cut lost-answers late-requests slow
	kill-master no-etcd run`)

var wordWhats = strings.Fields(`pause-task pause-task pause-task pause-task delete delete delete delete delete delete edit run kill-agent pause-agent cut clock compact`)

func (s *scenario) drawEvent(i int, whats []string) event {
	d := dice(s.seed).of("event", i)
	e := event{i: i, at: d.between(0, s.length-10*time.Second, "at").Round(time.Millisecond), what: pick(d, whats, "what")}
	e.long = pick(d, []time.Duration{300 * time.Millisecond, 2 * time.Second, 6 * time.Second, 13 * time.Second, 25 * time.Second, minute}, "long")
	e.long += d.between(0, e.long/3, "longer").Round(time.Millisecond)
	e.who = string(pick(d, s.nodes, "node"))
	t := pick(d, s.tasks, "task")
	switch e.what {
	case "kill-agent", "crash-machine", "stop-agent", "leave-agent":
	case "cut":
		e.how = pick(d, []string{"loud", "silent", "requests"}, "how")
	case "no-etcd":
		e.who, e.how = "etcd", pick(d, []string{"loud", "silent"}, "how")
	case "kill-master", "cut-master", "lost-answers-master", "pause-master", "late-master", "clock-master":
		e.who = fmt.Sprintf("m%d", 1+d.n(s.masters, "master"))
		if e.what == "cut-master" {
			e.how = pick(d, []string{"loud", "silent", "requests"}, "how")
		}
	case "slow-etcd", "compact", "expire-leader":
		e.who = "etcd"
	case "history-away", "history-lost-answers":
		e.who = "history"
	case "edit":
		next := s.drawTask(t.i, 1+i)
		e.who, e.task = t.Name, &next
	case "pause-task", "delete":
		e.who = t.Name
	case "run", "kill":
		e.who, e.how = t.Name, pick(d, []string{"once", "twice"}, "how")
	}
	switch e.what {
	case "clock", "clock-master":
		e.by = pick(d, []time.Duration{time.Hour, 10 * minute, minute, 20 * time.Second, 3 * time.Second, -3 * time.Second, -20 * time.Second, -minute, -10 * minute}, "by")
	}
	return e
}

// String is the scenario for people.
func (s *scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d masters, nodes %s, faults for %s\n", s.seed, s.masters, strings.Trim(fmt.Sprint(s.nodes), "[]"), s.length)
	for _, t := range s.tasks {
		fmt.Fprintf(&b, "  task  %s\n", t.String())
	}
	for _, e := range s.events {
		fmt.Fprintf(&b, "  event %s\n", e.String())
	}
	return b.String()
}

func (t *task) String() string {
	words := []string{t.Name, string(t.Kind)}
	add := func(name, value string) {
		if value != "" {
			words = append(words, name+"="+value)
		}
	}
	span := func(d job.Duration) string {
		if d == 0 {
			return ""
		}
		return d.Std().String()
	}
	if t.Timer != "" {
		words = append(words, fmt.Sprintf("%q", string(t.Timer)))
	} else {
		add("mode", string(t.Mode))
	}
	add("catchup", string(t.Catchup))
	add("overlap", string(t.Overlap))
	add("on_lost", string(t.OnLost))
	add("deadline", span(t.Deadline))
	add("jitter", span(t.Jitter))
	add("timeout", span(t.Timeout))
	if t.Retry.Count > 0 {
		words = append(words, fmt.Sprintf("retry=%d", t.Retry.Count))
	}
	if len(t.Nodes) > 0 {
		add("nodes", strings.Trim(fmt.Sprint(t.Nodes), "[]"))
	}
	for _, d := range t.Depends {
		add("depends", d.Task)
	}
	words = append(words, "takes about "+t.takes.String())
	if t.fails > 0 {
		words = append(words, fmt.Sprintf("fails %.0f%%", 100*t.fails))
	}
	return strings.Join(words, " ")
}

func (e *event) String() string {
	text := fmt.Sprintf("%d  %s %s", e.i, e.what, e.who)
	if e.how != "" {
		text += " (" + e.how + ")"
	}
	switch {
	case e.by != 0:
		text += fmt.Sprintf(" by %s for %s", e.by, e.long)
	case e.task != nil:
		text += " to " + e.task.String()
	default:
		text += " for " + e.long.String()
	}
	return fmt.Sprintf("%-9s %s", e.at, text)
}
