package job

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds of a backfill.
const (
	MaxBackfillInstants = 10_000  // in its range
	MaxBackfillRuns     = 100_000 // instants times nodes
	MaxBackfillParallel = 100     // alive or waiting at once
)

// Backfill asks for the instants of a range, [From, To), each once on each of its lanes. The leader works it off
// and notes in it, in one transaction with each dispatch, how far it came: whoever leads next goes on from there.
type Backfill struct {
	ID        string            `json:"id"` // BackfillID(task, key)
	Group     string            `json:"group"`
	Name      string            `json:"name"` // of the task
	From      time.Time         `json:"from"`
	To        time.Time         `json:"to"`
	Nodes     []NodeID          `json:"nodes,omitempty"` // those that were named; none: as the task's kind has it
	Params    map[string]string `json:"params,omitempty"`
	Parallel  int               `json:"parallel"`
	Key       string            `json:"key"`
	Force     bool              `json:"force,omitempty"`
	By        string            `json:"by,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
	// Rule is the task's, as it was when the backfill was asked for: its instants don't change with later edits.
	Rule    *Rule  `json:"rule"`
	Count   int    `json:"count"`   // of its instants
	Skipped int    `json:"skipped"` // runs that were not asked for, because they need not be
	Lanes   []Lane `json:"lanes"`

	Outcomes    map[Outcome]int `json:"outcomes,omitempty"` // of the runs whose records are in history
	CancelledAt time.Time       `json:"cancelled_at,omitzero"`
	CancelledBy string          `json:"cancelled_by,omitempty"`
	FinishedAt  time.Time       `json:"finished_at,omitzero"` // nothing of it is to run, or runs, any more
	Revision    int64           `json:"revision,omitempty"`   // the store's, of the version that was read
}

// Lane is the row of runs that a backfill makes on one node, in the order of the instants.
type Lane struct {
	Node    NodeID `json:"node,omitempty"`    // empty: of each instant on a node of the leader's choice
	Next    int    `json:"next"`              // the first instant that is not asked for, counted from 0
	Settled Bits   `json:"settled,omitempty"` // the instants that need no run, or whose record is in history
}

// Running is how many runs of the lane have been asked for and have no record in history.
func (l *Lane) Running() (n int) {
	for i := range l.Next {
		if !l.Settled.Has(i) {
			n++
		}
	}
	return n
}

// Bits is a set of small numbers.
type Bits []byte

// Has tells whether the set has a number.
func (b Bits) Has(i int) bool { return i/8 < len(b) && b[i/8]&(1<<(i%8)) != 0 }

// Add adds a number.
func (b *Bits) Add(i int) {
	for len(*b) <= i/8 {
		*b = append(*b, 0)
	}
	(*b)[i/8] |= 1 << (i % 8)
}

// Accounts tells whether a record with this trigger says what became of its instant. A backfilled run of an instant is
// one more, beside what its timer brought about.
func (t Trigger) Accounts() bool {
	return t == TriggerTimer || t == TriggerCatchup || t == TriggerRetry
}

// BackfillPrefix begins the id of every backfill, so that it can be told from a run's.
const BackfillPrefix = "bf-"

// BackfillID is the identity of a backfill: the same key for the same task is the same backfill.
func BackfillID(task TaskRef, key string) string {
	return BackfillPrefix + digest("backfill", task.Group, task.Name, key)[:12]
}

// Ref is the reference of the backfill's task.
func (b *Backfill) Ref() TaskRef { return Ref(b.Group, b.Name) }

// RunKey names the request for the run of an instant.
func (b *Backfill) RunKey(instant time.Time) string {
	return strings.Join([]string{"backfill", b.Ref().String(), b.Key, FormatInstant(instant)}, "/")
}

// Run is the identity of the run of an instant on a lane.
func (b *Backfill) Run(node NodeID, instant time.Time) RunID {
	if node == "" {
		return CauseID(b.RunKey(instant), b.Ref().String())
	}
	return CauseID(b.RunKey(instant), JobHash(b.Ref(), node))
}

// Instants are those of the range, one more than MaxBackfillInstants at most. The rule must be valid.
func (b *Backfill) Instants() []time.Time {
	list, _ := Instants(b.Rule, nil, time.Time{}, b.From.Add(-1), b.To.Add(-1), MaxBackfillInstants+1)
	return list
}

// Cancelled tells whether no more runs are to be asked for.
func (b *Backfill) Cancelled() bool { return !b.CancelledAt.IsZero() }

// Finished tells whether nothing is to run, or runs, any more.
func (b *Backfill) Finished() bool { return !b.FinishedAt.IsZero() }

// Clone copies the backfill deeply, but for the rule, which never changes.
func (b *Backfill) Clone() *Backfill {
	c := *b
	c.Nodes, c.Params, c.Outcomes, c.Lanes = slices.Clone(b.Nodes), maps.Clone(b.Params), maps.Clone(b.Outcomes), slices.Clone(b.Lanes)
	for i := range c.Lanes {
		c.Lanes[i].Settled = slices.Clone(c.Lanes[i].Settled)
	}
	return &c
}

// Valid reports every fault of the backfill and parses its rule.
func (b *Backfill) Valid() error {
	var f Faults
	for _, n := range [...]struct{ path, sort, name string }{{"id", "backfill", b.ID}, {"group", "group", b.Group}, {"name", "task", b.Name}} {
		if err := CheckName(n.sort, n.name); err != nil {
			f.AddError(n.path, err)
		}
	}
	for _, l := range b.Lanes {
		if l.Node != "" {
			if err := CheckName("node", string(l.Node)); err != nil {
				f.AddError("lanes", err)
			}
		}
		if l.Next < 0 || l.Next > b.Count {
			f.Add("lanes", "%d of %d instants are asked for", l.Next, b.Count)
		}
	}
	if !b.To.After(b.From) {
		f.Add("to", "it is not after from")
	}
	if b.Parallel < 1 || b.Parallel > MaxBackfillParallel {
		f.Add("parallel", "%d is not between 1 and %d", b.Parallel, MaxBackfillParallel)
	}
	if b.Count < 0 || b.Count > MaxBackfillInstants || b.Count*len(b.Lanes) > MaxBackfillRuns {
		f.Add("count", "%d instants on %d nodes are too many", b.Count, max(1, len(b.Lanes)))
	}
	switch {
	case b.Rule == nil || b.Rule.Mode != Cycle:
		f.Add("rule", "there is no timer")
	default:
		b.Rule.check(&f, "rule.")
	}
	return f.Err("backfill " + b.ID + " is not valid")
}
