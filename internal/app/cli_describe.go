package app

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) describeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "describe KIND NAME", Short: "Show everything about a task, a node, a calendar, a record or a run",
		Example: "  rota describe task nightly-backup\n  rota describe node db1\n  rota describe record nightly-backup#142",
	}
	cmd.AddCommand(
		c.describe("task TASK", []string{"tasks", "t"}, c.completeTasks, func(cmd *cobra.Command, cl *client.Client, name string) (any, error) {
			ref, err := parseRef(name)
			if err != nil {
				return nil, err
			}
			return cl.Task(cmd.Context(), ref)
		}),
		c.describe("node NODE", []string{"nodes", "no", "n"}, c.completeNodes, func(cmd *cobra.Command, cl *client.Client, name string) (any, error) {
			id, err := parseNode(name)
			if err != nil {
				return nil, err
			}
			return cl.Node(cmd.Context(), id)
		}),
		c.describe("template NAME", []string{"templates"}, c.completeTemplates, func(cmd *cobra.Command, cl *client.Client, name string) (any, error) {
			return cl.Template(cmd.Context(), name)
		}),
		c.describe("receiver NAME", []string{"receivers"}, c.completeReceivers, func(cmd *cobra.Command, cl *client.Client, name string) (any, error) {
			return cl.Receiver(cmd.Context(), name)
		}),
		c.describe("monitor NAME", []string{"monitors"}, c.completeMonitors, func(cmd *cobra.Command, cl *client.Client, name string) (any, error) {
			return cl.Monitor(cmd.Context(), name)
		}),
		c.describe("group GROUP", []string{"groups", "g"}, c.completeGroups, func(cmd *cobra.Command, cl *client.Client, name string) (any, error) {
			return cl.Group(cmd.Context(), name)
		}),
		c.describe("execution EXECUTION", []string{"executions", "ex"}, c.completeExecutions, func(cmd *cobra.Command, cl *client.Client, name string) (any, error) {
			return cl.Execution(cmd.Context(), name)
		}),
		c.describe("calendar NAME", []string{"calendars", "cal"}, c.completeCalendars, func(cmd *cobra.Command, cl *client.Client, name string) (any, error) {
			return cl.Calendar(cmd.Context(), name)
		}),
		c.describe("record TASK#N", []string{"records", "rec", "r"}, c.completeTasks, func(cmd *cobra.Command, cl *client.Client, name string) (any, error) {
			return record(cmd.Context(), cl, name)
		}),
		c.describe("run RUN", []string{"runs"}, nil, func(cmd *cobra.Command, cl *client.Client, name string) (any, error) {
			n, err := parseRunName(name)
			if err != nil {
				return nil, err
			}
			if n.id == "" {
				return record(cmd.Context(), cl, name)
			}
			v, err := cl.RunState(cmd.Context(), n.id)
			if err == nil && v.Record != nil {
				return v.Record, nil
			}
			return v, err
		}),
	)
	return kinds(cmd)
}

func (c *cli) describe(use string, aliases []string, complete cobra.CompletionFunc, read func(*cobra.Command, *client.Client, string) (any, error)) *cobra.Command {
	kind, what, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use: use, Aliases: aliases, Short: "Show everything about a " + kind, Args: arguments(1, 1, what), ValidArgsFunction: complete,
	}
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.client()
		if err != nil {
			return err
		}
		v, err := read(cmd, cl, args[0])
		if err != nil {
			return err
		}
		if done, err := c.encode(*out, v); done {
			return err
		}
		p := &page{c: c}
		switch v := v.(type) {
		case *client.TaskView:
			p.task(v)
		case *client.NodeView:
			p.node(v)
		case *job.Entry[job.Receiver]:
			if err := p.document(v.Document); err != nil {
				return err
			}
		case *client.MonitorView:
			if err := p.document(v); err != nil {
				return err
			}
		case *job.Entry[job.Template]:
			if err := p.document(v.Document); err != nil {
				return err
			}
		case *client.GroupView:
			if err := p.group(v); err != nil {
				return err
			}
		case *client.ExecutionView:
			p.execution(v)
		case *client.CalendarView:
			p.calendar(v)
		case *job.ExecutionRecord:
			p.record(v)
		case *client.RunView:
			p.run(v)
		}
		_, err = c.Out.Write([]byte(p.b.String()))
		return err
	}
	return cmd
}

