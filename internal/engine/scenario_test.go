package engine_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios in testdata do now")

// TestScenarios runs the files of testdata. Each is a row of blocks: commands, a line ----, and what the leader
// does then, each action with its time. Comments begin with #. The commands are those of [scenario.run].
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want), false)
			switch {
			case *rewrite:
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			case got != string(want):
				t.Errorf("%s does otherwise; go test -rewrite shows how:\n%s", file, difference(string(want), got))
			}
			if sooner := play(t, got, true); sooner != got {
				t.Errorf("%s does otherwise where the watch tells of a write before its answer comes:\n%s", file, difference(got, sooner))
			}
		})
	}
}

// difference shows the first line that differs.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(a), len(b))
}

// play runs a file and gives it with what happened. Where the watch tells of the leader's writes sooner than their answers come, the
// same should happen.
func play(t *testing.T, text string, sooner bool) string {
	s := &scenario{t: t, w: newWorld(1)}
	s.w.sooner = func() bool { return sooner }
	var out bytes.Buffer
	var block []string
	inOutput := false
	flush := func() {
		if len(block) > 0 {
			s.w.said = nil
			for _, line := range block {
				s.run(line)
			}
			s.w.checks.placedAt(s.w.masters[0])
			out.WriteString("----\n" + strings.Join(append(s.w.said, ""), "\n") + "\n")
			if len(s.w.checks.wrong) > 0 {
				t.Errorf("after %q: %v", block, s.w.checks.wrong)
				s.w.checks.wrong = nil
			}
		}
		block = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "----":
			inOutput = true
			flush()
		case inOutput && line == "":
			inOutput = false
		case inOutput:
		default:
			out.WriteString(line + "\n")
			if line != "" && line[0] != '#' {
				block = append(block, line)
			}
		}
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

type scenario struct {
	t *testing.T
	w *world
}

func (s *scenario) say(format string, args ...any) {
	s.w.said = append(s.w.said, fmt.Sprintf(format, args...))
}

// words splits a command; what is in double quotes is one word or part of one.
func words(line string) []string {
	quoted := false
	return strings.FieldsFunc(strings.TrimSpace(line), func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

// run does one command:
//
//	node ID [LABEL=VALUE…], cordon ID, uncordon ID, delete-node ID, unreadable-node ID, online ID [SESSION], offline ID
//	clock-behind ID DURATION    how far a node's clock is behind the leader's
//	task NAME [FIELD=VALUE…], pause NAME, resume NAME, delete NAME, config [GROUP/]KEY=VALUE
//	claim NODE TASK TIME, record NODE TASK TIME OUTCOME [RESULT]    what a node does with an instant
//	group NAME [FIELD=VALUE…], delete-group NAME, pause-group NAME, resume-group NAME
//	run-group NAME [KEY=VALUE…], cancel-execution NAME, retry-execution NAME, executions
//	run TASK [key=K] [nodes=A,B], start RUN, end RUN OUTCOME [RESULT]
//	backfill TASK FROM TO [parallel=N] [nodes=A,B], cancel backfill1, backfills    asks for one, cancels it, shows them
//	advance DURATION    time passes, and the leader plans each second
//	sleep DURATION      time passes, and there is no leader
//	lead                a master that has just started takes over
//	show jobs|history|floors|claims|dispatches|config, explain TASK, stranded TASK
func (s *scenario) run(line string) {
	args := append(words(line), "", "", "", "", "", "")
	w, id := s.w, job.NodeID(args[1])
	switch args[0] {
	case "node":
		delete(w.unreadable, id)
		n := &job.Node{ID: id, Labels: map[string]string{}, CreatedAt: w.now}
		if old := w.nodes[id]; old != nil {
			n.CreatedAt = old.CreatedAt
		}
		for _, l := range args[2:] {
			if k, v, ok := strings.Cut(l, "="); ok {
				n.Labels[k] = v
			}
		}
		w.putNode(n)
	case "cordon", "uncordon":
		n := w.nodes[id].Clone()
		n.Cordoned = args[0] == "cordon"
		w.putNode(n)
	case "delete-node":
		w.deleteNode(id)
	case "unreadable-node": // its document, from here on
		w.unreadable[id] = true
		w.tell(nodes, string(id), engine.NodeUnreadable{Node: id})
	case "clock-behind":
		w.tell(presences, string(id), engine.NodeClock{Node: id, Behind: s.duration(args[2])})
	case "online":
		w.join(id, orElse(args[2], string(id)+".1"))
	case "offline":
		w.leave(id)
	case "task":
		s.task(args)
	case "pause", "resume":
		w.pause(job.Ref("", args[1]), args[0] == "pause")
	case "delete":
		w.deleteTask(job.Ref("", args[1]))
	case "config":
		k, v, _ := strings.Cut(args[1], "=")
		g, name, ok := strings.Cut(k, "/")
		if !ok {
			g, name = "", k
		}
		w.putConfig(g, name, v)
	case "claim":
		c := job.Claim{Task: job.Ref("", args[2]), Instant: s.time(args[3]), Node: id, Session: w.online[id].Session, Job: "x"}
		if !w.claim(c) {
			s.say("%s refused", line)
		}
		return
	case "record":
		ref, at := job.Ref("", args[2]), s.time(args[3])
		rec := job.CreateExecutionRecord(s.job(id, ref), job.FiringID(ref, "", at), w.now, w.now, job.Outcome(args[4]), "")
		rec.Instant, rec.Trigger, rec.Result = at, job.TriggerTimer, result(args[5])
		w.handOver(&rec)
		return
	case "run":
		s.request(args)
	case "group", "delete-group", "pause-group", "resume-group", "run-group", "cancel-execution", "retry-execution", "executions":
		s.flow(args)
	case "backfill", "cancel", "backfills":
		s.backfill(args)
	case "start", "end":
		s.work(args)
		return
	case "advance":
		w.pass(s.duration(args[1]), time.Second)
		return
	case "sleep":
		w.now = w.now.Add(s.duration(args[1]))
		return
	case "lead":
		w.relist()
	case "stranded":
		w.said = append(w.said, w.leader().Stranded(job.Ref("", args[1]))...)
		return
	case "show", "explain":
		s.show(args[0]+" "+args[1], args[1])
		return
	default:
		s.t.Fatalf("unknown command %q", line)
	}
	if args[0] != "node" && args[0] != "online" && args[0] != "offline" || len(w.tasks) > 0 {
		w.rest(100)
	}
	w.hearAll(w.masters[0])
}

func (s *scenario) task(args []string) {
	t := job.Task{Name: args[1], Command: job.Line("true")}
	fields := map[string]string{}
	for _, f := range args[2:] {
		if k, v, ok := strings.Cut(f, "="); ok {
			fields[k] = strings.Trim(v, `"`)
		}
	}
	for k, v := range fields {
		switch k {
		case "timer":
			t.Timer = job.Timer(v)
		case "kind":
			t.Kind = job.KindName(v)
		case "mode":
			t.Mode = job.RuleMode(v)
		case "command":
			t.Command = job.Line(v)
		case "catchup":
			t.Catchup = job.Catchup(v)
		case "on_lost":
			t.OnLost = job.OnLost(v)
		case "deadline":
			t.Deadline = job.Duration(s.duration(v))
		case "jitter":
			t.Jitter = job.Duration(s.duration(v))
		case "nodes":
			for n := range strings.SplitSeq(v, ",") {
				t.Nodes = append(t.Nodes, job.NodeID(n))
			}
		case "group":
			t.Group = v
		case "when":
			t.When = v
		case "foreach":
			t.ForEach = v
		case "max_parallel":
			fmt.Sscan(v, &t.MaxParallel)
		case "allow_failure":
			t.AllowFailure = true
		case "allow.groups":
			t.Allow.Groups = strings.Split(v, ",")
		case "where":
			t.Where = v
		case "max_nodes":
			fmt.Sscan(v, &t.MaxNodes)
		case "spread":
			t.Spread = job.Spread(v)
		case "depends": // TASK[:STRATEGY[:WITHIN]],…
			for d := range strings.SplitSeq(v, ",") {
				part := append(strings.Split(d, ":"), "", "")
				dep := job.Depend{Task: part[0], Strategy: job.DependStrategy(part[1])}
				if part[2] != "" {
					dep.Within = job.Duration(s.duration(part[2]))
				}
				t.Depends = append(t.Depends, dep)
			}
		case "passive":
			t.Passive = v == "true"
		case "labels":
			key, value, _ := strings.Cut(v, ":")
			t.Labels = map[string]string{key: value}
		case "allow.config":
			t.Allow.Config = strings.Split(v, ",")
		case "allow.next":
			t.Allow.Next = strings.Split(v, ",")
		case "allow.conditions":
			t.Allow.Conditions = strings.Split(v, ",")
		default:
			s.t.Fatalf("unknown field %q", k)
		}
	}
	t.Complete()
	if err := t.Valid(); err != nil {
		s.t.Fatal(err)
	}
	s.w.apply(t)
}

func (s *scenario) request(args []string) {
	r := engine.Request{Task: job.Ref("", args[1]), Key: "key", Trigger: job.TriggerRun}
	for _, a := range args[2:] {
		switch k, v, _ := strings.Cut(a, "="); k {
		case "key":
			r.Key = v
		case "force":
			r.Force = true
		case "nodes":
			for n := range strings.SplitSeq(v, ",") {
				r.Nodes = append(r.Nodes, job.NodeID(n))
			}
		}
	}
	a, err := s.w.leader().Ask(r, s.w.now)
	if err != nil {
		s.say("%v", err)
		return
	}
	for _, d := range a.Dispatches {
		s.say("%s: %t", s.w.describe(engine.CreateDispatch{Dispatch: d}), s.w.do(engine.CreateDispatch{Dispatch: d}))
	}
	for _, r := range a.Waiting {
		s.say("%s: %t", s.w.describe(engine.CreateWaiting{Waiting: r}), s.w.do(engine.CreateWaiting{Waiting: r}))
	}
	for _, n := range a.NotRun {
		s.say("not on %s: %s", n.Node, n.Reason)
	}
}

// work is what a node does with a dispatch.
func (s *scenario) work(args []string) {
	for _, d := range s.w.dispatches {
		if s.w.runName(string(d.Run)) != args[1] {
			continue
		}
		if args[0] == "start" {
			s.w.start(d, s.w.online[d.Node].Session)
			return
		}
		rec := engine.DispatchRecord(d, s.w.now, job.Outcome(args[2]), "")
		rec.Result = result(args[3])
		s.w.handOver(&rec)
		return
	}
	s.say("there is no dispatch %s", args[1])
}

func (s *scenario) show(what, name string) {
	w := s.w
	switch what {
	case "show jobs":
		for _, ref := range w.ever {
			for _, j := range slices.SortedFunc(maps.Values(w.jobs), func(a, b storedJob) int { return strings.Compare(string(a.job.NodeID), string(b.job.NodeID)) }) {
				if j.job.Ref() == ref {
					s.say("%s", strings.TrimPrefix(w.describe(engine.PutJob{Job: j.job}), "put job "))
				}
			}
		}
	case "show history":
		var lines []string
		for _, r := range w.history {
			lines = append(lines, w.record(r))
		}
		slices.Sort(lines)
		w.said = append(w.said, lines...)
	case "show floors":
		for _, ref := range w.ever {
			if f, ok := w.floors[ref]; ok {
				s.say("%s %s", ref, clock(f))
			}
		}
	case "show claims":
		for _, ref := range w.ever {
			for _, at := range slices.Sorted(maps.Keys(w.claims[ref])) {
				s.say("%s %s by %s", ref, clock(time.Unix(at, 0)), w.claims[ref][at].Session)
			}
		}
	case "show facts":
		for _, k := range slices.Sorted(maps.Keys(w.facts)) {
			f := w.facts[k]
			line := k
			if !f.Success.IsZero() {
				line += " succeeded at " + clock(f.Success)
			}
			if f.Run != "" {
				line += ", " + w.runName(string(f.Run)) + " is under way"
			}
			s.say("%s", line)
		}
	case "show waiting":
		for _, r := range slices.SortedFunc(maps.Values(w.waiting), func(a, b *job.Waiting) int {
			return strings.Compare(w.runName(string(a.Run)), w.runName(string(b.Run)))
		}) {
			s.say("%s: %s on %q waits for %s", w.runName(string(r.Run)), r.Ref(), r.Node, strings.Join(w.leader().WaitsFor(r, w.now), " and "))
		}
	case "show dispatches":
		for _, k := range slices.Sorted(maps.Keys(w.dispatches)) {
			s.say("%s", w.dispatch(w.dispatches[k]))
		}
	case "show config":
		for _, k := range slices.SortedFunc(maps.Keys(w.config), func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) }) {
			s.say("%s", strings.TrimPrefix(fmt.Sprintf("%s/%s=%s", k[0], k[1], w.config[k]), "/"))
		}
	default:
		for _, p := range w.leader().Explain(job.Ref("", name)) {
			s.say("%s", strings.TrimSpace(fmt.Sprintf("%s bound %t online %t %s", p.Node, p.Bound, p.Online, p.Reason)))
		}
	}
}

func (s *scenario) job(id job.NodeID, ref job.TaskRef) *job.Job {
	if j := s.w.jobs[string(id)+"/"+job.JobHash(ref, id)]; j.job != nil {
		return j.job
	}
	return &job.Job{ID: job.JobHash(ref, id), TaskID: ref.String(), Group: ref.Group, Name: ref.Name, NodeID: id}
}

func (s *scenario) time(text string) time.Time {
	t, err := time.Parse(time.DateTime, "2026-03-02 "+text)
	if err != nil {
		s.t.Fatal(err)
	}
	return t
}

func (s *scenario) duration(text string) time.Duration {
	d, err := job.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Std()
}

func result(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
