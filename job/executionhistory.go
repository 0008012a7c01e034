package job

import (
	"context"
	"time"
)

// ExecutionHistory remembers executions that have ended. It is a part of [History].
type ExecutionHistory interface {
	// PutExecution keeps one that has ended, durably when it returns nil. One that is there already stays as it is.
	PutExecution(ctx context.Context, e *GroupExecution) error
	// Execution reads one with everything. A missing one is [CodeNotFound].
	Execution(ctx context.Context, id string) (*GroupExecution, error)
	// Executions lists a page, newest end first, without lists and results, and says where the next page begins; empty at the end.
	Executions(ctx context.Context, f ExecutionFilter) (list []GroupExecution, next string, err error)
	// Ended reads those of the records with these ids that there are, without output.
	Ended(ctx context.Context, ids []string) ([]ExecutionRecord, error)
	// PruneExecutions removes those that ended before a time, in small steps, and says how many.
	PruneExecutions(ctx context.Context, before time.Time) (int, error)
}

// ExecutionFilter selects executions. Zero fields select everything.
type ExecutionFilter struct {
	Group  string
	Status ExecutionStatus
	Since  time.Time // of the end, inclusive
	Limit  int       // at most; 0: 100
	Cursor string    // where a page begins
}

// Brief is the execution without what is long: tasks, lists, results.
func (e *GroupExecution) Brief() *GroupExecution {
	c := e.Clone()
	for i := range c.Steps {
		s := &c.Steps[i]
		s.Task, s.Items, s.Results, s.From = nil, nil, nil, nil
		if len(s.Nodes) > maxBriefNodes {
			s.Nodes = nil
		}
	}
	return c
}

// maxBriefNodes is up to how many nodes of a step a list names.
const maxBriefNodes = 20
