package app

import (
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/internal/guard"
	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// openRunner makes what executes the node's commands.
func (s *Server) openRunner(logs *runlog.Dir) (job.Runner, error) {
	if !s.cfg.Guarded {
		r, err := runner.New(runner.Options{Dir: s.data.join("run"), Logs: logs, Logger: s.log})
		if err != nil {
			return nil, err
		}
		s.opened("runner", r.Close)
		return r, nil
	}
	c, err := guard.New(guard.Options{
		// A guard of other bounds is left its runs, as one of another build is.
		Dir: s.data.join("guard"), Build: fmt.Sprintf("%s; logs %s, %s", build(), s.cfg.LogPerRun, s.cfg.LogPerNode), Logger: s.log, Own: s.cfg.OwnRuns,
		Runner: guard.RunnerOptions{Logs: s.data.join("logs"), LogPerRun: int64(s.cfg.LogPerRun), LogPerNode: int64(s.cfg.LogPerNode)},
	})
	if err != nil {
		return nil, err
	}
	s.opened("guard", c.Close)
	return c, nil
}

// build tells one build of this program from another, also where both say the same version of themselves: a file that was
// replaced is another one.
func build() string {
	st, err := os.Stat("/proc/self/exe")
	if err != nil {
		return Version()
	}
	name := fmt.Sprintf("%s %d %d", Version(), st.Size(), st.ModTime().UnixNano())
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		name += fmt.Sprintf(" %d", sys.Ino)
	}
	return name
}

// stopping prepares the end that a signal asks for, and says what it will be. SIGTERM, by which service managers stop and upgrade
// programs, leaves what runs to the next start; an interrupt at a terminal ends it, and so does every end of a container.
func (s *Server) stopping(cause error) string {
	switch {
	case s.agent == nil:
		return "stopping; interrupt again to leave at once"
	case !s.cfg.Guarded, s.cfg.StopRuns, s.cfg.Ephemeral, hasInit(), cause == nil, cause.Error() != syscall.SIGTERM.String()+" signal received":
		return "stopping: runs are ended and their records kept; interrupt again to leave at once"
	}
	s.agent.LeaveRuns()
	return "stopping: runs go on, and the next start takes them up"
}

// guardCommand is the process that runs an agent's commands. Only agents start it.
func guardCommand() *cobra.Command {
	return &cobra.Command{
		Use: "guard", Short: "Run an agent's commands; started by the agent", Args: cobra.NoArgs, Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			dir, ok := guard.Asked()
			if !ok {
				return usagef("start an agent with: rota node, or rota up", "a guard is started by its agent, not by hand")
			}
			return guard.Main(dir)
		},
	}
}
