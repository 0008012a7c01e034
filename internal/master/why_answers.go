package master

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/schedule"
)

// ofTask says what became of an instant that one node runs for all.
func (q *inquiry) ofTask(ctx context.Context) (client.WhyAnswer, error) {
	i, o := q.why.Instant, q.outlook
	for _, r := range q.settled {
		if r.Trigger != job.TriggerRetry || len(q.settled) == 1 {
			return q.told(ctx, r), nil
		}
	}
	if len(q.alive) > 0 {
		return q.runs(q.alive[0]), nil
	}
	nodes := []job.NodeID{""}
	if o.Claim != nil {
		nodes = append(nodes, o.Claim.Node)
	}
	for _, c := range q.why.Candidates {
		nodes = append(nodes, c.Node)
	}
	if a, err := q.inTransit(ctx, job.FiringID(q.why.Task, "", i), nodes...); a != nil || err != nil {
		return *orNothing(a), err
	}
	due := i.Add(schedule.Jitter(q.why.Task.String(), i, q.entry.Task.Jitter.Std()))
	switch {
	case o.Claim != nil && o.Present:
		return client.WhyAnswer{
			Node: o.Claim.Node, State: client.WhyClaimed, Code: client.WhyClaimHeld, Since: o.Claim.At,
			Reason: fmt.Sprintf("node %s has claimed it and has not told of it yet", o.Claim.Node),
		}, nil
	case o.Claim != nil:
		return client.WhyAnswer{
			Node: o.Claim.Node, State: client.WhyClaimed, Code: client.WhyClaimantAway, Since: o.Claim.At,
			Reason: fmt.Sprintf("node %s claimed it and is away; it is recorded as lost a lease after that", o.Claim.Node),
		}, nil
	case !i.After(o.Floor):
		return client.WhyAnswer{State: client.WhyNotKnown, Code: client.WhyRecordRemoved, Reason: "it is settled, and history does not have its record any more"}, nil
	case q.entry.PausedFor(i):
		return q.paused(""), nil
	case len(q.why.Candidates) == 0:
		return noNode(), nil
	case q.now.Before(due):
		return client.WhyAnswer{State: client.WhyWaiting, Code: client.WhyJitter, Until: due, Reason: "its jitter delays it"}, nil
	}
	return q.unclaimed(), nil
}

// unclaimed says why nobody has claimed an instant that may still be claimed.
func (q *inquiry) unclaimed() client.WhyAnswer {
	var away []string
	for _, c := range q.why.Candidates {
		if !c.Online {
			away = append(away, string(c.Node))
		}
	}
	a := client.WhyAnswer{State: client.WhyWaiting, Code: client.WhyNotClaimed, Until: q.outlook.GivesUp, Reason: "no node has claimed it yet"}
	switch {
	case len(away) == len(q.why.Candidates):
		a.Code, a.Reason = client.WhyAllAway, "no node of the task is online"
	case len(away) > 0:
		a.Reason += " (away: " + strings.Join(away, ", ") + ")"
	}
	if a.Until.IsZero() {
		a.Reason += "; it waits for one that can catch up"
	}
	return a
}

func orNothing(a *client.WhyAnswer) *client.WhyAnswer {
	if a == nil {
		return &client.WhyAnswer{}
	}
	return a
}

// paused is the answer of an instant that fell into a pause.
func (q *inquiry) paused(node job.NodeID) client.WhyAnswer {
	a := client.WhyAnswer{Node: node, State: client.WhyPaused}
	if q.entry.Paused {
		a.Code, a.Reason = client.WhyTaskPaused, "the task is paused; what was due meanwhile is recorded as skipped when it is resumed"
	} else {
		a.Code, a.Reason = client.WhySkipPending, "the task was paused; that it was skipped is about to be recorded"
	}
	return a
}

func noNode() client.WhyAnswer {
	return client.WhyAnswer{State: client.WhyUnbound, Code: client.WhyNoNode, Reason: "no node is bound to the task"}
}

// ofNodes says of each node of a common task what became of an instant.
func (q *inquiry) ofNodes(ctx context.Context) error {
	told := map[job.NodeID]bool{}
	// A node's own word of this instant comes before a record of many, which may have yielded it.
	slices.SortStableFunc(q.settled, func(a, b job.ExecutionRecord) int { return cmp.Compare(a.Instants(), b.Instants()) })
	for _, r := range q.settled {
		if told[r.Node] {
			continue
		}
		if a := q.told(ctx, r); a.Record.Covers(q.why.Instant) {
			told[r.Node] = true
			q.why.Answers = append(q.why.Answers, a)
		}
	}
	for _, p := range q.placing {
		if told[p.Node] || !p.Bound {
			continue
		}
		a, err := q.onNode(ctx, p)
		if err != nil {
			return err
		}
		q.why.Answers = append(q.why.Answers, a)
	}
	slices.SortFunc(q.why.Answers, func(a, b client.WhyAnswer) int { return strings.Compare(string(a.Node), string(b.Node)) })
	if len(q.why.Answers) == 0 {
		q.why.Answers = append(q.why.Answers, noNode())
	}
	return nil
}

// onNode says what became of an instant on a node of which history has nothing.
func (q *inquiry) onNode(ctx context.Context, p job.Placement) (client.WhyAnswer, error) {
	i := q.why.Instant
	for _, r := range q.alive {
		if r.NodeID == p.Node {
			return q.runs(r), nil
		}
	}
	if a, err := q.inTransit(ctx, job.FiringID(q.why.Task, p.Node, i), p.Node); a != nil || err != nil {
		return *orNothing(a), err
	}
	a := client.WhyAnswer{Node: p.Node, State: client.WhyWaiting}
	since := q.outlook.Since[p.Node]
	due := i.Add(schedule.Jitter(job.JobHash(q.why.Task, p.Node), i, q.entry.Task.Jitter.Std()))
	switch {
	case !i.After(since):
		a.State, a.Code, a.Reason = client.WhyNotDue, client.WhyBoundLater, "the node has the task since "+q.stamp(since)+" only"
	case !p.Online:
		a.Code = client.WhyNodeOffline
		a.Reason = "the node is offline, and tells what became of it when it is back (catchup: " + string(q.entry.Task.Catchup) + ")"
		if q.m.Away > 0 {
			a.Until = i.Add(q.m.Away)
			a.Reason += "; should it stay away, it is told as missed"
		}
	case q.entry.PausedFor(i):
		return q.paused(p.Node), nil
	case q.now.Before(due):
		a.Until, a.Code, a.Reason = due, client.WhyJitter, "its jitter delays it"
	case q.now.Sub(due) < 5*time.Second:
		a.Code, a.Reason = client.WhyDueNow, "it is due just now"
	case q.entry.Task.Overlap == job.OverlapQueue:
		a.Code, a.Reason = client.WhyQueuedOrInTransit, "it waits for its turn on the node, or its record is on its way"
	default:
		a.State, a.Code = client.WhyNotKnown, client.WhyNotTold
		a.Reason = "the node is online and has not told of it; its record may be on its way, or was removed from history by its age"
	}
	return a, nil
}
