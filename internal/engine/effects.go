package engine

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// React says what follows from a record. Every action is idempotent by its name or its value, so that carrying the
// list out twice is carrying it out once. What the result asked for and may not have is told in refused.
func (s *State) React(rec *job.ExecutionRecord, now time.Time) (actions []Action, refused []string) {
	t := s.tasks[rec.Ref()]
	if t == nil || t.entry == nil {
		if len(rec.Result) > 0 {
			refused = []string{"its task is gone, or can't be read: its result brings nothing about"}
		}
		return nil, refused
	}
	if a := s.ended(t, rec, now); a != nil {
		actions = append(actions, a)
	}
	if rec.Outcome == job.Lost && t.entry.Task.OnLost == job.LostRerun && rec.Trigger != job.TriggerGroup { // which its execution does
		actions = append(actions, s.rerun(t, rec, now)...)
	}
	if len(rec.Result) == 0 {
		return actions, nil
	}
	res, unknown, err := job.ReadResult(rec.Result)
	if err != nil {
		return actions, []string{"its result is not of the known form: " + err.Error()}
	}
	acts, refused := s.carryOut(t, rec, res, now)
	if len(unknown) > 0 && !ownNames(t, rec) {
		refused = append(refused, nothingFollows(unknown))
	}
	return append(actions, acts...), refused
}

// ownNames tells whether a result may have fields that mean nothing here: what a step hands on has names that the steps
// after it know, and the answer of somebody's server was not written for Rota.
func ownNames(t *task, rec *job.ExecutionRecord) bool {
	h := t.entry.Task.HTTP
	return rec.Execution != "" || h != nil && h.ResultFrom == job.ResultFromBody
}

// nothingFollows tells of the fields of a result that nobody knows.
func nothingFollows(fields []string) string {
	const shown = 8
	more := ""
	if n := len(fields) - shown; n > 0 {
		fields, more = fields[:shown], fmt.Sprintf(" and %d more", n)
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = fmt.Sprintf("%.60q", f)
	}
	return "nothing follows from " + strings.Join(names, ", ") + more + ": no such field of a result is known; what is for people or other programs is written below body"
}

// maxReruns bounds how often a run that is lost time and again is started anew.
const maxReruns = 3

func (s *State) rerun(t *task, rec *job.ExecutionRecord, now time.Time) []Action {
	if (rec.Trigger == job.TriggerRetry || rec.Trigger == job.TriggerBackfill) && rec.Attempt > maxReruns {
		return nil
	}
	r := Request{
		Task: t.ref, Key: "rerun/" + rec.ID, Trigger: job.TriggerRetry, Cause: "lost run " + rec.ID, Attempt: max(rec.Attempt, 1) + 1,
		Params: rec.Params, Force: true, again: true, wait: true,
	}
	if rec.Trigger == job.TriggerBackfill {
		r.Trigger = job.TriggerBackfill // what it makes up for is not what its timer brought about
	}
	if !t.entry.Task.Kind.Kind().Claimed() && rec.Node != "" {
		r.Nodes = []job.NodeID{rec.Node}
	}
	dispatches, _, err := s.Dispatch(r, now)
	if err != nil {
		return nil
	}
	return creations(dispatches, rec.Instant)
}

func creations(dispatches []*job.Dispatch, instant time.Time) []Action {
	var actions []Action
	for _, d := range dispatches {
		d.Instant = instant
		actions = append(actions, CreateDispatch{Dispatch: d})
	}
	return actions
}

// The types of a result; none is as good as check.
const (
	ResultCheck   = "check"
	ResultInstall = "install"
	ResultCommon  = "common"
)

// carryOut does what a result asks for, within what its task allows.
func (s *State) carryOut(t *task, rec *job.ExecutionRecord, res *job.Result, now time.Time) (actions []Action, refused []string) {
	allow := t.entry.Task.Allow
	set := func(group, key, value string) {
		switch {
		case job.CheckName("configuration", key) != nil:
			refused = append(refused, "configuration "+key+": not a valid name")
		case !allowed(allow.Config, key):
			refused = append(refused, "configuration "+key+": not in allow.config")
		default:
			actions = append(actions, SetConfig{Group: group, Key: key, Value: value, Record: rec.ID})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(res.Global)) {
		set("", k, res.Global[k])
	}
	for _, g := range slices.Sorted(maps.Keys(res.Config)) {
		if g != t.ref.Group {
			refused = append(refused, "configuration of group "+g+": a task sets that of its own group")
			continue
		}
		for _, k := range slices.Sorted(maps.Keys(res.Config[g])) {
			set(g, k, res.Config[g][k])
		}
	}
	// As it was in Rainbond: what a check or an install finds out is said of its node, what a common task tells is not.
	switch res.Type {
	case "", ResultCheck, ResultInstall:
	case ResultCommon:
		for _, c := range res.Conditions {
			refused = append(refused, "condition "+c.Type+": a result of type common says nothing of its node; let it be of type check or install")
		}
		res.Conditions = nil
	default:
		refused = append(refused, fmt.Sprintf("type %q: not known; want check, install or common", res.Type))
	}
	for _, c := range res.Conditions {
		if rec.Node == "" || job.CheckName("condition", c.Type) != nil || !allowed(allow.Conditions, c.Type) {
			refused = append(refused, "condition "+c.Type+": not in allow.conditions")
			continue
		}
		actions = append(actions, SetCondition{Node: rec.Node, Type: c.Type, Status: c.Status})
	}
	for _, name := range res.NextTasks {
		acts, why := s.next(t, rec, name, now)
		if actions = append(actions, acts...); why != "" {
			refused = append(refused, "next task "+name+": "+why)
		}
	}
	for _, g := range res.NextGroups {
		a, why := s.nextGroup(t, rec, g, now)
		if why != "" {
			refused = append(refused, "next group "+g+": "+why)
			continue
		}
		actions = append(actions, a)
	}
	return actions, refused
}

// next starts a task on the node of the record that named it.
func (s *State) next(t *task, rec *job.ExecutionRecord, name string, now time.Time) ([]Action, string) {
	if !strings.Contains(name, "/") {
		name = t.ref.Group + "/" + name
	}
	ref, err := job.ParseRef(name)
	if err != nil {
		return nil, err.Error()
	}
	own := ref.Group == t.ref.Group && allowed(t.entry.Task.Allow.Next, ref.Name) // without a group it means its own
	if !own && !allowed(t.entry.Task.Allow.Next, ref.String()) {
		return nil, "not in allow.next"
	}
	r := Request{Task: ref, Key: "next/" + rec.ID, Trigger: job.TriggerNext, Cause: "record " + rec.ID, wait: true}
	if rec.Node != "" {
		r.Nodes = []job.NodeID{rec.Node}
	}
	asked, err := s.Ask(r, now)
	if err != nil {
		return nil, err.Error()
	}
	return asked.effects(s, r), ""
}

// nextGroup begins an execution of a group that a record named: the same record always the same one.
func (s *State) nextGroup(t *task, rec *job.ExecutionRecord, name string, now time.Time) (Action, string) {
	if !allowed(t.entry.Task.Allow.Groups, name) {
		return nil, "not in allow.groups"
	}
	e, err := s.PlanExecution(name, nil)
	if err != nil {
		return nil, err.Error()
	}
	e.Key = "next/" + rec.ID
	e.ID, e.Trigger, e.Cause, e.CreatedAt = job.ExecutionID(name, e.Key), job.TriggerNext, "record "+rec.ID, now.UTC()
	return StartExecution{Execution: e}, ""
}

// allowed tells whether one of the patterns matches; a malformed one matches nothing.
func allowed(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}
