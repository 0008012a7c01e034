package app

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/internal/policy"
	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// loadPolicy reads the node's own policy before anything is touched: a node whose policy is bad does not start.
func (s *Server) loadPolicy(context.Context) (err error) {
	s.policy, err = policy.Open(s.cfg.Policy, resolve)
	return err
}

// resolve tells the policy what an execution comes to on this machine.
func resolve(e job.Exec, w policy.Wanted) (policy.Resolved, error) {
	is, err := runner.Resolve(e, w.Command, w.Dir)
	return policy.Resolved(is), err
}

// reload reads what can change while the server runs: the node's policy. What is bad is told and changes nothing.
func (s *Server) reload() {
	if s == nil || s.policy == nil { // it is still starting, or has no node
		return
	}
	if err := s.policy.Reload(); err != nil {
		s.log.Error("the node's policy stays as it was", "error", err)
		return
	}
	s.log.Info("the node's policy was read again", "file", s.policy.Policy().File)
	if s.agent != nil {
		s.agent.PolicyChanged()
	}
}

// hasTerminal tells whether the process has a controlling terminal: then a hang-up is that terminal's end, and not word from the
// machine's administrator.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// checkPolicy reads a node's policy as the node would.
func (c *cli) checkPolicy(cmd *cobra.Command, file string) error {
	if cmd.Flags().Changed("file") {
		return usagef("check them one after the other", "--policy and --file are two things")
	}
	if _, err := policy.Read(file); err != nil {
		return err
	}
	c.sayf("%s is a good policy", file)
	return nil
}
