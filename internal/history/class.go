package history

import (
	"slices"

	"github.com/rota-dev/rota/job"
)

// A class is an outcome and a trigger in one number: outcome*16 + trigger. Every index for lists is (whose,
// class, ended, seq), so that for any choice of outcomes and triggers a page is the merge of a few ranges that
// are in order already, and never a scan for rare rows among many. The numbers are in databases: they may
// be added to, never changed.

const otherTrigger = 15 // one that this program does not know; its text is in the detail

func outcomeNumber(o job.Outcome) int64 {
	switch o {
	case job.Success:
		return 1
	case job.Failed:
		return 2
	case job.Timeout:
		return 3
	case job.Killed:
		return 4
	case job.Lost:
		return 5
	case job.Skipped:
		return 6
	case job.Missed:
		return 7
	}
	return 0
}

func triggerNumber(t job.Trigger) int64 {
	switch t {
	case "":
		return 0
	case job.TriggerTimer:
		return 1
	case job.TriggerRun:
		return 2
	case job.TriggerDispatch:
		return 3
	case job.TriggerNext:
		return 4
	case job.TriggerDepend:
		return 5
	case job.TriggerRetry:
		return 6
	case job.TriggerCatchup:
		return 7
	case job.TriggerBackfill:
		return 8
	}
	return otherTrigger
}

func classOf(o job.Outcome, t job.Trigger) int64 { return outcomeNumber(o)<<4 | triggerNumber(t) }

func classOutcome(class int64) job.Outcome {
	for _, o := range job.Outcomes {
		if outcomeNumber(o) == class>>4 {
			return o
		}
	}
	return ""
}

func classTrigger(class int64) job.Trigger {
	switch class & 15 {
	case 1:
		return job.TriggerTimer
	case 2:
		return job.TriggerRun
	case 3:
		return job.TriggerDispatch
	case 4:
		return job.TriggerNext
	case 5:
		return job.TriggerDepend
	case 6:
		return job.TriggerRetry
	case 7:
		return job.TriggerCatchup
	case 8:
		return job.TriggerBackfill
	}
	return ""
}

// classMatches tells whether the records of a class pass the filter's outcomes and trigger.
func classMatches(class int64, f job.RecordFilter) bool {
	if len(f.Outcome) > 0 && !slices.ContainsFunc(f.Outcome, func(o job.Outcome) bool { return outcomeNumber(o) == class>>4 }) {
		return false
	}
	return f.Trigger == "" || triggerNumber(f.Trigger) == class&15
}
