package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) memberCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "member", Short: "Add, remove and list the members of the etcd that masters embed",
		Example: "  rota member list\n  rota member add m2=https://10.0.0.2:2380\n  rota member remove m1",
	}
	cmd.AddCommand(c.memberList(), c.memberAdd(), c.memberRemove())
	return kinds(cmd)
}

func (c *cli) memberList() *cobra.Command {
	cmd := listing[client.Member]{
		use: "list", short: "List the members of etcd",
		flags: func(*cobra.Command, *filters) {},
		list: func(ctx context.Context, cl *client.Client, _ *filters, _ []string) ([]client.Member, error) {
			return cl.Members(ctx)
		},
		name: func(m *client.Member) string { return m.Name },
		table: func(_ *cli, list []client.Member) *table {
			t := &table{head: []string{"NAME", "PEERS", "CLIENTS", "VOTES", "LEADER", "ANSWERS", "ID"}}
			for _, m := range list {
				t.add(m.Name, strings.Join(m.PeerURLs, ","), strings.Join(m.ClientURLs, ","), m.Voter, m.Leader, m.Answers, m.ID)
			}
			return t
		},
	}.command(c)
	return cmd
}

func (c *cli) memberAdd() *cobra.Command {
	return &cobra.Command{
		Use: "add NAME=URL", Short: "Tell etcd of a member that is about to start",
		Long: "Tell etcd of a member that is about to start, with the address at which the others reach it. It gets a vote when it has\n" +
			"started and caught up: until then it can stop nobody. One is added at a time.",
		Example: "  rota member add m2=https://10.0.0.2:2380", Args: arguments(1, 1, "NAME=URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, at, ok := strings.Cut(args[0], "=")
			if !ok || job.CheckName("member", name) != nil {
				return usagef("write it as m2=https://10.0.0.2:2380", "%q is not a member's name and address", args[0])
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if _, err := cl.AddMember(cmd.Context(), at); err != nil {
				return err
			}
			fmt.Fprintf(c.Out, "member %s added\n", name)
			members, err := cl.Members(cmd.Context())
			if err != nil {
				return err
			}
			list := []string{}
			for _, m := range members {
				if m.Name != "" && len(m.PeerURLs) > 0 {
					list = append(list, m.Name+"="+m.PeerURLs[0])
				}
			}
			c.sayf("start it with: rota master --name %s --embed %s …", name, strings.Join(append(list, args[0]), ","))
			return nil
		},
	}
}

func (c *cli) memberRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME|ID", Short: "Take a member out of etcd",
		Long: "Take a member out of etcd, alive or lost. It is refused where the members that are left could not go on: a majority of\n" +
			"them must answer, 1 of 1, 2 of 2, 2 of 3, 3 of 5.",
		Example: "  rota member remove m1", Args: arguments(1, 1, "a member"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			m, err := cl.RemoveMember(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(c.Out, "member %s removed\n", memberName(m))
			return nil
		},
	}
}

// memberName is what people call a member.
func memberName(m *client.Member) string {
	if m.Name != "" {
		return m.Name
	}
	return m.ID
}
