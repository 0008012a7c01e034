package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// listing is how a kind of objects is listed.
type listing[T any] struct {
	use, short string
	aliases    []string
	example    string
	flags      func(*cobra.Command, *filters)
	complete   cobra.CompletionFunc
	list       func(ctx context.Context, cl *client.Client, f *filters, names []string) ([]T, error)
	name       func(*T) string
	table      func(c *cli, list []T) *table
	none       string // what to say when there are none
}

// command makes the command of a listing.
func (l listing[T]) command(c *cli) *cobra.Command {
	var f filters
	cmd := &cobra.Command{Use: l.use, Aliases: l.aliases, Short: l.short, Example: l.example, ValidArgsFunction: l.complete}
	if l.complete == nil {
		cmd.Args = arguments(0, 0, "")
	}
	l.flags(cmd, &f)
	if cmd.Flags().Lookup("limit") == nil {
		f.limited(cmd.Flags(), 0, " (default: all)")
	}
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.names(); err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		list, err := l.list(cmd.Context(), cl, &f, args)
		if err != nil {
			return err
		}
		if f.limit > 0 && len(list) > f.limit {
			list = list[:f.limit]
		}
		if len(list) == 0 {
			list = []T{}
			if err := f.known(cmd.Context(), cl); err != nil {
				return err
			}
		}
		if done, err := c.encode(*out, list); done {
			return err
		}
		if *out == asName {
			for i := range list {
				fmt.Fprintln(c.Out, l.name(&list[i]))
			}
			return nil
		}
		if len(list) == 0 {
			c.sayf("%s", l.none)
			return nil
		}
		return c.print(l.table(c, list), *out)
	}
	return cmd
}

func (c *cli) getCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "get KIND", Short: "List tasks, templates, jobs, nodes, records, stats, processes, runs, groups, configuration, masters, backfills, receivers, monitors or deliveries",
		Example: "  rota get tasks\n" +
			"  rota get records --task nightly-backup --outcome failed --since 7d\n" +
			"  rota get nodes -o json",
	}
	cmd.AddCommand(
		c.getTasks(), c.getJobs(), c.getNodes(), c.getRecords(), c.getStats(), c.getProcesses(), c.getRuns(), c.getGroups(), c.getConfig(), c.getCalendars(), c.getMasters(), c.getTemplates(), c.getReceivers(), c.getMonitors(), c.getDeliveries(),
		c.getBackfills(), c.getExecutions(),
	)
	return kinds(cmd)
}

// kinds makes a command whose first word is a kind say which ones there are.
func kinds(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var names, all []string
		for _, sub := range cmd.Commands() {
			names = append(names, sub.Name())
			all = append(append(all, sub.Name()), sub.Aliases...)
		}
		if len(args) == 0 {
			return usagef("usage: "+cmd.UseLine(), "%s needs one of %s", cmd.CommandPath(), join(names))
		}
		hint := "there are " + join(names)
		if near := job.Near(args[0], all); near != "" {
			hint = "did you mean " + near + "?"
		}
		return usagef(hint, "%s does not know %q", cmd.CommandPath(), args[0])
	}
	return cmd
}

func join[S ~string](words []S) string {
	s := ""
	for i, w := range words {
		if i > 0 {
			s += ", "
		}
		s += string(w)
	}
	return s
}

// named reads each of the objects that were named.
func named[T any](names []string, read func(string) (*T, error)) ([]T, error) {
	var list []T
	for _, n := range names {
		v, err := read(n)
		if err != nil {
			return nil, err
		}
		list = append(list, *v)
	}
	return list, nil
}

func (c *cli) getTasks() *cobra.Command {
	return listing[client.TaskView]{
		use: "tasks [TASK…]", aliases: []string{"task", "t"}, short: "List tasks", complete: c.completeTasks,
		flags: func(cmd *cobra.Command, f *filters) { f.groups(cmd.Flags()) },
		list: func(ctx context.Context, cl *client.Client, f *filters, names []string) ([]client.TaskView, error) {
			if len(names) == 0 {
				list, err := cl.Tasks(ctx, f.group, "")
				if len(list) > 0 && list[0].LastUnknown != "" {
					c.sayf("how the last runs ended is not known now: %s", list[0].LastUnknown)
				}
				return list, err
			}
			return named(names, func(n string) (*client.TaskView, error) {
				ref, err := parseRef(n)
				if err != nil {
					return nil, err
				}
				return cl.Task(ctx, ref)
			})
		},
		name:  func(v *client.TaskView) string { return v.Ref().String() },
		table: (*cli).taskTable,
		none:  "there are no tasks; make some with: rota apply -f FILE",
	}.command(c)
}

func (c *cli) getJobs() *cobra.Command {
	return listing[*job.Job]{
		use: "jobs", aliases: []string{"job", "j"}, short: "List jobs: tasks bound to nodes",
		flags: func(cmd *cobra.Command, f *filters) { f.groups(cmd.Flags()); f.tasks(cmd.Flags()) },
		list: func(ctx context.Context, cl *client.Client, f *filters, _ []string) ([]*job.Job, error) {
			filter, err := f.jobs()
			if err != nil {
				return nil, err
			}
			return cl.Jobs(ctx, filter)
		},
		name:  func(j **job.Job) string { return (*j).ID },
		table: (*cli).jobTable,
		none:  "there are no jobs",
	}.command(c)
}

