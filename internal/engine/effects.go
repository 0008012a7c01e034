package engine

import (
	"encoding/json"
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
		return nil, nil
	}
	if rec.Outcome == job.Lost && t.entry.Task.OnLost == job.LostRerun {
		actions = append(actions, s.rerun(t, rec, now)...)
	}
	if len(rec.Result) == 0 {
		return actions, nil
	}
	var res job.Result
	if err := json.Unmarshal(rec.Result, &res); err != nil {
		return actions, []string{"its result is not of the known form: " + err.Error()}
	}
	acts, refused := s.carryOut(t, rec, &res, now)
	return append(actions, acts...), refused
}

// maxReruns bounds how often a run that is lost time and again is started anew.
const maxReruns = 3

func (s *State) rerun(t *task, rec *job.ExecutionRecord, now time.Time) []Action {
	if (rec.Trigger == job.TriggerRetry || rec.Trigger == job.TriggerBackfill) && rec.Attempt > maxReruns {
		return nil
	}
	r := Request{
		Task: t.ref, Key: "rerun/" + rec.ID, Trigger: job.TriggerRetry, Cause: "lost run " + rec.ID, Attempt: max(rec.Attempt, 1) + 1,
		Force: true, wait: true,
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
		refused = append(refused, "next group "+g+": groups are not run as one in this version")
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
	dispatches, _, err := s.Dispatch(r, now)
	if err != nil {
		return nil, err.Error()
	}
	return creations(dispatches, time.Time{}), ""
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
