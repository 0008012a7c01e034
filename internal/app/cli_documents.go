package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// deleteDocuments deletes what files list, what uses something before what it uses.
func (c *cli) deleteDocuments(ctx context.Context, cl *client.Client, docs job.Documents, force bool) error {
	var tasks, templates, monitors, receivers []string
	for i := range docs.Tasks {
		tasks = append(tasks, docs.Tasks[i].Ref().String())
	}
	for i := range docs.Templates {
		templates = append(templates, docs.Templates[i].Name)
	}
	var groups []string
	for i := range docs.Groups {
		groups = append(groups, docs.Groups[i].Name)
	}
	if err := c.deleteNamed(ctx, "group", groups, func(ctx context.Context, name string) error { return cl.DeleteGroup(ctx, name, false) }); err != nil {
		return err
	}
	err := c.deleteTasks(ctx, cl, tasks, force)
	if again := c.deleteNamed(ctx, "template", templates, cl.DeleteTemplate); err == nil {
		err = again
	}
	for i := range docs.Monitors {
		monitors = append(monitors, docs.Monitors[i].Name)
	}
	for i := range docs.Receivers {
		receivers = append(receivers, docs.Receivers[i].Name)
	}
	if again := c.deleteNamed(ctx, "monitor", monitors, cl.DeleteMonitor); err == nil {
		err = again
	}
	if again := c.deleteNamed(ctx, "receiver", receivers, cl.DeleteReceiver); err == nil {
		err = again
	}
	return err
}

func (c *cli) deleteNamed(ctx context.Context, sort string, names []string, remove func(context.Context, string) error) error {
	return c.each(names, func(name string) error {
		if err := remove(ctx, name); err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "%s %s deleted\n", sort, name)
		return nil
	})
}

func (c *cli) getTemplates() *cobra.Command {
	return listing[job.Entry[job.Template]]{
		use: "templates [NAME…]", aliases: []string{"template"}, short: "List the templates that tasks share", complete: c.completeTemplates,
		flags: func(*cobra.Command, *filters) {},
		list: func(ctx context.Context, cl *client.Client, _ *filters, names []string) ([]job.Entry[job.Template], error) {
			if len(names) == 0 {
				return cl.Templates(ctx)
			}
			return named(names, func(n string) (*job.Entry[job.Template], error) { return cl.Template(ctx, n) })
		},
		name: func(e *job.Entry[job.Template]) string { return e.Document.Name },
		table: func(c *cli, list []job.Entry[job.Template]) *table {
			t := &table{head: []string{"TEMPLATE", "COMMAND", "UPDATED", "DESCRIPTION"}, wide: 4}
			for i := range list {
				e := &list[i]
				t.add(e.Document.Name, clip(e.Document.Command.String(), 60), c.when(e.UpdatedAt), clip(e.Document.Description, 60))
			}
			return t
		},
		none: "there are no templates; apply a file with a list templates:",
	}.command(c)
}

func (c *cli) completeTemplates(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completing(c, cmd, args, (*client.Client).Templates, func(v *job.Entry[job.Template]) string { return v.Document.Name })
}

// document shows a document as a person wrote it.
func (p *page) document(v any) error {
	text, err := toYAML(v)
	if err != nil {
		return err
	}
	p.b.WriteString(strings.TrimSpace(string(text)) + "\n")
	return nil
}
