package guard

import (
	"log/slog"
	"time"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/internal/runner"
)

// Options configure a [Client].
type Options struct {
	// Dir is the folder of the agent's guards. It belongs to this process alone, and may lie as deep as it wants.
	Dir string
	// Command starts a guard: the program, and its arguments from the 0th on; the program must come to [Main] by them, or by
	// [Asked]. Empty: this program, with the argument guard.
	Program string
	Args    []string
	// Build names the program. A guard of another build gets no new runs.
	Build  string
	Logger *slog.Logger // nil: nobody
	// Patience is how long a guard may be silent while somebody waits for an answer; 0: 10 s.
	Patience time.Duration
	// Own has ordinary runs executed by this process, as long as they are a few milliseconds old, where the kernel lets the guard go on with
	// them should this process die (Linux 6.15 and control groups of version 2). It makes the process a child sub-reaper: see [runner.New].
	Own bool
	// Runner configures the guard's runner.
	Runner RunnerOptions
	// Leftover ends the tree of a run that a dead guard left: pid 0 where that isn't known; nil: [runner.EndLeftover].
	Leftover func(pid int, ticks uint64, run string) error
}

// RunnerOptions are those of [runner.Options] that an agent chooses for its guard.
type RunnerOptions struct {
	Starts   int    `json:"starts,omitempty"`
	NoGroups bool   `json:"no_groups,omitempty"`
	Logs     string `json:"logs,omitempty"` // the folder of the logs; empty: there are none
	// LogPerRun and LogPerNode bound them, in bytes; 0: the defaults.
	LogPerRun  int64 `json:"log_per_run,omitempty"`
	LogPerNode int64 `json:"log_per_node,omitempty"`
}

func (o RunnerOptions) options(dir string, log *slog.Logger) (runner.Options, error) {
	made := runner.Options{Dir: dir, Logger: log, Starts: o.Starts, NoGroups: o.NoGroups}
	if o.Logs == "" {
		return made, nil
	}
	logs, err := runlog.Open(runlog.Options{Dir: o.Logs, PerRun: o.LogPerRun, PerNode: o.LogPerNode, Logger: log})
	made.Logs = logs
	return made, err
}