// page is a description: names and values, a line each.
type page struct {
	c *cli
	b strings.Builder
}

// line writes a name and its value; nothing where the value is empty.
func (p *page) line(name, value string) {
	if value != "" {
		fmt.Fprintf(&p.b, "%-14s%s\n", name+":", oneLine(value))
	}
}

func (p *page) head(name string) { fmt.Fprintf(&p.b, "\n%s:\n", name) }

func (p *page) item(format string, args ...any) {
	fmt.Fprintf(&p.b, "  %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// text writes lines as they are but for what would disturb a terminal.
func (p *page) text(s string) {
	for l := range strings.Lines(s) {
		p.b.WriteString("  " + strings.TrimPrefix(oneLine("|"+strings.TrimRight(l, "\r\n")), "|") + "\n")
	}
}

// stamp is a time in full, and how far away it is.
func (p *page) stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	s := t.Local().Format(time.RFC3339)
	if terminal(p.c.Out) {
		s += " (" + p.c.when(t) + ")"
	}
	return s
}

func (p *page) task(v *client.TaskView) {
	p.line("Task", v.Ref().String())
	if v.Paused {
		p.line("Paused", "since "+p.stamp(v.PausedAt))
	}
	p.line("Timer", v.Timer)
	if v.Stats != nil {
		p.line("Runs", countText(v.Stats.Count))
		p.line("Success", percent(v.Stats.Success))
		if s := v.Stats; s.Count[job.Success] > 0 {
			p.line("Took", fmt.Sprintf("%s on average; half within %s, 90%% within %s, 99%% within %s, at most %s", short(millis(float64(s.AverageMS))),
				short(millis(s.P50MS)), short(millis(s.P90MS)), short(millis(s.P99MS)), short(millis(float64(s.MaxMS)))))
		}
	}
	if v.Running > 0 {
		p.line("Running", fmt.Sprint(v.Running))
	}
	if v.Last != nil {
		p.line("Last", fmt.Sprintf("%s %s %s %s", recordName(v.Last), v.Last.Outcome, p.stamp(v.Last.EndTime), v.Last.Reason))
	}
	if v.LastUnknown != "" {
		p.line("Last", "not known now: "+v.LastUnknown)
	}
	p.line("Created", p.stamp(v.CreatedAt))
	p.line("Changed", fmt.Sprintf("%s, generation %d", p.stamp(v.UpdatedAt), v.Generation))
	if len(v.Next) > 0 {
		p.head("Next")
		loc := zone(&v.Task)
		for _, t := range v.Next {
			p.item("%s", t.In(loc).Format("Mon "+time.RFC3339))
		}
	}
	p.head("Nodes")
	if len(v.Nodes) == 0 {
		p.item("no node matches")
	}
	for _, n := range v.Placing {
		switch {
		case n.Bound && n.Online && n.Reason != "":
			p.item("%s: bound, %s", n.Node, n.Reason)
		case n.Bound && n.Online:
			p.item("%s: bound", n.Node)
		case n.Bound:
			p.item("%s: bound, but offline", n.Node)
		default:
			p.item("%s: not bound: %s", n.Node, n.Reason)
		}
	}
	p.head("Task file")
	if text, err := job.MarshalTask(v.Source()); err == nil {
		p.text(string(text))
	}
	if v.Written != nil {
		p.head("With its templates")
		if text, err := job.MarshalTask(&v.Task); err == nil {
			p.text(string(text))
		}
	}
}

func (p *page) node(v *client.NodeView) {
	p.line("Node", string(v.ID))
	p.line("Status", nodeStatus(v).text)
	p.line("Since", p.stamp(v.Since))
	p.line("Created", p.stamp(v.CreatedAt))
	p.line("Labels", labels(v.Labels))
	p.line("Host", v.Facts.Hostname)
	p.line("System", strings.Trim(v.Facts.OS+"/"+v.Facts.Arch, "/"))
	if v.Facts.CPUs > 0 {
		p.line("CPUs", fmt.Sprint(v.Facts.CPUs))
	}
	p.line("Version", v.Facts.Version)
	p.line("Groups", v.Facts.Groups)
	if v.Facts.Groups != "" {
		p.line("Limits", cmp.Or(strings.Join(v.Facts.Limits, ", "), "none")+", and those of each process")
		p.line("Not", v.Facts.LimitsWhy)
	}
	p.line("Handlers", strings.Join(v.Facts.Handlers, ", "))
	if v.Lease > 0 {
		p.line("Lease", v.Lease.String()+", as it was set")
	}
	if v.Skew != nil {
		p.line("Clock", skewText(v).text+" against the leader's")
	}
	p.line("Jobs", fmt.Sprint(v.Jobs))
	p.line("Running", fmt.Sprint(v.Running))
	if len(v.Conditions) > 0 {
		p.head("Conditions")
		for _, k := range slices.Sorted(maps.Keys(v.Conditions)) {
			p.item("%s: %s", k, v.Conditions[k])
		}
	}
}

func (p *page) record(r *job.ExecutionRecord) {
	p.line("Run", recordName(r))
	p.line("Id", r.ID)
	p.line("Outcome", string(r.Outcome))
	p.line("Reason", r.Reason)
	p.line("Node", string(r.Node))
	p.line("Trigger", string(r.Trigger))
	p.line("Cause", r.Cause)
	if !r.Instant.IsZero() {
		p.line("Instant", p.stamp(r.Instant))
	}
	if r.Count > 1 {
		p.line("Instants", fmt.Sprintf("%d, until %s", r.Count, p.stamp(r.Until)))
	}
	p.line("Began", p.stamp(r.BeginTime))
	p.line("Ended", p.stamp(r.EndTime))
	if r.Outcome.Ran() {
		p.line("Took", short(r.Duration()))
	}
	if r.ExitCode != nil {
		p.line("Exit code", fmt.Sprint(*r.ExitCode))
	}
	p.line("Signal", r.Signal)
	p.line("Ended by", string(r.EndedBy))
	p.line("User", r.User)
	p.line("Command", r.Command)
	if r.Usage != nil {
		p.line("CPU", fmt.Sprintf("%s user, %s system", short(millis(float64(r.Usage.UserMS))), short(millis(float64(r.Usage.SystemMS)))))
		p.line("Memory", memoryText(r.Usage))
	}
	for _, a := range r.Attempts {
		p.head(fmt.Sprintf("Attempt %d", a.Attempt))
		p.item("%s, began %s, took %s %s", a.Outcome, p.stamp(a.BeginTime), short(a.EndTime.Sub(a.BeginTime)), a.Reason)
		p.text(a.Output)
	}
	if len(r.Result) > 0 {
		p.head("Result")
		p.text(string(r.Result))
	}
	if len(r.Effects) > 0 {
		p.head("Effects")
		for _, e := range r.Effects {
			p.item("refused: %s", e)
		}
	}
	if r.OutputBytes > 0 || r.Output != "" {
		p.head("Output" + kept(r))
		p.text(r.Output)
	}
}

// memoryText is what a run had of memory at most.
func memoryText(u *job.Usage) string {
	text := fmt.Sprintf("%d KiB, its largest process", u.MaxRSSKB)
	if u.MaxRSSKB == 0 {
		text = "its largest process had no more than Rota itself"
	}
	if u.PeakKB > 0 {
		text += fmt.Sprintf("; %d KiB, all of it with its files' cache", u.PeakKB)
	}
	return text
}

// kept says how much of an output is there, where that is not all of it.
func kept(r *job.ExecutionRecord) string {
	if !r.OutputTruncated {
		return ""
	}
	return fmt.Sprintf(" (%d of %d bytes, from the beginning and the end)", len(r.Output), r.OutputBytes)
}

func (p *page) run(v *client.RunView) {
	p.line("Run", string(v.Run))
	p.line("State", string(v.State))
	p.line("Task", v.Task.String())
	p.line("Node", string(v.Node))
	p.line("Waits for", strings.Join(v.Waits, " and "))
	if v.Process != nil {
		p.line("Pid", v.Process.ID)
		p.line("Began", p.stamp(v.Process.Time))
		p.line("Age", short(p.c.Now().Sub(v.Process.Time)))
		p.line("Progress", progressText(v.Process.Progress))
		p.line("Attempt", fmt.Sprint(v.Process.Attempt))
		p.line("Trigger", string(v.Process.Trigger))
		if !v.Process.Instant.IsZero() {
			p.line("Instant", p.stamp(v.Process.Instant))
		}
		p.line("User", v.Process.User)
		p.line("Command", v.Process.Command)
	}
}
