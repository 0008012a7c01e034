package app

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/schedule"
)

func (c *cli) taskTable(list []client.TaskView) *table {
	t := &table{
		head: []string{"TASK", "TIMER", "NEXT", "NODES", "RUNNING", "LAST", "ENDED", "KIND", "MODE", "ZONE", "COMMAND"}, wide: 7,
	}
	for i := range list {
		v := &list[i]
		next, last, ended := plain(""), plain(""), ""
		if len(v.Next) > 0 {
			next = plain(c.when(v.Next[0]))
		}
		if v.Paused {
			next = cell{"paused", yellow}
		}
		if v.Last != nil {
			last, ended = outcomeCell(v.Last.Outcome), c.when(v.Last.EndTime)
		}
		nodes := plain(strconv.Itoa(len(v.Nodes)))
		if len(v.Nodes) == 0 {
			nodes.colour = yellow
		}
		k := &v.Task
		t.add(v.Ref().String(), strings.Join(k.Timer.Lines(), "; "), next, nodes, v.Running, last, ended,
			string(k.Kind), string(k.Mode), zoneText(k), clip(k.What(), 60))
	}
	return t
}

// clip shortens a text to n letters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func zoneText(t *job.Task) string {
	if t.Timer == "" {
		return ""
	}
	return zone(t).String()
}

// zone is the time zone of a task, UTC where it has none.
func zone(t *job.Task) *time.Location {
	if t == nil || t.Timezone == "" {
		return time.UTC
	}
	loc, err := schedule.LoadLocation(t.Timezone)
	if err != nil {
		return time.UTC
	}
	return loc
}

func (c *cli) jobTable(list []*job.Job) *table {
	t := &table{head: []string{"TASK", "NODE", "KIND", "TIMER", "LAST", "ENDED", "AVERAGE", "ID", "COMMAND"}, wide: 7}
	for _, j := range list {
		timer, last, ended, average := "", plain(""), "", ""
		if j.Rules != nil {
			timer = strings.Join(job.Timer(j.Rules.Timer).Lines(), "; ")
		}
		if j.Pause {
			timer = "paused"
		}
		if j.RunStatus != nil {
			last, ended = outcomeCell(job.Outcome(j.RunStatus.Status)), c.when(j.RunStatus.EndTime)
		}
		if j.AvgTime > 0 {
			average = short(time.Duration(j.AvgTime) * time.Millisecond)
		}
		t.add(j.TaskID, string(j.NodeID), string(j.Kind.Name()), timer, last, ended, average, j.ID, clip(j.What(), 60))
	}
	return t
}

func (c *cli) nodeTable(list []client.NodeView) *table {
	t := &table{head: []string{"NODE", "STATUS", "RUNNING", "JOBS", "LABELS", "SINCE", "CLOCK", "HOST", "SYSTEM", "CPUS", "VERSION"}, wide: 5}
	for i := range list {
		v := &list[i]
		t.add(string(v.ID), nodeStatus(v), v.Running, v.Jobs, labels(v.Labels), c.when(v.Since), skewText(v), v.Facts.Hostname,
			strings.Trim(v.Facts.OS+"/"+v.Facts.Arch, "/"), v.Facts.CPUs, v.Facts.Version)
	}
	return t
}

func nodeStatus(v *client.NodeView) cell {
	switch {
	case v.Online && v.Drained:
		return cell{"online,drained", yellow}
	case v.Online && v.Draining:
		return cell{"online,draining", yellow}
	case !v.Online && v.Cordoned:
		return cell{"offline,cordoned", red}
	case !v.Online:
		return cell{"offline", red}
	case v.Cordoned:
		return cell{"online,cordoned", yellow}
	}
	return cell{"online", green}
}

func labels(m map[string]string) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		words = append(words, k+"="+m[k])
	}
	return strings.Join(words, ",")
}

func (c *cli) recordTable(list []job.ExecutionRecord) *table {
	t := &table{
		head: []string{"RUN", "OUTCOME", "NODE", "TRIGGER", "BEGAN", "TOOK", "REASON", "ID", "INSTANT", "ATTEMPT", "EXIT", "BYTES"},
		wide: 7,
	}
	for i := range list {
		r := &list[i]
		took, instant, exit := "", "", ""
		if r.Outcome.Ran() {
			took = short(r.Duration())
		}
		if !r.Instant.IsZero() {
			instant = r.Instant.UTC().Format(time.RFC3339)
		}
		if r.Count > 1 {
			instant += fmt.Sprintf(" (%d)", r.Count)
		}
		if r.ExitCode != nil {
			exit = strconv.Itoa(*r.ExitCode)
		}
		t.add(recordName(r), outcomeCell(r.Outcome), string(r.Node), string(r.Trigger), c.when(r.BeginTime), took, clip(r.Reason, 60),
			r.ID, instant, r.Attempt, exit, r.OutputBytes)
	}
	return t
}

func (c *cli) processTable(list []*job.Process) *table {
	t := &table{head: []string{"RUN", "TASK", "NODE", "PID", "BEGAN", "PROGRESS", "AGE", "TRIGGER", "ATTEMPT", "USER", "COMMAND"}, wide: 6}
	for _, p := range list {
		t.add(string(p.Run), job.Ref(p.Group, p.Name).String(), string(p.NodeID), p.ID, c.when(p.Time), progressText(p.Progress), short(c.Now().Sub(p.Time)), string(p.Trigger),
			p.Attempt, p.User, clip(p.Command, 60))
	}
	return t
}

// progressText is how far a run says it is.
func progressText(p *job.Progress) string {
	if p == nil {
		return ""
	}
	percent := fmt.Sprintf("%.0f%%", 100*p.Progress)
	if p.Message == "" {
		return percent
	}
	return percent + " " + clip(oneLine(p.Message), 40)
}

func configTable(_ *cli, list []client.Config) *table {
	t := &table{head: []string{"KEY", "GROUP", "VALUE", "REVISION"}, wide: 3}
	for _, v := range list {
		t.add(v.Key, v.Group, v.Value, v.Revision)
	}
	return t
}
