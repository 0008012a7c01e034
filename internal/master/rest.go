package master

import (
	"context"
	"time"

	"github.com/rota-dev/rota/job"
)

// A node that was killed while its disk was full, or that came back with another disk, has forgotten how far it had come. It tells
// again of instants that it did not run, many in one record, from the last one that it remembers. Such a record has the name of its
// first instant. Where history has an account of that one already, the record is not stored, and the instants behind the
// first would have no account at all. So they are told in records of their own, which leave out what the node has told itself, as those
// of a node that is away do.

const (
	restLook      = 10_000 // instants that are looked at in one step
	restStretches = 64     // in one record
)

// rests are the records of the instants behind those of which history had an account, of records that it did not store.
func (m *Master) rests(ctx context.Context, recs []job.ExecutionRecord, stored []bool) (list []job.ExecutionRecord, err error) {
	for i := range recs {
		r := &recs[i]
		if stored[i] || r.Count < 2 || len(r.Owed) > 0 || r.Node == "" || r.Trigger != job.TriggerTimer {
			continue
		}
		was, err := m.History.Record(ctx, r.ID)
		if job.IsNotFound(err) {
			continue // it was pruned meanwhile
		}
		if err != nil {
			return nil, err
		}
		from := was.Instant
		if was.Until.After(from) {
			from = was.Until
		}
		if was.Ref() != r.Ref() || !from.Before(r.Until) {
			continue
		}
		j, err := m.store().Jobs().Get(ctx, string(r.Node), job.JobHash(r.Ref(), r.Node))
		if job.IsNotFound(err) {
			continue // of a task that is gone nothing is owed
		}
		if err != nil {
			return nil, err
		}
		list = append(list, restOf(r, j, from)...)
	}
	return list, nil
}

// restOf tells of the instants of a record that are later than from.
func restOf(r *job.ExecutionRecord, j *job.Job, from time.Time) (list []job.ExecutionRecord) {
	var owed []job.Stretch
	tell := func() {
		if len(owed) == 0 {
			return
		}
		rest := r.Clone()
		rest.Instant, rest.Until, rest.Count, rest.Owed = owed[0].First, owed[len(owed)-1].Last(), job.CountInstants(owed), owed
		rest.ID, rest.Number = string(job.CauseID("rest "+job.FormatInstant(rest.Instant), r.ID)), 0
		list, owed = append(list, rest), nil
	}
	for more := true; more; {
		var due []time.Time
		due, more = j.Instants(from, r.Until, restLook)
		for _, i := range due {
			if from = i; j.At(i).Kind.Claimed() {
				continue
			}
			if next := job.AddInstant(owed, i); len(next) > restStretches {
				tell()
				owed = job.AddInstant(nil, i)
			} else {
				owed = next
			}
		}
		more = more && len(due) > 0
	}
	tell()
	return list
}
