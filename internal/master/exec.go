package master

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// ExecGroup is the group of commands that are no tasks, in their records and processes.
const ExecGroup = "exec"

const (
	execWithin  = time.Minute // a node that does not come to it by then leaves it: who asked is waiting
	maxExec     = 256 << 10   // bytes of a command, with its environment and its stdin
	maxExecTime = 7 * 24 * time.Hour
)

// Exec asks for a run of a command now, on each of the nodes that are meant. It goes to them as a dispatch whose job is no
// task's: it starts at most once, ends in a record, and can be killed like any other.
func (m *Master) Exec(ctx context.Context, r client.ExecRequest) (RunAnswer, error) {
	if err := checkExec(&r); err != nil {
		return RunAnswer{}, err
	}
	on, answer, err := m.execNodes(&r)
	if len(answer.NotRun) > 0 || job.CodeOf(err) == job.CodeUnavailable {
		if err := m.view.catchUp(ctx); err != nil {
			return RunAnswer{}, err
		}
		on, answer, err = m.execNodes(&r)
	}
	if err != nil {
		return answer, err
	}
	given := r.Key != ""
	if !given {
		id, err := uuid.NewV7()
		if err != nil {
			return RunAnswer{}, err
		}
		r.Key = id.String()
	}
	ref := m.execRef(r.By)
	now := m.Now().UTC()
	var ops []store.Op
	for _, id := range on {
		j := execJob(&r, ref, id, now)
		run := job.CauseID("exec/"+r.By+"/"+r.Key, j.Hash)
		j.EventID = string(run)
		answer.Runs = append(answer.Runs, RunHandle{Run: run, Task: ref, Node: id})
		if given {
			_, known, err := m.asked(ctx, run, []job.NodeID{id})
			if err != nil {
				return RunAnswer{}, err
			}
			if known {
				continue
			}
		}
		d := &job.Dispatch{
			Run: run, Node: id, Job: j, Trigger: job.TriggerRun, Cause: r.By, RequestedAt: now, NotAfter: now.Add(execWithin),
		}
		if err := d.Valid(); err != nil {
			return RunAnswer{}, err
		}
		ops = append(ops, store.CreateDispatch(d))
	}
	if len(ops) > 0 {
		m.Logger.Info("a command is run", "by", r.By, "command", commandLine(r.Command), "user", r.User, "nodes", on)
		if _, err := m.store().Do(ctx, ops...); err != nil {
			return RunAnswer{}, err
		}
	}
	return answer, nil
}

// commandLine is a command for people.
func commandLine(argv []string) string { return job.Command{Argv: argv}.String() }

func checkExec(r *client.ExecRequest) error {
	var f job.Faults
	if len(r.Command) == 0 || r.Command[0] == "" {
		f.AddHint("command", `give at least a program, such as ["uptime"]`, "it is empty")
	}
	size := len(r.Stdin)
	words := slices.Concat(r.Command, []string{r.Dir, r.Stdin})
	for _, k := range slices.Sorted(maps.Keys(r.Env)) {
		if k == "" || strings.ContainsAny(k, "=\x00") {
			f.Add("env", "%.40q is not the name of a variable", k)
		}
		words = append(words, r.Env[k])
		size += len(k)
	}
	for i, w := range words {
		if i != len(r.Command)+1 && strings.ContainsRune(w, 0) {
			f.Add("", "%.40q holds a NUL byte, which no argument, variable or path can", w)
		}
		size += len(w)
	}
	if size > maxExec {
		f.AddHint("command", "put it into a file on the nodes", "it has %d bytes, with its environment and its input; at most %d are allowed", size, maxExec)
	}
	if r.Dir != "" && !path.IsAbs(r.Dir) {
		f.Add("dir", "%q is not an absolute path", r.Dir)
	}
	if r.Timeout < 0 || r.Timeout.Std() > maxExecTime {
		f.Add("timeout", "%s is not between 0 and %s", r.Timeout, job.Duration(maxExecTime))
	}
	if _, err := job.ParseSelector(r.Where); err != nil {
		f.AddError("where", err)
	}
	if len(r.Nodes) > 0 && (len(r.Labels) > 0 || r.Where != "") {
		f.AddHint("nodes", "leave one of them out", "nodes are chosen by name or by labels")
	}
	for _, n := range r.Nodes {
		if err := job.CheckName("node", string(n)); err != nil {
			f.AddError("nodes", err)
		}
	}
	return f.Err("the command can't be run")
}

