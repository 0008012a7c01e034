package store

import (
	"cmp"

	"github.com/rota-dev/rota/job"
)

var pingKeys = layout{"pings", []part{name("monitor")}}

var pingKind = &kind[job.MonitorState]{
	layout: pingKeys, sort: "state of a monitor", encode: encodeJSON[job.MonitorState],
	parts:    func(s *job.MonitorState) []string { return []string{s.Name} },
	revision: func(s *job.MonitorState) *int64 { return &s.Revision },
	decode: decodeJSON(func(s *job.MonitorState) error {
		if s.Key == "" || s.Created.IsZero() || s.Cursor.IsZero() {
			return job.Errorf(job.CodeInvalid, "the state of monitor %s is not whole", s.Name)
		}
		return nil
	}),
}

// Pings are what is kept of monitors: name.
func (s *Store) Pings() *Collection[job.MonitorState] {
	return &Collection[job.MonitorState]{s, pingKind}
}

// AdvanceMonitor writes what is kept of a monitor, in the place of the version that was read (its Revision; 0: there must be none), and
// the records that go with it, in one step, as long as there is the monitor.
func AdvanceMonitor(s *job.MonitorState, recs []job.ExecutionRecord) Op {
	op := putOp(pingKind, s, s.Revision)
	for i := range recs {
		rec := PutRecord(&recs[i])
		op.then, op.err = append(op.then, rec.then...), cmp.Or(op.err, rec.err)
	}
	op.verdict = 1 // the records may have been taken to history meanwhile
	key, err := monitorKind.key(s.Name)
	if op.err = cmp.Or(op.err, err); err == nil {
		op.when = append(op.when, compare{key: key, target: byCreate, op: '>'})
	}
	return op
}

// DropMonitor removes what is kept of a monitor that is gone.
func DropMonitor(name string, rev int64) Op {
	return deleteOp(pingKeys, rev, name).while(monitorKind.layout, 0, name)
}
