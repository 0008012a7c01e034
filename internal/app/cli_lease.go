package app

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/job"
)

func (c *cli) leaseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "lease DURATION [NODE…]", Short: "Change how long a silent node counts as alive",
		Long: "Change the length of the leases of nodes, of all that there are where none is named, from 2s to 5m. Nodes that are online follow\n" +
			"at once and keep what they hold; a shorter lease waits for the end of alone runs. 0s takes it back: then each node's\n" +
			"own --lease holds.",
		Example: "  rota lease 30s\n  rota lease 5s db1 db2\n  rota lease 0s",
		Args:    arguments(1, -1, "a duration"), ValidArgsFunction: c.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := job.ParseDuration(args[0])
			if err != nil {
				return usagef("write it as 5s, 30s or 1m", "%q is not a duration", args[0])
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			names := args[1:]
			if len(names) == 0 {
				nodes, err := cl.Nodes(cmd.Context())
				if err != nil {
					return err
				}
				for i := range nodes {
					names = append(names, string(nodes[i].ID))
				}
			}
			return c.eachNode(names, func(id job.NodeID) error {
				if _, err := cl.SetLease(cmd.Context(), id, d); err != nil {
					return err
				}
				fmt.Fprintf(c.Out, "node %s: lease set\n", id)
				return nil
			})
		},
	}
}
