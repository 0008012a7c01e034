package app

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// patience is how long a completion may ask the server: nobody waits longer for a key.
const patience = time.Second

// completeTasks completes the names of tasks.
func (c *cli) completeTasks(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.complete(cmd, args, func(ctx context.Context, cl *client.Client) (names []string) {
		tasks, _ := cl.Tasks(ctx, "", "")
		for i := range tasks {
			ref := tasks[i].Ref()
			if ref.Group == job.DefaultJobGroup {
				names = append(names, ref.Name)
			} else {
				names = append(names, ref.String())
			}
		}
		return names
	})
}

// completeNodes completes the names of nodes.
func (c *cli) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completing(c, cmd, args, (*client.Client).Nodes, func(v *client.NodeView) string { return string(v.ID) })
}

// complete offers live names; none where the server can't be asked.
func (c *cli) complete(cmd *cobra.Command, args []string, ask func(context.Context, *client.Client) []string) ([]string, cobra.ShellCompDirective) {
	cl, err := c.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	names := slices.DeleteFunc(ask(ctx, cl), func(n string) bool { return slices.Contains(args, n) })
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completing completes the names of what a server lists.
func completing[T any](c *cli, cmd *cobra.Command, args []string, all func(*client.Client, context.Context) ([]T, error), name func(*T) string) ([]string, cobra.ShellCompDirective) {
	return c.complete(cmd, args, func(ctx context.Context, cl *client.Client) (names []string) {
		list, _ := all(cl, ctx)
		for i := range list {
			names = append(names, name(&list[i]))
		}
		return names
	})
}

// completed gives a flag its completion. The flag must be there.
func completed(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // a fault of the command's own, found by its tests
	}
}
