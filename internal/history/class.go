package history

import (
	"slices"

	"github.com/rota-dev/rota/job"
)

// A class is an outcome and a trigger in one number: outcome*16 + trigger. Every index for lists is (whose,
// class, ended, seq), so that for any choice of outcomes and triggers a page is the merge of a few ranges that
// are in order already, and never a scan for rare rows among many.
//
// The numbers are positions in these lists, and they are in databases: append, never reorder.
var (
	outcomes = [...]job.Outcome{job.Success, job.Failed, job.Timeout, job.Killed, job.Lost, job.Skipped, job.Missed} // from 1
	triggers = [...]job.Trigger{
		"", job.TriggerTimer, job.TriggerRun, job.TriggerDispatch, job.TriggerNext, job.TriggerDepend, job.TriggerRetry, job.TriggerCatchup, job.TriggerBackfill, job.TriggerPing,
	} // from 0
)

const otherTrigger = 15 // one that this program does not know; its text is in the detail

func outcomeNumber(o job.Outcome) int64 { return int64(slices.Index(outcomes[:], o) + 1) }

func triggerNumber(t job.Trigger) int64 {
	if i := slices.Index(triggers[:], t); i >= 0 {
		return int64(i)
	}
	return otherTrigger
}

func classOf(o job.Outcome, t job.Trigger) int64 { return outcomeNumber(o)<<4 | triggerNumber(t) }

// classOutcome is the outcome of a class, "" for one that this program does not know.
func classOutcome(class int64) job.Outcome {
	if i := class>>4 - 1; i >= 0 && i < int64(len(outcomes)) {
		return outcomes[i]
	}
	return ""
}

func classTrigger(class int64) job.Trigger {
	if i := class & 15; i < int64(len(triggers)) {
		return triggers[i]
	}
	return ""
}

// classMatches tells whether the records of a class pass the filter's outcomes and trigger.
func classMatches(class int64, f job.RecordFilter) bool {
	if len(f.Outcome) > 0 && !slices.Contains(f.Outcome, classOutcome(class)) {
		return false
	}
	return f.Trigger == "" || triggerNumber(f.Trigger) == class&15
}
