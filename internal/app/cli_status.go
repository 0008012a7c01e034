package app

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (c *cli) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show how the whole is; exit 0 when the server is ready",
		Args: arguments(0, 0, ""),
	}
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cl, err := c.client()
		if err != nil {
			return err
		}
		s, err := cl.Status(cmd.Context())
		if err != nil {
			return err
		}
		done, err := c.encode(*out, s)
		if err != nil {
			return err
		}
		if !done {
			p := &page{c: c}
			ready := "yes"
			if !s.Ready {
				ready = "no"
			}
			p.line("Ready", ready)
			for _, r := range s.Reasons {
				p.line("Attention", r)
			}
			p.line("Server", cl.Server())
			p.line("Version", s.Version)
			p.line("Master", s.Master)
			p.line("Leader", s.Leader)
			p.line("Up", short(s.Uptime))
			p.line("Nodes", fmt.Sprintf("%d, %d online", s.Nodes, s.Online))
			p.line("Tasks", fmt.Sprint(s.Tasks))
			p.line("Jobs", fmt.Sprint(s.Jobs))
			p.line("Running", fmt.Sprint(s.Running))
			if _, err := c.Out.Write([]byte(p.b.String())); err != nil {
				return err
			}
		}
		if !s.Ready {
			return &exitError{exitFailed}
		}
		return nil
	}
	return cmd
}

func (c *cli) versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version of this program", Args: arguments(0, 0, "")}
	out := output(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		v := struct {
			Version string `json:"version"`
			Go      string `json:"go"`
			System  string `json:"system"`
		}{Version(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
		if done, err := c.encode(*out, v); done {
			return err
		}
		fmt.Fprintf(c.Out, "rota %s\n", v.Version)
		return nil
	}
	return cmd
}
