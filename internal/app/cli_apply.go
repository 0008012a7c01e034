package app

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// fileFlags say which task files a command reads.
type fileFlags struct {
	files []string
	// ics are the iCalendar files among them, which read leaves out.
	ics   []string
	set   []*client.CalendarView // what became of them
	prune bool
	group []string
}

func (f *fileFlags) file(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.files, "file", "f", nil, "task file, folder of them, or - for stdin; repeatable")
}

func (f *fileFlags) pruning(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.prune, "prune", false, "delete the tasks of the same groups that the files do not have")
	cmd.Flags().StringArrayVarP(&f.group, "group", "g", nil, "with --prune: prune this group too; repeatable")
}

// groups are those to prune.
func (f *fileFlags) groups(docs job.Documents) ([]string, error) {
	if !f.prune {
		if len(f.group) > 0 {
			return nil, usagef("", "--group goes with --prune")
		}
		return nil, nil
	}
	groups := slices.Clone(f.group)
	for _, t := range docs.Tasks {
		groups = append(groups, t.Group)
	}
	slices.Sort(groups)
	return slices.Compact(groups), nil
}

// read reads every document of every file; all their faults come in one error. Where now is not zero, timers that never
// fire after it are among them.
func (f *fileFlags) read(c *cli, cmd *cobra.Command, now time.Time) (docs job.Documents, err error) {
	if len(f.files) == 0 {
		return docs, usagef("usage: "+cmd.UseLine(), "%s needs -f FILE, a folder, or - for stdin", cmd.CommandPath())
	}
	sources := make([]job.Source, 0, len(f.files))
	for _, p := range f.files {
		switch {
		case p == "-":
			text, err := io.ReadAll(io.LimitReader(c.In, job.MaxTaskFile+1))
			if err != nil {
				return docs, fmt.Errorf("read stdin: %w", err)
			}
			sources = append(sources, job.Source{Path: "stdin", Text: text})
		default:
			sources = append(sources, job.Source{Path: p})
		}
	}
	f.ics, sources = iCalendars(sources)
	return job.ReadSources(sources, now)
}

func (c *cli) applyCommand() *cobra.Command {
	var f fileFlags
	dry := false
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Create or change tasks, and what they use, from files",
		Long: "Create or change the tasks of files. Nothing is written unless all of them are valid. Applying again changes nothing.\n" +
			"An iCalendar file (*.ics) becomes the calendar of its name, before the tasks.",
		Example: "  rota apply -f tasks.yaml\n" +
			"  rota apply -f holidays.ics -f tasks.yaml\n" +
			"  rota apply -f tasks/ --prune --dry-run\n" +
			"  generate | rota apply -f -",
		Args: arguments(0, 0, ""),
	}
	f.file(cmd)
	f.pruning(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing, but say what would")
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		applied, err := c.apply(cmd, &f, dry)
		if err != nil {
			return err
		}
		if done, err := c.encode(*out, applied); done {
			return err
		}
		note := ""
		if dry {
			note = " (dry run)"
		}
		for _, v := range f.set {
			c.toldCalendar(v, *out, dry)
		}
		for _, a := range applied {
			if *out == asName {
				fmt.Fprintln(c.Out, strings.TrimPrefix(a.What(), "task "))
			} else {
				fmt.Fprintf(c.Out, "%s %s%s\n", a.What(), a.Change, note)
			}
			for _, w := range a.Warnings {
				c.sayf("%s: %s", a.What(), w)
			}
		}
		return nil
	}
	return cmd
}

func (c *cli) apply(cmd *cobra.Command, f *fileFlags, dry bool) ([]client.Applied, error) {
	docs, err := f.read(c, cmd, time.Time{})
	if err != nil {
		return nil, err
	}
	prune, err := f.groups(docs)
	if err != nil {
		return nil, err
	}
	calendars, err := c.readCalendars(f.ics)
	if err != nil {
		return nil, err
	}
	if docs.Len() == 0 && len(prune) == 0 && len(calendars) == 0 {
		return nil, job.Errorf(job.CodeInvalid, "there is nothing in the files")
	}
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	for _, cal := range calendars {
		v, err := cl.SetCalendar(cmd.Context(), cal, dry)
		if err != nil {
			return nil, err
		}
		f.set = append(f.set, v)
	}
	if docs.Len() == 0 && len(prune) == 0 {
		return []client.Applied{}, nil
	}
	applied, err := cl.ApplyDocuments(cmd.Context(), docs, client.ApplyOptions{DryRun: dry, Prune: prune})
	return applied, docs.Locate(err)
}

func (c *cli) checkCommand() *cobra.Command {
	var f fileFlags
	cmd := &cobra.Command{
		Use: "check -f FILE", Short: "Check task files, or a node's policy, without a server",
		Long: "Check task files. All faults of all files are told at once. Timers that never fire are refused too. No server is needed.",
		Args: arguments(0, 0, ""),
	}
	f.file(cmd)
	nodePolicy := cmd.Flags().String("policy", "", "check this policy of a node, as the node that starts with it would")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *nodePolicy != "" {
			return c.checkPolicy(cmd, *nodePolicy)
		}
		docs, err := f.read(c, cmd, c.Now())
		if err != nil {
			return err
		}
		calendars, err := c.readCalendars(f.ics)
		if err != nil {
			return err
		}
		what := docs.String()
		if len(calendars) > 0 {
			what += ", " + count(len(calendars), "calendar")
		}
		c.sayf("%s, and nothing wrong", what)
		return nil
	}
	return cmd
}

