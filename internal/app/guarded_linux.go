package app

import (
	"os"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// hasInit tells whether this process is the child of a PID 1 that is ours: with it, everything in the container ends.
func hasInit() bool { return os.Getenv(underInit) != "" }

// groupFacts adds what control groups can do for the runs of this machine.
func groupFacts(f *job.Facts) {
	g := runner.GroupFacts()
	f.Groups, f.Limits, f.LimitsWhy = g.Version, g.Limits, g.Why
}