// execNodes are the nodes that are meant and can run it. Where there is none the error says why.
func (m *Master) execNodes(r *client.ExecRequest) (on []job.NodeID, answer RunAnswer, err error) {
	where, err := job.ParseSelector(r.Where)
	if err != nil {
		return nil, answer, err
	}
	m.view.with(func() {
		meant := slices.Compact(slices.Sorted(slices.Values(r.Nodes)))
		if len(r.Nodes) == 0 {
			meant = slices.Sorted(maps.Keys(m.view.nodes))
		}
		for _, id := range meant {
			n, why := m.view.nodes[id], ""
			switch {
			case n == nil:
				why = "there is no such node"
			case len(r.Nodes) == 0 && !(carries(n.Labels, r.Labels) && where.Matches(n)):
				continue
			case m.view.online[id] == nil:
				why = "it is offline"
			case n.Cordoned && len(r.Nodes) == 0:
				why = "it is cordoned"
			}
			if why != "" {
				answer.NotRun = append(answer.NotRun, job.NotRun{Node: id, Reason: why})
				continue
			}
			on = append(on, id)
		}
	})
	if len(on) > 0 {
		return on, answer, nil
	}
	var why []string
	for _, n := range answer.NotRun {
		why = append(why, fmt.Sprintf("%s: %s", n.Node, n.Reason))
	}
	what := "no node is selected"
	if len(why) > 0 {
		what = strings.Join(why, "; ")
	}
	return nil, answer, job.Errorf(job.CodeUnavailable, "no node can run the command now (%s)", what).WithHint("see: rota get nodes")
}

func carries(labels, wanted map[string]string) bool {
	for k, v := range wanted {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// execRef is under what the records of somebody's commands stand: never that of a task, whose results may act.
func (m *Master) execRef(by string) job.TaskRef {
	name := cmp.Or(by, "somebody")
	if job.CheckName("task", name) != nil {
		name = "somebody"
	}
	ref := job.Ref(ExecGroup, name)
	m.view.with(func() {
		for m.view.tasks[ref] != nil && len(ref.Name) < job.MaxName {
			ref.Name += "x"
		}
	})
	return ref
}

// execJob is the job of a command on a node.
func execJob(r *client.ExecRequest, ref job.TaskRef, id job.NodeID, now time.Time) *job.Job {
	argv := make([]string, len(r.Command))
	for i, w := range r.Command {
		argv[i] = plain(w)
	}
	hash := job.JobHash(ref, id)
	out := &job.Job{
		ID: hash, Hash: hash, TaskID: ref.String(), Group: ref.Group, Name: ref.Name, NodeID: id,
		Command: commandLine(r.Command), Argv: argv, Stdin: plain(r.Stdin), User: r.User, Dir: plain(r.Dir), Envs: []string{},
		Timeout: r.Timeout.Seconds(), Kind: job.KindCommon, Overlap: job.OverlapAllow, Concurrency: 1, OnLost: job.LostRecord, Since: now,
	}
	for _, k := range slices.Sorted(maps.Keys(r.Env)) {
		out.Envs = append(out.Envs, k+"="+plain(r.Env[k]))
	}
	return out
}

// plain writes a text so that nothing in it is a value.
func plain(s string) string { return strings.ReplaceAll(s, "{{", `{{ "{{" }}`) }