func (c *cli) deleteCommand() *cobra.Command {
	var f fileFlags
	var force, withTasks bool
	cmd := &cobra.Command{
		Use: "delete TASK…", Short: "Delete tasks, or a node that is gone",
		Long: "Delete tasks by name or as a file lists them. Their records stay.\n\nrota delete node NODE forgets a node that is gone for good.\n" +
			"rota delete backfill BACKFILL cancels a backfill: what runs goes on, nothing else starts. One that has ended is forgotten.\n" +
			"rota delete group GROUP deletes what is said of a group, with --with-tasks its tasks too; executions under way go on.",
		Example: "  rota delete nightly-backup shop/mail\n" +
			"  rota delete -f tasks.yaml\n" +
			"  rota delete node db1",
		ValidArgsFunction: c.completeTasks,
	}
	f.file(cmd)
	cmd.Flags().BoolVar(&withTasks, "with-tasks", false, "of a group: delete its tasks too")
	cmd.Flags().BoolVar(&force, "force", false, "also tasks that others depend on: these wait from then on")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.client()
		if err != nil {
			return err
		}
		if len(args) > 1 && (args[0] == "node" || args[0] == "nodes") {
			return c.eachNode(args[1:], func(id job.NodeID) error {
				if err := cl.DeleteNode(cmd.Context(), id); err != nil {
					return err
				}
				fmt.Fprintf(c.Out, "node %s deleted\n", id)
				return nil
			})
		}
		if len(args) > 1 && (args[0] == "backfill" || args[0] == "backfills" || args[0] == "bf") {
			return c.each(args[1:], func(id string) error { return c.cancelBackfill(cmd.Context(), cl, id, false) })
		}
		if len(args) > 1 && (args[0] == "calendar" || args[0] == "calendars") {
			return c.deleteNamed(cmd.Context(), "calendar", args[1:], cl.DeleteCalendar)
		}
		if len(args) > 1 && (args[0] == "template" || args[0] == "templates") {
			return c.deleteNamed(cmd.Context(), "template", args[1:], cl.DeleteTemplate)
		}
		if len(args) > 1 && (args[0] == "group" || args[0] == "groups") {
			return c.deleteNamed(cmd.Context(), "group", args[1:], func(ctx context.Context, name string) error { return cl.DeleteGroup(ctx, name, withTasks) })
		}
		if len(args) > 1 && (args[0] == "receiver" || args[0] == "receivers") {
			return c.deleteNamed(cmd.Context(), "receiver", args[1:], cl.DeleteReceiver)
		}
		if len(args) > 1 && (args[0] == "monitor" || args[0] == "monitors") {
			return c.deleteNamed(cmd.Context(), "monitor", args[1:], cl.DeleteMonitor)
		}
		if len(args) > 1 && (args[0] == "task" || args[0] == "tasks") {
			args = args[1:]
		}
		if len(args) == 0 || len(f.files) > 0 {
			if len(args) > 0 {
				return usagef("", "give names or -f, not both")
			}
			docs, err := f.read(c, cmd, time.Time{})
			if err != nil {
				return err
			}
			return c.deleteDocuments(cmd.Context(), cl, docs, force)
		}
		return c.deleteTasks(cmd.Context(), cl, args, force)
	}
	return cmd
}

func (c *cli) pauseCommand() *cobra.Command {
	return c.onTasks("pause TASK…", "Keep tasks from being fired", "paused", (*client.Client).Pause)
}

func (c *cli) resumeCommand() *cobra.Command {
	return c.onTasks("resume TASK…", "Undo a pause", "resumed", (*client.Client).Resume)
}

func (c *cli) onTasks(use, short, done string, do func(*client.Client, context.Context, job.TaskRef) (*job.TaskEntry, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: arguments(1, -1, "a task"), ValidArgsFunction: c.completeTasks,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if len(args) > 1 && (args[0] == "group" || args[0] == "groups") {
				change := cl.PauseGroup
				if done == "resumed" {
					change = cl.ResumeGroup
				}
				return c.each(args[1:], func(name string) error {
					if err := change(cmd.Context(), name); err != nil {
						return err
					}
					fmt.Fprintf(c.Out, "group %s %s\n", name, done)
					return nil
				})
			}
			return c.eachTask(args, func(ref job.TaskRef) error {
				if _, err := do(cl, cmd.Context(), ref); err != nil {
					return err
				}
				fmt.Fprintf(c.Out, "task %s %s\n", ref, done)
				return nil
			})
		},
	}
}

// each does something with each name. It goes on after one that can't be done, and tells of each of them; an error that
// is not about the name ends it.
func (c *cli) each(names []string, do func(name string) error) error {
	failed := false
	for _, n := range names {
		err := do(n)
		switch job.CodeOf(err) {
		case "":
			continue
		case job.CodeNotFound, job.CodeConflict, job.CodeInvalid:
			c.fail(err)
			failed = true
		default:
			return err
		}
	}
	if failed {
		return &exitError{exitFailed}
	}
	return nil
}

// eachTask checks all names before it begins.
func (c *cli) eachTask(names []string, do func(job.TaskRef) error) error {
	for _, n := range names {
		if _, err := parseRef(n); err != nil {
			return err
		}
	}
	return c.each(names, func(n string) error {
		ref, err := job.ParseRef(n)
		if err != nil {
			return err
		}
		return do(ref)
	})
}

// eachNode checks all names before it begins.
func (c *cli) eachNode(names []string, do func(job.NodeID) error) error {
	for _, n := range names {
		if _, err := parseNode(n); err != nil {
			return err
		}
	}
	return c.each(names, func(n string) error { return do(job.NodeID(n)) })
}

// count is a number with its word.
func count(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
