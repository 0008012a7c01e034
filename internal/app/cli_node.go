package app

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/job"
)

func (c *cli) cordonCommand(cordoned bool) *cobra.Command {
	use, short, done := "uncordon NODE…", "Let new jobs and runs come to nodes again", "uncordoned"
	if cordoned {
		use, short, done = "cordon NODE…", "Keep new jobs and runs from nodes; what is there goes on", "cordoned"
	}
	return &cobra.Command{
		Use: use, Short: short, Args: arguments(1, -1, "a node"), ValidArgsFunction: c.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return c.eachNode(args, func(id job.NodeID) error {
				if _, err := cl.Cordon(cmd.Context(), id, cordoned); err != nil {
					return err
				}
				fmt.Fprintf(c.Out, "node %s %s\n", id, done)
				return nil
			})
		},
	}
}

func (c *cli) labelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "label node NODE KEY=VALUE… KEY-…", Short: "Label a node, or take labels away",
		Example: "  rota label node db1 role=db zone=a\n  rota label node db1 role-",
		Args:    arguments(2, -1, "a node and labels"), ValidArgsFunction: c.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 2 && (args[0] == "node" || args[0] == "nodes") {
				args = args[1:]
			}
			set, remove := map[string]string{}, []string(nil)
			for _, w := range args[1:] {
				k, v, ok := strings.Cut(w, "=")
				key, minus := strings.CutSuffix(w, "-")
				switch {
				case ok && job.CheckName("label", k) == nil:
					set[k] = v
				case !ok && minus && job.CheckName("label", key) == nil:
					remove = append(remove, key)
				default:
					return usagef("write KEY=VALUE to set one, KEY- to take one away", "%q is not a label", w)
				}
			}
			id, err := parseNode(args[0])
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			v, err := cl.LabelNode(cmd.Context(), id, set, remove)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.Out, "node %s labelled %s\n", v.ID, labels(v.Labels))
			return nil
		},
	}
}

func (c *cli) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Read and write the configuration that tasks use as config.KEY",
		Example: "  rota config set DB_HOST=db1\n  rota config set --group shop DB_HOST=db2\n  rota config get DB_HOST",
	}
	cmd.AddCommand(c.configGet(), c.configSet(), c.configDelete())
	return kinds(cmd)
}

func (c *cli) configGet() *cobra.Command {
	var group string
	cmd := &cobra.Command{Use: "get [KEY]", Short: "Print a value, or list all", Args: arguments(0, 1, "")}
	cmd.Flags().StringVarP(&group, "group", "g", "", "of this group")
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.client()
		if err != nil {
			return err
		}
		list, err := cl.Config(cmd.Context(), group)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			if done, err := c.encode(*out, list); done {
				return err
			}
			return c.print(configTable(c, list), *out)
		}
		var keys []string
		for _, v := range list {
			if keys = append(keys, v.Key); v.Key != args[0] || v.Group != group {
				continue
			}
			if done, err := c.encode(*out, v); done {
				return err
			}
			fmt.Fprintln(c.Out, v.Value)
			return nil
		}
		e := job.Errorf(job.CodeNotFound, "there is no value %s", args[0])
		if near := job.Near(args[0], keys); near != "" {
			e = e.WithHint("did you mean %s?", near)
		}
		return e
	}
	return cmd
}

func (c *cli) configSet() *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "set KEY=VALUE…", Short: "Set values", Args: arguments(1, -1, "KEY=VALUE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 && !strings.Contains(args[0], "=") {
				args = []string{args[0] + "=" + args[1]}
			}
			for _, w := range args {
				if k, _, ok := strings.Cut(w, "="); !ok || k == "" {
					return usagef("", "%q is not of the form KEY=VALUE", w)
				}
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			return c.each(args, func(w string) error {
				k, v, _ := strings.Cut(w, "=")
				if err := cl.SetConfig(cmd.Context(), group, k, v); err != nil {
					return err
				}
				fmt.Fprintf(c.Out, "config %s set\n", k)
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&group, "group", "g", "", "for this group only")
	return cmd
}

func (c *cli) configDelete() *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "delete KEY…", Short: "Delete values", Args: arguments(1, -1, "a key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return c.each(args, func(key string) error {
				if err := cl.DeleteConfig(cmd.Context(), group, key); err != nil {
					return err
				}
				fmt.Fprintf(c.Out, "config %s deleted\n", key)
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&group, "group", "g", "", "of this group")
	return cmd
}
