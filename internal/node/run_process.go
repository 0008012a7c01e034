package node

import (
	"strconv"

	"github.com/rota-dev/rota/job"
)

// processID names an execution among those that are alive: by its pid, or, where there is no process (a request, a handler),
// by its run.
func processID(x job.Execution, run job.RunID) string {
	if pid := x.Pid(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return "run-" + string(run)
}