func (c *cli) getNodes() *cobra.Command {
	return listing[client.NodeView]{
		use: "nodes [NODE…]", aliases: []string{"node", "no", "n"}, short: "List nodes", complete: c.completeNodes,
		flags: func(*cobra.Command, *filters) {},
		list: func(ctx context.Context, cl *client.Client, _ *filters, names []string) ([]client.NodeView, error) {
			if len(names) == 0 {
				return cl.Nodes(ctx)
			}
			return named(names, func(n string) (*client.NodeView, error) {
				id, err := parseNode(n)
				if err != nil {
					return nil, err
				}
				return cl.Node(ctx, id)
			})
		},
		name:  func(v *client.NodeView) string { return string(v.ID) },
		table: (*cli).nodeTable,
		none:  "there are no nodes; start one with: rota node",
	}.command(c)
}

func (c *cli) getRecords() *cobra.Command {
	return listing[job.ExecutionRecord]{
		use: "records [TASK#N…]", aliases: []string{"record", "rec", "r"}, short: "List records: how runs ended, newest first",
		example: "  rota get records --task nightly-backup --outcome failed,timeout --since 7d\n  rota get records --search 'connection refused' --since 7d\n  rota get records nightly-backup#142 -o yaml",
		flags: func(cmd *cobra.Command, f *filters) {
			f.groups(cmd.Flags())
			f.tasks(cmd.Flags())
			f.records(cmd.Flags())
			f.limited(cmd.Flags(), 50, "; 0: all")
		},
		complete: c.completeTasks,
		list:     c.records,
		name:     recordName,
		table:    (*cli).recordTable,
		none:     "there are no such records",
	}.command(c)
}

// maxPage is the most records that one page may have.
const maxPage = 1000

func (c *cli) records(ctx context.Context, cl *client.Client, f *filters, names []string) ([]job.ExecutionRecord, error) {
	if len(names) > 0 {
		return named(names, func(n string) (*job.ExecutionRecord, error) { return record(ctx, cl, n) })
	}
	filter, err := f.recordFilter(c.Now())
	if err != nil {
		return nil, err
	}
	filter.Limit = maxPage
	if f.limit > 0 {
		filter.Limit = min(f.limit, maxPage)
	}
	var list []job.ExecutionRecord
	for r, err := range cl.EachRecord(ctx, filter) {
		if err != nil {
			return nil, err
		}
		if list = append(list, r); len(list) == f.limit {
			break
		}
	}
	return list, nil
}

// record reads the record that a person names: by its id, as TASK#N, or the newest one of a task.
func record(ctx context.Context, cl *client.Client, name string) (*job.ExecutionRecord, error) {
	n, err := parseRunName(name)
	switch {
	case err != nil:
		return nil, err
	case n.id != "":
		return cl.Record(ctx, string(n.id))
	case n.number > 0:
		return cl.RecordByNumber(ctx, n.ref, n.number)
	}
	return latest(ctx, cl, n.ref)
}

func (c *cli) getProcesses() *cobra.Command {
	return listing[*job.Process]{
		use: "processes", aliases: []string{"process", "proc", "ps", "p"}, short: "List the runs that are alive",
		flags: func(cmd *cobra.Command, f *filters) { f.groups(cmd.Flags()); f.tasks(cmd.Flags()) },
		list: func(ctx context.Context, cl *client.Client, f *filters, _ []string) ([]*job.Process, error) {
			filter, err := f.jobs()
			if err != nil {
				return nil, err
			}
			list, err := cl.Processes(ctx, filter)
			slices.SortStableFunc(list, func(a, b *job.Process) int { return b.Time.Compare(a.Time) })
			return list, err
		},
		name:  func(p **job.Process) string { return string((*p).Run) },
		table: (*cli).processTable,
		none:  "nothing runs",
	}.command(c)
}

func (c *cli) getConfig() *cobra.Command {
	return listing[client.Config]{
		use: "config", aliases: []string{"configs", "cfg", "c"}, short: "List the configuration",
		flags: func(cmd *cobra.Command, f *filters) { f.groups(cmd.Flags()) },
		list: func(ctx context.Context, cl *client.Client, f *filters, _ []string) ([]client.Config, error) {
			return cl.Config(ctx, f.group)
		},
		name:  func(v *client.Config) string { return v.Key },
		table: configTable,
		none:  "there is no configuration; set a value with: rota config set KEY=VALUE",
	}.command(c)
}

func (c *cli) getMasters() *cobra.Command {
	return listing[client.MasterView]{
		use: "masters", aliases: []string{"master", "m"}, short: "List the masters that are alive",
		flags: func(*cobra.Command, *filters) {},
		list: func(ctx context.Context, cl *client.Client, _ *filters, _ []string) ([]client.MasterView, error) {
			return cl.Masters(ctx)
		},
		name: func(m *client.MasterView) string { return m.ID },
		table: func(c *cli, list []client.MasterView) *table {
			t := &table{head: []string{"MASTER", "LEADER", "ANSWERS", "ADDRESS", "VERSION", "SINCE"}}
			for _, m := range list {
				t.add(m.ID, m.Leader, m.Answers, m.URL, m.Version, c.when(m.Since))
			}
			return t
		},
	}.command(c)
}
