package runner

import (
	"log/slog"

	"github.com/rota-dev/rota/internal/runlog"
)

// Options configure a [Runner].
type Options struct {
	// Dir is the runner's own directory, in which runs leave their results. It is created, and what an
	// earlier life left in it is removed; no two runners may share it.
	Dir string
	// Logger hears about what no run can report: processes that can't be ended, files that can't be removed. nil: nobody.
	Logger *slog.Logger
	// Starts is how many commands may be in fork and exec at the same time; 0: two for each CPU. More than 2 to 4
	// add nothing but latency. It does not limit how many run.
	Starts int
	// Logs is where the whole output of runs goes that last longer than a second, write more than their record keeps, or
	// are published; nil: nowhere.
	Logs *runlog.Dir
	// NoGroups leaves control groups alone: trees are ended by what can be seen of them, and no limit of memory, CPU or processes can be set.
	NoGroups bool
}
